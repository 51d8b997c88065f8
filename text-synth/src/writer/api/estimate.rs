//! What a run would send, before it sends anything.

use super::batch::state::State;
use super::budget::{Limits, estimated_tokens, money};
use super::{ATTEMPTS, Api, Plan, REPAIR, Work};
use crate::ledger::round::Round;
use crate::ledger::{self, Ledger};
use crate::writer::{Draft, Task};
use std::collections::{HashSet, VecDeque};
use std::fmt;

/// Tokens that a rewrite's prompt may have beside its own words, in tokens of the longest text: that text, its sentences again, and what is said
/// against each.
const DRAFT_SHARE: u64 = 4;

/// What follows the texts of slices.
#[derive(Debug, Clone, Default)]
pub struct Further {
    /// A task for each volume, without its reports, and how many reports it sums up.
    pub volumes: Vec<(Task, usize)>,
    /// Whether texts that contradict what is known are asked for again.
    pub rewrites: bool,
}

/// What a run would send.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Requests answered before.
    pub cached: usize,
    /// Requests to do.
    pub to_do: usize,
    /// Of those, requests that are in batches at a server already.
    pub in_batches: usize,
    /// Volumes, each with a request that is among neither.
    pub volumes: usize,
    /// Whether contradicted texts are asked for again.
    pub rewrites: bool,
    /// Tokens that the answers in the ledger used: of prompts and of replies.
    pub used: [u64; 2],
    /// What is to do if every first reply is used.
    pub first: Sum,
    /// What is to do if every reply but the last possible one is rejected, and every text contradicted.
    pub most: Sum,
    /// Cost so far, of the first replies, and at most, where prices are known.
    pub cost: Option<[f64; 3]>,
}

/// Requests, and tokens of their prompts, roughly, and of their replies, at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Requests.
    pub requests: usize,
    /// Tokens of prompts and of replies.
    pub tokens: [u64; 2],
}

impl Sum {
    pub(crate) fn add(&mut self, need: [u64; 2]) {
        self.requests += 1;
        self.tokens = std::array::from_fn(|i| self.tokens[i].saturating_add(need[i]));
    }
}

/// Costs of sums of tokens; none without prices.
pub(crate) fn costs(limits: &Limits, sums: [[u64; 2]; 3]) -> Option<[f64; 3]> {
    let [a, b, c] = sums.map(|tokens| limits.cost(tokens));
    Some([a?, b?, c?])
}

impl Api {
    /// What writing `tasks`, and what follows from their texts, would send; contacts nobody and changes nothing.
    ///
    /// # Errors
    /// As [`Ledger::peek`]; `E215` where the state of batches cannot be read.
    pub fn estimate(&self, tasks: &[Task], further: &Further) -> anyhow::Result<Estimate> {
        let header = self.own_header()?;
        let answered = Ledger::peek(&self.directory, &header)?;
        let round = Round::peek(&self.directory, &header, &answered, self.options.retry_rejected)?;
        let plan = self.plan(tasks, &answered, &round)?;
        let state = State::load(&self.directory)?;
        let in_batches = |state: State| plan.queue.iter().filter(|work| state.has(&work.request)).count();
        let in_batches = state.map_or(0, in_batches);
        let used = ledger::tokens(&answered);
        let (first, most) = self.sums(&plan, tasks, further);
        Ok(Estimate {
            cached: plan.distinct - plan.queue.len(),
            to_do: plan.queue.len(),
            in_batches,
            volumes: further.volumes.len(),
            rewrites: further.rewrites,
            used,
            first,
            most,
            cost: costs(&self.options.limits, [used, first.tokens, most.tokens]),
        })
    }

    /// What is to do if all goes well, and at most.
    fn sums(&self, plan: &Plan, tasks: &[Task], further: &Further) -> (Sum, Sum) {
        let (mut first, mut most) = (Sum::default(), Sum::default());
        let longest = u64::from(self.options.sampling.max_tokens(ATTEMPTS));
        for work in &plan.queue {
            let (.., need) = self.chat(work, &tasks[work.task]);
            first.add(need);
            most.add(need);
            if work.attempt < ATTEMPTS {
                most.add(self.second(need[0]));
            }
        }
        for (task, reports) in &further.volumes {
            let [prompt, reply] = self.need(task);
            let of_reports = |tokens: u64| prompt.saturating_add(tokens.saturating_mul(*reports as u64));
            first.add([of_reports(reply), reply]);
            most.add([of_reports(longest), reply]);
            most.add(self.second(of_reports(longest)));
            if further.rewrites {
                self.rewrite(task, of_reports(longest) - prompt, &mut most);
            }
        }
        if further.rewrites {
            let mut seen = HashSet::new();
            for (task, _) in tasks.iter().zip(&plan.requests).filter(|(_, request)| seen.insert(*request)) {
                self.rewrite(task, 0, &mut most);
            }
        }
        (first, most)
    }

    /// Tokens of a first request.
    fn need(&self, task: &Task) -> [u64; 2] {
        let work = Work { task: 0, request: String::new(), attempt: 1, broken: None };
        let (.., need) = self.chat(&work, task);
        need
    }

    /// Tokens of a second request: a broken reply goes back, and there is twice the room.
    fn second(&self, prompt: u64) -> [u64; 2] {
        let reply = u64::from(self.options.sampling.max_tokens(1));
        let again = reply.saturating_add(estimated_tokens(REPAIR.len()));
        [prompt.saturating_add(again), u64::from(self.options.sampling.max_tokens(ATTEMPTS))]
    }

    /// Adds both requests for a text that contradicts what is known; `beside` are tokens of the prompt that the task does not show.
    fn rewrite(&self, task: &Task, beside: u64, most: &mut Sum) {
        let draft = Some(Draft { text: String::new(), objections: Vec::new() });
        let [prompt, reply] = self.need(&Task { draft, ..task.clone() });
        let longest = u64::from(self.options.sampling.max_tokens(ATTEMPTS));
        let prompt = prompt.saturating_add(longest.saturating_mul(DRAFT_SHARE)).saturating_add(beside);
        most.add([prompt, reply]);
        most.add(self.second(prompt));
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
        if self.volumes > 0 {
            writeln!(f, "and one request for each of {} volumes", self.volumes)?;
        }
        if self.rewrites {
            writeln!(f, "and one more for each text that contradicts what was measured")?;
        }
        writeln!(
            f,
            "requests in all: {} if every first reply is used, at most {}",
            self.first.requests, self.most.requests
        )?;
        writeln!(f, "tokens so far: {} of prompts, {} of replies", self.used[0], self.used[1])?;
        let [first, most] = [self.first.tokens, self.most.tokens];
        writeln!(
            f,
            "tokens to do, estimated: {} of prompts, {} of replies if every first reply is used",
            first[0], first[1]
        )?;
        write!(f, "tokens to do, at most: {} of prompts, {} of replies", most[0], most[1])?;
        match self.cost {
            Some([so_far, first, most]) => write!(
                f,
                "\ncost so far: {}\ncost of what is to do: about {} if every first reply is used, at most {}",
                money(so_far),
                money(first),
                money(most)
            ),
            None => write!(f, "\ncost: unknown without --price-prompt and --price-completion"),
        }
    }
}
