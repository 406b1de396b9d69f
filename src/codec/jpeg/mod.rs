//! JPEG and JPEG_ALPHA (codecs.md 6).
