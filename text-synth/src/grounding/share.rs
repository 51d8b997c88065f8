//! Shares of the picture: which term a percentage belongs to, and what is most of it.

use super::check::{Evidence, Named, Read};
use super::terms::Kind;
use super::words::Token;
use crate::measure::ct;
use crate::writer::template::MOST;

/// Words for the whole picture.
const WHOLE: [&str; 9] =
    ["slice", "section", "area", "image", "picture", "field", "volume", "tile", "micrograph"];
/// Words that may stand between a percentage and what it is the share of: `28 % of the slice is soft tissue`.
const FILLING: [&str; 22] = [
    "of",
    "the",
    "a",
    "is",
    "are",
    "was",
    "were",
    "being",
    "shows",
    "show",
    "it",
    "for",
    "by",
    "to",
    "as",
    "consists",
    "consist",
    "corresponds",
    "represents",
    "occupied",
    "covered",
    "filled",
];
/// Words between `mainly` and what it is said of.
const BEHIND_MAINLY: [&str; 7] = ["of", "by", "composed", "made", "up", "the", "a"];
const MAINLY: [&str; 6] = ["mainly", "mostly", "predominantly", "primarily", "chiefly", "largely"];

fn has_share(read: &Read<'_>, (mention, term): &Named<'_>) -> bool {
    read.facts_of(mention, term).iter().any(|name| name.ends_with("_fraction"))
}

/// Names of the facts that the percentage at a place must belong to; none where that is not told.
pub(super) fn bound<'a>(read: &'a Read<'_>, at: usize) -> Vec<&'a str> {
    // `fat and soft tissue make up 5 % and 65 %, respectively`
    if read.has(&["respectively"]) {
        return Vec::new();
    }
    let clause = read.clause(at);
    // what lies beyond the window is a share of no term
    if (at..clause.end).any(|i| read.word(i) == Some("window")) {
        return read
            .facts
            .iter()
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("at_window_"))
            .collect();
    }
    let before = read.mentions.iter().rev().filter(|(m, _)| m.start >= clause.start && m.end <= at);
    let before = before.into_iter().find(|named| has_share(read, named));
    let in_brackets = at > 0 && read.tokens[at - 1] == Token::Mark('(');
    let behind = if in_brackets { None } else { behind(read, at) };
    let found = match (before, behind) {
        (Some(before), Some((_, true)) | None) => vec![before],
        // `28 % of it is soft tissue and 65 % air`: what stands before has its number
        (Some(before), Some((behind, false))) if is_claimed(read, before, at) => vec![behind],
        (before, behind) => before.into_iter().chain(behind.map(|(named, _)| named)).collect(),
    };
    found.into_iter().flat_map(|(mention, term)| read.facts_of(mention, term)).collect()
}

/// The term behind a percentage, and whether it is only what the share is taken of (`of the tissue`).
fn behind<'a>(read: &'a Read<'_>, at: usize) -> Option<(&'a Named<'a>, bool)> {
    let mut of = None;
    // behind the number and its unit
    let mut i = at + 2;
    while i < read.tokens.len() {
        if let Some(named) = read.mentions.iter().find(|(mention, _)| mention.start == i) {
            if has_share(read, named) {
                let is_of = (i.saturating_sub(2)..i).any(|k| read.word(k) == Some("of"));
                if of.is_some() || !is_of {
                    return Some((named, false));
                }
                of = Some((named, true));
            }
            i = named.0.end;
        } else if read.word(i).is_some_and(|word| FILLING.contains(&word) || WHOLE.contains(&word)) {
            i += 1;
        } else {
            break;
        }
    }
    of
}

/// Whether a percentage before the one at a place is the term's.
fn is_claimed(read: &Read<'_>, named: &Named<'_>, at: usize) -> bool {
    (0..at).filter(|i| matches!(read.tokens[*i], Token::Number { .. })).any(|i| {
        let is_share =
            read.tokens.get(i + 1) == Some(&Token::Mark('%')) || read.word(i + 1) == Some("percent");
        is_share && matches!(behind(read, i), Some((found, false)) if found.0 == named.0)
    })
}

/// The share of a term: that of its own fact before those of channels.
fn share_of(read: &Read<'_>, (mention, term): &Named<'_>) -> Option<(String, f64)> {
    let shares = || {
        let names = read.facts_of(mention, term).into_iter().filter(|name| name.ends_with("_fraction"));
        names.filter_map(|name| Some((name.to_owned(), read.facts.get(name)?)))
    };
    let is_own = |(name, _): &(String, f64)| {
        term.facts.iter().any(|prefix| !prefix.starts_with('*') && name.starts_with(prefix.as_str()))
    };
    let largest = |a: &(String, f64), b: &(String, f64)| a.1.total_cmp(&b.1);
    shares().filter(is_own).max_by(largest).or_else(|| shares().max_by(largest))
}

