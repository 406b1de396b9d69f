//! ZLIB_GLZ (codecs.md 5): a zlib stream around a GLZ stream.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::fmt;

/// Level of the reference.
const LEVEL: u32 = 3;
/// Shorter GLZ streams are not worth it.
const MIN_BYTES: usize = 100;

/// A zlib compressor that is used again from image to image.
pub struct Zlib(Compress);

impl Default for Zlib {
    fn default() -> Self {
        Self(Compress::new(Compression::new(LEVEL), true))
    }
}

impl fmt::Debug for Zlib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zlib")
    }
}

impl Zlib {
    /// The zlib form of a GLZ stream, if it is shorter.
    pub fn shorten(&mut self, glz: &[u8]) -> Option<Vec<u8>> {
        if glz.len() < MIN_BYTES {
            return None;
        }
        self.0.reset();
        // No room for more than is wanted: what does not fit is of no use.
        let mut out = Vec::with_capacity(glz.len() - 1);
        let status = self.0.compress_vec(glz, &mut out, FlushCompress::Finish).ok()?;
        (status == Status::StreamEnd && out.len() < glz.len()).then_some(out)
    }
}

/// What a client makes of it; `size` is what the message says.
#[must_use]
pub fn inflate(data: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(size);
    let status = Decompress::new(true).decompress_vec(data, &mut out, FlushDecompress::Finish).ok()?;
    (status == Status::StreamEnd && out.len() == size).then_some(out)
}
