//! What sentences say in words: terms, level and section, symmetry, texture.

use super::check::{Evidence, Grounding, Read};
use super::direction;
use super::lexicon::Mention;
use super::terms::{Kind, Term};
use super::words::{Token, singular};
use crate::measure::em::membrane_grade;

/// `upper third`, `slice 3 of 20`.
pub(super) fn level_and_section(read: &mut Read<'_>, evidence: &mut Evidence) {
    const LEVELS: [&str; 9] =
        ["lower", "middle", "upper", "first", "last", "posterior", "anterior", "left", "right"];
    for at in 0..read.tokens.len() {
        let Some(word) = read.word(at) else { continue };
        if LEVELS.contains(&word)
            && read.word(at + 1) == Some("third")
            && let Some(level) = read.facts.get_word("level")
        {
            if level == word {
                evidence.bears("fact:level");
            } else {
                evidence.against(format!("the slice lies in the {level} third, not in the {word} third"));
            }
            read.used[at] = true;
        } else if matches!(word, "slice" | "section")
            && let Some(Token::Number { value: n, .. }) = read.tokens.get(at + 1)
            && read.word(at + 2) == Some("of")
            && let Some(Token::Number { value: of, .. }) = read.tokens.get(at + 3)
            && let (Some(section), Some(sections)) =
                (read.facts.get_count("section"), read.facts.get_count("sections"))
        {
            if *n == section as f64 && *of == sections as f64 {
                evidence.bears("fact:section");
            } else {
                evidence.against(format!("it is section {section} of {sections}, not {n} of {of}"));
            }
            (read.used[at + 1], read.used[at + 3]) = (true, true);
        }
    }
}

/// Parts of the body, ways of imaging, planes, findings, things that are measured.
pub(super) fn terms(grounding: &Grounding, read: &mut Read<'_>, evidence: &mut Evidence) {
    for (mention, term) in read.mentions.clone() {
        let fits = term.modalities.is_empty() || term.modalities.contains(read.modality);
        match term.kind {
            Kind::Measured => measured(read, &mention, term, evidence),
            Kind::Plane => plane(read, term, evidence),
            Kind::Modality if !fits && grounding.is_own_imaging(&read.words_of(&mention)) => {
                evidence.bears("fact:imaging".to_owned());
            }
            Kind::Modality | Kind::Appearance if !fits => {
                let words = read.words_of(&mention);
                evidence.against(format!("'{words}' does not belong to {}", imaging_of(read.modality)));
            }
            Kind::Modality => modality(grounding, read, &mention, term, evidence),
            Kind::Appearance => evidence.bears(format!("term:{}", term.label)),
            Kind::Anatomy | Kind::Finding | Kind::Other => {
                named(grounding, read, &mention, term, fits, evidence);
            }
        }
        if term.label.contains("membrane") {
            grade(read, &mention, evidence);
        }
    }
}

fn imaging_of(modality: &str) -> &'static str {
    match modality {
        "ct" => "computed tomography",
        "mri" => "magnetic resonance imaging",
        _ => "electron microscopy",
    }
}

/// A structure whose facts were measured: it must be there, or be denied where there is none.
fn measured(read: &Read<'_>, mention: &Mention, term: &Term, evidence: &mut Evidence) {
    let words = read.words_of(mention);
    let names = read.facts_of(mention, term);
    let is_denied = read.is_denied(mention);
    // `no dense structure lies in the right part` says nothing of other parts
    let of_a_place = is_denied && direction::places(read, &(mention.clone(), term));
    let value = |end: &str| -> Option<(String, f64)> {
        let of = |name: &&&str| name.ends_with(end);
        let largest = names.iter().filter(of).filter_map(|name| Some((*name, read.facts.get(name)?)));
        largest.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, value)| (name.to_owned(), value))
    };
    let share = value("_fraction");
    let Some((name, amount)) = value("_count").or_else(|| share.clone()) else {
        match names.first() {
            Some(name) => evidence.bears(format!("fact:{name}")),
            None => evidence.lacks(format!("nothing was measured of '{words}'")),
        }
        return;
    };
    // shares below half a percent are none in words
    let is_there = amount >= if name.ends_with("_fraction") { 0.005 } else { 1.0 };
    match (is_denied, is_there) {
        (true, true) if of_a_place => {}
        (false, true) | (true, false) => evidence.bears(format!("fact:{name}")),
        // little is not nothing, and '0 %' says itself that there is none
        (false, false) if amount > 0.0 || read.has_zero() => evidence.bears(format!("fact:{name}")),
        // it covers some of the slice, in pieces too small to be counted
        (false, false)
            if let Some((name, share)) = &share
                && *share > 0.0 =>
        {
            evidence.bears(format!("fact:{name}"));
        }
        (false, false) => evidence.against(format!("no '{words}' was measured ({name} is {amount})")),
        // a threshold makes it another statement: 'no area of 80 nm or more'
        (true, true) => evidence.against(format!("'{words}' was measured ({name} is {amount})")),
    }
}

