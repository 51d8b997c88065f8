//! The HTML page: what the template shows, ready formatted.

use crate::chain::State;
use crate::chart::{self, Series};
use crate::curves;
use crate::overlay;
use crate::report::Run;
use crate::results::MEAN;
use crate::summary::{ClassSummary, Details, MetricSummary};
use anyhow::Result;
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use metrics::policy::PresenceCounts;

/// File name of the report.
pub(crate) const REPORT: &str = "report.html";

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    cards: Vec<Card>,
    rows: Vec<TableRow>,
    runs: Vec<RunSection>,
    definitions: Vec<[String; 3]>,
    reference_colour: String,
    prediction_colour: String,
}

struct Card {
    dataset: String,
    run: String,
    dice: String,
    detail: String,
}

struct TableRow {
    first: bool,
    mean: bool,
    dataset: String,
    run: String,
    class: String,
    cases: String,
    cells: Vec<Cell>,
}

struct Cell {
    value: String,
    note: String,
}

struct RunSection {
    id: String,
    title: String,
    name: String,
    label: String,
    facts: Vec<[String; 2]>,
    presence: Vec<[String; 5]>,
    spread: String,
    pictures: Vec<PictureCard>,
    curves: Vec<CurveCard>,
    published: Vec<[String; 5]>,
    links: Vec<LinkRow>,
}

struct PictureCard {
    uri: String,
    rank: String,
    case: String,
    detail: String,
}

struct CurveCard {
    title: String,
    svg: String,
}

struct LinkRow {
    depth: usize,
    stage: String,
    role: String,
    path: String,
    tool: String,
    sha256: String,
    state: &'static str,
    state_class: &'static str,
    files: String,
    licence: String,
}

/// A number without needless zeros.
pub(crate) fn compact(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The page over all runs.
///
/// # Errors
/// A picture or a training record that cannot be read.
pub(crate) fn render(runs: &[Run]) -> Result<String> {
    let mut definitions: Vec<[String; 3]> = Vec::new();
    for note in runs.iter().flat_map(|r| &r.summary.gtgm.definitions) {
        let row = [note.name.clone(), note.id.clone(), note.text.clone()];
        if !definitions.contains(&row) {
            definitions.push(row);
        }
    }
    let css = |[r, g, b]: [u8; 3]| format!("rgb({r},{g},{b})");
    let page = Page {
        cards: runs.iter().map(card).collect(),
        rows: runs.iter().flat_map(table_rows).collect(),
        runs: runs.iter().enumerate().map(|(i, run)| section(i, run)).collect::<Result<_>>()?,
        definitions,
        reference_colour: css(overlay::REFERENCE),
        prediction_colour: css(overlay::PREDICTION),
    };
    Ok(page.render()?)
}

fn find<'a>(metrics: &'a [MetricSummary], name: &str) -> Option<&'a MetricSummary> {
    metrics.iter().find(|m| m.name == name)
}

/// Distances of electron microscopy are far below a millimetre.
fn length(mm: f64) -> String {
    if mm != 0.0 && mm.abs() < 0.01 { format!("{:.0} nm", mm * 1e6) } else { format!("{mm:.2} mm") }
}

/// A mean with its unit.
pub(crate) fn format_value(metric: &MetricSummary, value: f64) -> String {
    if metric.mean_with_diagonal.is_some() || metric.name.starts_with('H') {
        length(value)
    } else {
        format!("{value:.3}")
    }
}

fn cell(metric: Option<&MetricSummary>) -> Cell {
    let Some(metric) = metric else { return Cell { value: "–".into(), note: String::new() } };
    let value = metric.mean.map_or_else(|| "n/a".to_owned(), |mean| format_value(metric, mean));
    let mut notes = Vec::new();
    if let Some(interval) = metric.interval {
        let ends = [interval.low, interval.high].map(|v| format_value(metric, v));
        notes.push(format!("[{} – {}]", ends[0], ends[1]));
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
    Cell { value, note: notes.join(" · ") }
}

fn card(run: &Run) -> Card {
    let details = &run.summary.gtgm;
    let dice = find(&details.foreground, "Dice").and_then(|m| m.mean);
    Card {
        dataset: details.dataset.title.clone(),
        run: run.label.clone(),
        dice: dice.map_or_else(|| "n/a".to_owned(), |v| format!("{v:.3}")),
        detail: format!("mean foreground Dice, {} cases", details.cases.scored),
    }
}

fn table_rows(run: &Run) -> Vec<TableRow> {
    let details = &run.summary.gtgm;
    let row = |class: &str, metrics: &[MetricSummary], mean: bool| TableRow {
        first: mean,
        mean,
        dataset: details.dataset.name.clone(),
        run: run.label.clone(),
        class: class.to_owned(),
        cases: details.cases.scored.to_string(),
        cells: ["Dice", "IoU", "HD95", "NSD"].map(|name| cell(find(metrics, name))).into(),
    };
    let mut rows = vec![row(MEAN, &details.foreground, true)];
    rows.extend(details.classes.iter().map(|c| row(&c.name, &c.metrics, false)));
    rows
}

fn section(number: usize, run: &Run) -> Result<RunSection> {
    let details = &run.summary.gtgm;
    let dataset = &details.dataset;
    let presence = |class: &ClassSummary| {
        let PresenceCounts { both, both_empty, missed, invented } = class.presence;
        let [both, both_empty, missed, invented] =
            [both, both_empty, missed, invented].map(|n| n.to_string());
        [class.name.clone(), both, missed, invented, both_empty]
    };
    Ok(RunSection {
        id: format!("run-{number}"),
        title: dataset.title.clone(),
        name: dataset.name.clone(),
        label: run.label.clone(),
        facts: facts(details),
        presence: details.classes.iter().map(presence).collect(),
        spread: spread(run),
        pictures: pictures(run)?,
        curves: curve_cards(run)?,
        published: published(run),
        links: links(run),
    })
}

fn facts(details: &Details) -> Vec<[String; 2]> {
    let dataset = &details.dataset;
    let cases = details.cases;
    let mut counts = format!("{} of {} scored", cases.scored, cases.listed);
    if cases.failed > 0 {
        counts.push_str(&format!(", {} failed", cases.failed));
    }
    if cases.missing > 0 {
        counts
            .push_str(&format!(", {} without a prediction (rule: {})", cases.missing, details.missing_rule));
    }
    let splits = if details.splits.is_empty() {
        "all with a reference, but training cases".to_owned()
    } else {
        details.splits.join(", ")
    };
    let rows = [
        ("Modality", dataset.modality.to_uppercase()),
        ("Cases", counts),
        ("Splits", splits),
        ("NSD tolerance", format!("{} ({})", length(dataset.tolerance_mm), dataset.tolerance_source)),
        ("Policy for empty masks", details.policy.to_string()),
        ("Source", dataset.source.clone()),
        ("Citation", dataset.citation.clone()),
        ("Licence", dataset.licence.clone()),
    ];
    rows.into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| [name.to_owned(), text])
        .collect()
}

