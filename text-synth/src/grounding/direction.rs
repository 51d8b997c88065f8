//! Where sentences say that structures lie, against the measured place of the largest of each kind.

use super::check::{Evidence, Named, Read};
use super::terms::Kind;
use super::words::Token;
use std::ops::Range;

/// Pairs of directions, with the planes in which they lie; electron micrographs have those of the picture.
const GROUPS: [([&str; 2], &[&str], bool); 5] = [
    (["left", "right"], &["axial", "coronal"], false),
    (["anterior", "posterior"], &["axial", "sagittal"], false),
    (["superior", "inferior"], &["coronal", "sagittal"], false),
    (["left", "right"], &["axial", "coronal", "sagittal"], true),
    (["upper", "lower"], &["axial", "coronal", "sagittal"], true),
];
/// Other words for directions.
const SYNONYMS: [(&str, &str); 8] = [
    ("ventral", "anterior"),
    ("dorsal", "posterior"),
    ("cranial", "superior"),
    ("cephalad", "superior"),
    ("caudal", "inferior"),
    ("caudad", "inferior"),
    ("dextral", "right"),
    ("sinistral", "left"),
];
/// Directions that nothing measures.
const UNMEASURED: [&str; 6] = ["medial", "lateral", "mesial", "rostral", "proximal", "distal"];
/// Beginnings of joined directions (`anterolateral`).
const JOINED: [&str; 7] = ["antero", "postero", "supero", "infero", "ventro", "dorso", "medio"];
/// Words after a direction that make it something else: a slice of the volume, a part of a list.
const NOT_A_PLACE: [&str; 4] = ["third", "one", "slice", "section"];
const SYMMETRY: [&str; 8] = [
    "symmetric",
    "symmetrical",
    "symmetrically",
    "symmetry",
    "asymmetric",
    "asymmetrical",
    "asymmetry",
    "alike",
];
/// Tokens between a pair of sides and the word for their symmetry.
const NEAR: usize = 6;

/// The direction that a word stands for: `ventrally` is anterior.
fn direction_of(word: &str) -> Option<&'static str> {
    let stem = ["ly", "wards", "ward", "most"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
    let plain = GROUPS.iter().flat_map(|(pair, ..)| pair).find(|known| **known == stem);
    plain.copied().or_else(|| SYNONYMS.iter().find(|(known, _)| *known == stem).map(|(_, known)| *known))
}

fn is_unmeasured(word: &str) -> bool {
    let stem = word.strip_suffix("ly").unwrap_or(word);
    let is_known = |part: &str| UNMEASURED.contains(&part) || direction_of(part).is_some();
    UNMEASURED.contains(&stem) || JOINED.iter().any(|start| stem.strip_prefix(start).is_some_and(is_known))
}

fn opposite(direction: &str) -> Option<&'static str> {
    let (pair, ..) = GROUPS.iter().find(|(pair, ..)| pair.contains(&direction))?;
    pair.iter().find(|other| **other != direction).copied()
}

