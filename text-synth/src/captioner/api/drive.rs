//! Sends what is queued, many pictures at a time, and brings the answers to the ledger.

use super::asking::dearest;
use super::reply::entry;
use super::{ATTEMPTS, Api, Work};
use crate::client::classify::Reply;
use crate::client::messages::paused;
use crate::client::{Event, Failure};
use crate::ledger::{self, Entry, Ledger};
use crate::writer::api::budget::Budget;
use anyhow::Context as _;
use stage::{Context, Message, interrupt};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Retries that are told one by one; the rest is counted.
const RETRIES_TOLD: u64 = 5;
/// Requests that were started and not looked at since, per request in flight.
const STARTED: usize = 2;

/// A request that ended, and what was set aside for it.
type Done = (Work, [u64; 2], Result<Reply, Failure>);

impl Api {
    /// Sends what is queued; answers go to the ledger before anything else is made of them. Gives false when the run was asked
    /// to stop.
    pub(super) fn send(
        &mut self,
        queue: VecDeque<Work>,
        unanswered: &mut HashMap<String, Message>,
        context: &Context,
    ) -> anyhow::Result<bool> {
        let mut ledger = self.ledger.take().context("the ledger was settled already")?;
        let handle = self.runtime.handle().clone();
        let sent = handle.block_on(self.drive(queue, &mut ledger, unanswered, context));
        self.ledger = Some(ledger);
        sent
    }

    async fn drive(
        &mut self,
        mut queue: VecDeque<Work>,
        ledger: &mut Ledger,
        unanswered: &mut HashMap<String, Message>,
        context: &Context,
    ) -> anyhow::Result<bool> {
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        let mut stop: Option<Result<(), Message>> = None;
        let mut refused: Vec<Entry> = Vec::new();
        let mut deadline: Option<Instant> = None;
        let limits = self.asking.options.limits.clone();
        let mut known = dearest(ledger.entries().values().flatten());
        let mut budget = Budget::new(&limits, ledger::tokens(ledger.entries()));
        loop {
            // what ended and was not looked at yet counts too: a server that is gone is known before many are started
            while stop.is_none()
                && tasks.len() < STARTED * self.asking.options.concurrency
                && !queue.is_empty()
                && let Some(slot) = self.client.slot()
                && let Some(work) = queue.pop_front()
            {
                let need = self.asking.need(&work, known);
                if !budget.reserve(need) {
                    // what is in flight may use less than was set aside for it
                    if tasks.is_empty() {
                        stop = Some(Err(budget.reached(need, queue.len() + 1)));
                    }
                    queue.push_front(work);
                    break;
                }
                let (client, body) = (Arc::clone(&self.client), self.asking.body(&work));
                tasks.spawn(async move {
                    let reply = client.chat(&body, need.iter().sum(), slot).await;
                    (work, need, reply)
                });
            }
            if tasks.is_empty() {
                break;
            }
            tokio::select! {
                Some(first) = tasks.join_next() => {
                    // all that came meanwhile, so that one synchronisation of the disk serves for many
                    let mut batch = vec![first?];
                    while let Some(more) = tasks.try_join_next() {
                        batch.push(more?);
                    }
                    let mut entries = Vec::new();
                    for (work, need, result) in batch {
                        let most = self.asking.options.sampling.max_tokens(work.attempt);
                        let result = result.map(|reply| entry(&work, reply, most));
                        let used = result.as_ref().map_or([0, 0], |e| [e.prompt_tokens, e.completion_tokens]);
                        budget.settle(need, used);
                        match result {
                            Ok(entry) => {
                                self.streak.replied();
                                if !entry.accepted() && work.attempt < ATTEMPTS {
                                    queue.push_back(Work { attempt: work.attempt + 1, ..work });
                                }
                                entries.push(entry);
                            }
                            Err(Failure::Unreached(message)) => {
                                if let Some(end) = self.streak.unreached(&message) {
                                    stop.get_or_insert(Err(end));
                                }
                                unanswered.insert(work.request, message);
                            }
                            Err(Failure::Refused(reason)) => {
                                if let Some(end) = self.streak.refused(&reason) {
                                    stop.get_or_insert(Err(end));
                                }
                                refused.push(Entry::of_refusal(&work.request, &reason));
                                unanswered.insert(work.request, self.client.refused(&reason));
                            }
                            Err(Failure::Run(message) | Failure::Limit(message)) => {
                                stop.get_or_insert(Err(message));
                            }
                            // only where the run is stopping
                            Err(Failure::NotSent) => {}
                        }
                    }
                    // a server that replies to nobody may be the wrong one: what it refuses is not written down
                    if self.streak.has_replied() {
                        for entry in refused.drain(..) {
                            unanswered.remove(&entry.request);
                            entries.push(entry);
                        }
                    }
                    known = known.max(dearest(entries.iter()));
                    if !entries.is_empty() {
                        ledger.append(entries)?;
                    }
                }
                Some(event) = self.events.recv() => self.hear(event, tasks.len(), queue.len(), context),
                _ = tick.tick() => {}
            }
            if interrupt::requested() {
                stop.get_or_insert(Ok(()));
            }
            if stop.is_some() {
                self.client.end();
            }
            // what is in flight is paid for and worth its time; a second interruption ends the process
            if stop.is_some() && Instant::now() >= *deadline.get_or_insert(Instant::now() + self.patience) {
                break;
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.hear(event, 0, queue.len(), context);
        }
        match stop {
            None => Ok(true),
            Some(Ok(())) => Ok(false),
            Some(Err(message)) => Err(message.into()),
        }
    }

    fn hear(&mut self, event: Event, flying: usize, waiting: usize, context: &Context) {
        match event {
            Event::Paused { begins: false, .. } => {}
            Event::Paused { wait, is_asked, reason, .. } => context.tell(
                paused(wait, is_asked).detail(format!("{reason}; {flying} in flight, {waiting} to do")),
            ),
            Event::Retrying { reason, retry } => {
                self.told_retries += 1;
                if self.told_retries <= RETRIES_TOLD {
                    let of = self.retries;
                    context.tell(Message::warning("W203", format!("{reason}, retry {retry}/{of}")));
                }
            }
            Event::PlainText { reason } => context.tell(
                Message::info(
                    "I215",
                    "the server does not give replies as JSON objects; asking for plain text",
                )
                .detail(reason),
            ),
        }
    }
}
