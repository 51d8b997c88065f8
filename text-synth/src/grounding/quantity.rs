//! Numbers in sentences: counts of structures, lengths, shares, attenuation, and others.

use super::check::{Evidence, Read};
use super::share;
use super::words::{Token, singular};

/// What a number measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dimension {
    /// Millimetres.
    Length,
    /// Percent.
    Share,
    /// Hounsfield units.
    Attenuation,
    /// Degrees.
    Angle,
    /// Bits.
    Information,
    /// Without unit.
    Plain,
}

/// Thresholds that phrases of the captioner name, by dimension: bounds of its CT classes (HU) and its smallest area (mm).
const THRESHOLDS: [(Dimension, &[f64]); 2] = [
    (Dimension::Attenuation, &[-1000.0, -500.0, -300.0, -150.0, -50.0, -10.0, 20.0, 130.0, 300.0]),
    (Dimension::Length, &[80e-6]),
];

/// A unit's dimension and its size in that of [`Dimension`].
fn unit(token: Option<&Token>) -> Option<(Dimension, f64)> {
    let token = token?;
    if *token == Token::Mark('%') {
        return Some((Dimension::Share, 1.0));
    }
    Some(match singular(token.word()?).as_str() {
        "mm" | "millimetre" | "millimeter" => (Dimension::Length, 1.0),
        "cm" | "centimetre" | "centimeter" => (Dimension::Length, 10.0),
        "µm" | "μm" | "um" | "micron" | "micrometre" | "micrometer" => (Dimension::Length, 1e-3),
        "nm" | "nanometre" | "nanometer" => (Dimension::Length, 1e-6),
        "percent" => (Dimension::Share, 1.0),
        "hu" | "hounsfield" => (Dimension::Attenuation, 1.0),
        "degree" => (Dimension::Angle, 1.0),
        "bit" => (Dimension::Information, 1.0),
        _ => return None,
    })
}

/// A fact's dimension and value in it, by the ending of its name.
fn of_fact(name: &str, value: f64) -> (Dimension, f64) {
    let ends = |end: &str| name.ends_with(end);
    if ends("_mm") {
        (Dimension::Length, value)
    } else if ends("_um") {
        (Dimension::Length, value * 1e-3)
    } else if ends("_nm") {
        (Dimension::Length, value * 1e-6)
    } else if ends("_fraction") {
        (Dimension::Share, value * 100.0)
    } else if ends("_hu") {
        (Dimension::Attenuation, value)
    } else if ends("_degrees") {
        (Dimension::Angle, value)
    } else if ends("_bits") {
        (Dimension::Information, value)
    } else {
        (Dimension::Plain, value)
    }
}

/// The unit of the number at a place: behind it, or behind the next number of `12 by 30 mm`.
fn unit_behind(read: &Read<'_>, at: usize) -> Option<(Dimension, f64)> {
    if let found @ Some(_) = unit(read.tokens.get(at + 1)) {
        return found;
    }
    let next = match read.tokens.get(at + 1)? {
        Token::Number { .. } => at + 1,
        Token::Word(word) if matches!(word.as_str(), "by" | "x" | "to" | "and") => at + 2,
        _ => return None,
    };
    matches!(read.tokens.get(next), Some(Token::Number { .. })).then(|| unit_behind(read, next)).flatten()
}

fn number_word(word: &str) -> Option<f64> {
    const WORDS: [&str; 13] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    match word {
        "single" | "solitary" => Some(1.0),
        _ => WORDS.iter().position(|w| *w == word).map(|n| n as f64),
    }
}

/// Numbers of structures: the number up to two words before one that was counted.
pub(super) fn counts(read: &mut Read<'_>, evidence: &mut Evidence) {
    for (mention, term) in read.mentions.clone() {
        let names: Vec<&str> =
            read.facts_of(&mention, term).into_iter().filter(|name| name.ends_with("_count")).collect();
        if names.is_empty() {
            continue;
        }
        let mut said = None;
        for at in (mention.start.saturating_sub(3)..mention.start).rev() {
            match &read.tokens[at] {
                Token::Number { value, .. } if unit_behind(read, at).is_none() => {
                    said = Some((at, *value, false))
                }
                Token::Word(word) => match word.as_str() {
                    "several" | "multiple" | "numerous" | "many" => said = Some((at, 2.0, true)),
                    word => said = number_word(word).map(|n| (at, n, false)),
                },
                _ => break,
            }
            if said.is_some() || read.mentions.iter().any(|(m, _)| m.end == at + 1) {
                break;
            }
        }
        let Some((at, n, at_least)) = said else { continue };
        if read.used[at] {
            continue;
        }
        let fits = |name: &&&str| {
            read.facts.get(name).is_some_and(|count| if at_least { count >= n } else { count == n })
        };
        let words = read.words_of(&mention);
        match names.iter().find(fits) {
            Some(name) => evidence.bears(format!("fact:{name}")),
            None => {
                let counted: Vec<String> = names
                    .iter()
                    .filter_map(|name| read.facts.get_count(name))
                    .map(|n| n.to_string())
                    .collect();
                let number = if at_least { "several".to_owned() } else { n.to_string() };
                evidence.against(format!("{} '{words}' were counted, not {number}", counted.join(" or ")));
            }
        }
        read.used[at] = true;
    }
}

/// How a number is meant to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    Below,
    Above,
}

