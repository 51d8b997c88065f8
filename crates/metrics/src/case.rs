//! All metrics of one case.

use crate::overlap::{ClassCounts, count_overlap};
use crate::{
    Basis, Bounds, Definition, EdgeDistances, Lesions, Mask, Measured, Policy, Presence, Result,
    SurfaceDistances, Target, centreline_dice,
};

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// Classes and regions, in the order of the result.
    pub targets: Vec<Target>,
    /// Reference value whose voxels do not count.
    pub ignore: Option<u64>,
    /// Metrics, in the order of the result.
    pub definitions: Vec<Definition>,
    /// Rule for empty masks.
    pub policy: Policy,
}

impl Protocol {
    fn needs(&self, basis: Basis) -> bool {
        self.definitions.iter().any(|d| d.basis() == basis)
    }
}

/// Metrics of one class in one case.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScore {
    /// Voxel counts.
    pub counts: ClassCounts,
    /// Which volumes hold the class.
    pub presence: Presence,
    /// The metrics, after the policy.
    pub values: Vec<Measured>,
}

/// Length of the diagonal of a volume, in mm.
#[must_use]
pub fn diagonal_mm(shape_zyx: [usize; 3], spacing_zyx_mm: [f64; 3]) -> f64 {
    let squares = shape_zyx.iter().zip(spacing_zyx_mm).map(|(n, s)| (*n as f64 * s).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Scores a prediction against its reference, one class after the other.
///
/// # Shapes and units
/// Both label maps z, y, x of `shape_zyx`; spacing in mm.
///
/// Memory: about 8 bytes per voxel of the largest class's joint bounding box, the label maps not counted; clDice and lesions
/// take another 10.
///
/// # Errors
/// As [`count_overlap`] and [`SurfaceDistances::between`].
pub fn score_case<T: Copy + PartialEq + Into<u64> + Sync>(
    reference: &[T],
    prediction: &[T],
    shape_zyx: [usize; 3],
    spacing_zyx_mm: [f64; 3],
    protocol: &Protocol,
) -> Result<Vec<ClassScore>> {
    let counts = count_overlap(reference, prediction, shape_zyx, &protocol.targets, protocol.ignore)?;
    let diagonal = diagonal_mm(shape_zyx, spacing_zyx_mm);
    counts
        .into_iter()
        .map(|counts| {
            let presence = counts.presence();
            let beyond_counts = protocol.definitions.iter().any(|d| d.basis() != Basis::Counts);
            let shapes = match counts.bounds {
                Some(bounds) if presence == Presence::Both && beyond_counts => {
                    let truth = Mask::cut(reference, shape_zyx, bounds, |v| counts.target.holds(v.into()))?;
                    let guess = cut_prediction(reference, prediction, shape_zyx, bounds, &counts, protocol)?;
                    Shapes::measure(&truth, &guess, spacing_zyx_mm, protocol)?
                }
                _ => Shapes::default(),
            };
            let values = protocol
                .definitions
                .iter()
                .map(|definition| {
                    let ordinary = shapes.value(*definition, &counts, spacing_zyx_mm);
                    let value = protocol.policy.value(*definition, presence, diagonal, ordinary);
                    Measured { definition: *definition, value }
                })
                .collect();
            Ok(ClassScore { counts, presence, values })
        })
        .collect()
}

/// What was measured of two masks beyond their counts.
#[derive(Default)]
struct Shapes {
    surfaces: Option<SurfaceDistances>,
    edges: Option<EdgeDistances>,
    centreline_dice: Option<f64>,
    lesions: Option<Lesions>,
}

impl Shapes {
    fn measure(truth: &Mask, guess: &Mask, spacing_zyx_mm: [f64; 3], protocol: &Protocol) -> Result<Self> {
        let mut found = Self::default();
        if protocol.needs(Basis::Surfels) {
            found.surfaces = SurfaceDistances::between(truth, guess, spacing_zyx_mm)?;
        }
        if protocol.needs(Basis::Edges) {
            let widths = protocol.definitions.iter().filter_map(|d| match d {
                Definition::BoundaryIou { width_mm } => Some(*width_mm),
                _ => None,
            });
            found.edges = EdgeDistances::between(truth, guess, spacing_zyx_mm, &widths.collect::<Vec<_>>())?;
        }
        if protocol.needs(Basis::Skeletons) {
            found.centreline_dice = centreline_dice(truth, guess)?;
        }
        if protocol.needs(Basis::Lesions) {
            found.lesions = Some(Lesions::of(truth, guess)?);
        }
        Ok(found)
    }

    fn value(&self, definition: Definition, counts: &ClassCounts, spacing_zyx_mm: [f64; 3]) -> Option<f64> {
        match definition {
            Definition::Dice => counts.dice(),
            Definition::Iou => counts.iou(),
            Definition::Sensitivity => counts.sensitivity(),
            Definition::Ppv => counts.positive_predictive_value(),
            Definition::VolumeDifference => Some(counts.volume_difference_ml(spacing_zyx_mm)),
            Definition::RelativeVolumeDifference => counts.relative_volume_difference(),
            Definition::ClDice => self.centreline_dice,
            _ => match definition.basis() {
                Basis::Surfels => self.surfaces.as_ref()?.value(definition),
                Basis::Edges => self.edges.as_ref()?.value(definition),
                _ => self.lesions.as_ref()?.value(definition),
            },
        }
    }
}

/// The prediction's class inside the bounds, without ignored voxels.
fn cut_prediction<T: Copy + Into<u64>>(
    reference: &[T],
    prediction: &[T],
    shape_zyx: [usize; 3],
    bounds: Bounds,
    counts: &ClassCounts,
    protocol: &Protocol,
) -> Result<Mask> {
    let guess = Mask::cut(prediction, shape_zyx, bounds, |v| counts.target.holds(v.into()))?;
    let Some(ignore) = protocol.ignore else { return Ok(guess) };
    let counted = Mask::cut(reference, shape_zyx, bounds, |v| v.into() != ignore)?;
    let voxels = guess.voxels().iter().zip(counted.voxels()).map(|(a, b)| *a && *b).collect();
    Mask::new(voxels, bounds.shape_zyx())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(policy: Policy) -> Protocol {
        let definitions = vec![Definition::Dice, Definition::Hd95, Definition::Nsd { tolerance_mm: 1.0 }];
        let targets = [1, 2, 3].map(|v| Target::class(v).unwrap()).into();
        Protocol { targets, ignore: Some(7), definitions, policy }
    }

    #[test]
    fn classes_are_scored_apart_and_empty_ones_by_policy() {
        let mut reference = vec![0_u8; 6 * 6 * 6];
        let mut prediction = reference.clone();
        for i in 0..3 {
            reference[43 + i] = 1;
            prediction[43 + i] = 1;
            reference[100 + i] = 2;
        }
        // predicted where the reference is to be ignored: neither a false positive nor a surface
        reference[200] = 7;
        prediction[200] = 1;
        let scores =
            score_case(&reference, &prediction, [6; 3], [1.0, 2.0, 3.0], &protocol(Policy::Clinical))
                .unwrap();
        let values: Vec<Vec<_>> = scores.iter().map(|s| s.values.iter().map(|m| m.value).collect()).collect();
        assert_eq!(values[0], [Some(1.0), Some(0.0), Some(1.0)]);
        assert_eq!(values[1], [Some(0.0), Some(f64::INFINITY), Some(0.0)]);
        assert_eq!(values[2], [None, None, None]);
        assert_eq!(scores[1].presence, Presence::Missed);
        let scores =
            score_case(&reference, &prediction, [6; 3], [1.0, 2.0, 3.0], &protocol(Policy::Brats)).unwrap();
        assert_eq!(scores[1].values[1].value, Some(diagonal_mm([6; 3], [1.0, 2.0, 3.0])));
        assert_eq!(scores[2].values[0].value, Some(1.0));
    }

    #[test]
    fn lesions_of_which_none_is_met_have_no_dice_wherever_the_others_are() {
        let mut reference = vec![0_u8; 6 * 6 * 6];
        reference[43] = 1;
        let mut elsewhere = vec![0_u8; 6 * 6 * 6];
        elsewhere[200] = 1;
        let definitions =
            ["lesion-dice:overlap", "lesion-f1:overlap"].map(|id| Definition::parse(id, 1.0).unwrap()).into();
        let targets = vec![Target::class(1).unwrap()];
        let protocol = Protocol { targets, ignore: None, definitions, policy: Policy::Clinical };
        for guess in [vec![0; 6 * 6 * 6], elsewhere] {
            let scores = score_case(&reference, &guess, [6; 3], [1.0; 3], &protocol).unwrap();
            let values: Vec<_> = scores[0].values.iter().map(|measured| measured.value).collect();
            assert_eq!(values, [None, Some(0.0)]);
        }
    }

    #[test]
    fn a_share_of_nothing_is_zero_without_a_sign() {
        let mut reference = vec![0_u8; 9 * 9 * 9];
        let mut prediction = reference.clone();
        (reference[0], prediction[9 * 9 * 9 - 1]) = (1, 1);
        let definitions = Definition::all(1.0);
        let protocol = Protocol { definitions, ..protocol(Policy::Clinical) };
        let scores = score_case(&reference, &prediction, [9; 3], [1.0; 3], &protocol).unwrap();
        let shares = scores[0].values.iter().filter(|m| m.definition.kind() == crate::Kind::Share);
        for measured in shares.filter(|measured| measured.value.is_some()) {
            let value = measured.value.unwrap();
            assert!(value == 0.0 && value.is_sign_positive(), "{}: {value:?}", measured.definition);
        }
    }

    #[test]
    fn every_definition_has_its_ideal_on_equal_masks_also_of_regions() {
        let mut labels = vec![0_u8; 8 * 8 * 8];
        for i in [100, 101, 102, 165, 166, 300, 301] {
            labels[i] = 1 + (i % 2) as u8;
        }
        let targets = vec![Target::class(1).unwrap(), Target::region(vec![1, 2]).unwrap()];
        let protocol =
            Protocol { targets, ignore: None, definitions: Definition::all(1.5), policy: Policy::Clinical };
        for score in score_case(&labels, &labels, [8; 3], [1.0, 2.0, 3.0], &protocol).unwrap() {
            for measured in score.values {
                let ideal = if measured.definition.kind() == crate::Kind::Share { 1.0 } else { 0.0 };
                assert_eq!(measured.value, Some(ideal), "{} of {}", measured.definition, score.counts.target);
            }
        }
    }
}
