//! Which prediction belongs to which reference.

mod listed;

use crate::maps::Map;
use crate::score::ScoreArguments;
use crate::splits::takes;
use anyhow::Result;
use data_manifests::descriptor::Raw;
use data_manifests::raw::{self, SCAN_ENDINGS, Source};
use data_manifests::{Artefact, Descriptor, Manifest, cases};
use serde::Deserialize;
use serde_json::Value;
use stage::message::counted;
use stage::{Context, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Table of a prediction directory.
pub(crate) const PREDICTIONS: &str = "predictions.csv";

/// What stands behind a case's id in the names of its probabilities.
const PROBABILITIES: &str = ".probabilities";

/// A case to score.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// Case id.
    pub(crate) id: String,
    /// `train`, `val`, `test` or `given`, where predictions say.
    pub(crate) split: Option<String>,
    /// The reference label map.
    pub(crate) reference: Map,
    /// The predicted label map; `None` when there is none.
    pub(crate) prediction: Option<Map>,
    /// Where that lies below the predictions, and what their manifest says of it: a file, or the directory of an OME-Zarr image.
    pub(crate) expected: Option<(PathBuf, Artefact)>,
    /// The image, when the references' directory holds it.
    pub(crate) image: Option<Source>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Pairing {
    /// Cases sorted by id.
    pub(crate) pairs: Vec<Pair>,
    /// Cases that cannot be scored because their reference is not there.
    pub(crate) failed: Vec<Message>,
    /// Whether the predictions are a finished stage.
    pub(crate) has_manifest: bool,
    /// The first prediction that a table of `--pairs` names and that is not there.
    pub(crate) absent: Option<PathBuf>,
}

/// A row of [`PREDICTIONS`].
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    split: String,
    file: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    label: String,
}

/// Pairs predictions with references.
///
/// A table given by `--pairs` lists them. A finished prediction directory says itself which cases it holds and where their labels
/// lie; any other directory is matched by names (`ID.nii.gz`, `ID.h5`, a folder `ID` of shards), and then every reference needs a
/// prediction.
///
/// # Errors
/// Directories that are not there, a broken manifest or table, no case at all.
pub(crate) fn pair(
    arguments: &ScoreArguments,
    descriptor: &Descriptor,
    context: &Context,
) -> Result<Pairing> {
    if let Some(table) = &arguments.pairs {
        return listed::listed(table);
    }
    let (references, predictions) = (arguments.references(), arguments.predictions());
    let flags = predictions.iter().map(|directory| ("--predictions", *directory));
    for (flag, directory) in std::iter::once(("--references", references)).chain(flags) {
        if !directory.is_dir() {
            return Err(Message::error("E506", format!("{flag} is not a directory"))
                .detail(format!("{} does not exist", directory.display()))
                .fix(format!("Give {flag} an existing directory"))
                .into());
        }
    }
    let is_stage = |directory: &Path| directory.join(data_manifests::manifest::FILE_NAME).is_file();
    let mut pairing = match predictions[..] {
        [directory] if !is_stage(directory) => by_name(arguments, directory, descriptor, context)?,
        _ => pooled(arguments, &predictions, descriptor, context)?,
    };
    pairing.pairs.sort_by(|a, b| a.id.cmp(&b.id));
    if pairing.pairs.is_empty() && pairing.failed.is_empty() {
        let detail = format!(
            "{} and {} have no case in common that has a reference",
            names(&predictions),
            references.display()
        );
        return Err(Message::error("E507", "there is nothing to score")
            .detail(detail)
            .cause("The predictions are of unlabelled images, --split leaves nothing, or --references is another data set")
            .fix("Predict labelled cases, or give --references the directory that holds their labels")
            .into());
    }
    Ok(pairing)
}

fn names(directories: &[&Path]) -> String {
    directories.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Endings of volumes in other formats, which are not read here.
const OTHERS: [&str; 6] = [".gipl", ".mgz", ".npy", ".npz", ".tif", ".tiff"];

/// Where predictions were looked for, and what of other formats lies there.
pub(crate) fn describe(arguments: &ScoreArguments) -> std::io::Result<String> {
    let mut text = names(&arguments.predictions());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for directory in arguments.predictions() {
        for entry in fs_err::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().to_lowercase();
            if let Some(ending) = OTHERS.iter().find(|ending| name.ends_with(*ending)) {
                *counts.entry(ending).or_default() += 1;
            }
        }
    }
    for (ending, count) in counts {
        text.push_str(&format!("; {} there, {ending}", counted(count, "file")));
        text.push_str(match ending.starts_with(".tif") {
            true => ", which are read where a table for --pairs lists them",
            false => ", a format that is not read: convert them to ID.nii.gz",
        });
    }
    Ok(text)
}

