//! What a run is: everything that decides its result, stored in checkpoints and in the encoder's file.

use crate::arguments::{Arguments, ViewSet};
use crate::mixture::Balance;
use crate::pairs::{Pairs, Source, mirrored};
use crate::parts::PartsPlan;
use crate::selection::SelectionRule;
use crate::shape;
use crate::task::{AlikeReports, VisualHeads};
use crate::text::ReportMatch;
use data_manifests::descriptor::{Intensities, Modality};
use networks::weights::{OTHER_MERGING, WHICH_MERGING};
use networks::{EncoderConfig, HeadNorm, MemoryFormat};
use patches::ShardStore;
use serde::{Deserialize, Serialize};
use stage::{Context, Message};
use std::collections::BTreeMap;
use training::losses::pretrain::PretrainLossOptions;
use training::losses::redundancy::Centering;
use training::optimizer::{OptimizerOptions, Rule};
use training::schedule::LearningRate;
use training::views::ViewOptions;

/// Schema id.
const SCHEMA: &str = "gtgm/pretrain-plan/1";

/// A window is this much larger than the patch in y and x, so that a rescaled view can show more than the patch.
const WINDOW_SHARE: f64 = 1.5;

/// What a data set contributes, for those who use the encoder later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DatasetPlan {
    pub(crate) name: String,
    pub(crate) modality: Modality,
    pub(crate) spacing_zyx_mm: [f64; 3],
    pub(crate) intensity: Intensities,
    /// Axes z, y, x along which its patches are mirrored.
    pub(crate) mirror_axes: [bool; 3],
    /// Digest of the work that made the shards.
    pub(crate) shards: String,
    /// How many cases are trained on.
    pub(crate) trained: usize,
    /// Digest of them as they were preprocessed: the same work may have made others, once a file is mended.
    pub(crate) cases: String,
    /// Cases that are not trained on but asked about.
    pub(crate) held_out: Vec<String>,
    /// Cases published for testing that are trained on.
    pub(crate) test_cases_used: usize,
}

