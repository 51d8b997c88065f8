//! Which formula a number comes from.

use serde::{Deserialize, Serialize};
use std::fmt;

/// When a lesion of the reference counts as found. Lesions are components of voxels that share a face, an edge or a corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// As soon as one predicted voxel lies in it.
    Overlap,
    /// When a predicted lesion has an IoU above 0.5 with it; then there is only one (A. Kirillov et al., "Panoptic
    /// segmentation", CVPR 2019).
    Half,
}

/// A metric's formula.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Definition {
    /// 2 TP / (2 TP + FP + FN) in voxels.
    Dice,
    /// TP / (TP + FP + FN) in voxels.
    Iou,
    /// TP / (TP + FN) in voxels.
    Sensitivity,
    /// Positive predictive value, TP / (TP + FP) in voxels.
    Ppv,
    /// Predicted less reference volume, in ml.
    VolumeDifference,
    /// The same as a share of the reference volume.
    RelativeVolumeDifference,
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
    /// Maximum over both directions of the 95th percentile of distances between edge voxels, in mm (MONAI, MetricsReloaded).
    Hd95EdgeMax,
    /// 95th percentile of the distances between edge voxels of both directions together, in mm (MedPy, seg-metrics).
    Hd95EdgePooled,
    /// Maximum distance between edge voxels, in mm.
    HdEdge,
    /// Mean of the distances between edge voxels of both directions together, in mm (MedPy, MONAI).
    AssdEdge,
    /// Share of both masks' edge voxels that lie within a tolerance of the other's (MONAI's default, MetricsReloaded).
    NsdEdge {
        /// The tolerance; a distance equal to it is within.
        tolerance_mm: f64,
    },
    /// IoU of the bands along both masks' edges (B. Cheng et al., "Boundary IoU", CVPR 2021), with a width in mm.
    BoundaryIou {
        /// Voxels of a mask at most this far from one of its edge voxels form the band.
        width_mm: f64,
    },
    /// Harmonic mean of the shares of each mask's skeleton that lie in the other mask (S. Shit et al., "clDice", CVPR 2021).
    ClDice,
    /// Harmonic mean of the shares of lesions that are found and of predicted lesions that are none too many.
    LesionF1(Matching),
    /// Mean Dice of the lesions that are found.
    LesionDice(Matching),
}

/// What a definition is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Voxel counts.
    Counts,
    /// Surface elements ([`crate::surface`]).
    Surfels,
    /// Edge voxels ([`crate::edges`]).
    Edges,
    /// Skeletons ([`crate::skeleton`]).
    Skeletons,
    /// Connected components ([`crate::lesions`]).
    Lesions,
}

/// Which way a value is good, and what it is worth when a mask is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From 0 to 1, more is better.
    Share,
    /// In mm, less is better; infinite when one of the masks is empty.
    Distance,
    /// Signed, 0 is best.
    Difference,
}

impl Definition {
    /// All definitions, with this tolerance where one is needed.
    #[must_use]
    pub fn all(tolerance_mm: f64) -> Vec<Self> {
        vec![
            Self::Dice,
            Self::Iou,
            Self::Sensitivity,
            Self::Ppv,
            Self::VolumeDifference,
            Self::RelativeVolumeDifference,
            Self::Hd95,
            Self::Hd,
            Self::AsdReferenceToPrediction,
            Self::AsdPredictionToReference,
            Self::Assd,
            Self::Nsd { tolerance_mm },
            Self::Hd95EdgeMax,
            Self::Hd95EdgePooled,
            Self::HdEdge,
            Self::AssdEdge,
            Self::NsdEdge { tolerance_mm },
            Self::BoundaryIou { width_mm: tolerance_mm },
            Self::ClDice,
            Self::LesionF1(Matching::Overlap),
            Self::LesionDice(Matching::Overlap),
            Self::LesionF1(Matching::Half),
            Self::LesionDice(Matching::Half),
        ]
    }

    /// The definition of an id; where the id states no tolerance (`nsd:surfel` for `nsd:surfel@2mm`) it is `tolerance_mm`.
    /// `None` for an unknown id or a tolerance that is not positive.
    #[must_use]
    pub fn parse(id: &str, tolerance_mm: f64) -> Option<Self> {
        let (stem, tolerance_mm) = match id.split_once('@') {
            Some((stem, tolerance)) => (stem, tolerance.strip_suffix("mm")?.parse().ok()?),
            None => (id, tolerance_mm),
        };
        if !(tolerance_mm.is_finite() && tolerance_mm > 0.0) {
            return None;
        }
        let found = Self::all(tolerance_mm).into_iter().find(|d| d.stem() == stem)?;
        (found.tolerance_mm().is_some() || stem == id).then_some(found)
    }

