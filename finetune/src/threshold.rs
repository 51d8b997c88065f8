//! `finetune threshold`: by which method and threshold the affinities of labelled volumes become objects that are most like theirs.
//!
//! Memory: the reference and the objects of a volume ([`BYTES_PER_VOXEL`]), beside what making objects takes.

mod choice;

pub(crate) use choice::Choice;

use crate::arguments::{Criterion, MethodName, Threshold};
use crate::chosen;
use crate::flaw::message_of;
use crate::instances::{Needs, OnDisk, go_on, method, of_blocks, rows_of};
use crate::model;
use crate::predict::Row;
use choice::Trial;
use data_manifests::raw::open::{self, RawVoxels};
use data_manifests::{Descriptor, Manifest};
use label_maps::storage::MemoryStore;
use label_maps::{Method, instances_in_blocks};
use metrics::{Contingency, InstanceScores};
use stage::{Context, ExitStatus, Message, atomic, interrupt};
use volume::hdf5::NOT_ANNOTATED;

/// Bytes of each voxel of the reference and of the objects.
const BYTES_PER_VOXEL: u64 = 16;

/// Runs the command.
pub(crate) fn run(arguments: &Threshold, context: &Context) -> anyhow::Result<ExitStatus> {
    let first = arguments.model.first().map(|given| model::stored_plan(&model::file_of(given)));
    let plan = first.ok_or_else(|| Message::error("E410", "no model was given"))??;
    let predicted = Manifest::load(&arguments.predictions, "predict")?;
    let (given, models) =
        (chosen::given(&arguments.model)?, chosen::predicted_by(&predicted, &arguments.predictions));
    if !chosen::same(&given, &models) {
        return Err(Message::error("E437", "these predictions are of other models")
            .detail(arguments.predictions.display().to_string())
            .fix("Give --predictions what 'finetune predict' wrote with the same --model")
            .into());
    }
    let rows = rows_of(&arguments.predictions)?;
    let is_asked = |row: &Row| !row.label.is_empty() && arguments.cases.contains(&row.split);
    let rows: Vec<Row> = rows.into_iter().filter(is_asked).collect();
    if rows.is_empty() {
        let cases = arguments.cases.join(",");
        return Err(Message::error(
            "E437",
            format!("no labelled volume of {cases} is among these predictions"),
        )
        .detail(arguments.predictions.display().to_string())
        .fix(format!("Predict them: 'finetune predict --cases {cases}' with the raw folder as --input"))
        .into());
    }
    arguments.details.refuse_idle(&arguments.methods)?;
    let mut trials = trials(arguments)?;
    let mut needs = Needs::beside(BYTES_PER_VOXEL);
    for row in &rows {
        for (_, method) in &trials {
            let blocks = method::blocks(method, arguments.pieces)?;
            let checked = needs.add(&arguments.predictions.join(&row.file), method, &blocks);
            checked.map_err(|message| message.case(&row.id))?;
        }
    }
    needs.tell(false, context);
    let progress = context.progress("trials", (rows.len() * trials.len()) as u64);
    for row in &rows {
        let truth = Truth::of(row, arguments, &plan.descriptor)?;
        for (trial, method) in &mut trials {
            let scores = scores(row, arguments, method, &truth, &needs);
            if interrupt::requested() {
                progress.finish();
                let text = "interrupted: nothing was chosen";
                context.tell(Message::info("I306", text).fix("Rerun the same command"));
                return Ok(ExitStatus::Interrupted);
            }
            trial.add(&scores.map_err(|message| message.case(&row.id))?);
            progress.step(&row.id);
        }
    }
    progress.finish();
    let trials = trials.into_iter().map(|(trial, _)| trial.mean(rows.len())).collect();
    let ids = rows.into_iter().map(|row| row.id).collect();
    let models = chosen::stored(&models, &given);
    let choice = Choice::new(models, ids, arguments.by, (arguments.details, arguments.pieces), trials)?;
    for line in choice.lines() {
        context.print(&line)?;
    }
    let mut bytes = serde_json::to_vec_pretty(&choice)?;
    bytes.push(b'\n');
    atomic::write(&arguments.out, &bytes)?;
    context.say(&format!("Choice for 'finetune instances --choice': {}", arguments.out.display()));
    Ok(ExitStatus::Done)
}

/// What is tried: each method once with each threshold, where it has one.
fn trials(arguments: &Threshold) -> anyhow::Result<Vec<(Trial, Method)>> {
    let mut trials: Vec<(Trial, Method)> = Vec::new();
    for name in &arguments.methods {
        let thresholds: Vec<Option<f64>> = match name {
            MethodName::MutexWatershed => vec![None],
            _ => arguments.thresholds.iter().copied().map(Some).collect(),
        };
        for threshold in thresholds {
            let trial = Trial::new(*name, threshold);
            if trials.iter().all(|(other, _)| *other != trial) {
                let method = method::of(*name, threshold.unwrap_or_default(), arguments.details)?;
                trials.push((trial, method));
            }
        }
    }
    Ok(trials)
}

/// The true objects of a volume.
struct Truth {
    shape_zyx: [usize; 3],
    ids: Vec<u64>,
}

impl Truth {
    fn of(row: &Row, arguments: &Threshold, descriptor: &Descriptor) -> anyhow::Result<Self> {
        let reference = row.reference(&arguments.references, "E437")?;
        let labels = open::labels(&reference, descriptor).map_err(|e| message_of(&e).case(&row.id))?;
        let ids = match labels.voxels {
            RawVoxels::Wide(ids) => ids,
            RawVoxels::Narrow(ids) => ids.into_iter().map(u64::from).collect(),
        };
        Ok(Self { shape_zyx: labels.grid.shape_zyx, ids })
    }
}

/// Makes objects and compares them with the true ones, where somebody annotated and there is an object.
fn scores(
    row: &Row,
    arguments: &Threshold,
    method: &Method,
    truth: &Truth,
    needs: &Needs,
) -> Result<InstanceScores, Message> {
    let affinities = OnDisk::open(&arguments.predictions.join(&row.file), method)?;
    let shape_zyx = affinities.info().shape_zyx;
    if shape_zyx != truth.shape_zyx {
        return Err(Message::error("E437", "affinities and reference differ in shape (z, y, x)")
            .detail(format!("{shape_zyx:?} and {:?}", truth.shape_zyx))
            .fix("Give --references the raw folder that was predicted"));
    }
    let mut store = MemoryStore::new(shape_zyx);
    let blocks = method::blocks(method, arguments.pieces)?;
    let smallest = arguments.pieces.smallest;
    instances_in_blocks(
        &affinities,
        &mut store,
        method,
        &blocks,
        smallest,
        needs.memory(shape_zyx),
        &mut go_on,
    )
    .map_err(|error| of_blocks(&error))?;
    let mut contingency = Contingency::new();
    let ids = &truth.ids;
    contingency.add(ids, store.labels(), |voxel| ids[voxel] != 0 && ids[voxel] != NOT_ANNOTATED);
    InstanceScores::of(&contingency.finish(), 1)
        .ok_or_else(|| Message::error("E437", "no voxel of the reference belongs to an object"))
}

impl Criterion {
    /// What should be low of a trial; none where it is 0 / 0.
    fn of(self, trial: &Trial) -> Option<f64> {
        match self {
            Self::Voi => Some(trial.voi()),
            Self::Arand => trial.arand,
            Self::Cremi => trial.cremi,
        }
    }
}
