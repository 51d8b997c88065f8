//! `plan.json`: what `preprocess plan` found out about a data set, and the grid, patch and intensities that follow.
//!
//! A plan is meant to be read and edited, so it has no seal. [`Descriptor::with_plan`] puts it into effect.

mod nnunet;
pub mod rules;
mod statistics;

pub use statistics::ChannelStatistics;

use crate::Descriptor;
use crate::descriptor::{Intensities, Intensity, Modality, Resampling, Unit};
use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stage::Message;
use std::path::Path;

/// Schema id of this version.
pub const SCHEMA: &str = "gtgm/plan/1";

/// Size of a case's image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseSize {
    /// Case id.
    pub id: String,
    /// Voxels after the crop to what is not zero, z, y, x, in canonical orientation.
    pub shape_zyx: [usize; 3],
    /// Spacing, z, y, x, in mm.
    pub spacing_zyx_mm: [f64; 3],
}

/// What a data set is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The training cases that were looked at.
    pub cases: Vec<CaseSize>,
    /// Median voxels, z, y, x.
    pub median_shape_zyx: [f64; 3],
    /// Median spacing, z, y, x, in mm.
    pub median_spacing_zyx_mm: [f64; 3],
    /// Median share of a volume that the crop to what is not zero leaves.
    pub median_share_after_crop: f64,
    /// Intensities of the foreground by channel; empty without labels.
    pub channels: Vec<ChannelStatistics>,
}

impl Fingerprint {
    /// Sums up cases; `shares` are the shares of their volumes that the crop left.
    #[must_use]
    pub fn new(cases: Vec<CaseSize>, shares: &[f64], channels: Vec<ChannelStatistics>) -> Self {
        let shapes: Vec<[f64; 3]> = cases.iter().map(|c| c.shape_zyx.map(|n| n as f64)).collect();
        let spacings: Vec<[f64; 3]> = cases.iter().map(|c| c.spacing_zyx_mm).collect();
        let mut sorted = shares.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            median_shape_zyx: rules::median(&shapes),
            median_spacing_zyx_mm: rules::median(&spacings),
            median_share_after_crop: rules::percentile(&sorted, 0.5),
            cases,
            channels,
        }
    }
}

/// What preprocessing by a plan will need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Bytes of all shards before compression.
    pub bytes: u64,
    /// Peak memory in bytes.
    pub peak_memory_bytes: u64,
    /// Seconds on the machine that made the plan; absent where nothing was measured.
    pub seconds: Option<f64>,
    /// What the seconds were measured on.
    pub measured_on: Option<String>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`SCHEMA`].
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// Name of the data set.
    pub dataset: String,
    /// Who made the plan: `preprocess plan`, or the plans file of nnU-Net that it was taken from.
    pub source: String,
    /// What the data set is like; absent where the plan was made elsewhere.
    pub fingerprint: Option<Fingerprint>,
    /// Target spacing, z, y, x, in mm.
    pub spacing_zyx_mm: [f64; 3],
    /// Training patch in voxels, z, y, x.
    pub patch_zyx: [usize; 3],
    /// Intensity rule, or a list with one for each channel.
    pub intensity: Intensities,
    /// Convention of resampling.
    pub resampling: Resampling,
    /// What it will need; absent where nothing was predicted.
    pub predicted: Option<Prediction>,
    /// What was decided, or left out, on the way.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Plan {
    /// The plan that follows from a fingerprint by nnU-Net's rules, for a data set and a GPU of `gpu_gb` GiB; nothing is
    /// predicted yet.
    ///
    /// # Errors
    /// `E023` where the fingerprint has no case.
    pub fn from_fingerprint(
        descriptor: &Descriptor,
        fingerprint: Fingerprint,
        resampling: Resampling,
        gpu_gb: f64,
    ) -> anyhow::Result<Self> {
        if fingerprint.cases.is_empty() {
            return Err(Message::error("E023", "no plan without cases")
                .detail(format!("data set '{}'", descriptor.name))
                .fix("Give the folder of the training cases")
                .into());
        }
        let spacings: Vec<[f64; 3]> = fingerprint.cases.iter().map(|c| c.spacing_zyx_mm).collect();
        let shapes: Vec<[f64; 3]> = fingerprint.cases.iter().map(|c| c.shape_zyx.map(|n| n as f64)).collect();
        let spacing = rules::target_spacing(&spacings, &shapes);
        let resampled: Vec<[f64; 3]> = shapes
            .iter()
            .zip(&spacings)
            .map(|(shape, from)| rules::resampled_shape(*shape, *from, spacing))
            .collect();
        let classes = descriptor.foreground_classes().len() + 1;
        let patch = rules::patch_size(spacing, rules::median(&resampled), classes.max(2), gpu_gb);
        let mut notes = Vec::new();
        let intensity = intensity(descriptor, &fingerprint, &mut notes);
        Ok(Self {
            schema: SCHEMA.to_owned(),
            dataset: descriptor.name.clone(),
            source: "preprocess plan".to_owned(),
            fingerprint: Some(fingerprint),
            spacing_zyx_mm: spacing,
            patch_zyx: patch,
            intensity,
            resampling,
            predicted: None,
            notes,
        })
    }

    /// Reads a plan, or takes one from an `nnUNetPlans.json`.
    ///
    /// # Errors
    /// `E024` says what is wrong, with line and column where JSON has them.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        Self::parse(&fs_err::read_to_string(path)?, &path.display().to_string())
    }

    /// Parses and checks a plan, or one of nnU-Net's; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`Plan::load`].
    pub fn parse(text: &str, origin: &str) -> anyhow::Result<Self> {
        let wrong = |detail: String| {
            Message::error("E024", "the plan cannot be used")
                .detail(format!("{origin}: {detail}"))
                .fix("Correct it, or make a new one with 'preprocess plan'")
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if value.get("configurations").is_some() {
            return Self::from_nnunet(&value, origin);
        }
        let plan: Self = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        plan.check().map_err(|e| wrong(format!("{e:#}")))?;
        Ok(plan)
    }

    /// The plan as text.
    ///
    /// # Errors
    /// A number that JSON cannot hold.
    pub fn to_json(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// Writes the plan.
    ///
    /// # Errors
    /// Numbers that are impossible; no room or rights on disk.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        self.check()?;
        Ok(stage::atomic::write(path, self.to_json()?.as_bytes())?)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.schema != SCHEMA {
            bail!("schema: found '{}', expected '{SCHEMA}'", self.schema);
        }
        if !self.spacing_zyx_mm.iter().all(|s| s.is_finite() && *s > 0.0) {
            bail!("spacing_zyx_mm must be positive, found {:?}", self.spacing_zyx_mm);
        }
        if self.patch_zyx.contains(&0) {
            bail!("patch_zyx must be positive, found {:?}", self.patch_zyx);
        }
        self.intensity.check()
    }
}

