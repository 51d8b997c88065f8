//! Exact anisotropic Euclidean distance transform.
//!
//! Separable lower envelopes of parabolas: P. F. Felzenszwalb and D. P. Huttenlocher, "Distance Transforms of Sampled
//! Functions", Theory of Computing 8 (2012) 415–428, in double precision, linear in the number of voxels. The cost does
//! not depend on the content, so callers cut the volume to the bounding box of what they compare.
//!
//! Along z, distances are whole steps, found by two scans. The other two axes lie in one plane, so a plane is finished while it
//! is in the cache, and only whole steps are kept of the volume: 2 bytes per voxel (4 beyond 65,534 planes) and one plane of
//! double precision per thread. Where few points are asked and what they look for is near, as on two surfaces that nearly
//! agree, their surroundings in the plane are looked through instead ([`plane`]).

mod envelope;
mod plane;
mod step;

use crate::{LabelMapError, Result, expect_volume};
use plane::Plane;
use rayon::prelude::*;
use step::Step;

/// Squared distance from every grid point to the nearest point that is `true`.
///
/// # Shapes and units
/// `features`: z, y, x of `shape_zyx`; the result likewise, in the square of the unit of `spacing_zyx`. Infinite everywhere
/// when nothing is `true`. The distances along the axes are added in the order z, y, x, as SciPy's
/// `distance_transform_edt` does.
///
/// # Errors
/// A slice that does not fill the shape, or a spacing that is not positive and finite.
pub fn squared_distance_to_nearest(
    features: &[bool],
    shape_zyx: [usize; 3],
    spacing_zyx: [f64; 3],
) -> Result<Vec<f64>> {
    expect_volume(features.len(), shape_zyx)?;
    squared(shape_zyx, spacing_zyx, |i| features[i], |_| true)
}

/// Distance from every grid point to the nearest point that is `true`; see [`squared_distance_to_nearest`].
///
/// # Errors
/// As [`squared_distance_to_nearest`].
pub fn distance_to_nearest(
    features: &[bool],
    shape_zyx: [usize; 3],
    spacing_zyx: [f64; 3],
) -> Result<Vec<f64>> {
    expect_volume(features.len(), shape_zyx)?;
    distance_at(shape_zyx, spacing_zyx, |i| features[i], |_| true)
}

/// Distances from the points for which `asked` holds, in their order, to the nearest point for which `feature` holds.
///
/// Both take the flat index of a point in a volume of `shape_zyx`. Planes and rows without a point that is asked are left out,
/// and nothing is stored for the others; see [`squared_distance_to_nearest`] for units and order of summation.
///
/// # Errors
/// A spacing that is not positive and finite.
pub fn distance_at(
    shape_zyx: [usize; 3],
    spacing_zyx: [f64; 3],
    feature: impl Fn(usize) -> bool + Sync,
    asked: impl Fn(usize) -> bool + Sync,
) -> Result<Vec<f64>> {
    let mut distances = squared(shape_zyx, spacing_zyx, feature, asked)?;
    distances.par_iter_mut().for_each(|d| *d = d.sqrt());
    Ok(distances)
}

fn squared(
    shape_zyx: [usize; 3],
    spacing_zyx: [f64; 3],
    feature: impl Fn(usize) -> bool + Sync,
    asked: impl Fn(usize) -> bool + Sync,
) -> Result<Vec<f64>> {
    if !spacing_zyx.iter().all(|s| s.is_finite() && *s > 0.0) {
        return Err(LabelMapError::Spacing { found: spacing_zyx });
    }
    if shape_zyx.contains(&0) {
        return Ok(Vec::new());
    }
    Ok(if shape_zyx[0] < usize::from(u16::MAX) {
        planes(&steps::<u16>(shape_zyx, &feature), shape_zyx, spacing_zyx, &asked)
    } else {
        planes(&steps::<u32>(shape_zyx, &feature), shape_zyx, spacing_zyx, &asked)
    })
}

