//! Cubic splines, one axis after the other: z, then y, then x.

use super::grid::half_pixel_lines;
use super::region::{Kernel, Rows, bounds_of, ranges};
use super::taps::SplineTaps;
use crate::crop::BoundingBox;

/// Order 3 along each axis, or along all but one, whose nearest slice is taken.
#[derive(Debug, Clone)]
pub(crate) struct Spline {
    axes: [SplineTaps; 3],
    /// Nothing changes at all, so that nothing is clipped either.
    same: bool,
}

/// The values that a result may have. Splines overshoot; scikit-image's `resize` clips to the range of what it was
/// given, which is a slice where an axis is apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Clip {
    /// One range for the channel.
    Whole([f32; 2]),
    /// A range per source slice along an axis.
    Slices {
        /// The axis apart.
        axis: usize,
        /// Smallest and largest value of each slice.
        ranges: Vec<[f32; 2]>,
    },
}

impl Clip {
    /// The ranges of one channel (z, y, x).
    pub(super) fn of(data: &[f32], shape_zyx: [usize; 3], apart: Option<usize>) -> Self {
        let nothing = [f32::INFINITY, f32::NEG_INFINITY];
        let grown = |[low, high]: [f32; 2], value: f32| [low.min(value), high.max(value)];
        let Some(axis) = apart else {
            return Self::Whole(data.iter().fold(nothing, |range, value| grown(range, *value)));
        };
        let mut ranges = vec![nothing; shape_zyx[axis]];
        for (number, row) in data.chunks_exact(shape_zyx[2]).enumerate() {
            if axis == 2 {
                ranges.iter_mut().zip(row).for_each(|(range, value)| *range = grown(*range, *value));
                continue;
            }
            let slice = [number / shape_zyx[1], number % shape_zyx[1]][axis];
            ranges[slice] = row.iter().fold(ranges[slice], |range, value| grown(range, *value));
        }
        Self::Slices { axis, ranges }
    }
}

impl Spline {
    /// Between shapes whose edges coincide.
    pub(crate) fn new(from_zyx: [usize; 3], to_zyx: [usize; 3], apart: Option<usize>) -> Self {
        let lines = half_pixel_lines(from_zyx, to_zyx);
        let taps = |axis: usize| {
            let (from, to) = (from_zyx[axis], to_zyx[axis]);
            if from == to {
                SplineTaps::same(from)
            } else if apart == Some(axis) {
                SplineTaps::nearest(&lines[axis], from, to)
            } else {
                SplineTaps::cubic(&lines[axis], from, to)
            }
        };
        Self { axes: [taps(0), taps(1), taps(2)], same: from_zyx == to_zyx }
    }

    /// Ready for a channel with these ranges.
    pub(crate) fn clipped<'a>(&'a self, clip: &'a Clip) -> ClippedSpline<'a> {
        ClippedSpline { spline: self, clip }
    }
}

/// A spline for one channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClippedSpline<'a> {
    spline: &'a Spline,
    clip: &'a Clip,
}

impl ClippedSpline<'_> {
    /// Clips row (z, y) of the result from column `x` on.
    fn clip(&self, row: &mut [f32], z: usize, y: usize, x: usize) {
        let clip = |value: &mut f32, [low, high]: [f32; 2]| *value = value.max(low).min(high);
        match self.clip {
            Clip::Whole(range) => row.iter_mut().for_each(|value| clip(value, *range)),
            Clip::Slices { axis: 2, ranges } => {
                let slices = &self.spline.axes[2].start[x..];
                for (value, slice) in row.iter_mut().zip(slices) {
                    clip(value, ranges[*slice as usize]);
                }
            }
            Clip::Slices { axis, ranges } => {
                let slice = self.spline.axes[*axis].start[[z, y][*axis]];
                row.iter_mut().for_each(|value| clip(value, ranges[slice as usize]));
            }
        }
    }
}

