//! Which grid a spacing gives, and how each axis of it runs through the source.

use crate::error::{Result, VolumeError};
use crate::geometry::{Grid, voxel_transform};

/// Axes whose voxels would all move by less than this fraction of a voxel are left as they are.
const UNCHANGED: f64 = 1e-3;
/// nnU-Net's `ANISO_THRESHOLD`: largest over smallest spacing above which the worst axis is treated apart.
const APART: f64 = 3.0;
/// Column norms of an affine that has been through 32 bits are this exact.
const NOISE: f64 = 1e-6;

fn check_spacing(from: &Grid, spacing_zyx_mm: [f64; 3]) -> Result<()> {
    if spacing_zyx_mm.iter().all(|s| *s > 0.0 && s.is_finite()) {
        return Ok(());
    }
    let reason = format!("target spacing {spacing_zyx_mm:?} mm (z,y,x) is not positive");
    Err(VolumeError::Affine { affine: from.affine, reason })
}

/// The grid that resampling to `spacing_zyx_mm` gives by the linear convention.
///
/// # Errors
/// A spacing that is not a positive number.
pub fn target_grid(from: &Grid, spacing_zyx_mm: [f64; 3]) -> Result<Grid> {
    check_spacing(from, spacing_zyx_mm)?;
    let old = from.spacing_zyx_mm();
    let mut shape = from.shape_zyx;
    let mut spacing = spacing_zyx_mm;
    for axis in 0..3 {
        let steps = (from.shape_zyx[axis] - 1) as f64;
        let ratio = old[axis] / spacing[axis];
        if (ratio - 1.0).abs() * steps.max(1.0) < UNCHANGED {
            spacing[axis] = old[axis];
        } else {
            shape[axis] = (steps * ratio + 1.0).round_ties_even().max(1.0) as usize;
        }
    }
    Ok(from.respaced(spacing, shape))
}

/// The grid that resampling to `spacing_zyx_mm` gives by the nnunet convention.
///
/// Its spacing is `old spacing · old n / new n`, which is the spacing asked for up to the rounding of the shape, and its
/// origin lies half a new voxel from the volume's edge: exactly where nnU-Net takes its samples.
pub(super) fn half_pixel_grid(from: &Grid, spacing_zyx_mm: [f64; 3]) -> Result<Grid> {
    check_spacing(from, spacing_zyx_mm)?;
    let old = from.spacing_zyx_mm();
    let (mut shape, mut spacing, mut first) = (from.shape_zyx, old, [0.0; 3]);
    for axis in 0..3 {
        let n = from.shape_zyx[axis] as f64;
        // Noise must not decide ties: 7.4999999 is 7.5, which Python rounds to the even 8.
        let exact = (old[axis] / spacing_zyx_mm[axis] * n / NOISE).round() * NOISE;
        let new = exact.round_ties_even().max(1.0);
        if new != n {
            shape[axis] = new as usize;
            spacing[axis] = old[axis] * n / new;
            first[axis] = 0.5 * n / new - 0.5;
        }
    }
    let origin = from.world([first[2], first[1], first[0]]);
    let mut to = from.respaced(spacing, shape);
    for (row, origin) in to.affine.iter_mut().zip(origin) {
        row[3] = origin;
    }
    Ok(to)
}

/// The axis that nnU-Net resamples apart, if any: the one of largest spacing, first by the current, then by the target
/// spacing, if that is more than three times the smallest; none if two axes share it.
///
/// Source: nnU-Net v2, `nnunetv2/preprocessing/resampling/default_resampling.py` (`force_separate_z=None`).
pub(crate) fn separate_axis(current_zyx_mm: [f64; 3], target_zyx_mm: [f64; 3]) -> Option<usize> {
    for spacing in [current_zyx_mm, target_zyx_mm] {
        let largest = spacing.into_iter().fold(0.0, f64::max);
        let smallest = spacing.into_iter().fold(f64::INFINITY, f64::min);
        if largest > APART * smallest * (1.0 + NOISE) {
            let mut worst = (0..3).filter(|axis| spacing[*axis] >= largest * (1.0 - NOISE));
            return worst.next().filter(|_| worst.next().is_none());
        }
    }
    None
}

