//! The display channel of one QXL device: pending drawables, surfaces, and what each client still has to be told.

pub mod encode;
pub mod settings;

pub use encode::ClientShared;
