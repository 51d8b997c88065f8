//! Label values against the ones a data set declares.

use crate::error::{Result, ValueTable, VolumeError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Voxels per label value.
pub type Counts = BTreeMap<u64, u64>;

/// What a label map holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelReport {
    /// Voxels per value.
    pub counts: Counts,
    /// Declared values other than 0 that do not occur.
    pub absent: Vec<u64>,
}

/// Labels that are compared at once.
const BLOCK: usize = 64;

/// Counts the voxels of each value; 64-bit neuron ids are kept exactly.
pub fn counts<T: Copy + PartialEq + Into<u64>>(labels: &[T]) -> Counts {
    let mut counts = Counts::new();
    count_into(&mut counts, labels);
    counts
}

/// Adds the voxels of each value to what was counted before, for labels that come piece by piece.
pub fn count_into<T: Copy + PartialEq + Into<u64>>(counts: &mut Counts, labels: &[T]) {
    // Neighbours mostly agree: whole blocks, compared without branches, then runs.
    let mut add = |run: &[T]| *counts.entry(run[0].into()).or_insert(0) += run.len() as u64;
    for block in labels.chunks(BLOCK) {
        if block.iter().fold(true, |alike, label| alike & (*label == block[0])) {
            add(block);
        } else {
            block.chunk_by(|a, b| a == b).for_each(&mut add);
        }
    }
}

/// Share of the labelled voxels from which on one object is taken for several that leak into each other.
const LEAK: f64 = 0.9;
/// Objects, at least: two or three of which one is large may be what a label map is about.
const OBJECTS: u64 = 9;

/// The share that the largest of `objects` has, `largest` of `labelled` voxels, where it is nearly all of them and the others are
/// many: such objects were made by connecting what lies between membranes, which leaks from section to section.
pub fn leaking_share(objects: u64, largest: u64, labelled: u64) -> Option<f64> {
    let share = largest as f64 / labelled as f64;
    (objects >= OBJECTS && share > LEAK).then_some(share)
}

/// Compares the values of a label map with the declared ones.
///
/// Absent classes are no error for one case: a data set reports those that no case has.
///
/// # Errors
/// [`VolumeError::UndeclaredLabels`] with every undeclared value, its count, the likely cause and a ready remap.
pub fn check(counts: Counts, declared: &BTreeSet<u64>) -> Result<LabelReport> {
    let unknown: Vec<(u64, u64)> =
        counts.iter().filter(|(value, _)| !declared.contains(value)).map(|(v, n)| (*v, *n)).collect();
    if unknown.is_empty() {
        let absent = declared.iter().copied().filter(|v| *v != 0 && !counts.contains_key(v)).collect();
        return Ok(LabelReport { counts, absent });
    }
    let largest = declared.last().copied().unwrap_or(0);
    let mut values = unknown.clone();
    values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let remap_to = |to: &dyn Fn(u64) -> u64| {
        unknown.iter().take(8).map(|(v, _)| format!("{v}={}", to(*v))).collect::<Vec<_>>().join(",")
    };
    let only_255 = unknown.len() == 1 && unknown[0].0 == 255;
    let (cause, remap) = if only_255 && (largest == 1 || counts.keys().all(|v| matches!(v, 0 | 255))) {
        ("A 0/255 mask".to_owned(), "255=1".to_owned())
    } else if unknown.len() == 1 && unknown[0].0 == largest + 1 && !counts.contains_key(&0) {
        let shift = (1..=largest + 1).map(|v| format!("{v}={}", v - 1)).collect::<Vec<_>>().join(",");
        ("Labels count from 1 where 0 is declared".to_owned(), shift)
    } else if unknown.len() > 16 {
        (
            format!(
                "{} undeclared values: this looks like an intensity image or an instance map, not a label map",
                unknown.len()
            ),
            remap_to(&|_| 0),
        )
    } else if unknown.len() == 1 && unknown[0].0 == largest + 1 {
        ("One class more than declared".to_owned(), remap_to(&|_| 0))
    } else {
        ("Another label convention, or a class that is not declared".to_owned(), remap_to(&|_| 0))
    };
    let set = declared.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    Err(VolumeError::UndeclaredLabels {
        values: ValueTable(values.into_iter().map(|(v, n)| (v as f64, n)).collect()),
        declared: format!("{{{set}}}"),
        cause,
        remap,
    })
}

/// Replaces values in place; values that `map` does not name stay.
pub fn remap<T: Copy + Ord>(labels: &mut [T], map: &BTreeMap<T, T>) {
    if map.is_empty() {
        return;
    }
    for run in labels.chunk_by_mut(|a, b| a == b) {
        if let Some(to) = map.get(&run[0]) {
            run.fill(*to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(labels: &[u32], declared: &[u64]) -> VolumeError {
        check(counts(labels), &declared.iter().copied().collect()).unwrap_err()
    }

    #[test]
    fn neuron_ids_are_counted_exactly() {
        let ids = [u64::MAX, (1 << 53) + 1, 1 << 53, u64::MAX];
        let counted = counts(&ids);
        assert_eq!(counted.len(), 3);
        assert_eq!(counted[&u64::MAX], 2);
        let mut by_pieces = Counts::new();
        ids.chunks(3).for_each(|piece| count_into(&mut by_pieces, piece));
        assert_eq!(by_pieces, counted);
    }

    #[test]
    fn absent_classes_are_reported() {
        let report = check(counts(&[0_u32, 1, 1]), &[0, 1, 2].into()).unwrap();
        assert_eq!(report.absent, [2]);
        assert_eq!(report.counts, [(0, 1), (1, 2)].into());
    }

    #[test]
    fn undeclared_values_come_with_count_cause_and_remap() {
        let mask = failure(&[0, 255, 255], &[0, 1]);
        assert_eq!(mask.to_string(), "label values outside the declared {0,1}: 255 (2 voxels). A 0/255 mask");
        assert_eq!(
            mask.hint().unwrap(),
            "Pass --label-map 255=1 or add map = {\"255\" = 1} below [labels] of the data set's descriptor, or declare the value"
        );
        // a mask of one class where several are declared; with other classes beside it, it is something else
        let one_of_several = failure(&[0, 255, 255], &[0, 1, 2]);
        assert!(one_of_several.to_string().ends_with("A 0/255 mask"), "{one_of_several}");
        let other = failure(&[0, 2, 255], &[0, 1, 2]);
        assert!(!other.to_string().contains("mask"), "{other}");
        let shifted = failure(&[1, 2, 3], &[0, 1, 2]);
        assert!(shifted.hint().unwrap().contains("--label-map 1=0,2=1,3=2"), "{:?}", shifted.hint());
        let other = failure(&[0, 1, 7], &[0, 1, 2]);
        assert!(other.to_string().contains("7 (1 voxel)"), "{other}");
        let intensities: Vec<u32> = (0..100).collect();
        assert!(failure(&intensities, &[0, 1]).to_string().contains("intensity image"));
    }

    #[test]
    fn remap_touches_named_values_only() {
        let mut labels = [0_u8, 255, 255, 3];
        remap(&mut labels, &[(255, 1)].into());
        assert_eq!(labels, [0, 1, 1, 3]);
    }
}
