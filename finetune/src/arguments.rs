//! The command line.

mod clean_up;
mod instances;
mod sweep;
mod threshold;
mod train;

pub(crate) use clean_up::CleanUpArguments;
pub(crate) use instances::{Details, Instances, MethodName, Pieces, StackFormat};
pub(crate) use sweep::Sweep;
pub(crate) use threshold::{Criterion, Threshold};
pub(crate) use train::Train;

use crate::predict::{Format, ProbabilityKind};
use stage::arguments::numbers;
use std::path::PathBuf;

const PREDICT_EXAMPLES: &str = "\
Examples:
  finetune predict --model model --input data/Task04_Hippocampus --out predictions      validation and test cases
  finetune predict --model model --input scan.nii.gz --out predictions
  finetune predict --model fold0 fold1 fold2 --input scan.nii.gz --out predictions         the mean of three folds
  finetune predict --model model --input scan.nii.gz --out predictions --probabilities  and scan.probabilities.nii.gz";

/// Encoder and labelled shards to a model and label maps
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "finetune", version)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: stage::Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl stage::run::HasCommon for Arguments {
    fn common(&self) -> &stage::Common {
        &self.common
    }
}

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Train a segmentation network on labelled shards
    #[command(after_help = train::EXAMPLES)]
    Train(Box<Train>),
    /// Predict label maps on the images' own grids; of a model of objects, their affinities
    #[command(after_help = PREDICT_EXAMPLES)]
    Predict(Box<Predict>),
    /// Train, predict and score label fractions × seeds, from scratch and from an encoder, into one table
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(Box<Sweep>),
    /// Choose on validation cases whether only largest components of label maps stay
    #[command(after_help = clean_up::EXAMPLES)]
    CleanUp(CleanUpArguments),
    /// Print what a model is, and how it was trained
    Info(Info),
    /// Make objects, such as neurons, of predicted affinities
    #[command(after_help = instances::EXAMPLES)]
    Instances(Box<Instances>),
    /// Choose on labelled volumes by which method and threshold affinities become objects
    #[command(after_help = threshold::EXAMPLES)]
    Threshold(Box<Threshold>),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Predict {
    #[command(flatten)]
    pub(crate) compute: stage::Compute,
    /// What 'finetune train' wrote, or its model.safetensors or a checkpoint alone; of several, as of all folds, the mean of their scores
    #[arg(long, value_name = "DIR|FILE", required = true, num_args = 1..)]
    pub(crate) model: Vec<PathBuf>,
    /// The raw folder of the model's data set, or images and folders of them; channels in files of their own are ID_0000, ID_0001, …
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// Where the label maps go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Remove what an earlier command wrote here of cases that are not among these; without it the command is refused
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Which cases of a raw folder
    #[arg(long, default_value = "val,test", value_delimiter = ',', value_parser = ["train", "val", "test"])]
    pub(crate) cases: Vec<String>,
    /// Share of a window that overlaps the next
    #[arg(long, default_value_t = 0.5, value_parser = numbers::part)]
    pub(crate) overlap: f64,
    /// Average over mirror images along the data set's mirror axes
    #[arg(long)]
    pub(crate) mirror: bool,
    /// A choice of 'finetune clean-up' for these models
    #[arg(long, value_name = "FILE.json")]
    pub(crate) clean_up: Option<PathBuf>,
    /// Format of label maps; affinities are HDF5 unless this is zarr
    #[arg(long, value_enum, default_value_t = Format::Nifti)]
    pub(crate) format: Format,
    /// Write the probability of every class or region, too, on the image's own grid: ID.probabilities.nii.gz, .h5 or .zarr
    #[arg(long)]
    pub(crate) probabilities: bool,
    /// Numbers of probabilities and affinities; float32 where nothing is said
    #[arg(long, value_enum, visible_alias = "affinity-kind")]
    pub(crate) probability_kind: Option<ProbabilityKind>,
    /// Windows at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window_batch: u16,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Info {
    /// What 'finetune train' wrote, or its model.safetensors alone
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}
