//! `data-manifests verify DIR`.

use crate::Manifest;
use crate::verify::verify;
use stage::{Context, ExitStatus, Message};
use std::path::PathBuf;

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
    Err(Message::error("E015", format!("{} files are not as they were written", wrong.len()))
        .detail(directory.display().to_string())
        .cause("They were changed, added or lost since the stage finished")
        .fix(if Manifest::load(directory, "preprocess").is_ok() {
            format!(
                "Make what is damaged anew: preprocess verify {} --repair all --raw DIR",
                directory.display()
            )
        } else {
            "Remove the directory and run the stage again".to_owned()
        })
        .into())
}
