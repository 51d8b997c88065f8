//! The HTML page: what the template shows, ready formatted.

mod fractions;

use crate::chain::State;
use crate::methods::Method;
use crate::report::Run;
use crate::results::{MEAN, cases_of};
use crate::section::{self, RunSection};
use crate::summary::{DefinitionNote, MetricSummary};
use crate::warned;
use anyhow::Result;
use askama::Template;
use pictures::section::{CONFUSED, PREDICTION, REFERENCE};
use stage::message::counted;

/// File name of the report.
pub(crate) const REPORT: &str = "report.html";

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    cards: Vec<Card>,
    columns: Vec<[String; 2]>,
    rows: Vec<TableRow>,
    warnings: Vec<RunWarnings>,
    fractions: Vec<FractionCard>,
    runs: Vec<RunSection>,
    definitions: Vec<[String; 3]>,
    policies: Vec<[String; 2]>,
    reference_colour: String,
    prediction_colour: String,
    confused_colour: String,
}

struct Card {
    dataset: String,
    run: String,
    value: String,
    detail: String,
}

struct TableRow {
    first: bool,
    mean: bool,
    dataset: String,
    run: String,
    class: String,
    cases: String,
    /// Both empty, missed, invented; empty in the row of the mean.
    counts: String,
    cells: Vec<Cell>,
}

/// What qualifies the numbers of a run.
struct RunWarnings {
    run: String,
    lines: Vec<String>,
}

struct Cell {
    value: String,
    note: String,
    /// Definition and exact mean, for programs.
    definition: String,
    exact: String,
}

struct FractionCard {
    title: String,
    svg: String,
}

/// A number without needless zeros.
pub(crate) fn compact(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The page over all runs; `methods` are the curves over shares of labels.
///
/// # Errors
/// A picture or a training record that cannot be read.
pub(crate) fn render(runs: &[Run], methods: &[Method]) -> Result<String> {
    let mut definitions: Vec<[String; 3]> = Vec::new();
    let mut policies: Vec<[String; 2]> = Vec::new();
    for run in runs {
        for note in &run.summary.gtgm.definitions {
            let row = [note.name.clone(), note.id.clone(), note.text.clone()];
            if !definitions.contains(&row) {
                definitions.push(row);
            }
        }
        let policy = run.summary.gtgm.policy;
        let row = [policy.to_string(), policy.description().to_owned()];
        if !policies.contains(&row) {
            policies.push(row);
        }
    }
    let columns = columns(runs.iter().map(|run| run.summary.gtgm.definitions.as_slice()));
    let css = |[r, g, b]: [u8; 3]| format!("rgb({r},{g},{b})");
    let page = Page {
        cards: runs.iter().map(card).collect(),
        rows: runs.iter().flat_map(|run| table_rows(run, &columns)).collect(),
        columns,
        warnings: runs.iter().filter_map(warnings).collect(),
        fractions: fractions::cards(runs, methods),
        runs: runs.iter().enumerate().map(|(i, run)| section::of(i, run)).collect::<Result<_>>()?,
        definitions,
        policies,
        reference_colour: css(REFERENCE),
        prediction_colour: css(PREDICTION),
        confused_colour: css(CONFUSED),
    };
    Ok(page.render()?)
}

/// A definition id without its tolerance, which may differ between data sets.
pub(crate) fn stem(id: &str) -> &str {
    id.split('@').next().unwrap_or(id)
}

/// The metric with a definition; of one named without tolerance, whatever that is.
pub(crate) fn find<'a>(metrics: &'a [MetricSummary], wanted: &str) -> Option<&'a MetricSummary> {
    metrics.iter().find(|m| m.definition == wanted || stem(&m.definition) == wanted)
}

