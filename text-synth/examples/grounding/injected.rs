//! Contradictions of each kind, and true statements in other words than the template's.

use rand::{Rng, RngExt};
use text_synth::facts::Facts;

/// What is made wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Modality,
    Anatomy,
    Side,
    Size,
    Plane,
    Count,
    Share,
    Level,
    Symmetry,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Modality,
        Self::Anatomy,
        Self::Side,
        Self::Size,
        Self::Plane,
        Self::Count,
        Self::Share,
        Self::Level,
        Self::Symmetry,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Modality => "modality",
            Self::Anatomy => "anatomy",
            Self::Side => "side",
            Self::Size => "size",
            Self::Plane => "plane",
            Self::Count => "count",
            Self::Share => "share",
            Self::Level => "level",
            Self::Symmetry => "symmetry",
        }
    }
}

const OF_CT: [&str; 6] = [
    "The CT scan was obtained after intravenous contrast medium.",
    "Hounsfield values are within the expected range.",
    "A hypodense area is seen on this computed tomography image.",
    "Axial CT angiography of the aorta.",
    "There is a low-attenuation region.",
    "Ground-glass opacities are noted.",
];
const OF_MRI: [&str; 6] = [
    "T2-weighted images show the region well.",
    "This MRI was acquired with gadolinium.",
    "There is a hyperintensity on FLAIR.",
    "The signal intensity is markedly increased.",
    "Diffusion-weighted imaging reveals restricted diffusion.",
    "Magnetic resonance angiography was performed.",
];
const OF_EM: [&str; 6] = [
    "The electron micrograph shows osmiophilic bodies.",
    "Synaptic vesicles cluster near the presynaptic site.",
    "Mitochondria with intact cristae are present.",
    "Several axons run in parallel.",
    "The section was imaged by transmission electron microscopy.",
    "Electron-dense material is scattered throughout.",
];
const OF_OTHERS: [&str; 3] = [
    "Sonographically the organ is hyperechoic.",
    "FDG PET shows intense uptake.",
    "The plain radiograph is unremarkable.",
];
const OF_HEAD: [&str; 4] = [
    "The lateral ventricles are of normal width.",
    "The cerebellum is unremarkable.",
    "There is midline shift of the brain.",
    "The basal ganglia are well delineated.",
];
const OF_TRUNK: [&str; 5] = [
    "The liver has a smooth contour.",
    "Both kidneys are visible.",
    "The spleen is enlarged.",
    "The urinary bladder is well filled.",
    "The gallbladder contains a stone.",
];
const OF_LIMB: [&str; 2] = ["The meniscus is torn.", "The shoulder joint shows an effusion."];

