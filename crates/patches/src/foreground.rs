//! Seeded voxels of each class, so that training can place patches on a class without searching for it.

use std::collections::{BTreeMap, BinaryHeap};

/// Voxels kept per class.
const PER_CLASS: usize = 2000;

/// A sample of the voxels of each class, the same whatever the order and the size of the boxes that it is made from: of each class
/// those voxels are kept whose place has the smallest hash.
///
/// Memory: 16 bytes for each kept voxel, whatever the volume's size.
#[derive(Debug)]
pub struct ForegroundSample {
    shape_zyx: [usize; 3],
    /// Per class the hashes and flat indices of its voxels, the largest hash on top.
    kept: BTreeMap<u32, BinaryHeap<(u64, u64)>>,
}

impl ForegroundSample {
    /// An empty sample of a volume.
    #[must_use]
    pub fn new(shape_zyx: [usize; 3]) -> Self {
        Self { shape_zyx, kept: BTreeMap::new() }
    }

    /// Takes the labels `[z, y, x]` of the box of `shape_zyx` voxels at `lo_zyx`; every voxel may come once only. Background
    /// (0) is left out.
    ///
    /// # Errors
    /// Fails when the number of labels is not that of the box, or the box leaves the volume.
    pub fn add(&mut self, labels: &[u32], lo_zyx: [usize; 3], shape_zyx: [usize; 3]) -> crate::Result<()> {
        let outside = (0..3).any(|a| lo_zyx[a] + shape_zyx[a] > self.shape_zyx[a]);
        if outside || labels.len() != shape_zyx.iter().product::<usize>() {
            return Err(crate::Error::mismatch(
                "foreground",
                format!("{} labels for a box {shape_zyx:?} at {lo_zyx:?}", labels.len()),
                format!("one label for each voxel of a box within {:?}", self.shape_zyx),
            ));
        }
        let [_, height, width] = self.shape_zyx;
        for (row, values) in labels.chunks_exact(shape_zyx[2].max(1)).enumerate() {
            let (z, y) = (lo_zyx[0] + row / shape_zyx[1], lo_zyx[1] + row % shape_zyx[1]);
            let first = ((z * height + y) * width + lo_zyx[2]) as u64;
            let mut at = 0;
            // one look-up for each run of equal values
            for run in values.chunk_by(|a, b| a == b) {
                if run[0] != 0 {
                    let heap = self.kept.entry(run[0]).or_default();
                    for flat in first + at..first + at + run.len() as u64 {
                        keep(heap, flat);
                    }
                }
                at += run.len() as u64;
            }
        }
        Ok(())
    }

    /// Rows class, z, y, x, sorted: at most 2,000 voxels of each class, a uniform sample.
    #[must_use]
    pub fn finish(self) -> Vec<[u32; 4]> {
        let [_, height, width] = self.shape_zyx.map(|n| n as u64);
        let mut rows = Vec::new();
        for (class, heap) in self.kept {
            let mut places: Vec<u64> = heap.into_iter().map(|(_, flat)| flat).collect();
            places.sort_unstable();
            // a volume's axis is far below 2^32 voxels
            rows.extend(places.into_iter().map(|i| {
                [class, (i / (height * width)) as u32, (i / width % height) as u32, (i % width) as u32]
            }));
        }
        rows
    }
}

fn keep(heap: &mut BinaryHeap<(u64, u64)>, flat: u64) {
    let entry = (hash(flat), flat);
    if heap.len() < PER_CLASS {
        heap.push(entry);
    } else if let Some(mut largest) = heap.peek_mut()
        && entry < *largest
    {
        *largest = entry;
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014): one to one, so that no two voxels share a hash.
fn hash(flat: u64) -> u64 {
    let mut v = flat.wrapping_add(0x9e37_79b9_7f4a_7c15);
    v = (v ^ (v >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    v = (v ^ (v >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    v ^ (v >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(shape: [usize; 3]) -> Vec<u32> {
        (0..shape.iter().product::<usize>())
            .map(|i| if i % 7 == 0 { 0 } else { (i / 5 % 3) as u32 })
            .collect()
    }

    fn whole(labels: &[u32], shape: [usize; 3]) -> Vec<[u32; 4]> {
        let mut sample = ForegroundSample::new(shape);
        sample.add(labels, [0; 3], shape).unwrap();
        sample.finish()
    }

    #[test]
    fn every_class_is_found_where_it_is() {
        let shape = [3, 40, 50];
        let labels = labels(shape);
        let rows = whole(&labels, shape);
        for &[class, z, y, x] in &rows {
            assert_eq!(labels[((z * 40 + y) * 50 + x) as usize], class);
        }
        for class in [1, 2] {
            let expected = labels.iter().filter(|l| **l == class).count().min(PER_CLASS);
            assert_eq!(rows.iter().filter(|r| r[0] == class).count(), expected);
        }
    }

    #[test]
    fn a_large_class_is_sampled_evenly() {
        let shape = [10, 100, 100];
        let rows = whole(&vec![1; 100_000], shape);
        assert_eq!(rows.len(), PER_CLASS);
        for z in 0..10 {
            // 200 expected of a binomial with a standard deviation below 14
            let found = rows.iter().filter(|row| row[1] == z).count();
            assert!((130..270).contains(&found), "{found} in section {z}");
        }
    }

    #[test]
    fn wrong_boxes_are_refused() {
        let mut sample = ForegroundSample::new([4, 4, 4]);
        assert!(sample.add(&[1; 7], [0; 3], [2; 3]).is_err());
        assert!(sample.add(&[1; 8], [3, 0, 0], [2; 3]).is_err());
        assert!(sample.add(&[], [4, 0, 0], [0, 4, 4]).is_ok());
    }

    proptest! {
        #[test]
        fn the_order_and_size_of_boxes_do_not_matter(size in prop::array::uniform3(1usize..30), backwards: bool) {
            let shape = [20, 25, 30];
            let labels = labels(shape);
            let mut boxes = Vec::new();
            for z in (0..shape[0]).step_by(size[0]) {
                for y in (0..shape[1]).step_by(size[1]) {
                    for x in (0..shape[2]).step_by(size[2]) {
                        boxes.push([z, y, x]);
                    }
                }
            }
            if backwards {
                boxes.reverse();
            }
            let mut sample = ForegroundSample::new(shape);
            for lo in boxes {
                let part: [usize; 3] = std::array::from_fn(|a| size[a].min(shape[a] - lo[a]));
                let mut values = Vec::new();
                for z in lo[0]..lo[0] + part[0] {
                    for y in lo[1]..lo[1] + part[1] {
                        let row = (z * shape[1] + y) * shape[2];
                        values.extend_from_slice(&labels[row + lo[2]..row + lo[2] + part[2]]);
                    }
                }
                sample.add(&values, lo, part).unwrap();
            }
            prop_assert_eq!(sample.finish(), whole(&labels, shape));
        }
    }
}