/// The descriptor's rules with the numbers that nnU-Net would measure: CT by percentiles of the foreground, z-scores over non-zero voxels
/// only where the crop takes a quarter of the volume or more away. Other rules have nothing to be measured.
fn intensity(descriptor: &Descriptor, fingerprint: &Fingerprint, notes: &mut Vec<String>) -> Intensities {
    let mut rules = Vec::new();
    for (number, name) in descriptor.channels.iter().enumerate() {
        let Some(stated) = descriptor.intensity.channel(number) else { continue };
        let found = fingerprint.channels.get(number);
        rules.push(match stated {
            Intensity::CtWindow { .. } | Intensity::CtPercentile { .. } => match found {
                Some(found) if found.std > 0.0 && found.percentile_00_5 < found.percentile_99_5 => {
                    found.ct_percentile()
                }
                Some(_) => {
                    notes.push(format!(
                        "channel {name}: its foreground has no contrast: the descriptor's rule stays"
                    ));
                    stated.clone()
                }
                None => {
                    let note = "no labels, so no foreground intensities: the descriptor's rule stays";
                    if !notes.iter().any(|said| said == note) {
                        notes.push(note.to_owned());
                    }
                    stated.clone()
                }
            },
            Intensity::MriZscore { .. } => {
                Intensity::MriZscore { nonzero: fingerprint.median_share_after_crop < 0.75 }
            }
            Intensity::EmScale {} | Intensity::Window { .. } | Intensity::MinMax {} | Intensity::None {} => {
                stated.clone()
            }
        });
    }
    rules.into()
}

impl Descriptor {
    /// The descriptor with the plan's grid, patch, intensity rule and resampling.
    ///
    /// # Errors
    /// `E024` where the plan's rules are for another modality or number of channels.
    pub fn with_plan(mut self, plan: &Plan) -> anyhow::Result<Self> {
        if let Some(rules) = plan.intensity.channels().filter(|rules| *rules != self.channels.len()) {
            return Err(Message::error("E024", "the plan is for another number of channels")
                .detail(format!(
                    "the plan of '{}' has intensity rules for {rules}, data set '{}' has {} ({})",
                    plan.dataset,
                    self.name,
                    self.channels.len(),
                    self.channels.join(", ")
                ))
                .fix("Make a plan of this data set with 'preprocess plan'")
                .into());
        }
        // a data set's modality is that of its first channel
        let wanted = match plan.intensity.channel(0) {
            Some(Intensity::CtWindow { .. } | Intensity::CtPercentile { .. }) => Some(Modality::Ct),
            Some(Intensity::EmScale {}) if self.modality == Modality::Ct => Some(Modality::Em),
            // nnU-Net takes z-scores for whatever is not CT, and divides colours by 255
            _ => None,
        };
        if let Some(wanted) = wanted
            && wanted != self.modality
        {
            let word = |m: Modality| format!("{m:?}").to_uppercase();
            return Err(Message::error("E024", "the plan is for another modality")
                .detail(format!(
                    "the plan of '{}' is for {}, data set '{}' is {}",
                    plan.dataset,
                    word(wanted),
                    self.name,
                    word(self.modality)
                ))
                .fix("Make a plan of this data set with 'preprocess plan'")
                .into());
        }
        let factor = match self.grid.unit {
            Unit::Mm => 1.0,
            Unit::Nm => 1e6,
        };
        self.grid.spacing_zyx = plan.spacing_zyx_mm.map(|mm| mm * factor);
        self.grid.patch_zyx = plan.patch_zyx;
        self.grid.resampling = plan.resampling;
        self.grid.source = format!("plan of '{}' by {}", plan.dataset, plan.source);
        self.intensity = plan.intensity.clone();
        let origin = format!("'{}' with the plan of '{}'", self.name, plan.dataset);
        Self::parse(&toml::to_string(&self)?, &origin)
    }
}
