//! The captioner `api`: a vision model behind an OpenAI-compatible API looks at the picture, which travels as a PNG in the request;
//! resumable through the ledger.

use super::{PictureCaptioner, Seen, Told};
use crate::client::classify::Reply;
use crate::client::endpoint::Endpoint;
use crate::client::finish;
use crate::client::pace::Rates;
use crate::client::schema::Content;
use crate::client::streak::Streak;
use crate::client::{self, Client, Event, Failure, Shared};
use crate::ledger::round::Round;
use crate::ledger::{self, Entry, Header, Ledger};
use crate::prompts::{Prompt, Rendered};
use crate::render;
use crate::writer::api::budget::estimated_tokens;
use crate::writer::{Rejected, Subject, Task, judge};
use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_manifests::digest;
use serde_json::{Value, json};
use stage::{Context, Message, interrupt};
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Name and version, which stand in every record.
pub const NAME: &str = "api/1";

/// Replies that are paid for before a picture is given up.
const ATTEMPTS: usize = 2;
/// How much longer than a request may take one in flight is waited for when the run ends.
const GRACE: Duration = Duration::from_secs(5);
/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Retries that are told one by one; the rest is counted.
const RETRIES_TOLD: u64 = 5;
/// Requests that were started and not looked at since, per request in flight.
const STARTED: usize = 2;
/// Pictures handed over at a time, for each request in flight: the last ones of a batch leave the server idle.
const PICTURES_PER_REQUEST: usize = 16;

/// What decides the replies, beside picture and prompt.
#[derive(Debug, Clone)]
pub struct Options {
    /// Vision model.
    pub model: String,
    /// Longest reply, in tokens.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Requests in flight.
    pub concurrency: usize,
    /// Ask again where all earlier replies were rejected.
    pub retry_rejected: bool,
}

impl Options {
    fn header(&self, prompt: &Prompt) -> Header {
        let parameters = json!({"max_tokens": self.max_tokens, "temperature": self.temperature});
        Header::new(&self.model, &prompt.label(), parameters)
    }

    /// Refuses answers of other work in `directory`; changes nothing.
    ///
    /// # Errors
    /// `E212` when other answers are there, `E215` when they cannot be read.
    pub fn check(&self, directory: &Path, prompt: &Prompt) -> anyhow::Result<()> {
        Ledger::peek(directory, &self.header(prompt)).map(drop)
    }
}

/// The captioner.
#[derive(Debug)]
pub struct Api {
    client: Arc<Client>,
    events: UnboundedReceiver<Event>,
    runtime: tokio::runtime::Runtime,
    ledger: Option<Ledger>,
    prompt: Prompt,
    vocabulary: Vec<String>,
    options: Options,
    retries: u32,
    /// How long requests in flight are waited for when the run ends.
    patience: Duration,
    streak: Streak,
    /// What is asked again although it was answered.
    round: Round,
    /// Digests of requests in the order of the pictures.
    order: Vec<String>,
    told_retries: u64,
    sent: u64,
}

struct Work {
    request: String,
    body: Value,
    prompt: Rendered,
    attempt: usize,
}

type Done = (Work, Result<Reply, Failure>);

impl Api {
    /// A captioner whose ledger lies in `directory`.
    ///
    /// # Errors
    /// `E212` when other answers are there, `E215` when they cannot be read; TLS that cannot be set up.
    pub fn open(
        directory: &Path,
        endpoint: Endpoint,
        sending: client::Options,
        prompt: Prompt,
        vocabulary: Vec<String>,
        options: Options,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let ledger = Ledger::open(directory, &options.header(&prompt))?;
        if ledger.healed() {
            context.tell(
                Message::warning("W208", "dropped 1 incomplete line at the end of the ledger")
                    .detail(ledger.path().display().to_string()),
            );
        }
        let (sender, events) = mpsc::unbounded_channel();
        let (retries, patience) = (sending.retries, sending.timeout + GRACE);
        let has_replied = ledger.has_replies();
        let round = Round::open(directory, ledger.entries(), options.retry_rejected)?;
        Ok(Self {
            streak: Streak::new(options.concurrency, has_replied),
            round,
            patience,
            client: Arc::new(Client::new(
                endpoint,
                sending,
                Arc::new(Shared::new(Rates::default())),
                sender,
            )?),
            events,
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
            ledger: Some(ledger),
            prompt,
            vocabulary,
            options,
            retries,
            order: Vec::new(),
            told_retries: 0,
            sent: 0,
        })
    }

    fn render(&self, seen: &Seen) -> Rendered {
        let task = Task {
            id: String::new(),
            subject: Subject::Slice,
            caption: String::new(),
            facts: seen.facts.clone(),
            draft: None,
        };
        self.prompt.render(&task, &self.vocabulary)
    }

