//! One section of an image with label maps on it: outlines, and where two of them differ.
//!
//! Sections are rows along y and columns along x of the canonical orientation; places are `[y, x]` in voxels, whole numbers at
//! voxel centres.

use crate::{Canvas, Colour};

/// Outline of the reference, and what was missed.
pub const REFERENCE: Colour = [45, 140, 255];
/// Outline of the prediction, and what was invented.
pub const PREDICTION: Colour = [255, 140, 0];
/// Where both maps hold a class, but not the same one.
pub const CONFUSED: Colour = [204, 80, 180];

/// A view shows the foreground with this share of its size around it, and at least `LEAST_VIEW` of the section.
const MARGIN: f64 = 0.6;
const LEAST_VIEW: f64 = 0.4;

/// A section of a volume.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a, T> {
    values: &'a [T],
    shape_yx: [usize; 2],
}

impl<'a, T: Copy> Section<'a, T> {
    /// Section `z` of a volume of `shape_zyx`, of whose sections there must be at least `z + 1`.
    ///
    /// # Panics
    /// When the volume does not hold that section.
    #[must_use]
    pub fn of(volume: &'a [T], shape_zyx: [usize; 3], z: usize) -> Self {
        let [_, ny, nx] = shape_zyx;
        Self { values: &volume[z * ny * nx..(z + 1) * ny * nx], shape_yx: [ny, nx] }
    }

    /// Its values, row after row.
    #[must_use]
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    fn at(&self, y: usize, x: usize) -> T {
        self.values[y * self.shape_yx[1] + x]
    }
}

/// The section with the largest foreground of `reference`, the last of equal ones; of `prediction` where that has none, and the
/// middle where neither has.
#[must_use]
pub fn fullest(reference: &[u32], prediction: &[u32], shape_zyx: [usize; 3]) -> usize {
    let [nz, ny, nx] = shape_zyx;
    let largest = |labels: &[u32]| {
        let count =
            |z: &usize| labels[z * ny * nx..(z + 1) * ny * nx].iter().filter(|label| **label != 0).count();
        (0..nz).rev().max_by_key(count).filter(|z| count(z) > 0)
    };
    largest(reference).or_else(|| largest(prediction)).unwrap_or(nz / 2)
}

