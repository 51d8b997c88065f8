//! Sends what is queued, many at a time, and brings the answers to the ledger.

use super::budget::Budget;
use super::reply::{Asked, is_broken};
use super::{ATTEMPTS, Api, Work};
use crate::client::messages::paused;
use crate::client::streak::Streak;
use crate::client::{Client, Event, Failure};
use crate::ledger::{Entry, Ledger};
use crate::writer::{Stopped, Task, Written};
use serde_json::Value;
use stage::{Context, Message, Progress, interrupt};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How much longer than a request may take one in flight is waited for when the run ends.
const GRACE: Duration = Duration::from_secs(5);
/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Retries, and short pauses, that are told one by one; the rest is counted.
const FEW: u64 = 5;
/// A pause that is told always.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Requests that are in flight or wait to be sent again, per request in flight.
const STARTED: usize = 2;

/// A request that ended: what became of it, and what was set aside for it.
struct Done {
    work: Work,
    need: [u64; 2],
    result: Result<Entry, Failure>,
}

/// A request whose text is made: what it is for, its body, and the tokens that it needs.
pub(super) struct Ready {
    work: Work,
    asked: Asked,
    body: Value,
    need: [u64; 2],
}

/// One run over a queue.
pub(super) struct Drive<'a> {
    pub(super) api: &'a Api,
    pub(super) tasks: &'a [Task],
    pub(super) queue: VecDeque<Work>,
    pub(super) ready: VecDeque<Ready>,
    pub(super) ledger: &'a mut Ledger,
    pub(super) written: &'a mut Written,
    pub(super) context: &'a Context,
    pub(super) progress: &'a Progress,
    pub(super) retries: u64,
    pub(super) pauses: u64,
    pub(super) done: usize,
    /// How many requests there are, done or not.
    pub(super) distinct: usize,
    pub(super) streak: Streak,
    /// Requests that a server has refused which replied to none so far, with the reasons.
    pub(super) refused: Vec<(Work, String)>,
}

