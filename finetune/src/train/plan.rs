//! Everything that decides a training run.

use super::shape::network;
use crate::arguments::Train;
use crate::model::{self, ModelPlan};
use crate::objective::{Objective, UNKNOWN};
use data_manifests::splits::Split;
use networks::{NetworkConfig, NetworkKind};
use patches::ShardStore;
use serde::Serialize;
use stage::Message;
use training::augment::{AugmentOptions, is_flat};
use training::losses::dice_ce::DiceCeOptions;
use training::optimizer::{OptimizerOptions, Rule};
use training::schedule::LearningRate;

/// Everything that decides a training run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TrainPlan {
    pub(super) model: ModelPlan,
    pub(super) window_zyx: [usize; 3],
    /// Ids of the training cases used.
    pub(super) train: Vec<String>,
    pub(super) val: Vec<String>,
    pub(super) fraction: f64,
    /// SHA-256 of the encoder's file; absent from scratch.
    pub(super) encoder: Option<String>,
    /// Whether the decoder comes from there, too.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) with_decoder: bool,
    /// Digest of the work that made the shards.
    pub(super) shards: String,
    pub(super) steps: u64,
    pub(super) batch: usize,
    pub(super) foreground_share: f64,
    pub(super) seed: u64,
    pub(super) precision: String,
    pub(super) augmentation: AugmentOptions,
    /// Of classes and regions; that of affinities is in the objective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<DiceCeOptions>,
    /// Of classes and regions: weight of the boundary term.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) boundary_weight: f64,
    pub(super) optimizer: OptimizerOptions,
    pub(super) lr: LearningRate,
    pub(super) clip: Option<f64>,
    pub(super) validate_cases: usize,
    /// Steps in which the decoder alone learns.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) encoder_frozen: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) early_stopping: Option<EarlyStopping>,
}

/// When training is complete before its last step.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct EarlyStopping {
    pub(super) validate_every: u64,
    /// Validations in a row without a better smoothed score.
    pub(super) patience: u32,
    /// Share of the old value in it.
    pub(super) score_smoothing: f64,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// The plan for these arguments and data.
pub(super) fn plan(
    arguments: &Train,
    store: &ShardStore,
    (objective, channels): (Objective, usize),
    split: &Split,
    encoder: Option<String>,
    processes: usize,
) -> anyhow::Result<TrainPlan> {
    let descriptor = store.descriptor().clone();
    let network = network(arguments, &descriptor, channels)?;
    let patch_zyx = network.encoder().divisible_patch_zyx(descriptor.grid.patch_zyx);
    let flat = is_flat(patch_zyx.map(|n| n as i64));
    let mut augmentation = arguments.augmentation.options(flat, descriptor.mirrors());
    let classes = objective.is_semantic();
    let ignore_label = descriptor.labels.as_ref().and_then(|labels| labels.ignore).map(i64::from);
    if !classes {
        augmentation.label_outside = UNKNOWN.cast_signed();
    } else if let Some(ignored) = ignore_label {
        augmentation.label_outside = ignored;
    }
    let window_zyx = augmentation.window_zyx(patch_zyx);
    let train = split.fraction(arguments.fraction).map_err(|e| {
        Message::error("E402", e.to_string()).fix("Give --fraction a number above 0 and at most 1")
    })?;
    let batch = usize::from(arguments.batch) * processes;
    let steps = steps(arguments, train.len(), batch);
    if arguments.warm_up >= steps {
        let text = format!("--warm-up {} does not end within {steps} steps", arguments.warm_up);
        return Err(Message::error("E429", text).fix("Give --warm-up fewer steps, or train longer").into());
    }
    let optimizer = optimizer(arguments, &network);
    let model = ModelPlan {
        schema: model::SCHEMA.to_owned(),
        network,
        objective,
        descriptor,
        patch_zyx,
        filled_zyx: filled(store, train, patch_zyx)?,
    };
    augmentation.zeros_kept = model.filling().zeros;
    Ok(TrainPlan {
        optimizer,
        model,
        window_zyx,
        train: train.to_vec(),
        val: split.val.clone(),
        fraction: arguments.fraction,
        encoder,
        with_decoder: arguments.with_decoder,
        shards: store.manifest().work.clone(),
        steps,
        batch,
        foreground_share: if classes { arguments.foreground_share } else { 0.0 },
        seed: arguments.compute.seed,
        precision: arguments.compute.precision.clone(),
        augmentation,
        loss: classes.then(|| DiceCeOptions {
            batch_dice: arguments.batch_dice,
            ignore_label,
            ..DiceCeOptions::default()
        }),
        boundary_weight: if classes { arguments.boundary_weight } else { 0.0 },
        // the fall begins behind the rise and ends with the run
        lr: LearningRate::poly(arguments.lr, steps.saturating_sub(arguments.warm_up).max(1))
            .with_warmup(arguments.warm_up),
        clip: (arguments.clip != 0.0).then_some(arguments.clip),
        validate_cases: usize::from(arguments.validate_cases),
        encoder_frozen: arguments.encoder_frozen,
        early_stopping: early_stopping(arguments, split)?,
    })
}

