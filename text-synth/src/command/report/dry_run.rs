//! `report --dry-run`: what would be sent.

use super::texts::SLICES_OF_A_VOLUME;
use super::{Arguments, CHOSEN, GroundingMode, Kind, api, fresh_input};
use crate::facts::Facts;
use crate::volume_facts;
use crate::writer::api::estimate::Further;
use crate::writer::{Subject, Task, Writer};
use data_manifests::Manifest;
use data_manifests::records::{self, Caption};
use stage::{Context, ExitStatus};
use std::collections::BTreeMap;

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
    let (writer, parameters) = api(arguments, &input)?;
    let out = arguments.out.as_path();
    // without its inputs: only its options are looked at
    let manifest =
        Manifest::new("report", env!("CARGO_PKG_VERSION"), context.program(), &parameters, Vec::new())?;
    arguments.replacing.check(&CHOSEN, &manifest, writer.header()?.as_ref(), out)?;
    let further = Further {
        volumes: if arguments.no_volumes { Vec::new() } else { volumes(&captions, &tasks) },
        rewrites: arguments.grounding == GroundingMode::Rewrite,
    };
    context.print(&writer.estimate(&tasks, &further)?.to_string())?;
    Ok(ExitStatus::Done)
}

/// A task for each case, without the reports that nobody knows yet, and how many of them it sums up.
fn volumes(captions: &[Caption], tasks: &[Task]) -> Vec<(Task, usize)> {
    let mut by_case: BTreeMap<&str, Vec<&Facts>> = BTreeMap::new();
    for (caption, task) in captions.iter().zip(tasks) {
        by_case.entry(&caption.case).or_default().push(&task.facts);
    }
    let volume = |(case, facts): (&str, Vec<&Facts>)| {
        let task = Task {
            id: case.to_owned(),
            subject: Subject::Volume,
            caption: String::new(),
            facts: volume_facts::of_slices(&facts),
            draft: None,
        };
        (task, facts.len().min(SLICES_OF_A_VOLUME))
    };
    by_case.into_iter().map(volume).collect()
}
