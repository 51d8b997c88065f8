//! Where sentences say that structures lie, against the measured place of the largest of each kind.

use super::check::{Evidence, Read};
use super::terms::Kind;

/// Pairs of directions, with the planes in which they lie; electron micrographs have those of the picture.
const GROUPS: [([&str; 2], &[&str], bool); 5] = [
    (["left", "right"], &["axial", "coronal"], false),
    (["anterior", "posterior"], &["axial", "sagittal"], false),
    (["superior", "inferior"], &["coronal", "sagittal"], false),
    (["left", "right"], &["axial", "coronal", "sagittal"], true),
    (["upper", "lower"], &["axial", "coronal", "sagittal"], true),
];
/// Words after a direction that make it something else: a slice of the volume, a part of the whole picture.
const NOT_A_PLACE: [&str; 6] = ["third", "half", "halves", "one", "slice", "section"];

/// Checks every direction that is part of no name.
pub(super) fn check(read: &mut Read<'_>, evidence: &mut Evidence) {
    if read.has(&["symmetric", "symmetrical", "symmetry", "asymmetric", "asymmetrical", "halves"]) {
        return;
    }
    for at in 0..read.tokens.len() {
        let Some(word) = read.word(at) else { continue };
        let is_direction = GROUPS.iter().any(|(pair, ..)| pair.contains(&word));
        if !is_direction || read.used[at] || is_part_of_a_name(read, at) {
            continue;
        }
        let word = word.to_owned();
        one(read, at, &word, evidence);
    }
}

/// Whether the direction at a place belongs to a term (`left atrium`, `left kidney`) or to a slice.
fn is_part_of_a_name(read: &Read<'_>, at: usize) -> bool {
    let in_term = read.mentions.iter().any(|(mention, term)| {
        (mention.start..mention.end).contains(&at) || (mention.start == at + 1 && term.kind == Kind::Anatomy)
    });
    in_term || read.word(at + 1).is_some_and(|next| NOT_A_PLACE.contains(&next))
}

fn one(read: &Read<'_>, at: usize, word: &str, evidence: &mut Evidence) {
    let plane = read.facts.get_word("plane").unwrap_or_default();
    let em = read.modality == "em";
    let Some((pair, ..)) = GROUPS
        .iter()
        .find(|(pair, planes, of_em)| *of_em == em && pair.contains(&word) && planes.contains(&plane))
    else {
        evidence.lacks(format!("'{word}' cannot be told in this plane"));
        return;
    };
    let opposite = if pair[0] == word { pair[1] } else { pair[0] };
    let names = places_near(read, at);
    let places: Vec<(&str, &str)> =
        names.iter().filter_map(|name| Some((*name, read.facts.get_word(name)?))).collect();
    let of = |wanted: &str| places.iter().find(|(_, place)| place.split(' ').any(|part| part == wanted));
    if let Some((name, _)) = of(word) {
        evidence.bears(format!("fact:{name}"));
    } else if let Some((_, place)) = of(opposite).or_else(|| places.first()) {
        // of several structures only the largest one's place is known
        let several = names.iter().any(|name| {
            let count = name.replace("_largest_place", "_count");
            read.facts.get_count(&count).is_some_and(|n| n > 1)
        });
        let largest = read.has(&["largest", "biggest", "prominent", "extensive", "dominant", "it"]);
        if several && !largest {
            evidence.lacks(format!("'{word}': only the place of the largest was measured ({place})"));
        } else {
            evidence.against(format!("it was measured to lie {place}, not {word}"));
        }
    } else {
        evidence.lacks(format!("nothing was measured that lies {word}"));
    }
}

/// Names of the place facts of the structure that a direction speaks of: the last one named before it, else the next one
/// after it, else all.
fn places_near<'a>(read: &'a Read<'_>, at: usize) -> Vec<&'a str> {
    let with_places = || {
        read.mentions.iter().filter_map(|(mention, term)| {
            let names: Vec<&str> =
                read.facts_of(mention, term).into_iter().filter(|name| name.ends_with("_place")).collect();
            (!names.is_empty()).then_some((mention.start, names))
        })
    };
    let before = with_places().rfind(|(start, _)| *start < at);
    before.or_else(|| with_places().find(|(start, _)| *start > at)).map(|(_, names)| names).unwrap_or_else(
        || read.facts.iter().map(|(name, _)| name).filter(|n| n.ends_with("_place")).collect(),
    )
}
