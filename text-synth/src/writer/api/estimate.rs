//! What a run would send, before it sends anything.

use super::batch::state::{Earlier, State};
use super::{Api, Work, budget::money};
use crate::ledger::{self, Ledger};
use crate::writer::Task;
use std::collections::VecDeque;
use std::fmt;

/// What a run would send.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Requests answered before.
    pub cached: usize,
    /// Requests to do.
    pub to_do: usize,
    /// Of those, requests that are in batches at a server already.
    pub in_batches: usize,
    /// Tokens that the answers in the ledger used: of prompts and of replies.
    pub used: [u64; 2],
    /// Tokens of the prompts to do, roughly, and of their replies, at most.
    pub needed: [u64; 2],
    /// Cost so far and of what is to do, where prices are known.
    pub cost: Option<[f64; 2]>,
}

impl Api {
    /// What writing `tasks` would send; contacts nobody and changes nothing.
    ///
    /// # Errors
    /// As [`Ledger::peek`]; `E215` where the state of batches cannot be read.
    pub fn estimate(&self, tasks: &[Task]) -> anyhow::Result<Estimate> {
        let answered = Ledger::peek(&self.directory, &self.header())?;
        let plan = self.plan(tasks, &answered, &Earlier::new())?;
        let state = State::load(&self.directory)?;
        let in_batches = |state: State| plan.queue.iter().filter(|work| state.has(&work.request)).count();
        let in_batches = state.map_or(0, in_batches);
        let needed = self.needed(&plan.queue, tasks);
        let used = ledger::tokens(&answered);
        let limits = &self.options.limits;
        Ok(Estimate {
            cached: plan.distinct - plan.queue.len(),
            to_do: plan.queue.len(),
            in_batches,
            used,
            needed,
            cost: limits.cost(used).zip(limits.cost(needed)).map(|(so_far, more)| [so_far, more]),
        })
    }

    /// Tokens of the prompts of a queue, roughly, and of their replies, at most.
    pub(super) fn needed(&self, queue: &VecDeque<Work>, tasks: &[Task]) -> [u64; 2] {
        queue.iter().fold([0, 0], |sum: [u64; 2], work| {
            let (.., need) = self.chat(work, &tasks[work.task]);
            [sum[0] + need[0], sum[1] + need[1]]
        })
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests answered before: {}", self.cached)?;
        writeln!(f, "requests to do: {} (replies that are rejected are asked for once more)", self.to_do)?;
        if self.in_batches > 0 {
            writeln!(f, "of these in batches at the server: {}", self.in_batches)?;
        }
        writeln!(f, "tokens so far: {} of prompts, {} of replies", self.used[0], self.used[1])?;
        write!(
            f,
            "tokens to do, estimated: {} of prompts, at most {} of replies",
            self.needed[0], self.needed[1]
        )?;
        match self.cost {
            Some([so_far, more]) => {
                write!(f, "\ncost so far: {}\ncost of what is to do: at most {}", money(so_far), money(more))
            }
            None => write!(f, "\ncost: unknown without --price-prompt and --price-completion"),
        }
    }
}
