//! Pictures of the best, the median and the worst case: the slice with the largest foreground, with both outlines, and where they
//! differ.

use crate::pairing::Pair;
use crate::scoring::{self, CaseResult};
use crate::summary::Overlay;
use anyhow::Result;
use data_manifests::Descriptor;
use data_manifests::descriptor::{Intensity, Modality};
use data_manifests::raw::open;
use pictures::Canvas;
use stage::{Context, Message, atomic};
use std::path::Path;
use volume::Orientation;

/// Folder of the pictures in a score directory.
pub(crate) const DIRECTORY: &str = "overlays";

/// Outline of the reference; the report's legend uses the same colours.
pub(crate) const REFERENCE: [u8; 3] = [45, 140, 255];
/// Outline of the prediction.
pub(crate) const PREDICTION: [u8; 3] = [255, 140, 0];

/// Where both maps hold a class, but not the same one.
pub(crate) const CONFUSED: [u8; 3] = [204, 80, 180];

/// Pixels along a picture's longer side.
const SIDE: f64 = 480.0;
/// A picture shows the foreground with this share of its size around it, and at least `LEAST_VIEW` of the slice.
const MARGIN: f64 = 0.6;
const LEAST_VIEW: f64 = 0.4;

/// Best, median and worst case by mean Dice, without repeats.
fn ranked(results: &[CaseResult]) -> Vec<(&'static str, &CaseResult, f64)> {
    let mut order: Vec<(&CaseResult, f64)> =
        results.iter().filter(|r| !r.missing).filter_map(|r| Some((r, r.mean_dice()?))).collect();
    // equal scores are ordered by id, so that the choice does not depend on the order of the work
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.id.cmp(&b.0.id)));
    let Some(last) = order.len().checked_sub(1) else { return Vec::new() };
    let mut chosen: Vec<(&str, usize)> = vec![("best", 0), ("median", last / 2), ("worst", last)];
    chosen.dedup_by_key(|(_, place)| *place);
    if chosen.len() == 2 && last == 1 {
        chosen = vec![("best", 0), ("worst", 1)];
    }
    chosen.into_iter().map(|(rank, place)| (rank, order[place].0, order[place].1)).collect()
}

/// Draws the pictures into `out`.
///
/// A case whose image is not there or cannot be read has no picture, and a message says so.
pub(crate) fn draw(
    out: &Path,
    results: &[CaseResult],
    pairs: &[Pair],
    descriptor: &Descriptor,
    context: &Context,
) -> Result<Vec<Overlay>> {
    let mut overlays = Vec::new();
    for (rank, result, dice) in ranked(results) {
        let Some(pair) = pairs.iter().find(|p| p.id == result.id) else { continue };
        match case(pair, descriptor) {
            Ok(Some(Drawn { outlines, errors, slice_z, slices })) => {
                let file = format!("{DIRECTORY}/{}.png", pair.id);
                atomic::write(&out.join(&file), &outlines.encode()?)?;
                let error_file = format!("{DIRECTORY}/{}-errors.png", pair.id);
                atomic::write(&out.join(&error_file), &errors.encode()?)?;
                overlays.push(Overlay {
                    case: pair.id.clone(),
                    rank: rank.to_owned(),
                    dice,
                    slice_z,
                    slices,
                    file,
                    error_file,
                });
            }
            Ok(None) => context.tell(
                Message::info("I505", "no picture of this case: its image is not below --references")
                    .case(&pair.id),
            ),
            Err(message) => context.tell(
                Message::warning("W505", "no picture of this case")
                    .case(&pair.id)
                    .detail(message.to_string()),
            ),
        }
    }
    Ok(overlays)
}

/// One slice, rows along y and columns along x of the canonical orientation.
struct Slice<T> {
    values: Vec<T>,
    height: usize,
    width: usize,
}

impl<T: Copy> Slice<T> {
    fn at(&self, y: usize, x: usize) -> T {
        self.values[y * self.width + x]
    }
}

/// The part of a slice that is shown, and how its pixels lie in it.
struct View {
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
    /// Place in the slice (y, x; voxel centres are whole numbers) of a pixel's centre.
    fn place(&self, row: usize, column: usize) -> [f64; 2] {
        let along = |pixel: usize, axis: usize| {
            let share = (pixel as f64 + 0.5) / self.pixels[axis] as f64;
            let share = if self.flip { 1.0 - share } else { share };
            self.start[axis] + share * self.extent[axis] - 0.5
        };
        [along(row, 0), along(column, 1)]
    }

