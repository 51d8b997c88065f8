//! The command line.

use crate::mixture::Balance;
use crate::selection::{LeftOut, SelectionRule, TestCases, WithoutReport};
use crate::task::{AlikeReports, VisualHeads};
use crate::text::ReportMatch;
use networks::{AskedShape, EncoderKind, HeadNorm, MemoryFormat, ResEncSize, SwinConfig, SwinMerging};
use stage::arguments::numbers;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use training::losses::pretrain::{VlpViews, VrSpace};
use training::losses::redundancy::OFF_DIAGONAL_WEIGHT;

const EXAMPLES: &str = "\
Examples:
  pretrain --shards runs/a/shards --text runs/a/text --out runs/encoder --encoder resenc --steps 2000 --lr 3e-4
  pretrain --shards a/shards --text a/text --shards b/shards --text b/text --out enc --encoder resnet50 --steps 200000
  pretrain … --init old/encoder.safetensors      after the text was made again, from the old encoder's weights
  torchrun --no-python --nproc-per-node 2 pretrain … --batch 8     two processes that make the steps of one with 16
Repeat the command after an interruption to continue.";

/// Shards and text embeddings to an encoder
///
/// Learns an image encoder from patches of unlabelled volumes and the embedded reports that overlap them.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "pretrain", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: stage::Common,
    #[command(flatten)]
    pub(crate) compute: stage::Compute,
    /// Shards of a data set; repeat for several
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) shards: Vec<PathBuf>,
    /// Embeddings made from one of the shard directories; repeat for several. Several of one data set are other wordings of its
    /// reports: one is drawn each time. Cases without text serve the visual loss
    #[arg(long, value_name = "DIR")]
    pub(crate) text: Vec<PathBuf>,
    /// Where the encoder goes
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// resnet50 (as published), resenc (nnU-Net's residual encoder) or swin-unetr (SwinUNETR's transformer)
    #[arg(long, default_value = "resnet50")]
    pub(crate) encoder: EncoderKind,
    /// Size of resenc: compact (or s) trains on a CPU, full (or m, l) is nnU-Net's; with --init it has that of the weights [default: compact]
    #[arg(long)]
    pub(crate) size: Option<ResEncSize>,
    /// Channels of the first stage of swin-unetr, a multiple of 12; with --init it has those of the weights, as in the next two [default: 48]
    #[arg(long, value_name = "N")]
    pub(crate) swin_feature_size: Option<i64>,
    /// Blocks of the four stages of swin-unetr (2,4,2,2 as published) [default: 2,2,2,2]
    #[arg(long, value_name = "N,N,N,N", value_parser = SwinConfig::parse_depths)]
    pub(crate) swin_depths: Option<[usize; 4]>,
    /// Voxels joined between stages of swin-unetr: complete (MONAI) or published (of eight, six) [default: complete]
    #[arg(long)]
    pub(crate) swin_merging: Option<SwinMerging>,
    /// Training steps in all
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: u64,
    /// Patches a step; of several processes (torchrun, srun, mpirun) each takes so many
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..))]
    pub(crate) batch: u16,
    /// Patches that go through the encoder at a time [default: --batch]; fewer take less memory and one more forward pass, and
    /// the losses are those of the whole batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) micro_batch: Option<u16>,
    /// Order of feature maps in memory: contiguous or channels-last [default: what is faster for this encoder on this device]
    #[arg(long, value_name = "ORDER", value_parser = parse_format)]
    pub(crate) memory_format: Option<MemoryFormat>,
    /// Which report a patch is shown with
    #[arg(long = "match", value_name = "RULE", value_enum, default_value = "overlap")]
    pub(crate) report_match: ReportMatch,
    /// Also align so many equal parts of each patch along z with the reports of their own slices
    #[arg(long, value_name = "N", requires = "text", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parts: Option<u16>,
    /// Weight of the parts' image-text loss
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, value_parser = numbers::positive, requires = "parts")]
    pub(crate) parts_weight: f64,
    /// What becomes of cases that are published for testing
    #[arg(long, value_name = "RULE", value_enum, default_value = "refuse")]
    pub(crate) test_cases: TestCases,
    /// Split of a data set by which it is fine-tuned later: its validation cases are left out; of a list of folds the one behind #
    #[arg(long, value_name = "DATASET=FILE.json[#FOLD]")]
    pub(crate) leave_out: Vec<LeftOut>,
    /// Share of each data set's subjects that is not trained on but asked about: retrieval of their reports, rank of features
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = numbers::part)]
    pub(crate) holdout: f64,
    /// What becomes of cases without a report
    #[arg(long, value_name = "RULE", value_enum, default_value = "visual-only")]
    pub(crate) without_report: WithoutReport,
    /// Leave out so many damaged cases at most; every byte of every case is read and compared before the first step
    #[arg(long, value_name = "N")]
    pub(crate) skip_bad: Option<u32>,
    /// What is drawn alike: data sets, or modalities and the data sets within each
    #[arg(long, value_name = "WHAT", value_enum, default_value = "datasets")]
    pub(crate) balance: Balance,
    /// How data sets are mixed: each is drawn in proportion to its number of cases to this power, from 0 (all data sets
    /// alike) to 1 (all cases alike); with --balance modalities among those of its modality
    #[arg(long, value_name = "POWER", default_value_t = 0.0, value_parser = numbers::share)]
    pub(crate) mix: f64,
    /// Ask every so many steps
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) validate_every: u64,
    /// Patch in voxels, z,y,x [default: the data set's own; the smallest edges of several]
    #[arg(long, value_name = "Z,Y,X", value_parser = numbers::edges)]
    pub(crate) patch_zyx: Option<[usize; 3]>,
    /// Patch that later networks take, by which resenc's kernels and strides are planned [default: --patch-zyx]. Patches to learn
    /// from may then be thinner: more of them fit into a batch, and their reports say more about each
    #[arg(long, value_name = "Z,Y,X", value_parser = numbers::edges)]
    pub(crate) network_patch_zyx: Option<[usize; 3]>,
    /// What the two views of a patch undergo: published (one of rescaling, flips, grey values, noise and blur), or extended (each
    /// of these with probability 1/2, and for electron microscopy what befalls sections: misaligned, missing, out of focus, elastic,
    /// cut out)
    #[arg(long, value_enum, value_name = "SET", default_value = "published")]
    pub(crate) views: ViewSet,
    /// Axes along which views may be mirrored, of those that their data sets permit: some of z,y,x, or none. A mirrored view does not fit a
    /// report that names a side
    #[arg(long, value_name = "AXES", default_value = "z,y,x", value_parser = parse_axes)]
    pub(crate) mirror: Axes,
    /// Peak learning rate; that of 200,000 steps as published, too low for a few thousand (3e-4)
    #[arg(long, default_value_t = 2e-5)]
    pub(crate) lr: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = 0.05)]
    pub(crate) weight_decay: f64,
    /// Also decay norms' parameters and biases, as published
    #[arg(long)]
    pub(crate) decay_vectors: bool,
    /// Steps between warm restarts of the cosine schedule
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) restart_period: u64,
    /// Steps of linear warm-up
    #[arg(long, default_value_t = 0)]
    pub(crate) warm_up: u64,
    /// Largest gradient norm; 0 for no clipping
    #[arg(long, default_value_t = 1.0)]
    pub(crate) clip: f64,
    /// Temperature of the image-text loss
    #[arg(long, default_value_t = 0.07, value_parser = numbers::positive)]
    pub(crate) temperature: f64,
    /// Views in the image-text loss: both (as released) or second (as in the paper's figure)
    #[arg(long, default_value = "both", value_parser = parse_views)]
    pub(crate) vlp_views: VlpViews,
    /// Vectors in the visual loss: projected (as in the paper's figure) or raw
    #[arg(long, default_value = "projected", value_parser = parse_space)]
    pub(crate) vr_space: VrSpace,
    /// Heads that project the views: one for both (as released) or two (as in the paper's figure)
    #[arg(long, value_enum, value_name = "HEADS", default_value = "one")]
    pub(crate) visual_heads: VisualHeads,
    /// Weight of the off-diagonal entries inside the visual loss
    #[arg(long, default_value_t = OFF_DIAGONAL_WEIGHT, value_parser = numbers::weight)]
    pub(crate) vr_off_diagonal: f64,
    /// Weight of the visual loss
    #[arg(long, default_value_t = 0.01, value_parser = numbers::weight)]
    pub(crate) vr_weight: f64,
    /// What reports of one caption, nearly identical ones (by 'text-synth embed') and equal ones are to each other [default: masked; negatives with --legacy]
    #[arg(long, value_enum, value_name = "RULE")]
    pub(crate) alike_reports: Option<AlikeReports>,
    /// The published arithmetic of the losses: of the visual one on raw vectors, neither centred nor scaled, and of the other with
    /// all reports as negatives
    #[arg(long, conflicts_with = "vr_space")]
    pub(crate) legacy: bool,
    /// Hidden features of the projection heads
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) projection_hidden: i64,
    /// Features in which image and text are compared
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) projection_out: i64,
    /// Norm inside the heads: batch (as published, for batches of 4 and more) or layer
    #[arg(long, default_value = "batch", value_parser = parse_norm)]
    pub(crate) head_norm: HeadNorm,
    /// Encoder to start from, such as an earlier run's encoder.safetensors
    #[arg(long, value_name = "FILE")]
    pub(crate) init: Option<PathBuf>,
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

