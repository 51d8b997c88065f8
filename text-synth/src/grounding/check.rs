//! Compares a report with the facts of its slice, the data set's declarations and the vocabulary.

use super::direction;
use super::lexicon::{Lexicon, Mention};
use super::quantity;
use super::share;
use super::statements;
use super::terms::{Term, Terms};
use super::words::{Token, sentences, singular, tokens};
use crate::facts::{Facts, key};
use data_manifests::descriptor::Text;
use data_manifests::records::{Origin, Sentence, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Modalities that slices can have.
const MODALITIES: [&str; 3] = ["ct", "mri", "em"];

/// What reports of a data set are compared with.
#[derive(Debug, Clone)]
pub struct Grounding {
    pub(super) terms: Terms,
    lexicons: BTreeMap<&'static str, Lexicon>,
    /// Terms that the data set declares.
    pub(super) declared: BTreeSet<String>,
    /// Those of them that name the imaged part itself.
    pub(super) imaged: BTreeSet<String>,
    /// Words of the data set's declarations.
    pub(super) declared_words: HashSet<String>,
    /// Regions of the body that the images can show; empty: not told.
    pub(super) regions: BTreeSet<String>,
    pub(super) imaging: String,
}

/// What speaks for a sentence and what against it.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    sources: BTreeSet<String>,
    against: Vec<String>,
    lacking: Vec<String>,
}

impl Evidence {
    /// A fact, term or declaration bears a part of the sentence.
    pub(super) fn bears(&mut self, source: impl Into<String>) {
        self.sources.insert(source.into());
    }

    /// A part of the sentence is excluded.
    pub(super) fn against(&mut self, reason: impl Into<String>) {
        self.against.push(reason.into());
    }

    /// Nothing bears a part of the sentence.
    pub(super) fn lacks(&mut self, reason: impl Into<String>) {
        self.lacking.push(reason.into());
    }
}

/// A mention with the term that it names.
pub(super) type Named<'a> = (Mention, &'a Term);

/// A sentence as the checks see it.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) tokens: Vec<Token>,
    pub(super) mentions: Vec<Named<'a>>,
    pub(super) facts: &'a Facts,
    pub(super) modality: &'a str,
    /// Words of the data set's declarations.
    pub(super) declared: &'a HashSet<String>,
    /// Tokens that a check has dealt with.
    pub(super) used: Vec<bool>,
}

impl Read<'_> {
    /// The word at a place.
    pub(super) fn word(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).and_then(Token::word)
    }

    /// The words of a mention as they stand in the sentence.
    pub(super) fn words_of(&self, mention: &Mention) -> String {
        let words: Vec<&str> =
            self.tokens[mention.start..mention.end].iter().filter_map(Token::word).collect();
        words.join(" ")
    }

    /// Whether one of `words` stands in the sentence.
    pub(super) fn has(&self, words: &[&str]) -> bool {
        self.tokens.iter().filter_map(Token::word).any(|word| words.contains(&word))
    }

    /// Whether the number 0 stands in the sentence.
    pub(super) fn has_zero(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Number { value, .. } if *value == 0.0))
    }

    /// Names of the facts that a mention of a term speaks of; of several channels only those of one that is named beside it
    /// (`hyperintense FLAIR foci`).
    pub(super) fn facts_of(&self, mention: &Mention, term: &Term) -> Vec<&str> {
        let channel = self.channel_beside(mention);
        let speaks = |name: &str| {
            term.facts.iter().any(|prefix| match (prefix.strip_prefix('*'), &channel) {
                (Some(part), Some(channel)) => name.starts_with(&format!("{channel}{part}")),
                (Some(part), None) => name.contains(part),
                (None, _) => name.starts_with(prefix.as_str()),
            })
        };
        self.facts.iter().map(|(name, _)| name).filter(|name| speaks(name)).collect()
    }
}

impl Read<'_> {
    /// The beginning of the fact names of a channel whose name stands directly before or behind a mention.
    fn channel_beside(&self, mention: &Mention) -> Option<String> {
        let beside = [mention.start.checked_sub(1), Some(mention.end)];
        let words: Vec<&str> = beside.into_iter().flatten().filter_map(|at| self.word(at)).collect();
        self.facts
            .iter()
            .filter(|(name, _)| name.starts_with("channel_"))
            .filter_map(|(_, value)| value.as_str())
            .find(|channel| {
                let name: Vec<String> =
                    tokens(channel).iter().filter_map(|t| t.word().map(str::to_owned)).collect();
                matches!(name.as_slice(), [first, ..] if words.contains(&first.as_str()))
            })
            .map(key)
    }
}