/// Name and definition of each column: without its tolerance, so that data sets share a column, but where a run has several of them.
fn columns<'a>(runs: impl Iterator<Item = &'a [DefinitionNote]>) -> Vec<[String; 2]> {
    let runs: Vec<&[DefinitionNote]> = runs.collect();
    let is_alone = |id: &str| {
        runs.iter().all(|notes| notes.iter().filter(|note| stem(&note.id) == stem(id)).count() < 2)
    };
    let mut columns: Vec<[String; 2]> = Vec::new();
    for note in runs.iter().copied().flatten() {
        let id = if is_alone(&note.id) { stem(&note.id) } else { &note.id };
        let column = [note.name.clone(), id.to_owned()];
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Distances of electron microscopy are far below a millimetre.
pub(crate) fn length(mm: f64) -> String {
    if mm != 0.0 && mm.abs() < 0.01 { format!("{:.0} nm", mm * 1e6) } else { format!("{mm:.2} mm") }
}

/// Whether a definition is a length in mm.
pub(crate) fn is_length(definition: &str) -> bool {
    let family = definition.split(':').next().unwrap_or(definition);
    matches!(family, "hd95" | "hd" | "asd" | "assd")
}

/// A mean with its unit.
pub(crate) fn format_value(metric: &MetricSummary, value: f64) -> String {
    if is_length(&metric.definition) {
        length(value)
    } else if metric.definition == "volume-difference:ml" {
        format!("{value:.3} ml")
    } else {
        format!("{value:.3}")
    }
}

/// A metric of a class, or of several classes by the cases' own means.
fn cell(metric: Option<&MetricSummary>, of_several: bool) -> Cell {
    let Some(metric) = metric else {
        return Cell {
            value: "–".into(),
            note: String::new(),
            definition: String::new(),
            exact: String::new(),
        };
    };
    let value = metric.mean.map_or_else(|| "n/a".to_owned(), |mean| format_value(metric, mean));
    let mut notes = Vec::new();
    if let Some(interval) = metric.interval {
        let ends = [interval.low, interval.high].map(|v| format_value(metric, v));
        notes.push(format!("[{} – {}]", ends[0], ends[1]));
    }
    if let (Some(median), Some([first, third])) = (metric.median, metric.quartiles) {
        let [median, first, third] = [median, first, third].map(|v| format_value(metric, v));
        let std = metric.std.map_or_else(String::new, |v| format!("SD {}, ", format_value(metric, v)));
        let whose = if of_several { "cases' own means: " } else { "" };
        notes.push(format!("{whose}{std}median {median} ({first} – {third})"));
    }
    notes.push(format!("n = {}", metric.n));
    // the tolerance is part of what was measured
    if let Some((_, tolerance)) = metric.definition.split_once('@') {
        let tolerance = tolerance
            .strip_suffix("mm")
            .and_then(|mm| mm.parse().ok())
            .map_or_else(|| tolerance.to_owned(), length);
        notes.push(format!("within {tolerance}"));
    }
    if metric.infinite > 0 {
        let filled = metric
            .mean_with_diagonal
            .map_or_else(String::new, |v| format!(", {} with the diagonal", length(v)));
        notes.push(format!("{} infinite{filled}", metric.infinite));
    }
    Cell {
        value,
        note: notes.join(" · "),
        definition: metric.definition.clone(),
        exact: metric.mean.map_or_else(|| "n/a".to_owned(), |v| v.to_string()),
    }
}

/// What was warned of while a run was scored, stages behind it that changed since, and a tolerance that nobody has confirmed.
fn warnings(run: &Run) -> Option<RunWarnings> {
    let details = &run.summary.gtgm;
    let mut lines = warned::lines(&details.warnings);
    let changed = run.links.iter().filter(|link| link.state != State::Current);
    lines.extend(changed.map(|link| {
        let what = if link.state == State::Missing { "is missing" } else { "was written again since" };
        format!("a stage behind these scores {what}: {} ({})", link.stage(), link.role)
    }));
    let source = tolerance_source(&details.dataset.tolerance_source);
    let by_tolerance = details.definitions.iter().any(|note| note.id.contains('@'));
    if let (true, Tolerance::Unconfirmed(from)) = (by_tolerance, source) {
        lines.push(format!("tolerance of NSD unconfirmed: {from}"));
    }
    (!lines.is_empty())
        .then(|| RunWarnings { run: format!("{} · {}", details.dataset.name, run.label), lines })
}

/// What a descriptor says of where its tolerance comes from, for readers of a page.
#[derive(Debug, PartialEq)]
pub(crate) enum Tolerance {
    Sourced(String),
    Unconfirmed(String),
}

/// Descriptors mark a tolerance that was not compared with its publication.
pub(crate) fn tolerance_source(source: &str) -> Tolerance {
    const MARKS: [&str; 3] = ["from memory of the paper", "from memory", "to be confirmed"];
    let (marks, rest): (Vec<&str>, Vec<&str>) = source.split(", ").partition(|part| MARKS.contains(part));
    if marks.is_empty() {
        return Tolerance::Sourced(source.to_owned());
    }
    let named = if rest.is_empty() { String::new() } else { format!("attributed to {}, ", rest.join(", ")) };
    Tolerance::Unconfirmed(format!("{named}not compared with the publication"))
}

fn card(run: &Run) -> Card {
    let details = &run.summary.gtgm;
    // Dice of classes, VOI of objects
    let metric = find(&details.foreground, "dice").or_else(|| details.foreground.first());
    let value = metric.and_then(|m| m.mean.map(|v| format_value(m, v)));
    let name = metric.map_or("", |m| m.name.as_str());
    let what = if details.classes.len() > 1 { "mean foreground " } else { "mean " };
    Card {
        dataset: details.dataset.title.clone(),
        run: run.label.clone(),
        value: value.unwrap_or_else(|| "n/a".to_owned()),
        detail: format!("{what}{name}, {}", counted(details.cases.scored as usize, "case")),
    }
}

fn table_rows(run: &Run, columns: &[[String; 2]]) -> Vec<TableRow> {
    let details = &run.summary.gtgm;
    let row = |class: &str, cases: u64, metrics: &[MetricSummary], counts: String, mean: bool| TableRow {
        first: mean,
        mean,
        dataset: details.dataset.name.clone(),
        run: run.label.clone(),
        class: class.to_owned(),
        cases: cases.to_string(),
        counts,
        cells: columns
            .iter()
            .map(|[_, id]| cell(find(metrics, id), mean && details.classes.len() > 1))
            .collect(),
    };
    let mut rows = vec![row(MEAN, details.cases.scored, &details.foreground, String::new(), true)];
    rows.extend(details.classes.iter().map(|class| {
        let p = class.presence;
        let counts = format!("{} both empty · {} missed · {} invented", p.both_empty, p.missed, p.invented);
        row(&class.name, cases_of(class), &class.metrics, counts, false)
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_that_nobody_confirmed_is_said_so() {
        let source = "Antonelli et al. 2022, from memory of the paper, to be confirmed";
        let Tolerance::Unconfirmed(said) = tolerance_source(source) else { panic!("confirmed") };
        assert_eq!(said, "attributed to Antonelli et al. 2022, not compared with the publication");
        for known in ["--tolerance-mm", "Wasserthal et al. 2023, table 2"] {
            assert_eq!(tolerance_source(known), Tolerance::Sourced(known.to_owned()));
        }
    }

    #[test]
    fn an_interval_stands_beside_its_mean() {
        let values = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
        let shown = |values: &[f64]| {
            cell(Some(&crate::aggregate::summary_of("dice".to_owned(), "Dice", values)), false).note
        };
        let note = shown(&values);
        assert!(
            note.starts_with("[0.6") && note.contains("] · SD 0.187, median 0.750 (0.625 – 0.875) · n = 6"),
            "{note}"
        );
        assert!(shown(&values[..5]).starts_with("SD 0.158"), "five have none");
    }

    #[test]
    fn several_tolerances_are_several_columns_and_one_is_shared() {
        let notes = |ids: &[&str]| -> Vec<DefinitionNote> {
            let note =
                |id: &&str| DefinitionNote { id: (*id).to_owned(), name: "NSD".into(), text: String::new() };
            ids.iter().map(note).collect()
        };
        let ids = |runs: &[&[&str]]| -> Vec<String> {
            let runs: Vec<_> = runs.iter().map(|ids| notes(ids)).collect();
            columns(runs.iter().map(Vec::as_slice)).into_iter().map(|[_, id]| id).collect()
        };
        let [half, one, three] = ["nsd:surfel@0.5mm", "nsd:surfel@1mm", "nsd:surfel@3mm"];
        assert_eq!(ids(&[&["dice", one], &["dice", three]]), ["dice", "nsd:surfel"]);
        assert_eq!(ids(&[&[half, three, "nsd:edge@1mm"], &[one]]), [half, three, "nsd:edge", one]);
    }
}
