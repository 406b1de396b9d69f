//! The reference vectors in `tests/data/codecs` (their `manifest.json` explains them; `index.tsv` holds
//! the same facts, one image per line).
#![allow(dead_code, reason = "each codec uses the fields that concern it")]

use crate::guest::{ByteSource, SliceSource};
use crate::image::{BitmapFormat, ImageView};
use std::path::PathBuf;

/// One reference image: raw pixels in memory order, and the stream that the reference encoder made of them.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    /// "QUIC", "LZ", "GLZ" or "LZ4".
    pub(crate) codec: String,
    /// GLZ: the sequence that this image belongs to. Its images are consecutive, in the order of their ids.
    pub(crate) name: String,
    /// Type number in the codec's header (0 for LZ4).
    pub(crate) codec_type: u32,
    /// `None` for types such as GRAY and XXXA that no bitmap has.
    pub(crate) format: Option<BitmapFormat>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) stride: u32,
    pub(crate) top_down: bool,
    /// Rows in each chunk that the reference encoder read.
    pub(crate) rows_per_chunk: Vec<u32>,
    raw: String,
    encoded: String,
    zlib: String,
    /// GLZ window in pixels.
    pub(crate) window: u32,
    /// GLZ image id.
    pub(crate) id: u64,
    pub(crate) win_head_dist: u32,
    pub(crate) raw_sha256: String,
    /// Digest of the decoder's output: packed rows in memory order (QUIC: top row first), pad bytes and bit
    /// 15 zero.
    pub(crate) decoded_sha256: String,
}

impl Vector {
    /// The raw pixels, rows in memory order; `None` if the file is not stored (full-screen images).
    pub(crate) fn raw(&self) -> Option<Vec<u8>> {
        (self.raw != "-").then(|| read(&self.raw))
    }

    pub(crate) fn encoded(&self) -> Vec<u8> {
        read(&self.encoded)
    }

    /// The ZLIB_GLZ form of a GLZ image, if it is stored.
    pub(crate) fn zlib(&self) -> Option<Vec<u8>> {
        (self.zlib != "-").then(|| read(&self.zlib))
    }
}

/// All images of one codec, in manifest order.
pub(crate) fn of(codec: &str) -> Vec<Vector> {
    let index = String::from_utf8(read("index.tsv")).unwrap();
    index.lines().filter(|l| !l.starts_with('#')).map(parse).filter(|v| v.codec == codec).collect()
}

/// SHA-256 in lower-case hex, as in the index.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    openssl::sha::sha256(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes split into chunks, as a guest's bitmap may be.
#[derive(Debug)]
pub(crate) struct Chunked {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Chunked {
    /// Splits `bytes`; `lengths` must add up to their number.
    pub(crate) fn new(bytes: Vec<u8>, lengths: &[usize]) -> Self {
        let mut end = 0;
        let ends: Vec<usize> = lengths
            .iter()
            .map(|n| {
                end += n;
                end
            })
            .collect();
        assert_eq!(end, bytes.len());
        Self { bytes, ends }
    }

    /// Splits `bytes` into chunks of whole rows.
    pub(crate) fn rows(bytes: Vec<u8>, stride: u32, rows: &[u32]) -> Self {
        let lengths: Vec<usize> = rows.iter().map(|r| *r as usize * stride as usize).collect();
        Self::new(bytes, &lengths)
    }
}

impl ByteSource for Chunked {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        SliceSource(&self.bytes).read_at(offset, dst);
    }

    fn chunk_ends(&self) -> &[usize] {
        &self.ends
    }
}

/// `vector` as an image of `format`, whose raw pixels are in `source`.
pub(crate) fn view<'a>(vector: &Vector, format: BitmapFormat, source: &'a dyn ByteSource) -> ImageView<'a> {
    ImageView {
        format,
        width: vector.width,
        height: vector.height,
        stride: vector.stride,
        top_down: vector.top_down,
        source,
    }
}

fn read(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/data/codecs", name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn parse(line: &str) -> Vector {
    let f: Vec<&str> = line.split('\t').collect();
    assert_eq!(f.len(), 17, "{line}");
    Vector {
        codec: f[0].into(),
        name: f[1].into(),
        codec_type: f[2].parse().unwrap(),
        format: BitmapFormat::try_from(f[3].parse::<u8>().unwrap()).ok(),
        width: f[4].parse().unwrap(),
        height: f[5].parse().unwrap(),
        stride: f[6].parse().unwrap(),
        top_down: f[7] == "1",
        rows_per_chunk: f[8].split(',').map(|r| r.parse().unwrap()).collect(),
        raw: f[9].into(),
        encoded: f[10].into(),
        zlib: f[11].into(),
        window: f[12].parse().unwrap(),
        id: f[13].parse().unwrap(),
        win_head_dist: f[14].parse().unwrap(),
        raw_sha256: f[15].into(),
        decoded_sha256: f[16].into(),
    }
}
