//! Image codecs: no I/O, no clients (spec: codecs.md).
