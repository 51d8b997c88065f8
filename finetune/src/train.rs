//! `finetune train`: labelled shards and an encoder to a model.

mod encoder;
mod plan;
mod split;

use crate::arguments::Train;
use crate::model;
use crate::objective::{AffinityPlan, Objective};
use crate::sampling::{Cut, Patches};
use crate::task::{Goal, Segmentation};
use data_manifests::descriptor::{LabelKind, Modality};
use data_manifests::{Artefact, Descriptor, Manifest, digest};
use label_maps::targets::Balance;
use networks::{MemoryFormat, SegmentationNetwork, weights};
use patches::ShardStore;
use plan::{TrainPlan, plan};
use serde::Serialize;
use stage::{Context, ExitStatus, Message, atomic, limits};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tch::nn;
use torch_runtime::{Precision, parse_device};
use training::compute::{choose_kernels, slow_precision};
use training::optimizer::{Optimizer, named_variables};
use training::prefetch::Prefetch;
use training::run::{Opening, Reporter, RunOptions, Session, role_of};

/// Names of the files that a run writes.
fn is_output(name: &str) -> bool {
    matches!(name, model::FILE_NAME | "plan.json" | "split.json" | "load_report.json")
        || role_of(name).is_some()
}

/// Runs the command.
pub(crate) fn run(arguments: &Train, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    context.report_to(out);
    let device = parse_device(&arguments.compute.device)?;
    let precision: Precision = arguments.compute.precision.parse()?;
    if let Some(warning) = slow_precision(precision, device) {
        context.tell(warning);
    }
    torch_runtime::keep_freed_memory();
    torch_runtime::set_num_threads(limits::cores())?;
    choose_kernels(device, arguments.compute.deterministic)?;
    Manifest::refuse_foreign(out, is_output)?;
    let _lock = context.lock(out)?;
    atomic::sweep(out)?;

    let store = ShardStore::open(&arguments.shards)?;
    let store = Arc::new(store);
    let objective = objective(arguments, store.descriptor())?;
    let classes = match &objective {
        Objective::Classes => class_names(store.descriptor())?,
        Objective::Affinities(_) => Vec::new(),
    };
    let split = split::of(arguments, &store)?;
    let mut inputs = vec![Manifest::as_input("shards", store.directory(), out)?];
    if let Some(file) = &arguments.encoder_weights {
        inputs.push(Artefact::of_file("encoder", file, out)?);
    }
    let channels = match &objective {
        Objective::Classes => classes.len(),
        Objective::Affinities(plan) => plan.offsets_zyx.len(),
    };
    let encoder = inputs.get(1).map(|e| e.sha256.clone());
    let plan = plan(arguments, &store, (objective, channels), &split, encoder)?;
    let mut manifest = Manifest::new("train", env!("CARGO_PKG_VERSION"), context.program(), &plan, inputs)?;
    if manifest.reusable(out)?.is_some() {
        context.say(&format!("Nothing to do: {} holds this model already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    context.say(&format!(
        "{} training cases ({} of the labels), {} validation cases",
        plan.train.len(),
        plan.fraction,
        plan.val.len()
    ));
    if plan.model.objective == Objective::Classes {
        split::warn_about_classes(&store, &classes, &split, &plan.train, context)?;
    }

    let variables_store = nn::VarStore::new(device);
    let network = SegmentationNetwork::new(&variables_store.root(), &plan.model.network, plan.seed)?;
    MemoryFormat::faster_for_segmentation(plan.model.network.kind(), device, precision)
        .apply(&variables_store)?;
    let load_report = match &arguments.encoder_weights {
        Some(file) => Some(encoder::load(&variables_store, file, arguments.minimum_match, context)?),
        None => None,
    };
    let variables = named_variables(&[("", &variables_store)]).map_err(|e| e.message())?;
    let mut optimizer = Optimizer::new(plan.optimizer.clone(), &variables).map_err(|e| e.message())?;
    let opening = Opening { resume: arguments.resume, overwrite: arguments.overwrite };
    let plan_json = serde_json::to_value(&plan)?;
    if arguments.overwrite {
        Manifest::withdraw(out)?;
    }
    let session = Session::open(out, plan_json.clone(), plan.seed, variables, &mut optimizer, opening)
        .map_err(|e| e.message())?;
    // not before the run was accepted: a refused command leaves a finished stage as it was
    Manifest::withdraw(out)?;

    let mut task = Segmentation {
        network,
        device,
        precision,
        channels: plan.model.network.in_channels(),
        patch_zyx: plan.model.patch_zyx.map(|n| n as i64),
        filled_zyx: plan.model.filled_zyx,
        seed: plan.seed,
        augmentation: plan.augmentation.clone(),
        goal: match &plan.model.objective {
            Objective::Classes => Goal::Classes { loss: plan.loss.unwrap_or_default(), names: classes },
            Objective::Affinities(plan) => Goal::Affinities(plan.clone()),
        },
        validation: (Arc::clone(&store), plan.val.iter().take(plan.validate_cases).cloned().collect()),
        from_feet: plan.model.descriptor.modality != Modality::Em,
    };
    let outcome = train(arguments, &plan, store, session, &mut task, &mut optimizer, context)?;
    context.count("steps", outcome.state.step);
    context.count("skipped_steps", outcome.state.skipped);
    if let Some(message) = outcome.message() {
        context.tell(message);
        return Ok(outcome.status());
    }

    optimizer.swap_averages();
    let metadata = BTreeMap::from([
        ("plan".to_owned(), digest::canonical(&serde_json::to_value(&plan.model)?)),
        ("stage".to_owned(), "train".to_owned()),
    ]);
    weights::save(&variables_store, &out.join(model::FILE_NAME), &metadata)?;
    write_json(&out.join("plan.json"), &plan_json)?;
    split.save(&out.join("split.json"))?;
    if let Some(report) = &load_report {
        write_json(&out.join("load_report.json"), report)?;
    }
    manifest.datasets = vec![plan.model.descriptor.name.clone()];
    let encoder = arguments.encoder_weights.as_deref().zip(manifest.inputs.get(1));
    manifest.licence = encoder::licence(&plan.model.descriptor.licence, encoder)?;
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
        other => role_of(other).unwrap_or("other"),
    })?;
    context.say(&format!("Model: {}", out.join(model::FILE_NAME).display()));
    Ok(ExitStatus::Done)
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(atomic::write(path, &bytes)?)
}

