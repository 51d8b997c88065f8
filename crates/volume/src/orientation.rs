//! Axis permutations and flips between an array as stored and canonical RAS+.

use crate::crop::BoundingBox;
use crate::error::Result;
use crate::expect_length;
use crate::geometry::Grid;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Brings an array (z, y, x in C order) to another orientation without interpolation.
///
/// Axis `k` of the result is axis `source_axis_zyx[k]` of the source, reversed if `flipped_zyx[k]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orientation {
    source_axis_zyx: [usize; 3],
    flipped_zyx: [bool; 3],
}

impl Orientation {
    /// The orientation that changes nothing.
    pub const IDENTITY: Self = Self { source_axis_zyx: [0, 1, 2], flipped_zyx: [false; 3] };

    /// How to bring a grid to canonical RAS+, where z runs to the head, y to the front and x to the right.
    ///
    /// Each stored axis goes to the world axis it is closest to, the most decided axis choosing first, as in nibabel's
    /// `io_orientation`.
    pub fn to_canonical(grid: &Grid) -> Self {
        let directions = grid.directions();
        let mut columns = [0_usize, 1, 2];
        let decided =
            |column: usize| (0..3).map(|row| directions[(row, column)].abs()).fold(0.0_f64, f64::max);
        columns.sort_by(|&a, &b| decided(b).total_cmp(&decided(a)));
        let mut this = Self::IDENTITY;
        let mut free = vec![0_usize, 1, 2];
        for column in columns {
            let mut best = 0;
            for (i, &world) in free.iter().enumerate() {
                if directions[(world, column)].abs() > directions[(free[best], column)].abs() {
                    best = i;
                }
            }
            let world = free.remove(best);
            this.source_axis_zyx[2 - world] = 2 - column;
            this.flipped_zyx[2 - world] = directions[(world, column)] < 0.0;
        }
        this
    }

    /// Source axis of each result axis.
    pub fn source_axis_zyx(&self) -> [usize; 3] {
        self.source_axis_zyx
    }

    /// Which result axes run against their source.
    pub fn flipped_zyx(&self) -> [bool; 3] {
        self.flipped_zyx
    }

    /// Whether nothing changes.
    pub fn is_identity(&self) -> bool {
        *self == Self::IDENTITY
    }

    /// The way back.
    #[must_use]
    pub fn invert(&self) -> Self {
        let mut inverse = Self::IDENTITY;
        for (result, &source) in self.source_axis_zyx.iter().enumerate() {
            inverse.source_axis_zyx[source] = result;
            inverse.flipped_zyx[source] = self.flipped_zyx[result];
        }
        inverse
    }

    /// Shape of the result for a source of `shape_zyx`.
    pub fn shape(&self, shape_zyx: [usize; 3]) -> [usize; 3] {
        self.source_axis_zyx.map(|axis| shape_zyx[axis])
    }

    /// Reorders one volume (z, y, x); returns it with its new shape.
    ///
    /// # Errors
    /// [`crate::VolumeError::Length`] if `data` does not have `shape_zyx`.
    pub fn apply<T: Copy + Send + Sync>(
        &self,
        data: &[T],
        shape_zyx: [usize; 3],
    ) -> Result<(Vec<T>, [usize; 3])> {
        self.apply_channels(data, 1, shape_zyx)
    }

    /// Reorders each channel of an image (c, z, y, x); returns it with its new spatial shape.
    ///
    /// # Errors
    /// [`crate::VolumeError::Length`] if `data` does not have `channels` × `shape_zyx` elements.
    pub fn apply_channels<T: Copy + Send + Sync>(
        &self,
        data: &[T],
        channels: usize,
        shape_zyx: [usize; 3],
    ) -> Result<(Vec<T>, [usize; 3])> {
        expect_length("array to reorient", data.len(), channels, shape_zyx)?;
        let shape = self.shape(shape_zyx);
        if self.is_identity() {
            return Ok((data.to_vec(), shape));
        }
        let source_strides = [shape_zyx[1] * shape_zyx[2], shape_zyx[2], 1];
        let strides = self.source_axis_zyx.map(|axis| source_strides[axis]);
        let offset = |axis: usize, index: usize| {
            let index = if self.flipped_zyx[axis] { shape[axis] - 1 - index } else { index };
            index * strides[axis]
        };
        let voxels = crate::voxels(shape_zyx);
        let mut out = data.to_vec();
        out.par_chunks_mut((shape[1] * shape[2]).max(1)).enumerate().for_each(|(plane, target)| {
            let base = plane / shape[0] * voxels + offset(0, plane % shape[0]);
            for (y, row) in target.chunks_mut(shape[2].max(1)).enumerate() {
                let base = base + offset(1, y);
                for (x, value) in row.iter_mut().enumerate() {
                    *value = data[base + offset(2, x)];
                }
            }
        });
        Ok((out, shape))
    }

