//! `data-manifests verify DIR`.

use crate::Manifest;
use crate::manifest::FILE_NAME as MANIFEST;
use crate::verify::{UNLISTED, verify};
use stage::{Context, ExitStatus, Message, atomic};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Directory of a finished stage
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let directory = &arguments.directory;
    let wrong = verify(directory)?;
    for line in &wrong {
        context.print(line)?;
    }
    if wrong.is_empty() {
        context.say(&format!("{}: every byte is as written.", directory.display()));
        return Ok(ExitStatus::Done);
    }
    let [cause, fix] = advice(directory, &wrong)?;
    Err(Message::error("E015", format!("{} files are not as they were written", wrong.len()))
        .detail(directory.display().to_string())
        .cause(cause)
        .fix(fix)
        .into())
}

/// What happened, and what helps; where a ledger holds answers that were paid for, never to remove all.
fn advice(directory: &Path, wrong: &[String]) -> anyhow::Result<[String; 2]> {
    let manifest = Manifest::load_any(directory)?;
    let changed = "They were changed, added or lost since the stage finished".to_owned();
    if manifest.stage == "preprocess" {
        let fix = "Make what is damaged anew: preprocess verify";
        return Ok([changed, format!("{fix} {} --repair all --raw DIR", directory.display())]);
    }
    let command = format!("'{} {}'", manifest.tool.name, manifest.stage);
    // a run that was killed leaves its lock and files that it was writing, too
    let mut rest = wrong.iter().filter(|line| !line.starts_with(stage::lock::FILE_NAME)).peekable();
    if rest.peek().is_some() && rest.all(|line| line.strip_suffix(UNLISTED).is_some_and(is_unfinished)) {
        let cause =
            format!("{command} was run again here and is not finished; what it had made before is whole");
        let fix = "Repeat that command with the same options: it goes on. Remove nothing: these files hold what it has so far, and answers were paid for";
        return Ok([cause, fix.to_owned()]);
    }
    let fix = if has_ledger(directory)? {
        format!(
            "Keep ledger*.jsonl, whose answers were paid for, remove {MANIFEST} and files that are none of the stage's, and repeat {command} with the same options: it asks for nothing twice"
        )
    } else {
        "Remove the directory and run the stage again".to_owned()
    };
    Ok([changed, fix])
}

/// Whether a rerun that asks a model keeps its state under this name beside what is finished, until it is finished itself.
fn is_unfinished(name: &str) -> bool {
    let is_next = name.starts_with("ledger.next.") && name.ends_with(".jsonl");
    is_next
        || ["retry.json", "batches.json", "captioned.jsonl"].contains(&name)
        || atomic::is_temporary(OsStr::new(name))
}

fn has_ledger(directory: &Path) -> io::Result<bool> {
    for entry in fs_err::read_dir(directory)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("ledger.") && name.ends_with(".jsonl")) {
            return Ok(true);
        }
    }
    Ok(false)
}
