//! The command line.

use crate::objective::OffsetSet;
use networks::{NetworkKind, ResEncSize, SwinConfig, SwinMerging};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use training::augment::AugmentSet;
use training::losses::affinity::AffinityLoss;

const TRAIN_EXAMPLES: &str = "\
Examples:
  finetune train --shards shards --out model --network resenc --encoder-weights encoder.safetensors --steps 1000
  finetune train --shards shards --out model-10 --network resenc --from-scratch --fraction 0.1 --seed 3 --steps 1000
Repeat the command after an interruption to continue.";

const PREDICT_EXAMPLES: &str = "\
Examples:
  finetune predict --model model --input data/Task04_Hippocampus --out predictions      validation and test cases
  finetune predict --model model --input scan.nii.gz --out predictions
  finetune predict --model fold0 fold1 fold2 --input scan.nii.gz --out predictions         the mean of three folds";

const SWEEP_EXAMPLES: &str = "\
Examples:
  finetune sweep --shards shards --raw data/Task04_Hippocampus --encoder-weights encoder.safetensors --out sweep \\
    --fractions 0.01,0.1,1 --seeds 0,1,2 -- --network resenc --steps 1000 --augmentation strong
Options after -- are those of 'finetune train'. Repeat the command after an interruption to continue; other options for what is trained
already are refused. 'evaluate report --runs sweep/runs/*/scores' draws the curves.";

const INSTANCES_EXAMPLES: &str = "\
Examples:
  finetune instances --predictions affinities --out neurons
  finetune instances --predictions affinities --out neurons-mutex --method mutex-watershed --block 32,512,512 --halo 8,64,64
Label maps lie in HDF5 at /volumes/labels/neuron_ids: score them with 'evaluate instances'.";

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
    #[command(after_help = TRAIN_EXAMPLES)]
    Train(Box<Train>),
    /// Predict label maps on the images' own grids; of a model of objects, their affinities
    #[command(after_help = PREDICT_EXAMPLES)]
    Predict(Box<Predict>),
    /// Train, predict and score label fractions × seeds, from scratch and from an encoder, into one table
    #[command(after_help = SWEEP_EXAMPLES)]
    Sweep(Box<Sweep>),
    /// Print what a model is, and how it was trained
    Info(Info),
    /// Make objects, such as neurons, of predicted affinities
    #[command(after_help = INSTANCES_EXAMPLES)]
    Instances(Box<Instances>),
}

