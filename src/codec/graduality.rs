//! Photo detection (codecs.md 9.5).
