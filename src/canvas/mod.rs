//! Pixel-exact rendering of drawing commands (spec: canvas.md).

pub mod stroke;
