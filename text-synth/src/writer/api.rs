//! The writer `api`: one chat completion per distinct request, resumable through the ledger.

pub mod batch;
pub mod budget;
mod drive;
pub mod estimate;
mod reply;

use super::{Rejected, Stopped, Task, Text, Writer, Written};
use crate::client::body::Sampling;
use crate::client::endpoint::Endpoint;
use crate::client::streak::Streak;
use crate::client::{self, Client, Shared, finish};
use crate::ledger::round::Round;
use crate::ledger::{self, Entry, Header, Ledger};
use crate::prompts::{Prompts, Rendered};
use budget::{Limits, estimated_tokens, money};
use data_manifests::digest;
use drive::Drive;
use reply::Asked;
pub(crate) use reply::is_broken;
use serde_json::{Value, json};
use stage::{Context, Message};
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

const NAME: &str = "api/1";
/// Replies that are paid for before an item is given up.
const ATTEMPTS: usize = 2;

/// What is said to a reply that was to be an object and is none.
const REPAIR: &str = r#"That is not valid JSON. Give the same report as one JSON object of the form {"report": "…"} and nothing else."#;

/// What decides the replies, beside caption and prompt, and how many there may be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Language model.
    pub model: String,
    /// Sampling.
    pub sampling: Sampling,
    /// Ask again where all earlier replies were rejected.
    pub retry_rejected: bool,
    /// What may be spent.
    pub limits: Limits,
}

/// The writer.
#[derive(Debug)]
pub struct Api {
    /// Server; none where none is contacted.
    pub endpoint: Option<Endpoint>,
    /// How to send.
    pub sending: client::Options,
    /// What the requests of a run share.
    pub shared: Arc<Shared>,
    /// Batch files in place of a server.
    pub batch: batch::Files,
    /// Whether requests go to the server as batches; none once it turns out not to know them.
    pub batching: Option<batch::Batching>,
    /// Prompts.
    pub prompts: Prompts,
    /// Structures that may be named.
    pub vocabulary: Vec<String>,
    /// Model and sampling.
    pub options: Options,
    /// Where the ledger lies.
    pub directory: PathBuf,
    /// What has happened so far.
    pub counted: Counted,
}

/// Sums over all that a run wrote.
#[derive(Debug, Default)]
pub struct Counted {
    cached: u64,
    retries: u64,
    pauses: u64,
    batches: u64,
    told_of_ends: bool,
}

/// A request that is to be made; its text is made when it is sent, so that a queue of many needs little memory.
#[derive(Debug, Clone)]
struct Work {
    /// Place of the task.
    task: usize,
    request: String,
    attempt: usize,
    /// What was to be an object and is to be repaired.
    broken: Option<String>,
}

/// What is asked for and what of it is to be done.
#[derive(Debug)]
struct Plan {
    /// Digest of each task's request.
    requests: Vec<String>,
    queue: VecDeque<Work>,
    /// How many requests are distinct.
    distinct: usize,
}

impl Api {
    fn own_header(&self) -> anyhow::Result<Header> {
        let parameters = self.options.sampling.parameters()?;
        Ok(Header::new(&self.options.model, &self.prompts.label(), parameters))
    }

    fn body(&self, prompt: &Rendered, attempt: usize) -> Value {
        let messages = json!([
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ]);
        self.options.sampling.body(&self.options.model, messages, attempt)
    }

    /// What to ask, the body that asks it, and the tokens that it needs: of the prompt, roughly, and of the reply, at most.
    fn chat(&self, work: &Work, task: &Task) -> (Asked, Value, [u64; 2]) {
        let prompt = self.prompts.of(task).render(task, &self.vocabulary);
        let max_tokens = self.options.sampling.max_tokens(work.attempt);
        let mut body = self.body(&prompt, work.attempt);
        let mut bytes = prompt.system.len() + prompt.user.len();
        if let (Some(broken), Some(messages)) = (&work.broken, body["messages"].as_array_mut()) {
            messages.push(json!({"role": "assistant", "content": broken}));
            messages.push(json!({"role": "user", "content": REPAIR}));
            bytes += broken.len() + REPAIR.len();
        }
        let need = [estimated_tokens(bytes), u64::from(max_tokens)];
        let (request, caption) = (work.request.clone(), task.caption.clone());
        let own = self.prompts.of(task).render(&task.without_words(), &self.vocabulary);
        (Asked { request, caption, own, prompt, max_tokens }, body, need)
    }

