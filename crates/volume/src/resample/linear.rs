//! Trilinear interpolation.

use super::grid::Line;
use super::region::{Kernel, Rows, bounds_of, ranges};
use super::taps::LinearTaps;
use crate::crop::BoundingBox;

/// Trilinear interpolation with border padding between two shapes.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub(super) axes: [LinearTaps; 3],
}

impl Linear {
    pub(crate) fn new(lines: &[Line; 3], from_zyx: [usize; 3], to_zyx: [usize; 3]) -> Self {
        let taps = |axis: usize| LinearTaps::new(&lines[axis], from_zyx[axis], to_zyx[axis], false);
        Self { axes: [taps(0), taps(1), taps(2)] }
    }
}

/// Mixes the four source rows around row (z, y) of the result into `blend`, whose last element is repeated once.
pub(super) fn blend_rows(
    source: &[f32],
    held: &BoundingBox,
    axes: &[LinearTaps; 3],
    z: usize,
    y: usize,
    blend: &mut [f32],
) {
    let [depth, height, width] = held.shape();
    let (tz, z_low, z_high) = axes[0].pair(z, held.start_zyx[0], depth);
    let (ty, y_low, y_high) = axes[1].pair(y, held.start_zyx[1], height);
    let row = |z: usize, y: usize| &source[(z * height + y) * width..][..width];
    let (blend, beyond) = blend.split_at_mut(width);
    match (tz.weight == 0.0, ty.weight == 0.0) {
        (true, true) => blend.copy_from_slice(row(z_low, y_low)),
        (true, false) => {
            for ((value, low), high) in blend.iter_mut().zip(row(z_low, y_low)).zip(row(z_low, y_high)) {
                *value = ty.mix(*low, *high);
            }
        }
        (false, true) => {
            for ((value, low), high) in blend.iter_mut().zip(row(z_low, y_low)).zip(row(z_high, y_low)) {
                *value = tz.mix(*low, *high);
            }
        }
        (false, false) => {
            let low = row(z_low, y_low).iter().zip(row(z_low, y_high));
            let high = row(z_high, y_low).iter().zip(row(z_high, y_high));
            for ((value, low), high) in blend.iter_mut().zip(low).zip(high) {
                *value = tz.mix(ty.mix(*low.0, *low.1), ty.mix(*high.0, *high.1));
            }
        }
    }
    beyond[0] = blend[width - 1];
}

impl Kernel for Linear {
    type In = f32;
    type Out = f32;

    fn target_zyx(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.axes[axis].taps.len())
    }

    fn source_box(&self, tile: &BoundingBox) -> BoundingBox {
        let [z, y, x] = ranges(tile);
        bounds_of([self.axes[0].span(z), self.axes[1].span(y), self.axes[2].span(x)])
    }

    fn scratch(&self, held: &BoundingBox, _: &BoundingBox) -> usize {
        (held.voxels() + held.shape()[2] + 1) * size_of::<f32>()
    }

    fn fill(&self, source: &[f32], held: &BoundingBox, tile: &BoundingBox, out: &mut Rows<'_, f32>) {
        let mut blend = vec![0.0; held.shape()[2] + 1];
        let [z_range, y_range, x_range] = ranges(tile);
        let first = held.start_zyx[2];
        let taps = &self.axes[2].taps[x_range.clone()];
        for z in z_range {
            for y in y_range.clone() {
                blend_rows(source, held, &self.axes, z, y, &mut blend);
                let row = out.row(z, y, x_range.clone());
                if self.axes[2].same {
                    row.copy_from_slice(&blend[..row.len()]);
                    continue;
                }
                for (value, tap) in row.iter_mut().zip(taps) {
                    let pair = &blend[tap.low as usize - first..][..2];
                    *value = tap.mix(pair[0], pair[1]);
                }
            }
        }
    }
}
