//! What captions of all pictures would send, before anything is sent.

use super::asking::{Asking, dearest};
use super::{ATTEMPTS, NAME};
use crate::captioner::{PictureCaptioner, Seen, Told};
use crate::ledger::round::Round;
use crate::ledger::{self, Entry, Ledger};
use crate::writer::api::estimate::{Estimate, Sum, costs};
use stage::Context;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Pictures handed over at a time.
const PICTURES: usize = 64;

/// Looks at pictures in place of the captioner; contacts nobody and changes nothing.
#[derive(Debug)]
pub struct Estimating {
    asking: Asking,
    answered: HashMap<String, Vec<Entry>>,
    round: Round,
    /// Tokens of the dearest prompt so far.
    known: u64,
    seen: HashSet<String>,
    first: Sum,
    most: Sum,
}

impl Estimating {
    /// By the answers that are in `directory`.
    ///
    /// # Errors
    /// As [`Ledger::peek`] and [`Round::peek`].
    pub fn new(asking: Asking, directory: &Path) -> anyhow::Result<Self> {
        let header = asking.header()?;
        let answered = Ledger::peek(directory, &header)?;
        let round = Round::peek(directory, &header, &answered, asking.options.retry_rejected)?;
        let known = dearest(answered.values().flatten());
        let (first, most) = (Sum::default(), Sum::default());
        Ok(Self { asking, answered, round, known, seen: HashSet::new(), first, most })
    }

    /// The sum over the pictures so far.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        let used = ledger::tokens(&self.answered);
        let (first, most) = (self.first, self.most);
        Estimate {
            cached: self.seen.len() - first.requests,
            to_do: first.requests,
            in_batches: 0,
            volumes: 0,
            rewrites: false,
            used,
            first,
            most,
            cost: costs(&self.asking.options.limits, [used, first.tokens, most.tokens]),
        }
    }
}

impl PictureCaptioner for Estimating {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn batch(&self) -> usize {
        PICTURES
    }

    fn describe(&mut self, seen: &[Seen], _: &Context) -> anyhow::Result<Option<Vec<Told>>> {
        for seen in seen {
            let (request, work) = self.asking.work(seen, &self.answered, &self.round)?;
            if !self.seen.insert(request) {
                continue;
            }
            let Some(work) = work else { continue };
            let need = self.asking.need(&work, self.known);
            self.first.add(need);
            self.most.add(need);
            if work.attempt < ATTEMPTS {
                self.most.add([need[0], self.asking.most(ATTEMPTS)]);
            }
        }
        Ok(Some(seen.iter().map(|_| Told::default()).collect()))
    }

    fn finish(&mut self, _: &Context) -> anyhow::Result<Vec<(&'static str, u64)>> {
        Ok(Vec::new())
    }
}
