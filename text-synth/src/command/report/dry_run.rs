//! `report --dry-run`: what would be sent.

use super::{Arguments, GroundingMode, Kind, api, fresh_input};
use crate::writer::Task;
use data_manifests::records::{self, Caption};
use stage::{Context, ExitStatus};
use std::collections::BTreeSet;

/// Prints an estimate; contacts nobody, locks nothing and writes nothing.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let input = fresh_input(&arguments.captions, "caption")?;
    let captions: Vec<Caption> = records::read_lines(&input.intact(&arguments.captions, records::CAPTIONS)?)?;
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
    let cases: BTreeSet<&str> = captions.iter().map(|caption| caption.case.as_str()).collect();
    if !arguments.no_volumes {
        context.print(&format!("and one request for each of {} volumes", cases.len()))?;
    }
    if arguments.grounding == GroundingMode::Rewrite {
        context.print("and one more for each text that contradicts what was measured")?;
    }
    Ok(ExitStatus::Done)
}