/// The place of a sentence and the wrong one in its stead (behind the end: an added one); none where the kind does not apply.
pub(crate) fn inject(
    kind: Kind,
    sentences: &[String],
    facts: &Facts,
    random: &mut impl Rng,
) -> Option<(usize, String)> {
    let modality = facts.get_word("modality")?;
    let added = |pool: Vec<&str>, random: &mut dyn FnMut(usize) -> usize| {
        let i = random(pool.len());
        (!pool.is_empty()).then(|| (usize::MAX, pool[i].to_owned()))
    };
    let mut pick = |n: usize| random.random_range(0..n.max(1));
    match kind {
        Kind::Modality => {
            let mut pool: Vec<&str> = OF_OTHERS.to_vec();
            for (own, texts) in [("ct", &OF_CT[..]), ("mri", &OF_MRI[..]), ("em", &OF_EM[..])] {
                if own != modality {
                    pool.extend(texts);
                }
            }
            added(pool, &mut pick)
        }
        Kind::Anatomy => {
            let mut pool: Vec<&str> = OF_LIMB.to_vec();
            let head = ["hippocampus", "brain"].contains(&facts.get_word("anatomy")?);
            if !head || modality == "em" {
                pool.extend(OF_HEAD);
            }
            if head || modality == "em" {
                pool.extend(OF_TRUNK);
            }
            added(pool, &mut pick)
        }
        Kind::Side => swapped(
            sentences,
            &[("left", "right"), ("anterior", "posterior"), ("upper", "lower")],
            " position",
            &mut pick,
        )
        .or_else(|| swapped(sentences, &[("left", "right"), ("upper", "lower")], " part", &mut pick)),
        Kind::Level => {
            let level = facts.get_word("level")?;
            let others: &[&str] =
                if modality == "em" { &["first", "middle", "last"] } else { &["lower", "middle", "upper"] };
            let other: Vec<&str> = others.iter().copied().filter(|word| *word != level).collect();
            let (from, to) = (format!("{level} third"), format!("{} third", other[pick(other.len())]));
            replaced(sentences, &from, &to)
        }
        Kind::Plane => {
            let plane = facts.get_word("plane")?;
            let others: Vec<&str> =
                ["axial", "coronal", "sagittal"].into_iter().filter(|p| *p != plane).collect();
            replaced(sentences, plane, others[pick(others.len())])
        }
        Kind::Symmetry => {
            let symmetry = facts.get_word("symmetry")?;
            let other = if symmetry == "asymmetric" { "symmetric" } else { "asymmetric" };
            replaced(sentences, symmetry, other)
        }
        Kind::Size => number(sentences, &["mm", "cm", "nm", "µm"], &mut pick, |value, up| {
            if up { value * 1.45 + 1.0 } else { value * 0.6 }
        }),
        Kind::Share => number(sentences, &["%"], &mut pick, |value, up| {
            if up && value < 80.0 { value + 14.0 } else { (value - 12.0).abs() }
        }),
        Kind::Count => count(sentences, &mut pick),
    }
}

fn replaced(sentences: &[String], from: &str, to: &str) -> Option<(usize, String)> {
    let lower: Vec<String> = sentences.iter().map(|s| s.to_lowercase()).collect();
    let i = lower
        .iter()
        .position(|s| s.split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>().join(" ").contains(from))?;
    let at = lower[i].find(from)?;
    let mut text = sentences[i].clone();
    text.replace_range(at..at + from.len(), to);
    (text != sentences[i]).then_some((i, text))
}

/// Directions before `behind` exchanged for their opposites.
fn swapped(
    sentences: &[String],
    pairs: &[(&str, &str)],
    behind: &str,
    pick: &mut impl FnMut(usize) -> usize,
) -> Option<(usize, String)> {
    let places: Vec<usize> = (0..sentences.len()).filter(|i| sentences[*i].contains(behind)).collect();
    let i = *places.get(pick(places.len()))?;
    let text = &sentences[i];
    let end = text.find(behind)?;
    let (head, tail) = text.split_at(end);
    let words: Vec<&str> = head.split(' ').collect();
    for k in (words.len().saturating_sub(2)..words.len()).rev() {
        for (a, b) in pairs {
            let other = if words[k] == *a {
                b
            } else if words[k] == *b {
                a
            } else {
                continue;
            };
            let mut changed: Vec<&str> = words.clone();
            changed[k] = other;
            return Some((i, format!("{}{tail}", changed.join(" "))));
        }
    }
    None
}

fn number(
    sentences: &[String],
    units: &[&str],
    pick: &mut impl FnMut(usize) -> usize,
    change: impl Fn(f64, bool) -> f64,
) -> Option<(usize, String)> {
    let mut places = Vec::new();
    for (i, sentence) in sentences.iter().enumerate() {
        let words: Vec<&str> = sentence.split(' ').collect();
        for k in 1..words.len() {
            let unit = words[k].trim_matches(|c: char| !c.is_alphanumeric() && c != '%' && c != 'µ');
            let value = words[k - 1].trim_matches(|c: char| !c.is_ascii_digit());
            if units.contains(&unit)
                && !value.is_empty()
                && sentence.matches("or more").count() == 0
                && !sentence.contains("than 1 %")
            {
                places.push((i, k - 1, value.to_owned()));
            }
        }
    }
    let (i, k, value) = places.get(pick(places.len()))?.clone();
    let decimals = value.split_once('.').map_or(0, |(_, behind)| behind.len());
    let changed = format!("{:.*}", decimals, change(value.parse().ok()?, pick(2) == 1));
    let mut words: Vec<String> = sentences[i].split(' ').map(str::to_owned).collect();
    words[k] = words[k].replace(&value, &changed);
    let text = words.join(" ");
    (text != sentences[i]).then_some((i, text))
}

