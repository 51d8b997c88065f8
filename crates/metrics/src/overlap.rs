//! Confusion counts per class or region, and what follows from them.

use crate::mask::{Bounds, expect_volume};
use crate::policy::Presence;
use crate::{MetricsError, Result, Target};
use rayon::prelude::*;
use std::collections::HashMap;

/// Voxels of one class in a prediction against its reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    /// What was counted.
    pub target: Target,
    /// In both.
    pub true_positive: u64,
    /// In the prediction only.
    pub false_positive: u64,
    /// In the reference only.
    pub false_negative: u64,
    /// In neither, among the voxels that count.
    pub true_negative: u64,
    /// Smallest box that holds the class in either volume.
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

    /// TP / (TP + FN); `None` when the reference lacks the class.
    #[must_use]
    pub fn sensitivity(&self) -> Option<f64> {
        ratio(self.true_positive, self.reference())
    }

    /// TP / (TP + FP), the positive predictive value; `None` when the prediction lacks the class.
    #[must_use]
    pub fn positive_predictive_value(&self) -> Option<f64> {
        ratio(self.true_positive, self.prediction())
    }

    /// Volume of the prediction less that of the reference, in ml; spacing in mm.
    #[must_use]
    pub fn volume_difference_ml(&self, spacing_zyx_mm: [f64; 3]) -> f64 {
        let voxels = self.false_positive as f64 - self.false_negative as f64;
        voxels * spacing_zyx_mm.iter().product::<f64>() / 1000.0
    }

    /// The same as a share of the reference's volume; `None` when the reference lacks the class.
    #[must_use]
    pub fn relative_volume_difference(&self) -> Option<f64> {
        let voxels = self.false_positive as f64 - self.false_negative as f64;
        (self.reference() > 0).then(|| voxels / self.reference() as f64)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Position of each value that belongs to a target, counted from 1; 0 stands for all others.
struct Positions {
    small: Vec<u32>,
    large: HashMap<u64, u32>,
    count: usize,
}

impl Positions {
    const SMALL: u64 = 1 << 16;

    fn of(targets: &[Target]) -> Self {
        let mut values: Vec<u64> = targets.iter().flat_map(|t| t.values().iter().copied()).collect();
        values.sort_unstable();
        values.dedup();
        let mut found = Self { small: Vec::new(), large: HashMap::new(), count: values.len() };
        for (position, value) in (1_u32..).zip(values) {
            if value < Self::SMALL {
                found.small.resize(found.small.len().max(value as usize + 1), 0);
                found.small[value as usize] = position;
            } else {
                found.large.insert(value, position);
            }
        }
        found
    }

    fn at(&self, value: u64) -> usize {
        if value < Self::SMALL {
            self.small.get(value as usize).map_or(0, |p| *p as usize)
        } else {
            self.large.get(&value).map_or(0, |p| *p as usize)
        }
    }
}

/// How often each pair of values meets, and where each value lies in either volume.
#[derive(Clone)]
struct Confusion {
    /// Row: position of the reference's value; column: of the prediction's.
    pairs: Vec<u64>,
    bounds: Vec<Option<Bounds>>,
}

impl Confusion {
    fn new(side: usize) -> Self {
        Self { pairs: vec![0; side * side], bounds: vec![None; side] }
    }

    fn add(&mut self, reference: usize, prediction: usize, [z, y, x]: [usize; 3], length: usize) {
        self.pairs[reference * self.bounds.len() + prediction] += length as u64;
        for position in [reference, prediction] {
            if position > 0 {
                let bounds = self.bounds[position].get_or_insert(Bounds::of_voxel([z, y, x]));
                bounds.include([z, y, x]);
                bounds.include([z, y, x + length - 1]);
            }
        }
    }

    fn join(mut self, other: &Self) -> Self {
        for (own, more) in self.pairs.iter_mut().zip(&other.pairs) {
            *own += more;
        }
        for (own, more) in self.bounds.iter_mut().zip(&other.bounds) {
            *own = union(*own, *more);
        }
        self
    }
}

fn union(a: Option<Bounds>, b: Option<Bounds>) -> Option<Bounds> {
    match (a, b) {
        (Some(mut a), Some(b)) => {
            a.include(b.start_zyx);
            a.include(b.end_zyx.map(|i| i - 1));
            Some(a)
        }
        (a, b) => a.or(b),
    }
}

/// Counts all targets in one pass.
///
/// # Shapes
/// `reference` and `prediction`: z, y, x of `shape_zyx`. Voxels whose reference is `ignore` are left out first. The result is
/// in the order of the targets, which may overlap. Values that belong to none count as background.
///
/// # Errors
/// Slices that do not fill the shape; a target twice, or one that holds the ignored value.
pub fn count_overlap<T: Copy + PartialEq + Into<u64> + Sync>(
    reference: &[T],
    prediction: &[T],
    shape_zyx: [usize; 3],
    targets: &[Target],
    ignore: Option<u64>,
) -> Result<Vec<ClassCounts>> {
    expect_volume("the reference", reference.len(), shape_zyx)?;
    expect_volume("the prediction", prediction.len(), shape_zyx)?;
    for (i, target) in targets.iter().enumerate() {
        if targets[..i].contains(target) || ignore.is_some_and(|value| target.holds(value)) {
            return Err(MetricsError::Classes { found: target.values().to_vec() });
        }
    }
    let positions = Positions::of(targets);
    let side = positions.count + 1;
    let [_, ny, nx] = shape_zyx;
    let plane = |z: usize| {
        let mut confusion = Confusion::new(side);
        for y in 0..ny {
            let row = (z * ny + y) * nx;
            let (truth, guess) = (&reference[row..row + nx], &prediction[row..row + nx]);
            let mut x = 0;
            while x < nx {
                let pair = (truth[x], guess[x]);
                let run = truth[x..].iter().zip(&guess[x..]).take_while(|(t, g)| (**t, **g) == pair).count();
                let value: u64 = pair.0.into();
                if ignore != Some(value) {
                    confusion.add(positions.at(value), positions.at(pair.1.into()), [z, y, x], run);
                }
                x += run;
            }
        }
        confusion
    };
    let confusion =
        (0..shape_zyx[0]).into_par_iter().map(plane).reduce(|| Confusion::new(side), |a, b| a.join(&b));
    let counted: u64 = confusion.pairs.iter().sum();
    Ok(targets.iter().map(|target| of_target(target, &positions, &confusion, counted)).collect())
}

fn of_target(target: &Target, positions: &Positions, confusion: &Confusion, counted: u64) -> ClassCounts {
    let side = confusion.bounds.len();
    let mut inside = vec![false; side];
    let mut bounds = None;
    for value in target.values() {
        let position = positions.at(*value);
        inside[position] = true;
        bounds = union(bounds, confusion.bounds[position]);
    }
    let sum = |in_reference: bool, in_prediction: bool| {
        let pairs = confusion.pairs.iter().enumerate();
        let chosen =
            pairs.filter(|(i, _)| (inside[i / side], inside[i % side]) == (in_reference, in_prediction));
        chosen.map(|(_, n)| n).sum::<u64>()
    };
    let (true_positive, false_positive, false_negative) =
        (sum(true, true), sum(false, true), sum(true, false));
    ClassCounts {
        target: target.clone(),
        true_positive,
        false_positive,
        false_negative,
        true_negative: counted - true_positive - false_positive - false_negative,
        bounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn classes(values: &[u64]) -> Vec<Target> {
        values.iter().map(|v| Target::class(*v).unwrap()).collect()
    }

    #[test]
    fn counts_by_hand() {
        let reference = [0_u8, 1, 1, 2, 9, 0];
        let prediction = [0_u8, 1, 2, 2, 1, 3];
        let mut targets = classes(&[1, 2]);
        targets.push(Target::region(vec![1, 2]).unwrap());
        let counts = count_overlap(&reference, &prediction, [1, 2, 3], &targets, Some(9)).unwrap();
        let one = &counts[0];
        assert_eq!(
            (one.true_positive, one.false_positive, one.false_negative, one.true_negative),
            (1, 0, 1, 3)
        );
        assert_eq!(one.bounds, Some(Bounds { start_zyx: [0, 0, 1], end_zyx: [1, 1, 3] }));
        assert_eq!((one.sensitivity(), one.positive_predictive_value()), (Some(0.5), Some(1.0)));
        assert_eq!(
            (one.volume_difference_ml([10.0; 3]), one.relative_volume_difference()),
            (-1.0, Some(-0.5))
        );
        assert_eq!((counts[1].dice(), counts[1].iou()), (Some(2.0 / 3.0), Some(0.5)));
        // what is confused between the classes of a region is right for the region
        assert_eq!((counts[2].dice(), counts[2].true_positive), (Some(1.0), 3));
    }

    #[test]
    fn an_absent_class_has_no_score_and_wrong_arguments_are_named() {
        let counts = count_overlap(&[0_u8; 8], &[0; 8], [2; 3], &classes(&[1]), None).unwrap();
        assert_eq!((counts[0].dice(), counts[0].bounds), (None, None));
        assert_eq!(counts[0].presence(), Presence::Neither);
        let error = count_overlap(&[0_u8; 8], &[0; 7], [2; 3], &classes(&[1]), None).unwrap_err();
        assert_eq!(error.to_string(), "the prediction of shape [2, 2, 2] (z, y, x) has 7 voxels");
        for (targets, ignore) in [(classes(&[1, 1]), None), (classes(&[1]), Some(1))] {
            let error = count_overlap(&[0_u8; 8], &[0; 8], [2; 3], &targets, ignore).unwrap_err();
            assert!(error.to_string().contains("[1]"), "{error}");
        }
    }

    #[test]
    fn ids_beyond_16_bits_are_classes_like_others() {
        let labels = [0_u64, 70_000, 1 << 40, 1 << 40];
        let counts = count_overlap(&labels, &labels, [1, 1, 4], &classes(&[70_000, 1 << 40]), None).unwrap();
        assert_eq!((counts[0].true_positive, counts[1].true_positive), (1, 2));
    }

    proptest! {
        #[test]
        fn equals_a_count_voxel_by_voxel(pairs in prop::collection::vec((0_u8..4, 0_u8..4), 24)) {
            let (a, b): (Vec<u8>, Vec<u8>) = pairs.iter().copied().unzip();
            let mut targets = classes(&[1, 2, 3]);
            targets.push(Target::region(vec![1, 3]).unwrap());
            let there = count_overlap(&a, &b, [2, 3, 4], &targets, Some(2)).map(drop);
            prop_assert!(there.is_err());
            let targets = [targets[0].clone(), targets[3].clone()];
            for counts in count_overlap(&a, &b, [2, 3, 4], &targets, Some(2)).unwrap() {
                let count = |in_a: bool, in_b: bool| {
                    let chosen = pairs.iter().filter(|(x, y)| {
                        *x != 2 && (counts.target.holds((*x).into()), counts.target.holds((*y).into())) == (in_a, in_b)
                    });
                    chosen.count() as u64
                };
                prop_assert_eq!(counts.true_positive, count(true, true));
                prop_assert_eq!(counts.false_positive, count(false, true));
                prop_assert_eq!(counts.false_negative, count(true, false));
                prop_assert_eq!(counts.true_negative, count(false, false));
            }
        }

        #[test]
        fn symmetric_and_bounded(pairs in prop::collection::vec((0_u8..4, 0_u8..4), 24)) {
            let (a, b): (Vec<u8>, Vec<u8>) = pairs.into_iter().unzip();
            let targets = classes(&[1, 2, 3]);
            let there = count_overlap(&a, &b, [2, 3, 4], &targets, None).unwrap();
            let back = count_overlap(&b, &a, [2, 3, 4], &targets, None).unwrap();
            for (x, y) in there.iter().zip(&back) {
                prop_assert_eq!(x.dice(), y.dice());
                prop_assert_eq!(x.iou(), y.iou());
                prop_assert_eq!(x.sensitivity(), y.positive_predictive_value());
                prop_assert_eq!(x.bounds, y.bounds);
                let all = x.true_positive + x.false_positive + x.false_negative + x.true_negative;
                prop_assert_eq!(all, 24);
                if let (Some(dice), Some(iou)) = (x.dice(), x.iou()) {
                    prop_assert!((dice - 2.0 * iou / (1.0 + iou)).abs() < 1e-12);
                }
            }
            for same in count_overlap(&a, &a, [2, 3, 4], &targets, None).unwrap() {
                prop_assert!(same.dice().is_none_or(|d| d == 1.0));
            }
        }
    }
}
