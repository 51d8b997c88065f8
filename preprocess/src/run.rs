//! The run: list, estimate, convert in parallel, table, manifest.

use crate::arguments::Arguments;
use crate::case::{self, Digests, Rules};
use crate::estimate::{self, Estimate};
use crate::messages;
use anyhow::Context as _;
use data_manifests::cases::{self, CaseRow, CaseStatus};
use data_manifests::raw::{self, RawCase};
use data_manifests::{Artefact, Descriptor, Manifest, digest};
use patches::{Case, CaseRecord, ShardStore};
use rayon::prelude::*;
use stage::lock::OutputLock;
use stage::{Context, ExitStatus, Message, Severity, atomic, interrupt, limits};
use std::collections::BTreeSet;
use std::path::Path;
use volume::intensity::NonFinite;

/// Name of the descriptor in a shard directory.
const DESCRIPTOR: &str = "dataset.toml";

#[derive(serde::Serialize)]
struct Parameters<'a> {
    descriptor: &'a Descriptor,
    only: &'a [String],
    non_finite: NonFinite,
}

/// What became of a case.
enum Outcome {
    Converted(Box<CaseRecord>),
    Kept(Box<CaseRecord>),
    Failed,
    NotStarted,
}

/// Runs the stage.
///
/// # Errors
/// Fails when nothing can be done at all; single bad cases give [`ExitStatus::Partial`].
pub fn run(arguments: Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let descriptor = Descriptor::find(&arguments.dataset)?;
    let out = arguments.out.as_path();
    if !arguments.dry_run {
        context.report_to(out);
    }
    let listing = raw::list(&descriptor, &arguments.raw)?;
    let mut failed_before = 0;
    for problem in listing.problems {
        failed_before += usize::from(problem.severity == Severity::Error);
        context.tell(problem);
    }
    let cases = select(listing.cases, &arguments.only)?;
    if cases.is_empty() {
        return Err(Message::error("E103", "no usable case")
            .detail(arguments.raw.display().to_string())
            .fix("Check --raw, --only and the data set's files")
            .into());
    }
    let estimates: Vec<volume::Result<Estimate>> =
        cases.par_iter().map(|case| estimate::of_case(case, &descriptor)).collect();
    if arguments.dry_run {
        return dry_run(&cases, &estimates, context);
    }

    let _lock = OutputLock::acquire(out, context.program())?;
    let rules = Rules {
        descriptor: &descriptor,
        non_finite: if arguments.fill_non_finite { NonFinite::FillMin } else { NonFinite::Error },
        raw_root: &arguments.raw,
    };
    let (inputs, digests) = digests(&cases, &arguments)?;
    let parameters =
        Parameters { descriptor: &descriptor, only: &arguments.only, non_finite: rules.non_finite };
    let manifest =
        Manifest::new("preprocess", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    // a directory with failed cases is worked on again: the file may have been mended in the meantime by other means
    if let Some(found) = manifest.reusable(out)?
        && failed_before == 0
        && found.counts.get("failed") == Some(&0)
    {
        context.say(&format!("Nothing to do: {} holds these {} cases already.", out.display(), cases.len()));
        return Ok(ExitStatus::Done);
    }
    Manifest::withdraw(out)?;
    let folder = ShardStore::case_directory(out, "");
    fs_err::create_dir_all(&folder)?;
    atomic::sweep(out)?;
    atomic::sweep(&folder)?;
    remove_others(&folder, &cases)?;
    check_disk(out, &estimates)?;

    let workers = workers(&arguments, &estimates, context);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build()?;
    let progress = context.progress("cases", cases.len() as u64);
    let outcomes: Vec<Outcome> = pool.install(|| {
        cases
            .par_iter()
            .zip(&digests)
            // one case at a time for each worker, in order: memory follows the number of workers
            .with_max_len(1)
            .map(|(case, digests)| {
                let outcome = one(&rules, case, digests.as_ref(), out, context);
                progress.step(&case.id);
                outcome
            })
            .collect()
    });
    progress.finish();
    finish(manifest, &cases, &outcomes, failed_before, &descriptor, &arguments, context)
}

/// The cases that `--only` names, or all.
fn select(cases: Vec<RawCase>, only: &[String]) -> anyhow::Result<Vec<RawCase>> {
    if only.is_empty() {
        return Ok(cases);
    }
    let known: BTreeSet<&str> = cases.iter().map(|c| c.id.as_str()).collect();
    let unknown: Vec<_> = only.iter().filter(|id| !known.contains(id.as_str())).cloned().collect();
    if !unknown.is_empty() {
        return Err(Message::error("E104", format!("no such case: {}", unknown.join(", ")))
            .fix("Name cases by their file names without ending")
            .into());
    }
    Ok(cases.into_iter().filter(|c| only.contains(&c.id)).collect())
}

/// SHA-256 of every raw file, as manifest inputs and per case; a file that cannot be read is its case's error later.
fn digests(
    cases: &[RawCase],
    arguments: &Arguments,
) -> anyhow::Result<(Vec<Artefact>, Vec<Result<Digests, String>>)> {
    let read = |role: &str, source: &raw::Source| -> Result<Artefact, String> {
        Artefact::of_rooted(role, source.path(), "RAW", &arguments.raw).map_err(|e| e.to_string())
    };
    let found: Vec<Result<(Artefact, Option<Artefact>), String>> = cases
        .par_iter()
        .map(|case| {
            let image = read("raw", &case.image)?;
            let label = case.label.as_ref().map(|label| read("raw", label)).transpose()?;
            Ok((image, label))
        })
        .collect();
    let mut inputs = Vec::new();
    let dataset = Path::new(&arguments.dataset);
    if dataset.is_file() {
        inputs.push(Artefact::of_file("descriptor", dataset, &arguments.out)?);
    }
    let mut digests = Vec::with_capacity(found.len());
    for pair in found {
        digests.push(match pair {
            Ok((image, label)) => {
                let digests =
                    Digests { image: image.sha256.clone(), label: label.as_ref().map(|l| l.sha256.clone()) };
                let same_file = label.as_ref().is_some_and(|l| l.path == image.path);
                inputs.push(image);
                inputs.extend(label.filter(|_| !same_file));
                Ok(digests)
            }
            Err(error) => Err(error),
        });
    }
    Ok((inputs, digests))
}

/// Converts a case, or keeps it when it was made from the same bytes by the same rules.
fn one(
    rules: &Rules<'_>,
    case: &RawCase,
    digests: Result<&Digests, &String>,
    out: &Path,
    context: &Context,
) -> Outcome {
    if interrupt::requested() {
        return Outcome::NotStarted;
    }
    let destination = ShardStore::case_directory(out, &case.id);
    let fail = |error: &anyhow::Error| {
        context.tell(messages::of_error(&case.id, error, rules.raw_root));
        Outcome::Failed
    };
    let digests = match digests {
        Ok(digests) => digests,
        Err(text) => return fail(&anyhow::anyhow!("{text}")),
    };
    if destination.is_dir()
        && let Ok(found) = Case::open(&destination)
        && rules.work(case, digests).is_ok_and(|work| work == found.record().work)
    {
        return Outcome::Kept(Box::new(found.record().clone()));
    }
    match case::convert(rules, case, digests, &destination) {
        Ok((record, warnings)) => {
            for warning in &warnings {
                context.tell(messages::of_warning(&case.id, warning));
            }
            Outcome::Converted(Box::new(record))
        }
        Err(error) => {
            let outcome = fail(&error);
            // what an earlier run made of other bytes must not pass for this case
            if let Err(error) = remove_if_there(&destination) {
                context.tell(
                    Message::error("E163", "cannot remove an outdated case")
                        .case(&case.id)
                        .detail(error.to_string()),
                );
            }
            outcome
        }
    }
}

fn remove_if_there(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() { fs_err::remove_dir_all(directory) } else { Ok(()) }
}

/// Removes cases that the data set does not have (any more).
fn remove_others(folder: &Path, cases: &[RawCase]) -> anyhow::Result<()> {
    let known: BTreeSet<&str> = cases.iter().map(|c| c.id.as_str()).collect();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| known.contains(name)) {
            if entry.file_type()?.is_dir() {
                fs_err::remove_dir_all(entry.path())?;
            } else {
                fs_err::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

fn check_disk(out: &Path, estimates: &[volume::Result<Estimate>]) -> anyhow::Result<()> {
    // zstd at least halves medical volumes in practice; ask for the uncompressed size of half of them
    let needed: u64 = estimates.iter().filter_map(|e| e.as_ref().ok()).map(|e| e.disk).sum::<u64>() / 2;
    let free = limits::free_disk_bytes(out)?;
    if free < needed {
        return Err(Message::error(
            "E161",
            format!("{} has {} free, this data set needs about {}", out.display(), gib(free), gib(needed)),
        )
        .fix("Free space, or use an --out on another disk")
        .into());
    }
    Ok(())
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// As many cases at once as cores and memory allow.
fn workers(arguments: &Arguments, estimates: &[volume::Result<Estimate>], context: &Context) -> usize {
    let wanted = arguments.workers.map_or_else(limits::cores, usize::from);
    let budget = match arguments.max_ram {
        Some(gib) => (gib * f64::from(1 << 30)) as u64,
        None => limits::memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 4),
    };
    let largest = estimates.iter().filter_map(|e| e.as_ref().ok()).map(|e| e.memory).max().unwrap_or(0);
    let allowed = usize::try_from(budget / largest.max(1)).unwrap_or(usize::MAX);
    if allowed < wanted {
        let text = format!("the largest case needs about {}, --max-ram allows {}", gib(largest), gib(budget));
        let used = allowed.max(1);
        context
            .tell(Message::warning("W160", text).fix(format!("Using {used} worker(s) instead of {wanted}")));
    }
    wanted.min(allowed).max(1)
}

fn dry_run(
    cases: &[RawCase],
    estimates: &[volume::Result<Estimate>],
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let mut total = 0;
    let mut bad = false;
    for (case, estimate) in cases.iter().zip(estimates) {
        match estimate {
            Ok(e) => {
                total += e.disk;
                let [from, to] = [&e.shape_zyx, &e.resampled_zyx].map(cases::triple);
                let mib = e.disk as f64 / f64::from(1 << 20);
                context.print(&format!(
                    "{}: {} channel(s), {from} -> {to}, {mib:.1} MiB",
                    case.id, e.channels
                ))?;
            }
            Err(error) => {
                bad = true;
                context.tell(Message::error(error.code(), error.to_string()).case(&case.id));
            }
        }
    }
    context.print(&format!("{} cases, at most {} before compression and crop", cases.len(), gib(total)))?;
    Ok(if bad { ExitStatus::Partial } else { ExitStatus::Done })
}

fn finish(
    mut manifest: Manifest,
    cases: &[RawCase],
    outcomes: &[Outcome],
    failed_before: usize,
    descriptor: &Descriptor,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    let count = |f: fn(&Outcome) -> bool| outcomes.iter().filter(|o| f(o)).count();
    let converted = count(|o| matches!(o, Outcome::Converted(_)));
    let kept = count(|o| matches!(o, Outcome::Kept(_)));
    let failed = count(|o| matches!(o, Outcome::Failed)) + failed_before;
    if outcomes.iter().any(|o| matches!(o, Outcome::NotStarted)) {
        let text = format!("interrupted: {} of {} cases are done", converted + kept, cases.len());
        context.tell(Message::info("I164", text).fix("Rerun the same command to continue"));
        return Ok(ExitStatus::Interrupted);
    }
    if converted + kept == 0 {
        return Err(Message::error("E105", format!("all {failed} cases failed"))
            .fix("See the messages above")
            .into());
    }
    let rows: Vec<CaseRow> = cases
        .par_iter()
        .zip(outcomes)
        .map(|(case, outcome)| row(case, outcome, arguments))
        .collect::<anyhow::Result<_>>()?;
    absent_classes(outcomes, descriptor, context);
    atomic::write(&out.join(cases::FILE_NAME), &cases::to_csv(&rows)?)?;
    let text = toml::to_string_pretty(descriptor).context("cannot write the descriptor")?;
    atomic::write(&out.join(DESCRIPTOR), text.as_bytes())?;
    manifest.datasets = vec![descriptor.name.clone()];
    manifest.licence = descriptor.licence.clone();
    for (name, value) in [("cases", converted + kept), ("failed", failed)] {
        manifest.counts.insert(name.to_owned(), value as u64);
    }
    for (name, value) in [("converted", converted), ("kept", kept), ("failed", failed)] {
        context.count(name, value as u64);
    }
    manifest.finish(out, |path| match path {
        cases::FILE_NAME => "cases",
        DESCRIPTOR => "descriptor",
        _ => "shards",
    })?;
    context.say(&format!("{converted} cases converted, {kept} kept, {failed} failed: {}", out.display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

fn row(case: &RawCase, outcome: &Outcome, arguments: &Arguments) -> anyhow::Result<CaseRow> {
    let record = match outcome {
        Outcome::Converted(record) | Outcome::Kept(record) => Some(record),
        Outcome::Failed | Outcome::NotStarted => None,
    };
    Ok(CaseRow {
        id: case.id.clone(),
        subject: case.subject.clone(),
        image: case.image.portable(&arguments.raw),
        label: case.label.as_ref().map(|l| l.portable(&arguments.raw)).unwrap_or_default(),
        split: case.split,
        shape: record.map(|r| cases::triple(&r.shape_zyx)).unwrap_or_default(),
        spacing: record.map(|r| cases::triple(&r.spacing_zyx_mm)).unwrap_or_default(),
        status: if record.is_some() { CaseStatus::Done } else { CaseStatus::Failed },
        digest: match record {
            Some(_) => digest::tree(&ShardStore::case_directory(&arguments.out, &case.id))?,
            None => String::new(),
        },
    })
}

/// A declared class that no case has is worth a warning: its scores will be n/a.
fn absent_classes(outcomes: &[Outcome], descriptor: &Descriptor, context: &Context) {
    let labelled: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Converted(record) | Outcome::Kept(record) => record.label.as_ref(),
            _ => None,
        })
        .collect();
    if labelled.is_empty() {
        return;
    }
    for (i, name) in descriptor.foreground_classes().iter().enumerate() {
        let value = i as u32 + 1;
        let present = labelled.iter().any(|l| l.voxels.iter().any(|c| c.value == value && c.voxels > 0));
        if !present {
            let text = format!("class {value} '{name}' occurs in 0 of {} cases", labelled.len());
            context.tell(Message::warning("W111", text).fix("Its scores will be reported as n/a, not as 0"));
        }
    }
}