/// Dice of every case by class.
fn spread(run: &Run) -> String {
    let groups: Vec<(String, Vec<f64>)> = run
        .summary
        .gtgm
        .classes
        .iter()
        .map(|class| {
            let key = class.class.to_string();
            let cases = &run.summary.metric_per_case;
            let values = cases.iter().filter_map(|c| c.metrics.get(&key)?.get("Dice")?.as_f64()).collect();
            (class.name.clone(), values)
        })
        .collect();
    chart::dots("Dice of every case by class", &groups)
}

fn pictures(run: &Run) -> Result<Vec<PictureCard>> {
    let overlays = &run.summary.gtgm.overlays;
    overlays
        .iter()
        .map(|overlay| {
            let bytes = fs_err::read(run.directory.join(&overlay.file))?;
            Ok(PictureCard {
                uri: format!("data:image/png;base64,{}", STANDARD.encode(bytes)),
                rank: overlay.rank.clone(),
                case: overlay.case.clone(),
                detail: format!(
                    "Dice {:.3}, slice {} of {}",
                    overlay.dice,
                    overlay.slice_z + 1,
                    overlay.slices
                ),
            })
        })
        .collect()
}

fn curve_cards(run: &Run) -> Result<Vec<CurveCard>> {
    let mut cards = Vec::new();
    for (stage, words, charts) in
        [("train", "Fine-tuning", curves::TRAIN), ("pretrain", "Pretraining", curves::PRETRAIN)]
    {
        for link in run.links.iter().filter(|l| l.stage() == stage) {
            let curves = curves::read(&link.directory)?;
            for (name, pick) in charts {
                let series: Vec<Series> = curves
                    .iter()
                    .filter(|c| pick(c))
                    .map(|c| Series {
                        name: format!("{} {}", c.kind, c.name.replace('_', " ")),
                        points: c.points.clone(),
                        marked: c.kind == "validation",
                    })
                    .collect();
                let title = format!("{words}: {name}");
                let range = (*name == curves::DICE).then_some((0.0, 1.0));
                cards.push(CurveCard { svg: chart::lines(&title, &series, range), title });
            }
        }
    }
    cards.retain(|card| !card.svg.is_empty());
    Ok(cards)
}

/// Published results, after this run's own in the same terms.
fn published(run: &Run) -> Vec<[String; 5]> {
    let details = &run.summary.gtgm;
    let percent = |fraction: f64| format!("{} %", compact(fraction * 100.0));
    let mut rows = Vec::new();
    if let Some(dice) = find(&details.foreground, "Dice").and_then(|m| m.mean)
        && !details.dataset.published.is_empty()
    {
        let fraction = run.fraction.map_or_else(|| "–".to_owned(), percent);
        let source = format!("mean over classes, {} cases", details.cases.scored);
        rows.push([
            "This run".to_owned(),
            "Dice %".to_owned(),
            fraction,
            format!("{:.2}", dice * 100.0),
            source,
        ]);
    }
    rows.extend(details.dataset.published.iter().map(|p| {
        [p.method.clone(), p.metric.clone(), percent(p.fraction), compact(p.value), p.source.clone()]
    }));
    rows
}

fn links(run: &Run) -> Vec<LinkRow> {
    run.links
        .iter()
        .map(|link| {
            let (state, state_class) = match link.state {
                State::Current => ("unchanged", "good"),
                State::Changed => ("changed since", "bad"),
                State::Missing => ("missing", "bad"),
            };
            let manifest = link.manifest.as_ref();
            let files = manifest
                .map_or(0, |m| m.inputs.iter().filter(|i| !i.path.ends_with("manifest.json")).count());
            LinkRow {
                depth: link.depth,
                stage: link.stage().to_owned(),
                role: link.role.clone(),
                path: link.path.clone(),
                tool: manifest.map_or_else(String::new, |m| format!("{} {}", m.tool.name, m.tool.version)),
                sha256: link.sha256.clone(),
                state,
                state_class,
                files: if files > 0 { files.to_string() } else { String::new() },
                licence: manifest.map_or_else(String::new, |m| m.licence.clone()),
            }
        })
        .collect()
}