    /// What is to be done; `round` tells which answers count.
    fn plan(
        &self,
        tasks: &[Task],
        answered: &HashMap<String, Vec<Entry>>,
        round: &Round,
    ) -> serde_json::Result<Plan> {
        let mut plan =
            Plan { requests: Vec::with_capacity(tasks.len()), queue: VecDeque::new(), distinct: 0 };
        let mut seen = HashSet::new();
        for (i, task) in tasks.iter().enumerate() {
            let prompt = self.prompts.of(task);
            let rendered = prompt.render(task, &self.vocabulary);
            let request = digest::digest_of(&(&prompt.sha256, self.body(&rendered, 1)))?;
            plan.requests.push(request.clone());
            let answers = answered.get(&request).map_or(&[][..], Vec::as_slice);
            let counted = round.counted(&request, answers);
            let had = counted.len();
            let given_up = had >= ATTEMPTS || counted.iter().any(Entry::is_refusal);
            if seen.insert(request.clone()) && !answers.iter().any(Entry::accepted) && !given_up {
                let attempt = had + 1;
                let broken = answers.last().filter(|last| attempt > 1 && is_broken(&last.reasons));
                let broken = broken.map(|last| last.text.clone());
                plan.queue.push_back(Work { task: i, request, attempt, broken });
            }
        }
        plan.distinct = seen.len();
        Ok(plan)
    }

    /// Sends what is to be done.
    fn send(
        &mut self,
        tasks: &[Task],
        plan: &mut Plan,
        ledger: &mut Ledger,
        written: &mut Written,
        context: &Context,
    ) -> anyhow::Result<()> {
        let endpoint = self.endpoint.clone().ok_or_else(batch::no_server)?;
        let done = plan.distinct - plan.queue.len();
        let has_replied = ledger.has_replies();
        let progress = context.progress("report", plan.distinct as u64);
        progress.start_at(done as u64);
        let (sender, events) = mpsc::unbounded_channel();
        let client = Client::new(endpoint, self.sending.clone(), Arc::clone(&self.shared), sender)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut drive = Drive {
            api: self,
            tasks,
            queue: std::mem::take(&mut plan.queue),
            ready: VecDeque::new(),
            ledger,
            written,
            context,
            progress: &progress,
            retries: 0,
            pauses: 0,
            done,
            distinct: plan.distinct,
            streak: Streak::new(self.sending.concurrency, has_replied),
            refused: Vec::new(),
        };
        runtime.block_on(drive.run(client, events))?;
        let (retries, pauses) = (drive.retries, drive.pauses);
        // requests that are still in flight are given up, not waited for
        runtime.shutdown_background();
        progress.finish();
        self.counted.retries += retries;
        self.counted.pauses += pauses;
        Ok(())
    }

    fn count(&self, ledger: &Ledger, context: &Context) {
        context.count("requests_cached", self.counted.cached);
        context.count("requests_sent", self.shared.sent());
        context.count("retries", self.counted.retries);
        context.count("pauses", self.counted.pauses);
        if self.counted.batches > 0 {
            context.count("batches", self.counted.batches);
        }
        let used = ledger::tokens(ledger.entries());
        context.count("prompt_tokens", used[0]);
        context.count("completion_tokens", used[1]);
        let mut cost = String::new();
        if let Some(amount) = self.options.limits.cost(used) {
            context.count("cost_millionths", (amount * 1e6).round() as u64);
            cost = format!(", cost {}", money(amount));
        }
        let answers = ledger.entries().values().flatten().filter(|entry| !entry.is_refusal()).count();
        let sent = self.shared.sent();
        context.say(&format!(
            "Tokens of {answers} answers: {} of prompts, {} of replies{cost}; {sent} requests sent by this run.",
            used[0], used[1],
        ));
    }
}