    /// The label at a pixel's centre.
    fn nearest(&self, labels: &Slice<u32>, row: usize, column: usize) -> u32 {
        let [y, x] = self.place(row, column);
        let inside = |v: f64, n: usize| (v.round().max(0.0) as usize).min(n - 1);
        labels.at(inside(y, labels.height), inside(x, labels.width))
    }

    /// A view of the foreground in a slice of `shape` voxels with `spacing` mm.
    fn of(foreground: &Slice<bool>, spacing: [f64; 2], flip: bool) -> Self {
        let shape = [foreground.height, foreground.width];
        let mut low = [usize::MAX; 2];
        let mut high = [0; 2];
        for y in 0..shape[0] {
            for x in 0..shape[1] {
                if foreground.at(y, x) {
                    low = [low[0].min(y), low[1].min(x)];
                    high = [high[0].max(y + 1), high[1].max(x + 1)];
                }
            }
        }
        let mut start = [0.0; 2];
        let mut extent = shape.map(|n| n as f64);
        if low[0] < high[0] {
            // the same length in mm along both axes, so that small structures are not shown as strips
            let needed = (0..2)
                .map(|a| {
                    ((high[a] - low[a]) as f64 * (1.0 + 2.0 * MARGIN)).max(LEAST_VIEW * shape[a] as f64)
                        * spacing[a]
                })
                .fold(0.0, f64::max);
            for a in 0..2 {
                let n = shape[a] as f64;
                extent[a] = (needed / spacing[a]).min(n);
                let middle = (low[a] + high[a]) as f64 / 2.0;
                start[a] = (middle - extent[a] / 2.0).clamp(0.0, n - extent[a]);
            }
        }
        let millimetres = [extent[0] * spacing[0], extent[1] * spacing[1]];
        let longest = millimetres[0].max(millimetres[1]);
        let pixels = millimetres.map(|mm| ((mm / longest * SIDE).round() as usize).max(1));
        Self { start, extent, pixels, flip }
    }
}

/// The pictures of one slice of a case.
struct Drawn {
    /// With the outlines of reference and prediction.
    outlines: Canvas,
    /// With what was missed, invented or confused.
    errors: Canvas,
    slice_z: usize,
    slices: usize,
}

/// The pictures of a case; `None` without an image.
fn case(pair: &Pair, descriptor: &Descriptor) -> Result<Option<Drawn>, Message> {
    let (Some(source), Some(path)) = (&pair.image, &pair.prediction) else { return Ok(None) };
    let flaw = |e: volume::VolumeError| Message::error(e.code(), e.to_string());
    let reference = scoring::reference::<u32>(pair, descriptor)?;
    let prediction = scoring::prediction::<u32>(pair, path, descriptor)?;
    let image = open::image(source).map_err(flaw)?;
    let shape = reference.grid.shape_zyx;
    if image.grid.shape_zyx != shape {
        return Err(Message::error("E503", "image and reference differ in shape (z, y, x)")
            .detail(format!("{:?} and {shape:?}", image.grid.shape_zyx)));
    }
    let orientation = Orientation::to_canonical(&reference.grid);
    let grid = orientation.apply_to_grid(&reference.grid);
    let channel = &image.data[..shape.iter().product()];
    let (intensities, [nz, ny, nx]) = orientation.apply(channel, shape).map_err(flaw)?;
    let (truth, _) = orientation.apply(&reference.voxels, shape).map_err(flaw)?;
    let (guess, _) = orientation.apply(&prediction.voxels, shape).map_err(flaw)?;
    let area = ny * nx;
    let count =
        |labels: &[u32], z: usize| labels[z * area..(z + 1) * area].iter().filter(|v| **v != 0).count();
    let largest =
        |labels: &[u32]| (0..nz).rev().max_by_key(|z| count(labels, *z)).filter(|z| count(labels, *z) > 0);
    let z = largest(&truth).or_else(|| largest(&guess)).unwrap_or(nz / 2);
    let slice =
        |labels: &[u32]| Slice { values: labels[z * area..(z + 1) * area].to_vec(), height: ny, width: nx };
    let (truth, guess) = (slice(&truth), slice(&guess));
    let foreground = Slice {
        values: truth.values.iter().zip(&guess.values).map(|(a, b)| *a != 0 || *b != 0).collect(),
        height: ny,
        width: nx,
    };
    let spacing = grid.spacing_zyx_mm();
    let view = View::of(&foreground, [spacing[1], spacing[2]], descriptor.modality != Modality::Em);
    let grey = Slice { values: intensities[z * area..(z + 1) * area].to_vec(), height: ny, width: nx };
    let window = window(&grey.values, &descriptor.intensity);
    let shade = |row: usize, column: usize| {
        let value = interpolate(&grey, view.place(row, column));
        let share = ((value - window[0]) / (window[1] - window[0])).clamp(0.0, 1.0);
        (share * 255.0).round() as u8
    };
    let mut outlines = Canvas::painted(view.pixels[0], view.pixels[1], |row, column| [shade(row, column); 3]);
    outline(&mut outlines, &truth, &view, REFERENCE, 1);
    outline(&mut outlines, &guess, &view, PREDICTION, 0);
    let errors = Canvas::painted(view.pixels[0], view.pixels[1], |row, column| {
        let grey = shade(row, column);
        match error_colour(view.nearest(&truth, row, column), view.nearest(&guess, row, column)) {
            Some(colour) => colour.map(|c| ((u16::from(c) * 2 + u16::from(grey)) / 3) as u8),
            None => [grey; 3],
        }
    });
    Ok(Some(Drawn { outlines, errors, slice_z: z, slices: nz }))
}