/// Source coordinate along one axis as a function of the target index: `step · (index + shift) + start`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    step: f64,
    shift: f64,
    start: f64,
}

impl Line {
    pub(super) fn at(&self, index: usize) -> f64 {
        self.step * (index as f64 + self.shift) + self.start
    }

    /// Whether an axis of `from` voxels becomes itself.
    pub(super) fn is_identity(&self, from: usize, to: usize) -> bool {
        from == to && self.step == 1.0 && self.shift + self.start == 0.0
    }
}

/// How each axis runs if the edges of both volumes coincide.
pub(crate) fn half_pixel_lines(from_zyx: [usize; 3], to_zyx: [usize; 3]) -> [Line; 3] {
    std::array::from_fn(|axis| Line {
        step: from_zyx[axis] as f64 / to_zyx[axis] as f64,
        shift: 0.5,
        start: -0.5,
    })
}

/// How each axis of `to` runs through `from`; fails if the axes are not parallel.
pub(crate) fn axis_lines(from: &Grid, to: &Grid) -> Result<[Line; 3]> {
    let transform = voxel_transform(from, to)?;
    let mut deviation_voxels = 0.0_f64;
    for row in 0..3 {
        for column in 0..3 {
            if row != column {
                let extent = (to.shape_zyx[2 - column] - 1) as f64;
                deviation_voxels = deviation_voxels.max((transform[(row, column)] * extent).abs());
            }
        }
    }
    // A hundredth of a voxel cannot be seen and allows for rounding of affines to f32.
    if deviation_voxels > 1e-2 {
        return Err(VolumeError::NotParallel { deviation_voxels });
    }
    Ok([2, 1, 0].map(|axis: usize| {
        let (mut step, mut start) = (transform[(axis, axis)], transform[(axis, 3)]);
        // Inverting the affine leaves noise in the last digits, which would turn exact hits into mixtures.
        let extent = to.shape_zyx[2 - axis] as f64;
        if (step - 1.0).abs() * extent < 1e-6 {
            step = 1.0;
        }
        if (start - start.round()).abs() < 1e-6 {
            start = start.round();
        }
        Line { step, shift: 0.0, start }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_worst_axis_is_apart() {
        assert_eq!(separate_axis([3.0, 0.9, 0.8], [1.5, 1.0, 1.0]), Some(0));
        assert_eq!(separate_axis([1.0, 1.0, 1.0], [1.0, 5.0, 1.0]), Some(1));
        assert_eq!(separate_axis([3.0, 1.0, 1.0], [3.0, 1.0, 1.0]), None);
        assert_eq!(separate_axis([3.000_000_1, 1.0, 1.0], [1.0; 3]), None);
        // nnU-Net looks at the current spacing first and gives up if that names two axes
        assert_eq!(separate_axis([0.24, 1.25, 1.250_000_1], [9.0, 1.0, 1.0]), None);
    }

    proptest! {
        #[test]
        fn half_pixel_grids_fill_the_same_box(
            shape in [1..40_usize, 1..40_usize, 1..40_usize],
            old in prop::array::uniform3(0.3_f64..4.0),
            new in prop::array::uniform3(0.3_f64..4.0),
        ) {
            let from = Grid::from_spacing(shape, old, [4.0, -5.0, 6.0]).unwrap();
            let to = half_pixel_grid(&from, new).unwrap();
            let edge = |g: &Grid, far: f64| {
                g.world([2, 1, 0].map(|axis: usize| far * g.shape_zyx[axis] as f64 - 0.5))
            };
            for far in [0.0, 1.0] {
                for (a, b) in edge(&from, far).iter().zip(edge(&to, far)) {
                    prop_assert!((a - b).abs() < 1e-9, "{a} {b}");
                }
            }
            // the affine and the formula name the same places
            let [affine, formula] =
                [axis_lines(&from, &to).unwrap(), half_pixel_lines(from.shape_zyx, to.shape_zyx)];
            for axis in 0..3 {
                for index in 0..to.shape_zyx[axis] {
                    prop_assert!((affine[axis].at(index) - formula[axis].at(index)).abs() < 1e-5);
                }
            }
        }
    }
}
