//! `finetune sweep`: label fractions × seeds × starts, each trained, predicted and scored by the commands that do one, and one table.
//!
//! Every run is a process of its own, so that none leaves memory to the next, and each command knows what of its work is done already:
//! repeating a sweep continues it. What is finished is visited first: until it is, and where a run is refused, tables stay as they are.

mod child;
mod commands;
mod holder;
mod table;

use crate::arguments::Sweep;
use child::{Ended, Programs};
use commands::{Commands, Place};
use data_manifests::descriptor::LabelKind;
use data_manifests::splits::{self, Split};
use data_manifests::{Manifest, cases, digest, manifest};
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic};
use std::path::Path;
use table::{Row, Run};

/// Tidy table of all scores.
const TABLE: &str = "sweep.csv";
/// Means over seeds and paired differences.
const SUMMARY: &str = "sweep.md";
/// The split that all runs share, where none was given.
const SPLIT: &str = "split.json";
const RUNS: &str = "runs";

/// Runs the command.
pub(crate) fn run(arguments: &Sweep, quiet: bool, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    let output = context.open_output(out)?;
    output.to_write()?;
    atomic::sweep(out)?;
    let manifest = Manifest::load(&arguments.shards, "preprocess")?;
    let dataset = arguments.shards.join("dataset.toml");
    refuse_objects(&dataset, &manifest)?;
    let programs = Programs::find(arguments.evaluate.as_deref(), quiet)?;
    let split = arguments.split.clone().unwrap_or_else(|| out.join(SPLIT));
    let commands = Commands { arguments, split, dataset: &dataset };
    let runs = runs(arguments);
    let first = runs.first().ok_or_else(|| Message::error("E420", "there is no run to do"))?;
    let overwrites = commands.check(first)?.overwrite;
    if arguments.split.is_none() {
        share_split(arguments, &dataset, overwrites)?;
    }
    let mut sweep = Progress { out, done: vec![None; runs.len()], redone: false };
    let mut failed = 0_u64;
    for (turn, (index, scored)) in finished_first(&runs, out)?.into_iter().enumerate() {
        let (run, directory) = (&runs[index], out.join(RUNS).join(runs[index].name()));
        context.say(&format!("run {} of {}: {run}", turn + 1, runs.len()));
        match one(&commands, run, &Place::of(&directory), &programs, context)? {
            Ended::Done => {
                sweep.redone |= scored.is_none() || scored != digest_of_scores(&directory)?;
                sweep.done[index] = Some(table::rows(run, &directory)?);
            }
            Ended::Interrupted => {
                let text = format!("interrupted with {turn} of {} done", counted(runs.len(), "run"));
                context.tell(Message::info("I306", text).fix("Rerun the same command to continue"));
                return Ok(ExitStatus::Interrupted);
            }
            // another command than the one that wrote it: new runs would stand beside such of other options
            Ended::Failed(command) if scored.is_some() && command.ends_with(" train") => {
                return Err(Message::error("E420", format!("run {run} is finished, and this command is refused for it"))
                    .detail(format!("{}: see the message above; nothing was changed", directory.display()))
                    .fix("Repeat the command that wrote it, give another --out, or add --overwrite after -- to do all runs anew")
                    .into());
            }
            Ended::Failed(command) => {
                failed += 1;
                context.tell(
                    Message::error("E420", format!("run {run} failed in '{command}'"))
                        .cause("See its messages above")
                        .fix("Put it right and repeat the command: the other runs are kept"),
                );
            }
        }
        sweep.write()?;
    }
    context.count("runs", runs.len() as u64 - failed);
    context.count("failed", failed);
    let rows = sweep.rows();
    if rows.is_empty() {
        return Err(Message::error("E420", "no run of the sweep succeeded")
            .fix("See the messages above")
            .into());
    }
    sweep.redone = true;
    sweep.write()?;
    context.print(&table::summary(&rows))?;
    context.say(&format!("Tables: {} and {}", out.join(TABLE).display(), out.join(SUMMARY).display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

/// What this command has of the table.
struct Progress<'a> {
    out: &'a Path,
    /// The rows of each run that is done, in the order of the table.
    done: Vec<Option<Vec<Row>>>,
    /// Whether a run has other scores than before, so that the tables that are there are no longer true.
    redone: bool,
}

impl Progress<'_> {
    fn rows(&self) -> Vec<Row> {
        self.done.iter().flatten().flatten().cloned().collect()
    }

    /// Writes the tables, once they would say more than those that are there.
    fn write(&self) -> anyhow::Result<()> {
        let rows = self.rows();
        if !self.redone || rows.is_empty() {
            return Ok(());
        }
        atomic::write(&self.out.join(TABLE), &cases::to_csv(&rows)?)?;
        Ok(atomic::write(&self.out.join(SUMMARY), table::summary(&rows).as_bytes())?)
    }
}

/// The digest of a run's scores, of a run that is finished.
fn digest_of_scores(directory: &Path) -> anyhow::Result<Option<String>> {
    let place = Place::of(directory);
    if !place.all().iter().all(|stage| stage.join(manifest::FILE_NAME).is_file()) {
        return Ok(None);
    }
    Ok(Some(digest::file(&place.scores.join(manifest::FILE_NAME))?.1))
}

/// Places of runs in the order of their turns, with the digests of those that are finished: these take a moment each.
fn finished_first(runs: &[Run], out: &Path) -> anyhow::Result<Vec<(usize, Option<String>)>> {
    let found = runs.iter().map(|run| digest_of_scores(&out.join(RUNS).join(run.name()))).enumerate();
    let mut turns: Vec<(usize, Option<String>)> =
        found.map(|(index, scored)| anyhow::Ok((index, scored?))).collect::<anyhow::Result<_>>()?;
    turns.sort_by_key(|(index, scored)| (scored.is_none(), *index));
    Ok(turns)
}

/// All runs, those of a fraction and seed beside each other: whatever is interrupted leaves whole pairs behind.
fn runs(arguments: &Sweep) -> Vec<Run> {
    let mut found = Vec::new();
    for fraction in &arguments.fractions {
        for seed in &arguments.seeds {
            let starts = std::iter::once(false).chain(arguments.encoder_weights.is_some().then_some(true));
            for run in starts.map(|pretrained| Run { pretrained, fraction: *fraction, seed: *seed }) {
                // 1 and 1.0 are one fraction
                if !found.contains(&run) {
                    found.push(run);
                }
            }
        }
    }
    found
}

fn refuse_objects(dataset: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let descriptor = data_manifests::Descriptor::find(&dataset.display().to_string())?;
    match descriptor.labels {
        Some(labels) if labels.kind == LabelKind::Semantic => Ok(()),
        _ => Err(Message::error("E435", "a sweep scores classes, and this data set has none")
            .detail(manifest.datasets.join(", "))
            .fix("Train each model with 'finetune train', then 'finetune instances' and 'evaluate instances'")
            .into()),
    }
}

/// One split for all runs: else every seed would be scored on other cases.
///
/// # Errors
/// `E420` where runs that are kept were begun with another.
fn share_split(arguments: &Sweep, dataset: &Path, overwrites: bool) -> anyhow::Result<()> {
    let descriptor = data_manifests::Descriptor::find(&dataset.display().to_string())?;
    let rows = cases::from_csv(&arguments.shards.join(cases::FILE_NAME))?;
    let members = splits::members(&rows, descriptor.ignored());
    let split = match Split::declared(&descriptor, &members, arguments.split_seed)? {
        Some(declared) => declared,
        None => Split::new(&members, arguments.val_share, arguments.split_seed).map_err(|e| {
            Message::error("E402", e.to_string()).fix("Add labelled cases, or give --split a file")
        })?,
    };
    let path = arguments.out.join(SPLIT);
    if path.is_file() && arguments.out.join(RUNS).is_dir() && !overwrites {
        if Split::load(&path)? == split {
            return Ok(());
        }
        return Err(Message::error("E420", "the runs that are here share another split")
            .detail(format!("{} differs from what --val-share, --split-seed and the shards give now", path.display()))
            .fix("Give those with which it was made, --split with that file, another --out, or --overwrite after -- to do all runs anew")
            .into());
    }
    split.save(&path)
}

/// Trains, predicts and scores.
fn one(
    commands: &Commands<'_>,
    run: &Run,
    place: &Place,
    programs: &Programs,
    context: &Context,
) -> anyhow::Result<Ended> {
    holder::wait(&place.all(), context)?;
    for (program, words) in [
        (&programs.finetune, commands.train(run, &place.model)),
        (&programs.finetune, commands.predict(place)),
        (&programs.evaluate, commands.score(place)),
    ] {
        match programs.run(program, &words)? {
            Ended::Done => {}
            other => return Ok(other),
        }
    }
    Ok(Ended::Done)
}
