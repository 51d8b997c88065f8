//! Draws of what befalls sections. Source of probabilities and ranges: gtgm.md, section 2.5, for a view of 18×160×160; lengths
//! are taken relative to the view.

use crate::augment::elastic::Elastic;
use crate::augment::sections::{Cuboid, Unfocused};
use crate::random::{coin, uniform};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Largest shift, as a share of the view's edge.
const SHIFT: f64 = 17.0 / 160.0;
/// Control points of a deformation are so many voxels apart, and move by this deviation.
const ELASTIC: ([i64; 3], f64) = ([4, 40, 40], 2.0);

/// Offsets of all sections of a window: one slips, or all from one on are moved.
pub(super) fn misalign(rng: &mut ChaCha8Rng, depth: i64, [_, y, x]: [i64; 3]) -> Vec<[i64; 2]> {
    let offset = [y, x].map(|edge| {
        let most = (SHIFT * edge as f64).round().max(1.0) as i64;
        rng.random_range(-most..=most)
    });
    let first = rng.random_range(0..depth);
    let slips = coin(rng, 0.5);
    (0..depth).map(|z| if z == first || (z > first && !slips) { offset } else { [0; 2] }).collect()
}

/// A section: all of it (2 of 7) or a rectangle.
pub(super) fn missing(rng: &mut ChaCha8Rng, view_zyx: [i64; 3]) -> Vec<Cuboid> {
    let whole = coin(rng, 0.2 / 0.7);
    vec![part_of_a_section(rng, view_zyx, whole)]
}

/// A section: all of it (5 of 12) or a rectangle.
pub(super) fn unfocused(rng: &mut ChaCha8Rng, view_zyx: [i64; 3]) -> Vec<Unfocused> {
    let whole = coin(rng, 0.5 / 1.2);
    let place = part_of_a_section(rng, view_zyx, whole);
    vec![Unfocused { place, sigma: uniform(rng, (0.5, 5.0)) }]
}

pub(super) fn elastic(rng: &mut ChaCha8Rng) -> Elastic {
    Elastic { spacing_zyx: ELASTIC.0, deviation: ELASTIC.1, seed: rng.random() }
}

/// 60 to 100 boxes of 1/4 to 1/2 of the depth and 1/16 to 1/8 of the other edges.
pub(super) fn cutout(rng: &mut ChaCha8Rng, view_zyx: [i64; 3]) -> Vec<Cuboid> {
    let shares = [(5.0 / 18.0, 10.0 / 18.0), (1.0 / 16.0, 1.0 / 8.0), (1.0 / 16.0, 1.0 / 8.0)];
    let boxes = rng.random_range(60..=100);
    (0..boxes)
        .map(|_| Cuboid { ranges: std::array::from_fn(|axis| range(rng, view_zyx[axis], shares[axis])) })
        .collect()
}

fn part_of_a_section(rng: &mut ChaCha8Rng, [depth, y, x]: [i64; 3], whole: bool) -> Cuboid {
    let section = rng.random_range(0..depth);
    let [rows, columns] = [y, x].map(|edge| if whole { (0, edge) } else { range(rng, edge, (0.3, 0.7)) });
    Cuboid { ranges: [(section, section + 1), rows, columns] }
}

/// A range within `0..edge` whose length is a share of it, at least 1.
fn range(rng: &mut ChaCha8Rng, edge: i64, shares: (f64, f64)) -> (i64, i64) {
    let length = ((uniform(rng, shares) * edge as f64).round() as i64).clamp(1, edge);
    let first = rng.random_range(0..=edge - length);
    (first, first + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    proptest! {
        #[test]
        fn parts_lie_within_the_view(z in 1i64..20, y in 1i64..40, x in 1i64..40, seed: u64) {
            let view = [z, y, x];
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut parts = missing(&mut rng, view);
            parts.extend(unfocused(&mut rng, view).into_iter().map(|part| part.place));
            parts.extend(cutout(&mut rng, view));
            for part in parts {
                for (axis, (low, high)) in part.ranges.into_iter().enumerate() {
                    prop_assert!(0 <= low && low < high && high <= view[axis]);
                }
            }
            prop_assert_eq!(misalign(&mut rng, z, view).len() as i64, z);
        }
    }
}
