//! `finetune predict`: the image's way through `volume::prepare`, sliding window, and back to its own grid; or to affinities.

mod given;
mod image;
mod jobs;
mod output;
mod pipeline;
mod write;

use crate::arguments::Predict;
use crate::chosen;
use crate::clean_up::CleanUp;
use crate::kept::WORK;
use crate::model::{Model, as_input, file_of, stored_licence};
use crate::objective::Objective;
use data_manifests::raw::Source;
use data_manifests::{Artefact, Manifest, cases};
use image::{Predictor, Reader};
use jobs::{Job, Jobs};
pub(crate) use output::{AffinityKind, CLASSES, Format, TABLE};
use output::{KEPT, file_name};
use serde::{Deserialize, Serialize};
use stage::{Context, ExitStatus, Message, atomic, limits};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use torch_runtime::{Precision, parse_device};
use training::compute::{choose_kernels, slow_precision};
use training::predict::SlidingWindow;
use write::Writer;

/// A row of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// `train`, `val`, `test` or `given`.
    pub(crate) split: String,
    /// The label map, or the affinities.
    pub(crate) file: String,
    /// Source image below `$RAW`.
    pub(crate) image: String,
    /// Its label below `$RAW`; empty without one.
    pub(crate) label: String,
}

impl Row {
    /// The reference of this case below `references`; `code` is that of the command that wants it.
    ///
    /// # Errors
    /// Where it is not there.
    pub(crate) fn reference(&self, references: &Path, code: &'static str) -> Result<Source, Message> {
        let source = Source::from_portable(&self.label, references);
        source.filter(|source| source.missing().is_none()).ok_or_else(|| {
            Message::error(code, "the reference of this case is missing")
                .case(&self.id)
                .detail(format!("{} is not below {}", self.label, references.display()))
                .fix("Give --references the raw folder that was predicted")
        })
    }

    fn of(job: &Job, file: String) -> Self {
        Self {
            id: job.case.id.clone(),
            split: job.split.to_owned(),
            file,
            image: job.case.image.portable(&job.root),
            label: job.case.label.as_ref().map(|l| l.portable(&job.root)).unwrap_or_default(),
        }
    }
}

#[derive(Serialize)]
struct Parameters<'a> {
    cases: Vec<(&'a str, &'a str)>,
    sliding_window: &'a SlidingWindow,
    precision: &'a str,
    /// NIfTI where nothing is said, as before there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    /// Of a model of objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    affinities: Option<AffinityKind>,
}

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

    let what = match objective {
        Objective::Classes | Objective::Regions => "label maps",
        Objective::Affinities(_) => "volumes of affinities",
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
    for job in &jobs {
        // a file that cannot be read is its case's error below
        if let Ok(images) = job.case.image.artefacts("images", &job.root) {
            inputs.extend(images);
        }
    }
    let parameters = Parameters {
        cases: jobs.iter().map(|j| (j.case.id.as_str(), j.split)).collect(),
        sliding_window: &options,
        precision: &arguments.compute.precision,
        format: Some(arguments.format).filter(|format| *format != Format::Nifti),
        affinities: (!objective.is_semantic()).then_some(arguments.affinity_kind),
    };
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
    let name = |id: &str| file_name(id, objective, arguments.format);
    let work = format!("{} {}\n", manifest.work, env!("CARGO_PKG_VERSION"));
    let wanted = jobs.iter().map(|j| name(&j.case.id)).collect();
    let named = jobs.iter().map(|job| &job.case.id).chain(&without_files);
    KEPT.refuse_loss(out, &named.map(String::as_str).collect(), arguments.overwrite)?;
    KEPT.begin(out, &work, &wanted)?;

    let reader = Reader { plan: &model.plan, format: arguments.format };
    let predictor = Predictor {
        model: &model,
        options: &options,
        affinities: arguments.affinity_kind.numbers(),
        device,
        precision,
    };
    let writer = Writer { clean_up: clean_up.as_ref(), format: arguments.format };
    let progress = context.progress(what, jobs.len() as u64);
    let mut rows = Vec::with_capacity(jobs.len());
    let files: Vec<(&Job, PathBuf)> = jobs.iter().map(|job| (job, out.join(name(&job.case.id)))).collect();
    let complete = pipeline::run(&files, &reader, &predictor, &writer, &mut |number, end| {
        let job = &jobs[number];
        let id = &job.case.id;
        match end {
            Ok(messages) => {
                for message in messages {
                    progress.suspend(|| context.tell(message.case(id)));
                }
                rows.push(Row::of(job, name(id)));
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
        let text = format!("interrupted: {} of {} {what} are done", rows.len(), jobs.len());
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
    atomic::write(&out.join(TABLE), &cases::to_csv(&rows)?)?;
    manifest.datasets = vec![descriptor.name.clone()];
    let licences = arguments.model.iter().map(|given| stored_licence(&file_of(given), &model.plan));
    let licences: BTreeSet<String> = licences.collect::<anyhow::Result<_>>()?;
    manifest.licence = licences.into_iter().collect::<Vec<_>>().join(" AND ");
    manifest.counts.insert("cases".to_owned(), rows.len() as u64);
    manifest.counts.insert("failed".to_owned(), failed);
    let trees = KEPT.trees(out)?;
    manifest.finish_with(out, trees, |path| match path {
        TABLE => "cases",
        WORK => "record",
        _ => "predictions",
    })?;
    context.say(&format!("{} {what}, {failed} failed: {}", rows.len(), out.display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}
