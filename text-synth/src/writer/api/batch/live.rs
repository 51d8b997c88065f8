//! The batch API of a server: what is to be done goes up in batches, which are waited for, and what they leave undone goes into
//! the next ones. Every step is written down before and after, so that no batch is made twice.

mod making;
mod taking;

use super::state::{Open, State};
use super::{Batching, no_server};
use crate::client::batches::Trouble;
use crate::client::messages::paused;
use crate::client::retry::Backoff;
use crate::client::{Client, Event};
use crate::ledger::round::Round;
use crate::ledger::{Entry, Ledger};
use crate::writer::api::{ATTEMPTS, Api, Plan, Work};
use crate::writer::{Stopped, Task, Written};
use stage::{Context, Message, Progress, interrupt};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Time between two looks at a batch, and before something is tried again: a second at first, a minute at last.
const WAITING: Backoff =
    Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60), longest: Duration::from_secs(600) };
/// Retries, and pauses, that are told one by one; the rest is counted.
const FEW: u64 = 5;

/// Why there is nothing more to do here.
enum Halt {
    Stop(Stopped),
    /// The server has no batches.
    NoApi,
    Error(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Error(error.into())
    }
}

impl From<serde_json::Error> for Halt {
    fn from(error: serde_json::Error) -> Self {
        Self::Error(error.into())
    }
}

impl From<Message> for Halt {
    fn from(message: Message) -> Self {
        Self::Stop(Stopped::Error(Box::new(message)))
    }
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        trouble.into_message().into()
    }
}

/// One run over what is to be done.
struct Live<'a> {
    api: &'a Api,
    batching: Batching,
    tasks: &'a [Task],
    /// Requests of the tasks.
    requests: HashSet<&'a str>,
    ledger: &'a mut Ledger,
    round: &'a Round,
    written: &'a mut Written,
    context: &'a Context,
    progress: &'a Progress,
    client: Arc<Client>,
    events: UnboundedReceiver<Event>,
    state: State,
    /// Files of a killed run at the server that no batch was made of, by the digest of their content.
    uploaded: HashMap<String, String>,
    left: usize,
    created: u64,
    retries: u64,
    pauses: u64,
}

impl Api {
    /// Has what is to be done worked off in batches; a server that knows none ends [`Self::batching`].
    pub(in crate::writer::api) fn exchange_batches(
        &mut self,
        tasks: &[Task],
        plan: &Plan,
        ledger: &mut Ledger,
        round: &Round,
        written: &mut Written,
        context: &Context,
    ) -> anyhow::Result<()> {
        let Some(batching) = self.batching else { return Ok(()) };
        let endpoint = self.endpoint.clone().ok_or_else(no_server)?;
        let state = State::open(&self.directory, endpoint.base(), &self.options.model)?;
        let requests: HashSet<&str> = plan.requests.iter().map(String::as_str).collect();
        let is_ours = |open: &Open| open.requests.keys().any(|id| requests.contains(id.as_str()));
        if plan.queue.is_empty() && !state.open.iter().any(is_ours) {
            return Ok(());
        }
        let progress = context.progress("report", plan.distinct as u64);
        progress.start_at((plan.distinct - plan.queue.len()) as u64);
        let (sender, events) = mpsc::unbounded_channel();
        let mut sending = self.sending.clone();
        sending.backoff = WAITING;
        let client = Arc::new(Client::new(endpoint, sending, Arc::clone(&self.shared), sender)?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut live = Live {
            api: self,
            batching,
            tasks,
            requests,
            ledger,
            round,
            written,
            context,
            progress: &progress,
            client,
            events,
            state,
            uploaded: HashMap::new(),
            left: plan.queue.len(),
            created: 0,
            retries: 0,
            pauses: 0,
        };
        let ended = runtime.block_on(live.run());
        let (created, retries, pauses) = (live.created, live.retries, live.pauses);
        let mut has_api = true;
        match ended {
            Ok(()) => {}
            Err(Halt::Error(error)) => return Err(error),
            Err(Halt::NoApi) => has_api = false,
            Err(Halt::Stop(why)) => {
                // whoever corrects what was wrong starts with all attempts
                if matches!(why, Stopped::Error(_)) {
                    live.state.past.clear();
                    live.state.save()?;
                }
                live.written.stopped = Some(why);
            }
        }
        runtime.shutdown_background();
        progress.finish();
        self.counted.batches += created;
        self.counted.retries += retries;
        self.counted.pauses += pauses;
        if !has_api {
            self.batching = None;
            context.tell(no_batch_api(self.sending.concurrency));
        }
        Ok(())
    }
}

fn no_batch_api(concurrency: usize) -> Message {
    Message::info("I213", format!("server has no batch API; using {concurrency} concurrent requests"))
}

impl Live<'_> {
    async fn run(&mut self) -> Result<(), Halt> {
        let client = Arc::clone(&self.client);
        match self.until(client.persist(async || client.probe_batches().await)).await? {
            Err(trouble) if trouble.is_no_endpoint() && !self.state.is_begun() => return Err(Halt::NoApi),
            probed => probed?,
        }
        self.recover().await?;
        for open in self.state.open.iter().filter(|open| self.is_ours(open)) {
            let (n, batch) = (open.requests.len(), open.batch.as_deref().unwrap_or_default());
            self.context.tell(Message::info("I213", format!("{n} requests are in batch {batch} already")));
        }
        loop {
            let plan = self.api.plan(self.tasks, self.ledger.entries(), self.round)?;
            for _ in plan.queue.len()..self.left {
                self.progress.step("");
            }
            self.left = plan.queue.len();
            self.create(&plan).await?;
            if !self.state.open.iter().any(|open| self.is_ours(open)) {
                // all that is left was given up
                return Ok(self.give_up(&plan)?);
            }
            let (place, batch) = self.wait().await?;
            self.take(place, &batch, &plan).await?;
        }
    }

