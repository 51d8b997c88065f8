//! The command line of `evaluate score`.

use crate::missing::Missing;
use crate::targets::MeanRule;
use clap::Args;
use metrics::Policy;
use std::path::{Path, PathBuf};

/// Arguments of `score`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Predictions are a directory that 'finetune predict' wrote, or any folder of ID.nii.gz, ID.nrrd, ID.mha, …
References are the raw directory of the data set, or any folder of ID.nii.gz, ID.nrrd, ID.mha, …
In such folders ID.h5 (CREMI's layout) and folders ID of cases in shards (Zarr) are label maps too.
In a table, a label map is any of these, or FILE.h5#NAME, or a TIFF stack, relative to the table.

Examples:
  evaluate score --references data/Task04_Hippocampus --predictions runs/predictions --dataset msd04-hippocampus --out runs/scores
  evaluate score --references data/Task04_Hippocampus --predictions val0 val1 val2 --dataset msd04-hippocampus --out scores    three folds"
)]
pub struct ScoreArguments {
    /// Directory of the reference labels
    #[arg(long, value_name = "DIR", required_unless_present = "pairs")]
    references: Option<PathBuf>,
    /// Directory of the predicted label maps; several of 'finetune predict' with different cases, as of the folds of a cross-validation, are
    /// scored as one
    #[arg(long, value_name = "DIR", required_unless_present = "pairs", num_args = 1..)]
    predictions: Vec<PathBuf>,
    /// In place of both: a table with the columns case, reference, prediction and, for overlays, image
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["references", "predictions", "split"])]
    pub pairs: Option<PathBuf>,
    /// Data set: a built-in name or a descriptor file
    #[arg(long, value_name = "NAME|FILE")]
    pub dataset: String,
    /// Output directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// References without a prediction
    #[arg(long, value_enum, default_value = "error")]
    pub missing: Missing,
    /// Tolerance of the normalised surface distance in mm [default: the data set's]
    #[arg(long, value_name = "MM")]
    pub tolerance_mm: Option<f64>,
    /// Metrics by id, such as hd95:edge-max or nsd:surfel@2mm; 'default' and 'all' are lists
    #[arg(long, value_name = "ID", value_delimiter = ',', default_value = "default")]
    pub metrics: Vec<String>,
    /// How the means of classes become one mean [default: scored; nnunet with --policy nnunet]
    #[arg(long, value_enum, value_name = "RULE")]
    pub mean: Option<MeanRule>,
    /// Splits to score, as in predictions.csv (train, val, test, given) [default: all but train]
    #[arg(long, value_name = "SPLIT", value_delimiter = ',')]
    pub split: Vec<String>,
    /// Rule for classes that the reference, the prediction or both lack
    #[arg(long, default_value = "clinical", value_parser = parse_policy)]
    pub policy: Policy,
    /// Cases at the same time [default: cores granted, as far as memory allows]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Memory to stay below, in GiB [default: 80 % of what is available]
    #[arg(long, value_name = "GiB")]
    pub max_ram: Option<f64>,
}

fn parse_policy(name: &str) -> Result<Policy, String> {
    Policy::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
        let names: Vec<_> = Policy::ALL.iter().map(|p| p.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

impl ScoreArguments {
    /// Where references are named from: their directory, or the table's.
    pub(crate) fn references(&self) -> &Path {
        self.references.as_deref().unwrap_or_else(|| self.table())
    }

    /// Likewise for predictions, at least one.
    pub(crate) fn predictions(&self) -> Vec<&Path> {
        if self.pairs.is_some() {
            return vec![self.table()];
        }
        self.predictions.iter().map(PathBuf::as_path).collect()
    }

    /// The directory of predictions that holds a path; the first where none does.
    pub(crate) fn predictions_of(&self, path: &Path) -> &Path {
        let all = self.predictions();
        let found = all.iter().find(|directory| path.starts_with(directory)).or(all.first());
        found.copied().unwrap_or(Path::new(""))
    }

    /// The folder of the table of pairs.
    fn table(&self) -> &Path {
        self.pairs.as_deref().and_then(Path::parent).unwrap_or(Path::new(""))
    }

    /// The rule for the mean over classes.
    pub(crate) fn mean_rule(&self) -> MeanRule {
        let usual = if self.policy == Policy::Nnunet { MeanRule::Nnunet } else { MeanRule::Scored };
        self.mean.unwrap_or(usual)
    }
}
