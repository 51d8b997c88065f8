//! Scores of instance segmentations, from a contingency table.
//!
//! Definitions differ between programs on the same names: CREMI's evaluation (cremi_python), SNEMI and gala share one adapted
//! Rand error, scikit-image has another. Which voxels are evaluated is decided when the table is made.

use crate::contingency::{Pair, Table};
use rayon::prelude::*;

/// Thresholds of the mean average precision.
pub const IOU_THRESHOLDS: [f64; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// An adapted Rand error with what it is made of; `None` where it would be 0 / 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptedRand {
    /// 1 less the harmonic mean of precision and recall.
    pub error: Option<f64>,
    /// Precision, as named by the program whose form it is.
    pub precision: Option<f64>,
    /// Recall, likewise.
    pub recall: Option<f64>,
}

/// Everything that is scored.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceScores {
    /// Variation of information, the part of splits: H(segmentation | reference), bits. The segmentation's 0 is an object like
    /// others.
    pub voi_split: f64,
    /// The part of merges: H(reference | segmentation), bits.
    pub voi_merge: f64,
    /// Adapted Rand error of CREMI, SNEMI and gala; the segmentation's 0 counts as single voxels, and n is the number of all
    /// voxels, those that are not evaluated among them.
    pub rand_cremi: AdaptedRand,
    /// Adapted Rand error of scikit-image 0.26: pairs of distinct voxels; its precision divides by the pairs of the reference.
    pub rand_scikit_image: AdaptedRand,
    /// TP / (TP + FP + FN) of objects that are paired where their IoU is above each of [`IOU_THRESHOLDS`]; 0 is no object.
    pub average_precision: [Option<f64>; 10],
    /// Over the reference's objects: how many objects of the segmentation hold a part of it, less one.
    pub splits: u64,
    /// Over the segmentation's objects: how many objects of the reference it holds a part of, less one.
    pub merges: u64,
    /// Objects in the reference and in the segmentation, without 0.
    pub objects: [u64; 2],
}

/// A score with the id of its definition.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedScore {
    /// Stable id.
    pub id: String,
    /// Name for tables.
    pub name: &'static str,
    /// The formula in words.
    pub text: String,
    /// The value; `None` where it would be 0 / 0.
    pub value: Option<f64>,
}

