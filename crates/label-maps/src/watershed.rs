//! Seeded watershed by flooding in the order of height (F. Meyer, "Un algorithme optimal pour la ligne de partage des
//! eaux", 1991; L. Vincent and P. Soille, IEEE TPAMI 13 (1991) 583–598).
//!
//! Ties: of voxels of one height the one reached first comes first; seeds come before all other voxels of their height, in
//! scan order, and a voxel's neighbours are reached in scan order. The same input thus gives the same labels everywhere.

use crate::{Connectivity, LabelMapError, Result, expect_volume};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Outside of the volume or of the mask.
const CLOSED: u64 = u64::MAX;

/// A rim of closed voxels spares the checks of bounds; it is not needed along an axis of one voxel.
fn rim_of(shape_zyx: [usize; 3]) -> [usize; 3] {
    shape_zyx.map(|n| usize::from(n > 1))
}

/// Voxels with the rim, where 32 bits number them.
pub(crate) fn check_flooded(shape_zyx: [usize; 3]) -> Result<usize> {
    let rim = rim_of(shape_zyx);
    let product = |padding: usize| {
        (0..3).fold(1_usize, |product, a| product.saturating_mul(shape_zyx[a] + padding * rim[a]))
    };
    let padded = product(2);
    match u32::try_from(padded) {
        Ok(_) => Ok(padded),
        Err(_) => Err(LabelMapError::TooLarge { what: "voxels", found: product(0) as u64 }),
    }
}

/// Every voxel of the mask that flooding reaches gets the label of the seed whose water reaches it first.
///
/// # Shapes
/// `heights`, `seeds` (0: none), `mask` (everything without): z, y, x of `shape_zyx`; the result likewise, 0 outside of the
/// mask and where no seed reaches. Seeds outside of the mask are ignored. Where heights differ, this equals scikit-image's
/// `segmentation.watershed`.
///
/// # Errors
/// Slices that do not fill the shape, a height that is not a number, the label 2⁶⁴ − 1, or more than 2³² voxels.
pub fn watershed(
    heights: &[f32],
    seeds: &[u64],
    mask: Option<&[bool]>,
    shape_zyx: [usize; 3],
    connectivity: Connectivity,
) -> Result<Vec<u64>> {
    expect_volume(heights.len(), shape_zyx)?;
    expect_volume(seeds.len(), shape_zyx)?;
    expect_volume(mask.map_or(heights.len(), <[bool]>::len), shape_zyx)?;
    if heights.iter().any(|h| h.is_nan()) {
        return Err(LabelMapError::parameter("heights", "numbers", f32::NAN));
    }
    if seeds.contains(&CLOSED) {
        return Err(LabelMapError::parameter("seeds", "labels below 18446744073709551615", CLOSED));
    }
    let rim = rim_of(shape_zyx);
    let [_, ny, nx] = [0, 1, 2].map(|a| shape_zyx[a] + 2 * rim[a]);
    let padded = check_flooded(shape_zyx)?;
    let steps: Vec<isize> = connectivity
        .around()
        .into_iter()
        .filter(|step| (0..3).all(|a| step[a] == 0 || rim[a] == 1))
        .map(|[dz, dy, dx]| (dz * ny as isize + dy) * nx as isize + dx)
        .collect();
    let mut labels = vec![CLOSED; padded];
    let mut levels = vec![0.0_f32; padded];
    let rows = |y: usize, z: usize| ((z + rim[0]) * ny + y + rim[1]) * nx + rim[2];
    let mut queue = BinaryHeap::new();
    for z in 0..shape_zyx[0] {
        for y in 0..shape_zyx[1] {
            let (from, to) = ((z * shape_zyx[1] + y) * shape_zyx[2], rows(y, z));
            for x in 0..shape_zyx[2] {
                if mask.is_some_and(|mask| !mask[from + x]) {
                    continue;
                }
                levels[to + x] = heights[from + x];
                labels[to + x] = seeds[from + x];
                if seeds[from + x] != 0 {
                    queue.push(Reverse((key(heights[from + x], 0), (to + x) as u32)));
                }
            }
        }
    }
    let mut age = 0_u32;
    while let Some(Reverse((_, here))) = queue.pop() {
        for step in &steps {
            // the rim keeps neighbours of open voxels inside
            let there = (here as usize).wrapping_add_signed(*step);
            if labels[there] == 0 {
                labels[there] = labels[here as usize];
                age += 1;
                queue.push(Reverse((key(levels[there], age), there as u32)));
            }
        }
    }
    let mut out = Vec::with_capacity(heights.len());
    for z in 0..shape_zyx[0] {
        for y in 0..shape_zyx[1] {
            let row = &labels[rows(y, z)..rows(y, z) + shape_zyx[2]];
            out.extend(row.iter().map(|label| if *label == CLOSED { 0 } else { *label }));
        }
    }
    Ok(out)
}

