//! Small RGB pictures.

use anyhow::Result;

/// An RGB picture, rows from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// A picture whose pixel at (row, column) is `at(row, column)`.
    pub(crate) fn new(height: usize, width: usize, mut at: impl FnMut(usize, usize) -> [u8; 3]) -> Self {
        let pixels = (0..height * width).map(|i| at(i / width, i % width)).collect();
        Self { width, height, pixels }
    }

    /// Colours a pixel; places outside are left out.
    pub(crate) fn paint(&mut self, row: usize, column: usize, colour: [u8; 3]) {
        if row < self.height && column < self.width {
            self.pixels[row * self.width + column] = colour;
        }
    }

    /// The PNG file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder =
            png::Encoder::new(&mut bytes, u32::try_from(self.width)?, u32::try_from(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish()?;
        Ok(bytes)
    }
}
