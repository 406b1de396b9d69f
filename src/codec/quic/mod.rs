//! QUIC (codecs.md 2).
