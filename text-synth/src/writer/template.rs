//! The writer `template`: short reports from facts, offline and deterministic, with wording that varies from slice to slice.

use super::{Subject, Task, Text, Writer, Written};
use crate::facts::{Facts, key};
use crate::measure::em::membrane_grade;
use crate::measure::{ct, mri};
use crate::wording::{self, Wording};
use anyhow::Context as _;
use data_manifests::digest;
use stage::Context;

const NAME: &str = "template/2";
/// Share above which something is most of a picture.
pub(crate) const MOST: f64 = 0.5;

/// The template writer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Template {
    /// Seed of the wording.
    pub seed: u64,
}

impl Writer for Template {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn model(&self) -> Option<String> {
        None
    }

    fn write(&mut self, tasks: &[Task], _context: &Context) -> anyhow::Result<Written> {
        let texts = tasks.iter().map(|task| {
            let request = digest::digest_of(&(NAME, self.seed, &task.id, task.facts.record()))?;
            let text = self
                .text(task)
                .with_context(|| format!("the facts of {} name no known modality", task.id))?;
            anyhow::Ok(Some(Text { text, request }))
        });
        Ok(Written { texts: texts.collect::<anyhow::Result<_>>()?, ..Written::default() })
    }
}

impl Template {
    /// Two to four sentences on a slice or a volume; none when the facts name no modality.
    #[must_use]
    pub fn text(&self, task: &Task) -> Option<String> {
        let wording = Wording::new(self.seed, &task.id);
        let subject = match task.subject {
            Subject::Slice => subject(&task.facts, &wording),
            Subject::Volume => volume_subject(&task.facts, &wording),
        };
        report(subject, &task.facts, &wording)
    }
}

fn report(subject: String, facts: &Facts, wording: &Wording) -> Option<String> {
    let mut sentences = vec![subject];
    sentences.extend(match facts.get_word("modality")? {
        "ct" => ct_findings(facts, wording),
        "mri" => mri_findings(facts, wording),
        "em" => em_findings(facts, wording),
        _ => return None,
    });
    sentences.truncate(3);
    sentences.extend(impression(facts, wording));
    let sentences: Vec<_> = sentences.iter().map(|s| wording::sentence(s)).collect();
    Some(sentences.join(" "))
}

fn subject(facts: &Facts, wording: &Wording) -> String {
    let word = |name: &str| facts.get_word(name).unwrap_or_default();
    let (imaging, anatomy, plane, level) = (word("imaging"), word("anatomy"), word("plane"), word("level"));
    let field = match (facts.get("width_um"), facts.get("width_mm")) {
        (Some(um), _) => format!("{um:.1} µm"),
        (_, Some(mm)) => wording::millimetres(mm),
        _ => String::new(),
    };
    let range = if word("modality") == "em" { "stack" } else { "imaged range" };
    match wording.pick("report-subject", &["a", "b", "c", "d"]) {
        "a" => format!(
            "{imaging} of the {anatomy}, {plane} plane, {level} third of the {range}, field width {field}"
        ),
        "b" => format!(
            "{plane} {imaging} of the {anatomy} through the {level} third of the {range}, {field} wide"
        ),
        "c" => format!(
            "this {plane} section of the {anatomy} was acquired by {imaging}; it lies in the {level} third of the {range} and is {field} wide"
        ),
        _ => format!("{anatomy}, {plane} view in the {level} third, {field} across, from {imaging}"),
    }
}

fn volume_subject(facts: &Facts, wording: &Wording) -> String {
    let word = |name: &str| facts.get_word(name).unwrap_or_default();
    let (imaging, anatomy) = (word("imaging"), word("anatomy"));
    let slices = facts.get_count("slices").unwrap_or_default();
    // planes may be mixed
    let plane = facts.get_word("plane").map(|plane| format!("{plane} ")).unwrap_or_default();
    let tiles = match facts.get_count("tiles") {
        Some(1) => " in one tile".to_owned(),
        Some(tiles) => format!(" in {tiles} tiles"),
        None => String::new(),
    };
    let slices = format!("{slices} {plane}{}{tiles}", if slices == 1 { "slice" } else { "slices" });
    match wording.pick("volume-subject", &["a", "b", "c"]) {
        "a" => format!("{imaging} of the {anatomy}, described on {slices}"),
        "b" => format!("this volume of the {anatomy} was acquired by {imaging}; {slices} were described"),
        _ => format!("{anatomy} on {slices} from {imaging}"),
    }
}

fn ct_findings(facts: &Facts, wording: &Wording) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut classes: Vec<(f64, &str)> = ct::CLASSES
        .iter()
        .filter_map(|class| facts.get(&format!("{}_fraction", class.name)).map(|share| (share, class.words)))
        .filter(|(share, _)| *share >= 0.01)
        .collect();
    classes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let part = |(share, words): &(f64, &str)| format!("{words} ({})", wording::percent(*share));
    if let Some((largest, rest)) = classes.split_first() {
        let first = part(largest);
        let whole = if facts.has("slices") { "volume" } else { "slice" };
        // what lies outside the window is in no class: the largest share may be a small one
        let start = match wording.pick("report-classes", &["a", "b"]) {
            "a" if largest.0 > MOST => format!("the {whole} consists mainly of {first}"),
            "a" => format!("the largest measured share of the {whole} is {first}"),
            _ => format!("{first} makes up the largest measured share"),
        };
        let rest: Vec<_> = rest.iter().take(2).map(part).collect();
        sentences.push(if rest.is_empty() {
            start
        } else {
            format!("{start}, with {}", wording::list(&rest))
        });
    }
    let dense =
        structure(facts, "dense_structures", "high-attenuation structure", "high-attenuation structures");
    let gas = structure(facts, "gas_structures", "gas-containing region", "gas-containing regions");
    sentences.extend(findings(&[dense, gas], wording));
    sentences
}