impl Api {
    fn tell_of_ends(&mut self, ledger: &Ledger, context: &Context) {
        let reasons = ledger.used().map(|entry| entry.finish_reason.as_deref());
        if let Some(message) = finish::unknown(reasons).filter(|_| !self.counted.told_of_ends) {
            self.counted.told_of_ends = true;
            context.tell(message);
        }
    }
}

/// A number of tokens for people.
fn in_tokens(tokens: u64) -> String {
    match tokens {
        0..10_000 => format!("{tokens} tokens"),
        10_000..1_000_000 => format!("{:.0} k tokens", tokens as f64 / 1e3),
        _ => format!("{:.2} M tokens", tokens as f64 / 1e6),
    }
}

impl Writer for Api {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn model(&self) -> Option<String> {
        Some(self.options.model.clone())
    }

    fn header(&self) -> anyhow::Result<Option<Header>> {
        self.own_header().map(Some)
    }

    fn more_room(&self) -> Option<String> {
        Some(self.options.sampling.more_room())
    }

    fn check(&self) -> anyhow::Result<()> {
        Ledger::peek(&self.directory, &self.own_header()?)?;
        batch::state::State::load(&self.directory)?;
        Round::peek(&self.directory, &self.own_header()?, &HashMap::new(), self.options.retry_rejected)?;
        Ok(())
    }

    fn write(&mut self, tasks: &[Task], context: &Context) -> anyhow::Result<Written> {
        let header = self.own_header()?;
        let mut ledger = Ledger::open(&self.directory, &header)?;
        if ledger.healed() {
            context.tell(
                Message::warning("W208", "dropped 1 incomplete line at the end of the ledger")
                    .detail(ledger.path().display().to_string()),
            );
        }
        let round = Round::open(&self.directory, &header, ledger.entries(), self.options.retry_rejected)?;
        let mut plan = self.plan(tasks, ledger.entries(), &round)?;
        let cached = plan.distinct - plan.queue.len();
        if cached > 0 {
            context.tell(Message::info(
                "I207",
                format!(
                    "resumed: {cached} requests answered before, {} to do, estimated {}",
                    plan.queue.len(),
                    in_tokens(self.needed(&plan.queue, tasks).iter().sum())
                ),
            ));
        }
        self.counted.cached += cached as u64;
        let mut written = Written::default();
        if !plan.queue.is_empty() && self.batch.is_used() {
            written.stopped = self.exchange_files(tasks, &mut plan, &mut ledger, &round, context)?;
        } else {
            if self.batching.is_some() {
                self.exchange_batches(tasks, &plan, &mut ledger, &round, &mut written, context)?;
            }
            if self.batching.is_none() && !plan.queue.is_empty() {
                match self.left_open(&plan)? {
                    Some(message) => written.stopped = Some(Stopped::Error(Box::new(message))),
                    None => self.send(tasks, &mut plan, &mut ledger, &mut written, context)?,
                }
            }
        }
        self.count(&ledger, context);
        self.tell_of_ends(&ledger, context);
        for (task, request) in tasks.iter().zip(&plan.requests) {
            let accepted = ledger.accepted(request);
            written.texts.push(accepted.map(|e| Text { text: e.text.clone(), request: request.clone() }));
            let answers = ledger.answers(request);
            let rejected = answers.iter().enumerate().filter(|(_, e)| !e.accepted());
            written.rejected.extend(rejected.map(|(i, e)| Rejected {
                id: task.id.clone(),
                request: request.clone(),
                attempt: i + 1,
                reasons: e.reasons.clone(),
                finish_reason: e.finish_reason.clone(),
                text: e.text.clone(),
                replaced: accepted.is_some(),
            }));
        }
        if written.stopped.is_none() {
            ledger.settle(&plan.requests)?;
        }
        Ok(written)
    }
}