    /// The box of the source that becomes the box `bounds` of the result, for a source of `source_zyx`.
    pub(crate) fn source_box(&self, bounds: &BoundingBox, source_zyx: [usize; 3]) -> BoundingBox {
        let mut found = BoundingBox::whole(source_zyx);
        for result in 0..3 {
            let (source, start, end) =
                (self.source_axis_zyx[result], bounds.start_zyx[result], bounds.end_zyx[result]);
            let n = source_zyx[source];
            let (start, end) = if self.flipped_zyx[result] { (n - end, n - start) } else { (start, end) };
            (found.start_zyx[source], found.end_zyx[source]) = (start, end);
        }
        found
    }

    /// Copies the box `part` of the result of reordering `data` (of `source_zyx`) to place `at` of an array `out` of
    /// `out_zyx`, without reordering the rest.
    pub(crate) fn copy_box<T: Copy>(
        &self,
        data: &[T],
        source_zyx: [usize; 3],
        part: &BoundingBox,
        out: &mut [T],
        out_zyx: [usize; 3],
        at: [usize; 3],
    ) {
        // Voxels that are neighbours in the source are taken together: a cache line's worth.
        const RUN: usize = 16;
        let shape = self.shape(source_zyx);
        let source_strides = [source_zyx[1] * source_zyx[2], source_zyx[2], 1];
        let (mut base, mut step) = (0, [0_isize; 3]);
        for axis in 0..3 {
            let stride = source_strides[self.source_axis_zyx[axis]];
            let (first, sign) = if self.flipped_zyx[axis] {
                (shape[axis] - 1 - part.start_zyx[axis], -1)
            } else {
                (part.start_zyx[axis], 1)
            };
            base += first * stride;
            step[axis] = sign * stride as isize;
        }
        let extent = part.shape();
        let source = |z: usize, y: usize, x: usize| {
            let offset = z as isize * step[0] + y as isize * step[1] + x as isize * step[2];
            (base as isize + offset) as usize
        };
        let target =
            |z: usize, y: usize, x: usize| ((at[0] + z) * out_zyx[1] + at[1] + y) * out_zyx[2] + at[2] + x;
        if step[2].abs() == 1 {
            for z in 0..extent[0] {
                for y in 0..extent[1] {
                    let row = &mut out[target(z, y, 0)..][..extent[2]];
                    if step[2] == 1 {
                        row.copy_from_slice(&data[source(z, y, 0)..][..extent[2]]);
                    } else {
                        let stored = &data[source(z, y, extent[2] - 1)..][..extent[2]];
                        row.iter_mut().zip(stored.iter().rev()).for_each(|(to, from)| *to = *from);
                    }
                }
            }
            return;
        }
        let (fast, slow) = if step[0].abs() == 1 { (0, 1) } else { (1, 0) };
        for outer in 0..extent[slow] {
            for start in (0..extent[fast]).step_by(RUN) {
                let run = start..(start + RUN).min(extent[fast]);
                for x in 0..extent[2] {
                    for inner in run.clone() {
                        let (z, y) = if fast == 0 { (inner, outer) } else { (outer, inner) };
                        out[target(z, y, x)] = data[source(z, y, x)];
                    }
                }
            }
        }
    }

