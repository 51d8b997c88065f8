//! The part of the page that shows one run.

mod charts;

use crate::chain::{Link, State};
use crate::objects::OBJECTS;
use crate::page::{Tolerance, compact, find, length, tolerance_source};
use crate::report::Run;
use crate::summary::{ClassSummary, Details};
use crate::targets::MeanRule;
use crate::values::Key;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use charts::{agreement, curve_cards, spreads};
use metrics::policy::PresenceCounts;
use serde_json::Value;
use stage::message::counted;

pub(crate) struct RunSection {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) facts: Vec<[String; 2]>,
    pub(crate) presence: Vec<[String; 5]>,
    pub(crate) spreads: Vec<CurveCard>,
    pub(crate) agreement: Vec<CurveCard>,
    pub(crate) columns: Vec<String>,
    pub(crate) values: Vec<ValueRow>,
    pub(crate) too_many: bool,
    pub(crate) timings: Vec<[String; 5]>,
    pub(crate) pictures: Vec<PictureCard>,
    pub(crate) curves: Vec<CurveCard>,
    pub(crate) published: Vec<[String; 5]>,
    pub(crate) links: Vec<LinkRow>,
}

pub(crate) struct PictureCard {
    pub(crate) uri: String,
    pub(crate) error_uri: String,
    pub(crate) rank: String,
    pub(crate) case: String,
    pub(crate) detail: String,
}

pub(crate) struct CurveCard {
    pub(crate) title: String,
    pub(crate) svg: String,
}

pub(crate) struct LinkRow {
    pub(crate) depth: usize,
    pub(crate) stage: String,
    pub(crate) role: String,
    pub(crate) path: String,
    pub(crate) tool: String,
    pub(crate) sha256: String,
    pub(crate) state: &'static str,
    pub(crate) state_class: &'static str,
    pub(crate) files: String,
    pub(crate) licence: String,
}

/// All values of one class in one case.
pub(crate) struct ValueRow {
    pub(crate) case: String,
    pub(crate) class: String,
    pub(crate) name: String,
    pub(crate) cells: Vec<ValueCell>,
}

pub(crate) struct ValueCell {
    pub(crate) definition: String,
    /// As in `metrics.csv`.
    pub(crate) exact: String,
    pub(crate) shown: String,
}

/// The section of one run.
///
/// # Errors
/// A picture or a training record that cannot be read.
pub(crate) fn of(number: usize, run: &Run) -> Result<RunSection> {
    let details = &run.summary.gtgm;
    let dataset = &details.dataset;
    let presence = |class: &ClassSummary| {
        let PresenceCounts { both, both_empty, missed, invented } = class.presence;
        let [both, both_empty, missed, invented] =
            [both, both_empty, missed, invented].map(|n| n.to_string());
        [class.name.clone(), both, missed, invented, both_empty]
    };
    let (columns, values, too_many) = value_rows(run);
    Ok(RunSection {
        id: format!("run-{number}"),
        title: dataset.title.clone(),
        name: dataset.name.clone(),
        label: run.label.clone(),
        facts: facts(details),
        presence: details.classes.iter().map(presence).collect(),
        spreads: spreads(run),
        agreement: agreement(run),
        columns,
        values,
        too_many,
        timings: timings(run),
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
        "not stated by these predictions".to_owned()
    } else {
        details.splits.join(", ")
    };
    let tolerance = if dataset.tolerance_mm > 0.0 {
        let source = match tolerance_source(&dataset.tolerance_source) {
            Tolerance::Sourced(source) => source,
            Tolerance::Unconfirmed(from) => format!("tolerance unconfirmed: {from}"),
        };
        format!("{} ({source})", length(dataset.tolerance_mm))
    } else {
        String::new()
    };
    let mean_rule = match details.mean_rule {
        MeanRule::Scored => "over the classes that were scored in some case",
        MeanRule::Nnunet => "as nnU-Net: none where a class was scored in no case",
    };
    // the policy is about classes; of objects it matters which voxels were evaluated
    let of_objects = details.classes.iter().any(|class| class.class == OBJECTS);
    let of_classes = |text: String| if of_objects { String::new() } else { text };
    let policy = format!("{}: {}", details.policy, details.policy.description());
    let evaluated = if of_objects { details.missing_rule.clone() } else { String::new() };
    let rows = [
        ("Modality", dataset.modality.to_uppercase()),
        ("Cases", counts),
        ("Splits", splits),
        ("NSD tolerance", tolerance),
        ("Policy for empty masks", of_classes(policy)),
        ("Mean over classes", of_classes(mean_rule.to_owned())),
        ("Evaluated voxels", evaluated),
        ("Source", dataset.source.clone()),
        ("Citation", dataset.citation.clone()),
        ("Licence", dataset.licence.clone()),
    ];
    rows.into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| [name.to_owned(), text])
        .collect()
}

