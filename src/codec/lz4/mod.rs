//! LZ4 (codecs.md 7).