impl Grounding {
    /// What reports of a data set with these declarations are compared with.
    #[must_use]
    pub fn new(text: &Text, terms: Terms) -> Self {
        let lexicons: BTreeMap<_, _> = MODALITIES.map(|m| (m, Lexicon::new(&terms, m))).into();
        let parts: Vec<&str> =
            [&text.anatomy, &text.imaging].into_iter().chain(&text.vocabulary).map(String::as_str).collect();
        // a word that is measured in one modality may be a name in the others
        let declared: BTreeSet<String> =
            lexicons.values().flat_map(|l| parts.iter().flat_map(|part| l.labels(part))).collect();
        let imaged = lexicons.values().flat_map(|l| l.labels(&text.anatomy)).collect();
        let regions = declared
            .iter()
            .filter_map(|label| terms.get(label))
            .filter(|term| term.kind == super::terms::Kind::Anatomy)
            .flat_map(|term| term.regions.iter().cloned())
            .collect();
        let declared_words =
            parts.iter().flat_map(|part| tokens(part)).filter_map(|t| t.word().map(singular)).collect();
        Self {
            terms,
            lexicons,
            declared,
            imaged,
            declared_words,
            regions,
            imaging: text.imaging.to_lowercase(),
        }
    }

    /// Whether the data set's own words for its imaging hold these: PET beside CT.
    pub(super) fn is_own_imaging(&self, words: &str) -> bool {
        let own: Vec<&str> = self.imaging.split(|c: char| !c.is_alphanumeric()).collect();
        words.split(' ').all(|word| own.contains(&word))
    }

    /// The sentences of a report with what was found of each.
    #[must_use]
    pub fn check(&self, text: &str, facts: &Facts) -> Vec<Sentence> {
        sentences(text).into_iter().map(|sentence| self.check_sentence(sentence, facts)).collect()
    }

    fn check_sentence(&self, text: &str, facts: &Facts) -> Sentence {
        let modality = facts.get_word("modality").unwrap_or_default();
        let mut evidence = Evidence::default();
        if let Some(lexicon) = self.lexicons.get(modality) {
            let tokens = tokens(text);
            let mentions = lexicon
                .mentions(&tokens)
                .into_iter()
                .filter_map(|mention| self.terms.get(&mention.label).map(|term| (mention, term)))
                .collect();
            let used = names_within(&tokens, facts);
            let mut read = Read { tokens, mentions, facts, modality, declared: &self.declared_words, used };
            statements::level_and_section(&mut read, &mut evidence);
            statements::terms(self, &mut read, &mut evidence);
            statements::symmetry_and_texture(&read, &mut evidence);
            direction::check(&read, &mut evidence);
            share::check(&read, &mut evidence);
            quantity::counts(&mut read, &mut evidence);
            quantity::numbers(&read, &mut evidence);
        } else {
            evidence.lacks("the facts name no modality");
        }
        let Evidence { sources, against, mut lacking } = evidence;
        if sources.is_empty() && against.is_empty() && lacking.is_empty() {
            lacking.push("it states nothing that was measured or declared".to_owned());
        }
        let verdict = if !against.is_empty() {
            Verdict::Contradicted
        } else if !lacking.is_empty() {
            Verdict::Unsupported
        } else {
            Verdict::Supported
        };
        let mut reasons = against;
        reasons.extend(lacking);
        reasons.dedup();
        Sentence {
            text: text.to_owned(),
            verdict,
            sources: sources.into_iter().collect(),
            reasons,
            origin: Origin::Writer,
            replaces: None,
        }
    }
}

/// Which tokens belong to names of channels: a digit in one counts nothing.
fn names_within(sentence: &[Token], facts: &Facts) -> Vec<bool> {
    let mut used = vec![false; sentence.len()];
    let count = facts.get_count("channels").unwrap_or_default();
    for name in (1..=count).filter_map(|channel| facts.get_word(&format!("channel_{channel}"))) {
        let name = tokens(name);
        if !name.iter().any(|token| matches!(token, Token::Number { .. })) {
            continue;
        }
        for start in 0..(sentence.len() + 1).saturating_sub(name.len()) {
            if sentence[start..].starts_with(&name) {
                used[start..start + name.len()].fill(true);
            }
        }
    }
    used
}
