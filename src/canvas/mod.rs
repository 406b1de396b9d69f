//! Pixel-exact rendering of drawing commands (spec: canvas.md).
