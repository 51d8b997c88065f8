//! `evaluate show`: the results of a report, as text.

use crate::page::{REPORT, format_value};
use crate::results::{self, MEAN, Results};
use anyhow::{Context as _, Result};
use clap::Args;
use data_manifests::Manifest;
use stage::{Context, ExitStatus};
use std::path::PathBuf;

/// Arguments of `show`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  evaluate show --report runs/report")]
pub struct ShowArguments {
    /// Directory that 'evaluate report' wrote
    #[arg(long, value_name = "DIR")]
    pub report: PathBuf,
    /// Also print each class
    #[arg(long)]
    pub classes: bool,
}

/// Runs `show`.
///
/// # Errors
/// A directory that holds no finished report.
pub(crate) fn run(arguments: &ShowArguments, context: &Context) -> Result<ExitStatus> {
    Manifest::load(&arguments.report, "evaluation-report")?;
    let path = arguments.report.join(results::FILE_NAME);
    let results: Results = serde_json::from_slice(&fs_err::read(&path)?)
        .with_context(|| format!("cannot read {}", path.display()))?;
    for line in table(&results, arguments.classes) {
        context.print(&line)?;
    }
    context.print(&format!("Report: {}", arguments.report.join(REPORT).display()))?;
    Ok(ExitStatus::Done)
}

/// Aligned columns: data set, run, class, cases and the means of the metrics.
fn table(results: &Results, classes: bool) -> Vec<String> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for row in results.rows.iter().filter(|r| classes || r.class == MEAN) {
        let names = row.metrics.iter().map(|m| m.name.clone());
        if lines.is_empty() {
            let head = ["data set", "run", "class", "cases"].map(str::to_owned);
            lines.push(head.into_iter().chain(names).collect());
        }
        let means = row.metrics.iter().map(|m| {
            let mean = m.mean.map_or_else(|| "n/a".to_owned(), |v| format_value(m, v));
            if m.infinite > 0 { format!("{mean} ({} infinite)", m.infinite) } else { mean }
        });
        let first = [row.dataset.clone(), row.run.clone(), row.class.clone(), row.cases.to_string()];
        lines.push(first.into_iter().chain(means).collect());
    }
    aligned(&lines)
}

/// Lines of cells, each column as wide as its widest cell.
pub(crate) fn aligned(lines: &[Vec<String>]) -> Vec<String> {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|c| lines.iter().filter_map(|l| l.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    lines
        .iter()
        .map(|line| {
            let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}
