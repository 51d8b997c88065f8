//! Which maps are compared, and the names of their cases.

use super::InstancesArguments;
use crate::missing::Missing;
use crate::pairing::{PREDICTIONS, References, known};
use crate::splits::takes;
use anyhow::Result;
use data_manifests::{Descriptor, Manifest, cases, manifest};
use serde::Deserialize;
use serde_json::Value;
use stage::message::counted;
use stage::{Context, Message};
use std::collections::BTreeSet;
use std::path::Path;

/// Table of a directory that 'finetune instances' wrote.
const TABLE: &str = "instances.csv";

/// A row of [`TABLE`], and of the table of affinities.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    split: String,
    /// Labels in a file of the directory.
    file: String,
    /// Reference below `$RAW`; empty without one.
    label: String,
}

/// Two maps to compare.
pub(super) struct Pair {
    /// The case's name; from the reference's where none is given.
    pub(super) case: Option<String>,
    /// `train`, `val`, `test` or `given`, where predictions say.
    pub(super) split: Option<String>,
    pub(super) reference: String,
    /// None where objects could not be made.
    pub(super) prediction: Option<String>,
}

/// What is compared.
pub(super) struct Listed {
    pub(super) pairs: Vec<Pair>,
    /// Cases that cannot be scored because nothing says where their references are.
    pub(super) failed: Vec<Message>,
}

/// What is compared: as listed on the command line, or the cases of a directory's table that have references and are of the wanted splits.
/// Cases of which no objects were made, or no affinities, belong to them.
pub(super) fn pairs_of(
    arguments: &InstancesArguments,
    described: Option<&Descriptor>,
    context: &Context,
) -> Result<Listed> {
    let [references, predictions] = [&arguments.references, &arguments.predictions];
    if references.len() != predictions.len() {
        return Err(Message::error(
            "E501",
            format!(
                "{} and {}",
                counted(references.len(), "reference"),
                counted(predictions.len(), "prediction")
            ),
        )
        .fix("Give --predictions one label map for each of --references, in their order")
        .into());
    }
    let ([root], [made]) = (&references[..], &predictions[..]) else {
        return as_listed(arguments);
    };
    let directory = Path::new(made);
    // a folder of slices is a volume, too
    if ![TABLE, manifest::FILE_NAME].iter().any(|name| directory.join(name).is_file()) {
        return as_listed(arguments);
    }
    let manifest = Manifest::load(directory, "instances")?;
    let rows: Vec<Row> = cases::from_csv(&directory.join(TABLE))?;
    // FILE.h5#NAME[FROM:TO], or a label image in OME-Zarr
    let reference = Path::new(root.split(['#', '[']).next().unwrap_or(root));
    if reference.is_file() || reference.join("zarr.json").is_file() {
        return one_volume(root, directory, rows, &arguments.split);
    }
    let root = root.trim_end_matches('/');
    let wanted = |split: &str| takes(&arguments.split, split);
    let mut listed = Listed { pairs: Vec::new(), failed: Vec::new() };
    let mut without = 0;
    for row in rows.iter().filter(|row| wanted(&row.split)) {
        let Some(reference) = below(root, &row.label) else {
            without += 1;
            continue;
        };
        listed.pairs.push(Pair {
            case: Some(row.id.clone()),
            split: Some(row.split.clone()),
            reference,
            prediction: Some(directory.join(&row.file).display().to_string()),
        });
    }
    if without > 0 && !listed.pairs.is_empty() {
        let text = format!("{without} of {} cases have no reference and are not scored", rows.len());
        context.tell(Message::info("I509", text));
    }
    let made: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let mut references = None;
    for lost in lost(&manifest, directory, &made, arguments)? {
        if wanted(&lost.split) {
            let found = reference_of(&lost, root, described, &mut references, context)?;
            match found {
                Ok(found) => listed.pairs.extend(found.map(|reference| Pair {
                    case: Some(lost.id),
                    split: Some(lost.split),
                    reference,
                    prediction: None,
                })),
                Err(message) => listed.failed.push(message),
            }
        }
    }
    if listed.pairs.is_empty() && listed.failed.is_empty() {
        return Err(Message::error("E501", "none of these objects has a reference to be scored against")
            .detail(directory.join(TABLE).display().to_string())
            .cause("They are of unlabelled images, or of splits that --split leaves out, which are those for training unless it says otherwise")
            .fix("Predict labelled cases: 'finetune predict --cases val' with the raw folder as --input")
            .into());
    }
    listed.pairs.sort_by(|a, b| a.case.cmp(&b.case));
    Ok(listed)
}

