//! `finetune train`: labelled shards and an encoder to a model.

mod deepest;
mod encoder;
mod goal;
mod plan;
mod shape;
mod split;

use crate::arguments::Train;
use crate::model;
use crate::objective::Objective;
use crate::sampling::{Cut, Draw, Patches, Voxels};
use crate::semantic::Semantic;
use crate::task::{Frozen, Segmentation};
use crate::wording::share_of_labels;
use data_manifests::Manifest;
use data_manifests::descriptor::Modality;
use data_manifests::seen::Seen;
use goal::{goal, objective};
use networks::{MemoryFormat, SegmentationNetwork, weights};
use patches::ShardStore;
use plan::{TrainPlan, plan};
use serde::Serialize;
use stage::message::counted;
use stage::{Context, ExitStatus, Message, Output, atomic, interrupt, limits};
use std::path::Path;
use std::sync::Arc;
use tch::{Tensor, nn};
use torch_runtime::Precision;
use training::TrainingError;
use training::checkpoint::{self, Folder, RunState, Which};
use training::compute::{choose_kernels, slow_precision};
use training::error::OTHER_PLAN;
use training::optimizer::{Optimizer, named_variables};
use training::prefetch::{Prefetch, check_maps, check_room, depth};
use training::processes::Process;
use training::run::{Opening, Reporter, RunOptions, Session, role_of};

/// Names of the files that a run writes.
fn is_output(name: &str) -> bool {
    matches!(name, model::FILE_NAME | "plan.json" | model::SPLIT | "load_report.json")
        || role_of(name).is_some()
}