/// Orders by height, then by age; an age is used once, and there are fewer than 2³² voxels.
fn key(height: f32, age: u32) -> u64 {
    // adding zero turns -0 into 0; the flipped bits of floating-point numbers order as the numbers do
    let bits = (height + 0.0).to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::place;
    use proptest::prelude::*;

    fn inputs() -> impl Strategy<Value = (Vec<f32>, Vec<u64>, Vec<bool>, [usize; 3])> {
        (1_usize..4, 1_usize..7, 1_usize..7).prop_flat_map(|(z, y, x)| {
            let n = z * y * x;
            (
                // few heights, so that there are ties
                prop::collection::vec((-3_i8..4).prop_map(f32::from), n),
                prop::collection::vec(prop_oneof![6 => Just(0), 1 => 1_u64..5], n),
                prop::collection::vec(prop::bool::weighted(0.85), n),
                Just([z, y, x]),
            )
        })
    }

    /// The rule as it is written down, searching everything for the next voxel.
    fn slow(heights: &[f32], seeds: &[u64], mask: &[bool], shape: [usize; 3], reach: isize) -> Vec<u64> {
        let mut labels: Vec<u64> = seeds.iter().zip(mask).map(|(s, m)| if *m { *s } else { 0 }).collect();
        let mut waiting: Vec<(f32, usize, usize)> =
            (0..labels.len()).filter(|i| labels[*i] != 0).map(|i| (heights[i], 0, i)).collect();
        let mut age = 0;
        while let Some(next) =
            (0..waiting.len()).min_by(|a, b| waiting[*a].partial_cmp(&waiting[*b]).unwrap())
        {
            let (_, _, here) = waiting.remove(next);
            for there in 0..labels.len() {
                let (a, b) = (place(here, shape), place(there, shape));
                let step = [0, 1, 2].map(|i| a[i].abs_diff(b[i]) as isize);
                let near = step.iter().all(|d| *d <= 1) && step.iter().sum::<isize>() <= reach;
                if near && labels[there] == 0 && mask[there] {
                    labels[there] = labels[here];
                    age += 1;
                    waiting.push((heights[there], age, there));
                }
            }
        }
        labels
    }

    proptest! {
        #[test]
        fn follows_the_written_rule((heights, seeds, mask, shape) in inputs()) {
            for (connectivity, reach) in [(Connectivity::Faces, 1), (Connectivity::Corners, 3)] {
                let found = watershed(&heights, &seeds, Some(&mask), shape, connectivity).unwrap();
                prop_assert_eq!(found, slow(&heights, &seeds, &mask, shape, reach));
            }
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let flood = |heights: &[f32], seeds: &[u64]| {
            watershed(heights, seeds, None, [1, 1, 2], Connectivity::Faces).map_err(|e| e.to_string())
        };
        assert!(flood(&[0.0; 3], &[0; 2]).unwrap_err().contains("given 3 voxels"));
        assert_eq!(flood(&[0.0, f32::NAN], &[0; 2]).unwrap_err(), "`heights` must be numbers, found NaN");
        assert!(flood(&[0.0; 2], &[0, u64::MAX]).unwrap_err().starts_with("`seeds` must be labels below"));
        assert_eq!(flood(&[0.0, -0.0], &[0, 9]).unwrap(), [9, 9]);
        assert_eq!(watershed(&[], &[], None, [0, 4, 4], Connectivity::Faces).unwrap(), [0_u64; 0]);
    }
}