impl DatasetPlan {
    fn of(source: &Source, mirror: [bool; 3]) -> Self {
        let (descriptor, store) = (source.store.descriptor(), &source.store);
        Self {
            name: descriptor.name.clone(),
            modality: descriptor.modality,
            spacing_zyx_mm: descriptor.spacing_zyx_mm(),
            intensity: descriptor.intensity.clone(),
            mirror_axes: mirrored(descriptor, mirror),
            shards: store.manifest().work.clone(),
            trained: source.ids.len(),
            cases: source.digest(),
            held_out: source.held_out.clone(),
            test_cases_used: source.test_cases_used,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The plan of a pretraining run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) schema: String,
    /// The network; images have one channel (of several, one is drawn).
    pub(crate) encoder: EncoderConfig,
    pub(crate) patch_zyx: [usize; 3],
    pub(crate) window_zyx: [usize; 3],
    pub(crate) datasets: Vec<DatasetPlan>,
    /// Digests of the work that made the texts.
    pub(crate) texts: Vec<String>,
    /// Patches a step, of all processes together.
    pub(crate) batch: usize,
    /// Patches that go through the encoder at a time; the losses see all of the batch. Where nothing was said the batch of all processes,
    /// so that their number may change.
    pub(crate) micro_batch: usize,
    /// Of the encoder, where one was asked for and not what is faster on the device; it decides the last digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_format: Option<MemoryFormat>,
    pub(crate) report_match: ReportMatch,
    /// Alignment of parts of patches with reports of their own.
    pub(crate) parts: Option<PartsPlan>,
    pub(crate) selection: SelectionRule,
    /// Damaged cases that were left out, by data set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) skipped: BTreeMap<String, Vec<String>>,
    /// Data sets are drawn in proportion to their cases to this power.
    pub(crate) mix: f64,
    /// Among which they are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) balance: Balance,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) visual_heads: VisualHeads,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) alike_reports: AlikeReports,
    pub(crate) steps: u64,
    pub(crate) seed: u64,
    pub(crate) precision: String,
    pub(crate) views: ViewOptions,
    pub(crate) loss: PretrainLossOptions,
    pub(crate) head_norm: HeadNorm,
    pub(crate) projection_hidden: i64,
    pub(crate) projection_out: i64,
    pub(crate) optimizer: OptimizerOptions,
    pub(crate) lr: LearningRate,
    pub(crate) clip: Option<f64>,
    /// SHA-256 of the weights to start from.
    pub(crate) init: Option<String>,
}

impl Plan {
    /// The plan for these arguments and data; `stored` is the encoder that the weights to start from are of.
    pub(crate) fn new(
        arguments: &Arguments,
        (pairs, selection, skipped): (&Pairs, SelectionRule, BTreeMap<String, Vec<String>>),
        texts: Vec<String>,
        (init, stored): (Option<String>, Option<&EncoderConfig>),
        processes: usize,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let stores: Vec<&ShardStore> = pairs.stores().collect();
        let wanted = arguments.patch_zyx.unwrap_or_else(|| {
            std::array::from_fn(|a| {
                stores.iter().map(|s| s.descriptor().grid.patch_zyx[a]).min().unwrap_or(1)
            })
        });
        let spacings: Vec<[f64; 3]> = stores.iter().map(|s| s.descriptor().spacing_zyx_mm()).collect();
        let of_network = arguments.network_patch_zyx.unwrap_or(wanted);
        let encoder = shape::encoder(arguments, stored, of_network, &spacings)?;
        let of_weights =
            matches!((&encoder, stored), (EncoderConfig::Resenc { .. }, Some(EncoderConfig::Resenc { .. })));
        if let EncoderConfig::SwinUnetr { transformer, .. } = &encoder
            && init.is_some()
            && stored.is_none()
            && arguments.swin_merging.is_none()
        {
            let merging = transformer.merging;
            let text = format!(
                "the file does not say in which order its transformer merges patches: taken for {merging}"
            );
            context.tell(Message::warning("W450", text).cause(OTHER_MERGING).fix(WHICH_MERGING));
        }
        if of_weights {
            shape::tell_origin(&encoder, arguments.size, of_network, &spacings, context);
        }
        // an encoder has no maps to join, so that it can halve what is not divisible: a resenc that was not planned for this patch
        let as_asked = arguments.network_patch_zyx.is_some() || (of_weights && arguments.patch_zyx.is_some());
        let patch_zyx = if as_asked {
            refuse_single_voxel(wanted, encoder.required_divisor_zyx())?;
            wanted
        } else {
            encoder.divisible_patch_zyx(wanted)
        };
        if encoder.ends_in_single_voxels(patch_zyx) {
            context.tell(
                Message::warning("W444", format!("the deepest maps of this {} are single voxels for patches of {patch_zyx:?}", encoder.kind()))
                    .cause("An instance norm over one voxel gives 0: the convolutions of the deepest block learn nothing")
                    .fix(format!(
                        "Give a --patch-zyx above {:?} voxels along some axis, or choose another --encoder",
                        encoder.required_divisor_zyx()
                    )),
            );
        }
        let window_zyx = [patch_zyx[0], widened(patch_zyx[1]), widened(patch_zyx[2])];
        // what one data set permits befalls its patches alone
        let any =
            [0, 1, 2].map(|axis| stores.iter().any(|s| mirrored(s.descriptor(), arguments.mirror)[axis]));
        // in-plane axes may be swapped where they have one size
        let transpose = if patch_zyx[1] == patch_zyx[2] { vec![[1, 2]] } else { Vec::new() };
        let loss = if arguments.legacy {
            PretrainLossOptions::legacy()
        } else {
            PretrainLossOptions {
                vr_space: arguments.vr_space,
                vr_centering: Centering::Standardised,
                ..PretrainLossOptions::default()
            }
        };
        let mut optimizer = OptimizerOptions::new(Rule::adamw(), arguments.weight_decay);
        optimizer.decay_vectors = arguments.decay_vectors;
        Ok(Self {
            schema: SCHEMA.to_owned(),
            encoder,
            patch_zyx,
            window_zyx,
            datasets: pairs
                .sources()
                .iter()
                .map(|source| DatasetPlan::of(source, arguments.mirror))
                .collect(),
            texts,
            batch: usize::from(arguments.batch) * processes,
            micro_batch: arguments.micro_batch.map_or(usize::from(arguments.batch) * processes, usize::from),
            memory_format: arguments.memory_format,
            report_match: arguments.report_match,
            parts: arguments
                .parts
                .map(|count| PartsPlan::new(count, arguments.parts_weight, patch_zyx[0]))
                .transpose()?,
            selection,
            skipped,
            mix: arguments.mix,
            balance: arguments.balance,
            visual_heads: arguments.visual_heads,
            alike_reports: arguments.alike_reports(),
            steps: arguments.steps,
            seed: arguments.compute.seed,
            precision: arguments.compute.precision.clone(),
            views: match arguments.views {
                ViewSet::Published => ViewOptions::published(any, transpose),
                ViewSet::Extended => ViewOptions::extended(any, transpose),
            },
            loss: PretrainLossOptions {
                temperature: arguments.temperature,
                vlp_views: arguments.vlp_views,
                vr_weight: arguments.vr_weight,
                vr_off_diagonal: arguments.vr_off_diagonal,
                ..loss
            },
            head_norm: arguments.head_norm,
            projection_hidden: arguments.projection_hidden,
            projection_out: arguments.projection_out,
            optimizer,
            lr: LearningRate::cosine(arguments.lr, arguments.restart_period).with_warmup(arguments.warm_up),
            clip: (arguments.clip != 0.0).then_some(arguments.clip),
            init,
        })
    }
}

/// Refuses a patch of which the network makes a single voxel: it has no variance to normalise by.
fn refuse_single_voxel(patch: [usize; 3], divisor: [i64; 3]) -> anyhow::Result<()> {
    if (0..3).any(|a| patch[a] > divisor[a].unsigned_abs() as usize) {
        return Ok(());
    }
    let what = format!("the network makes one voxel of {patch:?}, which has no variance");
    Err(Message::error("E324", what).fix("Choose a larger --patch-zyx").into())
}

/// Larger by an even number of voxels, so that the patch lies in the middle.
fn widened(edge: usize) -> usize {
    edge + (edge as f64 * (WINDOW_SHARE - 1.0) / 2.0).ceil() as usize * 2
}
