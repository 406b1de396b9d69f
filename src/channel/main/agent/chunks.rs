//! What the guest writes to its agent port, taken apart: chunks of at most [`MAX_PIECE`] bytes a piece (server.md 8.1, 8.2).

use super::AgentError;
use crate::protocol::agent::{CHUNK_HEADER_SIZE, CLIENT_PORT, ChunkHeader, MAX_PIECE, SERVER_PORT};

/// A piece of a message of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Whether it is for the clients. The others are for nobody: the server asks the agent nothing.
    pub for_client: bool,
    pub bytes: Vec<u8>,
}

/// The state of the guest's stream.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// The chunk that is being read, and what of it is still to come.
    chunk: Option<ChunkHeader>,
    /// A part of a header or of a piece.
    part: Vec<u8>,
}

impl Chunks {
    /// Bytes after which the next header or piece is complete. Never more is to be read: a piece for which no client has
    /// a token stays with the guest.
    #[must_use]
    pub(super) fn wanted(&self) -> usize {
        let whole = match self.chunk {
            None => CHUNK_HEADER_SIZE,
            Some(chunk) => usize::try_from(chunk.size).unwrap_or(MAX_PIECE).min(MAX_PIECE),
        };
        whole.saturating_sub(self.part.len())
    }

    /// The present chunk, whose size is what of it is still to come and what is here of its present piece; and that
    /// part, or the part of a header between two chunks.
    #[must_use]
    pub(super) fn position(&self) -> (Option<ChunkHeader>, &[u8]) {
        (self.chunk, &self.part)
    }

    /// Goes on at a [`Self::position`], which a client may have made up.
    ///
    /// # Errors
    /// There is no such position.
    pub(super) fn at(chunk: Option<ChunkHeader>, part: Vec<u8>) -> Result<Self, AgentError> {
        if let Some(header) = chunk.filter(|header| header.port != CLIENT_PORT && header.port != SERVER_PORT)
        {
            return Err(AgentError::Port(header.port));
        }
        let chunks = Self { chunk, part };
        if chunks.wanted() == 0 { Err(AgentError::Piece(chunks.part.len())) } else { Ok(chunks) }
    }

    /// What is here of the present piece, which is two pieces then.
    pub(super) fn cut(&mut self) -> Option<Piece> {
        let chunk = self.chunk.as_mut().filter(|_| !self.part.is_empty())?;
        let bytes = std::mem::take(&mut self.part);
        chunk.size = chunk.size.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Some(Piece { for_client: chunk.port == CLIENT_PORT, bytes })
    }

    /// Takes at most [`Self::wanted`] bytes of the guest.
    ///
    /// # Errors
    /// The chunk has an unknown port or no bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Piece>, AgentError> {
        let missing = self.wanted().saturating_sub(bytes.len());
        self.part.extend_from_slice(bytes);
        if missing > 0 {
            return Ok(None);
        }
        let part = std::mem::take(&mut self.part);
        let Some(chunk) = &mut self.chunk else {
            let header = ChunkHeader::decode(&part)?;
            if header.port != CLIENT_PORT && header.port != SERVER_PORT {
                return Err(AgentError::Port(header.port));
            }
            if header.size == 0 {
                return Err(AgentError::EmptyChunk);
            }
            self.chunk = Some(header);
            return Ok(None);
        };
        let for_client = chunk.port == CLIENT_PORT;
        chunk.size = chunk.size.saturating_sub(u32::try_from(part.len()).unwrap_or(u32::MAX));
        if chunk.size == 0 {
            self.chunk = None;
        }
        Ok(Some(Piece { for_client, bytes: part }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::agent::server_message;

    #[test]
    fn chunks_come_out_as_pieces_however_they_come_in() {
        let data: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
        let mut stream = Vec::new();
        ChunkHeader { port: CLIENT_PORT, size: 3000 }.put(&mut stream);
        stream.extend(&data);
        stream.extend(server_message(6, b"x"));
        for step in [1, 7, 8, 9, 4096] {
            let (mut chunks, mut pieces, mut rest) = (Chunks::default(), Vec::new(), &stream[..]);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(chunks.wanted().min(step).min(rest.len()));
                rest = later;
                pieces.extend(chunks.take(now).unwrap());
            }
            let sizes: Vec<_> = pieces.iter().map(|p| (p.for_client, p.bytes.len())).collect();
            assert_eq!(sizes, [(true, 2048), (true, 952), (false, 21)]);
            assert_eq!([&pieces[0].bytes[..], &pieces[1].bytes].concat(), data);
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        assert_eq!(Chunks::default().take(&[3, 0, 0, 0, 1, 0, 0, 0]), Err(AgentError::Port(3)));
        assert_eq!(Chunks::default().take(&[1, 0, 0, 0, 0, 0, 0, 0]), Err(AgentError::EmptyChunk));
    }
}
