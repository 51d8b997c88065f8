//! The writer `api`: one chat completion per distinct request, resumable through the ledger.

use super::{Rejected, Stopped, Task, Text, Writer, Written, judge};
use crate::client::classify::Reply;
use crate::client::{self, Client, Endpoint, Event, Failure};
use crate::ledger::{Entry, Header, Ledger};
use crate::prompts::{Prompts, Rendered};
use data_manifests::digest;
use serde_json::{Value, json};
use stage::{Context, Message, Progress, interrupt};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

const NAME: &str = "api/1";
/// Replies that are paid for before an item is given up.
const ATTEMPTS: usize = 2;
/// How long requests in flight may still be answered after the run was asked to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Retries that are told one by one; the rest is counted.
const RETRIES_TOLD: u64 = 5;
/// Requests in a row without any reply that end the run, at least; otherwise the number in flight.
const FEWEST_FAILURES: usize = 4;

/// What decides the replies, beside caption and prompt.
#[derive(Debug, Clone)]
pub struct Options {
    /// Language model.
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

/// The writer.
#[derive(Debug)]
pub struct Api {
    /// Server.
    pub endpoint: Endpoint,
    /// How to send.
    pub sending: client::Options,
    /// Prompts.
    pub prompts: Prompts,
    /// Structures that may be named.
    pub vocabulary: Vec<String>,
    /// Model and sampling.
    pub options: Options,
    /// Where the ledger lies.
    pub directory: PathBuf,
}

struct Work {
    id: String,
    request: String,
    caption: String,
    prompt: Arc<Rendered>,
    attempt: usize,
}

type Done = (Work, Result<Reply, Failure>);

impl Api {
    fn parameters(&self) -> Value {
        json!({"max_tokens": self.options.max_tokens, "temperature": self.options.temperature})
    }

    fn body(&self, prompt: &Rendered, max_tokens: u32) -> Value {
        json!({
            "model": self.options.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            "max_tokens": max_tokens,
            "temperature": self.options.temperature,
            "stream": false,
        })
    }

    fn entry(&self, work: &Work, reply: Reply) -> Entry {
        let mut reasons = Vec::new();
        let max_tokens = max_tokens(self.options.max_tokens, work.attempt);
        let content = reply.content.unwrap_or_default();
        let mut text = String::new();
        match reply.finish_reason.as_deref() {
            Some("length") => {
                let spent =
                    if content.is_empty() && reply.reasoning { ", all spent on reasoning" } else { "" };
                reasons.push(format!("cut at max_tokens={max_tokens}{spent}"));
            }
            Some("content_filter") => reasons.push("refusal (content filter)".to_owned()),
            Some("tool_calls" | "function_call") => reasons.push("a tool call instead of text".to_owned()),
            _ if reply.refused => reasons.push("refusal".to_owned()),
            _ => {
                text = judge::clean(&content);
                let prompt =
                    format!("{}\n{}", work.prompt.system, work.prompt.user.replace(&work.caption, ""));
                reasons = judge::reasons(&text, &work.caption, &prompt);
            }
        }
        Entry {
            request: work.request.clone(),
            text: if reasons.is_empty() { text } else { content },
            reasons,
            finish_reason: reply.finish_reason,
            served_model: reply.model,
            prompt_tokens: reply.prompt_tokens,
            completion_tokens: reply.completion_tokens,
        }
    }
}

/// A reply that was cut gets twice the room the second time.
fn max_tokens(base: u32, attempt: usize) -> u32 {
    if attempt > 1 { base.saturating_mul(2) } else { base }
}

impl Writer for Api {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn model(&self) -> Option<String> {
        Some(self.options.model.clone())
    }

