//! Channels of the main thread, and what all channels have in common.