/// What the labels teach.
fn objective(arguments: &Train, descriptor: &Descriptor) -> anyhow::Result<Objective> {
    match &descriptor.labels {
        Some(labels) if labels.kind == LabelKind::Instances => Ok(Objective::Affinities(AffinityPlan {
            offsets_zyx: arguments.affinities.offsets_zyx(),
            widen_borders: usize::from(arguments.widen_borders),
            balance: Balance::Jointly,
            loss: arguments.affinity_loss,
        })),
        _ => Ok(Objective::Classes),
    }
}

fn class_names(descriptor: &Descriptor) -> anyhow::Result<Vec<String>> {
    match &descriptor.labels {
        Some(labels) if labels.ignore.is_some() => Err(Message::error(
            "E411",
            format!("data set '{}' has an ignore label", descriptor.name),
        )
        .detail("The losses would take voxels that nobody annotated for a class")
        .fix("Map it to a class with 'map' below [labels], such as \"255\" = 0, and run preprocess again")
        .into()),
        Some(labels) => Ok(labels.classes.clone()),
        None => Err(Message::error("E411", format!("data set '{}' has no labels", descriptor.name))
            .fix("Describe them in the descriptor's [labels] and run preprocess again")
            .into()),
    }
}

fn train(
    arguments: &Train,
    plan: &TrainPlan,
    store: Arc<ShardStore>,
    session: Session,
    task: &mut Segmentation,
    optimizer: &mut Optimizer,
    context: &Context,
) -> anyhow::Result<training::run::Outcome> {
    let patches = Arc::new(Patches::new(
        store,
        plan.train.clone(),
        Cut { window_zyx: plan.window_zyx, patch_zyx: plan.model.patch_zyx },
        plan.batch,
        plan.foreground_share,
        (plan.seed, task.device),
        plan.model.objective != Objective::Classes,
    )?);
    if plan.model.objective == Objective::Classes {
        patches.say_what_is_empty(context);
    }
    let first = session.state().step;
    let workers = usize::from(arguments.workers);
    let mut source = Prefetch::new(first, plan.steps, workers, 2 * workers, move |step| patches.batch(step))
        .map_err(|e| e.message())?;
    let mut options = RunOptions::new(plan.steps, plan.lr);
    options.clip = plan.clip;
    options.log_every = arguments.log_every;
    options.validate_every = (arguments.validate_every > 0).then_some(arguments.validate_every);
    options.checkpoint_every = arguments.checkpoint_every;
    options.wall_limit = arguments.wall_minutes;
    options.stop_file = arguments.stop_file.clone();
    let mut reporter = Reporter::new(context, first, plan.steps);
    let outcome =
        session.run(task, optimizer, &mut source, &options, &mut reporter).map_err(|e| e.message())?;
    reporter.finish();
    Ok(outcome)
}