/// `sparse`, `moderately dense` or `dense` around a mention of membranes.
fn grade(read: &Read<'_>, mention: &Mention, evidence: &mut Evidence) {
    let Some(share) = read.facts.get("membrane_fraction") else { return };
    let measured = membrane_grade(share);
    let from = mention.start.saturating_sub(3);
    let near = (from..(mention.end + 4).min(read.tokens.len()))
        .filter(|at| !read.mentions.iter().any(|(other, _)| (other.start..other.end).contains(at)));
    for at in near {
        let said = match read.word(at) {
            Some("sparse") => "sparse",
            Some("dense") if at > 0 && read.word(at - 1) == Some("moderately") => "moderately dense",
            Some("dense") => "dense",
            _ => continue,
        };
        if said == measured {
            evidence.bears("fact:membrane_fraction");
        } else {
            evidence.against(format!("membranes were measured to be {measured}, not {said}"));
        }
    }
}

fn plane(read: &Read<'_>, term: &Term, evidence: &mut Evidence) {
    match read.facts.get_word("plane") {
        Some(plane) if plane == term.label => evidence.bears("fact:plane"),
        Some(plane) => evidence.against(format!("the slice is {plane}, not {}", term.label)),
        None => evidence.lacks("the facts name no plane"),
    }
}

/// A way of imaging of the right modality; a sequence or phase that the data set does not declare is not borne.
fn modality(grounding: &Grounding, read: &Read<'_>, mention: &Mention, term: &Term, evidence: &mut Evidence) {
    const GENERAL: [&str; 5] = [
        "computed tomography",
        "magnetic resonance imaging",
        "electron microscopy",
        "hounsfield unit",
        "serial section",
    ];
    let words = read.words_of(mention);
    if grounding.declared.contains(&term.label) || grounding.imaging.contains(&words) {
        evidence.bears("descriptor:imaging");
    } else if GENERAL.contains(&term.label.as_str()) || is_channel(read, &words) {
        evidence.bears("fact:modality");
    } else {
        evidence.lacks(format!("'{words}' is not among what the data set declares"));
    }
}

fn is_channel(read: &Read<'_>, words: &str) -> bool {
    read.facts.iter().any(|(name, value)| {
        name.starts_with("channel_") && value.as_str().is_some_and(|v| v.to_lowercase().contains(words))
    })
}

/// A part of a body, a finding, or a term of another vocabulary.
fn named(
    grounding: &Grounding,
    read: &Read<'_>,
    mention: &Mention,
    term: &Term,
    fits: bool,
    evidence: &mut Evidence,
) {
    let words = read.words_of(mention);
    let above = grounding.terms.ancestors(&term.label);
    let is_declared = grounding.declared.contains(&term.label)
        || words.split(' ').all(|word| grounding.declared_words.contains(&singular(word)));
    // a part of a structure that may be named, or a whole of which one is; parts of the imaged part are too many to be meant
    let is_near =
        above.iter().any(|label| grounding.declared.contains(label) && !grounding.imaged.contains(label))
            || grounding.declared.iter().any(|label| grounding.terms.ancestors(label).contains(&term.label));
    if is_declared && term.kind != Kind::Finding {
        evidence.bears(format!("descriptor:{}", term.label));
    } else if !fits {
        evidence.against(format!("'{words}' is not seen by {}", imaging_of(read.modality)));
    } else if !term.regions.is_empty()
        && !grounding.regions.is_empty()
        && term.regions.is_disjoint(&grounding.regions)
    {
        let [here, there] = [&grounding.regions, &term.regions]
            .map(|regions| regions.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
        evidence.against(format!("'{words}' belongs to the {there}, the images show the {here}"));
    } else if term.kind == Kind::Finding {
        evidence.lacks(format!("nothing measures '{words}'"));
    } else if is_near {
        evidence.bears(format!("term:{}", term.label));
    } else {
        evidence.lacks(format!("'{words}' is not among what the data set declares"));
    }
}

/// Words for symmetry and texture.
pub(super) fn symmetry_and_texture(read: &Read<'_>, evidence: &mut Evidence) {
    let says = |words: &[&str]| read.has(words);
    let symmetric = says(&["symmetric", "symmetrical", "symmetry"]);
    let asymmetric = says(&["asymmetric", "asymmetrical", "asymmetry"]);
    if symmetric || asymmetric {
        match read.facts.get_word("symmetry") {
            None => evidence.lacks("symmetry was not measured"),
            Some(measured) if (measured == "asymmetric") == asymmetric => evidence.bears("fact:symmetry"),
            Some(measured) => evidence.against(format!("the halves were measured to be {measured}")),
        }
    }
    let even = says(&["homogeneous", "uniform", "homogenous"]);
    let uneven = says(&["heterogeneous", "inhomogeneous", "rich"]);
    if even || uneven {
        let mild = says(&["mildly", "moderately", "slightly"]);
        match read.facts.get("entropy_bits") {
            None => evidence.lacks("texture was not measured"),
            Some(bits) if even && bits >= 4.5 => {
                evidence.against(format!("the texture is heterogeneous (entropy {bits} bits)"));
            }
            Some(bits) if uneven && !mild && bits < 2.5 => {
                evidence.against(format!("the texture is homogeneous (entropy {bits} bits)"));
            }
            Some(_) => evidence.bears("fact:entropy_bits"),
        }
    }
}
