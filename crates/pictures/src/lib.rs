//! RGB pictures drawn without a system font or a display: text in a built-in font, lines, charts of numbers over steps, and
//! sections of volumes with label maps on them.
//! They leave as PNG files whose bytes are a function of what was drawn.

mod canvas;
pub mod chart;
mod font;
mod scale;
pub mod section;

pub use canvas::{Canvas, Colour, LINE, text_width};
pub use png::EncodingError;
