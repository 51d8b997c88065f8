//! Consecutive numbers for labels.

use rustc_hash::FxHashMap;

/// Gives the labels above 0 the numbers 1, 2, … in the order of their first voxels. Returns how many there are.
pub fn number_by_first_voxel(labels: &mut [u64]) -> u64 {
    let mut numbers: FxHashMap<u64, u64> = FxHashMap::default();
    let (mut last, mut number) = (0, 0);
    for label in labels {
        // neighbours along x mostly have the same label
        if *label != last {
            last = *label;
            let next = numbers.len() as u64 + 1;
            number = if last == 0 { 0 } else { *numbers.entry(last).or_insert(next) };
        }
        *label = number;
    }
    numbers.len() as u64
}

/// Makes labels of fewer than `smallest` voxels 0 and numbers the others as [`number_by_first_voxel`] does. Returns how many
/// there are.
pub fn drop_small(labels: &mut [u64], smallest: u64) -> u64 {
    let count = number_by_first_voxel(labels);
    if smallest < 2 {
        return count;
    }
    // numbers count voxels in memory, so that they fit
    let mut sizes = vec![0_u64; count as usize + 1];
    labels.iter().for_each(|label| sizes[*label as usize] += 1);
    for label in labels.iter_mut() {
        if sizes[*label as usize] < smallest {
            *label = 0;
        }
    }
    number_by_first_voxel(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_first_voxels() {
        let mut labels = [0, 7, 7, u64::MAX, 0, 3, 7, u64::MAX, 0];
        assert_eq!(number_by_first_voxel(&mut labels), 3);
        assert_eq!(labels, [0, 1, 1, 2, 0, 3, 1, 2, 0]);
        assert_eq!(number_by_first_voxel(&mut [0; 3]), 0);
    }

    #[test]
    fn small_labels_become_background() {
        let labels = [0, 7, 9, 9, 5, 7, 5, 7];
        let drop = |smallest| {
            let mut labels = labels;
            (drop_small(&mut labels, smallest), labels)
        };
        assert_eq!(drop(0), (3, [0, 1, 2, 2, 3, 1, 3, 1]));
        assert_eq!(drop(3), (1, [0, 1, 0, 0, 0, 1, 0, 1]));
        assert_eq!(drop(4), (0, [0; 8]));
    }
}
