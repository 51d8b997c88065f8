//! Detection of single lesions: components of the reference against components of the prediction.

use crate::definition::Matching;
use crate::mask::{Mask, expect_same_shape};
use crate::{Definition, Result};
use label_maps::{Connectivity, label_components};
use std::collections::BTreeMap;

/// Lesions of two masks and where they meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lesions {
    /// Voxels of each lesion of the reference.
    reference: Vec<u64>,
    /// Voxels of each lesion of the prediction.
    prediction: Vec<u64>,
    /// Shared voxels by positions in `reference` and `prediction`.
    shared: BTreeMap<(usize, usize), u64>,
}

impl Lesions {
    /// The lesions of two masks of equal shape: components of voxels that share a face, an edge or a corner.
    ///
    /// # Errors
    /// Masks of different shapes, more components than 32 bits can number.
    pub fn of(reference: &Mask, prediction: &Mask) -> Result<Self> {
        expect_same_shape(reference, prediction)?;
        let label = |mask: &Mask| label_components(mask.voxels(), mask.shape_zyx(), Connectivity::Corners);
        let (truth, guess) = (label(reference)?, label(prediction)?);
        let mut shared = BTreeMap::new();
        for (r, p) in truth.labels.iter().zip(&guess.labels) {
            if *r != 0 && *p != 0 {
                *shared.entry((*r as usize - 1, *p as usize - 1)).or_insert(0) += 1;
            }
        }
        Ok(Self { reference: truth.sizes, prediction: guess.sizes, shared })
    }

    /// Numbers of lesions in reference and prediction.
    #[must_use]
    pub fn counts(&self) -> [usize; 2] {
        [self.reference.len(), self.prediction.len()]
    }

    /// Lesions of the reference that were found, and predicted lesions that meet one.
    #[must_use]
    pub fn found(&self, matching: Matching) -> [usize; 2] {
        let met = |side: fn(&(usize, usize)) -> usize| {
            let mut places: Vec<usize> = self.pairs(matching).map(|(pair, _)| side(pair)).collect();
            places.sort_unstable();
            places.dedup();
            places.len()
        };
        [met(|pair| pair.0), met(|pair| pair.1)]
    }

    fn pairs(&self, matching: Matching) -> impl Iterator<Item = (&(usize, usize), &u64)> {
        self.shared.iter().filter(move |((r, p), shared)| match matching {
            Matching::Overlap => true,
            // shared / (all of both) > 1/2, in whole numbers
            Matching::Half => 3 * **shared > self.reference[*r] + self.prediction[*p],
        })
    }

    /// Harmonic mean of the shares of lesions found and of predicted lesions that meet one; `None` without any lesion.
    #[must_use]
    pub fn f1(&self, matching: Matching) -> Option<f64> {
        let [references, predictions] = self.counts();
        if references + predictions == 0 {
            return None;
        }
        if references == 0 || predictions == 0 {
            return Some(0.0);
        }
        let [found, right] = self.found(matching);
        let (sensitivity, precision) = (found as f64 / references as f64, right as f64 / predictions as f64);
        let sum = sensitivity + precision;
        Some(if sum > 0.0 { 2.0 * sensitivity * precision / sum } else { 0.0 })
    }

    /// Mean Dice of the lesions found, each against all predicted lesions that meet it together; `None` when none was found.
    #[must_use]
    pub fn dice(&self, matching: Matching) -> Option<f64> {
        let mut of_lesion: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        for ((r, p), shared) in self.pairs(matching) {
            let (met, predicted) = of_lesion.entry(*r).or_default();
            *met += shared;
            *predicted += self.prediction[*p];
        }
        let dice = of_lesion
            .iter()
            .map(|(r, (met, predicted))| 2.0 * *met as f64 / (self.reference[*r] + predicted) as f64);
        let found = of_lesion.len();
        (found > 0).then(|| dice.sum::<f64>() / found as f64)
    }

    /// The value of a definition on lesions; `None` for others, or where there is none.
    #[must_use]
    pub fn value(&self, definition: Definition) -> Option<f64> {
        match definition {
            Definition::LesionF1(matching) => self.f1(matching),
            Definition::LesionDice(matching) => self.dice(matching),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Mask {
        Mask::new(text.bytes().map(|b| b == b'#').collect(), [1, 1, text.len()]).unwrap()
    }

    #[test]
    fn by_hand() {
        // three lesions: found by two pieces, found beside much else, missed; and one invented
        let reference = row("####....##....#.....");
        let prediction = row("#.##....#######...##");
        let lesions = Lesions::of(&reference, &prediction).unwrap();
        assert_eq!(lesions.counts(), [3, 4]);
        // the long one meets the second and the third
        assert_eq!(lesions.found(Matching::Overlap), [3, 3]);
        let f1 = 2.0 * 1.0 * 0.75 / 1.75;
        assert!((lesions.f1(Matching::Overlap).unwrap() - f1).abs() < 1e-15);
        let dice = (2.0 * 3.0 / 7.0 + 2.0 * 2.0 / 9.0 + 2.0 * 1.0 / 8.0) / 3.0;
        assert!((lesions.dice(Matching::Overlap).unwrap() - dice).abs() < 1e-15);
        // half of the first lesion is not more than half
        assert_eq!(lesions.found(Matching::Half), [0, 0]);
        assert_eq!((lesions.f1(Matching::Half), lesions.dice(Matching::Half)), (Some(0.0), None));
        let same = Lesions::of(&reference, &reference).unwrap();
        for matching in [Matching::Overlap, Matching::Half] {
            assert_eq!((same.f1(matching), same.dice(matching)), (Some(1.0), Some(1.0)));
        }
        let none = Lesions::of(&row("...."), &row("....")).unwrap();
        assert_eq!(none.f1(Matching::Overlap), None);
    }
}
