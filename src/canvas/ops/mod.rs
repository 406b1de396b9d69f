//! The operations on whole areas (canvas.md 6).

mod alpha;
mod copy;
mod fill;
mod read_out;

pub use read_out::AreaPixels;
