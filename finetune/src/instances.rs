//! `finetune instances`: affinities to objects, block by block.

mod evidence;
pub(crate) mod method;
mod needs;

pub(crate) use evidence::{OnDisk, of_blocks};
pub(crate) use needs::Needs;

use crate::arguments::{Instances, MethodName, StackFormat};
use crate::chosen;
use crate::kept::{Kept, Named, WORK};
use crate::predict::{Row, TABLE};
use crate::stacks::{Failure, Labels, ZARR, create_labels, each_section};
use crate::threshold::Choice;
use data_manifests::{Artefact, Manifest, cases};
use label_maps::Method;
use label_maps::blocks::instances_in_blocks;
use label_maps::window::Blocks;
use patches::stack::{self, Numbers};
use serde::Serialize;
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic, interrupt};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use volume::hdf5::NEURON_IDS;

/// Table of a directory of objects.
const OUT_TABLE: &str = "instances.csv";
const KEPT: Kept = Kept { stage: "instances", role, tables: &[OUT_TABLE], endings: &[".h5", ZARR] };

/// The role of a file in the manifest.
fn role(path: &str) -> &'static str {
    match path {
        OUT_TABLE => "cases",
        WORK => "record",
        _ => "instances",
    }
}

#[derive(Debug, Serialize)]
struct Parameters<'a> {
    method: &'a Method,
    blocks: &'a Blocks,
    smallest: u64,
    /// HDF5 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<StackFormat>,
}

/// A row of the table.
#[derive(Debug, Serialize)]
struct OutRow {
    id: String,
    split: String,
    /// HDF5 file and the labels in it.
    file: String,
    /// Source image below `$RAW`.
    image: String,
    /// Its label below `$RAW`; empty without one.
    label: String,
    objects: u64,
}

