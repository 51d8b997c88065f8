//! The run: open, plan, train, export, manifest.

use crate::arguments::Arguments;
use crate::exam::Exam;
use crate::init::{Origin, warn_of_kept_cases};
use crate::inputs::Inputs;
use crate::pairs::{Cut, Pairs};
use crate::plan::Plan;
use crate::task::{AlikeReports, Pretraining, least_texts};
use crate::watch::Watch;
use data_manifests::seen::{self, Seen};
use data_manifests::{Descriptor, Manifest, digest};
use networks::weights::{self, OTHER_ENCODER, OTHER_STEM, RANDOM_STEM};
use networks::{EncoderKind, HeadNorm};
use serde_json::Value;
use stage::{Context, ExitStatus, Message, Output, atomic, interrupt, limits};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tch::{Tensor, nn};
use torch_runtime::Precision;
use training::checkpoint::Notes;
use training::compute::{choose_kernels, slow_precision};
use training::optimizer::{Optimizer, named_variables};
use training::prefetch::{Prefetch, check_maps, check_room, depth};
use training::processes::Process;
use training::record::METRICS;
use training::run::{Opening, RunOptions, Session, role_of};

/// Name of the exported encoder.
const ENCODER: &str = "encoder.safetensors";
/// Key of the licences in files of weights.
const LICENCE: &str = "licence";
/// Smallest share of the encoder that --init must fill.
const INIT_SHARE: f64 = 0.9;

/// Names of the files that a run writes.
fn is_output(name: &str) -> bool {
    matches!(name, ENCODER | "plan.json") || role_of(name).is_some()
}