#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("start").required(true).args(["encoder_weights", "from_scratch"]))]
#[command(group = clap::ArgGroup::new("source_of_folds").args(["split", "folds"]))]
pub(crate) struct Train {
    #[command(flatten)]
    pub(crate) compute: stage::Compute,
    /// Labelled shards
    #[arg(long, value_name = "DIR")]
    pub(crate) shards: PathBuf,
    /// Where the model goes
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// resunet50 (as published), resenc (nnU-Net's residual-encoder U-Net) or swin-unetr (MONAI's SwinUNETR)
    #[arg(long, default_value = "resunet50")]
    pub(crate) network: NetworkKind,
    /// Size of a resenc network that takes no encoder's shape
    #[arg(long, default_value = "compact")]
    pub(crate) size: ResEncSize,
    /// Channels of the first stage of a swin-unetr that takes no encoder's shape, a multiple of 12
    #[arg(long, value_name = "N", default_value_t = 48)]
    pub(crate) swin_feature_size: i64,
    /// Blocks of the four stages of such a swin-unetr (2,4,2,2 as published)
    #[arg(long, value_name = "N,N,N,N", default_value = "2,2,2,2", value_parser = SwinConfig::parse_depths)]
    pub(crate) swin_depths: [usize; 4],
    /// Voxels joined between stages of such a swin-unetr: complete (MONAI) or published (of eight, six)
    #[arg(long, default_value = "complete")]
    pub(crate) swin_merging: SwinMerging,
    /// Encoder to start from: encoder.safetensors of 'pretrain'
    #[arg(long, value_name = "FILE")]
    pub(crate) encoder_weights: Option<PathBuf>,
    /// Smallest share of the network's encoder that the file must fill
    #[arg(long, default_value_t = 0.9, value_parser = parse_share)]
    pub(crate) minimum_match: f64,
    /// Start from random weights
    #[arg(long)]
    pub(crate) from_scratch: bool,
    /// Share of the training labels, above 0 and at most 1; smaller shares are subsets of larger ones
    #[arg(long, default_value_t = 1.0)]
    pub(crate) fraction: f64,
    /// Share of the labelled cases kept for validation, where the descriptor's parts have no roles
    #[arg(long, default_value_t = 0.2)]
    pub(crate) val_share: f64,
    /// A stored split instead (see 'data-manifests split'), or with --fold nnU-Net's splits_final.json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["val_share", "folds"])]
    pub(crate) split: Option<PathBuf>,
    /// Cross-validation in so many folds instead, of which --fold is trained
    #[arg(long, value_name = "N", conflicts_with = "val_share", requires = "fold")]
    pub(crate) folds: Option<usize>,
    /// The fold that validates, from 0
    #[arg(long, value_name = "K", requires = "source_of_folds")]
    pub(crate) fold: Option<usize>,
    /// Seed of the split, and of the order in which label fractions take cases [default: --seed]
    #[arg(long, value_name = "SEED")]
    pub(crate) split_seed: Option<u64>,
    /// Training steps in all
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: u64,
    /// Patches a step
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,
    /// Share of the patches that are placed on a voxel of a class; objects are everywhere, and their patches too
    #[arg(long, default_value_t = 0.33, value_parser = parse_share)]
    pub(crate) foreground_share: f64,
    /// Of labels that are objects: the affinities that are learnt
    #[arg(long, default_value = "long-range")]
    pub(crate) affinities: OffsetSet,
    /// Of labels that are objects: voxels by which their borders are widened within sections before affinities are taken
    #[arg(long, value_name = "VOXELS", default_value_t = 1)]
    pub(crate) widen_borders: u16,
    /// Of labels that are objects: what compares affinities, bce (cross-entropy) or mse (squared difference, as published)
    #[arg(long, default_value = "bce", value_parser = parse_affinity_loss)]
    pub(crate) affinity_loss: AffinityLoss,
    /// What patches undergo: nnunet (its defaults), or strong (more of it, stretched and bent; for few labels)
    #[arg(long, default_value = "nnunet", value_parser = parse_augmentation)]
    pub(crate) augmentation: AugmentSet,
    /// Decay of a moving average of the weights, which is what is validated and handed on; 0 for none
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, value_parser = parse_share)]
    pub(crate) ema: f64,
    /// Peak learning rate; it falls polynomially (0.9) to 0
    #[arg(long, default_value_t = 1e-3)]
    pub(crate) lr: f64,
    /// Factor on the learning rate of the encoder
    #[arg(long, default_value_t = 1.0)]
    pub(crate) encoder_lr_factor: f64,
    /// Optimiser
    #[arg(long, default_value = "adamw", value_parser = ["adamw", "sgd"])]
    pub(crate) optimizer: String,
    /// Weight decay
    #[arg(long, default_value_t = 1e-5)]
    pub(crate) weight_decay: f64,
    /// Steps of linear warm-up
    #[arg(long, default_value_t = 0)]
    pub(crate) warm_up: u64,
    /// Largest gradient norm; 0 for no clipping
    #[arg(long, default_value_t = 12.0)]
    pub(crate) clip: f64,
    /// A validation (sliding window, pooled Dice) every so many steps; 0 for none
    #[arg(long, default_value_t = 500)]
    pub(crate) validate_every: u64,
    /// Validation cases used while training (the first of the split); all are predicted afterwards
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) validate_cases: u16,
    /// A record line every so many steps
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) log_every: u64,
    /// A checkpoint every so many steps
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) checkpoint_every: u64,
    /// There must be a run to continue
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) resume: bool,
    /// Discard a run with other options in --out instead of refusing
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Stop and save after this many minutes; repeat the command to continue
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true, value_parser = parse_minutes)]
    pub(crate) wall_minutes: Option<Duration>,
    /// Stop and save as soon as this file exists
    #[arg(long, value_name = "FILE")]
    pub(crate) stop_file: Option<PathBuf>,
    /// Threads that read patches
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: u16,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Predict {
    #[command(flatten)]
    pub(crate) compute: stage::Compute,
    /// What 'finetune train' wrote; of several, as of all folds, the mean of their scores
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    pub(crate) model: Vec<PathBuf>,
    /// Images, or the raw folder of the model's data set
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// Where the label maps go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Which cases of a raw folder
    #[arg(long, default_value = "val,test", value_delimiter = ',', value_parser = ["train", "val", "test"])]
    pub(crate) cases: Vec<String>,
    /// Share of a window that overlaps the next
    #[arg(long, default_value_t = 0.5)]
    pub(crate) overlap: f64,
    /// Average over mirror images along the data set's mirror axes
    #[arg(long)]
    pub(crate) mirror: bool,
    /// Windows at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window_batch: u16,
}

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
    #[arg(long, value_name = "F,F,…", value_delimiter = ',', required = true, value_parser = parse_share)]
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

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Info {
    /// What 'finetune train' wrote, or its model.safetensors alone
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Makes objects of affinities.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Instances {
    /// What 'finetune predict' wrote with a model of objects
    #[arg(long, value_name = "DIR")]
    pub(crate) predictions: PathBuf,
    /// Where the label maps go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How voxels become objects
    #[arg(long, default_value = "mean")]
    pub(crate) method: MethodName,
    /// Where objects end [default: 0.5]: boundary probability (components) or one minus the affinity (mean, quantile) from which on
    /// they stay apart; multicut: the probability at which a border costs nothing
    #[arg(long, value_name = "P", value_parser = parse_share)]
    pub(crate) threshold: Option<f64>,
    /// Of borders of affinities, the percentile that scores them (quantile)
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub(crate) quantile: u8,
    /// Of repulsive affinities, those at every so many voxels along z, y, x (mutex-watershed)
    #[arg(long, value_name = "Z,Y,X", default_value = "1,4,4", value_parser = parse_triple)]
    pub(crate) strides: [usize; 3],
    /// Objects of fewer voxels become background
    #[arg(long, value_name = "VOXELS", default_value_t = 0)]
    pub(crate) smallest: u64,
    /// Voxels of a block along z, y, x, as many as fit into memory at 100 bytes each and those of its affinities
    #[arg(long, value_name = "Z,Y,X", default_value = "32,1024,1024", value_parser = parse_triple)]
    pub(crate) block: [usize; 3],
    /// Voxels that a block sees of its neighbours
    #[arg(long, value_name = "Z,Y,X", default_value = "4,64,64", value_parser = parse_triple)]
    pub(crate) halo: [usize; 3],
}

/// How voxels become objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MethodName {
    /// Connected components of what is no boundary: the plain baseline
    Components,
    /// Watershed fragments, joined in the order of their borders' mean affinities (waterz; published for inference)
    Mean,
    /// The same by a quantile of the affinities, the median unless told (published in training)
    Quantile,
    /// The mutex watershed, from long-range affinities
    MutexWatershed,
    /// Watershed fragments, joined by a multicut
    Multicut,
}

