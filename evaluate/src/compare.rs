//! `evaluate compare`: runs against the first one, case by case.

mod alike;
mod text;

use crate::comparison::{self, Ranking, Row};
use crate::names::names;
use crate::score::pretty;
use crate::values::Values;
use alike::Score;
use anyhow::Result;
use clap::Args;
use data_manifests::{Artefact, Manifest};
use serde::{Deserialize, Serialize};
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use text::{markdown, table};

/// Arguments of `compare`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Over the cases that all runs scored, by one policy, of one data set and against the same references: differences with bootstrap intervals, Wilcoxon's signed-rank test with Holm's
correction, and how stable the ranking is. 'mean' is each case's mean over its classes.

Example:
  evaluate compare runs/scores-from-scratch runs/scores --groups hospitals.csv --out runs/comparison"
)]
pub struct CompareArguments {
    /// Directories that 'evaluate score' or 'evaluate instances' wrote; all are compared with the first
    #[arg(value_name = "DIR", num_args = 2.., required = true)]
    pub runs: Vec<PathBuf>,
    /// Table with the columns case and group: each group is tested too
    #[arg(long, value_name = "FILE.csv")]
    pub groups: Option<PathBuf>,
    /// Definitions to compare, by id [default: all that the runs share]
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub metrics: Vec<String>,
    /// Also write comparison.csv, comparison.json and comparison.md here
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `comparison.json`.
#[derive(Serialize)]
struct Comparison<'a> {
    schema: &'static str,
    runs: Vec<&'a str>,
    inputs: Vec<Artefact>,
    cases: usize,
    rows: &'a [Row],
    rankings: &'a [Ranking],
}

#[derive(Deserialize)]
struct GroupRow {
    case: String,
    group: String,
}

/// Runs `compare`.
///
/// # Errors
/// A run that is no finished score, runs that were not measured alike or have no common case, a table of groups that cannot be read.
pub(crate) fn run(arguments: &CompareArguments, context: &Context) -> Result<ExitStatus> {
    let names = names(&arguments.runs);
    let runs: Vec<(String, Values)> = names
        .iter()
        .zip(&arguments.runs)
        .map(|(name, directory)| Ok((name.clone(), Values::read(directory)?)))
        .collect::<Result<_>>()?;
    let scores: Vec<Score> = names
        .iter()
        .zip(&arguments.runs)
        .map(|(name, directory)| Score::read(name, directory))
        .collect::<Result<_>>()?;
    let wanted =
        |definition: &str| arguments.metrics.is_empty() || arguments.metrics.iter().any(|m| m == definition);
    alike::check(&scores, wanted, context)?;
    let groups = groups(arguments.groups.as_deref())?;
    let in_common = comparison::common_cases(&runs);
    let common = in_common.len();
    if common == 0 {
        return Err(Message::error("E515", "the runs have no case in common")
            .cause("They scored different splits or data sets")
            .fix("Compare scores over the same cases")
            .into());
    }
    for (name, values) in &runs {
        let alone = values.cases().count() - common;
        if alone > 0 {
            let text = format!("left out {} of '{name}' that not every run has", counted(alone, "case"));
            context.tell(Message::warning("W515", text));
        }
    }
    if let Some(path) = &arguments.groups {
        let known: BTreeSet<&str> = runs.iter().flat_map(|(_, values)| values.cases()).collect();
        let grouped = in_common.iter().filter(|case| groups.contains_key(**case)).count();
        check_groups(&groups, &known, grouped, path, context)?;
    }
    let mut rows = comparison::compare(&runs, &groups);
    rows.retain(|row| wanted(&row.definition));
    let mut rankings = comparison::rankings(&runs);
    rankings.retain(|ranking| wanted(&ranking.definition));
    if rows.is_empty() {
        return Err(Message::error("E516", "there is nothing to compare")
            .cause("The runs share no definition, or --metrics names none that they have")
            .fix("Score both with the same --metrics")
            .into());
    }
    let text = markdown(&runs, common, &rows, &rankings);
    for line in text.lines() {
        context.print(line)?;
    }
    if let Some(out) = &arguments.out {
        let _lock = context.lock(out)?;
        let inputs = arguments
            .runs
            .iter()
            .map(|run| Manifest::as_input("score", run, out))
            .collect::<std::io::Result<_>>()?;
        let comparison = Comparison {
            schema: "gtgm/comparison/1",
            runs: runs.iter().map(|(name, _)| name.as_str()).collect(),
            inputs,
            cases: common,
            rows: &rows,
            rankings: &rankings,
        };
        atomic::write(&out.join("comparison.json"), &pretty(&comparison)?)?;
        atomic::write(&out.join("comparison.csv"), &table(&rows)?)?;
        atomic::write(&out.join("comparison.md"), text.as_bytes())?;
        context.say(&format!("Written: {}", out.display()));
    }
    Ok(ExitStatus::Done)
}

/// Says which cases of a table of groups no run has.
///
/// # Errors
/// `E517` where the table groups none of the cases that are compared.
fn check_groups(
    groups: &BTreeMap<String, String>,
    known: &BTreeSet<&str>,
    grouped: usize,
    path: &Path,
    context: &Context,
) -> Result<(), Message> {
    let unknown: Vec<&str> = groups.keys().map(String::as_str).filter(|case| !known.contains(case)).collect();
    if grouped == 0 {
        let first = unknown.first().or(known.first()).copied().unwrap_or_default();
        return Err(Message::error(
            "E517",
            "the table of groups has none of the cases that the runs have in common",
        )
        .detail(format!("{}: {}, first {first}", path.display(), counted(groups.len(), "case")))
        .fix("Name cases as in metrics.csv, without folder and ending"));
    }
    if let Some(first) = unknown.first() {
        let text =
            format!("{} of the table of groups in no run: first {first}", counted(unknown.len(), "case"));
        context.tell(
            Message::warning("W519", text)
                .detail(path.display().to_string())
                .fix("Name cases as in metrics.csv, without folder and ending"),
        );
    }
    Ok(())
}

fn groups(path: Option<&Path>) -> Result<BTreeMap<String, String>> {
    let Some(path) = path else { return Ok(BTreeMap::new()) };
    let bytes = fs_err::read(path)?;
    let rows: Vec<GroupRow> =
        csv::Reader::from_reader(bytes.as_slice()).deserialize().collect::<Result<_, _>>().map_err(|e| {
            Message::error("E517", "the table of groups cannot be read")
                .detail(format!("{}: {e}", path.display()))
                .fix("It needs the columns case and group")
        })?;
    let mut groups = BTreeMap::new();
    for GroupRow { case, group } in rows {
        if let Some(other) = groups.insert(case.clone(), group.clone()).filter(|other| *other != group) {
            return Err(Message::error("E517", "the table of groups cannot be read")
                .detail(format!("{}: case {case} is in {other} and in {group}", path.display()))
                .fix("List each case once")
                .into());
        }
    }
    Ok(groups)
}
