//! The captioner `measure`: says what it measured on the slice; no model, no labels.
//!
//! Facts come first, from the pixels; phrases are made from facts only, so that each can be traced to the numbers behind it.

pub mod ct;
pub mod em;
pub mod mri;
pub mod structures;
pub mod texture;

use crate::captioner::{Captioned, Captioner, Scale, SliceImage};
use crate::facts::Facts;
use crate::render::Grey;
use crate::slices::{axes, plane_name};
use crate::wording::{self, Wording};
use data_manifests::descriptor::Modality;
use data_manifests::records::Plane;
use structures::Structure;

/// The deterministic captioner.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Seed of the wording.
    pub seed: u64,
}

/// A sentence and the names of the facts that it states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// The sentence.
    pub text: String,
    /// Names of facts.
    pub facts: Vec<String>,
}

impl Phrase {
    /// A sentence from a clause.
    #[must_use]
    pub fn new(text: &str, facts: &[&str]) -> Self {
        Self { text: wording::sentence(text), facts: facts.iter().map(|f| (*f).to_owned()).collect() }
    }
}

impl Captioner for Measure {
    fn name(&self) -> String {
        "measure/3".to_owned()
    }

    fn caption(&self, image: &SliceImage<'_>) -> anyhow::Result<Captioned> {
        let facts = facts(image);
        let texts: Vec<_> = phrases(&facts, &Wording::new(self.seed, &image.slice.id()))
            .into_iter()
            .map(|p| p.text)
            .collect();
        Ok(Captioned { text: texts.join(" "), facts })
    }
}

/// Measures a slice, and says how its picture shows it.
#[must_use]
pub fn facts(image: &SliceImage<'_>) -> Facts {
    let mut facts = Facts::default();
    frame(image, &mut facts);
    match (image.record.modality, image.scale()) {
        (Modality::Ct, Scale::Hounsfield) => ct::measure(image, &mut facts),
        (Modality::Ct, _) => ct::measure_without_units(image, &mut facts),
        (Modality::Mri, _) => mri::measure(image, &mut facts),
        (Modality::Em, _) => em::measure(image, &mut facts),
    }
    Grey::of(image).state(image, &mut facts);
    facts
}

/// Says what the facts state.
#[must_use]
pub fn phrases(facts: &Facts, wording: &Wording) -> Vec<Phrase> {
    let mut phrases = opening(facts, wording);
    phrases.extend(match facts.get_word("modality") {
        Some("ct") => ct::phrases(facts, wording),
        Some("mri") => mri::phrases(facts, wording),
        _ => em::phrases(facts, wording),
    });
    phrases.extend(closing(facts, wording));
    phrases
}

/// Modality, anatomy, plane, level and field of view.
fn frame(image: &SliceImage<'_>, facts: &mut Facts) {
    let text = &image.descriptor.text;
    let slice = image.slice;
    let axis = axes(slice.plane)[0];
    let [rows, columns] = image.shape();
    let [height, width] = image.spacing_mm();
    let sections = image.record.shape_zyx[axis];
    let fraction = (slice.index as f64 + 0.5) / sections as f64;
    let from_start = slice.index as f64 * image.record.spacing_zyx_mm[axis];
    let modality = image.record.modality;
    let thirds = match (modality, slice.plane) {
        (Modality::Em, _) => ["first", "middle", "last"],
        (_, Plane::Axial) => ["lower", "middle", "upper"],
        (_, Plane::Coronal) => ["posterior", "middle", "anterior"],
        (_, Plane::Sagittal) => ["left", "middle", "right"],
    };
    facts.word("modality", modality_word(modality));
    facts.word("imaging", &text.imaging);
    facts.word("anatomy", &text.anatomy);
    facts.word("plane", plane_name(slice.plane));
    facts.count("section", slice.index + 1);
    facts.count("sections", sections);
    facts.number("level_fraction", fraction);
    facts.word("level", thirds[((fraction * 3.0) as usize).min(2)]);
    if slice.tiles != [1, 1] {
        facts.count("tile_rows", slice.tiles[0]);
        facts.count("tile_columns", slice.tiles[1]);
        facts.count("tile_row", slice.tile / slice.tiles[1] + 1);
        facts.count("tile_column", slice.tile % slice.tiles[1] + 1);
    }
    let (rows, columns) = (rows as f64 * height, columns as f64 * width);
    if modality == Modality::Em {
        facts.number("depth_nm", from_start * 1e6);
        facts.number("height_um", rows * 1e3);
        facts.number("width_um", columns * 1e3);
        facts.number("pixel_nm", height.min(width) * 1e6);
    } else {
        facts.number("level_mm", from_start);
        facts.number("height_mm", rows);
        facts.number("width_mm", columns);
        facts.number("pixel_mm", height.min(width));
    }
}