fn parse_affinity_loss(text: &str) -> Result<AffinityLoss, String> {
    match text {
        "bce" => Ok(AffinityLoss::Bce),
        "mse" => Ok(AffinityLoss::Mse),
        _ => Err("expected bce or mse".to_owned()),
    }
}

fn parse_augmentation(text: &str) -> Result<AugmentSet, String> {
    match text {
        "nnunet" => Ok(AugmentSet::Nnunet),
        "strong" => Ok(AugmentSet::Strong),
        _ => Err("expected nnunet or strong".to_owned()),
    }
}

fn parse_triple(text: &str) -> Result<[usize; 3], String> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
    let triple = numbers.and_then(|numbers| <[usize; 3]>::try_from(numbers).ok());
    triple.ok_or_else(|| "expected three whole numbers, z,y,x".to_owned())
}

fn parse_minutes(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map(|minutes| minutes * 60.0);
    let limit = seconds.ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    limit.ok_or_else(|| "expected 0 or more minutes".to_owned())
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused() {
        assert_eq!((parse_share("0.33"), parse_minutes("2")), (Ok(0.33), Ok(Duration::from_secs(120))));
        assert!(["1.1", "-0.1", "NaN", "half"].iter().all(|bad| parse_share(bad).is_err()));
        assert!(["-1", "inf", "soon"].iter().all(|bad| parse_minutes(bad).is_err()));
    }
}
