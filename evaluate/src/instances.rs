//! `evaluate instances`: maps of objects, such as neurons, against their references.

mod pairs;
mod tally;

use crate::maps::{Map, Reader, artefacts};
use crate::missing::Missing;
use crate::objects::{Measured, summarise, table};
use crate::remarks::{Remark, Remarks};
use crate::score::{METRICS, clear, pretty, refuse_foreign};
use crate::scoring::{Placed, check_grid};
use crate::splits;
use crate::summary::{self, CaseCounts};
use crate::warned;
use anyhow::Result;
use clap::{Args, ValueEnum};
use data_manifests::{Artefact, Descriptor, Manifest, digest};
use metrics::{InstanceScores, Table};
use pairs::{Listed, Pair, case_ids, pairs_of};
use serde::Serialize;
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic, interrupt};
use std::path::{Path, PathBuf};
use tally::tally;

/// What the reference's value 0 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Zero {
    /// No object: its voxels are not evaluated
    Ignore,
    /// An object like others, as in CREMI's evaluation with a border
    Score,
}

/// Arguments of `instances`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "A label map is FILE.h5#NAME (CREMI's layout), a NIfTI, MetaImage or NRRD file, a TIFF stack, an OME-Zarr image (ID.zarr), or the folder of a case in shards.
Volumes are read slab by slab; memory depends on the number of object pairs, not on voxels.

Example:
  evaluate instances --references sample_A.hdf#neuron_ids --predictions segmented_A.hdf#neuron_ids --dataset cremi-a --border-nm 25 --out runs/scores-a
  evaluate instances --references raw/CREMI --predictions runs/neurons --dataset cremi-a --out runs/scores-a"
)]
pub struct InstancesArguments {
    /// Reference label maps; or the raw folder of the data set, where the predictions are a directory of 'finetune instances'
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub references: Vec<String>,
    /// Predicted label maps, in the order of the references; or the directory that 'finetune instances' wrote
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub predictions: Vec<String>,
    /// Data set: a built-in name or a descriptor file, for names and published results
    #[arg(long, value_name = "NAME|FILE")]
    pub dataset: Option<String>,
    /// Output directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Cases of a directory of 'finetune instances' of which no objects could be made
    #[arg(long, value_enum, default_value = "error")]
    pub missing: Missing,
    /// Splits to score, as in instances.csv (train, val, test, given) [default: all but train]
    #[arg(long, value_name = "SPLIT", value_delimiter = ',')]
    pub split: Vec<String>,
    /// Leave out voxels within this distance of a border in their section, in nm (CREMI: 25)
    #[arg(long, value_name = "NM")]
    pub border_nm: Option<f64>,
    /// What 0 in the reference is [default: ignore; score with --border-nm, as CREMI does]
    #[arg(long, value_enum)]
    pub zero: Option<Zero>,
    /// Voxels that a part needs to count as a split or merge
    #[arg(long, value_name = "N", default_value = "1")]
    pub min_part: u64,
}

impl InstancesArguments {
    /// What 0 in the reference is.
    pub(crate) fn zero(&self) -> Zero {
        self.zero.unwrap_or(if self.border_nm.is_some() { Zero::Score } else { Zero::Ignore })
    }
}

/// What decides the outputs.
#[derive(Debug, Serialize)]
struct Parameters<'a> {
    kind: &'static str,
    descriptor: String,
    border_nm: Option<f64>,
    zero: Zero,
    min_part: u64,
    missing: Missing,
    splits: &'a [String],
    /// Reference and prediction.
    pairs: Vec<(&'a str, Option<&'a str>)>,
}