    fn write(&mut self, tasks: &[Task], context: &Context) -> anyhow::Result<Written> {
        let header = Header::new(&self.options.model, &self.prompts.label(), self.parameters());
        let mut ledger = Ledger::open(&self.directory, &header)?;
        if ledger.healed() {
            context.tell(
                Message::warning("W208", "dropped 1 incomplete line at the end of the ledger")
                    .detail(ledger.path().display().to_string()),
            );
        }
        let mut requests = Vec::with_capacity(tasks.len());
        let mut queue = VecDeque::new();
        let mut seen = HashSet::new();
        for task in tasks {
            let prompt = self.prompts.of(task);
            let sha256 = &prompt.sha256;
            let prompt = prompt.render(task, &self.vocabulary);
            let request = digest::digest_of(&(sha256, self.body(&prompt, self.options.max_tokens)))?;
            requests.push(request.clone());
            let answers = ledger.answers(&request);
            let given_up = answers.len() >= ATTEMPTS && !self.options.retry_rejected;
            if seen.insert(request.clone()) && !answers.iter().any(Entry::accepted) && !given_up {
                let attempt = if self.options.retry_rejected { 1 } else { answers.len() + 1 };
                let (id, caption) = (task.id.clone(), task.caption.clone());
                queue.push_back(Work { id, request, caption, prompt: Arc::new(prompt), attempt });
            }
        }
        let cached = seen.len() - queue.len();
        if cached > 0 {
            context.tell(Message::info(
                "I207",
                format!("resumed: {cached} requests answered before, {} to do", queue.len()),
            ));
        }
        context.count("requests_cached", cached as u64);
        let mut written = Written::default();
        if !queue.is_empty() {
            let progress = context.progress("report", seen.len() as u64);
            progress.start_at(cached as u64);
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(self.drive(queue, &mut ledger, &mut written, context, &progress))?;
            // requests that are still in flight are given up, not waited for
            runtime.shutdown_background();
            progress.finish();
        }
        let [prompt_tokens, completion_tokens] = ledger.tokens();
        context.count("prompt_tokens", prompt_tokens);
        context.count("completion_tokens", completion_tokens);
        for (task, request) in tasks.iter().zip(&requests) {
            let accepted = ledger.accepted(request);
            written.texts.push(accepted.map(|e| Text { text: e.text.clone(), request: request.clone() }));
            let answers = ledger.answers(request).iter().enumerate();
            written.rejected.extend(answers.filter(|(_, e)| !e.accepted()).map(|(i, e)| Rejected {
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
            ledger.settle(&requests)?;
        }
        Ok(written)
    }
}

impl Api {
    /// Sends what is queued; answers go to the ledger before anything else is made of them.
    async fn drive(
        &self,
        mut queue: VecDeque<Work>,
        ledger: &mut Ledger,
        written: &mut Written,
        context: &Context,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let client = Arc::new(Client::new(self.endpoint.clone(), self.sending.clone(), sender)?);
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        let mut deadline: Option<Instant> = None;
        let (mut sent, mut retries, mut in_a_row) = (0_u64, 0_u64, 0_usize);
        let patience = self.options.concurrency.max(FEWEST_FAILURES);
        loop {
            while written.stopped.is_none()
                && tasks.len() < self.options.concurrency
                && let Some(work) = queue.pop_front()
            {
                let body = self.body(&work.prompt, max_tokens(self.options.max_tokens, work.attempt));
                let client = Arc::clone(&client);
                tasks.spawn(async move {
                    let reply = client.chat(&body).await;
                    (work, reply)
                });
                sent += 1;
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
                                in_a_row = 0;
                                let entry = self.entry(&work, reply);
                                if entry.accepted() || work.attempt >= ATTEMPTS {
                                    progress.step("");
                                } else {
                                    queue.push_back(Work { attempt: work.attempt + 1, ..work });
                                }
                                entries.push(entry);
                            }
                            Err(Failure::Item(message)) => {
                                in_a_row += 1;
                                progress.step("");
                                if in_a_row >= patience && written.stopped.is_none() {
                                    let stop = Message::error("E201", format!("{in_a_row} requests in a row got no reply"))
                                        .detail(message.to_string())
                                        .fix("Check the server, then run the same command again; what was answered is kept");
                                    written.stopped = Some(Stopped::Error(Box::new(stop)));
                                }
                                written.unanswered.push(message.case(work.id));
                            }
                            Err(Failure::Run(message)) => {
                                written.stopped.get_or_insert(Stopped::Error(Box::new(message)));
                            }
                        }
                    }
                    ledger.append(entries)?;
                }
                Some(event) = events.recv() => match event {
                    Event::Paused { wait, reason } => context.tell(
                        Message::info("I201", format!("waiting {:.1} s, as the server asks", wait.as_secs_f64()))
                            .detail(format!("{reason}; {} in flight, {} to do", tasks.len(), queue.len())),
                    ),
                    Event::Retrying { reason, retry } => {
                        retries += 1;
                        if retries <= RETRIES_TOLD {
                            let of = self.sending.retries;
                            context.tell(Message::warning("W203", format!("{reason}, retry {retry}/{of}")));
                        }
                    }
                },
                _ = tick.tick() => {}
            }
            if interrupt::requested() && written.stopped.is_none() {
                written.stopped = Some(Stopped::Interrupted);
            }
            if written.stopped.is_some() && Instant::now() >= *deadline.get_or_insert(Instant::now() + GRACE)
            {
                break;
            }
        }
        context.count("requests_sent", sent);
        context.count("retries", retries);
        Ok(())
    }
}
