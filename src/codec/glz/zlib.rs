//! ZLIB_GLZ (codecs.md 5): a GLZ stream inside a zlib stream.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::fmt;

/// The compression level of the reference.
const LEVEL: u32 = 3;
/// Compressing shorter GLZ streams is not worth the time.
const MIN_BYTES: usize = 100;

/// A zlib compressor, reused from image to image.
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
        // The buffer has no room for a longer result, which would be useless.
        let mut out = Vec::new();
        out.try_reserve_exact(glz.len() - 1).ok()?;
        let status = self.0.compress_vec(glz, &mut out, FlushCompress::Finish).ok()?;
        (status == Status::StreamEnd && out.len() < glz.len()).then_some(out)
    }
}

/// Decompresses as a client does; `size` is the size that the message announces.
#[must_use]
pub fn inflate(data: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(size);
    let status = Decompress::new(true).decompress_vec(data, &mut out, FlushDecompress::Finish).ok()?;
    (status == Status::StreamEnd && out.len() == size).then_some(out)
}
