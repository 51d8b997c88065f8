//! What a sentence denies, and the parts of which it consists.

use super::check::Read;
use super::lexicon::Mention;
use super::words::Token;
use std::ops::Range;

const DENIALS: [&str; 10] =
    ["no", "without", "not", "absent", "absence", "neither", "nor", "none", "never", "lacks"];
const NOT: [&str; 7] = ["not", "never", "cannot", "isn", "aren", "wasn", "weren"];
const AUXILIARY: [&str; 12] =
    ["is", "are", "was", "were", "be", "been", "has", "have", "can", "could", "clearly", "definitely"];
const SEEN: [&str; 13] = [
    "visible",
    "seen",
    "present",
    "detected",
    "identified",
    "found",
    "noted",
    "observed",
    "evident",
    "apparent",
    "shown",
    "there",
    "measured",
];

impl Read<'_> {
    /// The part of the sentence around a token that makes a statement of its own.
    pub(super) fn clause(&self, at: usize) -> Range<usize> {
        let parts = |i: &usize| match &self.tokens[*i] {
            Token::Mark(';') => true,
            Token::Word(word) => matches!(word.as_str(), "while" | "whereas" | "but" | "however"),
            _ => false,
        };
        let at = at.min(self.tokens.len());
        let start = (0..at).rev().find(parts).map_or(0, |i| i + 1);
        start..(at..self.tokens.len()).find(parts).unwrap_or(self.tokens.len())
    }

    /// Whether a mention is denied: `no`, `without` up to three words before it, in the same part of the sentence, also through
    /// a list (`no gas, fat or bone`); or `is not visible` behind it.
    pub(super) fn is_denied(&self, mention: &Mention) -> bool {
        self.is_denied_before(mention) || self.is_denied_behind(mention.end)
    }

    fn is_denied_before(&self, mention: &Mention) -> bool {
        let before = self.tokens[..mention.start].iter().rev().take(3).map_while(Token::word);
        if before.into_iter().any(|word| DENIALS.contains(&word)) {
            return true;
        }
        let behind = |at: usize| {
            let at = at + usize::from(self.tokens.get(at) == Some(&Token::Mark(',')));
            matches!(self.word(at), Some("or" | "nor"))
        };
        let joins = |other: &&super::check::Named<'_>| {
            let between = self.tokens.get(other.0.end..mention.start).unwrap_or_default();
            match between {
                [Token::Mark(',')] => behind(mention.end),
                [Token::Word(word)] | [Token::Mark(','), Token::Word(word)] => {
                    matches!(word.as_str(), "or" | "nor")
                }
                _ => false,
            }
        };
        self.mentions.iter().find(joins).is_some_and(|(earlier, _)| self.is_denied_before(earlier))
    }

    fn is_denied_behind(&self, end: usize) -> bool {
        let skip = |mut at: usize| {
            while self.word(at).is_some_and(|word| AUXILIARY.contains(&word)) {
                at += 1;
            }
            at
        };
        let at = skip(end);
        match self.word(at) {
            Some("absent" | "missing" | "lacking") => at > end,
            Some(word) if NOT.contains(&word) => {
                self.word(skip(at + 1)).is_some_and(|word| SEEN.contains(&word))
            }
            _ => false,
        }
    }

    /// Whether a token is denied by a `not` behind `from`, in the same statement: `does not lie in the right part`.
    pub(super) fn is_negated(&self, from: usize, at: usize) -> bool {
        let words = (from..at).rev().map_while(|i| self.word(i));
        words.take_while(|word| *word != "and").any(|word| NOT.contains(&word))
    }
}
