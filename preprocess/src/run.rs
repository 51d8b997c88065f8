//! The run: list, estimate, convert in parallel, table, manifest.

use crate::admission::Admission;
use crate::arguments::Arguments;
use crate::before::Before;
use crate::case::Rules;
use crate::convert::{Conversion, Outcome, Stop};
use crate::estimate::{self, Estimate};
use crate::finish::{self, Counts};
use crate::inputs::{self, Selected};
use crate::treatment::Treatment;
use crate::{data_set, messages, output, preflight, resources};
use data_manifests::cases;
use data_manifests::raw::{self, RawCase};
use data_manifests::{CaseSplit, Descriptor, Manifest, digest, verify};
use patches::ShardStore;
use rayon::prelude::*;
use stage::{Context, ExitStatus, Message, interrupt, limits};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[derive(serde::Serialize)]
struct Parameters<'a> {
    descriptor: &'a Descriptor,
    only: Vec<&'a String>,
    #[serde(flatten)]
    treatment: Treatment,
    /// Digest of ids, subjects, roles and file names: the raw files' own digests do not cover them.
    listing: String,
}

/// Runs the stage.
pub(crate) fn run(
    mut arguments: Arguments,
    treatment: Treatment,
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    arguments.only.sort();
    arguments.only.dedup();
    if arguments.dry_run {
        return dry_run(&arguments, treatment, context);
    }
    let out = arguments.out.as_path();
    output::refuse_foreign(out)?;
    let output = context.open_output(out)?;
    let (descriptor, raw) = data_set(&arguments, context)?;
    let Selected { cases, failed: failed_before, unusable, known } =
        selected(&descriptor, &raw, &arguments, context)?;
    let rules = Rules { descriptor: &descriptor, treatment, raw_root: &raw };
    let (inputs, digests) = inputs::digests(&cases, &raw, &arguments)?;
    inputs::warn_of_twins(&cases, &digests, &raw, context);
    if interrupt::requested() {
        return Ok(interrupted(Counts { converted: 0, kept: 0, failed: 0 }, &cases, context));
    }
    inputs::refuse_unreadable(&cases, &digests, out)?;
    let parameters = Parameters {
        descriptor: &descriptor,
        only: arguments.only.iter().collect(),
        treatment: rules.treatment,
        listing: listing_digest(&cases, &raw)?,
    };
    let manifest =
        Manifest::new("preprocess", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    // a directory with failed cases is worked on again: the file may have been mended in the meantime by other means
    let before = Before::of(out, &cases);
    if let Some(found) = manifest.reusable(out)?
        && failed_before == 0
        && found.counts.get("failed") == Some(&0)
    {
        if verify::outputs(&found, out)?.is_empty() {
            Counts { converted: 0, kept: cases.len(), failed: 0 }.report(context);
            finish::repeat_warnings(out, &cases, context)?;
            context.say(&format!(
                "Nothing to do: {} holds these {} cases already.",
                out.display(),
                cases.len()
            ));
            return Ok(ExitStatus::Done);
        }
        let text = "files were changed after they were written; what is damaged is made anew";
        context.tell(Message::info("I172", text).detail(out.display().to_string()));
    }
    output.to_write()?;
    let wanted: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    output::tidy(out, &descriptor, &wanted, (&known, !arguments.only.is_empty()), context)?;
    let estimates = estimates(&cases, &descriptor, &arguments, treatment);
    let workers = resources::workers(arguments.workers, cases.len());
    let (budget, whose) = resources::budget(arguments.max_ram);
    let admission = Admission::new(budget);
    resources::check_disk(out, &cases, &estimates, &admission, workers)?;
    let known_sizes: Vec<&Estimate> = estimates.iter().filter_map(|e| e.as_ref().ok()).collect();
    if let Some(message) = admission.warning(&known_sizes, workers, whose) {
        context.tell(message);
    }

    let conversion = Conversion { rules, out, context, admission, disk_full: OnceLock::new() };
    let mut outcomes = conversion.all(&cases, &digests, &estimates, workers);
    let tally = preflight::channel_tally(&cases, &estimates);
    // of thousands of cases these take more than what is still needed
    drop((estimates, digests));
    let counts = Counts::of(&outcomes, failed_before);
    let stopped = conversion.stopped(&outcomes);
    if stopped.is_none() && counts.done() > 0 {
        conversion.remove_outdated(&cases, &mut outcomes);
    }
    for outcome in &outcomes {
        if let Outcome::Failed(message) = outcome {
            let message = preflight::explained(message.as_ref().clone(), tally.as_deref());
            context.tell(messages::with_kept(message, counts.done()));
        }
    }
    let kept = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Kept(kept) => Some(kept),
        _ => None,
    });
    messages::of_kept(kept).into_iter().for_each(|message| context.tell(message));
    before.tell(&outcomes, &cases, &manifest, context);
    counts.report(context);
    match stopped {
        Some(Stop::Interrupted) => return Ok(interrupted(counts, &cases, context)),
        Some(Stop::DiskFull(full)) => {
            let done = format!("{} of {} cases are done", counts.done(), cases.len());
            let detail = full.detail.clone().unwrap_or_default();
            return Err(full.detail(format!("{done}; {detail}")).into());
        }
        None => {}
    }
    if counts.done() == 0 {
        let message = Message::error("E197", format!("all {} cases failed", counts.failed));
        let has_earlier = cases.iter().any(|case| ShardStore::case_directory(out, &case.id).is_dir());
        return Err(match has_earlier {
            true => message
                .cause("Shards that were made before are still there")
                .fix("See the other messages; the command that made them completes them again"),
            false => message.fix("See the other messages"),
        }
        .into());
    }
    finish::finish(manifest, (&cases, &outcomes, &unusable), counts, &descriptor, (&raw, out), context)
}

