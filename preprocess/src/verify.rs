//! `preprocess verify DIR`: every byte against manifest and seals; `--repair` makes single cases anew.

mod damage;
mod repair;

use crate::messages::some_names;
use damage::Damage;
use data_manifests::{Manifest, manifest};
use stage::message::counted;
use stage::{Context, ExitStatus, Message};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  preprocess verify runs/hippocampus/shards
  preprocess verify runs/hippocampus/shards --repair hippocampus_001,hippocampus_017 --raw data/Task04_Hippocampus
  preprocess verify runs/hippocampus/shards --repair all --raw data/Task04_Hippocampus

A finished directory is compared with its manifest, an unfinished one case by case with the seal that each case carries.
Repaired cases are made by the rules that the manifest records, from raw files of the recorded SHA-256, and have the
bytes that they had. Exit codes: 0 every byte is as written, 1 something is not.";

/// Check every byte of a shard directory, and make damaged cases anew
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Directory that preprocess wrote
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Make these cases anew, or all that are damaged
    #[arg(long, value_name = "ID,…|all", value_delimiter = ',')]
    repair: Vec<String>,
    /// The data set's own folder, for --repair [default: below $GTGM_RAW or $nnUNet_raw]
    #[arg(long, value_name = "DIR")]
    raw: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let directory: PathBuf = arguments.directory.components().collect();
    if !directory.is_dir() {
        return Err(Message::error("E010", "no shards here")
            .detail(format!("{} is not a directory", directory.display()))
            .fix("Give the directory that preprocess wrote")
            .into());
    }
    let left = if arguments.repair.is_empty() {
        let found = examined(&directory)?;
        context.count("cases", found.examined as u64);
        found
    } else {
        let output = context.open_output(&directory)?;
        output.to_write()?;
        repair::repair(&directory, &arguments.repair, arguments.raw.as_deref(), context)?
    };
    finish(&directory, &left, context)
}

/// What is wrong with a directory, finished or not.
fn examined(directory: &Path) -> anyhow::Result<Damage> {
    if !directory.join(manifest::FILE_NAME).is_file() {
        return damage::of_unfinished(directory);
    }
    match Manifest::load(directory, "preprocess") {
        Ok(manifest) => damage::of_finished(directory, &manifest),
        // the cases carry seals of their own
        Err(error) => match error.downcast_ref::<Message>() {
            Some(message) if message.code == "E011" => {
                let mut found = damage::of_unfinished(directory)?;
                found.other.insert(0, message.detail.clone().unwrap_or_else(|| message.what.clone()));
                Ok(found)
            }
            _ => Err(error),
        },
    }
}

/// Prints what is left to say; the exit code follows from it.
fn finish(directory: &Path, left: &Damage, context: &Context) -> anyhow::Result<ExitStatus> {
    for (id, flaws) in &left.cases {
        for flaw in flaws {
            context.print(&format!("case {id}: {flaw}"))?;
        }
    }
    for flaw in &left.other {
        context.print(flaw)?;
    }
    let place = directory.display();
    if left.is_empty() {
        let state = if left.finished { "" } else { " (not finished: rerun the preprocess command)" };
        let cases = counted(left.examined, "case");
        context.say(&format!("{place}: every byte of {cases} is as written{state}."));
        return Ok(ExitStatus::Done);
    }
    let ids: Vec<String> = left.cases.keys().cloned().collect();
    let mut parts = Vec::new();
    if !ids.is_empty() {
        parts.push(format!("{} of {} cases", ids.len(), left.examined));
    }
    if !left.other.is_empty() {
        parts.push(counted(left.other.len(), "other file"));
    }
    let fix = match (left.finished, ids.is_empty()) {
        (true, false) => format!("Run: preprocess verify {place} --repair {} --raw RAW", ids.join(",")),
        (true, true) => format!(
            "Run: preprocess verify {place} --repair all --raw RAW; move files that are not of the shards away"
        ),
        (false, _) => {
            "Rerun the preprocess command: it keeps what is whole and makes the rest anew".to_owned()
        }
    };
    let mut message = Message::error("E173", format!("{} are not as they were written", parts.join(" and ")));
    message = message.detail(match ids.as_slice() {
        [] => place.to_string(),
        ids => format!("{place}: {}", some_names(ids)),
    });
    context.tell(message.cause("They were changed, added or lost since").fix(fix));
    Ok(ExitStatus::Failed)
}
