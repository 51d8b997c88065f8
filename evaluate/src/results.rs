//! `results.json` of a report: one row per run and class, for programs and for `evaluate show`.

use crate::summary::{ClassSummary, MetricSummary, SummaryFile};
use serde::{Deserialize, Serialize};

/// File name in a report directory.
pub(crate) const FILE_NAME: &str = "results.json";

/// Schema id.
pub(crate) const SCHEMA: &str = "gtgm/results/1";

/// All rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// [`SCHEMA`].
    pub(crate) schema: String,
    /// Rows, in the order of the runs; each run's mean first.
    pub(crate) rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Data set.
    pub(crate) dataset: String,
    /// How the model was trained, in words.
    pub(crate) run: String,
    /// Class name; `mean` for the mean over classes.
    pub(crate) class: String,
    /// Cases in which the class was scored by one metric at least, whose own numbers are their `n` and `infinite`; of the mean, cases scored.
    pub(crate) cases: u64,
    /// Metrics.
    pub(crate) metrics: Vec<MetricSummary>,
}

/// Class name of the mean over classes.
pub(crate) const MEAN: &str = "mean";

/// Cases in which a metric has a value, finite or not.
pub(crate) fn scored(metric: &MetricSummary) -> u64 {
    (metric.n + metric.infinite) as u64
}

/// Cases in which a class was scored by one metric at least.
pub(crate) fn cases_of(class: &ClassSummary) -> u64 {
    class.metrics.iter().map(scored).max().unwrap_or_default()
}

/// The rows of one run.
pub(crate) fn rows(summary: &SummaryFile, run: &str) -> Vec<Row> {
    let details = &summary.gtgm;
    let row = |class: &str, cases: u64, metrics: &[MetricSummary]| Row {
        dataset: details.dataset.name.clone(),
        run: run.to_owned(),
        class: class.to_owned(),
        cases,
        metrics: metrics.to_vec(),
    };
    let classes = details.classes.iter().map(|c: &ClassSummary| row(&c.name, cases_of(c), &c.metrics));
    std::iter::once(row(MEAN, details.cases.scored, &details.foreground)).chain(classes).collect()
}