fn count(sentences: &[String], pick: &mut impl FnMut(usize) -> usize) -> Option<(usize, String)> {
    const WORDS: [&str; 10] = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "one"];
    let nouns = ["structure", "foc", "region", "profile", "compartment"];
    let mut places = Vec::new();
    for (i, sentence) in sentences.iter().enumerate() {
        let words: Vec<&str> = sentence.split(' ').collect();
        for k in 0..words.len() {
            let counts = WORDS.contains(&words[k].to_lowercase().as_str())
                || words[k].bytes().all(|b| b.is_ascii_digit());
            let noun = words[k + 1..]
                .iter()
                .take(3)
                .any(|w| nouns.iter().any(|n| w.starts_with(n) || w.contains("-dense")));
            if counts && noun && !matches!(words.get(k + 1), Some(&"%" | &"mm" | &"nm")) {
                places.push((i, k));
            }
        }
    }
    let (i, k) = *places.get(pick(places.len()))?;
    let mut words: Vec<String> = sentences[i].split(' ').map(str::to_owned).collect();
    let before = words[k].clone();
    while words[k].eq_ignore_ascii_case(&before) {
        words[k] = if pick(2) == 0 { WORDS[pick(9)].to_owned() } else { (11 + pick(30)).to_string() };
    }
    Some((i, words.join(" ")))
}

/// True statements as other writers would word them.
pub(crate) fn free_wording(facts: &Facts) -> Vec<String> {
    let mut texts = Vec::new();
    let word = |name: &str| facts.get_word(name).map(str::to_owned);
    if let (Some(plane), Some(anatomy)) = (word("plane"), word("anatomy")) {
        texts.push(format!("A single {plane} image through the {anatomy} is presented."));
    }
    let mut structure = |prefix: &str, noun: &str, nouns: &str| {
        let n = facts.get_count(&format!("{prefix}_count"))?;
        let mm = facts.get(&format!("{prefix}_largest_length_mm"))?;
        let place = facts.get_word(&format!("{prefix}_largest_place"))?;
        let verb = if n == 1 { "is" } else { "are" };
        texts.push(format!("There {verb} {n} {}.", if n == 1 { noun } else { nouns }));
        texts.push(format!(
            "The biggest {noun} measures {:.1} cm and occupies the {place} portion of the picture.",
            mm / 10.0
        ));
        texts.push(format!("Of the {nouns}, the largest reaches {mm:.0} mm."));
        Some(())
    };
    let _ = structure("dense_structures", "hyperdense structure", "hyperdense structures");
    let _ = structure("gas_structures", "gas pocket", "gas pockets");
    let _ = structure("mri_bright_structures", "bright area", "bright areas");
    let _ = structure("mri_dark_structures", "dark region", "dark regions");
    for (fact, noun) in
        [("fat_fraction", "Fat"), ("soft_tissue_fraction", "Soft tissue"), ("membrane_fraction", "Membranes")]
    {
        if let Some(share) = facts.get(fact).filter(|share| *share >= 0.01) {
            texts.push(format!("{noun} accounts for about {:.0} percent of the area.", share * 100.0));
        }
    }
    if let Some(n) = facts.get_count("compartment_count").filter(|n| *n > 0) {
        texts.push(format!("The membranes enclose {n} compartments."));
    }
    if let Some(level) = word("level") {
        texts.push(format!("It was taken from the {level} third."));
    }
    texts
}
