//! `finetune predict`: the image's way through `volume::prepare`, sliding window, and back to its own grid; or to affinities.

mod given;
mod image;
mod jobs;
mod output;
mod pipeline;
mod probabilities;
mod row;
mod work;
mod write;

use crate::arguments::Predict;
use crate::chosen;
use crate::clean_up::CleanUp;
use crate::kept::Named;
use crate::model::{Model, as_input, file_of, stored_licence};
use crate::objective::Objective;
use data_manifests::{Artefact, Manifest, cases};
use image::{Predictor, Reader};
use jobs::{Job, Jobs};
use output::{CHANNELS, KEPT, Names, role};
pub(crate) use output::{CLASSES, Format, ProbabilityKind, TABLE};
use pipeline::Files;
use probabilities::Channels;
pub(crate) use row::Row;
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic, limits};
use std::collections::BTreeSet;
use torch_runtime::{Precision, parse_device};
use training::compute::{choose_kernels, slow_precision};
use training::predict::SlidingWindow;
use work::Parameters;
use write::Writer;

/// Runs the command.
pub(crate) fn run(arguments: &Predict, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    KEPT.refuse_foreign(out)?;
    let output = context.open_output(out)?;
    let device = parse_device(&arguments.compute.device)?;
    let precision: Precision = arguments.compute.precision.parse()?;
    if let Some(warning) = slow_precision(precision, device) {
        context.tell(warning);
    }
    torch_runtime::keep_freed_memory();
    torch_runtime::set_num_threads(limits::cores())?;
    choose_kernels(device, arguments.compute.deterministic)?;

    for directory in arguments.model.iter().filter(|given| given.is_dir()) {
        // a run that is not finished may have the model of an earlier one
        Manifest::load(directory, "train")?;
    }
    let model = Model::open(&arguments.model, device, precision)?;
    let Jobs { jobs, failed: without_files } = jobs::find(arguments, &model, context)?;
    let mut failed = without_files.len() as u64;
    let (descriptor, objective) = (&model.plan.descriptor, &model.plan.objective);
    let mut options = SlidingWindow::new(model.plan.patch_zyx.map(|n| n as i64));
    options.overlap = arguments.overlap;
    options.batch = usize::from(arguments.window_batch);
    if arguments.mirror {
        options.mirror_axes = descriptor.mirrors();
        if let Objective::Affinities(plan) = objective {
            options.pairs = plan.offsets_zyx.iter().map(|offset| offset.map(|n| n as i64)).collect();
        }
        if options.mirror_axes == [false; 3] {
            let text =
                format!("--mirror does nothing: {} permits mirror images along no axis", descriptor.name);
            context.tell(Message::info("I441", text));
        }
    }

    let kind = arguments.probability_kind.unwrap_or(ProbabilityKind::Float32);
    work::check_probabilities(arguments, objective)?;
    let channels = match arguments.probabilities {
        true => Channels::of(&model.plan, kind)?,
        false => None,
    };
    let what = match objective {
        Objective::Classes | Objective::Regions => "label map",
        Objective::Affinities(_) => "volume",
    };

    let inputs = arguments.model.iter().map(|given| as_input(given, out));
    let mut inputs: Vec<Artefact> = inputs.collect::<anyhow::Result<_>>()?;
    let clean_up = match &arguments.clean_up {
        Some(file) => {
            let choice = chosen::load::<CleanUp>(file, &chosen::given(&arguments.model)?)?;
            inputs.push(Artefact::of_file("clean-up", file, out)?);
            Some(choice)
        }
        None => None,
    };
    let parameters = Parameters {
        cases: jobs.iter().map(|j| (j.case.id.as_str(), j.split)).collect(),
        sliding_window: &options,
        precision: &arguments.compute.precision,
        format: Some(arguments.format).filter(|format| *format != Format::Nifti),
        affinities: (!objective.is_semantic()).then_some(kind),
        probabilities: arguments.probabilities.then_some(kind),
    };
    let settings = parameters.settings(&inputs)?;
    for job in &jobs {
        // a file that cannot be read is its case's error below
        if let Ok(images) = job.case.image.artefacts("images", &job.root) {
            inputs.extend(images);
        }
    }
    let mut manifest =
        Manifest::new("predict", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    if failed == 0
        && let Some(found) = manifest.reusable(out)?
        && found.counts.get("failed") == Some(&0)
    {
        context.say(&format!("Nothing to do: {} holds these predictions already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    output.to_write()?;
    let names = |id: &str| Names::of(id, objective, arguments.format, arguments.probabilities);
    let version = env!("CARGO_PKG_VERSION");
    let work = format!("{} {version}\n{settings} {version}\n", manifest.work);
    let all = |ids: &mut dyn Iterator<Item = &String>| -> BTreeSet<String> {
        ids.flat_map(|id| names(id).all().cloned().collect::<Vec<_>>()).collect()
    };
    let files =
        Named { wanted: all(&mut jobs.iter().map(|job| &job.case.id)), lost: all(&mut without_files.iter()) };
    // 'a' and its probabilities, and a case 'a.probabilities'
    if files.wanted.len() < jobs.iter().map(|job| names(&job.case.id).all().count()).sum() {
        return Err(Message::error("E190", "the probabilities of a case have the name of another case")
            .fix("Predict them into different directories")
            .into());
    }
    let keeps = KEPT.is_same_but_for_cases(out, &work)?;
    let named = jobs.iter().map(|job| &job.case.id).chain(without_files.iter().filter(|_| keeps));
    KEPT.refuse_loss(out, &named.map(String::as_str).collect(), arguments.overwrite)?;
    KEPT.begin(out, &work, &files)?;
    let kept = row::kept(out, &without_files, |id| names(id).map, context)?;

    let reader = Reader { plan: &model.plan, format: arguments.format };
    let predictor = Predictor {
        model: &model,
        options: &options,
        numbers: kind.numbers(),
        probabilities: arguments.probabilities,
        device,
        precision,
    };
    let writer =
        Writer { clean_up: clean_up.as_ref(), format: arguments.format, channels: channels.as_ref() };
    let progress = context.progress(&format!("{what}s"), jobs.len() as u64);
    let mut rows = Vec::with_capacity(jobs.len());
    let files_of = |job: &Job| {
        let Names { map, probabilities } = names(&job.case.id);
        Files { map: out.join(map), probabilities: probabilities.map(|name| out.join(name)) }
    };
    let files: Vec<(&Job, Files)> = jobs.iter().map(|job| (job, files_of(job))).collect();
    let complete = pipeline::run(&files, &reader, &predictor, &writer, &mut |number, end| {
        let job = &jobs[number];
        let id = &job.case.id;
        match end {
            Ok(messages) => {
                for message in messages {
                    progress.suspend(|| context.tell(message.case(id)));
                }
                rows.push(Row::of(job, names(id)));
            }
            Err(error) => {
                failed += 1;
                progress.suspend(|| context.tell(image::of_error(id, &error)));
            }
        }
        progress.step(id);
    });
    if !complete {
        progress.finish();
        context.count("predicted", rows.len() as u64);
        let text = format!("interrupted with {} of {} done", rows.len(), counted(jobs.len(), what));
        context.tell(Message::info("I306", text).fix("Rerun the same command to continue"));
        return Ok(ExitStatus::Interrupted);
    }
    progress.finish();
    context.count("predicted", rows.len() as u64);
    context.count("failed", failed);
    if rows.is_empty() {
        return Err(Message::error("E413", "no image could be predicted")
            .fix("See the messages above")
            .into());
    }
    rows.extend(kept);
    atomic::write(&out.join(TABLE), &cases::to_csv(&rows)?)?;
    if let Some(channels) = &channels {
        atomic::write(&out.join(CHANNELS), channels.text.as_bytes())?;
    }
    manifest.datasets = vec![descriptor.name.clone()];
    let licences = arguments.model.iter().map(|given| stored_licence(&file_of(given), &model.plan));
    let licences: BTreeSet<String> = licences.collect::<anyhow::Result<_>>()?;
    manifest.licence = licences.into_iter().collect::<Vec<_>>().join(" AND ");
    manifest.counts.insert("cases".to_owned(), rows.len() as u64);
    manifest.counts.insert("failed".to_owned(), failed);
    let trees = KEPT.trees(out)?;
    manifest.finish_with(out, trees, role)?;
    context.say(&format!("{}, {failed} failed: {}", counted(rows.len(), what), out.display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}
