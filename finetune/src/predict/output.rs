//! The directory of label maps.

use crate::kept::{Kept, WORK};
use crate::objective::Objective;
use crate::stacks::ZARR;
use serde::Serialize;
use volume::resample::ProbabilityNumbers;

/// Table of a prediction directory.
pub(crate) const TABLE: &str = "predictions.csv";

/// What the channels of probabilities are, for all cases.
pub(super) const CHANNELS: &str = "probabilities.json";

/// What stands between a case's id and the ending of its file of probabilities.
pub(super) const PROBABILITIES: &str = ".probabilities";

/// Label maps, affinities and probabilities.
pub(super) const KEPT: Kept = Kept {
    stage: "predict",
    role,
    tables: &[TABLE, CHANNELS],
    endings: &[".probabilities.nii.gz", ".probabilities.h5", ".probabilities.zarr", ".nii.gz", ".h5", ZARR],
};

/// The role of a file in the manifest.
pub(super) fn role(path: &str) -> &'static str {
    match path {
        TABLE => "cases",
        CHANNELS => "channels",
        WORK => "record",
        path if path.contains(PROBABILITIES) => "probabilities",
        _ => "predictions",
    }
}

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

/// How probabilities, affinities among them, are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProbabilityKind {
    /// As they are
    Float32,
    /// In steps of 1/255, in a quarter of the room and less
    Uint8,
}

impl ProbabilityKind {
    pub(super) fn numbers(self) -> ProbabilityNumbers {
        match self {
            Self::Float32 => ProbabilityNumbers::Float32,
            Self::Uint8 => ProbabilityNumbers::Uint8,
        }
    }
}

/// Files of a case.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The label map, or the affinities.
    pub(super) map: String,
    /// The probabilities of classes or regions, where they are wanted.
    pub(super) probabilities: Option<String>,
}

impl Names {
    pub(super) fn of(id: &str, objective: &Objective, format: Format, probabilities: bool) -> Self {
        let ending = match (objective, format) {
            (Objective::Classes | Objective::Regions, Format::Nifti) => ".nii.gz",
            (_, Format::Zarr) => ZARR,
            (Objective::Affinities(_), _) | (_, Format::Hdf5) => ".h5",
        };
        let probabilities = probabilities.then(|| format!("{id}{PROBABILITIES}{ending}"));
        Self { map: format!("{id}{ending}"), probabilities }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.map).chain(&self.probabilities)
    }
}