impl InstanceScores {
    /// All scores with their definitions; `least_part` is the one that they were made with.
    #[must_use]
    pub fn named(&self, least_part: u64) -> Vec<NamedScore> {
        let row = |id: &str, name: &'static str, text: &str, value: Option<f64>| NamedScore {
            id: id.to_owned(),
            name,
            text: text.to_owned(),
            value,
        };
        let cremi = "evaluated voxels only; the segmentation's 0 is an object like others";
        let rand = "pairs of voxels in one object; the segmentation's 0 counts as single voxels, n is the number of all voxels";
        let part = format!("parts of at least {least_part} voxels");
        let precision = |threshold: f64| {
            let text = format!("TP / (TP + FP + FN) of objects paired where their IoU is above {threshold}");
            let place = IOU_THRESHOLDS.iter().position(|t| *t == threshold);
            row(
                &format!("ap:iou{:.0}", threshold * 100.0),
                "AP",
                &text,
                place.and_then(|i| self.average_precision[i]),
            )
        };
        vec![
            row("voi:cremi", "VOI", &format!("split and merge together, bits; {cremi}"), Some(self.voi())),
            row(
                "voi-split:cremi",
                "VOI split",
                &format!("H(segmentation | reference), bits; {cremi}"),
                Some(self.voi_split),
            ),
            row(
                "voi-merge:cremi",
                "VOI merge",
                &format!("H(reference | segmentation), bits; {cremi}"),
                Some(self.voi_merge),
            ),
            row("arand:cremi", "ARAND", &format!("1 - F of {rand}"), self.rand_cremi.error),
            row(
                "arand-precision:cremi",
                "ARAND precision",
                &format!("precision of {rand}"),
                self.rand_cremi.precision,
            ),
            row("arand-recall:cremi", "ARAND recall", &format!("recall of {rand}"), self.rand_cremi.recall),
            row(
                "arand:scikit-image",
                "ARAND",
                "1 - F of pairs of distinct voxels in one object, as scikit-image 0.26",
                self.rand_scikit_image.error,
            ),
            row(
                "cremi-score",
                "CREMI score",
                "square root of VOI (voi:cremi) times ARAND (arand:cremi)",
                self.cremi_score(),
            ),
            precision(0.5),
            precision(0.75),
            row("ap:mean", "AP", "mean of AP at IoU 0.5, 0.55, … 0.95", self.mean_average_precision()),
            row(
                &format!("splits:{least_part}voxels"),
                "Splits",
                &format!(
                    "over the reference's objects, how many objects hold a part of it, less one; {part}"
                ),
                Some(self.splits as f64),
            ),
            row(
                &format!("merges:{least_part}voxels"),
                "Merges",
                &format!(
                    "over the segmentation's objects, how many objects it holds a part of, less one; {part}"
                ),
                Some(self.merges as f64),
            ),
        ]
    }

    /// VOI: splits and merges together, bits.
    #[must_use]
    pub fn voi(&self) -> f64 {
        self.voi_split + self.voi_merge
    }

    /// CREMI's score: the geometric mean of VOI and adapted Rand error.
    #[must_use]
    pub fn cremi_score(&self) -> Option<f64> {
        self.rand_cremi.error.map(|error| (self.voi() * error).sqrt())
    }

    /// Mean of the average precisions over [`IOU_THRESHOLDS`].
    #[must_use]
    pub fn mean_average_precision(&self) -> Option<f64> {
        let known: Option<Vec<f64>> = self.average_precision.iter().copied().collect();
        known.map(|values| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Scores a table; parts of at least `least_part` voxels count as splits and merges. `None` when no voxel is evaluated.
    ///
    /// Memory: a quarter of a GiB beside the table.
    #[must_use]
    pub fn of(table: &Table, least_part: u64) -> Option<Self> {
        if table.evaluated() == 0 {
            return None;
        }
        let rows = Rows::of(table, least_part);
        let columns = Columns::of(table, least_part);
        let n = table.evaluated() as f64;
        let alone = rows.beside_nothing as f64 / table.voxels() as f64;
        let together = rows.pair_squares as f64 + alone;
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let rand =
            |together: f64, of_reference: f64, of_prediction: f64, precision: f64, recall: f64| AdaptedRand {
                // 1 - 2PR / (P + R), without a division by what may be 0
                error: ratio(2.0 * together, of_reference + of_prediction).map(|f| 1.0 - f),
                precision: ratio(together, precision),
                recall: ratio(together, recall),
            };
        let (of_reference, of_prediction) = (rows.squares as f64, columns.squares as f64 + alone);
        // pairs of distinct voxels: n (n - 1) in place of n², in whole numbers
        let distinct = |squares: u128| (squares - u128::from(table.evaluated())) as f64;
        let pairs = distinct(rows.pair_squares_with_nothing);
        let (reference_pairs, prediction_pairs) =
            (distinct(rows.squares), distinct(columns.squares_with_nothing));
        let objects = [rows.objects, columns.objects];
        let average_precision = columns.found.map(|found| {
            let all = objects[0] + objects[1] - found;
            (all > 0).then(|| found as f64 / all as f64)
        });
        Some(Self {
            voi_split: rows.entropy / n,
            voi_merge: columns.entropy / n,
            rand_cremi: rand(together, of_reference, of_prediction, of_prediction, of_reference),
            rand_scikit_image: rand(
                pairs,
                reference_pairs,
                prediction_pairs,
                reference_pairs,
                prediction_pairs,
            ),
            average_precision,
            splits: rows.splits,
            merges: columns.merges,
            objects,
        })
    }
}

fn square(n: u64) -> u128 {
    u128::from(n) * u128::from(n)
}

/// Sum of n log2(whole / n) over the parts n of a whole.
fn entropy(parts: &[Pair], whole: u64) -> f64 {
    // from 0: the sum of no floats is -0
    parts.iter().fold(0.0, |sum, p| sum + p.voxels as f64 * (whole as f64 / p.voxels as f64).log2())
}

/// Objects of the other side that hold a part of at least `least` voxels, less one.
fn surplus(parts: &[Pair], least: u64, is_object: impl Fn(&Pair) -> bool) -> u64 {
    (parts.iter().filter(|p| p.voxels >= least && is_object(p)).count() as u64).saturating_sub(1)
}

/// Sums over the reference's objects.
#[derive(Default)]
struct Rows {
    entropy: f64,
    squares: u128,
    pair_squares: u128,
    pair_squares_with_nothing: u128,
    /// Voxels where the segmentation is 0.
    beside_nothing: u64,
    objects: u64,
    splits: u64,
}

impl Rows {
    fn of(table: &Table, least_part: u64) -> Self {
        let parts: Vec<Self> = table
            .rows()
            .map(|rows| {
                let mut sums = Self::default();
                for parts in rows {
                    sums.add(parts, least_part);
                }
                sums
            })
            .collect();
        // in the order of the shards, so that the last digit does not depend on the threads
        parts.into_iter().fold(Self::default(), |a, b| Self {
            entropy: a.entropy + b.entropy,
            squares: a.squares + b.squares,
            pair_squares: a.pair_squares + b.pair_squares,
            pair_squares_with_nothing: a.pair_squares_with_nothing + b.pair_squares_with_nothing,
            beside_nothing: a.beside_nothing + b.beside_nothing,
            objects: a.objects + b.objects,
            splits: a.splits + b.splits,
        })
    }

    fn add(&mut self, parts: &[Pair], least_part: u64) {
        let whole = parts.iter().map(|p| p.voxels).sum();
        self.entropy += entropy(parts, whole);
        self.squares += square(whole);
        for part in parts {
            self.pair_squares_with_nothing += square(part.voxels);
            if part.prediction == 0 {
                self.beside_nothing += part.voxels;
            } else {
                self.pair_squares += square(part.voxels);
            }
        }
        if parts.first().is_some_and(|p| p.reference != 0) {
            self.objects += 1;
            self.splits += surplus(parts, least_part, |p| p.prediction != 0);
        }
    }
}

/// Sums over the segmentation's objects.
#[derive(Default)]
struct Columns {
    entropy: f64,
    /// Without 0.
    squares: u128,
    squares_with_nothing: u128,
    objects: u64,
    merges: u64,
    /// Objects found at each of [`IOU_THRESHOLDS`].
    found: [u64; 10],
}

impl Columns {
    fn of(table: &Table, least_part: u64) -> Self {
        let mut sums = Self::default();
        for part in table.columns() {
            for parts in part.chunk_by(|a, b| a.prediction == b.prediction) {
                sums.add(parts, least_part, table);
            }
        }
        sums
    }

    fn add(&mut self, parts: &[Pair], least_part: u64, table: &Table) {
        let whole = parts.iter().map(|p| p.voxels).sum();
        self.entropy += entropy(parts, whole);
        self.squares_with_nothing += square(whole);
        if parts.first().is_none_or(|p| p.prediction == 0) {
            return;
        }
        self.squares += square(whole);
        self.objects += 1;
        self.merges += surplus(parts, least_part, |p| p.reference != 0);
        // an IoU above 1/2 needs more than half of the object, so there is one partner at most
        let Some(main) = parts.iter().find(|p| 2 * p.voxels > whole && p.reference != 0) else { return };
        let partner: u64 = table.row(main.reference).iter().map(|p| p.voxels).sum();
        let union = partner + whole - main.voxels;
        let iou = main.voxels as f64 / union as f64;
        for (found, threshold) in self.found.iter_mut().zip(IOU_THRESHOLDS) {
            *found += u64::from(iou > threshold);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn scores(reference: &[u64], prediction: &[u64]) -> InstanceScores {
        InstanceScores::of(&Table::of(reference, prediction, Some(0)), 1).unwrap()
    }

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 6e-10
    }

    /// Reference, segmentation; adapted Rand error, precision, recall; VOI split, merge.
    type Vector = (&'static [u64], &'static [u64], [f64; 3], [f64; 2]);

    #[test]
    fn vectors_of_the_reference_code() {
        let rows: [Vector; 6] = [
            (
                &[1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4],
                &[3, 3, 3, 3, 4, 5, 6, 6, 5, 5, 5],
                [0.4, 21.0 / 37.0, 7.0 / 11.0],
                [0.614_080_682, 0.727_272_727],
            ),
            (
                &[0, 0, 1, 1, 2, 2, 2, 3, 3, 3],
                &[7, 7, 1, 1, 2, 2, 5, 5, 5, 5],
                [0.217_391_304, 0.75, 0.818_181_818],
                [0.344_360_938, 0.405_639_062],
            ),
            (
                &[1, 1, 1, 1, 2, 2, 2, 2],
                &[0, 0, 1, 1, 2, 2, 2, 0],
                [0.410_468_320, 1.0, 0.417_968_75],
                [0.905_639_062, 0.344_360_938],
            ),
            (&[1, 1, 2, 2], &[5, 5, 5, 5], [0.333_333_333, 0.5, 1.0], [0.0, 1.0]),
            (&[1, 1, 1, 1], &[1, 2, 3, 4], [0.6, 1.0, 0.25], [2.0, 0.0]),
            (&[1, 1, 2, 2], &[0, 0, 0, 0], [0.777_777_778, 1.0, 0.125], [0.0, 1.0]),
        ];
        for (reference, prediction, rand, voi) in rows {
            let found = scores(reference, prediction);
            let AdaptedRand { error, precision, recall } = found.rand_cremi;
            for (value, expected) in [error, precision, recall].into_iter().zip(rand) {
                assert!(near(value.unwrap(), expected), "{reference:?}: {:?} {rand:?}", found.rand_cremi);
            }
            assert!(
                near(found.voi_split, voi[0]) && near(found.voi_merge, voi[1]),
                "{reference:?}: {found:?}"
            );
            let score = (found.voi() * error.unwrap()).sqrt();
            assert_eq!(found.cremi_score(), Some(score));
        }
        // nothing to evaluate
        assert_eq!(InstanceScores::of(&Table::of(&[0; 4], &[1, 2, 3, 4], Some(0)), 1), None);
    }

    #[test]
    fn scikit_image_differs() {
        let found = scores(&[1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4], &[3, 3, 3, 3, 4, 5, 6, 6, 5, 5, 5]);
        assert!(near(found.rand_scikit_image.error.unwrap(), 0.583_333_333));
        let found = scores(&[1; 4], &[1, 2, 3, 4]).rand_scikit_image;
        assert_eq!((found.error, found.precision, found.recall), (Some(1.0), Some(0.0), None));
    }

    #[test]
    fn objects_splits_and_merges_by_hand() {
        // 1 is split in two, 2 and 3 are merged, 4 is found but for one voxel, 9 is invented; one voxel strays
        let reference = [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 0, 0];
        let prediction = [1, 1, 5, 5, 6, 6, 6, 6, 7, 7, 7, 1, 9, 9];
        let all = InstanceScores::of(&Table::of(&reference, &prediction, None), 1).unwrap();
        assert_eq!((all.splits, all.merges, all.objects), (2, 2, [4, 5]));
        let large = InstanceScores::of(&Table::of(&reference, &prediction, None), 2).unwrap();
        assert_eq!((large.splits, large.merges), (1, 1));
        // only 4 has an IoU above 1/2: 3 of 4
        assert_eq!(all.average_precision[0], Some(1.0 / 8.0));
        assert_eq!(all.average_precision[4..6], [Some(1.0 / 8.0), Some(0.0)]);
        assert_eq!(all.mean_average_precision(), Some(0.5 / 8.0));
    }

    fn naive_iou_pairs(reference: &[u64], prediction: &[u64], threshold: f64) -> u64 {
        let mut shared: BTreeMap<(u64, u64), f64> = BTreeMap::new();
        for pair in reference.iter().copied().zip(prediction.iter().copied()) {
            *shared.entry(pair).or_default() += 1.0;
        }
        let size = |of: &[u64], id: u64| of.iter().filter(|v| **v == id).count() as f64;
        let objects = shared.iter().filter(|((r, p), _)| *r != 0 && *p != 0);
        objects
            .filter(|((r, p), n)| *n / (size(reference, *r) + size(prediction, *p) - *n) > threshold)
            .count() as u64
    }

    proptest! {
        #[test]
        fn names_do_not_matter_and_sides_swap(labels in prop::collection::vec((1_u64..6, 1_u64..6), 1..200)) {
            let (a, b): (Vec<u64>, Vec<u64>) = labels.into_iter().unzip();
            let there = scores(&a, &b);
            let back = scores(&b, &a);
            prop_assert!((there.voi_split - back.voi_merge).abs() < 1e-12);
            prop_assert_eq!(there.rand_cremi.error, back.rand_cremi.error);
            prop_assert_eq!((there.splits, there.merges), (back.merges, back.splits));
            prop_assert_eq!(there.average_precision, back.average_precision);
            let renamed: Vec<u64> = b.iter().map(|id| u64::MAX - id * 977).collect();
            let again = scores(&a, &renamed);
            prop_assert!((there.voi() - again.voi()).abs() < 1e-12);
            prop_assert_eq!(there.rand_scikit_image, again.rand_scikit_image);
            let same = scores(&a, &a);
            prop_assert_eq!((same.voi(), same.rand_cremi.error, same.splits), (0.0, Some(0.0), 0));
            prop_assert_eq!(same.mean_average_precision(), Some(1.0));
        }

        #[test]
        fn pairs_above_a_threshold(labels in prop::collection::vec((0_u64..4, 0_u64..4), 1..60)) {
            let (a, b): (Vec<u64>, Vec<u64>) = labels.into_iter().unzip();
            let found = InstanceScores::of(&Table::of(&a, &b, None), 1).unwrap();
            for (precision, threshold) in found.average_precision.iter().zip(IOU_THRESHOLDS) {
                let n = naive_iou_pairs(&a, &b, threshold);
                let all = found.objects[0] + found.objects[1] - n;
                prop_assert_eq!(*precision, (all > 0).then(|| n as f64 / all as f64));
            }
        }
    }
}
