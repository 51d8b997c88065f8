//! Probabilities of scores, as they are stored beside the labels that the scores make.

use super::labeller::LabelRule;
use rayon::prelude::*;

/// How probabilities are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbabilityNumbers {
    /// As they are.
    Float32,
    /// In steps of 1/255.
    Uint8,
}

/// What 1 is stored as in 8 bits.
const ONE: f32 = 255.0;

impl ProbabilityNumbers {
    /// Replaces the scores of a section by probabilities: of classes the softmax, of regions the sigmoid.
    ///
    /// The labels can be read off the result as off the scores: rounding to 32 or 8 bits may make a class's probability that of a lower one,
    /// or a region's a half; then the label's own is the next number above.
    ///
    /// # Shapes
    /// `scores`: class or region, y, x; `labels`: y, x, what the rule makes of them.
    pub(crate) fn replace_scores(self, rule: &LabelRule, scores: &mut [f32], labels: &[u16]) {
        match rule {
            LabelRule::Highest(_) => self.softmax(scores, labels),
            LabelRule::Paint(_) => scores.par_iter_mut().for_each(|score| *score = self.sigmoid(*score)),
        }
    }

    fn rounded(self, value: f32) -> f32 {
        match self {
            Self::Float32 => value,
            Self::Uint8 => (value * ONE).round() / ONE,
        }
    }

    /// The next larger number.
    fn above(self, value: f32) -> f32 {
        match self {
            Self::Float32 => value.next_up(),
            Self::Uint8 => ((value * ONE).round() + 1.0) / ONE,
        }
    }

    fn sigmoid(self, score: f32) -> f32 {
        // the numbers of 8 bits around a half are 127 and 128
        let (least, most) = match self {
            Self::Float32 => (0.5_f32.next_up(), 0.5),
            Self::Uint8 => (128.0 / ONE, 127.0 / ONE),
        };
        let value = self.rounded(1.0 / (1.0 + (-score).exp()));
        if score > 0.0 { value.max(least) } else { value.min(most) }
    }

    fn softmax(self, scores: &mut [f32], labels: &[u16]) {
        let voxels = labels.len();
        // the label's score is the largest
        let mut largest: Vec<f32> =
            labels.iter().enumerate().map(|(i, label)| scores[usize::from(*label) * voxels + i]).collect();
        let mut sums = vec![0.0_f32; voxels];
        for class in scores.chunks_exact_mut(voxels) {
            class.par_iter_mut().zip(&mut sums).zip(&largest).for_each(|((score, sum), largest)| {
                *score = (*score - largest).exp();
                *sum += *score;
            });
        }
        scores.par_chunks_exact_mut(voxels).for_each(|class| {
            for (value, sum) in class.iter_mut().zip(&sums) {
                *value = self.rounded(*value / sum);
            }
        });
        let lower = &mut largest;
        lower.fill(f32::NEG_INFINITY);
        for (number, class) in scores.chunks_exact(voxels).enumerate() {
            for ((lower, value), label) in lower.iter_mut().zip(class).zip(labels) {
                if number < usize::from(*label) {
                    *lower = lower.max(*value);
                }
            }
        }
        for (i, (label, lower)) in labels.iter().zip(lower).enumerate() {
            let own = &mut scores[usize::from(*label) * voxels + i];
            if *own <= *lower {
                *own = self.above(*lower);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first of the largest, as NumPy's argmax has it.
    fn arg_max(values: &[f32], voxels: usize, i: usize) -> u16 {
        let channels = values.chunks_exact(voxels).map(|class| class[i]).enumerate();
        channels.fold((0, f32::NEG_INFINITY), |best, (c, v)| if v > best.1 { (c as u16, v) } else { best }).0
    }

    #[test]
    fn probabilities_are_those_of_the_formulas() {
        let scores = [0.0, 3.0, 1.0, 3.0, -2.0, 3.0];
        let mut found = scores;
        ProbabilityNumbers::Float32.replace_scores(&LabelRule::Highest(3), &mut found, &[1, 0]);
        for voxel in 0..2 {
            let sum: f32 = (0..3).map(|c| scores[2 * c + voxel].exp()).sum();
            for c in 0..3 {
                assert!((found[2 * c + voxel] - scores[2 * c + voxel].exp() / sum).abs() < 1e-6);
            }
        }
        let mut found = [0.0, 2.0, -1.0, f32::MIN_POSITIVE];
        ProbabilityNumbers::Float32.replace_scores(&LabelRule::Paint(vec![1, 2]), &mut found, &[2, 1]);
        assert_eq!(found[0], 0.5);
        assert!((found[1] - 0.880_797).abs() < 1e-6 && (found[2] - 0.268_941).abs() < 1e-6);
        assert!(found[3] > 0.5 && found[3] < 0.500_001, "above a half, as its score is above 0");
    }

    proptest! {
        /// Scores as near as they come, so that rounding would make ties.
        #[test]
        fn labels_can_be_read_off_rounded_probabilities(
            scores in prop::collection::vec(
                prop_oneof![-3.0_f32..3.0, 0.999_99_f32..1.000_01, -1e-7_f32..1e-7, Just(-200.0_f32), Just(0.0_f32)],
                24,
            ),
            coarse in any::<bool>(),
        ) {
            let numbers = if coarse { ProbabilityNumbers::Uint8 } else { ProbabilityNumbers::Float32 };
            let voxels = 6;
            let labels: Vec<u16> = (0..voxels).map(|i| arg_max(&scores, voxels, i)).collect();
            let mut found = scores.clone();
            numbers.replace_scores(&LabelRule::Highest(4), &mut found, &labels);
            let step = if coarse { 1.0 / ONE } else { 1e-6 };
            for (i, label) in labels.iter().enumerate() {
                prop_assert_eq!(arg_max(&found, voxels, i), *label);
                let sum: f32 = (0..4).map(|c| found[c * voxels + i]).sum();
                prop_assert!((sum - 1.0).abs() <= 3.0 * step, "{}", sum);
            }
            let mut regions = scores.clone();
            numbers.replace_scores(&LabelRule::Paint(vec![1, 2, 3, 4]), &mut regions, &labels);
            for (probability, score) in regions.iter().zip(&scores) {
                prop_assert_eq!(*probability > 0.5, *score > 0.0);
            }
            if coarse {
                let whole = |v: &f32| ((v * ONE).round() / ONE - v).abs() < f32::EPSILON && (0.0..=1.0).contains(v);
                prop_assert!(found.iter().chain(&regions).all(whole));
            }
        }
    }
}
