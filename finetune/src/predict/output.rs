//! The directory of label maps.

use crate::kept::Kept;
use crate::objective::Objective;
use crate::stacks::ZARR;
use serde::Serialize;
use volume::hdf5::AffinityNumbers;

/// Table of a prediction directory.
pub(crate) const TABLE: &str = "predictions.csv";

/// Label maps, and affinities.
pub(super) const KEPT: Kept =
    Kept { stage: "predict", role: "predictions", table: TABLE, endings: &[".nii.gz", ".h5", ZARR] };

/// Name of a label map among the labels of its HDF5 file.
pub(crate) const CLASSES: &str = "classes";

/// Format of label maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// NIfTI, gzipped
    Nifti,
    /// HDF5 in CREMI's layout, for stacks: /volumes/labels/classes
    Hdf5,
    /// OME-Zarr 0.5, for stacks: labels/classes
    Zarr,
}

/// How affinities are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AffinityKind {
    /// As they are
    Float32,
    /// In steps of 1/255, in a quarter of the room and less
    Uint8,
}

impl AffinityKind {
    pub(super) fn numbers(self) -> AffinityNumbers {
        match self {
            Self::Float32 => AffinityNumbers::Float32,
            Self::Uint8 => AffinityNumbers::Uint8,
        }
    }
}

/// File of a case's label map or affinities.
pub(super) fn file_name(id: &str, objective: &Objective, format: Format) -> String {
    match (objective, format) {
        (Objective::Classes | Objective::Regions, Format::Nifti) => format!("{id}.nii.gz"),
        (_, Format::Zarr) => format!("{id}{ZARR}"),
        (Objective::Affinities(_), _) | (_, Format::Hdf5) => format!("{id}.h5"),
    }
}
