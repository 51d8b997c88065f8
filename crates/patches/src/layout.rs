//! Chunk and shard shapes.

/// Inner chunks hold at most this many voxels along z, y, x: a 96³ patch touches few of them, and a small patch does not
/// decode much more than itself.
const INNER_ZYX: [u64; 3] = [32, 64, 64];
/// Shards hold at most this many voxels along each axis: one or few files per case.
const SHARD: u64 = 256;

/// Inner chunk and shard shape of an array whose last three axes are z, y, x; a leading axis (channels) stays whole in a
/// shard and is split in chunks.
pub(crate) fn shapes(shape: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let lead = shape.len() - 3;
    let mut inner = vec![1; lead];
    let mut shard = shape[..lead].to_vec();
    for (axis, &n) in shape[lead..].iter().enumerate() {
        let chunk = INNER_ZYX[axis].min(n).max(1);
        inner.push(chunk);
        shard.push(n.min(SHARD).div_ceil(chunk).max(1) * chunk);
    }
    (inner, shard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shards_are_multiples_of_chunks(c in 1u64..5, z in 1u64..2000, y in 1u64..2000, x in 1u64..2000) {
            let (inner, shard) = shapes(&[c, z, y, x]);
            for axis in 0..4 {
                prop_assert!(inner[axis] >= 1);
                prop_assert_eq!(shard[axis] % inner[axis], 0);
                prop_assert!(shard[axis] <= SHARD.max(c));
            }
        }
    }

    #[test]
    fn a_small_case_is_one_shard() {
        assert_eq!(shapes(&[1, 40, 56, 40]), (vec![1, 32, 56, 40], vec![1, 64, 56, 40]));
    }
}
