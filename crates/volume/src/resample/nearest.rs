//! The nearest voxel.

use super::grid::Line;
use super::region::{Kernel, Rows, bounds_of, ranges};
use super::taps::NearestTaps;
use crate::crop::BoundingBox;
use std::marker::PhantomData;

/// The nearest voxel, ties to the even index, between two shapes.
#[derive(Debug, Clone)]
pub(crate) struct Nearest<T> {
    axes: [NearestTaps; 3],
    values: PhantomData<fn(T) -> T>,
}

impl<T> Nearest<T> {
    pub(crate) fn new(lines: &[Line; 3], from_zyx: [usize; 3], to_zyx: [usize; 3]) -> Self {
        let taps = |axis: usize| NearestTaps::new(&lines[axis], from_zyx[axis], to_zyx[axis]);
        Self { axes: [taps(0), taps(1), taps(2)], values: PhantomData }
    }
}

impl<T: Copy + Default + Send + Sync> Kernel for Nearest<T> {
    type In = T;
    type Out = T;

    fn target_zyx(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.axes[axis].0.len())
    }

    fn source_box(&self, tile: &BoundingBox) -> BoundingBox {
        let [z, y, x] = ranges(tile);
        bounds_of([self.axes[0].span(z), self.axes[1].span(y), self.axes[2].span(x)])
    }

    fn scratch(&self, held: &BoundingBox, _: &BoundingBox) -> usize {
        held.voxels() * size_of::<T>()
    }

    fn fill(&self, source: &[T], held: &BoundingBox, tile: &BoundingBox, out: &mut Rows<'_, T>) {
        let [_, height, width] = held.shape();
        let [z_range, y_range, x_range] = ranges(tile);
        let columns = &self.axes[2].0[x_range.clone()];
        for z in z_range {
            let plane = self.axes[0].0[z] as usize - held.start_zyx[0];
            for y in y_range.clone() {
                let row = plane * height + self.axes[1].0[y] as usize - held.start_zyx[1];
                let row = &source[row * width..][..width];
                for (value, column) in out.row(z, y, x_range.clone()).iter_mut().zip(columns) {
                    *value = row[*column as usize - held.start_zyx[2]];
                }
            }
        }
    }
}