/// The direction at a token that says where something lies.
fn said(read: &Read<'_>, at: usize) -> Option<&'static str> {
    let direction = direction_of(read.word(at)?)?;
    let is_other = read.used[at] || is_part_of_a_name(read, at) || is_of_both_sides(read, at, direction);
    (!is_other).then_some(direction)
}

/// Checks every direction that is part of no name; those that stand together (`left posterior`) as one place.
pub(super) fn check(read: &Read<'_>, evidence: &mut Evidence) {
    for group in groups(read) {
        one(read, &group, evidence);
    }
    for at in 0..read.tokens.len() {
        if let Some(word) = read.word(at).filter(|word| is_unmeasured(word))
            && !read.used[at]
            && !is_part_of_a_name(read, at)
        {
            evidence.lacks(format!("nothing measures what is '{word}'"));
        }
    }
}

fn groups(read: &Read<'_>) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for at in (0..read.tokens.len()).filter(|at| said(read, *at).is_some()) {
        match groups.last_mut() {
            Some(last) if last.end == at => last.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

/// Whether a place is said of a mention: to deny it is then no denial of the structure.
pub(super) fn places(read: &Read<'_>, named: &Named<'_>) -> bool {
    groups(read).iter().any(|group| subject(read, group).is_some_and(|found| found.0 == named.0))
}

/// Whether the direction at a place belongs to a term (`left atrium`, `left kidney`) or to a slice.
fn is_part_of_a_name(read: &Read<'_>, at: usize) -> bool {
    let in_term = read.mentions.iter().any(|(mention, term)| {
        (mention.start..mention.end).contains(&at) || (mention.start == at + 1 && term.kind == Kind::Anatomy)
    });
    // `dorsal root ganglion`, where the data set declares it; sides are declared with many names and stay sides
    let is_declared = |i: usize| read.word(i).is_some_and(|word| read.declared.contains(word));
    let is_rare = read.word(at).is_some_and(|word| !GROUPS.iter().any(|(pair, ..)| pair.contains(&word)));
    in_term
        || is_rare && is_declared(at) && is_declared(at + 1)
        || read.word(at + 1).is_some_and(|next| NOT_A_PLACE.contains(&next))
}

/// Whether a direction and its opposite are compared: `left and right halves`, `left-right symmetry`. That says where nothing
/// lies, unless it is said of a structure.
fn is_of_both_sides(read: &Read<'_>, at: usize, direction: &str) -> bool {
    let Some(other) = opposite(direction) else { return false };
    let is_other = |i: usize| read.word(i).and_then(direction_of) == Some(other);
    let joined = |i: usize| matches!(read.word(i), Some("and" | "or" | "to" | "from" | "versus" | "vs"));
    let is_half = |i: usize| matches!(read.word(i), Some("half" | "halves"));
    let is_pair = is_other(at + 1)
        || (at > 0 && is_other(at - 1))
        || (joined(at + 1) && is_other(at + 2))
        || (at > 1 && joined(at - 1) && is_other(at - 2));
    let are_halves = is_half(at + 1) && (0..read.tokens.len()).any(|i| is_other(i) && is_half(i + 1));
    if !is_pair && !are_halves {
        return false;
    }
    let clause = read.clause(at);
    let near = at.saturating_sub(NEAR).max(clause.start)..(at + NEAR + 1).min(clause.end);
    let is_compared = near.filter_map(|i| read.word(i)).any(|word| SYMMETRY.contains(&word));
    is_compared || !read.mentions.iter().any(|named| clause.contains(&named.0.start) && can_lie(read, named))
}

/// Whether places are measured of what is named, or that there is none of it.
fn can_lie(read: &Read<'_>, (mention, term): &Named<'_>) -> bool {
    let names = read.facts_of(mention, term);
    names.iter().any(|name| name.ends_with("_place") || name.ends_with("_count"))
}

/// What directions are said of: the structure named last before them, else the next one; in their own part of the sentence
/// first, and the next one first where they lead (`on the left, a dense structure`).
fn subject<'a>(read: &'a Read<'_>, group: &Range<usize>) -> Option<&'a Named<'a>> {
    let clause = read.clause(group.start);
    let named = || read.mentions.iter().filter(|named| can_lie(read, named));
    let inside = || named().filter(|(m, _)| clause.contains(&m.start));
    let (before, after) =
        (inside().rfind(|(m, _)| m.start < group.start), inside().find(|(m, _)| m.start >= group.end));
    let earlier = || named().rfind(|(m, _)| m.start < clause.start);
    if after.is_some() && before.is_some() && leads(read, group, clause.start) {
        return after;
    }
    // `…; it lies left of …`
    let refers_back = (clause.start..group.start).filter_map(|i| read.word(i));
    let mut refers_back = refers_back.filter(|word| matches!(*word, "it" | "they" | "largest" | "extensive"));
    if before.is_none() && clause.start > 0 && refers_back.next().is_some() && earlier().is_some() {
        return earlier();
    }
    before.or(after).or_else(earlier).or_else(|| named().find(|(m, _)| m.start >= clause.end))
}

/// Whether directions begin a statement of their own inside a part of a sentence: `…, on the right, a gas pocket`.
fn leads(read: &Read<'_>, group: &Range<usize>, start: usize) -> bool {
    const BEFORE: [&str; 6] = ["on", "at", "in", "the", "to", "towards"];
    const PART: [&str; 4] = ["side", "part", "half", "portion"];
    const OPENS: [&str; 14] = [
        "a", "an", "one", "two", "three", "four", "five", "six", "several", "no", "there", "lies", "lie",
        "some",
    ];
    let mut first = group.start;
    while first > start && read.word(first - 1).is_some_and(|word| BEFORE.contains(&word)) {
        first -= 1;
    }
    let begins = first == start
        || first < group.start
            && (read.tokens[first - 1] == Token::Mark(',') || read.word(first - 1) == Some("and"));
    let mut next = group.end + usize::from(read.word(group.end).is_some_and(|word| PART.contains(&word)));
    next += usize::from(read.tokens.get(next) == Some(&Token::Mark(',')));
    begins && read.word(next).is_some_and(|word| OPENS.contains(&word))
}

fn one(read: &Read<'_>, group: &Range<usize>, evidence: &mut Evidence) {
    let plane = read.facts.get_word("plane").unwrap_or_default();
    let em = read.modality == "em";
    let words: Vec<&str> = group.clone().filter_map(|at| said(read, at)).collect();
    let is_told = |word: &str| {
        GROUPS
            .iter()
            .any(|(pair, planes, of_em)| *of_em == em && pair.contains(&word) && planes.contains(&plane))
    };
    if let Some(at) = group.clone().find(|at| !said(read, *at).is_some_and(is_told)) {
        let word = read.word(at).unwrap_or_default();
        evidence.lacks(format!("'{word}' cannot be told in this plane"));
        return;
    }
    let subject = subject(read, group);
    let names: Vec<&str> = match subject {
        Some((mention, term)) => read.facts_of(mention, term),
        None => read.facts.iter().map(|(name, _)| name).collect(),
    };
    let places: Vec<(&str, &str)> = names
        .iter()
        .filter(|name| name.ends_with("_place"))
        .filter_map(|name| Some((*name, read.facts.get_word(name)?)))
        .collect();
    // of several structures only the largest one's place is known
    let several = places.iter().any(|(name, _)| {
        let count = name.replace("_largest_place", "_count");
        read.facts.get_count(&count).is_some_and(|n| n > 1)
    });
    let largest = read.has(&["largest", "biggest", "prominent", "extensive", "dominant", "it"]);
    let only_largest = several && !largest;
    let is_denied = subject
        .is_some_and(|(mention, _)| read.is_denied(mention) || read.is_negated(mention.end, group.start));
    if is_denied {
        denied(&places, &words, only_largest, evidence);
        return;
    }
    let is_half = matches!(read.word(group.end), Some("half" | "halves"));
    for word in words {
        let of = |wanted: &str| places.iter().find(|(_, place)| is_in(place, wanted));
        let away = opposite(word).and_then(of);
        if let Some((name, _)) = of(word) {
            evidence.bears(format!("fact:{name}"));
        } else if let Some((_, place)) = away.or_else(|| places.first()) {
            if only_largest {
                evidence.lacks(format!("'{word}': only the place of the largest was measured ({place})"));
            } else if is_half && away.is_none() {
                // places in the middle lie in one of the halves, too
                evidence.lacks(format!("'{word} half': it was measured to lie {place}"));
            } else {
                evidence.against(format!("it was measured to lie {place}, not {word}"));
            }
        } else {
            evidence.lacks(format!("nothing was measured that lies {word}"));
        }
    }
}

fn is_in(place: &str, direction: &str) -> bool {
    place.split(' ').any(|part| part == direction)
}

/// A structure that is said not to lie somewhere; where there is none at all, that is borne by its number.
fn denied(places: &[(&str, &str)], words: &[&str], only_largest: bool, evidence: &mut Evidence) {
    let place = words.join(" ");
    if let Some((_, found)) = places.iter().find(|(_, found)| words.iter().all(|word| is_in(found, word))) {
        evidence.against(format!("it was measured to lie {found}, which is {place}"));
    } else if only_largest {
        evidence.lacks(format!("'{place}': only the place of the largest was measured"));
    } else if let Some((name, _)) = places.first() {
        evidence.bears(format!("fact:{name}"));
    }
}
