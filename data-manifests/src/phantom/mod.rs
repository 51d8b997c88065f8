//! Seeded synthetic data sets in real layouts: anatomy that no threshold separates, so that a network must learn it.
//!
//! Every byte follows from kind, size and seed. Scenes are continuous, in mm (nm for electron microscopy), and sampled on
//! whatever grid the file has, so that orientation and spacing vary as they do in real data.

mod ct;
mod em;
mod mri;
mod msd;
mod placement;

use crate::descriptor::{
    Descriptor, Grid, Intensity, Labels, Modality, Raw, Resampling, Text, Tolerance, Unit,
};
use clap::ValueEnum;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// File name of a phantom's descriptor, beside its data.
pub const DESCRIPTOR: &str = "descriptor.toml";
/// Every how many slices of a phantom one is captioned.
const TEXT_STRIDE: usize = 4;

/// Which phantom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// CT-like abdomens with an organ and its lesions, as an MSD folder.
    Ct,
    /// Four-channel MRI-like heads with a tumour of three parts, as an MSD folder.
    Mri,
    /// EM-like neuropil with neurons and mitochondria, as CREMI files.
    Em,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// For tests: few coarse cases.
    Small,
    /// For a demonstration that trains in minutes on a CPU.
    Demo,
}

/// Numbers that follow from kind and size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Labelled cases.
    pub(crate) train: usize,
    /// Unlabelled cases.
    pub(crate) test: usize,
    /// Voxels, z, y, x; NIfTI sets vary by a few.
    pub(crate) shape_zyx: [usize; 3],
    /// Voxel size in mm or nm; NIfTI sets vary by a few per cent.
    pub(crate) spacing_zyx: [f64; 3],
    /// Patch for the descriptor.
    pub(crate) patch_zyx: [usize; 3],
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ct, Self::Mri, Self::Em];

    /// Name of the data set, and of its folder below the phantoms' directory.
    #[must_use]
    pub fn dataset(self) -> &'static str {
        match self {
            Self::Ct => "phantom-ct",
            Self::Mri => "phantom-mri",
            Self::Em => "phantom-em",
        }
    }

    fn sizes(self, size: Size) -> Sizes {
        let (train, test, shape_zyx, spacing_zyx, patch_zyx) = match (self, size) {
            (Self::Ct, Size::Demo) => (16, 3, [40, 72, 72], [5.0, 4.0, 4.0], [24, 48, 48]),
            (Self::Ct, Size::Small) => (4, 1, [20, 36, 36], [10.0, 8.0, 8.0], [16, 24, 24]),
            (Self::Mri, Size::Demo) => (14, 3, [42, 70, 56], [3.0, 2.5, 2.5], [32, 32, 32]),
            (Self::Mri, Size::Small) => (4, 1, [20, 34, 28], [6.2, 5.0, 5.0], [16, 24, 24]),
            (Self::Em, Size::Demo) => (5, 0, [24, 160, 160], [40.0, 8.0, 8.0], [8, 64, 64]),
            (Self::Em, Size::Small) => (3, 0, [8, 64, 64], [40.0, 8.0, 8.0], [8, 32, 32]),
        };
        Sizes { train, test, shape_zyx, spacing_zyx, patch_zyx }
    }

    /// The phantom's descriptor.
    #[must_use]
    pub fn descriptor(self, size: Size) -> Descriptor {
        let sizes = self.sizes(size);
        match self {
            Self::Ct => ct::descriptor(&sizes),
            Self::Mri => mri::descriptor(&sizes),
            Self::Em => em::descriptor(&sizes),
        }
    }

    /// Writes the raw folder and `descriptor.toml` into the existing `directory`; returns the number of cases.
    ///
    /// # Errors
    /// Any failure to write.
    pub fn write(self, size: Size, seed: u64, directory: &Path) -> anyhow::Result<usize> {
        let sizes = self.sizes(size);
        let descriptor = self.descriptor(size);
        let folder = directory.join(descriptor.raw.folder());
        let case_seed = |case: usize| phantoms::noise::mix_point(seed, [self as i64, case as i64, 0]);
        match self {
            Self::Ct => msd::write(&ct::TASK, &sizes, &folder, |i| ct::volume(case_seed(i), i, &sizes))?,
            Self::Mri => msd::write(&mri::TASK, &sizes, &folder, |i| mri::volume(case_seed(i), i, &sizes))?,
            Self::Em => {
                fs_err::create_dir_all(&folder)?;
                (0..sizes.train)
                    .into_par_iter()
                    .try_for_each(|i| em::write(case_seed(i), i, &sizes, &folder))?;
            }
        }
        stage::atomic::write(&directory.join(DESCRIPTOR), toml::to_string(&descriptor)?.as_bytes())?;
        Ok(sizes.train + sizes.test)
    }
}

/// Source, citation and licence of phantoms.
fn phantom_credits() -> (String, String, String) {
    ("data-manifests phantom".to_owned(), "synthetic; nothing to cite".to_owned(), "CC0-1.0".to_owned())
}

/// What the MSD-like phantoms' descriptors share; grid, intensity and text are to be set.
fn descriptor_base(
    name: &str,
    title: &str,
    modality: Modality,
    task: &msd::Task,
    sizes: &Sizes,
) -> Descriptor {
    let (source, citation, licence) = phantom_credits();
    let owned = |items: &[&str]| items.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    Descriptor {
        name: name.to_owned(),
        title: title.to_owned(),
        source,
        citation,
        licence,
        modality,
        channels: owned(task.modality),
        train_cases: Some(sizes.train),
        test_cases: Some(sizes.test),
        raw: Raw::Msd { folder: task.folder.to_owned() },
        labels: Some(Labels::semantic(owned(task.labels))),
        grid: Grid {
            unit: Unit::Mm,
            spacing_zyx: sizes.spacing_zyx,
            patch_zyx: sizes.patch_zyx,
            source: "chosen with the phantom".to_owned(),
            resampling: Resampling::Linear,
        },
        intensity: Intensity::MriZscore { nonzero: true }.into(),
        text: Text {
            anatomy: String::new(),
            imaging: String::new(),
            vocabulary: Vec::new(),
            stride: TEXT_STRIDE,
            tile_yx: [96, 96],
        },
        mirror_axes: Vec::new(),
        tolerance: Some(Tolerance { nsd_mm: 4.0, source: "chosen with the phantom: one voxel".to_owned() }),
        published: Vec::new(),
    }
}
