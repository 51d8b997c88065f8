//! A client for OpenAI-compatible chat completions: retries, and a pace, limits and a number of requests in flight that all callers share.

pub mod batches;
pub mod body;
pub mod classify;
mod completion;
pub mod endpoint;
pub mod finish;
pub(crate) mod messages;
pub mod pace;
pub mod retry;
pub mod schema;
pub mod secret;
pub mod streak;

use classify::{Answer, Reply, Verdict};
use endpoint::Endpoint;
use pace::{Pace, Rates};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, redirect};
use retry::Backoff;
use schema::Schema;
use serde_json::Value;
use stage::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Largest reply that is read.
const LARGEST_REPLY: usize = 8 << 20;
/// Answers of good status to one request that are no replies, before it is given up: each may have been paid for.
const MOST_UNREADABLE: u32 = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Retries whose wait may be cut short; a request that fails more often waits its time.
const HURRIED: u32 = 3;

/// How to send.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest time for one request and its reply.
    pub timeout: Duration,
    /// How often a request is sent again after an error that may pass.
    pub retries: u32,
    /// Waiting between.
    pub backoff: Backoff,
    /// Requests in flight.
    pub concurrency: usize,
    /// Most requests of a run, those that are sent again included.
    pub most_requests: Option<u64>,
}

/// What lasts longer than one client: a run may need several.
#[derive(Debug)]
pub struct Shared {
    pace: Pace,
    schema: Schema,
    sent: AtomicU64,
}

impl Shared {
    /// The state of a run that has sent nothing yet.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { pace: Pace::new(rates), schema: Schema::default(), sent: AtomicU64::new(0) }
    }

    /// The same, where requests say themselves of what form replies are to be, or that of none.
    #[must_use]
    pub fn without_form(self) -> Self {
        // nothing was asked yet, so that nobody has to be told
        let _is_new = self.schema.give_up();
        self
    }

    /// Requests sent so far, those that were sent again included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Counts requests that go out together.
    pub fn add(&self, requests: u64) {
        self.sent.fetch_add(requests, Ordering::Relaxed);
    }

    /// Counts one more request unless that would be too many.
    fn take(&self, most: Option<u64>) -> bool {
        let within = |sent: u64| most.is_none_or(|most| sent < most).then_some(sent + 1);
        self.sent.try_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }
}

/// What happens while requests are sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// All have to wait.
    Paused {
        /// How long.
        wait: Duration,
        /// Whether the server said how long.
        is_asked: bool,
        /// What the server said.
        reason: String,
        /// Whether no pause was running.
        begins: bool,
    },
    /// One request is sent again.
    Retrying {
        /// What went wrong.
        reason: String,
        /// Which retry this is, from 1.
        retry: u32,
    },
    /// Replies are plain text from now on.
    PlainText {
        /// Why.
        reason: String,
    },
}

/// Why a request got no reply.
#[derive(Debug)]
pub enum Failure {
    /// All attempts ended without an answer.
    Unreached(Message),
    /// The server refuses this request, and may take others: what it says.
    Refused(String),
    /// No request can succeed.
    Run(Message),
    /// A limit of the user's does not allow it.
    Limit(Message),
    /// The run ends; the request was not sent.
    NotSent,
}

/// Leave to have one request in flight.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// A client; share it behind an `Arc`.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    options: Options,
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    over: watch::Sender<bool>,
    /// Nothing is left to be sent but what waits to be sent again.
    drained: watch::Sender<bool>,
    replies: AtomicU64,
    events: UnboundedSender<Event>,
}

