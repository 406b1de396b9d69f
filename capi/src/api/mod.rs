//! The exported functions, one module per public header; cbindgen reads these files.
//!
//! `symver_*.rs` (written by build.rs from symbols.txt) gives each its version node. It must stand in the module of
//! the functions: the assembler accepts `.symver` only beside the definition.

pub mod audio;
pub mod char;
pub mod input;
pub mod migration;
pub mod qxl;
pub mod replay;
pub mod server;