/// The word of a modality in facts.
fn modality_word(modality: Modality) -> &'static str {
    match modality {
        Modality::Ct => "ct",
        Modality::Mri => "mri",
        Modality::Em => "em",
    }
}

/// Where a structure lies in its section: patient directions for CT and MRI (RAS+: z grows upwards, y forwards, x to the
/// patient's right), directions of the picture for EM.
fn place(image: &SliceImage<'_>, structure: &Structure) -> String {
    let [_, row, column] = axes(image.slice.plane);
    let em = image.record.modality == Modality::Em;
    let word = |a: usize, axis: usize| -> Option<&'static str> {
        let (offset, length) = if em {
            (0, image.shape()[a])
        } else {
            (image.slice.box_zyx[axis], image.record.shape_zyx[axis])
        };
        let at = (structure.centre[a] + 0.5 + offset as f64) / length as f64;
        let [low, high] = match (em, a, axis) {
            (true, 0, _) => ["upper", "lower"],
            (true, ..) | (false, _, 2) => ["left", "right"],
            (false, _, 0) => ["inferior", "superior"],
            (false, ..) => ["posterior", "anterior"],
        };
        if at < 0.4 {
            Some(low)
        } else if at > 0.6 {
            Some(high)
        } else {
            None
        }
    };
    let (down, across) = (word(0, row), word(1, column));
    let words: Vec<_> = if em { [down, across] } else { [across, down] }.into_iter().flatten().collect();
    if words.is_empty() { "central".to_owned() } else { words.join(" ") }
}

/// States number, and size and place of the largest, of structures measured in mm.
fn state_structures(image: &SliceImage<'_>, facts: &mut Facts, name: &str, found: &[Structure]) {
    facts.count(format!("{name}_count"), found.len());
    if let Some(largest) = found.first() {
        facts.number(format!("{name}_largest_area_mm2"), largest.area);
        facts.number(format!("{name}_largest_height_mm"), largest.extent[0]);
        facts.number(format!("{name}_largest_width_mm"), largest.extent[1]);
        facts.number(format!("{name}_largest_length_mm"), largest.length());
        facts.word(format!("{name}_largest_place"), place(image, largest));
    }
}

/// States how alike left and right are, where the columns run from the patient's left to the right across the section.
fn state_symmetry(image: &SliceImage<'_>, facts: &mut Facts, values: &[f32]) {
    if axes(image.slice.plane)[2] == 2
        && image.spans_columns()
        && let Some(correlation) = texture::mirror_correlation(values, image.shape())
    {
        facts.number("mirror_correlation", correlation);
        let word = match correlation {
            c if c >= 0.85 => "symmetric",
            c if c >= 0.6 => "roughly symmetric",
            _ => "asymmetric",
        };
        facts.word("symmetry", word);
    }
}

