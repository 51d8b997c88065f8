//! Batch files of OpenAI's form in place of a server: requests go out in one, answers come back in another, whenever that is.

use super::{Api, Plan, Work};
use crate::client::classify::{Answer, Verdict, classify};
use crate::ledger::{Entry, Ledger};
use crate::writer::{Stopped, Task};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage::{Context, Message, atomic};
use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where requests go, as batch files name it.
const URL: &str = "/v1/chat/completions";
/// Answers that one synchronisation of the disk serves for.
const GROUP: usize = 1000;
/// Lines that are told one by one, of each kind.
const FEW: usize = 5;

/// Batch files.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Answers to be read.
    pub input: Option<PathBuf>,
    /// Where requests that have no answer yet go.
    pub out: Option<PathBuf>,
}

impl Files {
    /// Whether there is any: then no server is contacted.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.input.is_some() || self.out.is_some()
    }
}

/// A line that asks.
#[derive(Serialize)]
struct Request<'a> {
    custom_id: &'a str,
    method: &'static str,
    url: &'static str,
    body: Value,
}

/// A line that answers.
#[derive(Deserialize)]
struct Line {
    custom_id: String,
    response: Option<Response>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default = "ok")]
    status_code: u16,
    #[serde(default)]
    body: Value,
}

fn ok() -> u16 {
    200
}

/// Lines of one kind: the first few are told with their numbers, the rest is counted.
struct Odd<'a> {
    what: &'static str,
    n: usize,
    context: &'a Context,
}

impl Odd<'_> {
    fn tell(&mut self, place: &str, detail: impl std::fmt::Display) {
        self.n += 1;
        if self.n <= FEW {
            let message = Message::warning("W213", self.what).detail(format!("{place}: {detail}"));
            self.context.tell(message);
        }
    }

    fn end(&self) {
        if self.n > FEW {
            let more = self.n - FEW;
            self.context.tell(Message::warning("W213", format!("{}: {more} more such lines", self.what)));
        }
    }
}

/// The error for a run without server and without batch files.
#[must_use]
pub fn no_server() -> Message {
    Message::error("E216", "no server is named")
        .fix("Give --base-url or set $OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1")
}

impl Api {
    /// Reads the answers that came, then writes the requests that have none; tells whether the run has to stop for those.
    pub(super) fn exchange_files(
        &self,
        tasks: &[Task],
        plan: &mut Plan,
        ledger: &mut Ledger,
        context: &Context,
    ) -> anyhow::Result<Option<Stopped>> {
        if let Some(path) = &self.batch.input {
            self.read_answers(path, tasks, plan, ledger, context)?;
            *plan = self.plan(tasks, ledger.entries())?;
        }
        let left = plan.queue.len();
        if left == 0 {
            return Ok(None);
        }
        let Some(path) = &self.batch.out else {
            let message = Message::error("E219", format!("{left} of {} requests have no answer that can be used yet", plan.distinct))
                .fix("Write them with --batch-out FILE, or leave --batch-in off to send them; what was answered is kept");
            return Ok(Some(Stopped::Error(Box::new(message))));
        };
        self.write_requests(path, tasks, plan)?;
        context.tell(
            Message::info("I213", format!("{left} requests written to {}", path.display()))
                .detail("Nothing was sent; the file holds captions, which describe patients' images")
                .fix("Hand it to a batch service, then run the same command with --batch-in and its output. Where a server has no batch API (/v1/batches gives 404), leave both off: --concurrency requests are sent at once"),
        );
        Ok(Some(Stopped::HandedOver))
    }

