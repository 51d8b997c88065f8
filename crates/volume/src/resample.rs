//! Resampling along the axes of a grid: trilinear for images, nearest for labels.
//!
//! The convention is that of MONAI's `Spacing` (defaults): the centre of the first voxel stays where it is, an axis of
//! `n` voxels gets `round((n − 1) · old / new) + 1` of them, voxel `i` of the result lies at `i · new / old` of the source,
//! and what lies beyond the last voxel repeats it (border padding). Rotation is kept; bring the volume to canonical
//! orientation first. No smoothing is applied before coarser sampling, as in MONAI.
//!
//! Two things are ours, because MONAI leaves them to rounding noise: labels exactly between two voxels take the even
//! index (MONAI takes either), and oblique volumes keep their first voxel too (MONAI centres them if the affine has been
//! through 32 bits).
//!
//! Interpolation is separable: one table of indices and weights per axis (coordinates in f64), then one pass. Results do
//! not depend on the number of threads.

use crate::error::{Result, VolumeError};
use crate::expect_length;
use crate::geometry::{Grid, voxel_transform};
use rayon::prelude::*;

/// Axes whose voxels would all move by less than this fraction of a voxel are left as they are.
const UNCHANGED: f64 = 1e-3;

/// The grid that resampling to `spacing_zyx_mm` gives.
///
/// # Errors
/// A spacing that is not a positive number.
pub fn target_grid(from: &Grid, spacing_zyx_mm: [f64; 3]) -> Result<Grid> {
    let old = from.spacing_zyx_mm();
    let mut shape = from.shape_zyx;
    let mut spacing = spacing_zyx_mm;
    for axis in 0..3 {
        if !(spacing[axis] > 0.0 && spacing[axis].is_finite()) {
            return Err(VolumeError::Affine {
                affine: from.affine,
                reason: format!("target spacing {spacing_zyx_mm:?} mm (z,y,x) is not positive"),
            });
        }
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

/// Resamples an image (c, z, y, x) to a spacing in mm, trilinear.
///
/// # Errors
/// A length that does not fit or a spacing that is not positive.
pub fn trilinear(
    data: &[f32],
    channels: usize,
    from: &Grid,
    spacing_zyx_mm: [f64; 3],
) -> Result<(Vec<f32>, Grid)> {
    let to = target_grid(from, spacing_zyx_mm)?;
    Ok((trilinear_to_grid(data, channels, from, &to)?, to))
}

/// Resamples labels (z, y, x) to a spacing in mm, nearest voxel (ties to the even index).
///
/// # Errors
/// As [`trilinear`].
pub fn nearest<T: Copy + Send + Sync>(
    data: &[T],
    from: &Grid,
    spacing_zyx_mm: [f64; 3],
) -> Result<(Vec<T>, Grid)> {
    let to = target_grid(from, spacing_zyx_mm)?;
    Ok((nearest_to_grid(data, from, &to)?, to))
}

/// Resamples an image (c, z, y, x) to a grid that runs in the same directions, trilinear with border padding.
///
/// # Errors
/// A length that does not fit, or grids that are turned against each other.
pub fn trilinear_to_grid(data: &[f32], channels: usize, from: &Grid, to: &Grid) -> Result<Vec<f32>> {
    expect_length("image to resample", data.len(), channels, from.shape_zyx)?;
    let taps = linear_taps(from, to)?;
    if from.shape_zyx == to.shape_zyx && taps.iter().all(|axis| axis.unchanged()) {
        return Ok(data.to_vec());
    }
    let [depth, height, width] = to.shape_zyx;
    let mut out = vec![0.0_f32; channels * crate::voxels(to.shape_zyx)];
    let source_voxels = crate::voxels(from.shape_zyx);
    out.par_chunks_mut(height * width).enumerate().for_each_init(
        || vec![0.0_f32; from.shape_zyx[2]],
        |blend, (plane, target)| {
            let channel = &data[plane / depth * source_voxels..][..source_voxels];
            for (y, row) in target.chunks_mut(width).enumerate() {
                blend_rows(channel, from.shape_zyx, &taps, plane % depth, y, blend);
                for (value, tap) in row.iter_mut().zip(&taps[2].0) {
                    *value = tap.mix(blend[tap.low], blend[tap.high]);
                }
            }
        },
    );
    Ok(out)
}

/// Resamples labels (z, y, x) to a grid that runs in the same directions, nearest voxel.
///
/// # Errors
/// As [`trilinear_to_grid`].
pub fn nearest_to_grid<T: Copy + Send + Sync>(data: &[T], from: &Grid, to: &Grid) -> Result<Vec<T>> {
    expect_length("label map to resample", data.len(), 1, from.shape_zyx)?;
    let lines = axis_lines(from, to)?;
    let indices: [Vec<usize>; 3] = std::array::from_fn(|axis| {
        let last = (from.shape_zyx[axis] - 1) as f64;
        (0..to.shape_zyx[axis])
            .map(|i| lines[axis].at(i).round_ties_even().clamp(0.0, last) as usize)
            .collect()
    });
    let [height, width] = [from.shape_zyx[1], from.shape_zyx[2]];
    let planes: Vec<Vec<T>> = indices[0]
        .par_iter()
        .map(|z| {
            let mut plane = Vec::with_capacity(indices[1].len() * indices[2].len());
            for y in &indices[1] {
                let row = &data[(z * height + y) * width..][..width];
                plane.extend(indices[2].iter().map(|&x| row[x]));
            }
            plane
        })
        .collect();
    Ok(planes.concat())
}

/// The class with the highest score per voxel of `to`, scores (class, z, y, x) interpolated trilinearly.
///
/// Scores are never held on the target grid, so that memory does not grow with the number of classes; of equal scores
/// the lower class wins.
///
/// # Errors
/// As [`trilinear_to_grid`]; more than 65536 classes.
pub fn argmax_to_grid(scores: &[f32], classes: usize, from: &Grid, to: &Grid) -> Result<Vec<u16>> {
    expect_length("scores to resample", scores.len(), classes, from.shape_zyx)?;
    if classes > usize::from(u16::MAX) + 1 {
        return Err(VolumeError::TooManyLabels { found: classes as u32 - 1, limit: u16::MAX.into() });
    }
    let taps = linear_taps(from, to)?;
    let [_, height, width] = to.shape_zyx;
    let source_voxels = crate::voxels(from.shape_zyx);
    let mut out = vec![0_u16; crate::voxels(to.shape_zyx)];
    out.par_chunks_mut(height * width).enumerate().for_each_init(
        || (vec![0.0_f32; from.shape_zyx[2]], vec![0.0_f32; width]),
        |(blend, best), (z, target)| {
            for (y, row) in target.chunks_mut(width).enumerate() {
                best.fill(f32::NEG_INFINITY);
                for (class, channel) in scores.chunks_exact(source_voxels).enumerate() {
                    blend_rows(channel, from.shape_zyx, &taps, z, y, blend);
                    for ((label, best), tap) in row.iter_mut().zip(best.iter_mut()).zip(&taps[2].0) {
                        let score = tap.mix(blend[tap.low], blend[tap.high]);
                        if score > *best {
                            *best = score;
                            *label = class as u16;
                        }
                    }
                }
            }
        },
    );
    Ok(out)
}

/// Two neighbours on an axis and the weight of the second.
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
}

impl Tap {
    fn mix(&self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.weight
    }
}

/// The taps of each voxel of the result along one axis.
struct Taps(Vec<Tap>);

impl Taps {
    fn unchanged(&self) -> bool {
        self.0.iter().enumerate().all(|(i, tap)| tap.low == i && tap.weight == 0.0)
    }
}

/// Source coordinate along one axis as a function of the target index.
struct Line {
    step: f64,
    start: f64,
}

impl Line {
    fn at(&self, index: usize) -> f64 {
        self.step * index as f64 + self.start
    }
}

/// Mixes the four source rows around row (z, y) of the result.
fn blend_rows(
    channel: &[f32],
    shape_zyx: [usize; 3],
    taps: &[Taps; 3],
    z: usize,
    y: usize,
    blend: &mut [f32],
) {
    let [_, height, width] = shape_zyx;
    let (tz, ty) = (&taps[0].0[z], &taps[1].0[y]);
    let row = |z: usize, y: usize| &channel[(z * height + y) * width..][..width];
    let rows = [row(tz.low, ty.low), row(tz.low, ty.high), row(tz.high, ty.low), row(tz.high, ty.high)];
    for (x, value) in blend.iter_mut().enumerate() {
        let low = ty.mix(rows[0][x], rows[1][x]);
        let high = ty.mix(rows[2][x], rows[3][x]);
        *value = tz.mix(low, high);
    }
}

fn linear_taps(from: &Grid, to: &Grid) -> Result<[Taps; 3]> {
    let lines = axis_lines(from, to)?;
    Ok(std::array::from_fn(|axis| {
        let last = from.shape_zyx[axis] - 1;
        let taps = (0..to.shape_zyx[axis]).map(|i| {
            let at = lines[axis].at(i).clamp(0.0, last as f64);
            let low = at as usize;
            Tap { low, high: (low + 1).min(last), weight: (at - low as f64) as f32 }
        });
        Taps(taps.collect())
    }))
}

/// How each axis of `to` runs through `from`; fails if the axes are not parallel.
fn axis_lines(from: &Grid, to: &Grid) -> Result<[Line; 3]> {
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
        Line { step, start }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(shape: [usize; 3], spacing: [f64; 3]) -> Grid {
        Grid::from_spacing(shape, spacing, [1.0, 2.0, 3.0]).unwrap()
    }

    #[test]
    fn a_ramp_stays_a_ramp() {
        let from = grid([4, 5, 6], [2.0, 1.0, 1.0]);
        let data: Vec<f32> = (0..120).map(|i| (i / 30) as f32 * 2.0 + (i % 6) as f32).collect();
        let (out, to) = trilinear(&data, 1, &from, [1.0, 0.5, 2.0]).unwrap();
        // 3.5 steps of 2 mm round to the even 4; the last voxel lies outside and repeats the border.
        assert_eq!(to.shape_zyx, [7, 9, 4]);
        assert_eq!(to.spacing_zyx_mm(), [1.0, 0.5, 2.0]);
        for (i, value) in out.iter().enumerate() {
            let expected = (i / 36) as f32 + ((i % 4) as f32 * 2.0).min(5.0);
            assert!((value - expected).abs() < 1e-5, "{i}: {value} {expected}");
        }
    }

    #[test]
    fn the_same_spacing_changes_nothing() {
        let from = grid([3, 4, 5], [2.5, 0.7, 0.7]);
        let data: Vec<f32> = (0..120).map(|i| (i as f32).sin()).collect();
        let (out, to) = trilinear(&data, 2, &from, [2.5, 0.7, 0.7 + 1e-7]).unwrap();
        assert_eq!(out, data);
        assert_eq!(to, from);
    }

    #[test]
    fn one_slice_can_be_resampled() {
        let from = grid([1, 2, 2], [5.0, 1.0, 1.0]);
        let (out, to) = trilinear(&[1.0, 2.0, 3.0, 4.0], 1, &from, [1.0, 1.0, 1.0]).unwrap();
        assert_eq!((out, to.shape_zyx), (vec![1.0, 2.0, 3.0, 4.0], [1, 2, 2]));
    }

    #[test]
    fn turned_grids_and_bad_spacings_are_refused() {
        let from = grid([3, 3, 3], [1.0; 3]);
        let mut to = from;
        to.affine[0] = [0.8, -0.6, 0.0, 1.0];
        to.affine[1] = [0.6, 0.8, 0.0, 2.0];
        assert_eq!(trilinear_to_grid(&[0.0; 27], 1, &from, &to).unwrap_err().code(), "E120");
        for bad in [0.0, -1.0, f64::NAN] {
            assert!(target_grid(&from, [1.0, bad, 1.0]).is_err());
        }
    }

    #[test]
    fn fused_argmax_equals_interpolation_then_argmax() {
        let from = grid([3, 4, 5], [2.0, 1.5, 1.0]);
        let to = grid([6, 6, 5], [1.0, 1.0, 1.0]);
        let scores: Vec<f32> = (0..180).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
        let dense = trilinear_to_grid(&scores, 3, &from, &to).unwrap();
        let expected: Vec<u16> = (0..180)
            .map(|voxel| {
                (0..3_u16)
                    .rev()
                    .max_by(|a, b| {
                        dense[usize::from(*a) * 180 + voxel].total_cmp(&dense[usize::from(*b) * 180 + voxel])
                    })
                    .unwrap()
            })
            .collect();
        assert_eq!(argmax_to_grid(&scores, 3, &from, &to).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn nearest_there_and_back_keeps_labels_when_refined(
            z in 1..5_usize, y in 1..6_usize, x in 1..6_usize, factor in 2..4_usize, seed in any::<u32>()
        ) {
            let from = grid([z, y, x], [3.0, 2.0, 1.0]);
            let labels: Vec<u8> =
                (0..z * y * x).map(|i| (seed.wrapping_mul(2_654_435_761).wrapping_add(i as u32 * 97) >> 7) as u8).collect();
            let fine = [3.0, 2.0, 1.0].map(|mm| mm / factor as f64);
            let (there, to) = nearest(&labels, &from, fine).unwrap();
            prop_assert_eq!(nearest_to_grid(&there, &to, &from).unwrap(), labels);
        }
    }
}
