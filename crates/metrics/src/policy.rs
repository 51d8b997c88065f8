//! What a metric is worth when the reference, the prediction or both lack the class.

use crate::Definition;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Both empty: not scored. One empty: Dice, IoU and NSD 0, distances infinite.
    #[default]
    Clinical,
    /// As `Clinical` with one empty; both empty: Dice, IoU and NSD 1, distances 0 (MetricsReloaded).
    MetricsReloaded,
    /// Both empty: 1 and 0; one empty: 0 and, for distances, the image's diagonal (373.13 mm in the BraTS challenge's grid).
    Brats,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Clinical, Self::MetricsReloaded, Self::Brats];

    /// Name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clinical => "clinical",
            Self::MetricsReloaded => "metrics-reloaded",
            Self::Brats => "brats",
        }
    }

    /// The value for a class that is not in both volumes; `None` where it is not scored. For [`Presence::Both`] there is no
    /// rule and `ordinary` is given back.
    #[must_use]
    pub fn value(
        self,
        definition: Definition,
        presence: Presence,
        diagonal_mm: f64,
        ordinary: Option<f64>,
    ) -> Option<f64> {
        let distance = definition.is_distance();
        match (presence, self) {
            (Presence::Both, _) => ordinary,
            (Presence::Neither, Self::Clinical) => None,
            (Presence::Neither, _) => Some(if distance { 0.0 } else { 1.0 }),
            (Presence::Missed | Presence::Invented, _) if !distance => Some(0.0),
            (Presence::Missed | Presence::Invented, Self::Brats) => Some(diagonal_mm),
            (Presence::Missed | Presence::Invented, _) => Some(f64::INFINITY),
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

    #[test]
    fn the_table_of_policies() {
        let nsd = Definition::Nsd { tolerance_mm: 1.0 };
        let rows = [
            (Policy::Clinical, Presence::Neither, None, None),
            (Policy::Clinical, Presence::Missed, Some(0.0), Some(f64::INFINITY)),
            (Policy::Clinical, Presence::Invented, Some(0.0), Some(f64::INFINITY)),
            (Policy::MetricsReloaded, Presence::Neither, Some(1.0), Some(0.0)),
            (Policy::Brats, Presence::Missed, Some(0.0), Some(373.0)),
            (Policy::Brats, Presence::Both, Some(0.5), Some(0.5)),
        ];
        for (policy, presence, share, distance) in rows {
            for definition in [Definition::Dice, Definition::Iou, nsd] {
                assert_eq!(
                    policy.value(definition, presence, 373.0, Some(0.5)),
                    share,
                    "{policy} {presence:?}"
                );
            }
            for definition in [Definition::Hd95, Definition::Hd, Definition::Assd] {
                assert_eq!(
                    policy.value(definition, presence, 373.0, Some(0.5)),
                    distance,
                    "{policy} {presence:?}"
                );
            }
        }
    }
}
