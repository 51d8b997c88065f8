//! The paper's table: data sets × label fractions, published rows and ours beside them, the difference marked; as Markdown
//! and LaTeX.

mod text;

use crate::methods::Method;
use crate::report::Run;
use crate::summary::MetricSummary;
use data_manifests::descriptor::Published;
use metrics::statistics::summarise;

pub(crate) use text::{latex, markdown};

/// File names in a report directory.
pub(crate) const MARKDOWN: &str = "tables.md";
/// As [`MARKDOWN`].
pub(crate) const LATEX: &str = "tables.tex";

/// A published metric and our definition of the same thing.
struct Matched {
    published: &'static str,
    definition: &'static str,
    factor: f64,
    larger_is_better: bool,
    decimals: usize,
}

const MATCHED: [Matched; 2] = [
    Matched { published: "Dice %", definition: "dice", factor: 100.0, larger_is_better: true, decimals: 2 },
    Matched { published: "VOI", definition: "voi:cremi", factor: 1.0, larger_is_better: false, decimals: 3 },
];

/// A value with how many runs it is the mean of.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    value: f64,
    /// Sample standard deviation over seeds.
    std: Option<f64>,
    runs: usize,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    name: String,
    ours: bool,
    /// By data set, then fraction.
    cells: Vec<Vec<Option<Cell>>>,
}

/// One table: a modality and a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PaperTable {
    modality: String,
    metric: String,
    larger_is_better: bool,
    decimals: usize,
    datasets: Vec<String>,
    /// Of each data set, ascending.
    fractions: Vec<Vec<f64>>,
    rows: Vec<Row>,
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn cell(values: &[f64]) -> Option<Cell> {
    summarise(values).map(|s| Cell { value: s.mean, std: s.std, runs: s.n })
}

/// The tables that the runs fill, one per modality and metric; `methods` are the rows of all runs.
pub(crate) fn of(runs: &[Run], methods: &[Method]) -> Vec<PaperTable> {
    let mut tables = Vec::new();
    for modality in distinct(runs.iter().map(|r| r.summary.gtgm.dataset.modality.clone())) {
        for matched in &MATCHED {
            let value = |run: &Run| {
                let is_here = run.summary.gtgm.dataset.modality == modality;
                is_here.then(|| ours(run, matched)).flatten().map(|value| value * matched.factor)
            };
            let own: Vec<Option<(&Run, f64)>> = runs.iter().map(|run| Some((run, value(run)?))).collect();
            if own.iter().any(Option::is_some) {
                tables.push(table(&modality, matched, &own, methods));
            }
        }
    }
    tables
}

fn ours(run: &Run, matched: &Matched) -> Option<f64> {
    let metrics = &run.summary.gtgm.foreground;
    metrics.iter().find(|m: &&MetricSummary| m.definition == matched.definition)?.mean
}

/// Labels used; predictions of other programs do not say.
fn fraction(run: &Run) -> f64 {
    run.fraction.unwrap_or(1.0)
}

/// One table; `own` has each run with its value, if it belongs there.
fn table(modality: &str, matched: &Matched, own: &[Option<(&Run, f64)>], methods: &[Method]) -> PaperTable {
    let here = || own.iter().flatten();
    let dataset = |run: &Run| run.summary.gtgm.dataset.name.clone();
    let datasets = distinct(here().map(|(run, _)| dataset(run)));
    let published: Vec<Vec<&Published>> = datasets
        .iter()
        .map(|name| {
            let run = here().find(|(run, _)| dataset(run) == *name);
            let all = run.map(|(run, _)| run.summary.gtgm.dataset.published.as_slice()).unwrap_or_default();
            all.iter().filter(|p| p.metric == matched.published).collect()
        })
        .collect();
    let fractions: Vec<Vec<f64>> = datasets
        .iter()
        .zip(&published)
        .map(|(name, published)| {
            let ours = here().filter(|(run, _)| dataset(run) == *name).map(|(run, _)| fraction(run));
            let mut all: Vec<f64> = published.iter().map(|p| p.fraction).chain(ours).collect();
            all.sort_by(f64::total_cmp);
            all.dedup();
            all
        })
        .collect();
    let names = distinct(published.iter().flatten().map(|p| p.method.clone()));
    let mut rows: Vec<Row> = names
        .into_iter()
        .map(|name| {
            let value = |d: usize, f: f64| {
                let same = published[d].iter().filter(|p| p.method == name && p.fraction == f);
                cell(&same.map(|p| p.value).collect::<Vec<_>>())
            };
            let cells =
                fractions.iter().enumerate().map(|(d, all)| all.iter().map(|f| value(d, *f)).collect());
            Row { cells: cells.collect(), name, ours: false }
        })
        .collect();
    for method in methods {
        // one pool at most is of a data set and a fraction
        let value = |d: usize, f: f64| {
            let runs = method.pools.iter().flatten().filter_map(|run| own[*run]);
            let same = runs.filter(|(run, _)| dataset(run) == datasets[d] && fraction(run) == f);
            cell(&same.map(|(_, v)| v).collect::<Vec<_>>())
        };
        let cells: Vec<Vec<_>> =
            fractions.iter().enumerate().map(|(d, all)| all.iter().map(|f| value(d, *f)).collect()).collect();
        if cells.iter().flatten().any(Option::is_some) {
            rows.push(Row { cells, name: method.name.clone(), ours: true });
        }
    }
    PaperTable {
        modality: modality.to_uppercase(),
        metric: matched.published.to_owned(),
        larger_is_better: matched.larger_is_better,
        decimals: matched.decimals,
        datasets,
        fractions,
        rows,
    }
}

