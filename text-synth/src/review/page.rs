//! The HTML page: what the template shows, ready formatted.

use super::{Material, Shown, Verdicts};
use crate::render;
use crate::slices::plane_name;
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_manifests::Manifest;
use data_manifests::records::{Origin, Report, Sentence, Verdict, VolumeReport};
use networks::blip::GreyImage;
use serde_json::Value;
use std::collections::HashMap;

/// An input of the page.
#[derive(Debug)]
pub struct Source<'a> {
    /// What it is: `shards`, `captions` or `reports`.
    pub role: &'static str,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// SHA-256 of that file.
    pub sha256: String,
}

/// A picture that can stand in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    uri: String,
    height: usize,
    width: usize,
}

impl Picture {
    /// Encodes a picture.
    ///
    /// # Errors
    /// As [`render::png`].
    pub fn new(picture: &GreyImage) -> anyhow::Result<Self> {
        let uri = format!("data:image/png;base64,{}", STANDARD.encode(render::png(picture)?));
        Ok(Self { uri, height: picture.height, width: picture.width })
    }
}

#[derive(Template)]
#[template(path = "review.html")]
struct Page {
    title: String,
    written_by: String,
    sampled: String,
    cards: Vec<Card>,
    checked: usize,
    verdicts: Vec<VerdictRow>,
    replaced: usize,
    unchecked: usize,
    rejected: Vec<[String; 4]>,
    counts: Vec<[String; 3]>,
    sources: Vec<[String; 5]>,
    slices: Vec<SliceCard>,
    volumes: Vec<VolumeCard>,
}

struct Card {
    number: String,
    name: String,
    detail: String,
}

struct VerdictRow {
    mark: Mark,
    number: usize,
    percent: String,
    meaning: &'static str,
}

/// A verdict for eyes of all kinds: a class for the colour, a symbol and a word.
#[derive(Clone, Copy)]
struct Mark {
    class: &'static str,
    symbol: &'static str,
    word: &'static str,
}

impl Mark {
    fn of(verdict: Verdict) -> Self {
        let (class, symbol, word) = match verdict {
            Verdict::Supported => ("supported", "✓", "supported"),
            Verdict::Unsupported => ("unsupported", "?", "unsupported"),
            Verdict::Contradicted => ("contradicted", "✗", "contradicted"),
        };
        Self { class, symbol, word }
    }
}

struct SliceCard {
    anchor: String,
    id: String,
    title: String,
    picture: Option<Picture>,
    alt: String,
    shown_as: String,
    caption: String,
    captioner: String,
    report: Option<Text>,
    /// Classes of the verdicts in the report.
    holds: String,
    facts: Vec<[String; 2]>,
}

struct VolumeCard {
    case: String,
    text: Text,
    slices: usize,
}

/// A report, as sentences where it was checked.
struct Text {
    text: String,
    writer: String,
    sentences: Vec<Line>,
}

struct Line {
    mark: Mark,
    text: String,
    origin: &'static str,
    sources: Vec<String>,
    reasons: Vec<String>,
    replaced: Option<[String; 2]>,
}

/// The page.
///
/// # Errors
/// None in practice: the template is compiled in.
pub fn render(
    material: &Material,
    sources: &[Source<'_>],
    pictures: &HashMap<String, Picture>,
    seed: u64,
) -> anyhow::Result<String> {
    let datasets = sources.first().map(|s| s.manifest.datasets.join(", ")).unwrap_or_default();
    let shown = material.shown.len();
    let first = material.shown.iter().find_map(|s| s.report.as_ref());
    let page = Page {
        title: format!("Review of captions and reports: {datasets}"),
        written_by: first.map(writer).unwrap_or_default(),
        sampled: format!("{shown} of {} slices, drawn with seed {seed}", material.captions),
        cards: cards(material),
        checked: material.verdicts.all(),
        verdicts: verdicts(&material.verdicts),
        replaced: material.verdicts.replaced,
        unchecked: material.unchecked,
        rejected: rejected(material),
        counts: sources.iter().flat_map(counts).collect(),
        sources: sources.iter().map(source).collect(),
        slices: material.shown.iter().enumerate().map(|(i, s)| slice(i, s, pictures)).collect(),
        volumes: material.volumes.iter().map(volume).collect(),
    };
    Ok(page.render()?)
}

fn cards(material: &Material) -> Vec<Card> {
    let card = |number: usize, name: &str, detail: String| Card {
        number: number.to_string(),
        name: name.to_owned(),
        detail,
    };
    let lost = material.captions.saturating_sub(material.reports);
    let rejected = |which: usize| material.rejected[which].iter().map(|(_, n, _)| n).sum::<usize>();
    vec![
        card(material.captions, "captions", format!("texts rejected: {}", rejected(0))),
        card(material.reports, "reports", format!("missing for {lost}; texts rejected: {}", rejected(1))),
        card(
            material.verdicts.all(),
            "sentences checked",
            format!("in the place of others: {}", material.verdicts.replaced),
        ),
        card(
            material.verdicts.contradicted,
            "sentences contradicted",
            format!("unsupported: {}", material.verdicts.unsupported),
        ),
    ]
}

fn verdicts(verdicts: &Verdicts) -> Vec<VerdictRow> {
    let row = |verdict, number: usize, meaning| VerdictRow {
        mark: Mark::of(verdict),
        number,
        percent: format!("{:.1}", number as f64 * 100.0 / verdicts.all().max(1) as f64),
        meaning,
    };
    vec![
        row(Verdict::Supported, verdicts.supported, "all that it states was measured or is declared"),
        row(
            Verdict::Unsupported,
            verdicts.unsupported,
            "states something that nothing bears and nothing excludes",
        ),
        row(
            Verdict::Contradicted,
            verdicts.contradicted,
            "states something that the facts, the data set or its vocabulary exclude",
        ),
    ]
}

fn rejected(material: &Material) -> Vec<[String; 4]> {
    let rows = |stage: &'static str, which: usize| {
        material.rejected[which].iter().map(move |(reason, n, replaced)| {
            [stage.to_owned(), reason.clone(), n.to_string(), replaced.to_string()]
        })
    };
    rows("captions", 0).chain(rows("reports", 1)).collect()
}

