//! `evaluate compare`: runs against the first one, case by case.

use crate::comparison::{self, ALL, Ranking, Row};
use crate::score::pretty;
use crate::values::Values;
use anyhow::Result;
use clap::Args;
use data_manifests::Artefact;
use serde::{Deserialize, Serialize};
use stage::{Context, ExitStatus, Message, atomic};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `compare`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Over the cases that all runs scored: differences with bootstrap intervals, Wilcoxon's signed-rank test with Holm's
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
/// A run that is no finished score, runs without a common case, a table of groups that cannot be read.
pub(crate) fn run(arguments: &CompareArguments, context: &Context) -> Result<ExitStatus> {
    let runs: Vec<(String, Values)> = names(&arguments.runs)
        .into_iter()
        .zip(&arguments.runs)
        .map(|(name, directory)| Ok((name, Values::read(directory)?)))
        .collect::<Result<_>>()?;
    let groups = groups(arguments.groups.as_deref())?;
    let common = comparison::common_cases(&runs).len();
    if common == 0 {
        return Err(Message::error("E515", "the runs have no case in common")
            .cause("They scored different splits or data sets")
            .fix("Compare scores over the same cases")
            .into());
    }
    for (name, values) in &runs {
        let alone = values.cases().count() - common;
        if alone > 0 {
            let text = format!("{alone} cases of '{name}' are not in every run: they are left out");
            context.tell(Message::warning("W515", text));
        }
    }
    let wanted =
        |definition: &str| arguments.metrics.is_empty() || arguments.metrics.iter().any(|m| m == definition);
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
            .map(|run| data_manifests::Manifest::as_input("score", run, out))
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

/// Folder names, with as many parents as tell them apart.
fn names(runs: &[PathBuf]) -> Vec<String> {
    let tail = |path: &Path, parts: usize| -> String {
        let all: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let longest = runs.iter().map(|r| r.components().count()).max().unwrap_or(1);
    let named = |parts: usize| -> Vec<String> { runs.iter().map(|r| tail(r, parts)).collect() };
    let distinct = |names: &[String]| (1..names.len()).all(|i| !names[..i].contains(&names[i]));
    (1..=longest).map(named).find(|names| distinct(names)).unwrap_or_else(|| {
        // the same directory twice
        named(1).iter().enumerate().map(|(i, name)| format!("{name} ({})", i + 1)).collect()
    })
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

fn number(value: Option<f64>) -> String {
    value.map_or_else(
        || "n/a".to_owned(),
        |v| if v.abs() >= 100.0 { format!("{v:.1}") } else { format!("{v:.4}") },
    )
}

fn p_value(value: Option<f64>) -> String {
    match value {
        None => "n/a".to_owned(),
        Some(p) if p < 1e-4 => format!("{p:.1e}"),
        Some(p) => format!("{p:.4}"),
    }
}

/// The whole comparison as Markdown.
fn markdown(runs: &[(String, Values)], cases: usize, rows: &[Row], rankings: &[Ranking]) -> String {
    let first = runs.first().map_or("", |(name, _)| name);
    let mut lines = vec![
        format!("# Comparison with {first}"),
        String::new(),
        format!(
            "{cases} cases in common. Differences are other less {first}, means over pairs of finite values, with 95 % bootstrap intervals; p by Wilcoxon's signed-rank test, in brackets Holm's correction over the runs and over everything tested with this definition. Better, equal, worse count cases."
        ),
        String::new(),
        format!(
            "| definition | class | group | run | n | {first} | run's mean | difference | p (Holm: runs, all) | better / equal / worse |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for row in rows {
        let interval = row
            .interval
            .map_or_else(String::new, |i| format!(" [{}, {}]", number(Some(i.low)), number(Some(i.high))));
        let mut n = row.pairs.to_string();
        if row.left_out > 0 {
            n.push_str(&format!(" ({} not scored)", row.left_out));
        }
        if row.infinite > 0 {
            n.push_str(&format!(" ({} infinite)", row.infinite));
        }
        let [better, equal, worse] = row.better_equal_worse;
        lines.push(format!(
            "| {} | {} | {} | {} | {n} | {} | {} | {}{interval} | {} ({}, {}) | {better} / {equal} / {worse} |",
            row.definition,
            row.class,
            row.group,
            row.run,
            number(row.mean_first),
            number(row.mean_other),
            number(row.difference),
            p_value(row.p),
            p_value(row.p_holm_runs),
            p_value(row.p_holm_all),
        ));
    }
    lines.extend([String::new(), "## What so many cases can show".to_owned(), String::new()]);
    let mut sizes: Vec<(&str, usize)> = rows.iter().map(|row| (row.group.as_str(), row.pairs)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for (group, n) in sizes {
        let power = metrics::paired::power(n);
        let group = if group == ALL { "all cases" } else { group };
        let warning = if power.least_p > 0.05 { ": no difference can be significant at 5 %" } else { "" };
        lines.push(format!(
            "- {group}, n = {n}: the smallest possible p is {}{warning}; a mean difference of {:.2} standard deviations of the differences is found at 5 % in four of five such studies.",
            p_value(Some(power.least_p)),
            power.detectable
        ));
    }
    if runs.len() > 1 && !rankings.is_empty() {
        lines.extend([
            String::new(),
            "## Ranking".to_owned(),
            String::new(),
            "Rank by the mean over cases; in brackets the share of 2,000 bootstrap samples of the cases in which the run keeps it.".to_owned(),
            String::new(),
        ]);
        let head: Vec<&str> = runs.iter().map(|(name, _)| name.as_str()).collect();
        lines.push(format!("| definition | class | cases | {} |", head.join(" | ")));
        lines.push(format!("| --- | --- | --- |{}", " --- |".repeat(runs.len())));
        for ranking in rankings {
            let cells: Vec<String> =
                ranking.ranks.iter().map(|r| format!("{} ({:.0} %)", r.rank, r.stability * 100.0)).collect();
            lines.push(format!(
                "| {} | {} | {} | {} |",
                ranking.definition,
                ranking.class,
                ranking.cases,
                cells.join(" | ")
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// `comparison.csv`, one row per test.
fn table(rows: &[Row]) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "definition",
        "class",
        "group",
        "run",
        "pairs",
        "left_out",
        "infinite",
        "mean_first",
        "mean_other",
        "difference",
        "low",
        "high",
        "median_difference",
        "better",
        "equal",
        "worse",
        "p",
        "p_holm_runs",
        "p_holm_all",
        "effect",
    ])?;
    let text = |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |v| v.to_string());
    for row in rows {
        let mut cells = vec![row.definition.clone(), row.class.clone(), row.group.clone(), row.run.clone()];
        cells.extend([row.pairs, row.left_out, row.infinite].map(|n| n.to_string()));
        let (low, high) = (row.interval.map(|i| i.low), row.interval.map(|i| i.high));
        cells.extend(
            [row.mean_first, row.mean_other, row.difference, low, high, row.median_difference].map(text),
        );
        cells.extend(row.better_equal_worse.map(|n| n.to_string()));
        cells.extend([row.p, row.p_holm_runs, row.p_holm_all, row.effect].map(text));
        table.write_record(cells)?;
    }
    Ok(table.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_they_must_be() {
        let of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["runs/a", "runs/b"]), ["a", "b"]);
        assert_eq!(of(&["x/scores", "y/scores"]), ["x/scores", "y/scores"]);
        assert_eq!(of(&["x", "x"]), ["x (1)", "x (2)"]);
    }
}