/// Runs the command.
pub(crate) fn run(arguments: &Instances, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    KEPT.refuse_foreign(out)?;
    let output = context.open_output(out)?;

    let predicted = Manifest::load(&arguments.predictions, "predict")?;
    let rows = rows_of(&arguments.predictions)?;
    let mut inputs = vec![Manifest::as_input("affinities", &arguments.predictions, out)?];
    let (method, pieces) = match &arguments.choice {
        Some(file) => {
            inputs.push(Artefact::of_file("choice", file, out)?);
            let models = chosen::predicted_by(&predicted, &arguments.predictions);
            let choice = chosen::load::<Choice>(file, &models)?;
            (choice.method()?, choice.pieces())
        }
        None => {
            arguments.details.refuse_idle(&[arguments.method])?;
            if arguments.threshold.is_some() && arguments.method == MethodName::MutexWatershed {
                return Err(Message::error("E434", "the mutex watershed has no threshold")
                    .fix("Leave out --threshold, or choose another --method")
                    .into());
            }
            let threshold = arguments.threshold.unwrap_or(0.5);
            (method::of(arguments.method, threshold, arguments.details)?, arguments.pieces)
        }
    };
    let blocks = method::blocks(&method, pieces)?;
    let smallest = pieces.smallest;
    let format = Some(arguments.format).filter(|format| *format != StackFormat::Hdf5);
    let parameters = Parameters { method: &method, blocks: &blocks, smallest, format };
    let mut manifest =
        Manifest::new("instances", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    if manifest.reusable(out)?.is_some_and(|found| found.counts.get("failed") == Some(&0)) {
        context.say(&format!("Nothing to do: {} holds these objects already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    // all that can be refused is, before the objects of an earlier run go
    let mut needs = Needs::beside(0);
    let mut refused = Vec::new();
    for row in &rows {
        let checked = needs.add(&arguments.predictions.join(&row.file), &method, &blocks);
        refused.extend(checked.err().map(|message| message.case(&row.id)));
    }
    if refused.len() == rows.len() {
        refused.into_iter().for_each(|message| context.tell(message));
        return Err(no_objects().into());
    }
    needs.tell(arguments.choice.is_some(), context);
    output.to_write()?;
    let work = format!("{} {}\n", manifest.work, env!("CARGO_PKG_VERSION"));
    let wanted = rows.iter().map(|row| file_name(&row.id, arguments.format)).collect();
    KEPT.refuse_loss(out, &rows.iter().map(|row| row.id.as_str()).collect(), arguments.overwrite)?;
    KEPT.begin(out, &work, &Named { wanted, lost: BTreeSet::new() })?;

    let mut made = Vec::new();
    let mut failed = 0;
    for row in rows {
        if interrupt::requested() {
            return Ok(interrupted(made.len(), context));
        }
        let name = file_name(&row.id, arguments.format);
        let source = arguments.predictions.join(&row.file);
        let path = out.join(&name);
        let result = match path.exists() {
            true => kept_objects(&path),
            false => objects(&source, &path, &row.id, &parameters, &needs, context),
        };
        match result {
            Ok(objects) => made.push(OutRow {
                id: row.id,
                split: row.split,
                file: match arguments.format {
                    StackFormat::Hdf5 => format!("{name}#{NEURON_IDS}"),
                    StackFormat::Zarr => name,
                },
                image: row.image,
                label: row.label,
                objects,
            }),
            Err(_) if interrupt::requested() => return Ok(interrupted(made.len(), context)),
            Err(message) => {
                failed += 1;
                context.tell(message.case(&row.id));
            }
        }
    }
    if made.is_empty() {
        return Err(no_objects().into());
    }
    atomic::write(&out.join(OUT_TABLE), &cases::to_csv(&made)?)?;
    manifest.datasets = predicted.datasets.clone();
    manifest.licence = predicted.licence.clone();
    let objects = made.iter().map(|row| row.objects).sum();
    for (name, value) in [("cases", made.len() as u64), ("failed", failed), ("objects", objects)] {
        manifest.counts.insert(name.to_owned(), value);
        context.count(name, value);
    }
    let trees = KEPT.trees(out)?;
    manifest.finish_with(out, trees, role)?;
    let (objects, volumes) = (counted(objects as usize, "object"), counted(made.len(), "volume"));
    context.say(&format!("{objects} in {volumes}, {failed} failed: {}", out.display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

/// The cases of a directory of affinities.
///
/// # Errors
/// `E436` for label maps.
pub(crate) fn rows_of(predictions: &Path) -> anyhow::Result<Vec<Row>> {
    let rows: Vec<Row> = cases::from_csv(&predictions.join(TABLE))?;
    let is_map = |file: &str| match file.strip_suffix(ZARR) {
        Some(_) => !stack::is_image(&predictions.join(file)),
        None => !file.ends_with(".h5"),
    };
    if rows.iter().any(|row| is_map(&row.file)) {
        return Err(Message::error("E436", "these predictions are label maps of classes, not affinities")
            .detail(predictions.display().to_string())
            .fix("Predict with a model that was trained on a data set of objects (labels.kind = \"instances\")")
            .into());
    }
    Ok(rows)
}

fn no_objects() -> Message {
    Message::error("E419", "no objects could be made").fix("See the messages above")
}

fn file_name(id: &str, format: StackFormat) -> String {
    match format {
        StackFormat::Hdf5 => format!("{id}.h5"),
        StackFormat::Zarr => format!("{id}{ZARR}"),
    }
}

fn interrupted(done: usize, context: &Context) -> ExitStatus {
    let text = format!("interrupted: the objects of {} are done", counted(done, "case"));
    context.tell(Message::info("I306", text).fix("Rerun the same command to continue"));
    ExitStatus::Interrupted
}

/// Number of the objects in a file of an interrupted run: they are numbered from 1.
fn kept_objects(path: &Path) -> Result<u64, Message> {
    let mut largest = 0;
    let see = |section: &[u64]| largest = section.iter().copied().fold(largest, u64::max);
    each_section(path, NEURON_IDS, see).map_err(|failure| failure.0)?;
    Ok(largest)
}

/// Makes the objects of one file; gives their number.
fn objects(
    source: &Path,
    out: &Path,
    case: &str,
    parameters: &Parameters<'_>,
    needs: &Needs,
    context: &Context,
) -> Result<u64, Message> {
    let affinities = OnDisk::open(source, parameters.method)?;
    let memory = needs.memory(affinities.info().shape_zyx);
    let mut progress = None;
    let mut count = 0;
    let fill = |labels: &mut Labels<'_>| -> Result<(), Failure> {
        let mut step = |done: usize, total: usize| {
            progress.get_or_insert_with(|| context.progress(case, total as u64)).step(case);
            go_on(done, total)
        };
        let Parameters { method, blocks, smallest, .. } = parameters;
        let made = instances_in_blocks(&affinities, labels, method, blocks, *smallest, memory, &mut step);
        count = made.map_err(|error| of_blocks(&error))?;
        Ok(())
    };
    let result = create_labels(out, NEURON_IDS, affinities.info(), Numbers::U64, fill);
    if let Some(progress) = progress {
        progress.finish();
    }
    result.map(|()| count).map_err(|failure| failure.0)
}

/// Whether blocks go on, of which some are done: not where a stop was asked for.
pub(crate) fn go_on(done: usize, total: usize) -> ControlFlow<()> {
    match interrupt::requested() && done < total {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}
