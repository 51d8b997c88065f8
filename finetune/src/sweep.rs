//! `finetune sweep`: label fractions × seeds × starts, each trained, predicted and scored by the commands that do one, and one table.
//!
//! Every run is a process of its own, so that none leaves memory to the next, and each command knows what of its work is done already:
//! repeating a sweep continues it.

mod child;
mod table;

use crate::arguments::Sweep;
use child::{Ended, Programs};
use data_manifests::descriptor::LabelKind;
use data_manifests::splits::{self, Split};
use data_manifests::{Manifest, cases};
use stage::{Context, ExitStatus, Message, atomic};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
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
    let split = match &arguments.split {
        Some(file) => file.clone(),
        None => shared_split(arguments, &dataset)?,
    };
    let programs = Programs::find(arguments.evaluate.as_deref(), quiet)?;
    let runs = runs(arguments);
    let (mut rows, mut failed) = (Vec::new(), 0_u64);
    for (index, run) in runs.iter().enumerate() {
        context.say(&format!("run {} of {}: {run}", index + 1, runs.len()));
        let directory = out.join(RUNS).join(run.name());
        match one(arguments, run, &directory, (&split, &dataset), &programs)? {
            Ended::Done => {
                rows.extend(table::rows(run, &directory)?);
                write(out, &rows)?;
            }
            Ended::Interrupted => {
                let text = format!("interrupted: {index} of {} runs are done", runs.len());
                context.tell(Message::info("I306", text).fix("Rerun the same command to continue"));
                return Ok(ExitStatus::Interrupted);
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
    }
    context.count("runs", runs.len() as u64 - failed);
    context.count("failed", failed);
    if rows.is_empty() {
        // tables of an earlier sweep would pass for this one's
        for name in [TABLE, SUMMARY] {
            match fs_err::remove_file(out.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        return Err(Message::error("E420", "no run of the sweep succeeded")
            .fix("See the messages above")
            .into());
    }
    context.print(&table::summary(&rows))?;
    context.say(&format!("Tables: {} and {}", out.join(TABLE).display(), out.join(SUMMARY).display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
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
fn shared_split(arguments: &Sweep, dataset: &Path) -> anyhow::Result<PathBuf> {
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
    split.save(&path)?;
    Ok(path)
}

/// Trains, predicts and scores.
fn one(
    arguments: &Sweep,
    run: &Run,
    directory: &Path,
    (split, dataset): (&Path, &Path),
    programs: &Programs,
) -> anyhow::Result<Ended> {
    let [model, predictions, scores] = ["model", "predictions", "scores"].map(|name| directory.join(name));
    let compute =
        ["--device".into(), (&arguments.device).into(), "--precision".into(), (&arguments.precision).into()];
    let mut train: Vec<OsString> = vec!["train".into(), "--shards".into(), (&arguments.shards).into()];
    train.extend(["--out".into(), (&model).into(), "--split".into(), split.into()]);
    train.extend([
        "--fraction".into(),
        run.fraction.to_string().into(),
        "--seed".into(),
        run.seed.to_string().into(),
    ]);
    match &arguments.encoder_weights {
        Some(file) if run.pretrained => train.extend(["--encoder-weights".into(), file.into()]),
        _ => train.push("--from-scratch".into()),
    }
    train.extend(compute.clone());
    train.extend(arguments.train.iter().cloned());
    let mut predict: Vec<OsString> = vec!["predict".into(), "--model".into(), (&model).into()];
    predict.extend(["--input".into(), (&arguments.raw).into(), "--cases".into(), "val".into()]);
    predict.extend(["--out".into(), (&predictions).into(), "--overwrite".into()]);
    predict.extend(compute);
    let mut score: Vec<OsString> = vec!["score".into(), "--references".into(), (&arguments.raw).into()];
    score.extend(["--predictions".into(), (&predictions).into(), "--dataset".into(), dataset.into()]);
    score.extend(["--out".into(), (&scores).into()]);
    for (program, words) in
        [(&programs.finetune, train), (&programs.finetune, predict), (&programs.evaluate, score)]
    {
        match programs.run(program, &words)? {
            Ended::Done => {}
            other => return Ok(other),
        }
    }
    Ok(Ended::Done)
}

fn write(out: &Path, rows: &[Row]) -> anyhow::Result<()> {
    atomic::write(&out.join(TABLE), &cases::to_csv(rows)?)?;
    Ok(atomic::write(&out.join(SUMMARY), table::summary(rows).as_bytes())?)
}