    fn body(&self, prompt: &Rendered, picture: &[u8]) -> Value {
        let uri = format!("data:image/png;base64,{}", STANDARD.encode(picture));
        json!({
            "model": self.options.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": [
                    {"type": "text", "text": prompt.user},
                    {"type": "image_url", "image_url": {"url": uri}},
                ]},
            ],
            "max_tokens": self.options.max_tokens,
            "temperature": self.options.temperature,
            "stream": false,
        })
    }

    fn ledger(&mut self) -> anyhow::Result<&mut Ledger> {
        self.ledger.as_mut().context("the ledger was settled already")
    }

    /// Sends what is queued; answers go to the ledger before anything else is made of them. Gives false when the run was asked
    /// to stop.
    fn send(
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
        loop {
            // what ended and was not looked at yet counts too: a server that is gone is known before many are started
            while stop.is_none()
                && tasks.len() < STARTED * self.options.concurrency
                && !queue.is_empty()
                && let Some(slot) = self.client.slot()
                && let Some(mut work) = queue.pop_front()
            {
                // a reply that was cut gets twice the room the second time
                work.body["max_tokens"] = json!(max_tokens(self.options.max_tokens, work.attempt));
                let client = Arc::clone(&self.client);
                let bytes = work.prompt.system.len() + work.prompt.user.len();
                let tokens =
                    estimated_tokens(bytes) + u64::from(max_tokens(self.options.max_tokens, work.attempt));
                tasks.spawn(async move {
                    let reply = client.chat(&work.body, tokens, slot).await;
                    (work, reply)
                });
                self.sent += 1;
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
                    for (work, result) in batch {
                        match result {
                            Ok(reply) => {
                                self.streak.replied();
                                let entry = entry(&work, reply, self.options.max_tokens);
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
            Event::Paused { wait, reason, .. } => context.tell(
                Message::info("I201", format!("waiting {:.1} s, as the server asks", wait.as_secs_f64()))
                    .detail(format!("{reason}; {flying} in flight, {waiting} to do")),
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

fn max_tokens(base: u32, attempt: usize) -> u32 {
    if attempt > 1 { base.saturating_mul(2) } else { base }
}

/// What the ledger keeps of a reply.
fn entry(work: &Work, reply: Reply, base: u32) -> Entry {
    let content = reply.content.unwrap_or_default();
    let mut text = String::new();
    let is_all_reasoning = content.is_empty() && reply.reasoning;
    let most = max_tokens(base, work.attempt);
    let reasons = match finish::objection(reply.finish_reason.as_deref(), most, is_all_reasoning) {
        Some(objection) => vec![objection],
        None if reply.refused => vec!["refusal".to_owned()],
        None => match Content::of(&content) {
            Content::Broken(reason) => vec![format!("broken JSON: {reason}")],
            Content::Plain(said) | Content::Report(said) => {
                text = super::clean::clean(&judge::clean(&said));
                judge::reasons(&text, "", &format!("{}\n{}", work.prompt.system, work.prompt.user))
            }
        },
    };
    let prompt_bytes = work.prompt.system.len() + work.prompt.user.len();
    let counted = |tokens: u64, bytes: usize| if tokens == 0 { estimated_tokens(bytes) } else { tokens };
    Entry {
        request: work.request.clone(),
        prompt_tokens: counted(reply.prompt_tokens, prompt_bytes),
        completion_tokens: counted(reply.completion_tokens, content.len()),
        text: if reasons.is_empty() { text } else { content },
        reasons,
        finish_reason: reply.finish_reason,
        served_model: reply.model,
    }
}

impl PictureCaptioner for Api {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn batch(&self) -> usize {
        self.options.concurrency * PICTURES_PER_REQUEST
    }

    fn describe(&mut self, seen: &[Seen], context: &Context) -> anyhow::Result<Option<Vec<Told>>> {
        let mut requests = Vec::with_capacity(seen.len());
        let mut queue = VecDeque::new();
        let mut queued = HashSet::new();
        for seen in seen {
            let prompt = self.render(seen);
            let body = self.body(&prompt, &render::png(&seen.picture)?);
            let request = digest::digest_of(&(&self.prompt.sha256, &body))?;
            requests.push(request.clone());
            let ledger = self.ledger.as_ref().context("the ledger was settled already")?;
            let answers = ledger.answers(&request);
            let counted = self.round.counted(&request, answers);
            let attempt = counted.len() + 1;
            let given_up = attempt > ATTEMPTS || counted.iter().any(Entry::is_refusal);
            let to_do = !answers.iter().any(Entry::accepted) && !given_up;
            if to_do && queued.insert(request.clone()) {
                queue.push_back(Work { request, body, prompt, attempt });
            }
        }
        let mut unanswered = HashMap::new();
        let finished = queue.is_empty() || self.send(queue, &mut unanswered, context)?;
        self.order.extend(requests.iter().cloned());
        if !finished {
            return Ok(None);
        }
        let ledger = self.ledger()?;
        let told = seen.iter().zip(&requests).map(|(seen, request)| {
            let accepted = ledger.accepted(request);
            let rejected = ledger.answers(request).iter().enumerate().filter(|(_, e)| !e.accepted());
            Told {
                text: accepted.map(|e| e.text.clone()),
                rejected: rejected
                    .map(|(i, e)| Rejected {
                        id: seen.id.clone(),
                        request: request.clone(),
                        attempt: i + 1,
                        reasons: e.reasons.clone(),
                        finish_reason: e.finish_reason.clone(),
                        text: e.text.clone(),
                        replaced: accepted.is_some(),
                    })
                    .collect(),
                // slices that look alike share a request
                unanswered: unanswered
                    .get(request)
                    .filter(|_| accepted.is_none())
                    .map(|message| message.clone().case(&seen.id)),
            }
        });
        Ok(Some(told.collect()))
    }

    fn finish(&mut self, context: &Context) -> anyhow::Result<Vec<(&'static str, u64)>> {
        let ledger = self.ledger.take().context("the ledger was settled already")?;
        let [prompt_tokens, completion_tokens] = ledger::tokens(ledger.entries());
        if let Some(message) = finish::unknown(ledger.used().map(|entry| entry.finish_reason.as_deref())) {
            context.tell(message);
        }
        context.count("requests_sent", self.sent);
        context.count("retries", self.told_retries);
        ledger.settle(&self.order)?;
        Ok(vec![("prompt_tokens", prompt_tokens), ("completion_tokens", completion_tokens)])
    }
}
