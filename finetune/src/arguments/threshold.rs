//! The command line of `finetune threshold`.

use super::instances::{Details, MethodName, Pieces};
use stage::arguments::numbers;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  finetune predict   --model model --input raw --cases train --out trained
  finetune threshold --model model --predictions trained --references raw --methods mean,quantile --out threshold.json
  finetune instances --predictions affinities --choice threshold.json --out neurons
Chosen on what was trained on; where others are scored, '--cases val' chooses on the validation cases.";

/// Chooses how objects are made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Threshold {
    /// What 'finetune train' wrote; the same models as --predictions came from
    #[arg(long, value_name = "DIR|FILE", required = true, num_args = 1..)]
    pub(crate) model: Vec<PathBuf>,
    /// What 'finetune predict' wrote of labelled volumes
    #[arg(long, value_name = "DIR")]
    pub(crate) predictions: PathBuf,
    /// The raw folder that was predicted
    #[arg(long, value_name = "DIR")]
    pub(crate) references: PathBuf,
    /// Where the choice goes
    #[arg(long, value_name = "FILE.json")]
    pub(crate) out: PathBuf,
    /// Methods to try
    #[arg(long, value_name = "METHOD,…", value_delimiter = ',', default_value = "mean")]
    pub(crate) methods: Vec<MethodName>,
    /// Thresholds to try with each method that has one
    #[arg(long, value_name = "P,P,…", value_delimiter = ',', value_parser = numbers::share, default_value = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9")]
    pub(crate) thresholds: Vec<f64>,
    /// Which of the volumes to choose on: not those that are scored afterwards
    #[arg(long, default_value = "train", value_delimiter = ',', value_parser = ["train", "val"])]
    pub(crate) cases: Vec<String>,
    /// What should be lowest, on average over the volumes
    #[arg(long, value_enum, default_value = "voi")]
    pub(crate) by: Criterion,
    #[command(flatten)]
    pub(crate) details: Details,
    #[command(flatten)]
    pub(crate) pieces: Pieces,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Criterion {
    /// Variation of information, splits and merges together
    Voi,
    /// Adapted Rand error as CREMI defines it
    Arand,
    /// CREMI's score, the geometric mean of both
    Cremi,
}
