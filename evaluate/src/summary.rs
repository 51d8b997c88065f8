//! `summary.json`: nnU-Net's keys, and ours with counts per policy.

use crate::targets::MeanRule;
use crate::warned::Warned;
use anyhow::{Context as _, Result};
use data_manifests::Descriptor;
use data_manifests::descriptor::Published;
use metrics::policy::PresenceCounts;
use metrics::statistics::Interval;
use metrics::{Definition, Policy};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// File name in a score directory.
pub const FILE_NAME: &str = "summary.json";

/// Schema id of [`Details`].
pub const SCHEMA: &str = "gtgm/scores/2";

/// Coverage of confidence intervals.
pub const LEVEL: f64 = 0.95;

/// Means by metric; `None` where nothing was scored.
pub type Means = BTreeMap<String, Option<f64>>;

/// The whole file; the first three members are nnU-Net's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryFile {
    /// Means over classes of `mean`; `null` where nothing was scored.
    pub foreground_mean: Means,
    /// Means over cases by class (key: label value).
    pub mean: BTreeMap<String, Means>,
    /// Each case.
    pub metric_per_case: Vec<CaseEntry>,
    /// What nnU-Net's keys cannot say.
    pub gtgm: Details,
}

/// One case, with nnU-Net's keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseEntry {
    /// Case id.
    pub case: String,
    /// Reference, below `$RAW` where it lies there.
    pub reference_file: String,
    /// Prediction, relative to the predictions' directory; `null` when it was missing.
    pub prediction_file: Option<String>,
    /// Volume of a voxel in ml; `null` where voxels are not counted by class.
    pub voxel_ml: Option<f64>,
    /// Metrics by class; `null` is "not scored", the text `inf` an infinite distance.
    pub metrics: BTreeMap<String, BTreeMap<String, Value>>,
}

/// Our part of the summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// [`SCHEMA`].
    pub schema: String,
    /// The data set, as far as a report needs it.
    pub dataset: Dataset,
    /// Splits of the cases that were to be scored; empty where predictions do not say.
    pub splits: Vec<String>,
    /// Rule for empty masks.
    pub policy: Policy,
    /// How classes became the foreground's mean.
    pub mean_rule: MeanRule,
    /// What a missing prediction counted as.
    pub missing_rule: String,
    /// Formulas used.
    pub definitions: Vec<DefinitionNote>,
    /// Numbers of cases.
    pub cases: CaseCounts,
    /// Per class.
    pub classes: Vec<ClassSummary>,
    /// Over classes: the mean of the classes' means.
    pub foreground: Vec<MetricSummary>,
    /// Pictures.
    pub overlays: Vec<Overlay>,
    /// What was warned of; none in summaries of earlier versions.
    #[serde(default)]
    pub warnings: Vec<Warned>,
}

/// What a report says of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Short name.
    pub name: String,
    /// Full name.
    pub title: String,
    /// Where it comes from.
    pub source: String,
    /// What to cite.
    pub citation: String,
    /// Licence.
    pub licence: String,
    /// `ct`, `mri` or `em`.
    pub modality: String,
    /// NSD tolerance in mm.
    pub tolerance_mm: f64,
    /// Where the tolerance comes from.
    pub tolerance_source: String,
    /// Published results.
    pub published: Vec<Published>,
}

/// A formula in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DefinitionNote {
    /// Id, as in `metrics.csv`.
    pub id: String,
    /// Name for tables.
    pub name: String,
    /// In words.
    pub text: String,
}

/// Numbers of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CaseCounts {
    /// References that were to be scored.
    pub listed: u64,
    /// Scored.
    pub scored: u64,
    /// Not scored because of an error.
    pub failed: u64,
    /// Without a prediction.
    pub missing: u64,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassSummary {
    /// Label value, or those of a region: `1`, `(1, 2)`.
    pub class: String,
    /// Name.
    pub name: String,
    /// Which cases hold it.
    pub presence: PresenceCounts,
    /// Per metric.
    pub metrics: Vec<MetricSummary>,
}

/// One metric over cases; numbers are `null` where nothing was scored.
///
/// Over classes ([`Details::foreground`]) the means and the interval are those of the mean of the classes' means over cases; `n`, median, quartiles
/// and standard deviation are those of the cases' own means over their classes, which have another mean where cases lack classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// Definition id.
    pub definition: String,
    /// Name for tables.
    pub name: String,
    /// Finite values.
    pub n: usize,
    /// Infinite values (one of the masks empty); not part of `mean`.
    pub infinite: usize,
    /// Mean of the finite values.
    pub mean: Option<f64>,
    /// Median of the finite values.
    pub median: Option<f64>,
    /// First and third quartile of the finite values.
    pub quartiles: Option<[f64; 2]>,
    /// Sample standard deviation of the finite values.
    pub std: Option<f64>,
    /// Percentile bootstrap interval of `mean`: cases are drawn, and the mean (of classes: all of their means) is taken anew.
    pub interval: Option<Interval>,
    /// For distances: the mean with the volume's diagonal in place of infinite values.
    pub mean_with_diagonal: Option<f64>,
}

/// A picture of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlay {
    /// Case id.
    pub case: String,
    /// `best`, `median` or `worst` by mean Dice.
    pub rank: String,
    /// Mean Dice of the case.
    pub dice: f64,
    /// Slice along canonical z, counted from 0.
    pub slice_z: usize,
    /// Slices along canonical z.
    pub slices: usize,
    /// File relative to the score directory: outlines.
    pub file: String,
    /// The same slice with what was missed, invented or confused.
    pub error_file: String,
}

impl SummaryFile {
    /// The summary in the directory of a score.
    ///
    /// # Errors
    /// A file that is not there, or is no summary.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE_NAME);
        serde_json::from_slice(&fs_err::read(&path)?)
            .with_context(|| format!("cannot read {}: it is no summary of 'evaluate score'", path.display()))
    }
}

impl Dataset {
    /// What a report needs of a descriptor.
    pub(crate) fn of(descriptor: &Descriptor, tolerance_mm: f64, tolerance_source: String) -> Self {
        use data_manifests::descriptor::Modality;
        let modality = match descriptor.modality {
            Modality::Ct => "ct",
            Modality::Mri => "mri",
            Modality::Em => "em",
        };
        Self {
            name: descriptor.name.clone(),
            title: descriptor.title.clone(),
            source: descriptor.source.clone(),
            citation: descriptor.citation.clone(),
            licence: descriptor.licence.clone(),
            modality: modality.to_owned(),
            tolerance_mm,
            tolerance_source,
            published: descriptor.published.clone(),
        }
    }
}

impl Dataset {
    /// What a report needs of a data set of objects, which has no tolerance; of none where no descriptor was named.
    pub(crate) fn of_objects(descriptor: Option<&Descriptor>) -> Self {
        match descriptor {
            Some(descriptor) => Self::of(descriptor, 0.0, String::new()),
            None => Self {
                name: "instances".to_owned(),
                title: "Instance segmentation".to_owned(),
                source: String::new(),
                citation: String::new(),
                licence: String::new(),
                modality: String::new(),
                tolerance_mm: 0.0,
                tolerance_source: String::new(),
                published: Vec::new(),
            },
        }
    }
}

impl DefinitionNote {
    pub(crate) fn of(definition: Definition) -> Self {
        Self { id: definition.id(), name: definition.name().to_owned(), text: definition.description() }
    }
}
