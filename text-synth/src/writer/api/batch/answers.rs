//! Answers of a batch, line by line, whether a person brought the file or a server sent it.

use crate::client::classify::{Answer, Reply, Verdict, classify};
use crate::client::secret::Secret;
use crate::ledger::{Entry, Ledger};
use crate::writer::Task;
use crate::writer::api::{Api, Plan, Work};
use serde::Deserialize;
use serde_json::Value;
use stage::{Context, Message};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, Read};
use std::time::SystemTime;

/// Answers that one synchronisation of the disk serves for.
const GROUP: usize = 1000;
/// Lines that are told one by one, of each kind.
const FEW: usize = 5;
/// Longest line that is read: as long as a reply that comes alone.
const LONGEST_LINE: u64 = 8 << 20;

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

/// Why a line brings no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) reason: String,
    /// Whether the same request may succeed.
    pub(super) again: bool,
    /// Whether no request can.
    pub(super) all: bool,
}

impl Failed {
    /// The same without the key in its reason.
    fn hiding(self, secret: &Secret) -> Self {
        Self { reason: secret.hide(self.reason), ..self }
    }
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

/// What is known of the requests that may be answered.
pub(super) enum Whose<'a> {
    /// A file that somebody brought: all requests of the run.
    File(HashSet<&'a str>),
    /// A batch: its requests, each with the number of answers before.
    Batch(&'a BTreeMap<String, usize>),
}

impl Whose<'_> {
    fn asked(&self, id: &str, ledger: &Ledger) -> bool {
        match self {
            Self::File(known) => known.contains(id) || !ledger.answers(id).is_empty(),
            Self::Batch(requests) => requests.contains_key(id),
        }
    }

    /// Whether an earlier run has taken the entry already.
    fn has(&self, entry: &Entry, ledger: &Ledger) -> bool {
        let answers = ledger.answers(&entry.request);
        match self {
            Self::File(_) => answers.iter().any(|earlier| is_same(earlier, entry)),
            Self::Batch(requests) => {
                requests.get(&entry.request).is_none_or(|before| answers.len() > *before)
            }
        }
    }
}

/// Whether two rejected entries come from the same answer; what was said of them may differ by the room they had.
fn is_same(a: &Entry, b: &Entry) -> bool {
    let of = |e: &Entry| (e.text.clone(), e.finish_reason.clone(), e.prompt_tokens, e.completion_tokens);
    of(a) == of(b)
}

/// Takes answers to the ledger.
pub(super) struct Reading<'a> {
    api: &'a Api,
    tasks: &'a [Task],
    pending: HashMap<&'a str, &'a Work>,
    whose: Whose<'a>,
    unreadable: Odd<'a>,
    failing: Odd<'a>,
    unknown: Odd<'a>,
    doubled: Odd<'a>,
    seen: HashSet<String>,
    group: Vec<Entry>,
    taken: usize,
    failed: HashMap<String, Failed>,
}

impl<'a> Reading<'a> {
    /// Reads answers to what is queued in `plan`.
    pub(super) fn new(
        api: &'a Api,
        tasks: &'a [Task],
        plan: &'a Plan,
        whose: Whose<'a>,
        context: &'a Context,
    ) -> Self {
        let odd = |what| Odd { what, n: 0, context };
        Self {
            api,
            tasks,
            pending: plan.queue.iter().map(|work| (work.request.as_str(), work)).collect(),
            whose,
            unreadable: odd("a line of the batch file is no answer"),
            failing: odd("a request of the batch failed"),
            unknown: odd("the batch file answers what was not asked"),
            doubled: odd("the batch file answers a request twice; the first answer counts"),
            seen: HashSet::new(),
            group: Vec::new(),
            taken: 0,
            failed: HashMap::new(),
        }
    }

    /// Reads one file; `name` is how messages call it.
    pub(super) fn read(
        &mut self,
        name: &str,
        mut input: impl BufRead,
        ledger: &mut Ledger,
    ) -> anyhow::Result<()> {
        let (mut line, mut number) = (Vec::new(), 0_usize);
        while let Some(whole) = next_line(&mut input, &mut line)? {
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let place = format!("{name} line {number}");
            if !whole {
                self.unreadable.tell(&place, format!("longer than {LONGEST_LINE} bytes"));
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(line) => self.take(line, &place, ledger)?,
                Err(error) => self.unreadable.tell(&place, error),
            }
        }
        Ok(())
    }