    /// The grid of the reordered array: the same voxels at the same places in the world.
    #[must_use]
    pub fn apply_to_grid(&self, grid: &Grid) -> Grid {
        let mut affine = grid.affine;
        for result in 0..3 {
            let source = self.source_axis_zyx[result];
            let (to, from) = (2 - result, 2 - source);
            for (row, stored) in affine.iter_mut().zip(&grid.affine).take(3) {
                let column = stored[from];
                if self.flipped_zyx[result] {
                    row[to] = -column;
                    row[3] += column * (grid.shape_zyx[source] - 1) as f64;
                } else {
                    row[to] = column;
                }
            }
        }
        // -0.0 has no meaning here and would show in manifests.
        let affine = affine.map(|row| row.map(|v| if v == 0.0 { 0.0 } else { v }));
        Grid { shape_zyx: self.shape(grid.shape_zyx), affine }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::geometry::same_geometry;
    use proptest::prelude::*;

    pub(crate) fn orientations() -> impl Strategy<Value = Orientation> {
        let permutations = prop_oneof![
            Just([0, 1, 2]),
            Just([0, 2, 1]),
            Just([1, 0, 2]),
            Just([1, 2, 0]),
            Just([2, 0, 1]),
            Just([2, 1, 0])
        ];
        (permutations, any::<[bool; 3]>())
            .prop_map(|(source_axis_zyx, flipped_zyx)| Orientation { source_axis_zyx, flipped_zyx })
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_identity(o in orientations(), z in 1..5_usize, y in 1..5_usize, x in 1..5_usize, channels in 1..3_usize) {
            let shape = [z, y, x];
            let data: Vec<u32> = (0..(channels * z * y * x) as u32).collect();
            let (there, turned) = o.apply_channels(&data, channels, shape).unwrap();
            let (back, again) = o.invert().apply_channels(&there, channels, turned).unwrap();
            prop_assert_eq!(again, shape);
            prop_assert_eq!(back, data);
            prop_assert_eq!(o.invert().invert(), o);
        }

        #[test]
        fn boxes_are_those_of_the_reordered_whole(
            o in orientations(),
            (shape, start) in [1..40_usize, 1..40_usize, 1..40_usize]
                .prop_flat_map(|shape| (Just(shape), shape.map(|n| 0..n))),
            extent in [1..40_usize, 1..40_usize, 1..40_usize],
        ) {
            let data: Vec<u32> = (0..shape.iter().product::<usize>() as u32).collect();
            let (whole, turned) = o.apply(&data, shape).unwrap();
            let start_zyx: [usize; 3] = std::array::from_fn(|k| start[k].min(turned[k] - 1));
            let end_zyx = std::array::from_fn(|k| (start_zyx[k] + extent[k]).min(turned[k]));
            let bounds = BoundingBox { start_zyx, end_zyx };
            let mut found = vec![0; bounds.voxels()];
            o.copy_box(&data, shape, &bounds, &mut found, bounds.shape(), [0; 3]);
            prop_assert_eq!(&found, &crate::crop::crop(&whole, 1, turned, &bounds).unwrap());
            let stored = crate::crop::crop(&data, 1, shape, &o.source_box(&bounds, shape)).unwrap();
            prop_assert_eq!(&found, &o.apply(&stored, o.source_box(&bounds, shape).shape()).unwrap().0);
        }

        #[test]
        fn voxels_keep_their_place_in_the_world(o in orientations(), z in 1..5_usize, y in 1..5_usize, x in 1..5_usize) {
            let canonical = Grid::from_spacing([z, y, x], [3.0, 2.0, 1.5], [7.0, -8.0, 9.0]).unwrap();
            let stored = o.invert().apply_to_grid(&canonical);
            prop_assert_eq!(Orientation::to_canonical(&stored), o);
            let back = Orientation::to_canonical(&stored).apply_to_grid(&stored);
            prop_assert!(same_geometry(&back, &canonical) < 1e-9);
        }
    }

    #[test]
    fn lps_is_named_and_turned() {
        let mut grid = Grid::from_spacing([2, 2, 2], [3.0, 2.0, 1.0], [0.0; 3]).unwrap();
        grid.affine[0][0] = -1.0;
        grid.affine[1][1] = -2.0;
        assert_eq!(grid.axis_codes(), "LPS");
        let orientation = Orientation::to_canonical(&grid);
        assert_eq!(orientation.flipped_zyx(), [false, true, true]);
        let (data, _) = orientation.apply(&[0, 1, 2, 3, 4, 5, 6, 7], [2, 2, 2]).unwrap();
        assert_eq!(data, [3, 2, 1, 0, 7, 6, 5, 4]);
        assert_eq!(orientation.apply_to_grid(&grid).axis_codes(), "RAS");
    }
}
