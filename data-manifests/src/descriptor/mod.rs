//! Dataset descriptors: everything that a stage must know of a data set, in one TOML file.

mod check;
mod intensity;
mod load;

pub use intensity::{Intensities, Intensity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How the images were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Computed tomography, in Hounsfield units.
    Ct,
    /// Magnetic resonance imaging, in arbitrary units.
    Mri,
    /// Electron microscopy, 8 bit.
    Em,
}

/// How the raw files lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "layout", rename_all = "lowercase", deny_unknown_fields)]
pub enum Raw {
    /// Medical Segmentation Decathlon task folder with `dataset.json`, `imagesTr`, `labelsTr`, `imagesTs`.
    Msd {
        /// Folder below the data root.
        folder: String,
    },
    /// CREMI HDF5 files with `/volumes/raw` and `/volumes/labels/NAME`.
    Cremi {
        /// Folder below the data root.
        folder: String,
        /// Files in it; each is a case named by its stem.
        files: Vec<String>,
        /// Name below `/volumes/labels` of the label set; none: no labels.
        labels: Option<String>,
        /// Runs of sections that each file is cut into; each is a case named by the file's stem and the part's name. None: a file is
        /// a case.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<SectionPart>,
    },
    /// nnU-Net v2 raw folder with `dataset.json`, `imagesTr/ID_0000.nii.gz`, `labelsTr/ID.nii.gz`, `imagesTs`.
    Nnunet {
        /// Folder below the data root.
        folder: String,
    },
    /// TIFF files of several pages, or folders of TIFF or PNG slices; each is a case named by its stem.
    Stack {
        /// Folder below the data root.
        folder: String,
        /// Folder in it with the images; the folder itself when not given.
        images: Option<String>,
        /// Folder in it with the labels, of the same names; none: no labels.
        labels: Option<String>,
        /// Voxel size, z, y, x, of all images; without it, sidecars or tags must state it.
        spacing_zyx: Option<[f64; 3]>,
        /// Unit of `spacing_zyx`.
        unit: Option<Unit>,
    },
    /// Images without labels, to pretrain on: files that patterns find, at any depth, such as a data set in BIDS. A case is named by its path
    /// below the folder, with `_` between the parts.
    Images {
        /// Folder below the data root.
        folder: String,
        /// Patterns of paths below it: `*` is anything within a name, `**` any folders. All volumes when not given.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<String>,
        /// Patterns of paths that are left out, such as masks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exclude: Vec<String>,
        /// What tells the subjects apart; when not given `bids` where a path has `sub-…`, else each image is a subject.
        subject: Option<SubjectOf>,
    },
    /// Single files named here, or in a CSV table.
    Table {
        /// Folder below the data root.
        folder: String,
        /// CSV table below the folder; its columns are `id`, `image` (or `image_0`, `image_1`, … for one file per
        /// channel), `label`, `subject` and `split`.
        file: Option<String>,
        /// The cases, where there is no table.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cases: Vec<TableCase>,
    },
}

impl Raw {
    /// Folder below the data root.
    #[must_use]
    pub fn folder(&self) -> &str {
        match self {
            Self::Msd { folder }
            | Self::Nnunet { folder }
            | Self::Cremi { folder, .. }
            | Self::Stack { folder, .. }
            | Self::Images { folder, .. }
            | Self::Table { folder, .. } => folder,
        }
    }

    /// Voxel size in mm, z, y, x, that is stated for all stacks.
    #[must_use]
    pub fn spacing_zyx_mm(&self) -> Option<[f64; 3]> {
        match self {
            Self::Stack { spacing_zyx: Some(spacing), unit, .. } => {
                Some(spacing.map(|s| s * unit.unwrap_or(Unit::Mm).millimetres()))
            }
            _ => None,
        }
    }
}

/// What tells the subjects of [`Raw::Images`] apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubjectOf {
    /// BIDS: `sub-…` in the path.
    Bids,
    /// The first folder of the path.
    Folder,
    /// Each image is a subject.
    Image,
}

/// A run of sections of each file of [`Raw::Cremi`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SectionPart {
    /// Name, the end of the case's id.
    pub name: String,
    /// First section and the one past the last, counted from 0.
    pub sections: [usize; 2],
    /// What fine-tuning does with it where no other split is given.
    pub role: PartRole,
}

/// What fine-tuning does with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartRole {
    /// It is trained on.
    Train,
    /// It validates.
    Val,
}

/// One case of [`Raw::Table`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableCase {
    /// Case id.
    pub id: String,
    /// Subject; the id when not given.
    pub subject: Option<String>,
    /// Image, relative to the folder.
    pub image: String,
    /// Label, relative to the folder.
    pub label: Option<String>,
}

/// What label values mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// `semantic` (values name classes) or `instances` (values name objects).
    pub kind: LabelKind,
    /// Class names of semantic labels; the position is the value, 0 is the background.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Value of voxels that nobody annotated: neither a class nor background. Semantic labels only.
    pub ignore: Option<u32>,
    /// Values in the files that become other values, such as `{"255" = 1}`; applied before anything else.
    #[serde(default)]
    pub map: BTreeMap<String, u32>,
    /// Regions that classes make up together, in the order in which they are painted into one label map (a later region
    /// covers an earlier one); empty where classes are what is looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
}

/// A union of classes, such as the whole tumour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Name.
    pub name: String,
    /// The label values that belong to it.
    pub values: Vec<u32>,
    /// The one of them that the region becomes in a label map.
    pub paint: u32,
}

/// Kind of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LabelKind {
    /// Values name classes.
    Semantic,
    /// Values name objects, such as neurons.
    Instances,
}