    /// Stable id. `surfel` marks the surface elements of google-deepmind/surface-distance ([`crate::surface`]), as opposed to
    /// edge voxels ([`crate::edges`]).
    #[must_use]
    pub fn id(self) -> String {
        match self.tolerance_mm() {
            Some(tolerance) => format!("{}@{tolerance}mm", self.stem()),
            None => self.stem().to_owned(),
        }
    }

    /// The id without its tolerance.
    #[must_use]
    pub fn stem(self) -> &'static str {
        match self {
            Self::Dice => "dice",
            Self::Iou => "iou",
            Self::Sensitivity => "sensitivity",
            Self::Ppv => "ppv",
            Self::VolumeDifference => "volume-difference:ml",
            Self::RelativeVolumeDifference => "volume-difference:relative",
            Self::Hd95 => "hd95:surfel",
            Self::Hd => "hd:surfel",
            Self::AsdReferenceToPrediction => "asd:surfel:reference-to-prediction",
            Self::AsdPredictionToReference => "asd:surfel:prediction-to-reference",
            Self::Assd => "assd:surfel",
            Self::Nsd { .. } => "nsd:surfel",
            Self::Hd95EdgeMax => "hd95:edge-max",
            Self::Hd95EdgePooled => "hd95:edge-pooled",
            Self::HdEdge => "hd:edge",
            Self::AssdEdge => "assd:edge",
            Self::NsdEdge { .. } => "nsd:edge",
            Self::BoundaryIou { .. } => "boundary-iou",
            Self::ClDice => "cldice",
            Self::LesionF1(Matching::Overlap) => "lesion-f1:overlap",
            Self::LesionF1(Matching::Half) => "lesion-f1:iou50",
            Self::LesionDice(Matching::Overlap) => "lesion-dice:overlap",
            Self::LesionDice(Matching::Half) => "lesion-dice:iou50",
        }
    }

    fn tolerance_mm(self) -> Option<f64> {
        match self {
            Self::Nsd { tolerance_mm } | Self::NsdEdge { tolerance_mm } => Some(tolerance_mm),
            Self::BoundaryIou { width_mm } => Some(width_mm),
            _ => None,
        }
    }

    /// Name for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dice => "Dice",
            Self::Iou => "IoU",
            Self::Sensitivity => "Sensitivity",
            Self::Ppv => "PPV",
            Self::VolumeDifference | Self::RelativeVolumeDifference => "Volume difference",
            Self::Hd95 | Self::Hd95EdgeMax | Self::Hd95EdgePooled => "HD95",
            Self::Hd | Self::HdEdge => "HD",
            Self::AsdReferenceToPrediction | Self::AsdPredictionToReference => "ASD",
            Self::Assd | Self::AssdEdge => "ASSD",
            Self::Nsd { .. } | Self::NsdEdge { .. } => "NSD",
            Self::BoundaryIou { .. } => "Boundary IoU",
            Self::ClDice => "clDice",
            Self::LesionF1(_) => "Lesion F1",
            Self::LesionDice(_) => "Lesion Dice",
        }
    }

    /// The formula in words, for reports.
    #[must_use]
    pub fn description(self) -> String {
        let surfels =
            "surface elements of google-deepmind/surface-distance (2×2×2 neighbour codes, weighted by area)";
        let edges =
            "edge voxels (removed by 6-connected erosion; space around the volume is outside), unweighted";
        let matching = |matching: Matching| match matching {
            Matching::Overlap => "a lesion counts as met where the two maps share a voxel of it",
            Matching::Half => "lesions are paired where their IoU is above 0.5",
        };
        match self {
            Self::Dice => "2 TP / (2 TP + FP + FN), in voxels".to_owned(),
            Self::Iou => "TP / (TP + FP + FN), in voxels".to_owned(),
            Self::Sensitivity => "TP / (TP + FN), in voxels".to_owned(),
            Self::Ppv => "TP / (TP + FP), in voxels".to_owned(),
            Self::VolumeDifference => "predicted less reference volume, in ml".to_owned(),
            Self::RelativeVolumeDifference => {
                "predicted less reference volume, as a share of the reference volume".to_owned()
            }
            Self::Hd95 => {
                format!("larger of both directions' 95th percentiles of distances in mm between {surfels}")
            }
            Self::Hd => format!("largest distance in mm, in either direction, between {surfels}"),
            Self::AsdReferenceToPrediction => {
                format!("mean distance in mm from the reference's surface to the prediction's; {surfels}")
            }
            Self::AsdPredictionToReference => {
                format!("mean distance in mm from the prediction's surface to the reference's; {surfels}")
            }
            Self::Assd => format!("mean distance in mm over both surfaces together; {surfels}"),
            Self::Nsd { tolerance_mm } => {
                format!("share of both surfaces at most {tolerance_mm} mm from the other; {surfels}")
            }
            Self::Hd95EdgeMax => {
                format!("larger of both directions' 95th percentiles (linear) of distances in mm between {edges}")
            }
            Self::Hd95EdgePooled => {
                format!("95th percentile (linear) of both directions' distances in mm together, between {edges}")
            }
            Self::HdEdge => format!("largest distance in mm, in either direction, between {edges}"),
            Self::AssdEdge => format!("mean of both directions' distances in mm together, between {edges}"),
            Self::NsdEdge { tolerance_mm } => {
                format!("share of both masks' edge voxels at most {tolerance_mm} mm from the other's; {edges}")
            }
            Self::BoundaryIou { width_mm } => {
                format!("IoU of the voxels of each mask at most {width_mm} mm from its own {edges}")
            }
            Self::ClDice => "harmonic mean of the shares of each mask's skeleton (Lee, Kashyap and Chu 1994) inside the other mask".to_owned(),
            Self::LesionF1(m) => {
                format!("F1 of lesions (26-connected components); {}", matching(m))
            }
            Self::LesionDice(m) => {
                format!("mean Dice of the lesions (26-connected components) that are met; {}", matching(m))
            }
        }
    }

    /// What it is computed from.
    #[must_use]
    pub fn basis(self) -> Basis {
        match self {
            Self::Dice
            | Self::Iou
            | Self::Sensitivity
            | Self::Ppv
            | Self::VolumeDifference
            | Self::RelativeVolumeDifference => Basis::Counts,
            Self::Hd95
            | Self::Hd
            | Self::AsdReferenceToPrediction
            | Self::AsdPredictionToReference
            | Self::Assd
            | Self::Nsd { .. } => Basis::Surfels,
            Self::Hd95EdgeMax
            | Self::Hd95EdgePooled
            | Self::HdEdge
            | Self::AssdEdge
            | Self::NsdEdge { .. }
            | Self::BoundaryIou { .. } => Basis::Edges,
            Self::ClDice => Basis::Skeletons,
            Self::LesionF1(_) | Self::LesionDice(_) => Basis::Lesions,
        }
    }

    /// Which way it is good.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::VolumeDifference | Self::RelativeVolumeDifference => Kind::Difference,
            Self::Hd95
            | Self::Hd
            | Self::AsdReferenceToPrediction
            | Self::AsdPredictionToReference
            | Self::Assd
            | Self::Hd95EdgeMax
            | Self::Hd95EdgePooled
            | Self::HdEdge
            | Self::AssdEdge => Kind::Distance,
            _ => Kind::Share,
        }
    }

    /// Whether the value is a distance in mm: smaller is better, and infinite when one of the masks is empty.
    #[must_use]
    pub fn is_distance(self) -> bool {
        self.kind() == Kind::Distance
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_lead_back() {
        let all = Definition::all(2.0);
        for (i, definition) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other.id() != definition.id()), "{definition}");
            assert_eq!(Definition::parse(&definition.id(), 7.0), Some(*definition));
            assert_eq!(Definition::parse(definition.stem(), 2.0), Some(*definition));
        }
        assert_eq!(Definition::parse("nsd:edge@0.5mm", 2.0), Some(Definition::NsdEdge { tolerance_mm: 0.5 }));
        for wrong in ["hd95", "dice@1mm", "nsd:surfel@1", "nsd:surfel@-1mm", "nsd:surfel@nanmm", ""] {
            assert_eq!(Definition::parse(wrong, 1.0), None, "{wrong}");
        }
    }
}
