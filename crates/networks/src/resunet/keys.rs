//! How many keys a map's attention has: the size of its matrix is bounded.

/// The grid of keys (z, y, x) for a map of `size_zyx`, each axis at least 1, with at most `weights` entries in the matrix
/// of queries (each voxel) and keys.
///
/// It is the map itself where that is within the bound. Else each axis has the same share of its voxels, rounded down and
/// at least one: the largest share of the form k / longest axis that is within. A map of more voxels than `weights` has
/// one key, which may be beyond it.
pub(super) fn grid(size_zyx: [i64; 3], weights: i64) -> [i64; 3] {
    let queries: i64 = size_zyx.iter().product();
    let most = weights / queries;
    let [z, y, x] = size_zyx;
    let longest = z.max(y).max(x);
    (1..=longest)
        .rev()
        .map(|part| size_zyx.map(|size| (size * part / longest).max(1)))
        .find(|grid| grid.iter().product::<i64>() <= most)
        .unwrap_or([1; 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resunet::ResUNetOptions;
    use proptest::prelude::*;

    #[test]
    fn published_patches_have_these_keys() {
        let keys = |size_zyx| grid(size_zyx, ResUNetOptions::ATTENTION_WEIGHTS);
        // x1 to x4 of 24 × 224 × 224
        assert_eq!(keys([24, 56, 56]), [5, 13, 13]);
        assert_eq!(keys([12, 28, 28]), [10, 25, 25]);
        assert_eq!(keys([6, 14, 14]), [6, 14, 14]);
        // 8,192 voxels are the most that keep all keys
        assert_eq!(keys([8, 32, 32]), [8, 32, 32]);
        assert_eq!(keys([1, 1, 8193]), [1, 1, 8191]);
        // thin axes keep a cell
        assert_eq!(keys([2, 1, 100_000]), [1, 1, 335]);
    }

    proptest! {
        #[test]
        fn the_bound_holds_wherever_it_can(
            size in [1..40_i64, 1..90_i64, 1..90_i64],
            weights in 1..(1_i64 << 28),
        ) {
            let found = grid(size, weights);
            let (queries, keys) = (size.iter().product::<i64>(), found.iter().product::<i64>());
            prop_assert!(found.iter().zip(size).all(|(cells, voxels)| (1..=voxels).contains(cells)));
            prop_assert!(queries * keys <= weights || keys == 1);
            prop_assert_eq!(found == size, queries * queries <= weights || queries == 1);
            // an axis as long as another has as many cells, a longer one not fewer
            for (a, b) in [(0, 1), (1, 2), (0, 2)] {
                prop_assert!(size[a] < size[b] || found[a] >= found[b]);
                prop_assert!(size[b] < size[a] || found[b] >= found[a]);
            }
        }
    }
}