/// Steps in all; an epoch has as many patches as there are training cases, the last batch being filled up.
fn steps(arguments: &Train, cases: usize, batch: usize) -> u64 {
    let epoch = cases.div_ceil(batch) as u64;
    // one of the two is given
    arguments.steps.or(arguments.epochs.map(|epochs| epochs.saturating_mul(epoch))).unwrap_or(epoch)
}

fn optimizer(arguments: &Train, network: &NetworkConfig) -> OptimizerOptions {
    let rule = if arguments.optimizer == "sgd" { Rule::sgd() } else { Rule::adamw() };
    let mut optimizer = OptimizerOptions::new(rule, arguments.weight_decay);
    optimizer.averaging = (arguments.ema > 0.0).then_some(arguments.ema);
    // beginnings of the names of what pretraining taught
    let names: &[&str] = match network.kind() {
        NetworkKind::Resunet50 | NetworkKind::Attresunet50 | NetworkKind::Resenc => &["encoder"],
        NetworkKind::SwinUnetr => &["swinViT", "encoder10"],
    };
    if (arguments.encoder_lr_factor - 1.0).abs() > f64::EPSILON {
        let factors = names.iter().map(|name| ((*name).to_owned(), arguments.encoder_lr_factor));
        optimizer.lr_factors.extend(factors);
    }
    if (arguments.encoder_lr_decay - 1.0).abs() > f64::EPSILON {
        let mut factor = arguments.encoder_lr_factor;
        for level in network.encoder_levels().into_iter().rev() {
            factor *= arguments.encoder_lr_decay;
            optimizer.lr_factors.insert(level, factor);
        }
    }
    if arguments.encoder_frozen > 0 {
        let rises = names.iter().map(|name| ((*name).to_owned(), arguments.encoder_frozen));
        optimizer.rises.extend(rises);
    }
    optimizer
}

fn early_stopping(arguments: &Train, split: &Split) -> anyhow::Result<Option<EarlyStopping>> {
    let Some(patience) = arguments.patience else { return Ok(None) };
    let validate_every = arguments.validate_every;
    if validate_every == 0 || split.val.is_empty() {
        return Err(Message::error("E426", "--patience counts validations, and there are none")
            .fix("Give --validate-every a number of steps and the split validation cases, or omit --patience")
            .into());
    }
    Ok(Some(EarlyStopping { validate_every, patience, score_smoothing: arguments.score_smoothing }))
}

/// Along which axes a training volume is smaller than the patch.
fn filled(store: &ShardStore, train: &[String], patch_zyx: [usize; 3]) -> anyhow::Result<[bool; 3]> {
    let mut filled = [false; 3];
    for id in train {
        let shape = store.case(id).map_err(|e| e.message(id))?.record().shape_zyx;
        for axis in 0..3 {
            filled[axis] |= shape[axis] < patch_zyx[axis];
        }
    }
    Ok(filled)
}