    /// Waits for what the server does, as long as nobody asks the run to stop.
    async fn until<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Halt> {
        let mut work = std::pin::pin!(work);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                done = &mut work => {
                    while let Ok(event) = self.events.try_recv() {
                        self.hear(event);
                    }
                    return Ok(done);
                }
                Some(event) = self.events.recv() => self.hear(event),
                _ = tick.tick() => {
                    if interrupt::requested() {
                        return Err(Halt::Stop(Stopped::Interrupted));
                    }
                }
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Paused { wait, is_asked, reason, .. } => {
                self.pauses += 1;
                if self.pauses <= FEW {
                    self.context.tell(paused(wait, is_asked).detail(reason));
                }
            }
            Event::Retrying { reason, retry } => {
                self.retries += 1;
                if self.retries <= FEW {
                    let of = self.api.sending.retries;
                    self.context.tell(Message::warning("W203", format!("{reason}, retry {retry}/{of}")));
                }
            }
            // of chat completions only
            Event::PlainText { .. } => {}
        }
    }

    /// Whether a batch has requests of these tasks.
    fn is_ours(&self, open: &Open) -> bool {
        open.requests.keys().any(|id| self.requests.contains(id.as_str()))
    }

    fn is_given_up(&self, work: &Work) -> bool {
        self.state.past.get(&work.request).is_some_and(|past| past.refused || past.missed >= ATTEMPTS)
    }

    /// Lists what is left without an answer; what the server refused is written down, so that it is not sent again.
    fn give_up(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let mut refused = Vec::new();
        let has_replied = self.ledger.has_replies();
        for work in &plan.queue {
            let Some(past) = self.state.past.get(&work.request) else { continue };
            let message = if past.refused && has_replied {
                refused.push(Entry::of_refusal(&work.request, &past.reason));
                self.progress.step("");
                continue;
            } else if past.refused {
                self.client.refused(&past.reason)
            } else {
                Message::error("E203", format!("no reply in {} batches", past.missed))
                    .detail(past.reason.clone())
                    .fix("Run the same command again; what was answered is kept")
            };
            self.written.unanswered.push(message.case(self.tasks[work.task].id.clone()));
        }
        if refused.is_empty() { Ok(()) } else { self.ledger.append(refused) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_batches_is_asked_one_by_one() {
        insta::assert_snapshot!(no_batch_api(16).to_string(), @"I213 server has no batch API; using 16 concurrent requests.");
    }
}
