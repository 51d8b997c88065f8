//! Where windows lie and how their voxels weigh.

use super::Blending;
use tch::{Device, Kind, Tensor};

/// Standard deviation of the Gaussian relative to the window's edge.
const SIGMA_SCALE: f64 = 0.125;

/// Smallest weight, so that a voxel seen by a window's corner alone is not divided by almost nothing.
const LEAST_WEIGHT: f64 = 1e-3;

/// First voxels of the windows along one axis of `size` voxels (at least `window`). The distance is
/// ⌊window · (1 − overlap)⌋, at least 1; the last window is moved back so that it ends with the volume. The windows cover
/// every voxel.
///
/// # Source
/// MONAI, `_get_scan_interval` and `dense_patch_slices`.
#[must_use]
pub fn starts(size: i64, window: i64, overlap: f64) -> Vec<i64> {
    let interval = if window == size { window } else { ((window as f64 * (1.0 - overlap)) as i64).max(1) };
    let mut starts = Vec::new();
    let mut start = 0;
    loop {
        starts.push(start.min((size - window).max(0)));
        if start + window >= size {
            return starts;
        }
        start += interval;
    }
}

/// Weights of a window's voxels, float32 `[z, y, x]`.
///
/// # Source
/// MONAI, `compute_importance_map` with `sigma_scale` 0.125, and the lower limit of `sliding_window_inference`.
pub fn importance(window_zyx: [i64; 3], blending: Blending) -> Tensor {
    match blending {
        Blending::Constant => Tensor::ones(window_zyx, (Kind::Float, Device::Cpu)),
        Blending::Gaussian => {
            let [z, y, x] = window_zyx.map(|n| {
                let (centre, sigma) = ((n - 1) as f64 / 2.0, n as f64 * SIGMA_SCALE);
                let line: Vec<f64> =
                    (0..n).map(|i| (-(i as f64 - centre).powi(2) / (2.0 * sigma * sigma)).exp()).collect();
                Tensor::from_slice(&line)
            });
            let map = z.view([-1, 1, 1]) * y.view([1, -1, 1]) * x.view([1, 1, -1]);
            let least = map.min().double_value(&[]).max(LEAST_WEIGHT);
            map.clamp_min(least).to_kind(Kind::Float)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_cover_every_voxel_and_stay_inside(window in 1i64..40, more in 0i64..100, overlap in 0.0..0.95f64) {
            let size = window + more;
            let starts = starts(size, window, overlap);
            prop_assert_eq!(starts[0], 0);
            prop_assert_eq!(starts[starts.len() - 1], size - window);
            for pair in starts.windows(2) {
                prop_assert!(pair[0] < pair[1] && pair[1] <= pair[0] + window);
            }
        }

        #[test]
        fn weights_are_positive_and_symmetric(z in 1i64..9, y in 1i64..9, x in 1i64..33) {
            let map = importance([z, y, x], Blending::Gaussian);
            prop_assert!(map.min().double_value(&[]) >= LEAST_WEIGHT * 0.999);
            let mirrored = map.flip([0, 1, 2]);
            prop_assert!((map - mirrored).abs().max().double_value(&[]) < 1e-6);
        }
    }
}
