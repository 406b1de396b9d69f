//! Parses the byte stream of the agent port: chunks, each cut into pieces of at most [`MAX_PIECE`] bytes (server.md 8.1, 8.2).

use super::AgentError;
use crate::protocol::agent::{CHUNK_HEADER_SIZE, CLIENT_PORT, ChunkHeader, MAX_PIECE, SERVER_PORT};

/// A piece of a message that the guest sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Whether the piece is for the clients. Otherwise it is for the server, which asks the agent nothing and drops it.
    pub for_client: bool,
    pub bytes: Vec<u8>,
}

/// The position in the guest's byte stream.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// The current chunk. Its size counts only the bytes that no piece has delivered yet.
    chunk: Option<ChunkHeader>,
    /// The beginning of an incomplete header or piece.
    part: Vec<u8>,
}

impl Chunks {
    /// Number of bytes that complete the next header or piece. The owner never reads more than these, so that a piece for which
    /// no client has a token stays with the guest.
    #[must_use]
    pub(super) fn wanted(&self) -> usize {
        let whole = match self.chunk {
            None => CHUNK_HEADER_SIZE,
            Some(chunk) => usize::try_from(chunk.size).unwrap_or(MAX_PIECE).min(MAX_PIECE),
        };
        whole.saturating_sub(self.part.len())
    }

    /// The current chunk, and the beginning of its incomplete piece. The chunk's size counts that beginning and what is still
    /// to come. Between two chunks: `None`, and the beginning of the next header.
    #[must_use]
    pub(super) fn position(&self) -> (Option<ChunkHeader>, &[u8]) {
        (self.chunk, &self.part)
    }

    /// Continues at a [`Self::position`]. It comes through a client, which may have invented it.
    ///
    /// # Errors
    /// Such a position cannot exist.
    pub(super) fn at(chunk: Option<ChunkHeader>, part: Vec<u8>) -> Result<Self, AgentError> {
        if let Some(header) = chunk.filter(|header| header.port != CLIENT_PORT && header.port != SERVER_PORT)
        {
            return Err(AgentError::Port(header.port));
        }
        let chunks = Self { chunk, part };
        if chunks.wanted() == 0 { Err(AgentError::Piece(chunks.part.len())) } else { Ok(chunks) }
    }

    /// Takes the incomplete piece out. Its rest becomes a piece of its own.
    pub(super) fn cut(&mut self) -> Option<Piece> {
        let chunk = self.chunk.as_mut().filter(|_| !self.part.is_empty())?;
        let bytes = std::mem::take(&mut self.part);
        chunk.size = chunk.size.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Some(Piece { for_client: chunk.port == CLIENT_PORT, bytes })
    }

    /// Takes the next bytes of the guest, at most [`Self::wanted`]. Returns the piece that they complete.
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