impl Drive<'_> {
    /// Sends until the queue is empty or the run has to stop. Answers are on disk before anything else is made of them: a thread of its own writes all that
    /// came while it synchronised the disk for those before, and requests go on meanwhile.
    pub(super) async fn run(
        &mut self,
        client: Client,
        mut events: mpsc::UnboundedReceiver<Event>,
    ) -> anyhow::Result<()> {
        let client = Arc::new(client);
        let limits = self.api.options.limits.clone();
        let mut budget = Budget::new(&limits, crate::ledger::tokens(self.ledger.entries()));
        let mut flying: JoinSet<anyhow::Result<Done>> = JoinSet::new();
        let mut writing: JoinSet<io::Result<Vec<Entry>>> = JoinSet::new();
        let mut unwritten = Vec::new();
        let mut tick = tokio::time::interval(TICK);
        let mut deadline: Option<Instant> = None;
        loop {
            self.start(&client, &mut budget, &mut flying);
            self.prepare(self.api.sending.concurrency);
            if writing.is_empty() && !unwritten.is_empty() {
                let (appender, entries) = (self.ledger.appender(), std::mem::take(&mut unwritten));
                writing.spawn_blocking(move || appender.write(&entries).map(|()| entries));
            }
            if flying.is_empty() && writing.is_empty() {
                break;
            }
            tokio::select! {
                Some(first) = flying.join_next() => {
                    let mut next = Some(first);
                    while let Some(done) = next {
                        self.take(done??, &mut budget, &mut unwritten);
                        self.start(&client, &mut budget, &mut flying);
                        next = flying.try_join_next();
                    }
                }
                Some(entries) = writing.join_next() => self.ledger.remember(entries??),
                Some(event) = events.recv() => self.hear(event, flying.len()),
                _ = tick.tick() => {}
            }
            if interrupt::requested() && self.written.stopped.is_none() {
                self.written.stopped = Some(Stopped::Interrupted);
                self.tell_of_flying(flying.len());
            }
            if self.written.stopped.is_some() {
                client.end();
            }
            // what is in flight is paid for and worth its time; a second interruption ends the process
            let patience = self.api.sending.timeout + GRACE;
            if self.written.stopped.is_some()
                && Instant::now() >= *deadline.get_or_insert(Instant::now() + patience)
            {
                break;
            }
        }
        // who replies to nobody may be the wrong server: what it refuses is not written down
        for (work, reason) in std::mem::take(&mut self.refused) {
            let id = &self.tasks[work.task].id;
            self.written.unanswered.push(client.refused(&reason).case(id.clone()));
        }
        while let Some(entries) = writing.join_next().await {
            self.ledger.remember(entries??);
        }
        if !unwritten.is_empty() {
            self.ledger.append(unwritten)?;
        }
        while let Ok(event) = events.try_recv() {
            self.hear(event, 0);
        }
        Ok(())
    }

    /// Makes the text of the next requests while others are in flight, so that a place that becomes free is taken at once.
    fn prepare(&mut self, enough: usize) {
        while self.ready.len() < enough
            && let Some(work) = self.queue.pop_front()
        {
            let (asked, body, need) = self.api.chat(&work, &self.tasks[work.task]);
            self.ready.push_back(Ready { work, asked, body, need });
        }
    }

    /// Starts as many requests as may be in flight.
    fn start(
        &mut self,
        client: &Arc<Client>,
        budget: &mut Budget<'_>,
        flying: &mut JoinSet<anyhow::Result<Done>>,
    ) {
        while self.written.stopped.is_none() && flying.len() < STARTED * self.api.sending.concurrency {
            let Some(slot) = client.slot() else { break };
            self.prepare(1);
            let Some(Ready { work, asked, body, need }) = self.ready.pop_front() else { break };
            if !budget.reserve(need) {
                // what is in flight may use less than was set aside for it
                if flying.is_empty() {
                    let message = budget.reached(need, self.queue.len() + self.ready.len() + 1);
                    self.written.stopped = Some(Stopped::Error(Box::new(message)));
                }
                self.ready.push_front(Ready { work, asked, body, need });
                return;
            }
            let client = Arc::clone(client);
            flying.spawn(async move {
                let reply = client.chat(&body, need.iter().sum(), slot).await;
                Ok(Done { work, need, result: reply.map(|reply| asked.entry(reply)) })
            });
        }
        client.drained(self.queue.is_empty() && self.ready.is_empty());
    }

    /// What follows from a request that ended; what is to be written is added to `entries`.
    fn take(&mut self, done: Done, budget: &mut Budget<'_>, entries: &mut Vec<Entry>) {
        let Done { work, need, result } = done;
        let used = result.as_ref().map_or([0, 0], |entry| [entry.prompt_tokens, entry.completion_tokens]);
        budget.settle(need, used);
        match result {
            Ok(entry) => {
                self.streak.replied();
                for (work, reason) in std::mem::take(&mut self.refused) {
                    entries.push(Entry::of_refusal(&work.request, &reason));
                    self.step();
                }
                if entry.accepted() || work.attempt >= ATTEMPTS {
                    self.step();
                } else {
                    let broken = is_broken(&entry.reasons).then(|| entry.text.clone());
                    self.queue.push_back(Work { attempt: work.attempt + 1, broken, ..work });
                }
                entries.push(entry);
            }
            Err(Failure::Unreached(message)) => {
                self.streak.unreached(&message).into_iter().for_each(|end| self.stop(end));
                self.written.unanswered.push(message.case(self.tasks[work.task].id.clone()));
            }
            Err(Failure::Refused(reason)) => {
                self.streak.refused(&reason).into_iter().for_each(|end| self.stop(end));
                if self.streak.has_replied() {
                    entries.push(Entry::of_refusal(&work.request, &reason));
                    self.step();
                } else {
                    self.refused.push((work, reason));
                }
            }
            Err(Failure::Run(message) | Failure::Limit(message)) => self.stop(message),
            Err(Failure::NotSent) => {}
        }
    }

    fn tell_of_flying(&self, flying: usize) {
        if flying > 0 {
            let seconds = self.api.sending.timeout.as_secs();
            self.context.say(&format!(
                "Waiting for {flying} requests in flight, {seconds} s at most; interrupt again to give them up."
            ));
        }
    }

    /// One more request that no run sends again unless it is told to.
    fn step(&mut self) {
        self.done += 1;
        self.progress.step("");
    }

    fn stop(&mut self, message: Message) {
        self.written.stopped.get_or_insert(Stopped::Error(Box::new(message)));
    }

    fn hear(&mut self, event: Event, in_flight: usize) {
        match event {
            Event::Paused { wait, is_asked, reason, begins } => {
                self.pauses += 1;
                if begins && (wait >= LONG_PAUSE || self.pauses <= FEW) {
                    let all = self.distinct;
                    let done = self.done;
                    self.context.tell(
                        paused(wait, is_asked)
                            .detail(format!("{reason}; {done} of {all} done, {in_flight} in flight")),
                    );
                }
            }
            Event::Retrying { reason, retry } => {
                self.retries += 1;
                if self.retries <= FEW {
                    let of = self.api.sending.retries;
                    self.context.tell(Message::warning("W203", format!("{reason}, retry {retry}/{of}")));
                }
            }
            Event::PlainText { reason } => self.context.tell(
                Message::info(
                    "I215",
                    "the server does not give replies as JSON objects; asking for plain text",
                )
                .detail(reason),
            ),
        }
    }
}
