//! `evaluate show`: the results of a report, as text.

use crate::page::{REPORT, format_value, stem};
use crate::results::{self, MEAN, Results, Row};
use crate::summary::MetricSummary;
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
    for line in tables(&results, arguments.classes) {
        context.print(&line)?;
    }
    context.print(&format!("Report: {}", arguments.report.join(REPORT).display()))?;
    Ok(ExitStatus::Done)
}

/// Aligned columns: data set, run, class, cases in which the class was scored and the means of the metrics. Rows that were measured by other definitions (classes and
/// objects, or other metrics) are a table of their own, with an empty line between.
fn tables(results: &Results, classes: bool) -> Vec<String> {
    let mut tables: Vec<(Vec<String>, Vec<Vec<String>>)> = Vec::new();
    for row in results.rows.iter().filter(|r| classes || r.class == MEAN) {
        let columns = headings(&row.metrics);
        let means = row.metrics.iter().map(|m| cell(m, row));
        let first = [row.dataset.clone(), row.run.clone(), row.class.clone(), row.cases.to_string()];
        let line = first.into_iter().chain(means).collect();
        match tables.iter_mut().find(|(known, _)| *known == columns) {
            Some((_, lines)) => lines.push(line),
            None => tables.push((columns, vec![line])),
        }
    }
    let head = || ["data set", "run", "class", "cases"].map(str::to_owned).into_iter();
    let texts: Vec<Vec<String>> = tables
        .into_iter()
        .map(|(columns, lines)| {
            let heading: Vec<String> = head().chain(columns).collect();
            aligned(&std::iter::once(heading).chain(lines).collect::<Vec<_>>())
        })
        .collect();
    texts.join(&String::new())
}

/// A mean, in brackets what it is not over: the number of cases where other metrics of the class have more, and infinite values.
fn cell(metric: &MetricSummary, row: &Row) -> String {
    let mean = metric.mean.map_or_else(|| "n/a".to_owned(), |v| format_value(metric, v));
    let mut notes = Vec::new();
    // the mean over classes has the cases of each class in the class's row
    if row.class != MEAN && results::scored(metric) < row.cases {
        notes.push(results::scored(metric).to_string());
    }
    if metric.infinite > 0 {
        notes.push(format!("{} infinite", metric.infinite));
    }
    if notes.is_empty() { mean } else { format!("{mean} ({})", notes.join(", ")) }
}

/// The metrics' names; where several have one name, with what tells their definitions apart.
fn headings(metrics: &[MetricSummary]) -> Vec<String> {
    let heading = |metric: &MetricSummary| {
        let of_name = || metrics.iter().filter(|other| other.name == metric.name);
        if of_name().count() == 1 {
            return metric.name.clone();
        }
        let own = stem(&metric.definition);
        // of one formula with several tolerances, these too
        let is_alone = of_name().filter(|other| stem(&other.definition) == own).count() == 1;
        let id = if is_alone { own } else { &metric.definition };
        match id.split_once([':', '@']) {
            Some((_, variant)) => format!("{} ({variant})", metric.name),
            None => metric.name.clone(),
        }
    };
    metrics.iter().map(heading).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::SCHEMA;

    fn metric(definition: &str, name: &str, mean: f64) -> MetricSummary {
        MetricSummary {
            definition: definition.to_owned(),
            name: name.to_owned(),
            n: 1,
            infinite: 0,
            mean: Some(mean),
            median: None,
            quartiles: None,
            std: None,
            interval: None,
            mean_with_diagonal: None,
        }
    }

    #[test]
    fn a_metric_with_fewer_cases_than_its_class_says_so() {
        let of = |n: usize, infinite: usize, mean: Option<f64>| MetricSummary {
            n,
            infinite,
            mean,
            ..metric("hd95:surfel", "HD95", 0.0)
        };
        let row = |class: &str, metrics: Vec<MetricSummary>| Row {
            dataset: "a".to_owned(),
            run: "r".to_owned(),
            class: class.to_owned(),
            cases: 7,
            metrics,
        };
        let metrics = vec![of(7, 0, Some(1.0)), of(5, 2, Some(1.0)), of(3, 1, Some(2.0)), of(0, 0, None)];
        let cells = |class: &str| {
            let row = row(class, metrics.clone());
            row.metrics.iter().map(|m| cell(m, &row)).collect::<Vec<_>>()
        };
        assert_eq!(cells("liver"), ["1.00 mm", "1.00 mm (2 infinite)", "2.00 mm (4, 1 infinite)", "n/a (0)"]);
        assert_eq!(cells(MEAN)[2], "2.00 mm (1 infinite)");
    }

    #[test]
    fn tolerances_tell_columns_of_one_formula_apart() {
        let of = |ids: &[(&str, &str)]| {
            let metric = |(definition, name): &(&str, &str)| metric(definition, name, 0.5);
            headings(&ids.iter().map(metric).collect::<Vec<_>>())
        };
        assert_eq!(
            of(&[("nsd:surfel@0.5mm", "NSD"), ("nsd:surfel@3mm", "NSD"), ("nsd:edge@1mm", "NSD")]),
            ["NSD (surfel@0.5mm)", "NSD (surfel@3mm)", "NSD (edge)"]
        );
        let ids =
            [("boundary-iou@1mm", "Boundary IoU"), ("boundary-iou@2mm", "Boundary IoU"), ("dice", "Dice")];
        assert_eq!(of(&ids), ["Boundary IoU (1mm)", "Boundary IoU (2mm)", "Dice"]);
    }

    #[test]
    fn rows_of_other_metrics_are_another_table_and_names_are_unique() {
        let row = |dataset: &str, metrics: Vec<MetricSummary>| Row {
            dataset: dataset.to_owned(),
            run: "r".to_owned(),
            class: MEAN.to_owned(),
            cases: 2,
            metrics,
        };
        let classes = |dataset, tolerance: &str, values: [f64; 2]| {
            let nsd = format!("nsd:surfel@{tolerance}mm");
            row(dataset, vec![metric("dice", "Dice", values[0]), metric(&nsd, "NSD", values[1])])
        };
        let objects = vec![
            metric("ap:iou50", "AP", 0.1),
            metric("ap:mean", "AP", 0.2),
            metric("voi:cremi", "VOI", 3.0),
        ];
        let rows = vec![classes("a", "1", [0.8, 0.9]), row("b", objects), classes("c", "2", [0.7, 0.6])];
        let lines = tables(&Results { schema: SCHEMA.to_owned(), rows }, false);
        assert_eq!(
            lines,
            [
                "data set  run  class  cases  Dice   NSD",
                "a         r    mean   2      0.800  0.900",
                "c         r    mean   2      0.700  0.600",
                "",
                "data set  run  class  cases  AP (iou50)  AP (mean)  VOI",
                "b         r    mean   2      0.100       0.200      3.000",
            ]
        );
    }
}