/// Runs the stage; of several processes the first writes.
///
/// # Errors
/// Fails when inputs cannot be used, training diverges, or the output cannot be written.
pub fn run(arguments: Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
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
    let precision: Precision = arguments.compute.precision.parse()?;
    if let Some(warning) = slow_precision(precision, process.device) {
        context.tell(warning);
    }
    limits::grant_message().into_iter().for_each(|message| context.tell(message));
    enough_for_statistics(&arguments, process.size())?;
    choose_kernels(process.device, arguments.compute.deterministic)?;

    let Inputs { pairs, skipped, rule, artefacts, texts, init } = Inputs::open(&arguments, out, context)?;
    if arguments.vr_weight == 0.0 && pairs.features() == 0 {
        return Err(Message::error("E325", "there is no loss: --vr-weight 0, and no --text")
            .fix("Give --text, or leave --vr-weight out")
            .into());
    }
    let pairs = Arc::new(pairs);
    let origin = arguments.init.as_deref().map(Origin::of).transpose()?.unwrap_or_default();
    let start = (init, origin.encoder.as_ref());
    let plan = Plan::new(&arguments, (&pairs, rule, skipped), texts, start, process.size(), context)?;
    if let Some(asked) = arguments.patch_zyx.filter(|asked| *asked != plan.patch_zyx) {
        let divisor = plan.encoder.required_divisor_zyx();
        let text = format!("patches of {:?} instead of {asked:?} (z, y, x)", plan.patch_zyx);
        context.tell(
            Message::info("I324", text)
                .cause(format!("The network halves them: {divisor:?} divides its patches")),
        );
    }
    let mut manifest =
        Manifest::new("pretrain", env!("CARGO_PKG_VERSION"), context.program(), &plan, artefacts)?;
    let finished = process.is_leader() && manifest.reusable(out)?.is_some();
    if process.told_by_leader(finished).map_err(|e| e.message())? {
        context.say(&format!("Nothing to do: {} holds this encoder already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    pairs.check_texts(&plan.skipped, context)?;
    let masks = plan.alike_reports == AlikeReports::Masked;
    pairs.warn_about_text(plan.batch, least_texts(plan.head_norm), masks, context);
    let encoder_store = nn::VarStore::new(process.device);
    let head_store = nn::VarStore::new(process.device);
    let exam = Exam::new(&pairs, plan.patch_zyx, plan.report_match, plan.seed)?;
    let validate_every = (!exam.is_empty()).then_some(arguments.validate_every);
    pairs.warn_of_sides(arguments.mirror, context);
    exam.tell_gaps(pairs.features() > 0, context);
    let mut task = Pretraining::new(
        &encoder_store,
        &head_store,
        &plan,
        (Arc::clone(&pairs), exam),
        precision,
        process.group.clone(),
    )?;
    if let Some(file) = &arguments.init {
        warn_of_kept_cases(&origin.seen, &pairs, context);
        let options = weights::LoadOptions::encoder(INIT_SHARE);
        let report = weights::load(&encoder_store, file, &options).map_err(|e| {
            Message::error("E326", e.to_string()).fix("Give --init weights of the --encoder that is trained")
        })?;
        context.say(&report.to_string());
        if let Some(text) = report.random_stem() {
            context.tell(Message::warning("W447", text).cause(RANDOM_STEM).fix(OTHER_STEM));
        }
        if let Some(text) = report.other_encoder() {
            context.tell(Message::warning("W326", text).cause(OTHER_ENCODER).fix(
                "Compare the weights' network with --encoder, --size, --patch-zyx and the --swin-… options",
            ));
        }
    }

    let variables = named_variables(&[("", &encoder_store), ("", &head_store)]).map_err(|e| e.message())?;
    let mut optimizer = Optimizer::new(plan.optimizer.clone(), &variables).map_err(|e| e.message())?;
    let plan_json = serde_json::to_value(&plan)?;
    let options = run_options(&arguments, &plan, validate_every, context);
    let samples = process.samples(plan.batch);
    let workers = usize::from(arguments.workers);
    // before an earlier run is discarded
    options.check().map_err(|e| e.message())?;
    let sizes = plan.window_zyx.into_iter().chain([samples.len(), size_of::<f32>()]);
    check_room(sizes, workers, plan.steps, process.device).map_err(|e| e.message())?;
    let at_once = (2 * samples.len().min(plan.micro_batch)) as u64;
    let maps = plan.encoder.first_maps(plan.patch_zyx).saturating_mul(at_once);
    check_maps(maps, precision, process.device).map_err(|e| e.message())?;
    let session =
        open_session(&arguments, &plan, &plan_json, (&process, output.as_ref()), &variables, &mut optimizer)?;
    let notes = notes(&pairs, origin.seen)?;
    let session = session.with_notes(notes.clone());
    let first = session.state().step;
    let made = Arc::clone(&pairs);
    let cut = Cut {
        window_zyx: plan.window_zyx,
        patch_zyx: plan.patch_zyx,
        batch: plan.batch,
        samples,
        report_match: plan.report_match,
        parts: plan.parts.map_or(0, |parts| parts.count),
        mirror: arguments.mirror,
        seed: plan.seed,
        device: process.device,
    };
    let mut source =
        Prefetch::new(first, plan.steps, workers, depth(workers), move |step| made.batch(step, &cut))
            .map_err(|e| e.message())?;
    let mut watch = Watch::new(context, first, plan.steps, task.features());
    watch.begin(&out.join(METRICS))?;
    let outcome =
        session.run(&mut task, &mut optimizer, &mut source, &options, &mut watch).map_err(|e| e.message())?;
    watch.finish();
    context.count("steps", outcome.state.step);
    context.count("skipped_steps", outcome.state.skipped);
    if let Some(message) = outcome.message() {
        context.tell(message);
        return Ok(outcome.status());
    }

    if !process.is_leader() {
        return Ok(ExitStatus::Done);
    }
    manifest.counts.insert("steps".to_owned(), outcome.state.step);
    manifest.counts.insert("skipped_steps".to_owned(), outcome.state.skipped);
    export(out, &encoder_store, &plan_json, notes, &pairs, manifest)?;
    context.say(&format!("Encoder: {}", out.join(ENCODER).display()));
    Ok(ExitStatus::Done)
}

/// Refuses batches over which nothing can take its statistics: the heads' norms and the visual loss take them over the batch of all
/// processes, resnet50's norms over what all of them send through the encoder at a time.
fn enough_for_statistics(arguments: &Arguments, processes: usize) -> Result<(), Message> {
    let least = HeadNorm::MINIMUM_BATCH as usize;
    let own = usize::from(arguments.batch);
    let visual = arguments.vr_weight > 0.0;
    if own * processes < least && (arguments.head_norm == HeadNorm::Batch || visual) {
        let who =
            if arguments.head_norm == HeadNorm::Batch { "--head-norm batch" } else { "the visual loss" };
        let text = format!("{who} needs a batch of {least}, found {}", own * processes);
        let fix = match visual {
            true => "Raise --batch, or use --head-norm layer with --vr-weight 0",
            false => "Raise --batch, or use --head-norm layer",
        };
        return Err(Message::error("E325", text).fix(fix));
    }
    let micro = usize::from(arguments.micro_batch.unwrap_or(arguments.batch)).clamp(1, own);
    let smallest = if own.is_multiple_of(micro) { micro } else { own % micro };
    let smallest = smallest * processes;
    if arguments.encoder == EncoderKind::Resnet50 && smallest < least {
        let text = format!(
            "resnet50 takes batch statistics and needs {least} patches at a time, found {smallest} of --batch {own} in parts of {micro}"
        );
        return Err(Message::error("E325", text)
            .fix("Raise --batch, give a --micro-batch that divides it, or use --encoder resenc"));
    }
    Ok(())
}

/// Begins or continues the run; of several processes the others follow the first, which alone reads and writes.
fn open_session(
    arguments: &Arguments,
    plan: &Plan,
    plan_json: &Value,
    (process, output): (&Process, Option<&Output>),
    variables: &[(String, Tensor)],
    optimizer: &mut Optimizer,
) -> anyhow::Result<Session> {
    let out = arguments.out.as_path();
    let opening = Opening { resume: arguments.resume, overwrite: arguments.overwrite };
    process.session((plan_json, plan.seed), variables, optimizer, |own, optimizer| {
        output.map_or(Ok(()), Output::to_write)?;
        let session = Session::open(out, plan_json.clone(), plan.seed, own, optimizer, opening)
            .map_err(|e| e.message())?;
        // not before the run was accepted: a refused command leaves a finished stage as it was
        Manifest::withdraw(out)?;
        Ok(session)
    })
}

fn run_options(
    arguments: &Arguments,
    plan: &Plan,
    validate_every: Option<u64>,
    context: &Context,
) -> RunOptions {
    let mut options = RunOptions::new(plan.steps, plan.lr);
    options.clip = plan.clip;
    options.log_every = arguments.log_every;
    options.validate_every = validate_every;
    options.checkpoint_every = arguments.checkpoint_every;
    (options.wall_limit, options.began) = (arguments.wall_minutes, context.began());
    options.stop_file = arguments.stop_file.clone();
    options
}

/// Whose images the weights come from, for those who get a file of them alone.
fn notes(pairs: &Pairs, mut seen: Seen) -> anyhow::Result<Notes> {
    for source in pairs.sources() {
        seen.add(&source.store.descriptor().name, &source.ids, &source.store.images(), false);
    }
    let all = |of: fn(&Descriptor) -> &str, between: &str| {
        let texts: BTreeSet<&str> = pairs.stores().map(|store| of(store.descriptor())).collect();
        texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(between)
    };
    let notes = [
        ("stage", "pretrain".to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        (LICENCE, all(|descriptor| &descriptor.licence, " AND ")),
        ("citation", all(|descriptor| &descriptor.citation, "\n")),
        (seen::KEY, seen.text()?),
    ];
    Ok(notes.map(|(key, text)| (key.to_owned(), text)).into())
}

/// Writes what later stages read, the manifest last.
fn export(
    out: &Path,
    encoder: &nn::VarStore,
    plan: &Value,
    mut metadata: Notes,
    pairs: &Pairs,
    mut manifest: Manifest,
) -> anyhow::Result<()> {
    manifest.licence = metadata.get(LICENCE).cloned().unwrap_or_default();
    metadata.insert("plan".to_owned(), digest::canonical(plan));
    weights::save(encoder, &out.join(ENCODER), &metadata)?;
    atomic::write(&out.join("plan.json"), &serde_json::to_vec_pretty(plan)?)?;
    manifest.datasets = pairs.stores().map(|s| s.descriptor().name.clone()).collect();
    manifest.finish(out, |path| match path {
        ENCODER => "encoder",
        "plan.json" => "plan",
        other => role_of(other).unwrap_or("other"),
    })?;
    Ok(())
}