/// All finished prediction directories together, which have no case in common.
fn pooled(
    arguments: &ScoreArguments,
    directories: &[&Path],
    descriptor: &Descriptor,
    context: &Context,
) -> Result<Pairing> {
    let mut pooled = Pairing { pairs: Vec::new(), failed: Vec::new(), has_manifest: true, absent: None };
    let mut places: BTreeMap<String, &Path> = BTreeMap::new();
    for directory in directories {
        let Pairing { pairs, failed, .. } = by_table(arguments, directory, descriptor, context)?;
        for pair in &pairs {
            if let Some(first) = places.insert(pair.id.clone(), directory) {
                return Err(Message::error("E506", "two directories of --predictions are to hold this case")
                    .case(&pair.id)
                    .detail(format!("{} and {}", first.display(), directory.display()))
                    .fix("Name the part in which they differ, for the folds of a cross-validation --split val, or score each alone")
                    .into());
            }
        }
        pooled.pairs.extend(pairs);
        pooled.failed.extend(failed);
    }
    Ok(pooled)
}

/// By the table that `finetune predict` writes, and the list of cases that it was to predict.
fn by_table(
    arguments: &ScoreArguments,
    predictions: &Path,
    descriptor: &Descriptor,
    context: &Context,
) -> Result<Pairing> {
    let raw = arguments.references();
    let manifest = Manifest::load(predictions, "predict")?;
    let outputs: BTreeMap<&str, &Artefact> = manifest.outputs.iter().map(|o| (o.path.as_str(), o)).collect();
    let rows: Vec<Row> = cases::from_csv(&predictions.join(PREDICTIONS))?;
    let mut references = None;
    let mut pairing = Pairing { pairs: Vec::new(), failed: Vec::new(), has_manifest: true, absent: None };
    let mut unlabelled = 0;
    let mut listed = BTreeSet::new();
    for row in rows {
        listed.insert(row.id.clone());
        if !takes(&arguments.split, &row.split) {
            continue;
        }
        let there = |text: &str| {
            let source = Source::from_portable(text, raw)?;
            Some(source.spaced(descriptor.raw.spacing_zyx_mm())).filter(|s| s.missing().is_none())
        };
        let image = there(&row.image);
        let mut reference = there(&row.label).map(|label| match &image {
            Some(image) => Map::File(label.beside(image)),
            None => Map::File(label),
        });
        if reference.is_none() {
            reference = known(&mut references, raw, descriptor, context)?.get(&row.id).map(|r| r.0.clone());
        }
        let Some(reference) = reference else {
            if row.label.is_empty() {
                unlabelled += 1;
            } else {
                pairing.failed.push(
                    Message::error("E506", "the reference of this case is missing")
                        .case(&row.id)
                        .detail(format!("{} is not below {}", row.label, raw.display()))
                        .fix("Give --references the raw directory that the shards were made of, or a folder of ID.nii.gz"),
                );
            }
            continue;
        };
        let written =
            outputs.get(row.file.as_str()).or_else(|| outputs.get(format!("{}/", row.file).as_str()));
        let map = Map::named(&row.file, predictions);
        pairing.pairs.push(Pair {
            reference,
            expected: written.map(|artefact| (predictions.join(&row.file), (*artefact).clone())),
            prediction: map.missing().is_none().then_some(map),
            image,
            split: Some(row.split),
            id: row.id,
        });
    }
    // a case whose prediction failed is in the work's list and not in the table: it is missing, not forgotten
    let wanted = manifest.parameters.get("cases").and_then(Value::as_array).into_iter().flatten();
    for (id, split) in wanted.filter_map(|c| Some((c.get(0)?.as_str()?, c.get(1)?.as_str()?))) {
        if !listed.contains(id) && takes(&arguments.split, split) {
            let found = known(&mut references, raw, descriptor, context)?.get(id);
            pairing.pairs.extend(found.map(|(reference, image)| Pair {
                id: id.to_owned(),
                split: Some(split.to_owned()),
                reference: reference.clone(),
                prediction: None,
                expected: None,
                image: image.clone(),
            }));
        }
    }
    if unlabelled > 0 {
        context.tell(Message::info(
            "I502",
            format!("{} of cases without a reference", counted(unlabelled, "prediction")),
        ));
    }
    Ok(pairing)
}