fn interrupted(counts: Counts, cases: &[RawCase], context: &Context) -> ExitStatus {
    let text = format!("interrupted: {} of {} cases are done", counts.done(), cases.len());
    context.tell(Message::info("I164", text).fix("Rerun the same command to continue"));
    ExitStatus::Interrupted
}

/// The data set by the rules of this run, and its raw folder.
fn data_set(arguments: &Arguments, context: &Context) -> anyhow::Result<(Descriptor, PathBuf)> {
    let (descriptor, raw) = data_set::find(Some(&arguments.dataset), arguments.raw.as_deref(), context)?;
    Ok((inputs::descriptor(descriptor, arguments, context)?, raw))
}

fn selected(
    descriptor: &Descriptor,
    raw: &Path,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<Selected> {
    let listing =
        raw::list(descriptor, raw).inspect_err(|error| also_wrong(error, descriptor, raw, context))?;
    let selected = inputs::select(listing, &arguments.only, context)?;
    if selected.cases.is_empty() {
        return Err(inputs::no_usable_case(raw).into());
    }
    Ok(selected)
}

/// Says what else is wrong with a folder that cannot be listed: whoever mends it does so once.
fn also_wrong(error: &anyhow::Error, descriptor: &Descriptor, raw: &Path, context: &Context) {
    let first = error.to_string();
    raw::check(descriptor, raw)
        .into_iter()
        .filter(|message| message.to_string() != first)
        .for_each(|message| context.tell(message));
}

fn listing_digest(cases: &[RawCase], raw: &Path) -> anyhow::Result<String> {
    let rows: Vec<(&str, &str, CaseSplit, String, Option<String>)> = cases
        .iter()
        .map(|case| {
            let label = case.label.as_ref().map(|label| label.portable(raw));
            (case.id.as_str(), case.subject.as_str(), case.split, case.image.portable(raw), label)
        })
        .collect();
    Ok(digest::digest_of(&rows)?)
}

/// Predictions from the headers; a grid that only a wrong voxel size explains is an error.
fn estimates(
    cases: &[RawCase],
    descriptor: &Descriptor,
    arguments: &Arguments,
    treatment: Treatment,
) -> Vec<anyhow::Result<Estimate>> {
    let of_case = |case| {
        let estimate = estimate::of_case(case, descriptor, treatment.align_labels)?;
        if !arguments.allow_large {
            estimate.refuse_explosion()?;
        }
        Ok(estimate)
    };
    cases.par_iter().map(of_case).collect()
}

/// Says what would be written.
fn dry_run(arguments: &Arguments, treatment: Treatment, context: &Context) -> anyhow::Result<ExitStatus> {
    let (descriptor, raw) = data_set(arguments, context)?;
    let Selected { cases, failed: mut bad, .. } = selected(&descriptor, &raw, arguments, context)?;
    let mut total = 0_u64;
    for (case, estimate) in cases.iter().zip(estimates(&cases, &descriptor, arguments, treatment)) {
        match estimate {
            Ok(e) => {
                total = total.saturating_add(e.disk);
                let [from, to] = [&e.shape_zyx, &e.resampled_zyx].map(cases::triple);
                let disk = limits::size(e.disk);
                context.print(&format!("{}: {} channel(s), {from} -> {to}, {disk}", case.id, e.channels))?;
            }
            Err(error) => {
                bad += 1;
                context.tell(messages::of_error(&case.id, &error, &raw));
            }
        }
    }
    let total = limits::size(total);
    context.print(&format!("{} cases, at most {total} before compression and crop", cases.len()))?;
    Ok(if bad > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}