/// Runs the command.
pub(crate) fn run(arguments: &Train, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    let process = match Process::join(&arguments.compute.device) {
        Err(_) if interrupt::requested() => {
            context.tell(Message::info("I306", "signal: nothing was begun"));
            return Ok(ExitStatus::Interrupted);
        }
        joined => joined.map_err(|e| e.message())?,
    };
    // what all would say the same, one says
    let silent = context.silenced();
    let context = if process.is_leader() { context } else { &silent };
    let output = process.by_leader(|| {
        Manifest::refuse_foreign(out, is_output)?;
        let output = context.open_output(out)?;
        if output.is_locked() {
            atomic::sweep(out)?;
        }
        anyhow::Ok(output)
    })?;
    // inputs are named relative to it, by every process
    fs_err::create_dir_all(out)?;
    let device = process.device;
    let precision: Precision = arguments.compute.precision.parse()?;
    if let Some(warning) = slow_precision(precision, device) {
        context.tell(warning);
    }
    limits::grant_message().into_iter().for_each(|message| context.tell(message));
    choose_kernels(device, arguments.compute.deterministic)?;

    let store = ShardStore::open(&arguments.shards)?;
    let store = Arc::new(store);
    let objective = objective(arguments, store.descriptor())?;
    let semantic = Semantic::of(&objective, store.descriptor().labels.as_ref())?;
    let split = split::of(arguments, &store)?;
    let mut inputs = vec![Manifest::as_input("shards", store.directory(), out)?];
    if let Some(file) = &arguments.encoder_weights {
        inputs.push(Manifest::file_as_input("encoder", file, out)?);
    }
    let channels = match (&objective, &semantic) {
        (Objective::Affinities(plan), _) => plan.offsets_zyx.len(),
        (_, semantic) => semantic.as_ref().map_or(0, Semantic::channels),
    };
    let encoder = inputs.get(1).map(|e| e.sha256.clone());
    let plan = plan(arguments, &store, (objective, channels), &split, encoder, process.size())?;
    let mut manifest = Manifest::new("train", env!("CARGO_PKG_VERSION"), context.program(), &plan, inputs)?;
    let finished = process.is_leader() && manifest.reusable(out)?.is_some();
    if process.told_by_leader(finished).map_err(|e| e.message())? {
        context.say(&format!("Nothing to do: {} holds this model already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    context.say(&format!(
        "{} ({} of the labels), {}",
        counted(plan.train.len(), "training case"),
        share_of_labels(plan.fraction),
        counted(plan.val.len(), "validation case")
    ));
    if plan.val.is_empty() {
        context.tell(
            Message::info("I445", "no case validates: all that are labelled train")
                .cause("The model is that of the last step, and nothing here says how good it is")
                .fix("Score it on cases of another source; --val-share keeps some of these"),
        );
    }
    let warning = deepest::check(&plan.model.network, plan.model.patch_zyx, plan.batch)?;
    warning.into_iter().for_each(|message| context.tell(message));
    if plan.encoder_frozen >= plan.steps {
        context.tell(Message::info(
            "I430",
            format!("the encoder is held to the end, in {}", counted(plan.steps as usize, "step")),
        ));
    }
    if let Some(labels) = plan.model.descriptor.labels.as_ref().filter(|_| semantic.is_some()) {
        split::warn_about_classes(&store, &labels.classes, &split, &plan.train, context)?;
    }

    let mut seen = match &arguments.encoder_weights {
        Some(file) => model::stored_seen(file, "E401")?,
        None => Seen::default(),
    };
    // all that can be refused is, before an earlier run is touched
    let goal = goal(&plan, semantic.clone())?;
    let options = run_options(arguments, &plan, context);
    options.check().map_err(|e| e.message())?;
    let bytes_of_voxel = plan.model.network.in_channels() as usize * size_of::<f32>() + size_of::<i64>();
    let sizes = plan.window_zyx.into_iter().chain([process.samples(plan.batch).len(), bytes_of_voxel]);
    check_room(sizes, usize::from(arguments.workers), plan.steps, device).map_err(|e| e.message())?;
    let samples = process.samples(plan.batch).len() as u64;
    let maps = plan.model.network.encoder().first_maps(plan.model.patch_zyx).saturating_mul(samples);
    check_maps(maps, precision, device).map_err(|e| e.message())?;
    let variables_store = nn::VarStore::new(device);
    let network = SegmentationNetwork::new(&variables_store.root(), &plan.model.network, plan.seed)?;
    MemoryFormat::faster_for_segmentation(plan.model.network.kind(), device, precision)
        .apply(&variables_store)?;
    let load_report = match &arguments.encoder_weights {
        Some(file) => {
            encoder::warn_of_seen_cases(&seen, &store, &plan.val, context);
            Some(encoder::load(&variables_store, file, &plan.model, arguments, context)?)
        }
        None => None,
    };
    let variables = named_variables(&[("", &variables_store)]).map_err(|e| e.message())?;
    let mut optimizer = Optimizer::new(plan.optimizer.clone(), &variables).map_err(|e| e.message())?;
    let opening = Opening { resume: arguments.resume, overwrite: arguments.overwrite };
    let plan_json = serde_json::to_value(&plan)?;
    let origin = arguments.encoder_weights.as_deref().zip(manifest.inputs.get(1));
    manifest.licence = encoder::licence(&plan.model.descriptor.licence, origin)?;
    seen.add(&plan.model.descriptor.name, &plan.train, &store.images(), true);
    let notes = model::notes(&plan.model, &split, &seen, &manifest.licence)?;
    let run = (&plan_json, plan.seed);
    let session = process
        .session(run, &variables, &mut optimizer, |own, optimizer| {
            output.as_ref().map_or(Ok(()), Output::to_write)?;
            let session = Session::open(out, plan_json.clone(), plan.seed, own, optimizer, opening)
                .map_err(|e| not_opened(&e, out))?;
            // not before the run was accepted: a refused command leaves a finished stage as it was
            Manifest::withdraw(out)?;
            anyhow::Ok(session)
        })?
        .with_notes(notes);

    let mut task = Segmentation {
        network,
        device,
        precision,
        channels: plan.model.network.in_channels(),
        patch_zyx: plan.model.patch_zyx.map(|n| n as i64),
        filling: plan.model.filling(),
        seed: plan.seed,
        first_sample: process.samples(plan.batch).start as u64,
        group: process.group.clone(),
        frozen: Frozen {
            until: plan.encoder_frozen,
            variables: if plan.encoder_frozen > 0 { encoder_of(&variables) } else { Vec::new() },
        },
        augmentation: plan.augmentation.clone(),
        prepared: None,
        goal,
        validation: (Arc::clone(&store), plan.val.iter().take(plan.validate_cases).cloned().collect()),
        from_feet: plan.model.descriptor.modality != Modality::Em,
    };
    let patches = patches(&plan, store, &process)?;
    if plan.model.objective.is_semantic() {
        patches.say_what_is_empty(context);
    }
    let outcome = train((arguments, &options), &plan, patches, session, &mut task, &mut optimizer, context)?;
    context.count("steps", outcome.state.step);
    context.count("skipped_steps", outcome.state.skipped);
    if let Some(message) = outcome.message() {
        context.tell(message);
        return Ok(outcome.status());
    }

    if !process.is_leader() {
        return Ok(ExitStatus::Done);
    }
    if outcome.exhausted {
        let text = format!("complete after step {}: no validation was better any more", outcome.state.step);
        context.tell(Message::info("I320", text));
    }
    if plan.early_stopping.is_some()
        && let Some(warning) = take_the_best(out, &variables, &mut optimizer, &outcome.state)?
    {
        context.tell(warning);
    }
    optimizer.swap_averages();
    let metadata = model::metadata(&plan.model, &split, &seen, &manifest.licence)?;
    weights::save(&variables_store, &out.join(model::FILE_NAME), &metadata)?;
    write_json(&out.join("plan.json"), &plan_json)?;
    split.save(&out.join(model::SPLIT))?;
    if let Some(report) = &load_report {
        write_json(&out.join("load_report.json"), report)?;
    }
    manifest.datasets = vec![plan.model.descriptor.name.clone()];
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
        model::SPLIT => "split",
        "load_report.json" => "load-report",
        other => role_of(other).unwrap_or("other"),
    })?;
    context.say(&format!("Model: {}", out.join(model::FILE_NAME).display()));
    Ok(ExitStatus::Done)
}

