//! `report --dry-run`: what would be sent.

use super::{Arguments, Kind, api, fresh_input};
use crate::writer::Task;
use data_manifests::records::{self, Caption};
use stage::{Context, ExitStatus};

/// Prints an estimate; contacts nobody, locks nothing and writes nothing.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let input = fresh_input(&arguments.captions, "caption")?;
    let captions: Vec<Caption> = records::read_lines(&arguments.captions.join(records::CAPTIONS))?;
    if arguments.writer == Kind::Template {
        context.print(&format!(
            "requests to do: 0 (the writer 'template' words {} captions itself)",
            captions.len()
        ))?;
        return Ok(ExitStatus::Done);
    }
    let tasks: Vec<Task> = captions.iter().map(Task::of_slice).collect();
    let (writer, _) = api(arguments, &input)?;
    context.print(&writer.estimate(&tasks)?.to_string())?;
    Ok(ExitStatus::Done)
}
