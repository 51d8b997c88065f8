//! Batches of OpenAI's form: requests go out together, answers come back together, whenever that is. Files take the place of a
//! server, or the server's own batch API is used.

pub(super) mod answers;
mod input;
pub(super) mod live;
pub mod state;

use super::{Api, Plan};
use crate::ledger::Ledger;
use crate::ledger::round::Round;
use crate::writer::{Stopped, Task};
use answers::{Reading, Whose};
pub use input::MOST_REQUESTS;
use serde::Serialize;
use serde_json::Value;
use stage::{Context, Message, atomic};
use state::State;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

/// Batch files in place of a server.
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

/// How the batch API of a server is used.
#[derive(Debug, Clone, Copy)]
pub struct Batching {
    /// Requests of one batch.
    pub most_requests: usize,
}

/// A line that asks.
#[derive(Serialize)]
struct Request<'a> {
    custom_id: &'a str,
    method: &'static str,
    url: &'static str,
    body: Value,
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
        round: &Round,
        context: &Context,
    ) -> anyhow::Result<Option<Stopped>> {
        if let Some(path) = &self.batch.input {
            self.read_answers(path, tasks, plan, ledger, context)?;
            *plan = self.plan(tasks, ledger.entries(), round)?;
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
        if let Some(message) = self.left_open(plan)? {
            return Ok(Some(Stopped::Error(Box::new(message))));
        }
        self.write_requests(path, tasks, plan)?;
        context.tell(
            Message::info("I213", format!("{left} requests written to {}", path.display()))
                .detail("Nothing was sent; the file holds captions, which describe patients' images")
                .fix("Hand it to a batch service, then run the same command with --batch-in and its output. With --batch in their place the server's own batch API is used; where it has none (/v1/batches gives 404), --concurrency requests are sent at once"),
        );
        Ok(Some(Stopped::HandedOver))
    }

    fn write_requests(&self, path: &Path, tasks: &[Task], plan: &Plan) -> std::io::Result<()> {
        atomic::write_with(path, |file| {
            for work in &plan.queue {
                file.write_all(&input::line(self, work, tasks)?.0)?;
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
        let known = plan.requests.iter().map(String::as_str).collect();
        let name = path.display().to_string();
        let mut reading = Reading::new(self, tasks, plan, Whose::File(known), context);
        reading.read(&name, BufReader::new(fs_err::File::open(path)?), ledger)?;
        let (taken, _) = reading.end(ledger)?;
        context.tell(Message::info("I213", format!("{taken} new answers from {name}")));
        Ok(())
    }

    /// The error for a run that would pay again for requests that are in batches at a server; none where there are none.
    pub(super) fn left_open(&self, plan: &Plan) -> anyhow::Result<Option<Message>> {
        let Some(state) = State::load(&self.directory)? else { return Ok(None) };
        let n = plan.queue.iter().filter(|work| state.has(&work.request)).count();
        Ok((n > 0).then(|| {
            Message::error("E228", format!("{n} of the requests are in batches at the server"))
                .detail(format!("{} at {}", state.path().display(), state.base()))
                .fix("Add --batch to take their answers, or remove the file to give them up; they are paid for again then")
        }))
    }
}
