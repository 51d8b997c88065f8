//! `finetune predict`: the image's way through `volume::prepare`, sliding window, and back to its own grid.

use crate::arguments::Predict;
use crate::model::Model;
use crate::task::scores;
use anyhow::Context as _;
use data_manifests::raw::open::{self, RawImage};
use data_manifests::raw::{self, RawCase, Source};
use data_manifests::splits::Split;
use data_manifests::{Artefact, CaseSplit, Manifest, cases};
use serde::{Deserialize, Serialize};
use stage::lock::OutputLock;
use stage::{Context, ExitStatus, Message, Severity, atomic, interrupt, limits};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};
use torch_runtime::{Precision, parse_device};
use training::predict::SlidingWindow;
use volume::intensity::{self, NonFinite};
use volume::{nifti, prepare};

/// Table of a prediction directory.
const TABLE: &str = "predictions.csv";
/// Digest of the work in progress: label maps of the same work are kept by a run that continues.
const WORK: &str = ".work";

/// A row of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    id: String,
    /// `train`, `val`, `test` or `given`.
    split: String,
    /// The label map.
    file: String,
    /// Source image below `$RAW`.
    image: String,
    /// Its label below `$RAW`; empty without one.
    label: String,
}

/// A case to predict.
struct Job {
    case: RawCase,
    split: &'static str,
    root: PathBuf,
}

#[derive(Serialize)]
struct Parameters<'a> {
    cases: Vec<(&'a str, &'a str)>,
    sliding_window: &'a SlidingWindow,
    precision: &'a str,
}

