//! The captioner `api`: a vision model behind an OpenAI-compatible API looks at the picture, which travels as a PNG in the request;
//! resumable through the ledger.

mod asking;
mod drive;
mod estimate;
mod reply;

use super::{PictureCaptioner, Seen, Told};
use crate::client::endpoint::Endpoint;
use crate::client::streak::Streak;
use crate::client::{self, Client, Event, Shared, finish};
use crate::ledger::round::Round;
use crate::ledger::{self, Ledger};
use crate::writer::Rejected;
use crate::writer::api::budget::money;
use anyhow::Context as _;
use asking::Work;
pub use asking::{Asking, Options, tokens_of_picture};
pub use estimate::Estimating;
use stage::{Context, Message};
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// Name and version, which stand in every record.
pub const NAME: &str = "api/1";

/// Replies that are paid for before a picture is given up.
const ATTEMPTS: usize = 2;
/// How much longer than a request may take one in flight is waited for when the run ends.
const GRACE: Duration = Duration::from_secs(5);
/// Pictures handed over at a time, for each request in flight: the last ones of a batch leave the server idle.
const PICTURES_PER_REQUEST: usize = 16;

/// The captioner.
#[derive(Debug)]
pub struct Api {
    client: Arc<Client>,
    events: UnboundedReceiver<Event>,
    runtime: tokio::runtime::Runtime,
    ledger: Option<Ledger>,
    asking: Asking,
    shared: Arc<Shared>,
    retries: u32,
    /// How long requests in flight are waited for when the run ends.
    patience: Duration,
    streak: Streak,
    /// What is asked again although it was answered.
    round: Round,
    /// Digests of requests in the order of the pictures.
    order: Vec<String>,
    told_retries: u64,
}

impl Api {
    /// A captioner whose ledger lies in `directory`.
    ///
    /// # Errors
    /// `E215` when answers there cannot be read; TLS that cannot be set up.
    pub fn open(
        directory: &Path,
        endpoint: Endpoint,
        sending: client::Options,
        shared: Arc<Shared>,
        asking: Asking,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let header = asking.header()?;
        let ledger = Ledger::open(directory, &header)?;
        if ledger.healed() {
            context.tell(
                Message::warning("W208", "dropped 1 incomplete line at the end of the ledger")
                    .detail(ledger.path().display().to_string()),
            );
        }
        let (sender, events) = mpsc::unbounded_channel();
        let (retries, patience) = (sending.retries, sending.timeout + GRACE);
        let has_replied = ledger.has_replies();
        let round = Round::open(directory, &header, ledger.entries(), asking.options.retry_rejected)?;
        Ok(Self {
            streak: Streak::new(asking.options.concurrency, has_replied),
            round,
            patience,
            client: Arc::new(Client::new(endpoint, sending, Arc::clone(&shared), sender)?),
            events,
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
            ledger: Some(ledger),
            asking,
            shared,
            retries,
            order: Vec::new(),
            told_retries: 0,
        })
    }

    /// Says what was sent and what the answers used; gives their tokens.
    fn count(&self, context: &Context) -> [u64; 2] {
        let used = self.ledger.as_ref().map_or([0, 0], |ledger| ledger::tokens(ledger.entries()));
        context.count("requests_sent", self.shared.sent());
        context.count("retries", self.told_retries);
        context.count("prompt_tokens", used[0]);
        context.count("completion_tokens", used[1]);
        let mut cost = String::new();
        if let Some(amount) = self.asking.options.limits.cost(used) {
            context.count("cost_millionths", (amount * 1e6).round() as u64);
            cost = format!(", cost {}", money(amount));
        }
        context.say(&format!(
            "Tokens of all answers: {} of prompts, {} of replies{cost}; {} requests sent by this run.",
            used[0],
            used[1],
            self.shared.sent()
        ));
        used
    }

    fn ledger(&mut self) -> anyhow::Result<&mut Ledger> {
        self.ledger.as_mut().context("the ledger was settled already")
    }
}

impl PictureCaptioner for Api {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn batch(&self) -> usize {
        self.asking.options.concurrency * PICTURES_PER_REQUEST
    }

    fn describe(&mut self, seen: &[Seen], context: &Context) -> anyhow::Result<Option<Vec<Told>>> {
        let mut requests = Vec::with_capacity(seen.len());
        let mut queue = VecDeque::new();
        let mut queued = HashSet::new();
        for seen in seen {
            let ledger = self.ledger.as_ref().context("the ledger was settled already")?;
            let (request, work) = self.asking.work(seen, ledger.entries(), &self.round)?;
            queue.extend(work.filter(|work| queued.insert(work.request.clone())));
            requests.push(request);
        }
        let mut unanswered = HashMap::new();
        let finished = queue.is_empty()
            || match self.send(queue, &mut unanswered, context) {
                Ok(finished) => finished,
                Err(error) => {
                    self.count(context);
                    return Err(error);
                }
            };
        self.order.extend(requests.iter().cloned());
        if !finished {
            self.count(context);
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
        let [prompt_tokens, completion_tokens] = self.count(context);
        let ledger = self.ledger.take().context("the ledger was settled already")?;
        if let Some(message) = finish::unknown(ledger.used().map(|entry| entry.finish_reason.as_deref())) {
            context.tell(message);
        }
        ledger.settle(&self.order)?;
        Ok(vec![("prompt_tokens", prompt_tokens), ("completion_tokens", completion_tokens)])
    }
}