fn opening(facts: &Facts, wording: &Wording) -> Vec<Phrase> {
    let word = |name: &str| facts.get_word(name).unwrap_or_default();
    let (plane, anatomy, imaging) = (word("plane"), word("anatomy"), word("imaging"));
    let short = match word("modality") {
        "ct" => "CT",
        "mri" => "MRI",
        _ => "electron microscopy",
    };
    let subject = match wording.pick("subject", &["short", "long", "colon"]) {
        "short" => format!("{plane} {short} slice of the {anatomy}"),
        "long" => format!("{plane} slice of the {anatomy}, {imaging}"),
        _ => format!("{imaging} of the {anatomy}, {plane} slice"),
    };
    let level = word("level");
    let (section, sections) =
        (facts.get_count("section").unwrap_or_default(), facts.get_count("sections").unwrap_or_default());
    let mut named = vec!["plane", "anatomy", "imaging", "modality", "level", "section", "sections"];
    let position = if let Some(nm) = facts.get("depth_nm") {
        named.push("depth_nm");
        let depth = wording::nanometres(nm);
        match wording.pick("position", &["a", "b"]) {
            "a" => format!("section {section} of {sections}, {depth} below the first"),
            _ => format!("in the {level} third of the stack at a depth of {depth}"),
        }
    } else {
        named.push("level_mm");
        let mm = wording::millimetres(facts.get("level_mm").unwrap_or_default());
        let start = match plane {
            "axial" => "lowest",
            "coronal" => "most posterior",
            _ => "leftmost",
        };
        match wording.pick("position", &["a", "b"]) {
            "a" => format!("in the {level} third of the imaged range, {mm} from its {start} slice"),
            _ => format!("slice {section} of {sections}, {mm} from the {start} one, {level} third"),
        }
    };
    let mut phrases = vec![Phrase::new(&format!("{subject}, {position}"), &named)];
    let (field, mut named) =
        if let (Some(height), Some(width)) = (facts.get("height_um"), facts.get("width_um")) {
            let pixel = wording::nanometres(facts.get("pixel_nm").unwrap_or_default());
            (
                format!("{height:.2} by {width:.2} µm at {pixel} per pixel"),
                vec!["height_um", "width_um", "pixel_nm"],
            )
        } else {
            let mm = |name: &str| wording::millimetres(facts.get(name).unwrap_or_default());
            (format!("{} by {}", mm("height_mm"), mm("width_mm")), vec!["height_mm", "width_mm"])
        };
    let field = match wording.pick("field", &["a", "b"]) {
        "a" => format!("the field of view measures {field}"),
        _ => format!("it covers {field}"),
    };
    let tile = match (facts.get_count("tile_row"), facts.get_count("tile_column")) {
        (Some(row), Some(column)) => {
            named.extend(["tile_row", "tile_column", "tile_rows", "tile_columns"]);
            let of = |name| facts.get_count(name).unwrap_or_default();
            format!(
                ", tile row {row} of {} and column {column} of {} of the section",
                of("tile_rows"),
                of("tile_columns")
            )
        }
        _ => String::new(),
    };
    phrases.push(Phrase::new(&format!("{field}{tile}"), &named));
    phrases
}

/// Symmetry and texture.
fn closing(facts: &Facts, wording: &Wording) -> Vec<Phrase> {
    let mut phrases = Vec::new();
    if let (Some(symmetry), Some(correlation)) = (facts.get_word("symmetry"), facts.get("mirror_correlation"))
    {
        let text = match wording.pick("symmetry", &["a", "b"]) {
            "a" => {
                format!("left and right halves of the field are {symmetry} (correlation {correlation:.2})")
            }
            _ => format!(
                "the picture is {symmetry} about its midline, with a mirror correlation of {correlation:.2}"
            ),
        };
        phrases.push(Phrase::new(&text, &["symmetry", "mirror_correlation"]));
    }
    if let Some(entropy) = facts.get("entropy_bits") {
        let grade = match entropy {
            e if e < 2.5 => "uniform",
            e if e < 4.5 => "moderately varied",
            _ => "rich",
        };
        let mut named = vec!["entropy_bits"];
        let direction = match (facts.get("coherence"), facts.get("lines_degrees")) {
            (Some(coherence), Some(degrees)) if coherence >= 0.3 => {
                named.extend(["coherence", "lines_degrees"]);
                format!(", with lines along {degrees:.0} degrees")
            }
            _ => String::new(),
        };
        let text = match wording.pick("texture", &["a", "b"]) {
            "a" => format!("the texture is {grade} (entropy {entropy:.1} bits){direction}"),
            _ => format!("{grade} texture of {entropy:.1} bits entropy{direction}"),
        };
        phrases.push(Phrase::new(&text, &named));
    }
    phrases
}