impl Kernel for ClippedSpline<'_> {
    type In = f32;
    type Out = f32;

    fn target_zyx(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.spline.axes[axis].start.len())
    }

    fn source_box(&self, tile: &BoundingBox) -> BoundingBox {
        let [z, y, x] = ranges(tile);
        let axes = &self.spline.axes;
        bounds_of([axes[0].span(z), axes[1].span(y), axes[2].span(x)])
    }

    fn scratch(&self, held: &BoundingBox, tile: &BoundingBox) -> usize {
        let [_, height, width] = held.shape();
        let between = if self.spline.axes[0].width == 1 { 0 } else { tile.shape()[0] * height * width };
        (held.voxels() + between + width) * size_of::<f32>()
    }

    fn fill(&self, source: &[f32], held: &BoundingBox, tile: &BoundingBox, out: &mut Rows<'_, f32>) {
        let axes = &self.spline.axes;
        let [_, height, width] = held.shape();
        let plane = height * width;
        let [z_range, y_range, x_range] = ranges(tile);
        let z_start = |z: usize| axes[0].start[z] as usize - held.start_zyx[0];
        let mut between = Vec::new();
        if axes[0].width > 1 {
            between.resize(z_range.len() * plane, 0.0);
            // Row by row, so that the source rows of all planes stay in the cache.
            for row in (0..plane).step_by(width) {
                for (number, z) in z_range.clone().enumerate() {
                    let to = &mut between[number * plane + row..][..width];
                    weighted_rows(source, z_start(z) * plane + row, plane, axes[0].weights(z), to);
                }
            }
        }
        let mut mixed = vec![0.0; width];
        for (number, z) in z_range.enumerate() {
            let slice =
                if axes[0].width > 1 { &between[number * plane..] } else { &source[z_start(z) * plane..] };
            for y in y_range.clone() {
                let first = (axes[1].start[y] as usize - held.start_zyx[1]) * width;
                let mixed = if axes[1].width > 1 {
                    weighted_rows(slice, first, width, axes[1].weights(y), &mut mixed);
                    &mixed
                } else {
                    &slice[first..][..width]
                };
                let row = out.row(z, y, x_range.clone());
                self.along_x(mixed, held.start_zyx[2], x_range.start, row);
                if !self.spline.same {
                    self.clip(row, z, y, x_range.start);
                }
            }
        }
    }
}

impl ClippedSpline<'_> {
    /// Interpolates a row that begins at source column `held`, from column `x` of the result on.
    fn along_x(&self, mixed: &[f32], held: usize, x: usize, row: &mut [f32]) {
        let taps = &self.spline.axes[2];
        if taps.same {
            row.copy_from_slice(&mixed[x - held..][..row.len()]);
            return;
        }
        let starts = &taps.start[x..];
        if taps.width == 1 {
            for (value, start) in row.iter_mut().zip(starts) {
                *value = mixed[*start as usize - held];
            }
            return;
        }
        let weights = taps.weights[x * taps.width..].chunks_exact(taps.width);
        for ((value, start), weights) in row.iter_mut().zip(starts).zip(weights) {
            *value = dot(weights, &mixed[*start as usize - held..][..taps.width]);
        }
    }
}

/// `out[i] = Σ weights[k] · source[first + k · stride + i]`, summed in the order of `k`.
fn weighted_rows(source: &[f32], first: usize, stride: usize, weights: &[f32], out: &mut [f32]) {
    // as many sums as fit into registers
    const LANES: usize = 32;
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    let done = chunks.len() * LANES;
    for (number, chunk) in chunks.iter_mut().enumerate() {
        let mut sums = [0.0_f32; LANES];
        for (k, weight) in weights.iter().enumerate() {
            let values = &source[first + k * stride + number * LANES..][..LANES];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
        *chunk = sums;
    }
    rest.fill(0.0);
    for (k, weight) in weights.iter().enumerate() {
        let values = &source[first + k * stride + done..][..rest.len()];
        for (sum, value) in rest.iter_mut().zip(values) {
            *sum += weight * value;
        }
    }
}

/// Σ weights[k] · values[k], in eight sums that are added in a fixed order.
fn dot(weights: &[f32], values: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0_f32; LANES];
    let (weights, weights_rest) = weights.as_chunks::<LANES>();
    let (values, values_rest) = values.as_chunks::<LANES>();
    for (weights, values) in weights.iter().zip(values) {
        for lane in 0..LANES {
            sums[lane] += weights[lane] * values[lane];
        }
    }
    for ((sum, weight), value) in sums.iter_mut().zip(weights_rest).zip(values_rest) {
        *sum += weight * value;
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
