//! Seeded voxels of each class, so that training can place patches on a class without searching for it.

use patches::sampler;
use rand::RngExt;
use std::collections::BTreeMap;

/// Voxels kept per class.
const PER_CLASS: usize = 2000;

/// Rows class, z, y, x: at most [`PER_CLASS`] voxels of each class, a uniform sample, sorted.
pub(crate) fn sample(labels: &[u32], shape_zyx: [usize; 3]) -> Vec<[u32; 4]> {
    let [_, height, width] = shape_zyx;
    // reservoir sampling: one pass, memory independent of the number of voxels
    let mut kept: BTreeMap<u32, (u64, Vec<usize>)> = BTreeMap::new();
    let mut generator = sampler::generator(0, 0, 0);
    for (i, &value) in labels.iter().enumerate() {
        if value == 0 {
            continue;
        }
        let (seen, places) = kept.entry(value).or_default();
        *seen += 1;
        if places.len() < PER_CLASS {
            places.push(i);
        } else {
            let at = generator.random_range(0..*seen) as usize;
            if at < PER_CLASS {
                places[at] = i;
            }
        }
    }
    let mut rows = Vec::new();
    for (value, (_, mut places)) in kept {
        places.sort_unstable();
        // a volume axis is far below 2^32 voxels
        rows.extend(places.into_iter().map(|i| {
            [value, (i / (height * width)) as u32, (i / width % height) as u32, (i % width) as u32]
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_found_where_it_is() {
        let shape = [3, 40, 50];
        let labels: Vec<u32> = (0..6000).map(|i| if i % 7 == 0 { 0 } else { (i % 3) as u32 }).collect();
        let rows = sample(&labels, shape);
        for &[class, z, y, x] in &rows {
            assert_eq!(labels[((z * 40 + y) * 50 + x) as usize], class);
        }
        for class in [1, 2] {
            let expected = labels.iter().filter(|l| **l == class).count().min(PER_CLASS);
            assert_eq!(rows.iter().filter(|r| r[0] == class).count(), expected);
        }
        let big = vec![1; 50_000];
        assert_eq!(sample(&big, [1, 250, 200]).len(), PER_CLASS);
    }
}
