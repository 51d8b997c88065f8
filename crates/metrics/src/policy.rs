//! What a metric is worth when the reference, the prediction or both lack the class.

use crate::Definition;
use crate::definition::Kind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which of the two volumes hold a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Both: the metric has its ordinary value.
    Both,
    /// Neither the reference nor the prediction ("both empty").
    Neither,
    /// The reference only: the structure was missed.
    Missed,
    /// The prediction only: the structure was invented.
    Invented,
}

impl Presence {
    /// From what the two volumes hold.
    #[must_use]
    pub fn of(in_reference: bool, in_prediction: bool) -> Self {
        match (in_reference, in_prediction) {
            (true, true) => Self::Both,
            (true, false) => Self::Missed,
            (false, true) => Self::Invented,
            (false, false) => Self::Neither,
        }
    }
}

/// Named rules for empty masks. Every report prints the policy and the counts of each [`Presence`] beside a mean.
///
/// The rows hold for Dice and IoU, other shares (NSD, boundary IoU, clDice, the F1 of lesions) and distances. The Dice of lesions is a mean
/// over those that were met, and where none was it has no value, whether the other map is empty or elsewhere. Sensitivity has no value
/// without a reference, the positive predictive value none where both are empty, and 0 where the other map alone holds the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Both empty: not scored. One empty: shares 0, distances infinite.
    #[default]
    Clinical,
    /// Both empty: shares 1 (but IoU: not scored), distances 0. One empty: shares 0, distances not scored (MetricsReloaded).
    MetricsReloaded,
    /// As `Clinical`; nnU-Net defines overlap only, and a mean over classes needs all of them.
    Nnunet,
    /// Both empty: not scored. Invented: Dice and IoU not scored, though a false positive is dropped by it. One empty: other shares
    /// 0, the 95th percentile of distances not scored, other distances infinite (MONAI with `ignore_empty`).
    Monai,
    /// Both empty: 1 and 0; one empty: 0 and, for distances, the image's diagonal (373.13 mm in the BraTS challenge's grid).
    Brats,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 5] =
        [Self::Clinical, Self::MetricsReloaded, Self::Nnunet, Self::Monai, Self::Brats];

    /// Name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clinical => "clinical",
            Self::MetricsReloaded => "metrics-reloaded",
            Self::Nnunet => "nnunet",
            Self::Monai => "monai",
            Self::Brats => "brats",
        }
    }

    /// The rule in words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Clinical => {
                "in neither map: not scored; missed or invented: shares (Dice, IoU, NSD) 0, distances infinite"
            }
            Self::MetricsReloaded => {
                "in neither map: shares 1 (IoU not scored), distances 0; missed or invented: shares 0, distances not scored"
            }
            Self::Nnunet => {
                "in neither map: not scored; missed or invented: shares 0, distances infinite; the mean over classes needs all of them"
            }
            Self::Monai => {
                "in neither map: not scored; missed: shares 0; invented: Dice and IoU not scored, other shares 0; missed or invented: HD95 not scored, other distances infinite"
            }
            Self::Brats => {
                "in neither map: shares 1, distances 0; missed or invented: 0 and the volume's diagonal"
            }
        }
    }

    /// The value for a class that is not in both volumes; `None` where it is not scored. For [`Presence::Both`] there is no
    /// rule and `ordinary` is given back, as for volume differences of a class that is in one volume.
    #[must_use]
    pub fn value(
        self,
        definition: Definition,
        presence: Presence,
        diagonal_mm: f64,
        ordinary: Option<f64>,
    ) -> Option<f64> {
        use Presence::{Both, Invented, Missed, Neither};
        // what those who fill in values do where both maps are empty
        let fills = matches!(self, Self::MetricsReloaded | Self::Brats);
        match (definition, definition.kind(), presence) {
            (_, _, Both) => ordinary,
            (Definition::Sensitivity, _, Neither | Invented) | (Definition::Ppv, _, Neither) => None,
            (_, Kind::Difference, Neither) => fills.then_some(0.0),
            (_, Kind::Difference, Missed | Invented) => ordinary,
            (Definition::Iou, _, Neither) if self == Self::MetricsReloaded => None,
            (_, Kind::Share, Neither) => fills.then_some(1.0),
            (Definition::LesionDice(_), _, Missed | Invented) => None,
            (Definition::Dice | Definition::Iou, _, Invented) if self == Self::Monai => None,
            (_, Kind::Share, Missed | Invented) => Some(0.0),
            (_, Kind::Distance, Neither) => fills.then_some(0.0),
            (_, Kind::Distance, Missed | Invented) => match self {
                Self::Clinical | Self::Nnunet => Some(f64::INFINITY),
                Self::MetricsReloaded => None,
                Self::Monai => (definition.name() != "HD95").then_some(f64::INFINITY),
                Self::Brats => Some(diagonal_mm),
            },
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many cases were scored ordinarily and how many fell under the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PresenceCounts {
    /// In both volumes.
    pub both: u64,
    /// In neither.
    pub both_empty: u64,
    /// In the reference only.
    pub missed: u64,
    /// In the prediction only.
    pub invented: u64,
}

impl PresenceCounts {
    /// Counts one case.
    pub fn add(&mut self, presence: Presence) {
        match presence {
            Presence::Both => self.both += 1,
            Presence::Neither => self.both_empty += 1,
            Presence::Missed => self.missed += 1,
            Presence::Invented => self.invented += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: Option<f64> = Some(f64::INFINITY);

    /// Rows of the table: what is measured, then (both empty, missed, invented) per policy in the order of `Policy::ALL`.
    type Row = (&'static str, [[Option<f64>; 3]; 5]);

    #[test]
    fn the_table_of_policies() {
        let diagonal = Some(373.0);
        let (zero, one) = (Some(0.0), Some(1.0));
        let rows: [Row; 10] = [
            (
                "dice",
                [
                    [None, zero, zero],
                    [one, zero, zero],
                    [None, zero, zero],
                    [None, zero, None],
                    [one, zero, zero],
                ],
            ),
            (
                "iou",
                [
                    [None, zero, zero],
                    [None, zero, zero],
                    [None, zero, zero],
                    [None, zero, None],
                    [one, zero, zero],
                ],
            ),
            (
                "nsd:edge",
                [
                    [None, zero, zero],
                    [one, zero, zero],
                    [None, zero, zero],
                    [None, zero, zero],
                    [one, zero, zero],
                ],
            ),
            (
                "hd95:edge-max",
                [
                    [None, INF, INF],
                    [zero, None, None],
                    [None, INF, INF],
                    [None, None, None],
                    [zero, diagonal, diagonal],
                ],
            ),
            (
                "assd:surfel",
                [
                    [None, INF, INF],
                    [zero, None, None],
                    [None, INF, INF],
                    [None, INF, INF],
                    [zero, diagonal, diagonal],
                ],
            ),
            (
                "lesion-dice:overlap",
                [
                    [None, None, None],
                    [one, None, None],
                    [None, None, None],
                    [None, None, None],
                    [one, None, None],
                ],
            ),
            ("sensitivity", [[None, zero, None]; 5]),
            ("ppv", [[None, zero, zero]; 5]),
            (
                "cldice",
                [
                    [None, zero, zero],
                    [one, zero, zero],
                    [None, zero, zero],
                    [None, zero, zero],
                    [one, zero, zero],
                ],
            ),
            (
                "volume-difference:relative",
                [
                    [None, Some(-1.0), None],
                    [zero, Some(-1.0), None],
                    [None, Some(-1.0), None],
                    [None, Some(-1.0), None],
                    [zero, Some(-1.0), None],
                ],
            ),
        ];
        for (id, expected) in rows {
            let definition = Definition::parse(id, 1.0).unwrap();
            for (policy, expected) in Policy::ALL.into_iter().zip(expected) {
                let ordinary = |presence| (presence == Presence::Missed).then_some(-1.0);
                let found = [Presence::Neither, Presence::Missed, Presence::Invented]
                    .map(|presence| policy.value(definition, presence, 373.0, ordinary(presence)));
                assert_eq!(found, expected, "{id} {policy}");
                assert_eq!(policy.value(definition, Presence::Both, 373.0, Some(0.5)), Some(0.5));
            }
        }
    }
}