    fn take(&mut self, line: Line, place: &str, ledger: &mut Ledger) -> anyhow::Result<()> {
        let id = line.custom_id.clone();
        if !self.whose.asked(&id, ledger) {
            self.unknown.tell(place, format!("custom_id {id}"));
            return Ok(());
        }
        let secret = self.api.endpoint.as_ref().map(|endpoint| endpoint.secret().clone()).unwrap_or_default();
        let reply = match outcome(line, &secret) {
            Ok(reply) => reply,
            Err(failed) => {
                let failed = failed.hiding(&secret);
                self.failing.tell(place, format!("custom_id {id}: {}", failed.reason));
                self.failed.insert(id, failed);
                return Ok(());
            }
        };
        if !self.seen.insert(id.clone()) {
            self.doubled.tell(place, format!("custom_id {id}"));
            return Ok(());
        }
        // answered before this file, or by it in an earlier run
        let Some(work) = self.pending.get(id.as_str()) else { return Ok(()) };
        let (asked, ..) = self.api.chat(work, &self.tasks[work.task]);
        let entry = asked.entry(reply);
        if self.whose.has(&entry, ledger) {
            return Ok(());
        }
        self.taken += 1;
        self.group.push(entry);
        if self.group.len() >= GROUP {
            ledger.append(std::mem::take(&mut self.group))?;
        }
        Ok(())
    }

    /// Brings the rest to the ledger and tells what was odd; gives how many answers were taken, and why others were not.
    pub(super) fn end(self, ledger: &mut Ledger) -> anyhow::Result<(usize, HashMap<String, Failed>)> {
        if !self.group.is_empty() {
            ledger.append(self.group)?;
        }
        for odd in [&self.unreadable, &self.failing, &self.unknown, &self.doubled] {
            odd.end();
        }
        Ok((self.taken, self.failed))
    }
}

/// The next line, without more of it than [`LONGEST_LINE`]; false where it is longer, none at the end.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    if input.by_ref().take(LONGEST_LINE).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    let whole = line.ends_with(b"\n") || (line.len() as u64) < LONGEST_LINE;
    if !whole {
        input.skip_until(b'\n')?;
    }
    Ok(Some(whole))
}

/// The reply of a line, or why there is none.
fn outcome(line: Line, secret: &Secret) -> Result<Reply, Failed> {
    let failed = |reason: String| Failed { reason, again: true, all: false };
    let said = line.error.filter(|error| !error.is_null());
    let (response, error) = match (line.response, said) {
        (Some(response), None) => (response, None),
        (Some(response), Some(error)) if response.status_code >= 300 => (response, Some(error)),
        (_, Some(error)) => return Err(failed(error.to_string())),
        (None, None) => return Err(failed("neither response nor error".to_owned())),
    };
    let body = if response.body.is_null() { error.unwrap_or_default() } else { response.body };
    let answer = Answer {
        status: response.status_code,
        content_type: "application/json".to_owned(),
        body: body.to_string().into_bytes(),
        secret: secret.clone(),
        ..Answer::default()
    };
    match classify(&answer, SystemTime::now()) {
        Verdict::Reply(reply) => Ok(reply),
        Verdict::Again { reason, .. } | Verdict::Unreadable(reason) => Err(failed(reason)),
        Verdict::Item(reason) | Verdict::NoSchema(reason) => Err(Failed { reason, again: false, all: false }),
        Verdict::Run(reason) | Verdict::Insecure(reason) => Err(Failed { reason, again: true, all: true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_or_not_at_all() {
        let mut text = b"one\n\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', LONGEST_LINE as usize + 5));
        text.extend(b"\nlast");
        let (mut input, mut line, mut found) = (&text[..], Vec::new(), Vec::new());
        while let Some(whole) = next_line(&mut input, &mut line).unwrap() {
            assert!(line.len() as u64 <= LONGEST_LINE);
            found.push((whole, line.len()));
        }
        assert_eq!(found, [(true, 4), (true, 1), (false, LONGEST_LINE as usize), (true, 4)]);
    }

    #[test]
    fn failures_are_told_apart() {
        let of = |text: &str| {
            outcome(serde_json::from_str(text).unwrap(), &Secret::default()).map_err(|f| (f.again, f.all))
        };
        for (text, expected) in [
            (r#"{"custom_id": "a", "response": null, "error": {"code": "batch_expired"}}"#, (true, false)),
            (r#"{"custom_id": "a", "response": {"status_code": 500, "body": {}}}"#, (true, false)),
            (
                r#"{"custom_id": "a", "response": {"status_code": 400, "body": {}}, "error": null}"#,
                (false, false),
            ),
            (r#"{"custom_id": "a", "response": {"status_code": 404, "body": {}}}"#, (true, true)),
            (r#"{"custom_id": "a", "response": null}"#, (true, false)),
        ] {
            assert_eq!(of(text), Err(expected), "{text}");
        }
    }
}