    fn write_requests(&self, path: &Path, tasks: &[Task], plan: &Plan) -> io::Result<()> {
        atomic::write_with(path, |file| {
            for work in &plan.queue {
                let (_, body, _) = self.chat(work, &tasks[work.task]);
                let request = Request { custom_id: &work.request, method: "POST", url: URL, body };
                serde_json::to_writer(&mut *file, &request)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        })
    }

    fn read_answers(
        &self,
        path: &Path,
        tasks: &[Task],
        plan: &Plan,
        ledger: &mut Ledger,
        context: &Context,
    ) -> anyhow::Result<()> {
        let pending: HashMap<&str, &Work> = plan.queue.iter().map(|w| (w.request.as_str(), w)).collect();
        let known: HashSet<&str> = plan.requests.iter().map(String::as_str).collect();
        let odd = |what| Odd { what, n: 0, context };
        let mut unreadable = odd("a line of the batch file is no answer");
        let mut failed = odd("a request of the batch failed");
        let mut unknown = odd("the batch file answers what was not asked");
        let mut doubled = odd("the batch file answers a request twice; the first answer counts");
        let (mut seen, mut group, mut taken) = (HashSet::new(), Vec::new(), 0_usize);
        for (i, line) in BufReader::new(fs_err::File::open(path)?).split(b'\n').enumerate() {
            let (line, place) = (line?, format!("{} line {}", path.display(), i + 1));
            if line.trim_ascii().is_empty() {
                continue;
            }
            let line: Line = match serde_json::from_slice(&line) {
                Ok(line) => line,
                Err(error) => {
                    unreadable.tell(&place, error);
                    continue;
                }
            };
            let id = line.custom_id.clone();
            if !known.contains(id.as_str()) && ledger.answers(&id).is_empty() {
                unknown.tell(&place, format!("custom_id {id}"));
                continue;
            }
            let reply = match outcome(line) {
                Ok(reply) => reply,
                Err(reason) => {
                    failed.tell(&place, format!("custom_id {id}: {reason}"));
                    continue;
                }
            };
            if !seen.insert(id.clone()) {
                doubled.tell(&place, format!("custom_id {id}"));
                continue;
            }
            // answered before this file, or by it in an earlier run
            let Some(work) = pending.get(id.as_str()) else { continue };
            let (asked, ..) = self.chat(work, &tasks[work.task]);
            let entry = asked.entry(reply);
            if ledger.answers(&id).iter().any(|earlier| is_same(earlier, &entry)) {
                continue;
            }
            taken += 1;
            group.push(entry);
            if group.len() >= GROUP {
                ledger.append(std::mem::take(&mut group))?;
            }
        }
        if !group.is_empty() {
            ledger.append(group)?;
        }
        for odd in [&unreadable, &failed, &unknown, &doubled] {
            odd.end();
        }
        context.tell(Message::info("I213", format!("{taken} new answers from {}", path.display())));
        Ok(())
    }
}

/// The reply of a line, or why there is none.
fn outcome(line: Line) -> Result<crate::client::classify::Reply, String> {
    let said = line.error.filter(|error| !error.is_null());
    let (response, error) = match (line.response, said) {
        (Some(response), None) => (response, None),
        (Some(response), Some(error)) if response.status_code >= 300 => (response, Some(error)),
        (_, Some(error)) => return Err(error.to_string()),
        (None, None) => return Err("neither response nor error".to_owned()),
    };
    let body = if response.body.is_null() { error.unwrap_or_default() } else { response.body };
    let answer = Answer {
        status: response.status_code,
        content_type: "application/json".to_owned(),
        retry_after: None,
        body: body.to_string().into_bytes(),
    };
    match classify(&answer, SystemTime::now()) {
        Verdict::Reply(reply) => Ok(reply),
        Verdict::Again { reason, .. }
        | Verdict::Item(reason)
        | Verdict::NoSchema(reason)
        | Verdict::Run(reason)
        | Verdict::Insecure(reason) => Err(reason),
    }
}

/// Whether two rejected entries come from the same answer; what was said of them may differ by the room they had.
fn is_same(a: &Entry, b: &Entry) -> bool {
    let of = |e: &Entry| (e.text.clone(), e.finish_reason.clone(), e.prompt_tokens, e.completion_tokens);
    of(a) == of(b)
}
