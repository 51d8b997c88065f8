//! Confusion counts per class, and what follows from them.

use crate::mask::{Bounds, expect_volume};
use crate::policy::Presence;
use crate::{MetricsError, Result};
use serde::{Deserialize, Serialize};

/// Voxels of one class in a prediction against its reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// Label value.
    pub class: u64,
    /// In both.
    pub true_positive: u64,
    /// In the prediction only.
    pub false_positive: u64,
    /// In the reference only.
    pub false_negative: u64,
    /// In neither, among the voxels that count.
    pub true_negative: u64,
    /// Smallest box that holds the class in either volume.
    #[serde(skip)]
    pub bounds: Option<Bounds>,
}

impl ClassCounts {
    /// Voxels in the reference.
    #[must_use]
    pub fn reference(&self) -> u64 {
        self.true_positive + self.false_negative
    }

    /// Voxels in the prediction.
    #[must_use]
    pub fn prediction(&self) -> u64 {
        self.true_positive + self.false_positive
    }

    /// Which of the two volumes hold the class.
    #[must_use]
    pub fn presence(&self) -> Presence {
        Presence::of(self.reference() > 0, self.prediction() > 0)
    }

    /// 2 TP / (2 TP + FP + FN); `None` when the class is in neither volume.
    #[must_use]
    pub fn dice(&self) -> Option<f64> {
        ratio(2 * self.true_positive, self.reference() + self.prediction())
    }

    /// TP / (TP + FP + FN); `None` when the class is in neither volume.
    #[must_use]
    pub fn iou(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Counts all classes in one pass.
///
/// # Shapes
/// `reference` and `prediction`: z, y, x of `shape_zyx`. Voxels whose reference is `ignore` are left out first. Classes are
/// label values without the background 0; the result is in their order. Values that are not listed count as background.
///
/// # Errors
/// Slices that do not fill the shape; classes that repeat or hold 0.
pub fn count_overlap<T: Copy + Into<u64>>(
    reference: &[T],
    prediction: &[T],
    shape_zyx: [usize; 3],
    classes: &[u64],
    ignore: Option<u64>,
) -> Result<Vec<ClassCounts>> {
    expect_volume("the reference", reference.len(), shape_zyx)?;
    expect_volume("the prediction", prediction.len(), shape_zyx)?;
    let mut sorted = classes.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != classes.len() || sorted.first() == Some(&0) {
        return Err(MetricsError::Classes { found: classes.to_vec() });
    }
    let [_, ny, nx] = shape_zyx;
    let position = |value: u64| classes.iter().position(|c| *c == value);
    let mut counts: Vec<_> = classes
        .iter()
        .map(|class| ClassCounts {
            class: *class,
            true_positive: 0,
            false_positive: 0,
            false_negative: 0,
            true_negative: 0,
            bounds: None,
        })
        .collect();
    let mut counted = 0_u64;
    for (i, (r, p)) in reference.iter().zip(prediction).enumerate() {
        let (r, p): (u64, u64) = ((*r).into(), (*p).into());
        if ignore == Some(r) {
            continue;
        }
        counted += 1;
        // nearly all voxels of a volume are background in both
        if r == 0 && p == 0 {
            continue;
        }
        let place = [i / (ny * nx), i / nx % ny, i % nx];
        let mut touch = |class: usize, field: fn(&mut ClassCounts) -> &mut u64| {
            let counts = &mut counts[class];
            *field(counts) += 1;
            counts.bounds.get_or_insert(Bounds::of_voxel(place)).include(place);
        };
        if r == p {
            if let Some(class) = position(r) {
                touch(class, |c| &mut c.true_positive);
            }
            continue;
        }
        if let Some(class) = position(r) {
            touch(class, |c| &mut c.false_negative);
        }
        if let Some(class) = position(p) {
            touch(class, |c| &mut c.false_positive);
        }
    }
    for count in &mut counts {
        count.true_negative = counted - count.true_positive - count.false_positive - count.false_negative;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_by_hand() {
        let reference = [0_u8, 1, 1, 2, 9, 0];
        let prediction = [0_u8, 1, 2, 2, 1, 3];
        let counts = count_overlap(&reference, &prediction, [1, 2, 3], &[1, 2], Some(9)).unwrap();
        let one = &counts[0];
        assert_eq!(
            (one.true_positive, one.false_positive, one.false_negative, one.true_negative),
            (1, 0, 1, 3)
        );
        assert_eq!(one.bounds, Some(Bounds { start_zyx: [0, 0, 1], end_zyx: [1, 1, 3] }));
        assert_eq!((counts[1].dice(), counts[1].iou()), (Some(2.0 / 3.0), Some(0.5)));
    }

    #[test]
    fn an_absent_class_has_no_score_and_wrong_arguments_are_named() {
        let counts = count_overlap(&[0_u8; 8], &[0; 8], [2; 3], &[1], None).unwrap();
        assert_eq!((counts[0].dice(), counts[0].bounds), (None, None));
        assert_eq!(counts[0].presence(), Presence::Neither);
        let error = count_overlap(&[0_u8; 8], &[0; 7], [2; 3], &[1], None).unwrap_err();
        assert_eq!(error.to_string(), "the prediction of shape [2, 2, 2] (z, y, x) has 7 voxels");
        let error = count_overlap(&[0_u8; 8], &[0; 8], [2; 3], &[1, 1], None).unwrap_err();
        assert!(error.to_string().contains("[1, 1]"), "{error}");
    }

    proptest! {
        #[test]
        fn symmetric_and_bounded(pairs in prop::collection::vec((0_u8..4, 0_u8..4), 24)) {
            let (a, b): (Vec<u8>, Vec<u8>) = pairs.into_iter().unzip();
            let there = count_overlap(&a, &b, [2, 3, 4], &[1, 2, 3], None).unwrap();
            let back = count_overlap(&b, &a, [2, 3, 4], &[1, 2, 3], None).unwrap();
            for (x, y) in there.iter().zip(&back) {
                prop_assert_eq!(x.dice(), y.dice());
                prop_assert_eq!(x.iou(), y.iou());
                prop_assert_eq!(x.bounds, y.bounds);
                let all = x.true_positive + x.false_positive + x.false_negative + x.true_negative;
                prop_assert_eq!(all, 24);
                if let (Some(dice), Some(iou)) = (x.dice(), x.iou()) {
                    prop_assert!((dice - 2.0 * iou / (1.0 + iou)).abs() < 1e-12);
                }
            }
            for same in count_overlap(&a, &a, [2, 3, 4], &[1, 2, 3], None).unwrap() {
                prop_assert!(same.dice().is_none_or(|d| d == 1.0));
            }
        }
    }
}
