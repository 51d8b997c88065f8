//! The command line of `finetune train`.

use crate::objective::{OffsetSet, SemanticTargets};
use label_maps::targets::Balance;
use networks::{AskedShape, DecoderNorm, NetworkKind, ResEncSize, SwinConfig, SwinMerging};
use stage::arguments::numbers;
use std::path::PathBuf;
use std::time::Duration;
use training::augment::AugmentSet;
use training::losses::affinity::AffinityLoss;

pub(super) const EXAMPLES: &str = "\
Examples:
  finetune train --shards shards --out model --network resenc --encoder-weights encoder.safetensors --steps 1000
  finetune train --shards shards --out model-10 --network resenc --from-scratch --fraction 0.1 --seed 3 --steps 1000
Repeat the command after an interruption to continue.";

#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("start").required(true).args(["encoder_weights", "from_scratch"]))]
#[command(group = clap::ArgGroup::new("length").required(true).args(["steps", "epochs"]))]
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
    /// resunet50 (as published), attresunet50 (with attention on its skips), resenc (nnU-Net's residual-encoder U-Net) or swin-unetr (MONAI's SwinUNETR)
    #[arg(long, default_value = "resunet50")]
    pub(crate) network: NetworkKind,
    /// Size of a resenc network: compact or full; with an encoder it has the encoder's [default: compact]
    #[arg(long)]
    pub(crate) size: Option<ResEncSize>,
    /// Channels of the first stage of a swin-unetr, a multiple of 12; with an encoder it has the encoder's, as in the next two [default: 48]
    #[arg(long, value_name = "N")]
    pub(crate) swin_feature_size: Option<i64>,
    /// Blocks of the four stages of a swin-unetr (2,4,2,2 as published) [default: 2,2,2,2]
    #[arg(long, value_name = "N,N,N,N", value_parser = SwinConfig::parse_depths)]
    pub(crate) swin_depths: Option<[usize; 4]>,
    /// Voxels joined between stages of a swin-unetr: complete (MONAI) or published (of eight, six) [default: complete]
    #[arg(long)]
    pub(crate) swin_merging: Option<SwinMerging>,
    /// Norms in the decoder of a resunet50 or attresunet50 (no effect on others): none (as published) or instance
    #[arg(long, default_value = "none")]
    pub(crate) decoder_norm: DecoderNorm,
    /// Encoder to start from: encoder.safetensors of 'pretrain', or a model of 'finetune train'
    #[arg(long, value_name = "FILE")]
    pub(crate) encoder_weights: Option<PathBuf>,
    /// Smallest share of the network's encoder that the file must fill
    #[arg(long, default_value_t = 0.9, value_parser = numbers::share)]
    pub(crate) minimum_match: f64,
    /// Take the decoder of that file too, where it is a model or a checkpoint of 'finetune train': all but what other classes ask for
    #[arg(long, requires = "encoder_weights")]
    pub(crate) with_decoder: bool,
    /// Start from random weights
    #[arg(long)]
    pub(crate) from_scratch: bool,
    /// Share of the training labels, above 0 and at most 1; smaller shares are subsets of larger ones
    #[arg(long, default_value_t = 1.0, value_parser = numbers::some)]
    pub(crate) fraction: f64,
    /// Share of the labelled cases kept for validation, where the descriptor's parts have no roles; 0 trains on all
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
    /// Seed of the split, and of the order in which label fractions take cases [default: --seed]; a stored split has an order
    #[arg(long, value_name = "SEED")]
    pub(crate) split_seed: Option<u64>,
    /// Training steps in all
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    /// Epochs instead of --steps: in each, as many patches as there are training cases
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) epochs: Option<u64>,
    /// Patches a step; of several processes (torchrun, srun, mpirun) each takes so many
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,
    /// Share of the patches that are placed on a voxel of a class; objects are everywhere, and their patches too
    #[arg(long, default_value_t = 0.33, value_parser = numbers::share)]
    pub(crate) foreground_share: f64,
    /// Of labels that are classes: what is learnt [default: regions where the descriptor declares some]
    #[arg(long)]
    pub(crate) targets: Option<SemanticTargets>,
    /// Of labels that are classes: weight of the boundary term, which grows with how far from the true surface a wrong voxel lies
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    pub(crate) boundary_weight: f64,
    /// Of labels that are classes: take each class's Dice over the whole batch instead of sample by sample
    #[arg(long)]
    pub(crate) batch_dice: bool,
    /// Of labels that are objects: the affinities that are learnt [default: long-range]
    #[arg(long)]
    pub(crate) affinities: Option<OffsetSet>,
    /// Of labels that are objects: voxels by which their borders are widened within sections before affinities are taken [default: 1]
    #[arg(long, value_name = "VOXELS")]
    pub(crate) widen_borders: Option<u16>,
    /// Of labels that are objects: what compares affinities, bce (cross-entropy) or mse (squared difference, as published) [default: bce]
    #[arg(long, value_parser = parse_affinity_loss)]
    pub(crate) affinity_loss: Option<AffinityLoss>,
    /// Of labels that are objects: over which channels pairs that are apart and pairs that are not get the same say, jointly (as published)
    /// or per-channel [default: jointly]
    #[arg(long, value_parser = parse_balance)]
    pub(crate) affinity_balance: Option<Balance>,
    /// What patches undergo: nnunet (its defaults), or strong (more of it, stretched and bent; for few labels)
    #[arg(long, default_value = "nnunet", value_parser = parse_augmentation)]
    pub(crate) augmentation: AugmentSet,
    /// Decay of a moving average of the weights, which is what is validated and handed on; 0 for none
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, value_parser = numbers::part)]
    pub(crate) ema: f64,
    /// Peak learning rate; it falls polynomially (0.9) to 0
    #[arg(long, default_value_t = 1e-3)]
    pub(crate) lr: f64,
    /// Factor on the learning rate of the encoder
    #[arg(long, default_value_t = 1.0, value_parser = numbers::weight)]
    pub(crate) encoder_lr_factor: f64,
    /// Factor on the learning rate from each level of the encoder to the next shallower one, the deepest having
    /// --encoder-lr-factor times this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = numbers::share)]
    pub(crate) encoder_lr_decay: f64,
    /// Steps in which the decoder alone learns; the encoder's rate then rises linearly over as many
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    pub(crate) encoder_frozen: u64,
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
    /// Share of the old value in the smoothed score by which the best checkpoint is chosen (0.9 as nnU-Net); 0 takes each score as it is
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = numbers::part)]
    pub(crate) score_smoothing: f64,
    /// Training is complete after so many validations in a row without a better smoothed score, and the best one's weights are handed on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) patience: Option<u32>,
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
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true, value_parser = numbers::minutes)]
    pub(crate) wall_minutes: Option<Duration>,
    /// Stop and save as soon as this file exists
    #[arg(long, value_name = "FILE")]
    pub(crate) stop_file: Option<PathBuf>,
    /// Threads that read patches
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: u16,
}

impl Train {
    /// What is asked of the network's shape.
    pub(crate) fn asked_shape(&self) -> AskedShape {
        AskedShape {
            size: self.size,
            feature_size: self.swin_feature_size,
            depths: self.swin_depths,
            merging: self.swin_merging,
        }
    }
}

fn parse_balance(text: &str) -> Result<Balance, String> {
    match text {
        "jointly" => Ok(Balance::Jointly),
        "per-channel" => Ok(Balance::PerChannel),
        _ => Err("expected jointly or per-channel".to_owned()),
    }
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
