//! Gaussian smoothing as SciPy's `ndimage.gaussian_filter`: kernels cut at four standard deviations, mirrored rims
//! (`mode="reflect"`), one axis after the other in the order z, y, x.

use crate::{LabelMapError, Result, expect_volume};
use rayon::prelude::*;

/// A number that can be smoothed; sums are taken in double precision.
pub trait Sample: Copy + Default + Into<f64> + Send + Sync {
    /// The nearest number of this type.
    fn nearest(value: f64) -> Self;
}

impl Sample for f32 {
    fn nearest(value: f64) -> Self {
        value as Self
    }
}

impl Sample for f64 {
    fn nearest(value: f64) -> Self {
        value
    }
}

/// Smooths a volume; an axis with a standard deviation of 0 stays as it is.
///
/// # Shapes and units
/// `values`: z, y, x of `shape_zyx`; `sigma_zyx`: voxels.
///
/// # Errors
/// A slice that does not fill the shape, or a standard deviation that is negative or not finite.
pub fn gaussian<T: Sample>(values: Vec<T>, shape_zyx: [usize; 3], sigma_zyx: [f64; 3]) -> Result<Vec<T>> {
    expect_volume(values.len(), shape_zyx)?;
    if !sigma_zyx.iter().all(|s| s.is_finite() && *s >= 0.0) {
        return Err(LabelMapError::parameter("sigma", "at least 0 along each axis", sigma_zyx));
    }
    let [_, ny, nx] = shape_zyx;
    let mut values = values;
    if values.is_empty() {
        return Ok(values);
    }
    for axis in 0..3 {
        let kernel = kernel(sigma_zyx[axis]);
        let reach = kernel.len() / 2;
        if reach == 0 {
            continue;
        }
        let n = shape_zyx[axis];
        let mut out = vec![T::default(); values.len()];
        // the sum runs over whole rows where the axis is not x, so that the compiler can vectorise it
        out.par_chunks_mut(nx).enumerate().for_each_init(
            || vec![0.0_f64; nx],
            |sum, (row, out)| {
                sum.fill(0.0);
                let (z, y) = (row / ny, row % ny);
                for (k, weight) in kernel.iter().enumerate() {
                    match axis {
                        0 => add(sum, &values, (mirror(z + k, reach, n) * ny + y) * nx, *weight),
                        1 => add(sum, &values, (z * ny + mirror(y + k, reach, n)) * nx, *weight),
                        _ => {
                            for (x, sum) in sum.iter_mut().enumerate() {
                                *sum += weight * values[row * nx + mirror(x + k, reach, n)].into();
                            }
                        }
                    }
                }
                for (out, sum) in out.iter_mut().zip(sum.iter()) {
                    *out = T::nearest(*sum);
                }
            },
        );
        values = out;
    }
    Ok(values)
}

/// Adds the row that begins at `start`, times `weight`.
fn add<T: Sample>(sum: &mut [f64], values: &[T], start: usize, weight: f64) {
    for (sum, value) in sum.iter_mut().zip(&values[start..]) {
        *sum += weight * (*value).into();
    }
}

/// Place `shifted - reach`, mirrored at both rims of `n` places as often as needed; the rim itself occurs twice.
fn mirror(shifted: usize, reach: usize, n: usize) -> usize {
    let period = 2 * n as isize;
    let place = (shifted as isize - reach as isize).rem_euclid(period);
    place.min(period - 1 - place) as usize
}

/// Weights that sum to 1; a single one where the kernel is narrower than a voxel.
fn kernel(sigma: f64) -> Vec<f64> {
    let reach = (4.0 * sigma + 0.5) as i64;
    if reach == 0 {
        return vec![1.0];
    }
    let weights: Vec<f64> = (-reach..=reach).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_beyond_the_rim_are_mirrored() {
        let seen: Vec<usize> = (0..11).map(|i| mirror(i, 4, 3)).collect();
        assert_eq!(seen, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]);
    }

    #[test]
    fn sums_stay_and_single_places_do_not_change() {
        let mut values = vec![0.0_f32; 5 * 6 * 7];
        values[100] = 3.0;
        let out = gaussian(values.clone(), [5, 6, 7], [0.7, 1.0, 2.5]).unwrap();
        assert!((out.iter().sum::<f32>() - 3.0).abs() < 1e-5);
        assert_eq!(gaussian(values.clone(), [5, 6, 7], [0.0; 3]).unwrap(), values);
        assert!(gaussian(values, [5, 6, 7], [0.0, -1.0, 0.0]).is_err());
        assert_eq!(gaussian(vec![2.0_f32], [1; 3], [3.0; 3]).unwrap(), [2.0]);
    }
}
