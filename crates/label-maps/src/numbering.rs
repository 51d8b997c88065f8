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
}