fn mri_findings(facts: &Facts, wording: &Wording) -> Vec<String> {
    let mut sentences = Vec::new();
    let channels = mri::leading_channels(facts);
    let signals: Vec<String> = channels
        .iter()
        .filter_map(|channel| {
            let share = |end: &str| facts.get(&format!("{}_{end}", key(channel))).map(wording::percent);
            let (bright, dark) = (share("bright_fraction")?, share("dark_fraction")?);
            Some(match wording.pick(&format!("report-{channel}"), &["a", "b"]) {
                "a" => format!("{bright} of the tissue is hyperintense and {dark} hypointense on {channel}"),
                _ => {
                    format!("{channel} shows high signal in {bright} and low signal in {dark} of the tissue")
                }
            })
        })
        .collect();
    if !signals.is_empty() {
        sentences.push(signals.join(", while "));
    }
    let found = channels.first().map(|channel| {
        ["bright", "dark"].map(|kind| {
            let word = if kind == "bright" { "hyperintense" } else { "hypointense" };
            let adjective = mri::adjective(facts, word, channel);
            let (one, many) = (format!("{adjective} focus"), format!("{adjective} foci"));
            structure(facts, &format!("{}_{kind}_structures", key(channel)), &one, &many)
        })
    });
    sentences.extend(found.and_then(|found| findings(&found, wording)));
    sentences
}

fn em_findings(facts: &Facts, wording: &Wording) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(share) = facts.get("membrane_fraction") {
        let grade = membrane_grade(share);
        let compartments = match (facts.get_count("compartment_count"), facts.get("compartment_median_nm")) {
            (Some(n), Some(nm)) if n > 0 => {
                let (counted, nm) = (most(facts, n, "compartment", "compartments"), wording::nanometres(nm));
                if facts.has("slices") {
                    format!(" that part {counted}, their median diameter {nm} on average")
                } else {
                    format!(" that part {counted} with a median diameter of {nm}")
                }
            }
            _ => String::new(),
        };
        let share = wording::percent(share);
        sentences.push(match wording.pick("report-membrane", &["a", "b"]) {
            "a" => format!("{grade} membrane-like profiles ({share} of the area){compartments}"),
            _ => format!("membranes appear {grade}, as dark lines over {share} of the area{compartments}"),
        });
    }
    if let (Some(n), Some(nm), Some(place)) =
        (facts.get_count("dense_count"), facts.get("dense_largest_nm"), facts.get_word("dense_largest_place"))
    {
        let counted = most(facts, n, "electron-dense profile", "electron-dense profiles");
        let of = if facts.has("tiles") { " of its tile" } else { "" };
        let size = wording::nanometres(nm);
        sentences.push(match wording.pick("report-dense", &["a", "b"]) {
            "a" => format!("{counted}, up to {size} in diameter, most prominent in the {place} part{of}"),
            _ => format!(
                "there {} {counted}; the most extensive measures {size} ({place}{of})",
                if n == 1 { "is" } else { "are" }
            ),
        });
    } else if facts.get_count("dense_count") == Some(0) {
        sentences.push("no electron-dense profile of 80 nm or more".to_owned());
    }
    sentences
}

/// `three foci up to 12 mm, the largest left anterior`; none where nothing was found.
fn structure(facts: &Facts, name: &str, one: &str, many: &str) -> Option<String> {
    let n = facts.get_count(&format!("{name}_count")).filter(|n| *n > 0)?;
    let length = wording::millimetres(facts.get(&format!("{name}_largest_length_mm"))?);
    let place = facts.get_word(&format!("{name}_largest_place"))?;
    let counted = most(facts, n, one, many);
    Some(if facts.has("slices") {
        format!("{counted}, the largest of {length} in {place} position")
    } else if n == 1 {
        format!("{counted} of {length} in {place} position")
    } else {
        format!("{counted} up to {length}, the largest in {place} position")
    })
}

/// `three foci`; of a volume, whose counts are the largest of one slice, `up to three foci in a slice`.
fn most(facts: &Facts, n: usize, one: &str, many: &str) -> String {
    let counted = wording::counted(n, one, many);
    if !facts.has("slices") {
        return counted;
    }
    let part = match facts.get_word("modality") {
        _ if facts.has("tiles") => "tile",
        Some("em") => "section",
        _ => "slice",
    };
    format!("up to {counted} in a {part}")
}

fn findings(found: &[Option<String>], wording: &Wording) -> Option<String> {
    let found: Vec<String> = found.iter().flatten().cloned().collect();
    if found.is_empty() {
        return None;
    }
    let start = wording.pick("report-findings", &["there is evidence of", "findings include", "noted are"]);
    Some(format!("{start} {}", wording::list(&found)))
}

fn impression(facts: &Facts, wording: &Wording) -> Option<String> {
    if let Some(symmetry) = facts.get_word("symmetry") {
        return Some(match wording.pick("report-symmetry", &["a", "b"]) {
            "a" => format!("left and right halves appear {symmetry}"),
            _ => format!("overall the picture is {symmetry} across the midline"),
        });
    }
    let entropy = facts.get("entropy_bits")?;
    let grade = if entropy < 2.5 {
        "homogeneous"
    } else if entropy < 4.5 {
        "mildly heterogeneous"
    } else {
        "heterogeneous"
    };
    Some(match wording.pick("report-texture", &["a", "b"]) {
        "a" => format!("the texture is {grade}"),
        _ => format!("overall {grade} appearance"),
    })
}