/// `mainly of soft tissue`, `most of the slice`, `the largest share`.
pub(super) fn check(read: &Read<'_>, evidence: &mut Evidence) {
    for at in 0..read.tokens.len() {
        match read.word(at) {
            Some(word) if MAINLY.contains(&word) => mainly(read, at, evidence),
            Some("most")
                if read.word(at + 1) == Some("of")
                    && read.word(at + 3).is_some_and(|word| WHOLE.contains(&word)) =>
            {
                if let Some(named) = subject(read, at) {
                    is_most(read, &[named], evidence);
                }
            }
            Some("largest") => {
                let noun = at + 1 + usize::from(read.word(at + 1) == Some("measured"));
                if matches!(read.word(noun), Some("share" | "fraction" | "proportion"))
                    && let Some(named) = subject(read, at)
                {
                    is_largest(read, named, evidence);
                }
            }
            _ => {}
        }
    }
}

/// What has a share and is spoken of around a place: before it in its part of the sentence, else behind it.
fn subject<'a>(read: &'a Read<'_>, at: usize) -> Option<&'a Named<'a>> {
    let clause = read.clause(at);
    let within = || {
        let inside = |(m, _): &&Named<'_>| clause.contains(&m.start);
        read.mentions.iter().filter(inside).filter(|named| has_share(read, named))
    };
    within().rfind(|(m, _)| m.end <= at).or_else(|| within().find(|(m, _)| m.start > at))
}

/// What `mainly` at a place is said of: one term, or several that are joined.
fn mainly(read: &Read<'_>, at: usize, evidence: &mut Evidence) {
    let mut said: Vec<&Named<'_>> = Vec::new();
    let mut i = at + 1;
    while i < read.tokens.len() {
        if let Some(named) = read.mentions.iter().find(|(mention, _)| mention.start == i) {
            if !has_share(read, named) {
                break;
            }
            said.push(named);
            i = named.0.end;
            continue;
        }
        let goes_on = match &read.tokens[i] {
            Token::Word(word) if said.is_empty() => BEHIND_MAINLY.contains(&word.as_str()),
            Token::Word(word) => word == "and",
            Token::Mark(mark) => !said.is_empty() && *mark != ';',
            Token::Number { .. } => !said.is_empty(),
        };
        if !goes_on {
            break;
        }
        i += 1;
    }
    if said.is_empty() {
        return;
    }
    if is_of_whole(read, at) {
        is_most(read, &said, evidence);
    } else {
        evidence.lacks("shares were measured of the picture only");
    }
}

/// Whether what stands before a place speaks of the picture, not of a structure in it (`the liver is mainly fat`).
fn is_of_whole(read: &Read<'_>, at: usize) -> bool {
    let clause = read.clause(at);
    let names_whole = (clause.start..at).any(|i| read.word(i).is_some_and(|word| WHOLE.contains(&word)));
    let is_part = |named: &&Named<'_>| match named.1.kind {
        Kind::Measured => !has_share(read, named),
        Kind::Anatomy => !names_whole,
        _ => false,
    };
    let before = |(mention, _): &&Named<'_>| mention.start >= clause.start && mention.end <= at;
    !read.mentions.iter().filter(before).any(|named| is_part(&named))
}

fn is_most(read: &Read<'_>, said: &[&Named<'_>], evidence: &mut Evidence) {
    let shares: Vec<(String, f64)> = said.iter().filter_map(|named| share_of(read, named)).collect();
    let share: f64 = shares.iter().map(|(_, share)| share).sum();
    let words: Vec<String> = said.iter().map(|(mention, _)| read.words_of(mention)).collect();
    if share > MOST {
        shares.into_iter().for_each(|(name, _)| evidence.bears(format!("fact:{name}")));
    } else {
        evidence.against(format!("'{}' is {:.0} %, not most of it", words.join(", "), share * 100.0));
    }
}

/// Of the classes of attenuation only: others are no parts of one whole.
fn is_largest(read: &Read<'_>, named: &Named<'_>, evidence: &mut Evidence) {
    let Some((name, share)) = share_of(read, named) else { return };
    let classes = ct::CLASSES.iter().map(|class| (class.words, format!("{}_fraction", class.name)));
    let measured: Vec<(&str, String, f64)> =
        classes.filter_map(|(words, fact)| read.facts.get(&fact).map(|share| (words, fact, share))).collect();
    if !measured.iter().any(|(_, fact, _)| *fact == name) {
        return;
    }
    match measured.iter().find(|(.., other)| *other > share) {
        Some((words, _, other)) => evidence.against(format!(
            "the share of '{}' is {:.0} %, that of {words} {:.0} %",
            read.words_of(&named.0),
            share * 100.0,
            other * 100.0
        )),
        None => evidence.bears(format!("fact:{name}")),
    }
}
