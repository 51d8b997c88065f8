//! What is asked of each picture: its prompt, the request and the tokens that it needs.

use super::ATTEMPTS;
use crate::captioner::Seen;
use crate::client::body::Sampling;
use crate::ledger::round::Round;
use crate::ledger::{Entry, Header, Ledger};
use crate::prompts::{Prompt, Rendered};
use crate::render;
use crate::writer::api::budget::{Limits, estimated_tokens};
use crate::writer::{Subject, Task};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_manifests::digest;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Sides of what models take for one token, and of the tiles in which others count, in pixels.
const PATCH: usize = 28;
const TILE: usize = 512;
/// Tokens of a picture as such and of each of its tiles.
const OF_PICTURE: u64 = 85;
const OF_TILE: u64 = 170;

/// What decides the replies, beside picture and prompt, and how many there may be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Vision model.
    pub model: String,
    /// Sampling.
    pub sampling: Sampling,
    /// Requests in flight.
    pub concurrency: usize,
    /// Ask again where all earlier replies were rejected.
    pub retry_rejected: bool,
    /// What may be spent.
    pub limits: Limits,
}

/// Makes requests of pictures.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Prompt.
    pub prompt: Prompt,
    /// Structures that may be named.
    pub vocabulary: Vec<String>,
    /// Model, sampling and limits.
    pub options: Options,
}

/// A request that is to be made.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) request: String,
    pub(super) prompt: Rendered,
    /// PNG file.
    pub(super) picture: Vec<u8>,
    pub(super) tokens_of_picture: u64,
    pub(super) attempt: usize,
}

impl Work {
    /// Tokens of the prompt and its picture, roughly.
    pub(super) fn prompt_tokens(&self) -> u64 {
        estimated_tokens(self.prompt.system.len() + self.prompt.user.len()) + self.tokens_of_picture
    }
}

/// Tokens of a picture, roughly: servers count by rules of their own, which tell only afterwards what it was. The larger of two published rules is taken:
/// a token for each 28 × 28 pixels (Qwen2-VL), and 85 with 170 more for each tile of 512 × 512 pixels (GPT-4o, not scaled down before).
#[must_use]
pub fn tokens_of_picture([height, width]: [usize; 2]) -> u64 {
    let pieces = |side: usize| (height.div_ceil(side) * width.div_ceil(side)) as u64;
    pieces(PATCH).max(OF_PICTURE + OF_TILE * pieces(TILE))
}

/// Tokens of the dearest prompt that was answered, its picture included: what a server counts is known better than any rule tells.
pub(super) fn dearest<'a>(answers: impl Iterator<Item = &'a Entry>) -> u64 {
    answers.map(|answer| answer.prompt_tokens).max().unwrap_or(0)
}

impl Asking {
    /// Whose answers the ledger holds.
    ///
    /// # Errors
    /// Never in practice: options are JSON.
    pub fn header(&self) -> anyhow::Result<Header> {
        Ok(Header::new(&self.options.model, &self.prompt.label(), self.options.sampling.parameters()?))
    }

    /// Refuses answers in `directory` that cannot be read; changes nothing.
    ///
    /// # Errors
    /// `E215`.
    pub fn check(&self, directory: &Path) -> anyhow::Result<()> {
        Ledger::peek(directory, &self.header()?).map(drop)
    }

    /// The digest of a picture's request, and the request unless it was answered or given up; `round` tells which answers count.
    pub(super) fn work(
        &self,
        seen: &Seen,
        answered: &HashMap<String, Vec<Entry>>,
        round: &Round,
    ) -> anyhow::Result<(String, Option<Work>)> {
        let task = Task {
            id: String::new(),
            subject: Subject::Slice,
            caption: String::new(),
            facts: seen.facts.clone(),
            draft: None,
        };
        let prompt = self.prompt.render(&task, &self.vocabulary);
        let mut work = Work {
            request: String::new(),
            prompt,
            picture: render::png(&seen.picture)?,
            tokens_of_picture: tokens_of_picture([seen.picture.height, seen.picture.width]),
            attempt: 1,
        };
        work.request = digest::digest_of(&(&self.prompt.sha256, self.body(&work)))?;
        let request = work.request.clone();
        let answers = answered.get(&request).map_or(&[][..], Vec::as_slice);
        let counted = round.counted(&request, answers);
        work.attempt = counted.len() + 1;
        let is_given_up = work.attempt > ATTEMPTS || counted.iter().any(Entry::is_refusal);
        let is_to_do = !answers.iter().any(Entry::accepted) && !is_given_up;
        Ok((request, is_to_do.then_some(work)))
    }

    pub(super) fn body(&self, work: &Work) -> Value {
        let uri = format!("data:image/png;base64,{}", STANDARD.encode(&work.picture));
        let messages = json!([
            {"role": "system", "content": work.prompt.system},
            {"role": "user", "content": [
                {"type": "text", "text": work.prompt.user},
                {"type": "image_url", "image_url": {"url": uri}},
            ]},
        ]);
        self.options.sampling.body(&self.options.model, messages, work.attempt)
    }

    /// Tokens of a request: of prompt and picture, at least those of the dearest so far, and of the reply, at most.
    pub(super) fn need(&self, work: &Work, dearest: u64) -> [u64; 2] {
        [work.prompt_tokens().max(dearest), self.most(work.attempt)]
    }

    /// Tokens of the longest reply.
    pub(super) fn most(&self, attempt: usize) -> u64 {
        u64::from(self.options.sampling.max_tokens(attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_two_rules_estimates_a_picture() {
        assert_eq!([[60, 80], [512, 512], [513, 512]].map(tokens_of_picture), [255, 361, 425]);
        assert_eq!(tokens_of_picture([1120, 1120]), 1615);
        assert_eq!(tokens_of_picture([0, 0]), 85);
    }
}