/// Values beyond which the page leaves them to `metrics.csv`.
const MOST_VALUES: usize = 20_000;

/// Every value of `metrics.csv`: columns, rows, and whether they are too many for a page.
fn value_rows(run: &Run) -> (Vec<String>, Vec<ValueRow>, bool) {
    let details = &run.summary.gtgm;
    let columns: Vec<String> = details.definitions.iter().map(|note| note.id.clone()).collect();
    let cases: Vec<&str> = run.values.cases().collect();
    if cases.len() * details.classes.len() * columns.len() > MOST_VALUES {
        return (columns, Vec::new(), true);
    }
    let mut rows = Vec::new();
    for case in cases {
        for class in &details.classes {
            let cell = |definition: &String| {
                let key = Key { definition: definition.clone(), class: class.class.clone() };
                let exact = run.values.written(case, &key).unwrap_or("–").to_owned();
                let shown = match exact.parse::<f64>() {
                    Ok(value) if value.is_finite() => compact(value),
                    Ok(_) => "∞".to_owned(),
                    Err(_) => exact.clone(),
                };
                ValueCell { definition: definition.clone(), exact, shown }
            };
            rows.push(ValueRow {
                case: case.to_owned(),
                class: class.class.clone(),
                name: class.name.clone(),
                cells: columns.iter().map(cell).collect(),
            });
        }
    }
    (columns, rows, false)
}

/// How long the last run of each stage took, from its `report.json`: stage, status, seconds, memory, cores.
fn timings(run: &Run) -> Vec<[String; 5]> {
    let of_link = |link: &Link| -> Option<[String; 5]> {
        let bytes = fs_err::read(link.directory.join("report.json")).ok()?;
        let report: Value = serde_json::from_slice(&bytes).ok()?;
        let seconds = report.get("seconds")?.as_f64()?;
        let took =
            if seconds < 120.0 { format!("{seconds:.1} s") } else { format!("{:.1} min", seconds / 60.0) };
        let memory = report
            .get("peak_resident_bytes")
            .and_then(Value::as_f64)
            .map_or_else(|| "–".to_owned(), |bytes| format!("{:.2} GiB", bytes / f64::from(1_u32 << 30)));
        let cores =
            report.get("cores").and_then(Value::as_u64).map_or_else(|| "–".to_owned(), |n| n.to_string());
        let status = report.get("status").and_then(Value::as_str).unwrap_or("–").to_owned();
        Some([format!("{} ({})", link.stage(), link.path), status, took, memory, cores])
    };
    run.links.iter().filter_map(of_link).collect()
}

fn pictures(run: &Run) -> Result<Vec<PictureCard>> {
    let overlays = &run.summary.gtgm.overlays;
    overlays
        .iter()
        .map(|overlay| {
            let uri = |file: &str| -> Result<String> {
                let bytes = fs_err::read(run.directory.join(file))?;
                Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
            };
            Ok(PictureCard {
                uri: uri(&overlay.file)?,
                error_uri: uri(&overlay.error_file)?,
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

/// Published results, after this run's own in the same terms.
fn published(run: &Run) -> Vec<[String; 5]> {
    let details = &run.summary.gtgm;
    let percent = |fraction: f64| format!("{} %", compact(fraction * 100.0));
    let mut rows = Vec::new();
    if let Some(dice) = find(&details.foreground, "dice").and_then(|m| m.mean)
        && !details.dataset.published.is_empty()
    {
        let fraction = run.fraction.map_or_else(|| "–".to_owned(), percent);
        let source = format!("mean over classes, {}", counted(details.cases.scored as usize, "case"));
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
