//! Sets of the labels that blocks gave.

use crate::Connectivity;
use crate::disjoint::{join, root};
use crate::window::Window;
use rustc_hash::FxHashMap;

/// Labels of all blocks, counted on from block to block, and which of them are one instance.
pub(crate) struct Sets {
    /// Forest whose roots are the smallest labels; label 0 stands alone.
    parents: Vec<usize>,
    /// Voxels of each label.
    sizes: Vec<u64>,
    /// The place of each label's first voxel in the volume.
    first: Vec<u64>,
}

impl Sets {
    pub(crate) fn new() -> Self {
        Self { parents: vec![0], sizes: vec![0], first: vec![u64::MAX] }
    }

    /// Takes in `count` labels and returns what to add to them.
    pub(crate) fn extend(&mut self, count: u64) -> u64 {
        let before = self.parents.len();
        // a label stands for at least one voxel in memory, so that counts fit
        self.parents.extend(before..before + count as usize);
        self.sizes.resize(self.parents.len(), 0);
        self.first.resize(self.parents.len(), u64::MAX);
        before as u64 - 1
    }

    /// Counts the voxels of the labels of a block, and notes which comes first.
    pub(crate) fn count_voxels(&mut self, labels: &[u64], block: &Window, volume_zyx: [usize; 3]) {
        let [_, ny, nx] = volume_zyx;
        for (number, row) in labels.chunks(block.shape_zyx[2].max(1)).enumerate() {
            let (z, y) = (number / block.shape_zyx[1].max(1), number % block.shape_zyx[1].max(1));
            let start = ((z + block.start_zyx[0]) * ny + y + block.start_zyx[1]) * nx + block.start_zyx[2];
            for (place, label) in (start as u64..).zip(row) {
                let label = *label as usize;
                self.sizes[label] += 1;
                self.first[label] = self.first[label].min(place);
            }
        }
    }

    pub(crate) fn join(&mut self, a: u64, b: u64) {
        join(&mut self.parents, a as usize, b as usize);
    }

    /// Joins labels at the same voxels that are each what the other overlaps most, if they share at least `percent`
    /// hundredths of the one with fewer voxels here. Of equal overlaps the smaller label counts.
    pub(crate) fn join_overlapping(&mut self, ours: &[u64], theirs: &[u64], percent: u8) {
        let mut shared: FxHashMap<(u64, u64), u64> = FxHashMap::default();
        let mut sizes: FxHashMap<u64, u64> = FxHashMap::default();
        // neighbours along x mostly have the same labels
        let pairs: Vec<(u64, u64)> = ours.iter().copied().zip(theirs.iter().copied()).collect();
        for run in pairs.chunk_by(PartialEq::eq) {
            let ((a, b), n) = (run[0], run.len() as u64);
            for label in [a, b] {
                *sizes.entry(label).or_default() += n;
            }
            if a != 0 && b != 0 {
                *shared.entry((a, b)).or_default() += n;
            }
        }
        // label → most overlap and with whom
        let mut best: FxHashMap<u64, (u64, std::cmp::Reverse<u64>)> = FxHashMap::default();
        for ((a, b), n) in &shared {
            for (label, other) in [(a, b), (b, a)] {
                let found = (*n, std::cmp::Reverse(*other));
                best.entry(*label).and_modify(|most| *most = found.max(*most)).or_insert(found);
            }
        }
        for ((a, b), n) in &shared {
            let mutual = best[a].1.0 == *b && best[b].1.0 == *a;
            if mutual && n * 100 >= u64::from(percent) * sizes[a].min(sizes[b]) {
                self.join(*a, *b);
            }
        }
    }

    /// Joins the labels of neighbouring voxels of two windows that share none.
    pub(crate) fn join_touching(
        &mut self,
        ours: &[u64],
        our_window: &Window,
        theirs: &[u64],
        their_window: &Window,
        connectivity: Connectivity,
    ) {
        let mut last = (0, 0);
        let end = our_window.end_zyx();
        for (i, b) in theirs.iter().enumerate().filter(|(_, b)| **b != 0) {
            let at = crate::grid::place(i, their_window.shape_zyx);
            for step in connectivity.around() {
                let to = |a: usize| {
                    let place = (at[a] + their_window.start_zyx[a]).checked_add_signed(step[a])?;
                    place.checked_sub(our_window.start_zyx[a]).filter(|_| place < end[a])
                };
                let (Some(z), Some(y), Some(x)) = (to(0), to(1), to(2)) else {
                    continue;
                };
                let a = ours[(z * our_window.shape_zyx[1] + y) * our_window.shape_zyx[2] + x];
                if a != 0 && (a, *b) != last {
                    last = (a, *b);
                    self.join(a, *b);
                }
            }
        }
    }

    /// The number of each label's set, counted from 1 in the order of the sets' first voxels, and their count. Sets of fewer than
    /// `smallest` voxels get 0.
    pub(crate) fn numbers(mut self, smallest: u64) -> (Vec<u64>, u64) {
        let roots: Vec<usize> = (0..self.parents.len()).map(|label| root(&mut self.parents, label)).collect();
        for (label, root) in roots.iter().enumerate().filter(|(label, root)| *label != **root) {
            self.sizes[*root] += self.sizes[label];
            self.first[*root] = self.first[*root].min(self.first[label]);
        }
        let mut kept: Vec<usize> = (1..roots.len())
            .filter(|label| roots[*label] == *label && self.sizes[*label] >= smallest)
            .collect();
        kept.sort_by_key(|root| (self.first[*root], *root));
        let mut numbers = vec![0_u64; roots.len()];
        for (number, root) in (1..).zip(&kept) {
            numbers[*root] = number;
        }
        for (label, root) in roots.iter().enumerate() {
            numbers[label] = numbers[*root];
        }
        let count = kept.len() as u64;
        (numbers, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mutual_overlap_joins() {
        let mut sets = Sets::new();
        assert_eq!(sets.extend(3), 0);
        assert_eq!(sets.extend(3), 3);
        // 4 overlaps 1 most; 5 overlaps 1 too, but 1 overlaps 4 more; 6 shares one voxel in three with 2
        let theirs = [1, 1, 1, 1, 1, 2, 2, 2, 3, 0, 0];
        let ours = [4, 4, 4, 5, 5, 6, 0, 0, 0, 6, 6];
        sets.join_overlapping(&ours, &theirs, 50);
        assert_eq!(sets.numbers(0), (vec![0, 1, 2, 3, 1, 4, 5], 5));
        let mut sets = Sets::new();
        sets.extend(6);
        sets.join_overlapping(&ours, &theirs, 30);
        assert_eq!(sets.numbers(0), (vec![0, 1, 2, 3, 1, 4, 2], 4));
    }
}