impl PaperTable {
    /// What the numbers of a data set's cell stand for, such as `1 / 10 / 100 %`.
    fn shares(&self, dataset: usize) -> String {
        let shares = self.fractions[dataset].iter().map(|f| crate::page::compact(f * 100.0));
        format!("{} %", shares.collect::<Vec<_>>().join(" / "))
    }

    /// Best published value of a data set and fraction.
    fn best(&self, dataset: usize, place: usize) -> Option<f64> {
        let published = self.rows.iter().filter(|row| !row.ours);
        let values = published.filter_map(|row| row.cells[dataset][place].map(|c| c.value));
        let better = |a: f64, b: f64| if self.larger_is_better { a.max(b) } else { a.min(b) };
        values.reduce(better)
    }

    fn number(&self, cell: Option<Cell>) -> String {
        let Some(cell) = cell else { return "–".to_owned() };
        let value = format!("{:.*}", self.decimals, cell.value);
        match cell.std.filter(|_| cell.runs > 1) {
            Some(std) => format!("{value} ± {std:.*}", self.decimals),
            None => value,
        }
    }

    /// Ours less the best published one, and whether that is an improvement.
    fn difference(&self, row: &Row, dataset: usize, place: usize) -> Option<(f64, bool)> {
        let difference = row.cells[dataset][place]?.value - self.best(dataset, place)?;
        Some((difference, (difference > 0.0) == self.larger_is_better && difference != 0.0))
    }

    /// The cells of a row, and beneath ours the differences; `mark` shows an improvement.
    fn lines(&self, mark: impl Fn(&str) -> String) -> Vec<Vec<String>> {
        let mut lines = Vec::new();
        for row in &self.rows {
            let cells = row
                .cells
                .iter()
                .map(|of_dataset| of_dataset.iter().map(|c| self.number(*c)).collect::<Vec<_>>().join(" / "));
            let name = if row.ours { format!("ours: {}", row.name) } else { row.name.clone() };
            lines.push(std::iter::once(name).chain(cells).collect());
            let comparable = row.ours
                && (0..self.datasets.len())
                    .any(|d| (0..self.fractions[d].len()).any(|f| self.difference(row, d, f).is_some()));
            if comparable {
                let cells = (0..self.datasets.len()).map(|d| {
                    let of_fraction = |f: usize| match self.difference(row, d, f) {
                        Some((difference, better)) => {
                            let text = format!("{difference:+.*}", self.decimals);
                            if better { mark(&text) } else { text }
                        }
                        None => "–".to_owned(),
                    };
                    (0..self.fractions[d].len()).map(of_fraction).collect::<Vec<_>>().join(" / ")
                });
                lines.push(
                    std::iter::once("difference to the best published".to_owned()).chain(cells).collect(),
                );
            }
        }
        lines
    }

    fn heads(&self) -> Vec<String> {
        (0..self.datasets.len()).map(|d| format!("{} ({})", self.datasets[d], self.shares(d))).collect()
    }

    fn caption(&self) -> String {
        let arrow = if self.larger_is_better { "more is better" } else { "less is better" };
        format!("{}: {} by share of the labels used, {arrow}", self.modality, self.metric)
    }
}