/// Why a run cannot begin here; what goes on from a model's weights is an option of this stage.
fn not_opened(error: &TrainingError, out: &Path) -> Message {
    match error {
        TrainingError::OtherPlan { .. } => {
            let file = out.join(model::FILE_NAME);
            error.message().fix(format!(
                "{OTHER_PLAN}. To train longer, start another run from its weights: --encoder-weights {} --with-decoder",
                file.display()
            ))
        }
        _ => error.message(),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(atomic::write(path, &bytes)?)
}

/// The encoder's trainable variables.
fn encoder_of(variables: &[(String, Tensor)]) -> Vec<Tensor> {
    let trainable =
        variables.iter().filter(|(name, tensor)| weights::is_encoder(name) && tensor.requires_grad());
    trainable.map(|(_, tensor)| tensor.shallow_clone()).collect()
}

/// Weights and averages of the best validation instead of the last step's; a warning where they are lost.
fn take_the_best(
    out: &Path,
    variables: &[(String, Tensor)],
    optimizer: &mut Optimizer,
    state: &RunState,
) -> anyhow::Result<Option<Message>> {
    // without a score there is none: no class occurred
    if state.best.is_none() {
        return Ok(None);
    }
    let path = Folder::new(out).path(Which::Best);
    let best = checkpoint::read(&path).map_err(|e| e.message())?;
    if best.state.best != state.best {
        // on a GPU a resumed run may validate otherwise than the one that was interrupted
        let text = "the best checkpoint is not that of this run's best validation: the model is that of the last step";
        return Ok(Some(
            Message::warning("W428", text)
                .detail(path.display().to_string())
                .cause("The run was interrupted behind it and went another way when it was resumed")
                .fix("For the best, train again with --overwrite, on a GPU with --deterministic"),
        ));
    }
    best.restore_model(variables).map_err(|e| e.message())?;
    best.restore_optimizer(optimizer).map_err(|e| e.message())?;
    Ok(None)
}

fn patches(plan: &TrainPlan, store: Arc<ShardStore>, process: &Process) -> anyhow::Result<Arc<Patches>> {
    let voxels = match plan.model.objective {
        Objective::Affinities(_) => Voxels::Objects,
        Objective::Classes | Objective::Regions => Voxels::Classes(plan.model.descriptor.ignored()),
    };
    let draw = Draw {
        batch: plan.batch,
        samples: process.samples(plan.batch),
        foreground_share: plan.foreground_share,
        seed: plan.seed,
        device: process.device,
    };
    let cut = Cut { window_zyx: plan.window_zyx, patch_zyx: plan.model.patch_zyx };
    Ok(Arc::new(Patches::new(store, plan.train.clone(), cut, draw, voxels)?))
}

fn run_options(arguments: &Train, plan: &TrainPlan, context: &Context) -> RunOptions {
    let mut options = RunOptions::new(plan.steps, plan.lr);
    options.clip = plan.clip;
    options.log_every = arguments.log_every;
    options.validate_every =
        (arguments.validate_every > 0 && !plan.val.is_empty()).then_some(arguments.validate_every);
    options.checkpoint_every = arguments.checkpoint_every;
    options.score_smoothing = arguments.score_smoothing;
    options.patience = plan.early_stopping.map(|early| early.patience);
    (options.wall_limit, options.began) = (arguments.wall_minutes, context.began());
    options.stop_file = arguments.stop_file.clone();
    options
}

fn train(
    (arguments, options): (&Train, &RunOptions),
    plan: &TrainPlan,
    patches: Arc<Patches>,
    session: Session,
    task: &mut Segmentation,
    optimizer: &mut Optimizer,
    context: &Context,
) -> anyhow::Result<training::run::Outcome> {
    let first = session.state().step;
    let workers = usize::from(arguments.workers);
    let mut source =
        Prefetch::new(first, plan.steps, workers, depth(workers), move |step| patches.batch(step))
            .map_err(|e| e.message())?;
    let mut reporter = Reporter::new(context, first, plan.steps);
    let outcome =
        session.run(task, optimizer, &mut source, options, &mut reporter).map_err(|e| e.message())?;
    reporter.finish();
    Ok(outcome)
}