impl Client {
    /// A client for `endpoint`; `events` hears of pauses and retries.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        endpoint: Endpoint,
        options: Options,
        shared: Arc<Shared>,
        events: UnboundedSender<Event>,
    ) -> anyhow::Result<Self> {
        // fails only where a provider is installed already, which serves as well
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &endpoint.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let mut builder = reqwest::Client::builder()
            .timeout(options.timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .default_headers(headers)
            .user_agent(concat!("text-synth/", env!("CARGO_PKG_VERSION")))
            // a redirect could lead to a host that was not allowed
            .redirect(redirect::Policy::none());
        if endpoint.local {
            // what is meant for this machine must not go through a proxy
            builder = builder.no_proxy();
        }
        let slots = Arc::new(Semaphore::new(options.concurrency));
        let (over, drained) = (watch::Sender::new(false), watch::Sender::new(false));
        let (http, replies) = (builder.build()?, AtomicU64::new(0));
        Ok(Self { http, endpoint, options, shared, slots, over, drained, replies, events })
    }

    /// Leave for one more request, where there are fewer in flight than allowed.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        // closed never, full often
        Arc::clone(&self.slots).try_acquire_owned().ok().map(Slot)
    }

    /// Says whether anything is left to be sent that has not been sent before.
    pub fn drained(&self, drained: bool) {
        self.drained.send_if_modified(|known| std::mem::replace(known, drained) != drained);
    }

    /// Ends the run: what is in flight may come, nothing more is sent.
    pub fn end(&self) {
        self.over.send_replace(true);
    }

    /// Sends one chat completion, of about `tokens` tokens, until it is answered or given up. A request that waits to be sent again
    /// holds no slot; once nothing else is left, the first of its waits end as soon as the server has answered another request.
    ///
    /// # Errors
    /// [`Failure`] says whether others may succeed.
    pub async fn chat(&self, body: &Value, tokens: u64, slot: Slot) -> Result<Reply, Failure> {
        let mut slot = Some(slot);
        let (mut retry, mut unreadable) = (0, 0);
        loop {
            let held = self.turn(slot.take(), tokens).await?;
            if !self.shared.take(self.options.most_requests) {
                return Err(Failure::Limit(self.too_many()));
            }
            let asks_for_schema = self.shared.schema.is_asked_for();
            let verdict = self.once(body, asks_for_schema).await;
            // the slot is kept until all know what the answer means for them: nothing is sent after one that ends the run
            let (reason, after, pause) = match verdict {
                Verdict::Reply(reply) => {
                    self.answered();
                    // half a count tells less than the estimate
                    let is_counted = reply.prompt_tokens > 0 && reply.completion_tokens > 0;
                    let used = reply.prompt_tokens.saturating_add(reply.completion_tokens);
                    self.shared.pace.correct(tokens, if is_counted { used } else { tokens });
                    if asks_for_schema && let Some(reason) = self.shared.schema.judge(&reply) {
                        self.tell(Event::PlainText { reason });
                    }
                    return Ok(reply);
                }
                Verdict::NoSchema(reason) if asks_for_schema => {
                    // not counted as a retry: it was another question
                    if self.shared.schema.give_up() {
                        self.tell(Event::PlainText { reason });
                    }
                    continue;
                }
                Verdict::Item(reason) | Verdict::NoSchema(reason) => {
                    return Err(Failure::Refused(reason));
                }
                Verdict::Run(reason) => return Err(self.fatal(self.refused(&reason))),
                Verdict::Insecure(reason) => return Err(self.fatal(self.insecure(&reason))),
                Verdict::Unreadable(reason) => {
                    unreadable += 1;
                    if unreadable >= MOST_UNREADABLE {
                        return Err(Failure::Unreached(self.unreadable(&reason)));
                    }
                    (reason, None, false)
                }
                Verdict::Again { reason, after, pause } => (reason, after, pause),
            };
            if let Some(after) = after
                && after > self.options.backoff.longest
            {
                return Err(self.fatal(self.asks_too_much(after, &reason)));
            }
            retry += 1;
            if retry > self.options.retries {
                return Err(Failure::Unreached(self.unreached(&reason)));
            }
            let chance = rand::random();
            let wait = self.options.backoff.delay(retry, after, chance);
            if pause {
                let all = self.options.backoff.pause(retry, after, chance);
                let begins = self.shared.pace.pause(all);
                self.tell(Event::Paused { wait: all, is_asked: after.is_some(), reason, begins });
                if all == wait {
                    continue;
                }
            } else {
                self.tell(Event::Retrying { reason, retry });
            }
            drop(held);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.is_answering(), if retry <= HURRIED => {}
                () = self.is_over() => return Err(Failure::NotSent),
            }
        }
    }

    /// Returns when one more request may be in flight and may be sent.
    async fn turn(&self, slot: Option<Slot>, tokens: u64) -> Result<Slot, Failure> {
        let turn = async {
            let slot = match slot {
                Some(slot) => slot,
                None => {
                    Slot(Arc::clone(&self.slots).acquire_owned().await.map_err(|_closed| Failure::NotSent)?)
                }
            };
            self.shared.pace.turn(tokens).await;
            Ok(slot)
        };
        tokio::select! {
            biased;
            () = self.is_over() => Err(Failure::NotSent),
            slot = turn => slot,
        }
    }

    /// The end of all requests.
    fn fatal(&self, message: Message) -> Failure {
        self.end();
        Failure::Run(message)
    }

    async fn is_over(&self) {
        // the sender lives as long as this client
        let mut over = self.over.subscribe();
        let _never_dropped = over.wait_for(|over| *over).await.is_ok();
    }

    fn answered(&self) {
        self.replies.fetch_add(1, Ordering::Relaxed);
        if *self.drained.borrow() {
            // wakes those that wait
            self.drained.send_modify(|_| {});
        }
    }

    /// Returns when the server has answered somebody from now on and nothing else is left to be sent.
    async fn is_answering(&self) {
        let before = self.replies.load(Ordering::Relaxed);
        let mut drained = self.drained.subscribe();
        let answering = |drained: &bool| *drained && self.replies.load(Ordering::Relaxed) > before;
        // the sender lives as long as this client
        let _never_dropped = drained.wait_for(answering).await.is_ok();
    }

    fn tell(&self, event: Event) {
        // nobody listens any more only when the run is ending
        let _run_is_ending = self.events.send(event);
    }

    async fn once(&self, body: &Value, asks_for_schema: bool) -> Verdict {
        let answer = if asks_for_schema {
            self.exchange(&schema::asking(body)).await
        } else {
            self.exchange(body).await
        };
        match answer {
            Ok(answer) => classify::classify(&answer, SystemTime::now()),
            Err(error) => classify::failed(&error),
        }
    }

    async fn exchange(&self, body: &Value) -> Result<Answer, reqwest::Error> {
        self.receive(self.http.post(self.endpoint.url.clone()).json(body)).await
    }

    async fn receive(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        self.read(request.send().await?).await
    }

    /// Reads what comes back, up to [`LARGEST_REPLY`].
    async fn read(&self, mut response: Response) -> Result<Answer, reqwest::Error> {
        let header = |name| {
            response.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok()).map(str::to_owned)
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            content_type: header(CONTENT_TYPE).unwrap_or_default(),
            retry_after: header(RETRY_AFTER),
            body: Vec::new(),
            location: header(LOCATION).map(|to| self.endpoint.secret.hide(endpoint::masked(&to))),
            is_too_large: false,
            secret: self.endpoint.secret.clone(),
        };
        while let Some(chunk) = response.chunk().await? {
            answer.is_too_large = answer.body.len() + chunk.len() > LARGEST_REPLY;
            if answer.is_too_large {
                break;
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
