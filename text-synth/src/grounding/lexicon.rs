//! Finds terms in a sentence: the longest sequence of words that names one, plural forms folded.

use super::terms::{Kind, Term, Terms};
use super::words::{Token, singular, tokens};
use std::collections::HashMap;

/// A term in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Name of the term.
    pub label: String,
    /// First token.
    pub start: usize,
    /// One past the last token.
    pub end: usize,
}

/// The words of a vocabulary, ready to be looked for.
#[derive(Debug, Clone, Default)]
pub struct Lexicon {
    /// Names by their folded words; the longest name in words.
    names: HashMap<Vec<String>, String>,
    longest: usize,
}

/// The folded words of a name.
fn key(name: &str) -> Vec<String> {
    tokens(name).iter().filter_map(Token::word).map(singular).collect()
}

impl Lexicon {
    /// The lexicon of the terms that can be meant in one modality: what is measured in another is not meant there. Where two
    /// terms share a word, what is measured comes first, then a name before a synonym.
    #[must_use]
    pub fn new(terms: &Terms, modality: &str) -> Self {
        let mut lexicon = Self::default();
        let (measured, others): (Vec<&Term>, Vec<&Term>) = terms
            .iter()
            .filter(|term| term.kind != Kind::Measured || term.modalities.contains(modality))
            .partition(|term| term.kind == Kind::Measured);
        for group in [measured, others] {
            for term in &group {
                lexicon.add(&term.label, &term.label);
            }
            for term in group {
                for synonym in &term.synonyms {
                    lexicon.add(synonym, &term.label);
                }
            }
        }
        lexicon
    }

    fn add(&mut self, name: &str, label: &str) {
        let key = key(name);
        if !key.is_empty() {
            self.longest = self.longest.max(key.len());
            self.names.entry(key).or_insert_with(|| label.to_owned());
        }
    }

    /// The terms in a sentence, from left to right; none overlap.
    #[must_use]
    pub fn mentions(&self, tokens: &[Token]) -> Vec<Mention> {
        let words: Vec<Option<String>> = tokens.iter().map(|t| t.word().map(singular)).collect();
        let mut found = Vec::new();
        let mut at = 0;
        while at < words.len() {
            let longest = (1..=self.longest.min(words.len() - at)).rev().find_map(|n| {
                let key: Option<Vec<String>> = words[at..at + n].iter().cloned().collect();
                Some((n, self.names.get(&key?)?))
            });
            match longest {
                Some((n, label)) => {
                    found.push(Mention { label: label.clone(), start: at, end: at + n });
                    at += n;
                }
                None => at += 1,
            }
        }
        found
    }

    /// The terms that a text names.
    #[must_use]
    pub fn labels(&self, text: &str) -> Vec<String> {
        self.mentions(&tokens(text)).into_iter().map(|m| m.label).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins_and_plurals_count() {
        let terms = Terms::load(&[] as &[&str]).unwrap();
        let lexicon = Lexicon::new(&terms, "em");
        let found = lexicon
            .labels("The anterior hippocampi, both kidneys and electron-dense profiles on T1-weighted MRI");
        assert_eq!(
            found,
            [
                "anterior hippocampus",
                "kidney",
                "electron dense profile",
                "t1 weighted",
                "magnetic resonance imaging"
            ]
        );
        assert!(lexicon.labels("nothing of note here").is_empty());
    }
}