/// Runs the command.
pub(crate) fn run(arguments: &Predict, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    context.report_to(out);
    let device = parse_device(&arguments.compute.device)?;
    let precision: Precision = arguments.compute.precision.parse()?;
    torch_runtime::set_num_threads(limits::cores())?;
    torch_runtime::set_deterministic(true, true)?;
    let _lock = OutputLock::acquire(out, context.program())?;

    let trained = Manifest::load(&arguments.model, "train")?;
    let model = Model::open(&arguments.model, device)?;
    let jobs = jobs(arguments, &model, context)?;
    let descriptor = &model.plan.descriptor;
    let mut options = SlidingWindow::new(model.plan.patch_zyx.map(|n| n as i64));
    options.overlap = arguments.overlap;
    options.batch = usize::from(arguments.window_batch);
    if arguments.mirror {
        options.mirror_axes = ["z", "y", "x"].map(|axis| descriptor.mirror_axes.iter().any(|a| a == axis));
    }

    let mut inputs = vec![Manifest::as_input("model", &arguments.model, out)?];
    for job in &jobs {
        let images = Artefact::of_rooted("images", job.case.image.path(), "RAW", &job.root);
        match images {
            Ok(artefact) => inputs.push(artefact),
            Err(error) => context.say(&format!("{}: {error}", job.case.id)),
        }
    }
    let parameters = Parameters {
        cases: jobs.iter().map(|j| (j.case.id.as_str(), j.split)).collect(),
        sliding_window: &options,
        precision: &arguments.compute.precision,
    };
    let mut manifest = Manifest::new("predict", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    if let Some(found) = manifest.reusable(out)?
        && found.counts.get("failed") == Some(&0)
    {
        context.say(&format!("Nothing to do: {} holds these predictions already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    Manifest::withdraw(out)?;
    atomic::sweep(out)?;
    begin(out, &manifest.work, &jobs)?;

    let progress = context.progress("label maps", jobs.len() as u64);
    let mut rows = Vec::with_capacity(jobs.len());
    let mut failed = 0u64;
    for job in &jobs {
        if interrupt::requested() {
            let text = format!("interrupted: {} of {} label maps are done", rows.len(), jobs.len());
            context.tell(Message::info("I306", text).fix("Rerun the same command to continue"));
            return Ok(ExitStatus::Interrupted);
        }
        let file = file_name(&job.case.id);
        let path = out.join(&file);
        let result = if path.is_file() { Ok(()) } else { one(job, &model, &options, device, precision, &path) };
        match result {
            Ok(()) => rows.push(Row {
                id: job.case.id.clone(),
                split: job.split.to_owned(),
                file,
                image: job.case.image.portable(&job.root),
                label: job.case.label.as_ref().map(|l| l.portable(&job.root)).unwrap_or_default(),
            }),
            Err(error) => {
                failed += 1;
                progress.suspend(|| context.tell(message(&job.case.id, &error)));
            }
        }
        progress.step(&job.case.id);
    }
    progress.finish();
    if rows.is_empty() {
        return Err(Message::error("E413", "no image could be predicted").fix("See the messages above").into());
    }
    atomic::write(&out.join(TABLE), &cases::to_csv(&rows)?)?;
    fs_err::remove_file(out.join(WORK))?;
    manifest.datasets = trained.datasets.clone();
    manifest.licence = trained.licence.clone();
    manifest.counts.insert("cases".to_owned(), rows.len() as u64);
    manifest.counts.insert("failed".to_owned(), failed);
    context.count("predicted", rows.len() as u64);
    context.count("failed", failed);
    manifest.finish(out, |path| if path == TABLE { "cases" } else { "predictions" })?;
    context.say(&format!("{} label maps, {failed} failed: {}", rows.len(), out.display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

fn file_name(id: &str) -> String {
    format!("{id}.nii.gz")
}

/// Keeps the label maps of the same, interrupted work; removes all others.
fn begin(out: &Path, work: &str, jobs: &[Job]) -> anyhow::Result<()> {
    let path = out.join(WORK);
    let same = path.is_file() && fs_err::read_to_string(&path)? == work;
    let wanted: BTreeSet<String> = jobs.iter().map(|j| file_name(&j.case.id)).collect();
    for entry in fs_err::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name.ends_with(".nii.gz") || name == TABLE;
        if ours && !(same && wanted.contains(&name)) {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(atomic::write(&path, work.as_bytes())?)
}

/// The cases of raw folders in the wanted parts, and single files.
fn jobs(arguments: &Predict, model: &Model, context: &Context) -> anyhow::Result<Vec<Job>> {
    let split: Split = serde_json::from_slice(&fs_err::read(arguments.model.join("split.json"))?)
        .with_context(|| format!("cannot read {}", arguments.model.join("split.json").display()))?;
    let (train, val): (BTreeSet<_>, BTreeSet<_>) = (split.train.iter().collect(), split.val.iter().collect());
    let mut jobs: Vec<Job> = Vec::new();
    for input in &arguments.input {
        if input.is_dir() {
            let listing = raw::list(&model.plan.descriptor, input)?;
            for problem in listing.problems.into_iter().filter(|p| p.severity == Severity::Error) {
                context.tell(problem);
            }
            for case in listing.cases {
                let part = match case.split {
                    CaseSplit::Test => "test",
                    CaseSplit::Train if val.contains(&case.id) => "val",
                    CaseSplit::Train if train.contains(&case.id) => "train",
                    CaseSplit::Train => continue,
                };
                if arguments.cases.iter().any(|wanted| wanted == part) {
                    jobs.push(Job { case, split: part, root: input.clone() });
                }
            }
        } else if input.is_file() {
            let name = input.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let id = raw::stem(&name).to_owned();
            let image = if name.ends_with(".nii") || name.ends_with(".nii.gz") {
                Source::Nifti(input.clone())
            } else {
                Source::CremiRaw(input.clone())
            };
            let root = input.parent().unwrap_or(Path::new("")).to_owned();
            let case = RawCase { subject: id.clone(), id, image, label: None, split: CaseSplit::Test };
            jobs.push(Job { case, split: "given", root });
        } else {
            return Err(Message::error("E414", "an input does not exist")
                .detail(input.display().to_string())
                .fix("Give --input image files, or the raw folder of the data set")
                .into());
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = jobs.iter().find(|j| !seen.insert(j.case.id.to_lowercase())) {
        return Err(Message::error("E190", format!("two inputs are called '{}'", twice.case.id))
            .fix("Predict them into different directories")
            .into());
    }
    if jobs.is_empty() {
        return Err(Message::error("E414", format!("no case in the parts {}", arguments.cases.join(", ")))
            .fix("Name other parts with --cases")
            .into());
    }
    Ok(jobs)
}

fn one(
    job: &Job,
    model: &Model,
    options: &SlidingWindow,
    device: Device,
    precision: Precision,
    path: &Path,
) -> anyhow::Result<()> {
    let descriptor = &model.plan.descriptor;
    let file = job.case.image.path();
    let in_image = |e: volume::VolumeError| e.in_file(file);
    let RawImage { channels, grid, mut data, .. } = open::image(&job.case.image)?;
    if channels != descriptor.channels.len() {
        let found = format!("found {channels} channels, expected {}", descriptor.channels.len());
        return Err(Message::error("E141", found)
            .detail(format!("{}: the model takes {}", file.display(), descriptor.channels.join(", ")))
            .into());
    }
    intensity::check_finite(&mut data, channels, NonFinite::Error).map_err(in_image)?;
    intensity::check_varies(&data, channels).map_err(in_image)?;
    let rule = descriptor.intensity.rule();
    let prepared =
        prepare::image(&data, channels, &grid, descriptor.spacing_zyx_mm(), &rule).map_err(in_image)?;
    drop(data);
    let [z, y, x] = prepared.grid.shape_zyx.map(|n| n as i64);
    let volume = Tensor::from_slice(&prepared.data).view([channels as i64, z, y, x]);
    let scores =
        scores(&volume, options, &model.network, precision, device).map_err(|e| e.message())?;
    let classes = scores.size()[0] as usize;
    let scores = Vec::<f32>::try_from(&scores.contiguous().view(-1))?;
    let labels = prepared.steps.classes_on_source(&scores, classes)?;
    match &job.case.image {
        Source::Nifti(reference) => nifti::write_labels_like(path, &labels, reference)?,
        Source::CremiRaw(_) | Source::CremiLabels(..) => nifti::write_labels(path, &labels, &grid)?,
    }
    Ok(())
}

fn message(case: &str, error: &anyhow::Error) -> Message {
    if let Some(message) = error.downcast_ref::<Message>() {
        return message.clone().case(case);
    }
    match error.downcast_ref::<volume::VolumeError>() {
        Some(volume) => {
            let message = Message::error(volume.code(), volume.to_string()).case(case);
            volume.hint().map_or(message.clone(), |hint| message.fix(hint))
        }
        None => Message::error("E499", format!("{error:#}")).case(case),
    }
}