/// How an error of one pixel is marked: missed in the reference's colour, invented in the prediction's.
fn error_colour(truth: u32, guess: u32) -> Option<[u8; 3]> {
    match (truth, guess) {
        (t, g) if t == g => None,
        (_, 0) => Some(REFERENCE),
        (0, _) => Some(PREDICTION),
        _ => Some(CONFUSED),
    }
}

/// Intensities shown as black and white: the data set's window for CT, else the slice's 1st and 99th percentile.
fn window(values: &[f32], rule: &Intensity) -> [f32; 2] {
    let [low, high] = if let Intensity::CtWindow { low, high } = rule {
        [*low, *high]
    } else {
        let mut sorted: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| {
            sorted.get((share * sorted.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(0.0)
        };
        [at(0.01), at(0.99)]
    };
    if high > low { [low, high] } else { [low, low + 1.0] }
}

fn interpolate(slice: &Slice<f32>, [y, x]: [f64; 2]) -> f32 {
    let y = y.clamp(0.0, (slice.height - 1) as f64);
    let x = x.clamp(0.0, (slice.width - 1) as f64);
    let (y0, x0) = (y.floor() as usize, x.floor() as usize);
    let (y1, x1) = ((y0 + 1).min(slice.height - 1), (x0 + 1).min(slice.width - 1));
    let (fy, fx) = ((y - y0 as f64) as f32, (x - x0 as f64) as f32);
    let top = slice.at(y0, x0) * (1.0 - fx) + slice.at(y0, x1) * fx;
    let bottom = slice.at(y1, x0) * (1.0 - fx) + slice.at(y1, x1) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Draws the borders between labels: two pixels, and `reach` more on each side.
fn outline(picture: &mut Canvas, labels: &Slice<u32>, view: &View, colour: [u8; 3], reach: usize) {
    let [height, width] = view.pixels;
    let label = |row: usize, column: usize| view.nearest(labels, row, column);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_keeps_the_foreground_and_the_proportions() {
        let mut values = vec![false; 100 * 200];
        values[50 * 200 + 190] = true;
        let foreground = Slice { values, height: 100, width: 200 };
        let view = View::of(&foreground, [1.0, 0.5], false);
        assert_eq!(view.pixels, [480, 480]);
        assert_eq!((view.extent, view.start), ([40.0, 80.0], [30.5, 120.0]));
        let [y, x] = view.place(0, 0);
        assert!((y - (30.5 - 0.5 + 20.0 / 480.0)).abs() < 1e-9 && x > 119.4, "{y} {x}");
    }

    #[test]
    fn errors_are_told_apart() {
        let found = [(1, 1), (1, 0), (0, 2), (1, 2), (0, 0)].map(|(t, g)| error_colour(t, g));
        assert_eq!(found, [None, Some(REFERENCE), Some(PREDICTION), Some(CONFUSED), None]);
    }

    #[test]
    fn flipped_views_begin_at_the_far_corner() {
        let foreground = Slice { values: vec![false; 12], height: 3, width: 4 };
        let view = View::of(&foreground, [1.0, 1.0], true);
        let [y, x] = view.place(0, 0);
        assert_eq!((y.round(), x.round()), (2.0, 3.0));
    }
}
