//! All metrics of one case.

use crate::overlap::{ClassCounts, count_overlap};
use crate::{Definition, Mask, Measured, Policy, Presence, Result, SurfaceDistances};

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// Label values, without the background.
    pub classes: Vec<u64>,
    /// Reference value whose voxels do not count.
    pub ignore: Option<u64>,
    /// Metrics, in the order of the result.
    pub definitions: Vec<Definition>,
    /// Rule for empty masks.
    pub policy: Policy,
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
/// # Errors
/// As [`count_overlap`] and [`SurfaceDistances::between`].
pub fn score_case<T: Copy + Into<u64>>(
    reference: &[T],
    prediction: &[T],
    shape_zyx: [usize; 3],
    spacing_zyx_mm: [f64; 3],
    protocol: &Protocol,
) -> Result<Vec<ClassScore>> {
    let counts = count_overlap(reference, prediction, shape_zyx, &protocol.classes, protocol.ignore)?;
    let diagonal = diagonal_mm(shape_zyx, spacing_zyx_mm);
    counts
        .into_iter()
        .map(|counts| {
            let presence = counts.presence();
            let surfaces = match counts.bounds {
                Some(bounds)
                    if presence == Presence::Both
                        && protocol.definitions.iter().any(|d| d.needs_surface()) =>
                {
                    let class = counts.class;
                    let truth = Mask::cut(reference, shape_zyx, bounds, |v| v.into() == class)?;
                    let guess =
                        cut_prediction(reference, prediction, shape_zyx, bounds, class, protocol.ignore)?;
                    SurfaceDistances::between(&truth, &guess, spacing_zyx_mm)?
                }
                _ => None,
            };
            let values = protocol
                .definitions
                .iter()
                .map(|definition| {
                    let ordinary = match definition {
                        Definition::Dice => counts.dice(),
                        Definition::Iou => counts.iou(),
                        surface => surfaces.as_ref().and_then(|s| s.value(*surface)),
                    };
                    let value = protocol.policy.value(*definition, presence, diagonal, ordinary);
                    Measured { definition: *definition, value }
                })
                .collect();
            Ok(ClassScore { counts, presence, values })
        })
        .collect()
}

/// The prediction's class inside the bounds, without ignored voxels.
fn cut_prediction<T: Copy + Into<u64>>(
    reference: &[T],
    prediction: &[T],
    shape_zyx: [usize; 3],
    bounds: crate::Bounds,
    class: u64,
    ignore: Option<u64>,
) -> Result<Mask> {
    let guess = Mask::cut(prediction, shape_zyx, bounds, |v| v.into() == class)?;
    let Some(ignore) = ignore else { return Ok(guess) };
    let counted = Mask::cut(reference, shape_zyx, bounds, |v| v.into() != ignore)?;
    let voxels = guess.voxels().iter().zip(counted.voxels()).map(|(a, b)| *a && *b).collect();
    Mask::new(voxels, bounds.shape_zyx())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(policy: Policy) -> Protocol {
        let definitions = vec![Definition::Dice, Definition::Hd95, Definition::Nsd { tolerance_mm: 1.0 }];
        Protocol { classes: vec![1, 2, 3], ignore: Some(7), definitions, policy }
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
}
