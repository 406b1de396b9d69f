//! The worker of a QXL device: one thread that owns its display and cursor channels (display.md 2).