/// The only case of a directory against a single volume.
fn one_volume(reference: &str, directory: &Path, rows: Vec<Row>, wanted: &[String]) -> Result<Listed> {
    let [row] = &rows[..] else {
        return Err(Message::error("E501", format!("1 reference and {}", counted(rows.len(), "prediction")))
            .detail(format!("{reference} is one volume, {} holds {}", directory.display(), rows.len()))
            .fix("Give --references the raw folder, or --predictions one file of the directory")
            .into());
    };
    if !takes(wanted, &row.split) {
        let text = format!("the only case of these objects is one of the split {}", row.split);
        return Err(Message::error("E501", text)
            .detail(directory.join(TABLE).display().to_string())
            .fix(format!("Give --split {} where it is to be scored all the same", row.split))
            .into());
    }
    let pair = Pair {
        case: Some(row.id.clone()),
        split: Some(row.split.clone()),
        reference: reference.to_owned(),
        prediction: Some(directory.join(&row.file).display().to_string()),
    };
    Ok(Listed { pairs: vec![pair], failed: Vec::new() })
}

/// A map that a table names below `$RAW`.
fn below(root: &str, portable: &str) -> Option<String> {
    portable.strip_prefix("$RAW/").map(|inside| format!("{root}/{inside}"))
}

/// A case that was to be predicted and has no objects.
struct Lost {
    id: String,
    split: String,
    /// Its reference below `$RAW`; none where its affinities failed already, of which no table says more than the name.
    label: Option<String>,
}

/// The cases that were to be predicted and have no objects, by the affinities that these were made of.
fn lost(
    manifest: &Manifest,
    directory: &Path,
    made: &BTreeSet<&str>,
    arguments: &InstancesArguments,
) -> Result<Vec<Lost>> {
    let affinities = manifest.inputs.iter().find(|input| input.role == "affinities");
    let affinities = affinities.and_then(|input| input.resolve(directory).parent().map(Path::to_owned));
    let Some((affinities, predicted)) =
        affinities.and_then(|place| Some((place.clone(), Manifest::load(&place, "predict").ok()?)))
    else {
        let failed = manifest.counts.get("failed").copied().unwrap_or_default();
        if failed > 0 && arguments.missing != Missing::Skip {
            return Err(Message::error(
                "E501",
                format!("objects of {} could not be made", counted(failed as usize, "case")),
            )
            .detail(format!(
                "{}: the affinities, which name the cases, are not there any more",
                directory.display()
            ))
            .fix("Make affinities and objects again, or use --missing skip to leave these cases out")
            .into());
        }
        return Ok(Vec::new());
    };
    let rows: Vec<Row> = cases::from_csv(&affinities.join(PREDICTIONS))?;
    let mut lost: Vec<Lost> = rows
        .iter()
        .filter(|row| !made.contains(row.id.as_str()))
        .map(|row| Lost { id: row.id.clone(), split: row.split.clone(), label: Some(row.label.clone()) })
        .collect();
    let predicted_ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let wanted = predicted.parameters.get("cases").and_then(Value::as_array).into_iter().flatten();
    for (id, split) in wanted.filter_map(|c| Some((c.get(0)?.as_str()?, c.get(1)?.as_str()?))) {
        if !predicted_ids.contains(id) {
            lost.push(Lost { id: id.to_owned(), split: split.to_owned(), label: None });
        }
    }
    Ok(lost)
}

/// Where the reference of a case without objects lies, if it has one; or why that is not known.
fn reference_of(
    lost: &Lost,
    root: &str,
    described: Option<&Descriptor>,
    references: &mut Option<References>,
    context: &Context,
) -> Result<Result<Option<String>, Message>> {
    Ok(match (&lost.label, described) {
        (Some(label), _) => Ok(below(root, label)),
        (None, Some(descriptor)) => {
            let root_path = Path::new(root);
            let found = known(references, root_path, descriptor, context)?.get(&lost.id);
            Ok(found.and_then(|(map, _)| below(root, &map.portable(root_path))))
        }
        (None, None) => {
            let what = "no objects were made of this case, and nothing says where its reference is";
            Err(Message::error("E506", what)
                .case(&lost.id)
                .fix("Name the data set with --dataset, or predict the case again"))
        }
    })
}

fn as_listed(arguments: &InstancesArguments) -> Result<Listed> {
    let pairs = arguments.references.iter().zip(&arguments.predictions);
    let pair = |(r, p): (&String, &String)| Pair {
        case: None,
        split: None,
        reference: r.clone(),
        prediction: Some(p.clone()),
    };
    if !arguments.split.is_empty() {
        return Err(Message::error("E501", "label maps that are named one by one have no splits")
            .fix("Leave --split out, or give --predictions the directory that 'finetune instances' wrote")
            .into());
    }
    Ok(Listed { pairs: pairs.map(pair).collect(), failed: Vec::new() })
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
