//! Message bodies made of segments, so that the server queues large payloads without copying them again.

use std::sync::Arc;

/// A run of body bytes: owned by the message, or shared with other messages and caches.
#[derive(Clone)]
pub enum Segment {
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
    SharedVec(Arc<Vec<u8>>),
}

impl Segment {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(v) => v,
            Self::Shared(v) => v,
            Self::SharedVec(v) => v,
        }
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({} bytes)", self.len())
    }
}

impl From<Vec<u8>> for Segment {
    fn from(v: Vec<u8>) -> Self {
        Self::Owned(v)
    }
}

impl From<Arc<[u8]>> for Segment {
    fn from(v: Arc<[u8]>) -> Self {
        Self::Shared(v)
    }
}

impl From<Arc<Vec<u8>>> for Segment {
    fn from(v: Arc<Vec<u8>>) -> Self {
        Self::SharedVec(v)
    }
}

/// A message body: its segments in order.
#[derive(Clone, Debug, Default)]
pub struct Body(Vec<Segment>);

impl Body {
    /// A body without bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Appends a segment. Empty segments are dropped.
    pub fn push(&mut self, segment: impl Into<Segment>) {
        let segment = segment.into();
        if !segment.is_empty() {
            self.0.push(segment);
        }
    }

    /// The segments, none of them empty.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The segments by value, none of them empty.
    #[must_use]
    pub fn into_segments(self) -> Vec<Segment> {
        self.0
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().fold(0usize, |sum, s| sum.saturating_add(s.len()))
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All bytes in one vector (tests, migration data).
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut v = Vec::with_capacity(self.len());
        for s in &self.0 {
            v.extend_from_slice(s.as_slice());
        }
        v
    }
}

impl From<Vec<u8>> for Body {
    fn from(v: Vec<u8>) -> Self {
        let mut body = Self::empty();
        body.push(v);
        body
    }
}

/// A message from server to client: type and body (wire.md 2.1).
#[derive(Clone, Debug)]
pub struct Message {
    pub msg_type: u16,
    pub body: Body,
}

impl Message {
    /// A message with this body.
    #[must_use]
    pub fn new(msg_type: u16, body: impl Into<Body>) -> Self {
        Self { msg_type, body: body.into() }
    }

    /// A message without a body.
    #[must_use]
    pub fn bare(msg_type: u16) -> Self {
        Self { msg_type, body: Body::empty() }
    }
}
