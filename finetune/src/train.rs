//! `finetune train`.

use crate::arguments::Train;
use crate::model::{self, ModelPlan};
use crate::sampling::Patches;
use crate::task::Segmentation;
use data_manifests::descriptor::LabelKind;
use data_manifests::splits::{Member, Split};
use data_manifests::{Artefact, CaseSplit, Descriptor, Manifest, digest};
use networks::weights::{self, LoadOptions};
use networks::{EncoderConfig, NetworkConfig, NetworkKind, ResEncConfig, SegmentationNetwork};
use patches::ShardStore;
use serde::Serialize;
use stage::lock::OutputLock;
use stage::{Context, ExitStatus, Message, atomic, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tch::nn;
use torch_runtime::{Precision, parse_device};
use training::augment::{AugmentOptions, is_flat};
use training::losses::dice_ce::DiceCeOptions;
use training::optimizer::{Optimizer, OptimizerOptions, Rule, named_variables};
use training::prefetch::Prefetch;
use training::run::{Opening, Reporter, RunOptions, Session};
use training::schedule::LearningRate;

/// A window is this much larger than the patch, so that rotated corners show image instead of padding.
const WINDOW_SHARE: f64 = 1.2;

/// Everything that decides a training run.
#[derive(Debug, Clone, Serialize)]
struct TrainPlan {
    model: ModelPlan,
    window_zyx: [usize; 3],
    /// Ids of the training cases used.
    train: Vec<String>,
    val: Vec<String>,
    fraction: f64,
    /// SHA-256 of the encoder's file; absent from scratch.
    encoder: Option<String>,
    /// Digest of the work that made the shards.
    shards: String,
    steps: u64,
    batch: usize,
    foreground_share: f64,
    seed: u64,
    precision: String,
    augmentation: AugmentOptions,
    loss: DiceCeOptions,
    optimizer: OptimizerOptions,
    lr: LearningRate,
    clip: Option<f64>,
    validate_cases: usize,
}

/// Runs the command.
pub(crate) fn run(arguments: &Train, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    context.report_to(out);
    let device = parse_device(&arguments.compute.device)?;
    let precision: Precision = arguments.compute.precision.parse()?;
    torch_runtime::set_num_threads(limits::cores())?;
    torch_runtime::set_deterministic(true, true)?;
    let _lock = OutputLock::acquire(out, context.program())?;
    atomic::sweep(out)?;

    let store = ShardStore::open(&arguments.shards)?;
    let descriptor = store.descriptor().clone();
    let classes = class_names(&descriptor)?;
    let split = split(arguments, &store)?;
    let mut inputs = vec![Manifest::as_input("shards", store.directory(), out)?];
    if let Some(file) = &arguments.encoder_weights {
        inputs.push(Artefact::of_file("encoder", file, out)?);
    }
    let plan = plan(arguments, &store, descriptor, classes.len(), &split, inputs.get(1).map(|e| e.sha256.clone()))?;
    let mut manifest = Manifest::new("train", env!("CARGO_PKG_VERSION"), context.program(), &plan, inputs)?;
    if manifest.reusable(out)?.is_some() {
        context.say(&format!("Nothing to do: {} holds this model already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    Manifest::withdraw(out)?;
    context.say(&format!(
        "{} training cases ({} of the labels), {} validation cases",
        plan.train.len(),
        plan.fraction,
        plan.val.len()
    ));

    let variables_store = nn::VarStore::new(device);
    let network = SegmentationNetwork::new(&variables_store.root(), &plan.model.network, plan.seed)?;
    let load_report = match &arguments.encoder_weights {
        Some(file) => Some(load_encoder(&variables_store, file, arguments.minimum_match, context)?),
        None => None,
    };
    let variables = named_variables(&[("", &variables_store)]).map_err(|e| e.message())?;
    let mut optimizer = Optimizer::new(plan.optimizer.clone(), &variables).map_err(|e| e.message())?;
    let opening = Opening { resume: arguments.resume, overwrite: arguments.overwrite };
    let plan_json = serde_json::to_value(&plan)?;
    let session = Session::open(out, plan_json.clone(), plan.seed, variables, &mut optimizer, opening)
        .map_err(|e| e.message())?;

    let mut task = Segmentation {
        network,
        device,
        precision,
        channels: plan.model.network.in_channels(),
        patch_zyx: plan.model.patch_zyx.map(|n| n as i64),
        window_zyx: plan.window_zyx.map(|n| n as i64),
        seed: plan.seed,
        augmentation: plan.augmentation.clone(),
        loss: plan.loss,
        classes,
        validation: (store, plan.val.iter().take(plan.validate_cases).cloned().collect()),
    };
    let outcome = train(arguments, &plan, session, &mut task, &mut optimizer, context)?;
    context.count("steps", outcome.state.step);
    context.count("skipped_steps", outcome.state.skipped);
    if let Some(message) = outcome.message() {
        context.tell(message);
        return Ok(outcome.status());
    }

    let metadata = BTreeMap::from([
        ("plan".to_owned(), digest::canonical(&serde_json::to_value(&plan.model)?)),
        ("stage".to_owned(), "train".to_owned()),
    ]);
    weights::save(&variables_store, &out.join(model::FILE_NAME), &metadata)?;
    write_json(&out.join("plan.json"), &plan_json)?;
    write_json(&out.join("split.json"), &split)?;
    if let Some(report) = &load_report {
        write_json(&out.join("load_report.json"), report)?;
    }
    manifest.datasets = vec![plan.model.descriptor.name.clone()];
    manifest.licence = plan.model.descriptor.licence.clone();
    for (name, value) in [
        ("steps", outcome.state.step),
        ("skipped_steps", outcome.state.skipped),
        ("train_cases", plan.train.len() as u64),
        ("val_cases", plan.val.len() as u64),
    ] {
        manifest.counts.insert(name.to_owned(), value);
    }
    manifest.finish(out, |path| match path {
        model::FILE_NAME => "model",
        "plan.json" => "plan",
        "split.json" => "split",
        "load_report.json" => "load-report",
        "metrics.jsonl" | "timing.jsonl" => "record",
        _ => "checkpoint",
    })?;
    context.say(&format!("Model: {}", out.join(model::FILE_NAME).display()));
    Ok(ExitStatus::Done)
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(atomic::write(path, &bytes)?)
}

fn class_names(descriptor: &Descriptor) -> anyhow::Result<Vec<String>> {
    match &descriptor.labels {
        Some(labels) if labels.kind == LabelKind::Semantic => Ok(labels.classes.clone()),
        Some(_) => Err(Message::error("E411", format!("data set '{}' has instance labels", descriptor.name))
            .detail("This command trains on semantic classes")
            .fix("Use a data set with labels.kind = \"semantic\"")
            .into()),
        None => Err(Message::error("E411", format!("data set '{}' has no labels", descriptor.name))
            .fix("Describe them in the descriptor's [labels] and run preprocess again")
            .into()),
    }
}

/// The stored split, or a new one of the labelled cases.
fn split(arguments: &Train, store: &ShardStore) -> anyhow::Result<Split> {
    let members: Vec<Member> = store
        .rows()
        .iter()
        .filter(|row| row.split == CaseSplit::Train && row.is_labelled())
        .map(|row| Member { id: row.id.clone(), subject: row.subject.clone() })
        .collect();
    let Some(file) = &arguments.split else {
        return Split::new(&members, arguments.val_share, arguments.compute.seed).map_err(|e| {
            Message::error("E402", e.to_string()).fix("Add labelled cases, or give --split a file").into()
        });
    };
    let wrong = |detail: String| {
        Message::error("E412", "the split cannot be used")
            .detail(format!("{}: {detail}", file.display()))
            .fix("Make one with 'data-manifests split'")
    };
    let split: Split =
        serde_json::from_slice(&fs_err::read(file)?).map_err(|e| wrong(e.to_string()))?;
    let known: BTreeSet<&str> = members.iter().map(|m| m.id.as_str()).collect();
    let unknown: Vec<&String> =
        split.train.iter().chain(&split.val).filter(|id| !known.contains(id.as_str())).collect();
    if !unknown.is_empty() {
        return Err(wrong(format!("{} ids are no labelled case of the shards, first {}", unknown.len(), unknown[0])).into());
    }
    let train: BTreeSet<&String> = split.train.iter().collect();
    if let Some(both) = split.val.iter().find(|id| train.contains(id)) {
        return Err(wrong(format!("case {both} is in both parts")).into());
    }
    if split.train.is_empty() {
        return Err(wrong("no training case".to_owned()).into());
    }
    Ok(split)
}

fn plan(
    arguments: &Train,
    store: &ShardStore,
    descriptor: Descriptor,
    classes: usize,
    split: &Split,
    encoder: Option<String>,
) -> anyhow::Result<TrainPlan> {
    let network = network(arguments, &descriptor, classes)?;
    let divisor = network.required_divisor_zyx();
    let patch_zyx: [usize; 3] = std::array::from_fn(|a| {
        descriptor.grid.patch_zyx[a].next_multiple_of(divisor[a].unsigned_abs() as usize)
    });
    let flat = is_flat(patch_zyx.map(|n| n as i64));
    let mirrored = |axis: &str| descriptor.mirror_axes.iter().any(|a| a == axis);
    let augmentation = AugmentOptions::nnunet(flat, ["z", "y", "x"].map(mirrored));
    let window_zyx = std::array::from_fn(|a| {
        // flat patches are rotated in plane only
        let share = if flat && a == 0 { 1.0 } else { WINDOW_SHARE };
        (patch_zyx[a] as f64 * share).round() as usize
    });
    let rule = if arguments.optimizer == "sgd" { Rule::sgd() } else { Rule::adamw() };
    let mut optimizer = OptimizerOptions::new(rule, arguments.weight_decay);
    if (arguments.encoder_lr_factor - 1.0).abs() > f64::EPSILON {
        optimizer.lr_factors.insert("encoder".to_owned(), arguments.encoder_lr_factor);
    }
    let fraction = split.fraction(arguments.fraction).map_err(|e| {
        Message::error("E402", e.to_string()).fix("Give --fraction a number above 0 and at most 1")
    })?;
    Ok(TrainPlan {
        model: ModelPlan { schema: model::SCHEMA.to_owned(), network, descriptor, patch_zyx },
        window_zyx,
        train: fraction.to_vec(),
        val: split.val.clone(),
        fraction: arguments.fraction,
        encoder,
        shards: store.manifest().work.clone(),
        steps: arguments.steps,
        batch: usize::from(arguments.batch),
        foreground_share: arguments.foreground_share,
        seed: arguments.compute.seed,
        precision: arguments.compute.precision.clone(),
        augmentation,
        loss: DiceCeOptions::default(),
        optimizer,
        lr: LearningRate::poly(arguments.lr, arguments.steps).with_warmup(arguments.warm_up),
        clip: (arguments.clip > 0.0).then_some(arguments.clip),
        validate_cases: usize::from(arguments.validate_cases),
    })
}

/// The network: a resenc takes the shape of the encoder that it starts from, or one for the data set's patch.
fn network(arguments: &Train, descriptor: &Descriptor, classes: usize) -> anyhow::Result<NetworkConfig> {
    let in_channels = descriptor.channels.len() as i64;
    let classes = classes as i64;
    if arguments.network == NetworkKind::Resunet50 {
        return Ok(NetworkConfig::Resunet50 { in_channels, classes });
    }
    let own = || {
        let patch = descriptor.grid.patch_zyx.map(|n| n as i64);
        ResEncConfig::for_patch(patch, descriptor.spacing_zyx_mm(), arguments.size)
    };
    let topology = match &arguments.encoder_weights {
        Some(file) => match stored_encoder(file)? {
            Some(EncoderConfig::Resenc { topology, .. }) => topology,
            Some(EncoderConfig::Resnet50 { .. }) => {
                return Err(Message::error("E401", "the encoder is a resnet50, the network a resenc")
                    .detail(file.display().to_string())
                    .fix("Use --network resunet50, or an encoder trained with --encoder resenc")
                    .into());
            }
            // weights of other origin carry no plan: the data set's own shape, and loading says what fits
            None => own()?,
        },
        None => own()?,
    };
    Ok(NetworkConfig::Resenc { in_channels, classes, topology })
}

/// The encoder's configuration in the plan of a file that 'pretrain' wrote.
fn stored_encoder(file: &Path) -> anyhow::Result<Option<EncoderConfig>> {
    #[derive(serde::Deserialize)]
    struct Stored {
        encoder: EncoderConfig,
    }
    let metadata = weights::read_metadata(file)?;
    let Some(text) = metadata.get("plan") else { return Ok(None) };
    let stored: Stored = serde_json::from_str(text).map_err(|e| {
        Message::error("E401", "the encoder's plan cannot be read")
            .detail(format!("{}: {e}", file.display()))
            .fix("Give the encoder.safetensors that 'pretrain' wrote")
    })?;
    Ok(Some(stored.encoder))
}

fn load_encoder(
    store: &nn::VarStore,
    file: &Path,
    minimum: f64,
    context: &Context,
) -> anyhow::Result<weights::LoadReport> {
    let mut report = weights::load(store, file, &LoadOptions::encoder(minimum)).map_err(|e| {
        Message::error("E401", e.to_string())
            .fix("Use the network that the encoder was made for, or lower --minimum-match knowingly")
    })?;
    context.say(&report.to_string());
    // stored beside the model, which may move: the file's name is enough
    report.path = report.path.file_name().map(Into::into).unwrap_or_default();
    Ok(report)
}

fn train(
    arguments: &Train,
    plan: &TrainPlan,
    session: Session,
    task: &mut Segmentation,
    optimizer: &mut Optimizer,
    context: &Context,
) -> anyhow::Result<training::run::Outcome> {
    let patches = Arc::new(Patches::new(
        ShardStore::open(&arguments.shards)?,
        plan.train.clone(),
        plan.window_zyx,
        plan.batch,
        plan.foreground_share,
        plan.seed,
    )?);
    let first = session.state().step;
    let workers = usize::from(arguments.workers);
    let mut source = Prefetch::new(first, plan.steps, workers, 2 * workers, move |step| patches.batch(step))
        .map_err(|e| e.message())?;
    let mut options = RunOptions::new(plan.steps, plan.lr);
    options.clip = plan.clip;
    options.log_every = arguments.log_every;
    options.validate_every = (arguments.validate_every > 0).then_some(arguments.validate_every);
    options.checkpoint_every = arguments.checkpoint_every;
    options.wall_limit = arguments.wall_minutes.map(|m| Duration::from_secs_f64(m.max(0.0) * 60.0));
    options.stop_file = arguments.stop_file.clone();
    let mut reporter = Reporter::new(context, first, plan.steps);
    let outcome = session.run(task, optimizer, &mut source, &options, &mut reporter).map_err(|e| e.message())?;
    reporter.finish();
    Ok(outcome)
}