/// Steps along z to the nearest feature, with axes y, z, x.
fn steps<S: Step>([nz, ny, nx]: [usize; 3], feature: &(impl Fn(usize) -> bool + Sync)) -> Vec<S> {
    let mut steps = vec![S::NOWHERE; nz * ny * nx];
    steps.par_chunks_mut(nz * nx).enumerate().for_each(|(y, rows)| {
        for z in 0..nz {
            let first = (z * ny + y) * nx;
            let (before, row) = rows.split_at_mut(z * nx);
            let row = &mut row[..nx];
            for (x, step) in row.iter_mut().enumerate() {
                if feature(first + x) {
                    *step = S::HERE;
                }
            }
            if z > 0 {
                for (step, before) in row.iter_mut().zip(&before[(z - 1) * nx..]) {
                    *step = (*step).min(before.further());
                }
            }
        }
        for z in (0..nz - 1).rev() {
            let (row, after) = rows[z * nx..].split_at_mut(nx);
            for (step, after) in row.iter_mut().zip(after.iter()) {
                *step = (*step).min(after.further());
            }
        }
    });
    steps
}

/// Squared distances of the points that are asked, from the steps along z.
fn planes<S: Step>(
    steps: &[S],
    [nz, ny, nx]: [usize; 3],
    spacing_zyx: [f64; 3],
    asked: &(impl Fn(usize) -> bool + Sync),
) -> Vec<f64> {
    let found: Vec<Vec<f64>> = (0..nz)
        .into_par_iter()
        .map_init(
            || Plane::new(ny, nx, spacing_zyx),
            |plane, z| {
                let row = |y: usize| &steps[(y * nz + z) * nx..][..nx];
                plane.distances(row, |y, x| asked((z * ny + y) * nx + x))
            },
        )
        .collect();
    found.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn brute(features: &[bool], [nz, ny, nx]: [usize; 3], spacing: [f64; 3]) -> Vec<f64> {
        let place = |i: usize| [i / (ny * nx), i / nx % ny, i % nx];
        (0..nz * ny * nx)
            .map(|i| {
                (0..features.len())
                    .filter(|j| features[*j])
                    .map(|j| {
                        (0..3)
                            .map(|a| ((place(i)[a] as f64 - place(j)[a] as f64) * spacing[a]).powi(2))
                            .sum::<f64>()
                    })
                    .fold(f64::INFINITY, f64::min)
            })
            .collect()
    }

    fn volumes() -> impl Strategy<Value = (Vec<bool>, [usize; 3], [f64; 3])> {
        (1_usize..7, 1_usize..8, 1_usize..40, 1_u32..60).prop_flat_map(|(z, y, x, rarity)| {
            (
                prop::collection::vec(prop::bool::weighted(1.0 / f64::from(rarity)), z * y * x),
                Just([z, y, x]),
                [0.1_f64..20.0, 0.1_f64..20.0, 0.1_f64..20.0],
            )
        })
    }

    proptest! {
        #[test]
        fn equals_brute_force((features, shape, spacing) in volumes()) {
            let found = squared_distance_to_nearest(&features, shape, spacing).unwrap();
            for (a, b) in found.iter().zip(brute(&features, shape, spacing)) {
                prop_assert!(*a == b || (a - b).abs() <= 1e-12 * b, "{a} instead of {b}");
            }
            let some = distance_at(shape, spacing, |i| features[i], |i| i % 3 == 0).unwrap();
            let all: Vec<f64> = found.iter().step_by(3).map(|d| d.sqrt()).collect();
            prop_assert_eq!(some, all);
            // as where there are more planes than 16 bits count
            prop_assert_eq!(planes(&steps::<u32>(shape, &|i| features[i]), shape, spacing, &|_| true), found);
        }
    }

    #[test]
    fn whole_steps_have_exact_lengths() {
        let mut features = vec![false; 50];
        features[0] = true;
        let distances = distance_to_nearest(&features, [1, 1, 50], [1.0, 1.0, 0.7]).unwrap();
        for (i, d) in distances.iter().enumerate() {
            assert_eq!(*d, i as f64 * 0.7);
        }
    }

    #[test]
    fn nothing_to_reach_is_infinitely_far_and_an_empty_volume_is_empty() {
        assert_eq!(distance_to_nearest(&[false; 8], [2; 3], [1.0; 3]).unwrap(), [f64::INFINITY; 8]);
        assert!(distance_to_nearest(&[], [0, 3, 4], [1.0; 3]).unwrap().is_empty());
    }

    #[test]
    fn wrong_arguments_are_named() {
        let error = distance_to_nearest(&[true; 7], [2; 3], [1.0; 3]).unwrap_err();
        assert_eq!(error.to_string(), "a volume of shape [2, 2, 2] (z, y, x) was given 7 voxels");
        let error = distance_to_nearest(&[true; 8], [2; 3], [1.0, 0.0, 1.0]).unwrap_err();
        assert!(error.to_string().contains("[1.0, 0.0, 1.0]"), "{error}");
    }
}
