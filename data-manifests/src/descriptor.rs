//! Dataset descriptors: everything that a stage must know of a data set, in one TOML file.

use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The descriptors that come with the program.
const BUILT_IN: &[(&str, &str)] = &[
    ("msd01-braintumour", include_str!("../datasets/msd01-braintumour.toml")),
    ("msd02-heart", include_str!("../datasets/msd02-heart.toml")),
    ("msd03-liver", include_str!("../datasets/msd03-liver.toml")),
    ("msd04-hippocampus", include_str!("../datasets/msd04-hippocampus.toml")),
    ("msd05-prostate", include_str!("../datasets/msd05-prostate.toml")),
    ("msd06-lung", include_str!("../datasets/msd06-lung.toml")),
    ("msd07-pancreas", include_str!("../datasets/msd07-pancreas.toml")),
    ("msd08-hepaticvessel", include_str!("../datasets/msd08-hepaticvessel.toml")),
    ("msd09-spleen", include_str!("../datasets/msd09-spleen.toml")),
    ("msd10-colon", include_str!("../datasets/msd10-colon.toml")),
    ("cremi-a", include_str!("../datasets/cremi-a.toml")),
    ("cremi-b", include_str!("../datasets/cremi-b.toml")),
    ("cremi-c", include_str!("../datasets/cremi-c.toml")),
];

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    },
    /// Single NIfTI files named here.
    Table {
        /// Folder below the data root.
        folder: String,
        /// The cases.
        cases: Vec<TableCase>,
    },
}

impl Raw {
    /// Folder below the data root.
    #[must_use]
    pub fn folder(&self) -> &str {
        match self {
            Self::Msd { folder } | Self::Cremi { folder, .. } | Self::Table { folder, .. } => folder,
        }
    }
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
    /// Values in the files that become other values, such as `{"255" = 1}`; applied before anything else.
    #[serde(default)]
    pub map: BTreeMap<String, u32>,
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
}

/// Intensity rule of a modality; one for all channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Intensity {
    /// Clip to a window of Hounsfield units, then scale the window to 0…1.
    CtWindow {
        /// Lower end, HU.
        low: f32,
        /// Upper end, HU.
        high: f32,
    },
    /// Subtract the mean and divide by the standard deviation of each channel of each volume.
    MriZscore {
        /// Take the statistics over non-zero voxels only.
        nonzero: bool,
    },
    /// Divide 8-bit intensities by 255.
    EmScale,
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
    /// Intensity rule.
    pub intensity: Intensity,
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

impl Intensity {
    /// The rule as `volume` applies it.
    #[must_use]
    pub fn rule(&self) -> volume::intensity::IntensityRule {
        use volume::intensity::IntensityRule;
        match *self {
            Self::CtWindow { low, high } => IntensityRule::CtWindow { low: low.into(), high: high.into() },
            Self::MriZscore { nonzero } => IntensityRule::MriZScore { nonzero },
            Self::EmScale => IntensityRule::EmScale,
        }
    }
}

impl Descriptor {
    /// The descriptors that come with the program, in the order of the benchmark.
    ///
    /// # Errors
    /// A built-in file that is not valid; a test rules it out.
    pub fn built_in() -> anyhow::Result<Vec<Self>> {
        BUILT_IN.iter().map(|(name, text)| Self::parse(text, name)).collect()
    }

    /// A built-in descriptor by name, or one from a TOML file by path.
    ///
    /// # Errors
    /// `E020` for an unknown name, with the nearest ones; `E021` for a file that is not a descriptor.
    pub fn find(name_or_file: &str) -> anyhow::Result<Self> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) {
            return Self::parse(text, name);
        }
        let path = Path::new(name_or_file);
        if path.is_file() {
            return Self::parse(&fs_err::read_to_string(path)?, name_or_file);
        }
        let near: Vec<_> = BUILT_IN
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| {
                name.split('-').any(|part| part.len() > 2 && name_or_file.to_lowercase().contains(part))
            })
            .collect();
        let near = if near.is_empty() { BUILT_IN.iter().map(|(name, _)| *name).collect() } else { near };
        Err(Message::error("E020", format!("no dataset '{name_or_file}'"))
            .detail("It is neither a built-in name nor a file")
            .fix(format!("Use one of {}, or the path of a descriptor in TOML", near.join(", ")))
            .into())
    }

    /// The TOML text of a built-in descriptor, with its comments.
    #[must_use]
    pub fn built_in_text(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, text)| *text)
    }

    /// Parses and checks a descriptor; `origin` names it in messages.
    ///
    /// # Errors
    /// `E021` says what is wrong with it.
    pub fn parse(text: &str, origin: &str) -> anyhow::Result<Self> {
        let wrong = |detail: String| {
            Message::error("E021", "the dataset descriptor is not valid")
                .detail(format!("{origin}: {detail}"))
                .fix("Compare it with the output of 'data-manifests show msd04-hippocampus'")
        };
        let descriptor: Self = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        descriptor.check().map_err(|e| wrong(format!("{e:#}")))?;
        Ok(descriptor)
    }

    /// Rules that types cannot say.
    fn check(&self) -> anyhow::Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            bail!("name '{}' may hold lower-case letters, digits and hyphens only", self.name);
        }
        if self.channels.is_empty() {
            bail!("channels is empty");
        }
        if !self.grid.spacing_zyx.iter().all(|s| s.is_finite() && *s > 0.0) {
            bail!("grid.spacing_zyx must be positive, found {:?}", self.grid.spacing_zyx);
        }
        if self.grid.patch_zyx.contains(&0) {
            bail!("grid.patch_zyx must be positive, found {:?}", self.grid.patch_zyx);
        }
        if let Intensity::CtWindow { low, high } = self.intensity
            && low.partial_cmp(&high) != Some(std::cmp::Ordering::Less)
        {
            bail!("intensity.low must lie below intensity.high, found {low} and {high}");
        }
        if self.text.stride == 0 || self.text.tile_yx.contains(&0) {
            bail!("text.stride and text.tile_yx must be positive");
        }
        let axes: BTreeSet<&str> = self.mirror_axes.iter().map(String::as_str).collect();
        if axes.len() != self.mirror_axes.len() || !axes.is_subset(&BTreeSet::from(["z", "y", "x"])) {
            bail!("mirror_axes may hold z, y and x once each, found {:?}", self.mirror_axes);
        }
        if let Some(labels) = &self.labels {
            if labels.kind == LabelKind::Semantic {
                if labels.classes.len() < 2 {
                    bail!("labels.classes needs the background and at least one class");
                }
                if self.tolerance.as_ref().is_none_or(|t| !(t.nsd_mm.is_finite() && t.nsd_mm > 0.0)) {
                    bail!("semantic labels need a positive tolerance.nsd_mm");
                }
            }
            for (value, to) in &labels.map {
                if value.parse::<u64>().is_err() {
                    bail!("labels.map: '{value}' is not a label value");
                }
                if labels.kind == LabelKind::Semantic && *to as usize >= labels.classes.len() {
                    bail!("labels.map: {value} becomes {to}, but there are {} classes", labels.classes.len());
                }
            }
        }
        for result in &self.published {
            if !(result.fraction > 0.0 && result.fraction <= 1.0) {
                bail!("published: fraction {} does not lie in (0, 1]", result.fraction);
            }
        }
        Ok(())
    }

    /// Target spacing in mm, z, y, x.
    #[must_use]
    pub fn spacing_zyx_mm(&self) -> [f64; 3] {
        let factor = match self.grid.unit {
            Unit::Mm => 1.0,
            Unit::Nm => 1e-6,
        };
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
}