/// The 1st and the 99th percentile of what is finite: what is shown as black and white where nothing else is known.
#[must_use]
pub fn percentiles(values: &[f32]) -> [f32; 2] {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    [0.01, 0.99].map(|share| {
        sorted.get((share * sorted.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(0.0)
    })
}

/// The part of a section that is shown, and how its pixels lie in it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// First row and column, in voxels.
    start: [f64; 2],
    /// Rows and columns, in voxels.
    extent: [f64; 2],
    /// Rows and columns of the picture.
    pixels: [usize; 2],
    /// Whether rows and columns run against the voxels: medical images are shown as if seen from the feet, front up.
    flip: bool,
}

impl View {
    /// A view of what is foreground in one of the label maps (all of one shape), `side` pixels along its longer side; voxels are
    /// `spacing_yx` apart.
    #[must_use]
    pub fn of(labels: &[Section<'_, u32>], spacing_yx: [f64; 2], side: usize, flip: bool) -> Self {
        let shape = labels.first().map_or([1; 2], |section| section.shape_yx);
        let mut low = [usize::MAX; 2];
        let mut high = [0; 2];
        for y in 0..shape[0] {
            for x in 0..shape[1] {
                if labels.iter().any(|section| section.at(y, x) != 0) {
                    low = [low[0].min(y), low[1].min(x)];
                    high = [high[0].max(y + 1), high[1].max(x + 1)];
                }
            }
        }
        let mut start = [0.0; 2];
        let mut extent = shape.map(|n| n as f64);
        if low[0] < high[0] {
            // the same length along both axes, so that small structures are not shown as strips
            let needed = (0..2)
                .map(|a| {
                    ((high[a] - low[a]) as f64 * (1.0 + 2.0 * MARGIN)).max(LEAST_VIEW * shape[a] as f64)
                        * spacing_yx[a]
                })
                .fold(0.0, f64::max);
            for a in 0..2 {
                let n = shape[a] as f64;
                extent[a] = (needed / spacing_yx[a]).min(n);
                let middle = (low[a] + high[a]) as f64 / 2.0;
                start[a] = (middle - extent[a] / 2.0).clamp(0.0, n - extent[a]);
            }
        }
        let lengths = [extent[0] * spacing_yx[0], extent[1] * spacing_yx[1]];
        let longest = lengths[0].max(lengths[1]);
        let pixels = lengths.map(|length| ((length / longest * side as f64).round() as usize).max(1));
        Self { start, extent, pixels, flip }
    }

    /// The picture of an image, `window` from black to white.
    #[must_use]
    pub fn image(&self, image: &Section<'_, f32>, window: [f32; 2]) -> Canvas {
        let [low, high] = if window[1] > window[0] { window } else { [window[0], window[0] + 1.0] };
        Canvas::painted(self.pixels[0], self.pixels[1], |row, column| {
            let value = interpolate(image, self.place(row, column));
            let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
            [(share * 255.0).round() as u8; 3]
        })
    }

    /// Draws the borders between labels: two pixels, and `reach` more on each side.
    pub fn outline(&self, picture: &mut Canvas, labels: &Section<'_, u32>, colour: Colour, reach: usize) {
        let [height, width] = self.pixels;
        let label = |row: usize, column: usize| self.nearest(labels, row, column);
        let mut border = vec![false; height * width];
        for row in 0..height {
            for column in 0..width {
                let here = label(row, column);
                let differs = |r: usize, c: usize| r < height && c < width && label(r, c) != here;
                if differs(row + 1, column) || differs(row, column + 1) {
                    for r in row.saturating_sub(reach)..=row + 1 + reach {
                        for c in column.saturating_sub(reach)..=column + 1 + reach {
                            if r < height && c < width {
                                border[r * width + c] = true;
                            }
                        }
                    }
                }
            }
        }
        for (i, _) in border.iter().enumerate().filter(|(_, b)| **b) {
            picture.set(i / width, i % width, colour);
        }
    }

    /// Colours what was missed, invented or confused.
    pub fn errors(&self, picture: &mut Canvas, reference: &Section<'_, u32>, prediction: &Section<'_, u32>) {
        for row in 0..self.pixels[0] {
            for column in 0..self.pixels[1] {
                let labels = [reference, prediction].map(|section| self.nearest(section, row, column));
                if let Some(colour) = error_colour(labels) {
                    picture.blend(row, column, colour, 2.0 / 3.0);
                }
            }
        }
    }

    /// Place in the section of a pixel's centre.
    fn place(&self, row: usize, column: usize) -> [f64; 2] {
        let along = |pixel: usize, axis: usize| {
            let share = (pixel as f64 + 0.5) / self.pixels[axis] as f64;
            let share = if self.flip { 1.0 - share } else { share };
            self.start[axis] + share * self.extent[axis] - 0.5
        };
        [along(row, 0), along(column, 1)]
    }

    /// The label at a pixel's centre.
    fn nearest(&self, labels: &Section<'_, u32>, row: usize, column: usize) -> u32 {
        let [y, x] = self.place(row, column);
        let inside = |v: f64, n: usize| (v.round().max(0.0) as usize).min(n - 1);
        labels.at(inside(y, labels.shape_yx[0]), inside(x, labels.shape_yx[1]))
    }
}

/// How an error is marked: missed in the reference's colour, invented in the prediction's.
fn error_colour([reference, prediction]: [u32; 2]) -> Option<Colour> {
    match (reference, prediction) {
        (r, p) if r == p => None,
        (_, 0) => Some(REFERENCE),
        (0, _) => Some(PREDICTION),
        _ => Some(CONFUSED),
    }
}

fn interpolate(image: &Section<'_, f32>, [y, x]: [f64; 2]) -> f32 {
    let [height, width] = image.shape_yx;
    let y = y.clamp(0.0, (height - 1) as f64);
    let x = x.clamp(0.0, (width - 1) as f64);
    let (y0, x0) = (y.floor() as usize, x.floor() as usize);
    let (y1, x1) = ((y0 + 1).min(height - 1), (x0 + 1).min(width - 1));
    let (fy, fx) = ((y - y0 as f64) as f32, (x - x0 as f64) as f32);
    let top = image.at(y0, x0) * (1.0 - fx) + image.at(y0, x1) * fx;
    let bottom = image.at(y1, x0) * (1.0 - fx) + image.at(y1, x1) * fx;
    top * (1.0 - fy) + bottom * fy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_keeps_the_foreground_and_the_proportions() {
        let mut values = vec![0; 100 * 200];
        values[50 * 200 + 190] = 7;
        let view = View::of(&[Section::of(&values, [1, 100, 200], 0)], [1.0, 0.5], 480, false);
        assert_eq!(view.pixels, [480, 480]);
        assert_eq!((view.extent, view.start), ([40.0, 80.0], [30.5, 120.0]));
        let [y, x] = view.place(0, 0);
        assert!((y - (30.5 - 0.5 + 20.0 / 480.0)).abs() < 1e-9 && x > 119.4, "{y} {x}");
    }

    #[test]
    fn errors_are_told_apart() {
        let found = [[1, 1], [1, 0], [0, 2], [1, 2], [0, 0]].map(error_colour);
        assert_eq!(found, [None, Some(REFERENCE), Some(PREDICTION), Some(CONFUSED), None]);
    }

    #[test]
    fn flipped_views_begin_at_the_far_corner() {
        let view = View::of(&[Section::of(&[0; 12], [1, 3, 4], 0)], [1.0, 1.0], 480, true);
        let [y, x] = view.place(0, 0);
        assert_eq!((y.round(), x.round()), (2.0, 3.0));
    }

    #[test]
    fn pictures_show_what_lies_below_their_pixels() {
        // two voxels side by side, the right one is the reference's, the left one the prediction's
        let shape = [1, 1, 2];
        let image = [0.0_f32, 1.0];
        let [reference, prediction] = [[0_u32, 1], [1, 0]];
        let [reference, prediction] = [&reference, &prediction].map(|labels| Section::of(labels, shape, 0));
        let view = View::of(&[reference, prediction], [2.0, 1.0], 8, false);
        assert_eq!(view.pixels, [8, 8]);
        let mut picture = view.image(&Section::of(&image, shape, 0), [0.0, 1.0]);
        assert_eq!((picture.at(4, 0), picture.at(4, 7)), (Some([0; 3]), Some([255; 3])));
        view.errors(&mut picture, &reference, &prediction);
        assert_eq!(picture.at(4, 0), Some([170, 93, 0]));
        assert_eq!(picture.at(4, 7), Some([115, 178, 255]));
        view.outline(&mut picture, &reference, REFERENCE, 0);
        assert_eq!((picture.at(0, 3), picture.at(0, 4)), (Some(REFERENCE), Some(REFERENCE)));
        assert_ne!(picture.at(0, 2), Some(REFERENCE));
    }

    #[test]
    fn the_fullest_section_is_the_references() {
        let shape = [3, 1, 2];
        assert_eq!(fullest(&[0, 1, 1, 1, 0, 0], &[0; 6], shape), 1);
        assert_eq!(fullest(&[0; 6], &[0, 0, 0, 0, 0, 2], shape), 2);
        assert_eq!(fullest(&[0; 6], &[0; 6], shape), 1);
    }

    #[test]
    fn what_is_not_finite_has_no_percentile() {
        assert_eq!(percentiles(&[f32::NAN, 3.0, 1.0, f32::INFINITY]), [1.0, 1.0]);
        assert_eq!(percentiles(&[]), [0.0, 0.0]);
    }
}
