//! What is known of a case: attribute `gtgm` of its Zarr group.

use data_manifests::descriptor::Modality;
use serde::{Deserialize, Serialize};

/// Schema id.
pub(crate) const SCHEMA: &str = "gtgm/case/2";

/// The record of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRecord {
    /// Schema id.
    pub schema: String,
    /// Case id.
    pub id: String,
    /// Subject id.
    pub subject: String,
    /// Data set.
    pub dataset: String,
    /// Modality.
    pub modality: Modality,
    /// One entry per channel.
    pub channels: Vec<ChannelRecord>,
    /// Voxels in the shards, z, y, x.
    pub shape_zyx: [usize; 3],
    /// Spacing in the shards, z, y, x, mm.
    pub spacing_zyx_mm: [f64; 3],
    /// Voxel index (x, y, z) in the shards to RAS+ world, mm.
    pub affine: [[f64; 4]; 4],
    /// Digest of what decided the case: its raw files, the data set's rules and the program's version.
    pub work: String,
    /// The way back to the source.
    pub source: SourceRecord,
    /// Labels, for labelled cases.
    pub label: Option<LabelRecord>,
    /// What somebody should know about the source files; a run that keeps the case says so again.
    pub warnings: Vec<WarningRecord>,
}

/// A warning that was given when a case was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarningRecord {
    /// Stable code, such as `W121`.
    pub code: String,
    /// The message.
    pub text: String,
}

impl CaseRecord {
    /// Schema id of this version.
    pub const SCHEMA: &'static str = SCHEMA;
}

/// A channel of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelRecord {
    /// Name, such as `CT` or `FLAIR`.
    pub name: String,
    /// How raw values became stored values.
    pub normalisation: Normalisation,
    /// Smallest stored value.
    pub minimum: f32,
    /// Largest stored value.
    pub maximum: f32,
    /// Mean and standard deviation of the volume in stored units, before clipping; absent where the normalisation made them 0 and 1 or its
    /// numbers have a unit of their own (CT, 8 bits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moments: Option<[f32; 2]>,
}

impl ChannelRecord {
    /// What patches that reach outside the volume are filled with: 0 where zeros are background and are kept, around which the volume was cropped;
    /// else the smallest stored value.
    #[must_use]
    pub fn background(&self) -> f32 {
        if self.normalisation.keep_zeros { 0.0 } else { self.minimum }
    }
}

/// `stored = (clamp(raw, clip) - subtract) / divide`, with zeros kept where `keep_zeros` says so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Raw values are clamped to this range first; absent: no clamping.
    pub clip: Option<[f32; 2]>,
    /// Subtracted.
    pub subtract: f32,
    /// Divisor.
    pub divide: f32,
    /// Raw zeros (background) are stored as zeros.
    pub keep_zeros: bool,
}

impl Normalisation {
    /// The raw value of a stored one; values outside the clip range come back as its ends.
    #[must_use]
    pub fn raw(&self, stored: f32) -> f32 {
        if self.keep_zeros && stored == 0.0 { 0.0 } else { stored * self.divide + self.subtract }
    }
}

/// The source of a case and the steps from its grid to the shards': canonical orientation, resampling, crop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// Image file below `$RAW`.
    pub image: String,
    /// Its SHA-256.
    pub image_sha256: String,
    /// Label file below `$RAW`.
    pub label: Option<String>,
    /// Its SHA-256.
    pub label_sha256: Option<String>,
    /// The steps, and by them the way back.
    pub steps: volume::prepare::Steps,
}

/// The labels of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRecord {
    /// `semantic` or `instances`.
    pub kind: data_manifests::descriptor::LabelKind,
    /// Number of distinct non-zero values.
    pub distinct: usize,
    /// Voxels per class, background included, for semantic labels.
    pub voxels: Vec<LabelCount>,
}

impl LabelRecord {
    /// Whether classes were counted in the shards, so that the case has sampled voxels of them.
    pub(crate) fn has_classes(&self) -> bool {
        self.voxels.iter().any(|count| count.value != 0 && count.voxels > 0)
    }
}

/// Voxels of one label value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelCount {
    /// Value.
    pub value: u32,
    /// Voxels in the shards.
    pub voxels: u64,
}
