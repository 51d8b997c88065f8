//! An RGB picture that can be written on.

use crate::font;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Dots of a letter are this many pixels wide and high.
const DOT: usize = 2;

/// Pixels from one line of text to the next.
pub const LINE: usize = (font::HEIGHT + 2) * DOT;

/// A picture, rows from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    width: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// A picture of one colour.
    #[must_use]
    pub fn new(height: usize, width: usize, colour: Colour) -> Self {
        Self { width, pixels: vec![colour; height * width] }
    }

    /// A picture whose pixel at (row, column) is `at(row, column)`.
    #[must_use]
    pub fn painted(height: usize, width: usize, mut at: impl FnMut(usize, usize) -> Colour) -> Self {
        let pixels = (0..height * width).map(|i| at(i / width, i % width)).collect();
        Self { width, pixels }
    }

    /// Colours a pixel; places outside are left out.
    pub fn set(&mut self, row: usize, column: usize, colour: Colour) {
        if column < self.width
            && let Some(pixel) = self.pixels.get_mut(row * self.width + column)
        {
            *pixel = colour;
        }
    }

    /// The colour of a pixel; none outside.
    #[must_use]
    pub fn at(&self, row: usize, column: usize) -> Option<Colour> {
        if column < self.width { self.pixels.get(row * self.width + column).copied() } else { None }
    }

    /// Fills a rectangle of `size` rows and columns.
    pub fn fill(&mut self, row: usize, column: usize, size: [usize; 2], colour: Colour) {
        for r in row..row + size[0] {
            for c in column..column + size[1] {
                self.set(r, c, colour);
            }
        }
    }

    /// Lays a picture on this one with its upper left corner at a place; what lies outside is left out.
    pub fn paste(&mut self, row: usize, column: usize, picture: &Self) {
        for (i, colour) in picture.pixels.iter().enumerate() {
            self.set(row + i / picture.width, column + i % picture.width, *colour);
        }
    }

    /// Writes a line of text with its upper left corner at a place.
    pub fn write(&mut self, row: usize, column: usize, text: &str, colour: Colour) {
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
    pub fn write_on_picture(&mut self, row: usize, column: usize, text: &str) {
        for (r, c) in [(0, 1), (1, 0), (2, 1), (1, 2)] {
            self.write(row + r, column + c, text, [0; 3]);
        }
        self.write(row + 1, column + 1, text, [255; 3]);
    }

    /// Draws a straight line between two places `[row, column]`, `thick` pixels wide, its edges smooth.
    pub fn line(&mut self, from: [f64; 2], to: [f64; 2], thick: f64, colour: Colour) {
        let reach = thick / 2.0 + 1.0;
        let [rows, columns] = [0, 1].map(|axis| {
            let (low, high) = (from[axis].min(to[axis]) - reach, from[axis].max(to[axis]) + reach);
            // negative places are outside; casts saturate
            low.floor() as usize..high.ceil() as usize + 1
        });
        let along = [to[0] - from[0], to[1] - from[1]];
        let length = along[0].mul_add(along[0], along[1] * along[1]);
        for row in rows.start..rows.end.min(self.height()) {
            for column in columns.start..columns.end.min(self.width) {
                let place = [row as f64 - from[0], column as f64 - from[1]];
                let share = if length > 0.0 {
                    (place[0].mul_add(along[0], place[1] * along[1]) / length).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let away = share.mul_add(-along[0], place[0]).hypot(share.mul_add(-along[1], place[1]));
                self.blend(row, column, colour, (thick / 2.0 + 0.5 - away).clamp(0.0, 1.0));
            }
        }
    }

    /// Mixes a share of a colour into a pixel; places outside are left out.
    pub fn blend(&mut self, row: usize, column: usize, colour: Colour, share: f64) {
        if share > 0.0
            && column < self.width
            && let Some(pixel) = self.pixels.get_mut(row * self.width + column)
        {
            for (old, new) in pixel.iter_mut().zip(colour) {
                *old = (f64::from(new) - f64::from(*old)).mul_add(share, f64::from(*old)).round() as u8;
            }
        }
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.pixels.len().checked_div(self.width).unwrap_or_default()
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The PNG file.
    ///
    /// # Errors
    /// For a picture without pixels, or with more than PNG can hold.
    pub fn encode(&self) -> Result<Vec<u8>, png::EncodingError> {
        // what does not fit in 32 bits is refused as too large
        let size = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, size(self.width), size(self.height()));
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// Width of a text in pixels.
#[must_use]
pub fn text_width(text: &str) -> usize {
    text.chars().count() * font::ADVANCE * DOT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dark(canvas: &Canvas) -> Vec<(usize, usize)> {
        let width = canvas.width();
        let dark = canvas.pixels.iter().enumerate().filter(|(_, pixel)| pixel[0] < 128);
        dark.map(|(i, _)| (i / width, i % width)).collect()
    }

    #[test]
    fn lines_and_letters_are_where_they_belong() {
        let mut canvas = Canvas::new(9, 12, [255; 3]);
        canvas.line([4.0, 2.0], [4.0, 9.0], 1.0, [0; 3]);
        assert_eq!(dark(&canvas), (2..=9).map(|column| (4, column)).collect::<Vec<_>>());
        let mut canvas = Canvas::new(LINE, text_width("ll"), [255; 3]);
        canvas.write(0, 0, "l", [0; 3]);
        let left = dark(&canvas);
        assert!(!left.is_empty() && left.iter().all(|(_, column)| *column < text_width("l")));
    }

    #[test]
    fn the_file_holds_the_pixels() {
        let mut canvas = Canvas::new(3, 5, [1, 2, 3]);
        canvas.set(2, 4, [9, 8, 7]);
        let bytes = canvas.encode().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; 3 * 5 * 3];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (5, 3));
        assert_eq!(pixels, canvas.pixels.as_flattened());
        assert!(Canvas::new(0, 5, [0; 3]).encode().is_err());
    }

    proptest! {
        #[test]
        fn what_lies_outside_is_left_out(
            from in prop::array::uniform2(-40.0f64..60.0), to in prop::array::uniform2(-40.0f64..60.0), thick in 0.5f64..4.0,
        ) {
            let mut canvas = Canvas::new(16, 20, [255; 3]);
            canvas.line(from, to, thick, [0; 3]);
            let reach = thick / 2.0 + 1.0;
            for (row, column) in dark(&canvas) {
                for (axis, place) in [row as f64, column as f64].into_iter().enumerate() {
                    prop_assert!(place >= from[axis].min(to[axis]) - reach && place <= from[axis].max(to[axis]) + reach);
                }
            }
        }
    }
}
