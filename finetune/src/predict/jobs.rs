//! Which images are predicted.

use super::given;
use crate::arguments::Predict;
use crate::model::{self, Model};
use data_manifests::CaseSplit;
use data_manifests::raw::{self, RawCase};
use data_manifests::splits::Split;
use stage::message::counted;
use stage::{Context, Message, Severity};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use volume::ome_zarr;

/// A case to predict.
pub(super) struct Job {
    pub(super) case: RawCase,
    /// `train`, `val`, `test` or `given`.
    pub(super) split: &'static str,
    /// The directory that the table's paths start from.
    pub(super) root: PathBuf,
}

/// All of a run.
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
    /// Wanted cases of raw folders that lack a file.
    pub(super) failed: Vec<String>,
}

/// The parts of the models' splits: a case validates if it does in all of them, and trains if it does in any.
struct Parts {
    train: BTreeSet<String>,
    val: BTreeSet<String>,
}

impl Parts {
    fn of_splits(splits: &[Split]) -> Self {
        let ids = |of: fn(&Split) -> &Vec<String>| splits.iter().flat_map(of).cloned();
        let train: BTreeSet<String> = ids(|s| &s.train).collect();
        let val = ids(|s| &s.val).filter(|id| splits.iter().all(|s| s.val.contains(id))).collect();
        Self { train, val }
    }

    fn of(&self, id: &str) -> Option<&'static str> {
        if self.val.contains(id) {
            Some("val")
        } else if self.train.contains(id) {
            Some("train")
        } else {
            None
        }
    }
}

/// The cases of raw folders in the wanted parts, and single files.
pub(super) fn find(arguments: &Predict, model: &Model, context: &Context) -> anyhow::Result<Jobs> {
    let splits = arguments.model.iter().map(|given| model::stored_split(&model::file_of(given)));
    let parts = Parts::of_splits(&splits.collect::<anyhow::Result<Vec<_>>>()?);
    let mut found = Jobs { jobs: Vec::new(), failed: Vec::new() };
    let mut files = Vec::new();
    for input in &arguments.input {
        if input.is_dir() && !ome_zarr::is_zarr(input) {
            match given::scans(input, &model.plan.descriptor)? {
                Some(scans) => files.extend(scans),
                None => folder(input, arguments, model, &parts, &mut found, context)?,
            }
        } else if input.exists() {
            files.push(input.clone());
        } else {
            return Err(Message::error("E414", "an input does not exist")
                .detail(input.display().to_string())
                .fix("Give --input image files, a folder of them, or the raw folder of the data set")
                .into());
        }
    }
    let given = given::jobs(&files, &model.plan.descriptor.channels)?;
    given::tell(&given, |id| parts.of(id) == Some("train"), context);
    found.jobs.extend(given);
    let mut seen = BTreeSet::new();
    if let Some(twice) = found.jobs.iter().find(|j| !seen.insert(j.case.id.to_lowercase())) {
        return Err(Message::error("E190", format!("two inputs are called '{}'", twice.case.id))
            .fix("Predict them into different directories")
            .into());
    }
    if found.jobs.is_empty() {
        return Err(nothing_found(arguments).into());
    }
    Ok(found)
}

/// Says that no case is in the wanted parts.
fn nothing_found(arguments: &Predict) -> Message {
    let message = Message::error("E414", format!("no case in the parts {}", arguments.cases.join(", ")));
    if arguments.model.len() == 1 || !arguments.cases.iter().any(|part| part == "val") {
        return message.fix("Name other parts with --cases");
    }
    message
        .cause("Of several models a case is for validation if it is in all of their splits: with the folds of a cross-validation none is")
        .fix("Predict the validation cases of each model alone, into a directory of its own: 'finetune clean-up' and 'evaluate score' take several such directories")
}

fn folder(
    input: &Path,
    arguments: &Predict,
    model: &Model,
    parts: &Parts,
    found: &mut Jobs,
    context: &Context,
) -> anyhow::Result<()> {
    let wanted = |part: &str| arguments.cases.iter().any(|wanted| wanted == part);
    let listing = raw::list(&model.plan.descriptor, input)?;
    refuse_another_data_set(&listing.cases, input, model, parts)?;
    let mut left_out = Vec::new();
    for problem in listing.problems {
        if problem.severity == Severity::Error
            && let Some(id) = &problem.case
        {
            match parts.of(id) {
                Some(part) if !wanted(part) => continue,
                // training cases with half their files: preprocess has said so
                None if matches!(problem.code, "E192" | "E193") => {
                    left_out.push(id.clone());
                    continue;
                }
                _ => found.failed.push(id.clone()),
            }
        }
        context.tell(problem);
    }
    for case in listing.cases {
        let part = match case.split {
            CaseSplit::Test => Some("test"),
            CaseSplit::Train => parts.of(&case.id),
        };
        match part {
            Some(part) if wanted(part) => {
                found.jobs.push(Job { case, split: part, root: input.to_owned() });
            }
            Some(_) => {}
            None => left_out.push(case.id),
        }
    }
    if let Some(first) = left_out.first() {
        let text =
            format!("left out {} of no part of the model's split", counted(left_out.len(), "training case"));
        context.tell(
            Message::warning("W415", text)
                .detail(format!("{}: first {first}", input.display()))
                .cause("They have no labels, failed in preprocess, or are newer than the model")
                .fix("Give their files to --input to predict them"),
        );
    }
    Ok(())
}

/// Refuses a folder with labelled cases of which the model knows none.
fn refuse_another_data_set(
    cases: &[RawCase],
    input: &Path,
    model: &Model,
    parts: &Parts,
) -> Result<(), Message> {
    let labelled = || cases.iter().filter(|case| case.split == CaseSplit::Train);
    if labelled().next().is_none() || labelled().any(|case| parts.of(&case.id).is_some()) {
        return Ok(());
    }
    let name = &model.plan.descriptor.name;
    let text = format!(
        "none of {} is one that the model was trained or validated on",
        counted(labelled().count(), "labelled case")
    );
    Err(Message::error("E432", text)
        .detail(input.display().to_string())
        .cause(format!("The folder is of another data set than the model's, which is '{name}'"))
        .fix("Give the folder of the model's data set, or image files to predict them all the same"))
}
