//! Which maps are compared, and the names of their cases.

use super::InstancesArguments;
use anyhow::Result;
use data_manifests::{Manifest, cases, manifest};
use serde::Deserialize;
use stage::{Context, Message};
use std::collections::BTreeSet;
use std::path::Path;

/// Table of a directory that 'finetune instances' wrote.
const TABLE: &str = "instances.csv";

/// A row of [`TABLE`].
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    /// Labels in a file of the directory.
    file: String,
    /// Reference below `$RAW`; empty without one.
    label: String,
}

/// Two maps to compare.
pub(super) struct Pair {
    /// The case's name; from the reference's where none is given.
    pub(super) case: Option<String>,
    pub(super) reference: String,
    pub(super) prediction: String,
}

/// What is compared: as listed on the command line, or the cases of a directory's table that have references.
pub(super) fn pairs_of(arguments: &InstancesArguments, context: &Context) -> Result<Vec<Pair>> {
    let [references, predictions] = [&arguments.references, &arguments.predictions];
    if references.len() != predictions.len() {
        return Err(Message::error(
            "E501",
            format!("{} references have {} predictions", references.len(), predictions.len()),
        )
        .fix("Give --predictions one label map for each of --references, in their order")
        .into());
    }
    let ([root], [made]) = (&references[..], &predictions[..]) else {
        return Ok(as_listed(arguments));
    };
    let directory = Path::new(made);
    // a folder of slices is a volume, too
    if ![TABLE, manifest::FILE_NAME].iter().any(|name| directory.join(name).is_file()) {
        return Ok(as_listed(arguments));
    }
    Manifest::load(directory, "instances")?;
    let rows: Vec<Row> = cases::from_csv(&directory.join(TABLE))?;
    // FILE.h5#NAME[FROM:TO], or a label image in OME-Zarr
    let reference = Path::new(root.split(['#', '[']).next().unwrap_or(root));
    if reference.is_file() || reference.join("zarr.json").is_file() {
        let [row] = &rows[..] else {
            return Err(Message::error("E501", format!("1 reference has {} predictions", rows.len()))
                .detail(format!("{root} is one volume, {} holds {}", directory.display(), rows.len()))
                .fix("Give --references the raw folder, or --predictions one file of the directory")
                .into());
        };
        let prediction = directory.join(&row.file).display().to_string();
        return Ok(vec![Pair { case: Some(row.id.clone()), reference: root.clone(), prediction }]);
    }
    let below = |text: &str| {
        text.strip_prefix("$RAW/").map(|inside| format!("{}/{inside}", root.trim_end_matches('/')))
    };
    let pairs: Vec<Pair> = rows
        .iter()
        .filter_map(|row| {
            let prediction = directory.join(&row.file).display().to_string();
            Some(Pair { case: Some(row.id.clone()), reference: below(&row.label)?, prediction })
        })
        .collect();
    let without = rows.len() - pairs.len();
    if without > 0 && !pairs.is_empty() {
        let text = format!("{without} of {} cases have no reference and are not scored", rows.len());
        context.tell(Message::info("I509", text));
    }
    if pairs.is_empty() {
        return Err(Message::error("E501", "none of these objects has a reference")
            .detail(directory.join(TABLE).display().to_string())
            .fix("Predict labelled cases: 'finetune predict --cases val' with the raw folder as --input")
            .into());
    }
    Ok(pairs)
}

fn as_listed(arguments: &InstancesArguments) -> Vec<Pair> {
    let pairs = arguments.references.iter().zip(&arguments.predictions);
    pairs.map(|(r, p)| Pair { case: None, reference: r.clone(), prediction: p.clone() }).collect()
}

/// The cases' names: those that were given, else the references' file names without endings. Where several have one name, those after
/// the first are numbered, by numbers that make no name of another file. They depend on the list alone, not on what could be scored.
pub(super) fn case_ids(pairs: &[Pair]) -> Vec<String> {
    let stem = |reference: &str| {
        let path = reference.split('#').next().unwrap_or(reference);
        let name = Path::new(path)
            .file_name()
            .map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned());
        name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or(&name).to_owned()
    };
    let wanted: Vec<String> =
        pairs.iter().map(|pair| pair.case.clone().unwrap_or_else(|| stem(&pair.reference))).collect();
    let names: BTreeSet<&String> = wanted.iter().collect();
    let mut used = BTreeSet::new();
    let mut ids = Vec::with_capacity(pairs.len());
    for name in &wanted {
        let mut id = name.clone();
        let mut number = 1;
        while used.contains(&id) || (number > 1 && names.contains(&id)) {
            number += 1;
            id = format!("{name}-{number}");
        }
        used.insert(id.clone());
        ids.push(id);
    }
    ids
}