/// Runs `instances`.
///
/// # Errors
/// Lists of different length, arguments that make no sense, or no case that could be scored.
pub(crate) fn run(arguments: &InstancesArguments, context: &Context) -> Result<ExitStatus> {
    check(arguments)?;
    let described = arguments.dataset.as_deref().map(Descriptor::find).transpose()?;
    // any data set of objects will do for reading where none is named: no map of values applies then
    let objects = match &described {
        Some(descriptor) => descriptor.clone(),
        None => Descriptor::find("cremi-a")?,
    };
    if !objects.foreground_classes().is_empty() {
        return Err(Message::error("E508", format!("'{}' has classes, not objects", objects.name))
            .fix("Score classes with 'evaluate score', or leave --dataset out")
            .into());
    }
    refuse_foreign(&arguments.out)?;
    let output = context.open_output(&arguments.out)?;
    let Listed { pairs: mut listed, failed: unknown } = pairs_of(arguments, described.as_ref(), context)?;
    let all = listed.len() + unknown.len();
    let missing = match resolve_missing(arguments, &mut listed, all, context) {
        Ok(missing) => missing,
        Err(refusal) => {
            // nothing will be scored, and whoever makes the missing ones wants to know of the others
            let errors = case_ids(&listed).into_iter().zip(&listed).filter_map(|(case, pair)| {
                opened(&case, &pair.reference, pair.prediction.as_deref(), &objects).err()
            });
            unknown.into_iter().chain(errors).for_each(|message| context.tell(message));
            return Err(refusal);
        }
    };
    let pairs: Vec<_> = listed.iter().map(|p| (p.reference.as_str(), p.prediction.as_deref())).collect();
    let parameters = Parameters {
        kind: "instances",
        descriptor: digest::digest_of(&described)?,
        border_nm: arguments.border_nm,
        zero: arguments.zero(),
        min_part: arguments.min_part,
        missing: arguments.missing,
        splits: &arguments.split,
        pairs: pairs.clone(),
    };
    let mut manifest = Manifest::new(
        "score",
        env!("CARGO_PKG_VERSION"),
        "evaluate",
        &parameters,
        inputs(&pairs, &arguments.out)?,
    )?;
    if unknown.is_empty()
        && manifest.reusable(&arguments.out)?.is_some_and(|found| found.counts.get("failed") == Some(&0))
    {
        let text = format!("{} is up to date: same inputs, same parameters", arguments.out.display());
        context.tell(Message::info("I500", text));
        return Ok(ExitStatus::Done);
    }
    output.to_write()?;
    atomic::sweep(&arguments.out)?;
    Manifest::withdraw(&arguments.out)?;
    clear(&arguments.out)?;
    let mut measured: Vec<Measured> = Vec::new();
    let mut failed = unknown.len() as u64;
    for message in unknown {
        context.tell(message);
    }
    let mut told = Remarks::default();
    for (case, Pair { reference, prediction, .. }) in case_ids(&listed).into_iter().zip(&listed) {
        if interrupt::requested() {
            break;
        }
        let mut remarks = Vec::new();
        let outcome =
            score(&case, reference, prediction.as_deref(), arguments, &objects, &mut remarks, context);
        for remark in remarks {
            told.tell(remark, context);
        }
        match outcome {
            Ok(found) => measured.push(found),
            Err(message) => {
                context.tell(message);
                failed += 1;
            }
        }
    }
    told.finish(context);
    if interrupt::requested() {
        return Ok(ExitStatus::Interrupted);
    }
    if measured.is_empty() {
        return Err(Message::error("E507", format!("none of {} could be scored", counted(all, "case")))
            .fix("Correct the errors above")
            .into());
    }
    let counts = CaseCounts { listed: all as u64, scored: measured.len() as u64, failed, missing };
    atomic::write(&arguments.out.join(METRICS), &table(&measured)?)?;
    let splits = splits::distinct(listed.iter().map(|pair| pair.split.as_deref()));
    let summary =
        summarise(arguments, described.as_ref(), splits, counts, &measured, warned::so_far(context));
    atomic::write(&arguments.out.join(summary::FILE_NAME), &pretty(&summary)?)?;
    manifest.datasets = vec![summary.gtgm.dataset.name.clone()];
    manifest.licence = summary.gtgm.dataset.licence.clone();
    for (name, value) in
        [("listed", counts.listed), ("scored", counts.scored), ("failed", failed), ("missing", missing)]
    {
        manifest.counts.insert(name.to_owned(), value);
        context.count(name, value);
    }
    manifest.finish(&arguments.out, |path| if path == METRICS { "metrics" } else { "summary" })?;
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

fn check(arguments: &InstancesArguments) -> Result<()> {
    if let Some(nm) = arguments.border_nm.filter(|nm| !(nm.is_finite() && *nm >= 0.0)) {
        return Err(Message::error("E510", format!("--border-nm must not be negative, found {nm}")).into());
    }
    Ok(())
}

/// Applies `--missing`; gives how many of all cases have no objects.
fn resolve_missing(
    arguments: &InstancesArguments,
    listed: &mut Vec<Pair>,
    all: usize,
    context: &Context,
) -> Result<u64> {
    let lost = listed.iter().filter(|pair| pair.prediction.is_none());
    let lost: Vec<String> = lost.filter_map(|pair| pair.case.clone()).collect();
    arguments.missing.tell(&lost, all, arguments.predictions.join(", "), context)?;
    if arguments.missing == Missing::Skip {
        listed.retain(|pair| pair.prediction.is_some());
    }
    Ok(lost.len() as u64)
}

/// Digests of everything that is read; a case in shards is a folder.
fn inputs(pairs: &[(&str, Option<&str>)], out: &Path) -> Result<Vec<Artefact>> {
    let mut inputs = Vec::new();
    let references = pairs.iter().map(|pair| ("references", pair.0));
    let predictions = pairs.iter().filter_map(|pair| Some(("predictions", pair.1?)));
    for (role, map) in references.chain(predictions) {
        let path = Path::new(map.split('#').next().unwrap_or(map));
        // what is not there fails as its case
        if path.exists() {
            inputs.extend(artefacts(role, path, out)?);
        }
    }
    Ok(inputs)
}

/// Opens the maps of a case, which must lie on one grid; gives a warning where they nearly do.
fn opened(
    case: &str,
    reference: &str,
    prediction: Option<&str>,
    objects: &Descriptor,
) -> Result<(Reader, Option<Reader>, Option<Message>), Message> {
    let mut plain = objects.clone();
    if let Some(labels) = &mut plain.labels {
        labels.map.clear();
    }
    let map = |text: &str| Map::named(text, Path::new("")).with_labels(case);
    let truth = Reader::open(case, &map(reference)?, objects)?;
    let Some(prediction) = prediction else { return Ok((truth, None, None)) };
    let guess = Reader::open(case, &map(prediction)?, &plain)?;
    let [of_truth, of_guess] = [&truth, &guess].map(|ids| Placed { path: &ids.path, grid: &ids.grid });
    let warning = check_grid(case, &of_truth, &of_guess)?;
    Ok((truth, Some(guess), warning))
}

/// Scores a case; without a prediction, one without objects stands in. What is odd about its files is added to `remarks`.
fn score(
    case: &str,
    reference: &str,
    prediction: Option<&str>,
    arguments: &InstancesArguments,
    objects: &Descriptor,
    remarks: &mut Vec<Remark>,
    context: &Context,
) -> Result<Measured, Message> {
    let (mut truth, mut guess, warning) = opened(case, reference, prediction, objects)?;
    if let Some(warning) = warning {
        context.tell(warning);
    }
    let (truth_path, grid) = (truth.path.clone(), truth.grid);
    let width = arguments.border_nm.map(|nm| nm / (grid.spacing_zyx_mm()[1] * 1e6));
    let table = tally(case, &mut truth, guess.as_mut(), arguments.zero(), width, context)?;
    for map in std::iter::once(&truth).chain(&guess) {
        remarks.extend(map.remarks(case));
    }
    let text = format!(
        "contingency {:.1} M pairs, {:.2} GB",
        table.pairs() as f64 / 1e6,
        table.bytes() as f64 / 1e9
    );
    context.tell(Message::info("I507", text).case(case));
    let Some(scores) = InstanceScores::of(&table, arguments.min_part) else {
        let mut why = vec!["not annotated".to_owned()];
        if arguments.zero() == Zero::Ignore {
            why.insert(0, "background".to_owned());
        }
        why.extend(arguments.border_nm.map(|nm| format!("within {nm} nm of a border")));
        return Err(Message::error(
            "E508",
            format!("no evaluable voxel: every reference voxel is {}", why.join(" or ")),
        )
        .case(case)
        .detail(truth_path.display().to_string())
        .fix("Give the reference's object ids; lower --border-nm if it covers everything"));
    };
    if let Some(warning) = one_object(&table) {
        context.tell(warning.case(case).detail(truth_path.display().to_string()));
    }
    Ok(Measured {
        case: case.to_owned(),
        reference: reference.to_owned(),
        prediction: prediction.map(str::to_owned),
        scores: scores.named(arguments.min_part),
        voxels: [table.evaluated(), table.voxels()],
        objects: scores.objects,
    })
}

/// A warning where one object of the reference is nearly all of it: a right division of it counts as an error then.
fn one_object(table: &Table) -> Option<Message> {
    let (objects, largest) = table.reference_objects();
    volume::labels::leaking_share(objects, largest, table.evaluated()).map(|share| {
        let text = format!(
            "one of the reference's {objects} objects is {:.1} % of it: VOI and Rand error say little",
            share * 100.0
        );
        Message::warning("W506", text)
            .cause("Objects that were made by connecting what lies between membranes leak from section to section")
            .fix("Score against objects that were drawn, or connected within sections only")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_volumes_have_one_name() {
        let ids = |references: &[&str]| {
            let pair =
                |r: &&str| Pair { case: None, split: None, reference: (*r).to_owned(), prediction: None };
            case_ids(&references.iter().map(pair).collect::<Vec<_>>())
        };
        assert_eq!(ids(&["x/crop-2.h5#ids", "x/crop.h5", "x/crop-3.h5"]), ["crop-2", "crop", "crop-3"]);
        assert_eq!(ids(&["a/x.h5", "b/x.h5", "c/x-2.h5", "d/x.h5"]), ["x", "x-3", "x-2", "x-4"]);
    }
}
