//! Labels by a linear vote of their neighbours.

use super::Label;
use super::grid::Line;
use super::region::{Kernel, Rows, bounds_of, ranges};
use super::taps::LinearTaps;
use crate::crop::BoundingBox;
use std::marker::PhantomData;

/// Weights along an axis are counted in this many parts, so that sums are exact and ties are ties.
const PARTS: u64 = 1 << 20;

/// The label whose neighbours weigh most, between two shapes.
#[derive(Debug, Clone)]
pub(crate) struct Vote<T> {
    axes: [LinearTaps; 3],
    values: PhantomData<fn(T) -> T>,
}

impl<T> Vote<T> {
    /// Along the axis `apart` only the nearest voxel votes.
    pub(crate) fn new(
        lines: &[Line; 3],
        from_zyx: [usize; 3],
        to_zyx: [usize; 3],
        apart: Option<usize>,
    ) -> Self {
        let taps =
            |axis: usize| LinearTaps::new(&lines[axis], from_zyx[axis], to_zyx[axis], apart == Some(axis));
        Self { axes: [taps(0), taps(1), taps(2)], values: PhantomData }
    }
}

/// Parts of the first and the second neighbour.
fn parts(weight: f32) -> [u64; 2] {
    let second = (f64::from(weight) * PARTS as f64).round() as u64;
    [PARTS - second, second]
}

/// Of `labels` with `weights` the one with the largest sum; of equal sums the lowest label.
fn winner<T: Label>(labels: &[T; 8], weights: &[u64; 8]) -> T {
    let (mut best, mut most) = (labels[0], 0);
    for &label in labels {
        let pairs = labels.iter().zip(weights);
        let sum: u64 = pairs.map(|(other, weight)| if *other == label { *weight } else { 0 }).sum();
        if sum > most || (sum == most && label < best) {
            (best, most) = (label, sum);
        }
    }
    best
}

impl<T: Label> Kernel for Vote<T> {
    type In = T;
    type Out = T;

    fn target_zyx(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.axes[axis].taps.len())
    }

    fn source_box(&self, tile: &BoundingBox) -> BoundingBox {
        let [z, y, x] = ranges(tile);
        bounds_of([self.axes[0].span(z), self.axes[1].span(y), self.axes[2].span(x)])
    }

    fn scratch(&self, held: &BoundingBox, _: &BoundingBox) -> usize {
        held.voxels() * size_of::<T>() + held.shape()[2]
    }

    fn fill(&self, source: &[T], held: &BoundingBox, tile: &BoundingBox, out: &mut Rows<'_, T>) {
        let [depth, height, width] = held.shape();
        let [z_range, y_range, x_range] = ranges(tile);
        // Columns in which the four rows agree: inside of objects nobody has to count.
        let mut agreed = vec![false; width];
        for z in z_range {
            let (tz, z_low, z_high) = self.axes[0].pair(z, held.start_zyx[0], depth);
            for y in y_range.clone() {
                let (ty, y_low, y_high) = self.axes[1].pair(y, held.start_zyx[1], height);
                let row = |z: usize, y: usize| &source[(z * height + y) * width..][..width];
                let rows = [row(z_low, y_low), row(z_low, y_high), row(z_high, y_low), row(z_high, y_high)];
                for (x, agreed) in agreed.iter_mut().enumerate() {
                    let first = rows[0][x];
                    *agreed = (rows[1][x] == first) & (rows[2][x] == first) & (rows[3][x] == first);
                }
                let (in_z, in_y) = (parts(tz.weight), parts(ty.weight));
                let of_row = [in_z[0] * in_y[0], in_z[0] * in_y[1], in_z[1] * in_y[0], in_z[1] * in_y[1]];
                for (value, x) in out.row(z, y, x_range.clone()).iter_mut().zip(x_range.clone()) {
                    let (tx, low, high) = self.axes[2].pair(x, held.start_zyx[2], width);
                    if agreed[low] && agreed[high] && rows[0][low] == rows[0][high] {
                        *value = rows[0][low];
                        continue;
                    }
                    let in_x = parts(tx.weight);
                    let labels = std::array::from_fn(|i| rows[i / 2][[low, high][i % 2]]);
                    let weights = std::array::from_fn(|i| of_row[i / 2] * in_x[i % 2]);
                    *value = winner(&labels, &weights);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_label_wins_and_ties_go_to_the_lowest() {
        let weights = [4, 1, 1, 1, 1, 1, 0, 0];
        assert_eq!(winner(&[5_u64, 7, 7, 7, 7, 2, 9, 9], &weights), 5);
        assert_eq!(winner(&[5_u64, 7, 7, 7, 7, 7, 9, 9], &weights), 7);
        assert_eq!(winner(&[9_u64, 7, 7, 7, 7, 2, 0, 0], &weights), 7);
        assert_eq!(parts(0.5), [PARTS / 2; 2]);
        assert_eq!(parts(0.0), [PARTS, 0]);
    }
}