/// All other numbers.
pub(super) fn numbers(read: &Read<'_>, evidence: &mut Evidence) {
    let spoken_of: Vec<&str> =
        read.mentions.iter().flat_map(|(mention, term)| read.facts_of(mention, term)).collect();
    for at in 0..read.tokens.len() {
        let Token::Number { value, decimals } = read.tokens[at] else { continue };
        if read.used[at] {
            continue;
        }
        let (dimension, scale) = unit_behind(read, at).unwrap_or((Dimension::Plain, 1.0));
        let compare = match (
            at.checked_sub(2).and_then(|i| read.word(i)),
            at.checked_sub(1).and_then(|i| read.word(i)),
        ) {
            (Some("less" | "fewer"), Some("than")) | (_, Some("below")) => Compare::Below,
            (Some("more" | "greater"), Some("than")) | (_, Some("above")) => Compare::Above,
            _ => Compare::Equal,
        };
        let step = 0.5 * 10_f64.powi(-(decimals as i32)) * scale;
        let stated = value * scale;
        // facts keep four digits
        let same = |measured: f64| (measured - stated).abs() <= step * 1.001 + 0.002 * measured.abs();
        let holds = |measured: f64| match compare {
            Compare::Equal => same(measured),
            Compare::Below => measured <= stated || same(measured),
            Compare::Above => measured >= stated || same(measured),
        };
        let known = |names: &mut dyn Iterator<Item = &str>| -> Vec<(String, f64)> {
            let measured = |name: &str| {
                let (of, value) = of_fact(name, read.facts.get(name)?);
                (of == dimension).then(|| (name.to_owned(), value))
            };
            names.filter_map(measured).collect()
        };
        let mut candidates = known(&mut bound(read, at, dimension).into_iter());
        if candidates.is_empty() {
            candidates = known(&mut spoken_of.iter().copied());
        }
        let is_said_of_nothing = candidates.is_empty();
        if is_said_of_nothing {
            candidates = known(&mut read.facts.iter().map(|(name, _)| name));
        }
        // a unit tells what is measured; a number alone fits any fact of that value
        let needs_name = is_said_of_nothing && dimension == Dimension::Plain;
        let is_meant = |name: &str| !needs_name || is_named(read, name);
        let thresholds =
            THRESHOLDS.iter().find(|(of, _)| *of == dimension).map_or(&[][..], |(_, known)| known);
        let text = said(value, decimals, read.tokens.get(at + 1), dimension);
        if let Some((name, _)) = candidates.iter().find(|(name, measured)| holds(*measured) && is_meant(name))
        {
            evidence.bears(format!("fact:{name}"));
        } else if needs_name && candidates.iter().any(|(_, measured)| holds(*measured)) {
            // neither borne nor excluded: nothing tells what is numbered
        } else if thresholds.iter().any(|known| same(*known)) {
            evidence.bears("captioner:thresholds");
        } else if dimension == Dimension::Plain {
            evidence.lacks(format!("the number {text} was not measured"));
        } else if let Some((name, measured)) =
            candidates.iter().min_by(|a, b| (a.1 - stated).abs().total_cmp(&(b.1 - stated).abs()))
        {
            let near = measured / scale;
            evidence.against(format!("{text} was not measured; the nearest is {name} with {near:.4}"));
        } else {
            evidence.against(format!("{text} was not measured"));
        }
    }
}

/// Whether a word of a fact's name stands in the sentence: `2 channels`, `coherence 0.4`; slices are sections.
fn is_named(read: &Read<'_>, fact: &str) -> bool {
    let kind = |word: &str| match singular(word).as_str() {
        "slice" => "section".to_owned(),
        kind => kind.to_owned(),
    };
    let parts: Vec<String> = fact.split('_').map(kind).collect();
    read.tokens.iter().filter_map(Token::word).any(|word| parts.contains(&kind(word)))
}

/// Names of the facts that a number must belong to by its place: a length to the structure named last before it or directly
/// behind it (`a 12 mm focus`), a share to what it is said of.
fn bound<'a>(read: &'a Read<'_>, at: usize, dimension: Dimension) -> Vec<&'a str> {
    let with_dimension = |names: Vec<&'a str>| -> Option<Vec<&'a str>> {
        let has = names.iter().any(|n| read.facts.get(n).is_some_and(|v| of_fact(n, v).0 == dimension));
        has.then_some(names)
    };
    match dimension {
        Dimension::Length => {
            let before = read.mentions.iter().rev().filter(|(m, _)| m.end <= at);
            let last = before.filter_map(|(m, term)| with_dimension(read.facts_of(m, term))).next();
            let behind = read.mentions.iter().filter(|(m, _)| m.start > at && m.start <= at + 4);
            let next = behind.filter_map(|(m, term)| with_dimension(read.facts_of(m, term))).next();
            last.into_iter().chain(next).flatten().collect()
        }
        Dimension::Share => share::bound(read, at),
        _ => Vec::new(),
    }
}

/// A number with its unit, as a reader would write it.
fn said(value: f64, decimals: u32, behind: Option<&Token>, dimension: Dimension) -> String {
    let number = format!("{value:.*}", decimals as usize);
    match (dimension, behind) {
        (Dimension::Plain, _) => number,
        (Dimension::Share, _) => format!("{number} %"),
        (_, Some(Token::Word(unit))) => format!("{number} {unit}"),
        _ => number,
    }
}
