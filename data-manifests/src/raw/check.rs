//! Everything that is wrong with a raw folder, without working on it.

use super::index::{FILE_NAME, Index};
use super::{RawCase, found, open, unusable_ids};
use crate::Descriptor;
use crate::descriptor::{LabelKind, Raw};
use rayon::prelude::*;
use stage::{Message, Severity};
use std::path::Path;
use volume::{VolumeError, Warning, check_same_grid};

/// All problems of a raw folder at once, errors last: its index (`dataset.json` or table, with lines and columns), missing
/// files, ids, headers, channels, and grids of images against those of their labels. Voxels are not read.
#[must_use]
pub fn check(descriptor: &Descriptor, root: &Path) -> Vec<Message> {
    let mut problems = Vec::new();
    if matches!(descriptor.raw, Raw::Msd { .. } | Raw::Nnunet { .. }) && root.join(FILE_NAME).is_file() {
        // a file that is no JSON is an error of the listing below
        if let Ok(index) = Index::read(root) {
            problems.extend(declarations(descriptor, &index));
        }
    }
    match found(descriptor, root) {
        Ok(listing) => {
            problems.extend(unusable_ids(&listing));
            problems.extend(listing.problems);
            let cases: Vec<Vec<Message>> =
                listing.cases.par_iter().map(|case| headers(descriptor, case, root)).collect();
            problems.extend(cases.into_iter().flatten());
        }
        Err(error) => {
            let message = match error.downcast::<Message>() {
                Ok(message) => message,
                Err(error) => {
                    Message::error("E191", "the raw folder cannot be read").detail(format!("{error:#}"))
                }
            };
            // the listing repeats what the index said
            if message.code != "E198" || problems.is_empty() {
                problems.push(message);
            }
        }
    }
    problems.sort_by_key(|message| message.severity);
    problems
}

/// What `dataset.json` declares: in itself, and against the descriptor.
fn declarations(descriptor: &Descriptor, index: &Index) -> Vec<Message> {
    let mut found = index.declarations.clone();
    // a descriptor's own labels are what the cases are read by
    let unused = |flaw: &Message| {
        let what = format!("dataset.json's labels cannot be used, the descriptor's are: {}", flaw.what);
        let message = Message::warning("W107", what);
        match &flaw.detail {
            Some(place) => message.detail(place.clone()),
            None => message,
        }
    };
    found.extend(match &descriptor.labels {
        Some(_) => index.label_declarations.iter().map(unused).collect(),
        None => index.label_declarations.clone(),
    });
    let channels = index.channels.len();
    if channels > 0 && channels != descriptor.channels.len() {
        let what =
            format!("dataset.json has {channels} channels, the descriptor {}", descriptor.channels.len());
        found.push(
            Message::error("E141", what)
                .detail(format!("{}: {}", index.place(&["modality"]), index.channels.join(", ")))
                .fix("Correct 'channels' in the descriptor"),
        );
    }
    let classes = index.labels.as_ref().map(|labels| labels.classes.len());
    let declared = descriptor.labels.as_ref().filter(|labels| labels.kind == LabelKind::Semantic);
    if let (Some(classes), Some(declared)) = (classes, declared)
        && classes != declared.classes.len()
        && declared.map.is_empty()
    {
        let what = format!("dataset.json has {classes} classes, the descriptor {}", declared.classes.len());
        found.push(
            Message::warning("W107", what)
                .detail(index.place(&["labels"]))
                .fix("Cases with other values than the descriptor's fail; correct 'classes', or map them"),
        );
    }
    found
}

fn headers(descriptor: &Descriptor, case: &RawCase, root: &Path) -> Vec<Message> {
    let mut found = Vec::new();
    let flaw = |error: VolumeError| {
        let shorten = |text: String| text.replace(&format!("{}/", root.display()), "");
        let message = Message::error(error.code(), shorten(error.to_string())).case(&case.id);
        match error.hint() {
            Some(hint) => message.fix(shorten(hint)),
            None => message,
        }
    };
    let remark = |warning: Warning| Message::warning(warning.code(), warning.to_string()).case(&case.id);
    let image = match open::header(&case.image) {
        Ok((channels, grid)) => {
            let expected = descriptor.channels.len();
            if channels != expected {
                let path = case.image.path().to_owned();
                found.push(flaw(VolumeError::Channels { path, found: channels, expected }));
            }
            Some(grid)
        }
        Err(error) => {
            found.push(flaw(error));
            None
        }
    };
    if let Some(label) = &case.label {
        match (open::label_header(label, descriptor), image) {
            (Ok((grid, warning)), Some(image)) => {
                found.extend(warning.map(remark));
                match check_same_grid(case.image.path(), &image, label.path(), &grid) {
                    Ok(warning) => found.extend(warning.map(remark)),
                    Err(error) => found.push(flaw(error)),
                }
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                // one file may hold image and labels, and say the same of both
                let message = flaw(error);
                if found.iter().all(|other| other.to_string() != message.to_string()) {
                    found.push(message);
                }
            }
        }
    }
    found
}

/// Whether a message is an error.
pub(crate) fn is_error(message: &Message) -> bool {
    message.severity == Severity::Error
}
