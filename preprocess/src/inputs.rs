//! Which cases are worked on, and what their raw files hold.

use crate::arguments::Arguments;
use crate::case::{Digests, ReadDigests};
use crate::messages::some_names;
use anyhow::bail;
use data_manifests::descriptor::{LabelKind, Raw, Unit};
use data_manifests::plan::Plan;
use data_manifests::raw::{self, Listing, RawCase, Source};
use data_manifests::{Artefact, Descriptor};
use patches::ShardStore;
use rayon::prelude::*;
use stage::message::counted;
use stage::{Context, Message, Severity, interrupt};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The cases of a run.
#[derive(Debug)]
pub(crate) struct Selected {
    /// Cases with all their files, sorted by id.
    pub(crate) cases: Vec<RawCase>,
    /// How many of the wanted cases failed already.
    pub(crate) failed: usize,
    /// Those of them that the case table names, with the files that they should have.
    pub(crate) unusable: Vec<RawCase>,
    /// Ids of the whole data set.
    pub(crate) known: BTreeSet<String>,
}

/// The data set with the plan's rules and the values that `--label-map` adds.
pub(crate) fn descriptor(
    mut descriptor: Descriptor,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<Descriptor> {
    if let Some(path) = &arguments.plan {
        let plan = Plan::load(path)?;
        for note in &plan.notes {
            context.tell(Message::info("I151", format!("plan: {note}")));
        }
        descriptor = descriptor.with_plan(&plan)?;
    }
    if let Some(stated) = arguments.spacing_zyx {
        let Raw::Stack { spacing_zyx, unit, .. } = &mut descriptor.raw else {
            bail!(
                Message::error("E168", "--spacing-zyx cannot be used")
                    .detail(format!("data set '{}' is not made of stacks of slices", descriptor.name))
                    .fix("Leave it out: the files state their voxel size")
            );
        };
        (*spacing_zyx, *unit) = (Some(stated), Some(Unit::Mm));
    }
    map_labels(&mut descriptor, &arguments.label_map)?;
    Ok(descriptor)
}

/// Adds the values of `--label-map` to those that a data set replaces.
pub(crate) fn map_labels(descriptor: &mut Descriptor, replaced: &[(u64, u32)]) -> anyhow::Result<()> {
    if replaced.is_empty() {
        return Ok(());
    }
    let wrong = |detail: String| Message::error("E168", "--label-map cannot be used").detail(detail);
    let Some(labels) = &mut descriptor.labels else {
        bail!(wrong(format!("data set '{}' has no labels", descriptor.name)).fix("Leave it out"));
    };
    let mut stated = BTreeMap::new();
    for &(from, to) in replaced {
        if let Some(other) = stated.insert(from, to).filter(|other| *other != to) {
            bail!(wrong(format!("{from} becomes {other} and {to}")).fix("Name each value once"));
        }
        if labels.kind == LabelKind::Semantic && !labels.allowed().contains(&u64::from(to)) {
            let last = labels.classes.len() - 1;
            let or = labels.ignore.map_or_else(String::new, |ignore| format!(" or {ignore} (not annotated)"));
            let detail = format!("{from} becomes {to}, expected a class from 0 to {last}{or}");
            bail!(wrong(detail).fix("Map to a declared class, or to 0 for the background"));
        }
        labels.map.insert(from.to_string(), to);
    }
    Ok(())
}

/// Says that cases are named that are not there, and how those that are there are called.
fn unknown_cases(unknown: &[String], known: Vec<String>) -> Message {
    let message = Message::error("E196", format!("no such case: {}", unknown.join(", ")));
    match known.len() {
        0 => message.detail("there is no case"),
        count => message.detail(format!("{}: {}", counted(count, "case"), some_names(&known))),
    }
    .fix("Name cases by their ids: file names without ending and channel, or what the data set's list calls them")
}

/// The cases that `--only` names, or all; tells what is wrong with the listing of those.
pub(crate) fn select(listing: Listing, only: &[String], context: &Context) -> anyhow::Result<Selected> {
    let mut known: BTreeSet<String> = listing.cases.iter().map(|case| case.id.clone()).collect();
    known.extend(listing.problems.iter().filter_map(|problem| problem.case.clone()));
    let unknown: Vec<_> = only.iter().filter(|id| !known.contains(*id)).cloned().collect();
    if !unknown.is_empty() {
        return Err(unknown_cases(&unknown, known.into_iter().collect()).into());
    }
    let wanted = |id: &String| only.is_empty() || only.contains(id);
    let unusable = unusable(&listing, wanted);
    let mut failed = 0;
    for problem in listing.problems {
        if problem.severity == Severity::Error {
            if !problem.case.as_ref().is_none_or(wanted) {
                continue;
            }
            failed += 1;
        }
        context.tell(problem);
    }
    let cases = listing.cases.into_iter().filter(|case| wanted(&case.id)).collect();
    Ok(Selected { cases, failed, unusable, known })
}

/// The wanted cases that lack a file, each once: whoever fetches what is missing finds them in the case table.
pub(crate) fn unusable(listing: &Listing, wanted: impl Fn(&String) -> bool) -> Vec<RawCase> {
    let mut seen: BTreeSet<&str> = listing.cases.iter().map(|case| case.id.as_str()).collect();
    listing.unusable.iter().filter(|case| wanted(&case.id) && seen.insert(&case.id)).cloned().collect()
}

/// Says which cases have one image: of a split one of them would be trained on and the other scored.
pub(crate) fn warn_of_twins(cases: &[RawCase], digests: &[ReadDigests], raw: &Path, context: &Context) {
    let mut first: BTreeMap<&str, &RawCase> = BTreeMap::new();
    let mut twins = Vec::new();
    for (case, digests) in cases.iter().zip(digests) {
        let Ok(digests) = digests else { continue };
        let Some(other) = first.get(digests.image.as_str()) else {
            first.insert(&digests.image, case);
            continue;
        };
        // parts of one file are images of their own, and a split never parts a subject's
        if case.subject != other.subject
            && (case.image.path() != other.image.path()
                || case.image.portable(raw) == other.image.portable(raw))
        {
            twins.push(format!("{} and {}", other.id, case.id));
        }
    }
    if let Some(pair) = twins.first() {
        context.tell(
            Message::warning("W106", format!("{} cases have the image of another one: {pair}", twins.len()))
                .cause("A file is listed or copied twice")
                .fix("Take one of them off, or give both one subject: cases of a subject are never parted"),
        );
    }
}

/// The files of a case's image and of its label, or why one cannot be read.
type ReadFiles = Result<(Vec<Artefact>, Option<Vec<Artefact>>), String>;

/// SHA-256 of every raw file, as manifest inputs and per case; a file that cannot be read is its case's error later.
pub(crate) fn digests(
    cases: &[RawCase],
    raw: &Path,
    arguments: &Arguments,
) -> anyhow::Result<(Vec<Artefact>, Vec<ReadDigests>)> {
    let read = |source: &Source| -> Result<Vec<Artefact>, String> {
        if interrupt::requested() {
            return Err("interrupted".to_owned());
        }
        source.artefacts("raw", raw).map_err(|e| e.to_string())
    };
    let found: Vec<ReadFiles> = cases
        .par_iter()
        .map(|case| {
            let image = read(&case.image)?;
            let label = match &case.label {
                // one file may hold both
                Some(label) if label.shares_files(&case.image) => Some(image.clone()),
                Some(label) => Some(read(label)?),
                None => None,
            };
            Ok((image, label))
        })
        .collect();
    let mut inputs = Vec::new();
    let given = raw::clean(&arguments.dataset);
    if Descriptor::built_in_text(&given.to_string_lossy()).is_none() {
        // a folder was described by its dataset.json
        let file = if given.is_dir() { given.join("dataset.json") } else { given };
        inputs.push(Artefact::of_file("descriptor", &file, &arguments.out)?);
    }
    if let Some(plan) = &arguments.plan {
        inputs.push(Artefact::of_file("plan", plan, &arguments.out)?);
    }
    let mut digests = Vec::with_capacity(found.len());
    for pair in found {
        digests.push(match pair {
            Ok((image, label)) => {
                let digests = Digests {
                    image: digest_of(&image)?,
                    label: label.as_deref().map(digest_of).transpose()?,
                };
                let same_file = label.as_ref().is_some_and(|l| *l == image);
                inputs.extend(image);
                inputs.extend(label.filter(|_| !same_file).unwrap_or_default());
                Ok(digests)
            }
            Err(error) => Err(error),
        });
    }
    Ok((inputs, digests))
}

/// Refuses to go on where a raw file of a finished case cannot be read now: the case would fail, and its shards be removed as outdated.
pub(crate) fn refuse_unreadable(
    cases: &[RawCase],
    digests: &[ReadDigests],
    out: &Path,
) -> anyhow::Result<()> {
    let unreadable = cases.iter().zip(digests).filter_map(|(case, digests)| {
        let why = digests.as_ref().err()?;
        ShardStore::case_directory(out, &case.id).is_dir().then_some((case, why))
    });
    let unreadable: Vec<_> = unreadable.collect();
    let Some((_, why)) = unreadable.first() else { return Ok(()) };
    let ids: Vec<String> = unreadable.iter().map(|(case, _)| case.id.clone()).collect();
    let what = format!("raw files of {} cannot be read now", counted(ids.len(), "finished case"));
    Err(Message::error("E167", what)
        .detail(format!("{}: {why}", some_names(&ids)))
        .cause("Their shards would be removed as outdated")
        .fix("Check the files' rights and disk, then rerun the same command; or move the shards away, or use another --out")
        .into())
}

/// The message where nothing can be worked on.
pub(crate) fn no_usable_case(raw: &Path) -> Message {
    Message::error("E195", "no usable case")
        .detail(raw.display().to_string())
        .fix("Check --raw, --only and the data set's files")
}

/// A file's SHA-256; of several files the digest of theirs in order.
pub(crate) fn digest_of(files: &[Artefact]) -> anyhow::Result<String> {
    match files {
        [one] => Ok(one.sha256.clone()),
        files => {
            let each: Vec<&str> = files.iter().map(|file| file.sha256.as_str()).collect();
            Ok(data_manifests::digest::digest_of(&each)?)
        }
    }
}
