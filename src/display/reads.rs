//! What a drawing command reads of surfaces, and what keeps those surfaces until it is done.

use crate::canvas::Region;
use crate::geometry::Rect;
use crate::guest::ReleaseToken;
use std::sync::{Arc, Mutex};

/// One incarnation of a surface id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SurfaceKey(pub u64);

/// What lives as long as anything that mentions a surface (qxl.md A8): its commands, released in this order.
#[derive(Debug, Default)]
pub(super) struct SurfaceLife {
    #[expect(dead_code, reason = "held for its drop")]
    create: Option<ReleaseToken>,
    destroy: Mutex<Option<ReleaseToken>>,
}

impl SurfaceLife {
    /// A surface that came into being by this command.
    #[must_use]
    pub(super) fn new(create: Option<ReleaseToken>) -> Arc<Self> {
        Arc::new(Self { create, destroy: Mutex::default() })
    }

    /// The command that ended the surface.
    pub(super) fn ended(&self, destroy: ReleaseToken) {
        *self.destroy.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(destroy);
    }
}

/// An area of another surface that a command reads.
#[derive(Debug)]
pub(super) struct Read {
    pub surface_id: u32,
    pub key: SurfaceKey,
    pub area: Rect,
    /// Keeps the surface from being released.
    #[expect(dead_code, reason = "held for its drop")]
    pub life: Arc<SurfaceLife>,
}

/// What a command reads of its own target, apart from the pixels that it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SelfRead {
    Nothing,
    /// For every pixel the one at this offset from it (COPY_BITS).
    Offset(i32, i32),
    Area(Rect),
}

impl SelfRead {
    /// Whether a command that draws in `region` reads pixels of `area`.
    #[must_use]
    pub(super) fn touches(self, region: &Region, area: &Region) -> bool {
        match self {
            Self::Nothing => false,
            Self::Offset(dx, dy) => region.translate(dx, dy).intersects(area),
            Self::Area(rect) => area.intersects_rect(&rect),
        }
    }
}
