//! Which formula a number comes from.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A metric's formula.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Definition {
    /// 2 TP / (2 TP + FP + FN) in voxels.
    Dice,
    /// TP / (TP + FP + FN) in voxels.
    Iou,
    /// Maximum over both directions of the area-weighted 95th percentile of surface distances, in mm.
    Hd95,
    /// Maximum surface distance over both directions, in mm.
    Hd,
    /// Area-weighted mean distance from the reference's surface to the prediction's, in mm.
    AsdReferenceToPrediction,
    /// Area-weighted mean distance from the prediction's surface to the reference's, in mm.
    AsdPredictionToReference,
    /// Area-weighted mean of the surface distances of both directions together, in mm.
    Assd,
    /// Share of both surfaces' area that lies within a tolerance of the other surface.
    Nsd {
        /// The tolerance; a distance equal to it is within.
        tolerance_mm: f64,
    },
}

impl Definition {
    /// Stable id. `surfel` marks the surface elements of google-deepmind/surface-distance ([`crate::surface`]), as opposed to
    /// edge voxels.
    #[must_use]
    pub fn id(self) -> String {
        match self {
            Self::Dice => "dice".to_owned(),
            Self::Iou => "iou".to_owned(),
            Self::Hd95 => "hd95:surfel".to_owned(),
            Self::Hd => "hd:surfel".to_owned(),
            Self::AsdReferenceToPrediction => "asd:surfel:reference-to-prediction".to_owned(),
            Self::AsdPredictionToReference => "asd:surfel:prediction-to-reference".to_owned(),
            Self::Assd => "assd:surfel".to_owned(),
            Self::Nsd { tolerance_mm } => format!("nsd:surfel@{tolerance_mm}mm"),
        }
    }

    /// Name for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dice => "Dice",
            Self::Iou => "IoU",
            Self::Hd95 => "HD95",
            Self::Hd => "HD",
            Self::AsdReferenceToPrediction | Self::AsdPredictionToReference => "ASD",
            Self::Assd => "ASSD",
            Self::Nsd { .. } => "NSD",
        }
    }

    /// The formula in words, for reports.
    #[must_use]
    pub fn description(self) -> String {
        let surfaces =
            "surface elements of google-deepmind/surface-distance (2×2×2 neighbour codes, weighted by area)";
        match self {
            Self::Dice => "2 TP / (2 TP + FP + FN), in voxels".to_owned(),
            Self::Iou => "TP / (TP + FP + FN), in voxels".to_owned(),
            Self::Hd95 => {
                format!("larger of both directions' 95th percentiles of distances in mm between {surfaces}")
            }
            Self::Hd => format!("largest distance in mm, in either direction, between {surfaces}"),
            Self::AsdReferenceToPrediction => {
                format!("mean distance in mm from the reference's surface to the prediction's; {surfaces}")
            }
            Self::AsdPredictionToReference => {
                format!("mean distance in mm from the prediction's surface to the reference's; {surfaces}")
            }
            Self::Assd => format!("mean distance in mm over both surfaces together; {surfaces}"),
            Self::Nsd { tolerance_mm } => {
                format!("share of both surfaces at most {tolerance_mm} mm from the other; {surfaces}")
            }
        }
    }

    /// Whether the value needs the surfaces, not only voxel counts.
    #[must_use]
    pub fn needs_surface(self) -> bool {
        !matches!(self, Self::Dice | Self::Iou)
    }

    /// Whether the value is a distance in mm: smaller is better, and infinite when one of the masks is empty.
    #[must_use]
    pub fn is_distance(self) -> bool {
        !matches!(self, Self::Dice | Self::Iou | Self::Nsd { .. })
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

/// A value with its definition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The formula.
    pub definition: Definition,
    /// The value; `None` where the policy says that there is none.
    pub value: Option<f64>,
}