/// What views undergo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ViewSet {
    /// As the published code does
    Published,
    /// More at a time, and the electron microscope's faults
    Extended,
}

impl Arguments {
    /// What is asked of the encoder's shape.
    pub(crate) fn asked_shape(&self) -> AskedShape {
        AskedShape {
            size: self.size,
            feature_size: self.swin_feature_size,
            depths: self.swin_depths,
            merging: self.swin_merging,
        }
    }

    /// What reports that are alike are to each other.
    pub(crate) fn alike_reports(&self) -> AlikeReports {
        let usual = if self.legacy { AlikeReports::Negatives } else { AlikeReports::Masked };
        self.alike_reports.unwrap_or(usual)
    }

    /// Which cases are trained on.
    ///
    /// # Errors
    /// For a split that cannot be read.
    pub(crate) fn selection(&self) -> anyhow::Result<SelectionRule> {
        let (test_cases, holdout, seed) = (self.test_cases, self.holdout, self.compute.seed);
        let without_report = self.without_report;
        let left_out = BTreeMap::new();
        let mut rule = SelectionRule {
            test_cases,
            holdout,
            seed,
            left_out,
            trained_later: BTreeMap::new(),
            without_report,
        };
        self.leave_out.iter().try_for_each(|left_out| left_out.apply(&mut rule))?;
        Ok(rule)
    }
}