/// References with their images, by id.
pub(crate) type References = BTreeMap<String, (Map, Option<Source>)>;

/// The references that the directory itself lists, looked up once and only when needed.
pub(crate) fn known<'a>(
    references: &'a mut Option<References>,
    root: &Path,
    descriptor: &Descriptor,
    context: &Context,
) -> Result<&'a References> {
    let found = match references.take() {
        Some(found) => found,
        None => listed_references(root, descriptor, context)?.0,
    };
    Ok(references.insert(found))
}

/// The labelled cases of a raw directory, else the maps that it holds; and the cases whose files are missing.
fn listed_references(
    root: &Path,
    descriptor: &Descriptor,
    context: &Context,
) -> Result<(References, Vec<Message>)> {
    let mut references = References::new();
    let mut failed = Vec::new();
    // without its index a folder is not the raw one, but may hold label maps
    let is_indexed = matches!(descriptor.raw, Raw::Msd { .. } | Raw::Nnunet { .. });
    if !is_indexed || root.join("dataset.json").is_file() {
        let listing = raw::list(descriptor, root)?;
        failed.extend(listing.problems.into_iter().filter(|p| p.severity == stage::Severity::Error));
        for case in listing.cases {
            if let Some(label) = case.label {
                references.insert(case.id, (Map::File(label), Some(case.image)));
            }
        }
    }
    if references.is_empty() {
        let files = label_maps(root, context)?;
        references.extend(files.into_iter().map(|(id, map)| (id, (map, None))));
        if !references.is_empty() {
            // a plain folder of label maps: that the raw files are not there is no flaw of it
            failed.clear();
        }
    }
    Ok((references, failed))
}

/// By file names, for predictions of other programs.
fn by_name(
    arguments: &ScoreArguments,
    directory: &Path,
    descriptor: &Descriptor,
    context: &Context,
) -> Result<Pairing> {
    let (references, failed) = listed_references(arguments.references(), descriptor, context)?;
    let mut predictions = label_maps(directory, context)?;
    let pairs: Vec<_> = references
        .into_iter()
        .map(|(id, (reference, image))| Pair {
            prediction: predictions.remove(&id),
            expected: None,
            split: None,
            reference,
            image,
            id,
        })
        .collect();
    if let Some(first) = predictions.keys().next() {
        context.tell(
            Message::warning(
                "W502",
                format!("{} without a reference (first: {first})", counted(predictions.len(), "prediction")),
            )
            .detail(arguments.references().display().to_string())
            .fix("Check the ids when they should have one: a prediction is named as its reference"),
        );
    }
    Ok(Pairing { pairs, failed, has_manifest: false, absent: None })
}

/// Label maps by id: `ID.nii.gz` or another scan, `ID.h5` or `ID.hdf`, and folders `ID` of cases in shards; names that begin with `.`
/// are macOS resource files.
fn label_maps(directory: &Path, context: &Context) -> Result<BTreeMap<String, Map>> {
    let mut maps = BTreeMap::new();
    let mut ignored = BTreeSet::new();
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let map = Map::named(name, directory);
        let is_map = match &map {
            Map::Shards(_) | Map::File(Source::CremiRaw(..) | Source::Ome { .. }) => true,
            Map::File(_) => SCAN_ENDINGS.iter().any(|end| name.ends_with(end)),
        };
        if !is_map {
            continue;
        }
        if name.starts_with('.') {
            ignored.insert(name.to_owned());
            continue;
        }
        let id = match &map {
            Map::File(Source::CremiRaw(..)) => name.rsplit_once('.').map_or(name, |(id, _)| id),
            _ => raw::stem(name),
        };
        if let Some(other) = maps.insert(id.to_owned(), map) {
            return Err(Message::error("E506", format!("two label maps are of the case {id}"))
                .detail(format!("{} and {name}", other.path().display()))
                .fix("Leave one of them in the folder, or list the pairs in a table for --pairs")
                .into());
        }
    }
    // what 'finetune predict --probabilities' writes beside a label map is none
    let beside: Vec<String> = maps
        .keys()
        .filter(|id| id.strip_suffix(PROBABILITIES).is_some_and(|case| maps.contains_key(case)))
        .cloned()
        .collect();
    for id in beside {
        maps.remove(&id);
    }
    if !ignored.is_empty() {
        context.tell(
            Message::warning("W102", format!("ignored {} macOS resource files (._*)", ignored.len()))
                .detail(directory.display().to_string()),
        );
    }
    Ok(maps)
}
