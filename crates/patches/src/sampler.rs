//! Where patches lie: every choice is a pure function of (seed, step, index), so that no generator state needs saving.

use crate::region::Region;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The generator of one item: stream and position are chosen by step and index, so items never share numbers.
#[must_use]
pub fn generator(seed: u64, step: u64, index: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(step);
    // 2^32 words of 32 bits for each item
    generator.set_word_pos(u128::from(index) << 32);
    generator
}

/// A patch anywhere in the volume; along an axis that is shorter than the patch it is centred, an odd voxel more behind it than in front, as
/// prediction fills up (and MONAI, and nnU-Net).
pub fn uniform(generator: &mut ChaCha8Rng, shape_zyx: [usize; 3], patch_zyx: [usize; 3]) -> Region {
    let lo = std::array::from_fn(|a| {
        let spare = shape_zyx[a] as i64 - patch_zyx[a] as i64;
        if spare <= 0 { spare / 2 } else { generator.random_range(0..=spare) }
    });
    Region::at(lo, patch_zyx)
}

/// A patch that holds `voxel`, at a random place of the patch, and does not leave the volume where it need not.
pub fn around(
    generator: &mut ChaCha8Rng,
    shape_zyx: [usize; 3],
    patch_zyx: [usize; 3],
    voxel_zyx: [u32; 3],
) -> Region {
    let lo = std::array::from_fn(|a| {
        let (n, p, v) = (shape_zyx[a] as i64, patch_zyx[a] as i64, i64::from(voxel_zyx[a]));
        if n <= p {
            return (n - p) / 2;
        }
        generator.random_range((v - p + 1).max(0)..=v.min(n - p))
    });
    Region::at(lo, patch_zyx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn patches_stay_inside_where_they_can(
            shape in prop::array::uniform3(1usize..90), patch in prop::array::uniform3(1usize..90), seed: u64, step: u64, index in 0u64..1000,
        ) {
            let mut g = generator(seed, step, index);
            let voxel: [u32; 3] = std::array::from_fn(|a| g.random_range(0..shape[a]) as u32);
            for region in [uniform(&mut g, shape, patch), around(&mut g, shape, patch, voxel)] {
                prop_assert_eq!(region.shape(), patch);
                for a in 0..3 {
                    if shape[a] >= patch[a] {
                        prop_assert!(region.lo[a] >= 0 && region.hi[a] <= shape[a] as i64);
                    } else {
                        prop_assert_eq!(-region.lo[a], (patch[a] - shape[a]) as i64 / 2);
                    }
                }
            }
            let held = around(&mut g, shape, patch, voxel);
            for (a, v) in voxel.into_iter().map(i64::from).enumerate() {
                prop_assert!(held.lo[a] <= v && v < held.hi[a]);
            }
        }
    }

    #[test]
    fn items_draw_their_own_numbers() {
        let draw = |seed, step, index| generator(seed, step, index).random::<u64>();
        let all = [draw(1, 2, 3), draw(1, 2, 4), draw(1, 3, 3), draw(2, 2, 3)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
    }
}