/// Unit of the descriptor's spacing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Millimetres.
    Mm,
    /// Nanometres.
    Nm,
}

impl Unit {
    /// Millimetres of one unit.
    #[must_use]
    pub fn millimetres(self) -> f64 {
        match self {
            Self::Mm => 1.0,
            Self::Nm => 1e-6,
        }
    }
}

/// The grid that volumes are resampled to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Unit of the spacing.
    pub unit: Unit,
    /// Target spacing, z, y, x.
    pub spacing_zyx: [f64; 3],
    /// Training patch in voxels, z, y, x.
    pub patch_zyx: [usize; 3],
    /// Where spacing and patch come from.
    pub source: String,
    /// How volumes get there.
    #[serde(default)]
    pub resampling: Resampling,
}

/// Convention of resampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resampling {
    /// Images trilinear, labels nearest; the first voxel's centre stays in place (MONAI's `Spacing`).
    #[default]
    Linear,
    /// nnU-Net's: cubic spline, nearest across the worst axis of anisotropic volumes, labels by linear vote, half-pixel
    /// grid.
    Nnunet,
}

/// What the text stage may say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The imaged part, such as `brain` or `abdomen`.
    pub anatomy: String,
    /// Longer name of the images, such as `T1-weighted magnetic resonance imaging`.
    pub imaging: String,
    /// Structures that may be named.
    pub vocabulary: Vec<String>,
    /// Every how many slices one is captioned.
    pub stride: usize,
    /// Sections larger than this are cut into tiles of about this size, y, x, in voxels.
    pub tile_yx: [usize; 2],
}

/// Tolerance of the normalised surface distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// In millimetres, for all classes.
    pub nsd_mm: f64,
    /// Where the number comes from.
    pub source: String,
}

/// A published result to compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Method.
    pub method: String,
    /// Metric as named there, such as `Dice %` or `VOI`.
    pub metric: String,
    /// Share of the labels used for training, in (0, 1].
    pub fraction: f64,
    /// The number.
    pub value: f64,
    /// Where it is printed.
    pub source: String,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// Short name: lower case, digits and hyphens.
    pub name: String,
    /// Full name.
    pub title: String,
    /// Where to get it.
    pub source: String,
    /// What to cite.
    pub citation: String,
    /// Licence of the data.
    pub licence: String,
    /// Modality.
    pub modality: Modality,
    /// Channel names, in the order of the files.
    pub channels: Vec<String>,
    /// Published number of training cases; counted against what is found.
    pub train_cases: Option<usize>,
    /// Published number of test cases.
    pub test_cases: Option<usize>,
    /// Raw files.
    pub raw: Raw,
    /// Labels; absent without any.
    pub labels: Option<Labels>,
    /// Target grid.
    pub grid: Grid,
    /// Intensity rule, or a list with one for each channel.
    pub intensity: Intensities,
    /// Text.
    pub text: Text,
    /// Axes along which mirror images are plausible: `z`, `y`, `x`.
    pub mirror_axes: Vec<String>,
    /// NSD tolerance; absent for instance labels.
    pub tolerance: Option<Tolerance>,
    /// Published results.
    #[serde(default)]
    pub published: Vec<Published>,
}

impl Resampling {
    /// The convention as `volume` applies it.
    #[must_use]
    pub fn convention(self) -> volume::resample::Resampling {
        match self {
            Self::Linear => volume::resample::Resampling::Linear,
            Self::Nnunet => volume::resample::Resampling::Nnunet,
        }
    }
}

impl Descriptor {
    /// How images become network input, for every stage that makes some.
    #[must_use]
    pub fn method(&self) -> volume::prepare::Method {
        volume::prepare::Method {
            spacing_zyx_mm: self.spacing_zyx_mm(),
            rules: self.intensity.rules(),
            resampling: self.grid.resampling.convention(),
        }
    }

    /// Target spacing in mm, z, y, x.
    #[must_use]
    pub fn spacing_zyx_mm(&self) -> [f64; 3] {
        let factor = self.grid.unit.millimetres();
        self.grid.spacing_zyx.map(|s| s * factor)
    }

    /// Class names without the background; empty without semantic labels.
    #[must_use]
    pub fn foreground_classes(&self) -> &[String] {
        match &self.labels {
            Some(labels) if labels.kind == LabelKind::Semantic => &labels.classes[1..],
            _ => &[],
        }
    }

    /// Whether a mirror image is plausible along z, y, x.
    #[must_use]
    pub fn mirrors(&self) -> [bool; 3] {
        ["z", "y", "x"].map(|axis| self.mirror_axes.iter().any(|a| a == axis))
    }

    /// The value of voxels that nobody annotated, where there is one.
    #[must_use]
    pub fn ignored(&self) -> Option<u32> {
        self.labels.as_ref().and_then(|labels| labels.ignore)
    }
}

impl Labels {
    /// Semantic labels of these classes, without map, ignore value and regions.
    #[must_use]
    pub fn semantic(classes: Vec<String>) -> Self {
        Self { kind: LabelKind::Semantic, classes, ignore: None, map: BTreeMap::new(), regions: Vec::new() }
    }

    /// Values that semantic labels may hold after [`Labels::map`]: the classes, and the ignore value.
    #[must_use]
    pub fn allowed(&self) -> BTreeSet<u64> {
        (0..self.classes.len() as u64).chain(self.ignore.map(u64::from)).collect()
    }

    /// [`Labels::map`] as numbers; a checked descriptor has nothing else in it.
    #[must_use]
    pub fn mapping(&self) -> BTreeMap<u64, u64> {
        self.map.iter().filter_map(|(from, to)| Some((from.parse().ok()?, u64::from(*to)))).collect()
    }
}
