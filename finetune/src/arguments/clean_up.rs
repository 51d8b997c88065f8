//! The command line of `finetune clean-up`.

use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  finetune predict  --model model --input data/Task04_Hippocampus --cases val --out val
  finetune clean-up --model model --predictions val --references data/Task04_Hippocampus --out clean-up.json
  finetune predict  --model model --input scan.nii.gz --out predictions --clean-up clean-up.json
  finetune clean-up --model fold0 fold1 --predictions val0 val1 --references data/Task04_Hippocampus --out clean-up.json
What is tried: only the largest component of the foreground stays, or that of a class. What made validation cases better is taken.";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CleanUpArguments {
    /// What 'finetune train' wrote; the same models as --predictions came from
    #[arg(long, value_name = "DIR|FILE", required = true, num_args = 1..)]
    pub(crate) model: Vec<PathBuf>,
    /// What 'finetune predict' wrote of validation cases: with all models together, or a directory of each model's own, which are pooled
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    pub(crate) predictions: Vec<PathBuf>,
    /// The raw folder that was predicted
    #[arg(long, value_name = "DIR")]
    pub(crate) references: PathBuf,
    /// Where the choice goes
    #[arg(long, value_name = "FILE.json")]
    pub(crate) out: PathBuf,
}
