//! An RGB picture that can be written on.

use super::font;

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// Dots of a letter are this many pixels wide and high.
const DOT: usize = 2;

/// Pixels from one line of text to the next.
pub(super) const LINE: usize = (font::HEIGHT + 2) * DOT;

/// A picture, rows from the top.
#[derive(Debug)]
pub(super) struct Canvas {
    width: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    pub(super) fn new(height: usize, width: usize, colour: Colour) -> Self {
        Self { width, pixels: vec![colour; height * width] }
    }

    /// Colours a pixel; places outside are left out.
    pub(super) fn set(&mut self, row: usize, column: usize, colour: Colour) {
        if column < self.width
            && let Some(pixel) = self.pixels.get_mut(row * self.width + column)
        {
            *pixel = colour;
        }
    }

    /// Fills a rectangle of `size` rows and columns.
    pub(super) fn fill(&mut self, row: usize, column: usize, size: [usize; 2], colour: Colour) {
        for r in row..row + size[0] {
            for c in column..column + size[1] {
                self.set(r, c, colour);
            }
        }
    }

    /// Writes a line of text with its upper left corner at a place.
    pub(super) fn write(&mut self, row: usize, column: usize, text: &str, colour: Colour) {
        for (i, letter) in text.chars().enumerate() {
            let left = column + i * font::ADVANCE * DOT;
            for c in 0..font::WIDTH {
                for r in (0..font::HEIGHT).filter(|r| font::is_set(letter, c, *r)) {
                    self.fill(row + r * DOT, left + c * DOT, [DOT; 2], colour);
                }
            }
        }
    }

    /// As [`Self::write`], in white on a dark rim, to be read on any picture.
    pub(super) fn write_on_picture(&mut self, row: usize, column: usize, text: &str) {
        for (r, c) in [(0, 1), (1, 0), (2, 1), (1, 2)] {
            self.write(row + r, column + c, text, [0; 3]);
        }
        self.write(row + 1, column + 1, text, [255; 3]);
    }

    /// The PNG file.
    pub(super) fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let height = self.pixels.len() / self.width.max(1);
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, u32::try_from(self.width)?, u32::try_from(height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// Width of a text in pixels.
pub(super) fn text_width(text: &str) -> usize {
    text.chars().count() * font::ADVANCE * DOT
}