fn counts(source: &Source<'_>) -> Vec<[String; 3]> {
    let words = |name: &str| match name {
        "equal" => "reports equal to another after normalisation".to_owned(),
        other => other.replace('_', " "),
    };
    let counts = source.manifest.counts.iter();
    counts.map(|(name, n)| [source.role.to_owned(), words(name), n.to_string()]).collect()
}

fn source(source: &Source<'_>) -> [String; 5] {
    let manifest = source.manifest;
    [
        source.role.to_owned(),
        manifest.stage.clone(),
        format!("{} {}", manifest.tool.name, manifest.tool.version),
        source.sha256.clone(),
        manifest.licence.clone(),
    ]
}

fn slice(number: usize, shown: &Shown, pictures: &HashMap<String, Picture>) -> SliceCard {
    let (slice, caption) = (&shown.slice, &shown.caption);
    let word = |name: &str| caption.facts.get(name).and_then(Value::as_str).unwrap_or_default();
    let number_of = |name: &str| caption.facts.get(name).map(plain);
    let of = |total: Option<String>| total.map_or_else(String::new, |n| format!(" of {n}"));
    let section = format!("section {}{}", slice.index + 1, of(number_of("sections")));
    let tile = if slice.tiles == [1, 1] {
        String::new()
    } else {
        format!(", tile {} of {}", slice.tile + 1, slice.tiles[0] * slice.tiles[1])
    };
    let shown_as = match (number_of("window_level_hu"), number_of("window_width_hu")) {
        (Some(level), Some(width)) => {
            format!("{} window, level {level} HU, width {width} HU", word("window"))
        }
        _ => match (number_of("picture_black"), number_of("picture_white")) {
            (Some(black), Some(white)) => {
                format!("{}: black at {black}, white at {white}", word("picture_channel"))
            }
            _ => "grey values as stored".to_owned(),
        },
    };
    let plane = plane_name(slice.plane);
    let sentences = shown.report.iter().flat_map(|r| &r.sentences);
    let mut holds: Vec<_> = sentences.map(|s| Mark::of(s.verdict).class).collect();
    holds.sort_unstable();
    holds.dedup();
    SliceCard {
        anchor: format!("slice-{number}"),
        id: caption.id.clone(),
        title: format!("{}, {plane}, {section}{tile}", slice.case),
        picture: pictures.get(&caption.id).cloned(),
        alt: format!("{plane} slice of the {} ({}), {section}{tile}", word("anatomy"), word("imaging")),
        shown_as,
        caption: caption.caption.clone(),
        captioner: caption.captioner.clone(),
        report: shown.report.as_ref().map(|r| Text {
            text: r.text.clone(),
            writer: writer(r),
            sentences: r.sentences.iter().map(line).collect(),
        }),
        holds: holds.join(" "),
        facts: caption.facts.iter().map(|(name, value)| [name.clone(), plain(value)]).collect(),
    }
}

fn volume(report: &VolumeReport) -> VolumeCard {
    VolumeCard {
        case: report.case.clone(),
        slices: report.slices.len(),
        text: Text {
            text: report.text.clone(),
            writer: named(&report.writer, report.model.as_deref()),
            sentences: report.sentences.iter().map(line).collect(),
        },
    }
}

fn writer(report: &Report) -> String {
    named(&report.writer, report.model.as_deref())
}

fn named(writer: &str, model: Option<&str>) -> String {
    model.map_or_else(|| writer.to_owned(), |model| format!("{writer}, model {model}"))
}

fn line(sentence: &Sentence) -> Line {
    Line {
        mark: Mark::of(sentence.verdict),
        text: sentence.text.clone(),
        origin: match sentence.origin {
            Origin::Writer => "",
            Origin::Rewrite => "rewritten by the writer",
            Origin::Template => "put in by the template",
        },
        sources: sentence.sources.clone(),
        reasons: sentence.reasons.clone(),
        replaced: sentence.replaces.as_ref().map(|r| [r.text.clone(), r.reasons.join("; ")]),
    }
}

/// A word without quotation marks, a number without needless zeros.
fn plain(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        other => {
            let text = other.to_string();
            text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
        }
    }
}