impl stage::run::HasCommon for Arguments {
    fn common(&self) -> &stage::Common {
        &self.common
    }
}

/// Which of z, y, x.
pub(crate) type Axes = [bool; 3];

fn parse_axes(text: &str) -> Result<Axes, String> {
    let mut axes = [false; 3];
    if text == "none" {
        return Ok(axes);
    }
    for name in text.split(',') {
        let at = ["z", "y", "x"].iter().position(|axis| *axis == name.trim());
        axes[at.ok_or_else(|| format!("'{name}' is none of z, y, x"))?] = true;
    }
    Ok(axes)
}

fn parse_format(text: &str) -> Result<MemoryFormat, String> {
    match text {
        "contiguous" => Ok(MemoryFormat::Contiguous),
        "channels-last" => Ok(MemoryFormat::ChannelsLast),
        _ => Err("expected contiguous or channels-last".to_owned()),
    }
}

fn parse_views(text: &str) -> Result<VlpViews, String> {
    match text {
        "both" => Ok(VlpViews::Both),
        "second" => Ok(VlpViews::Second),
        _ => Err("expected both or second".to_owned()),
    }
}

fn parse_space(text: &str) -> Result<VrSpace, String> {
    match text {
        "projected" => Ok(VrSpace::Projected),
        "raw" => Ok(VrSpace::Raw),
        _ => Err("expected projected or raw".to_owned()),
    }
}

fn parse_norm(text: &str) -> Result<HeadNorm, String> {
    match text {
        "batch" => Ok(HeadNorm::Batch),
        "layer" => Ok(HeadNorm::Layer),
        _ => Err("expected batch or layer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_names() {
        assert_eq!(parse_axes("x,z"), Ok([true, false, true]));
        assert_eq!(parse_axes("none"), Ok([false; 3]));
        assert!(parse_axes("").is_err() && parse_axes("x,w").unwrap_err().contains("'w'"));
    }
}
