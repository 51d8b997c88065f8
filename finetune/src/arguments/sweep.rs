//! The command line of `finetune sweep`.

use stage::arguments::numbers;
use std::ffi::OsString;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  finetune sweep --shards shards --raw data/Task04_Hippocampus --encoder-weights encoder.safetensors --out sweep \\
    --fractions 0.01,0.1,1 --seeds 0,1,2 -- --network resenc --steps 1000 --augmentation strong
Options after -- are those of 'finetune train'. Repeat the command after an interruption to continue; other options for what is trained
already are refused. 'evaluate report --runs sweep/runs/*/scores' draws the curves.";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Sweep {
    /// Labelled shards
    #[arg(long, value_name = "DIR")]
    pub(crate) shards: PathBuf,
    /// The raw folder that the shards were made of: its validation cases are predicted and scored
    #[arg(long, value_name = "DIR")]
    pub(crate) raw: PathBuf,
    /// Where runs and tables go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Shares of the training labels
    #[arg(long, value_name = "F,F,…", value_delimiter = ',', required = true, value_parser = numbers::some)]
    pub(crate) fractions: Vec<f64>,
    /// Seeds of weights and sampling
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "0,1,2")]
    pub(crate) seeds: Vec<u64>,
    /// Encoder to start from beside random weights: encoder.safetensors of 'pretrain'
    #[arg(long, value_name = "FILE")]
    pub(crate) encoder_weights: Option<PathBuf>,
    /// Share of the labelled cases kept for validation, the same for all runs
    #[arg(long, default_value_t = 0.2)]
    pub(crate) val_share: f64,
    /// Seed of that split
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) split_seed: u64,
    /// A stored split instead (see 'data-manifests split')
    #[arg(long, value_name = "FILE", conflicts_with_all = ["val_share", "split_seed"])]
    pub(crate) split: Option<PathBuf>,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Number format of convolutions and matrix products: fp32 or bf16
    #[arg(long, default_value = "fp32")]
    pub(crate) precision: String,
    /// The program that scores [default: evaluate beside this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) evaluate: Option<PathBuf>,
    /// Options of 'finetune train'
    #[arg(last = true, value_name = "OPTIONS")]
    pub(crate) train: Vec<OsString>,
}
