//! `spice-replay.h` has functions only.
