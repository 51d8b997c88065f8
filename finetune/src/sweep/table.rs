//! What the runs of a sweep scored.

use crate::wording::share_of_labels;
use anyhow::Context as _;
use data_manifests::Manifest;
use metrics::statistics::{Summary, summarise};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Definition of the scores in the summary.
const DICE: &str = "dice";
/// Class of the mean over classes.
const FOREGROUND: &str = "foreground";

/// What distinguishes a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) pretrained: bool,
    pub(super) fraction: f64,
    pub(super) seed: u64,
}

impl Run {
    fn start(&self) -> &'static str {
        if self.pretrained { "pretrained" } else { "scratch" }
    }

    /// Name of its folder.
    pub(super) fn name(&self) -> String {
        format!("{}-{}-seed{}", self.start(), self.fraction, self.seed)
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (start, fraction, seed) = (self.start(), self.fraction, self.seed);
        write!(f, "{start}, {} of the labels, seed {seed}", share_of_labels(fraction))
    }
}

/// A score: mean over the validation cases on their images' own grids.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) start: &'static str,
    pub(super) fraction: f64,
    pub(super) seed: u64,
    pub(super) train_cases: u64,
    /// A class, or `foreground` for the mean over classes.
    pub(super) class: String,
    pub(super) definition: String,
    /// Over finite values; empty where nothing was scored.
    pub(super) mean: Option<f64>,
    /// Infinite distances, which are in no mean: of a class that one of both maps lacks.
    pub(super) infinite: u64,
    /// The mean with the volume's diagonal in their place; empty of what is no distance.
    pub(super) mean_with_diagonal: Option<f64>,
}

/// The part of `summary.json` that is read here.
#[derive(Deserialize)]
struct Scores {
    gtgm: Details,
}

#[derive(Deserialize)]
struct Details {
    foreground: Vec<Metric>,
    classes: Vec<Class>,
}

#[derive(Deserialize)]
struct Class {
    name: String,
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Metric {
    definition: String,
    mean: Option<f64>,
    #[serde(default)]
    infinite: u64,
    #[serde(default)]
    mean_with_diagonal: Option<f64>,
}

/// The rows of a finished run.
pub(super) fn rows(run: &Run, directory: &Path) -> anyhow::Result<Vec<Row>> {
    let train_cases = Manifest::load(&directory.join("model"), "train")?.counts.get("train_cases").copied();
    let path = directory.join("scores").join("summary.json");
    let scores: Scores = serde_json::from_slice(&fs_err::read(&path)?)
        .with_context(|| format!("{} is no summary of 'evaluate score'", path.display()))?;
    let row = |class: &str, metric: Metric| Row {
        start: run.start(),
        fraction: run.fraction,
        seed: run.seed,
        train_cases: train_cases.unwrap_or_default(),
        class: class.to_owned(),
        definition: metric.definition,
        mean: metric.mean,
        infinite: metric.infinite,
        mean_with_diagonal: metric.mean_with_diagonal,
    };
    let Details { foreground, classes } = scores.gtgm;
    let mut rows: Vec<Row> = foreground.into_iter().map(|metric| row(FOREGROUND, metric)).collect();
    for Class { name, metrics } in classes {
        rows.extend(metrics.into_iter().map(|metric| row(&name, metric)));
    }
    Ok(rows)
}

/// Mean ± sample standard deviation, and of how many.
fn cell(values: &[f64], signed: bool) -> String {
    let Some(Summary { n, mean, std, .. }) = summarise(values) else { return "–".to_owned() };
    let mean = if signed { format!("{mean:+.4}") } else { format!("{mean:.4}") };
    match std {
        Some(std) => format!("{mean} ± {std:.4} ({n})"),
        None => format!("{mean} ({n})"),
    }
}

/// Foreground Dice by fraction as a Markdown table: mean ± standard deviation over seeds (their number), and differences of the same seed.
pub(super) fn summary(rows: &[Row]) -> String {
    let mut fractions: Vec<(f64, u64)> = Vec::new();
    // fraction (as bits) and seed, to scratch and pretrained
    let mut found: BTreeMap<(u64, u64), [Option<f64>; 2]> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.class == FOREGROUND && row.definition == DICE) {
        if !fractions.iter().any(|(fraction, _)| fraction.to_bits() == row.fraction.to_bits()) {
            fractions.push((row.fraction, row.train_cases));
        }
        let pair = found.entry((row.fraction.to_bits(), row.seed)).or_default();
        pair[usize::from(row.start == "pretrained")] = row.mean;
    }
    fractions.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut text = String::from(
        "| labels | cases | from scratch | pretrained | paired difference |\n| --- | --- | --- | --- | --- |\n",
    );
    for (fraction, cases) in fractions {
        let of_fraction =
            || found.iter().filter(|((f, _), _)| *f == fraction.to_bits()).map(|(_, pair)| *pair);
        let start = |which: usize| of_fraction().filter_map(|pair| pair[which]).collect::<Vec<_>>();
        let differences: Vec<f64> = of_fraction().filter_map(|[a, b]| Some(b? - a?)).collect();
        // writing into a String cannot fail
        let _ok = writeln!(
            text,
            "| {} % | {cases} | {} | {} | {} |",
            (fraction * 1e6).round() / 1e4,
            cell(&start(0), false),
            cell(&start(1), false),
            cell(&differences, true)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_paired() {
        let row = |start, fraction, seed, mean: f64| Row {
            start,
            fraction,
            seed,
            train_cases: 2,
            class: FOREGROUND.to_owned(),
            definition: DICE.to_owned(),
            mean: Some(mean),
            infinite: 0,
            mean_with_diagonal: None,
        };
        let rows = [
            row("scratch", 1.0, 0, 0.9),
            row("scratch", 0.01, 0, 0.5),
            row("pretrained", 0.01, 0, 0.6),
            row("scratch", 0.01, 1, 0.7),
            row("pretrained", 0.01, 1, 0.7),
            // its pair has failed
            row("pretrained", 0.01, 2, 0.8),
        ];
        insta::assert_snapshot!(summary(&rows), @r"
        | labels | cases | from scratch | pretrained | paired difference |
        | --- | --- | --- | --- | --- |
        | 1 % | 2 | 0.6000 ± 0.1414 (2) | 0.7000 ± 0.1000 (3) | +0.0500 ± 0.0707 (2) |
        | 100 % | 2 | 0.9000 (1) | – | – |
        ");
    }
}
