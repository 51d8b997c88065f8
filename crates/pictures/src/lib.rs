//! RGB pictures drawn without a system font or a display: text in a built-in font, lines, and charts of numbers over steps.
//! They leave as PNG files whose bytes are a function of what was drawn.

mod canvas;
pub mod chart;
mod font;
mod scale;

pub use canvas::{Canvas, Colour, LINE, text_width};
pub use png::EncodingError;
