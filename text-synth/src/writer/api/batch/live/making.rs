//! Batches are made of what may go into one, each once.

use super::{Halt, Live};
use crate::client::batches::{Batch, Trouble};
use crate::ledger;
use crate::writer::api::Plan;
use crate::writer::api::batch::input::{self, Input};
use crate::writer::api::batch::state::Open;
use crate::writer::api::budget::Budget;
use stage::Message;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a batch is known by: the digest of its requests, the model, and a number of its own.
const INPUT: &str = "text_synth_input";
const MODEL: &str = "text_synth_model";
const KEY: &str = "text_synth_batch";

impl Live<'_> {
    /// Looks for batches that a killed run may have made without learning their names.
    pub(super) async fn recover(&mut self) -> Result<(), Halt> {
        while let Some(place) = self.state.open.iter().position(|open| open.batch.is_none()) {
            let open = self.state.open[place].clone();
            let found = match &open.file {
                None => None,
                Some(_) => self.find(&open).await?,
            };
            match found {
                Some(batch) => self.state.open[place].batch = Some(batch.id),
                None => {
                    self.state.open.remove(place);
                    self.uploaded.extend(open.file.map(|file| (open.input, file)));
                }
            }
            self.state.save()?;
        }
        Ok(())
    }

    async fn find(&mut self, open: &Open) -> Result<Option<Batch>, Halt> {
        let (client, model) = (Arc::clone(&self.client), self.api.options.model.as_str());
        let fits = |batch: &Batch| is_same(open, model, batch);
        Ok(self.until(client.persist(async || client.find_batch(fits).await)).await??)
    }

    /// Makes batches of what may go into one now. Requests that had their turn wait until no batch is under way, so that they
    /// go together.
    pub(super) async fn create(&mut self, plan: &Plan) -> Result<(), Halt> {
        let is_under_way = self.state.open.iter().any(|open| self.is_ours(open));
        let limits = self.api.options.limits.clone();
        let mut budget = Budget::new(&limits, ledger::tokens(self.ledger.entries()));
        let mut queue = VecDeque::new();
        for work in plan.queue.iter().filter(|work| !self.is_given_up(work)) {
            if self.state.has(&work.request) {
                let (.., need) = self.api.chat(work, &self.tasks[work.task]);
                budget.hold(need);
            } else if !is_under_way || !self.state.past.contains_key(&work.request) {
                queue.push_back(work.clone());
            }
        }
        while !queue.is_empty() {
            let may_be_sent = self
                .api
                .sending
                .most_requests
                .map_or(u64::MAX, |most| most.saturating_sub(self.api.shared.sent()));
            let most = usize::try_from(may_be_sent).unwrap_or(usize::MAX).min(self.batching.most_requests);
            let answers = |id: &str| self.ledger.answers(id).len();
            let Some(input) = input::cut(self.api, self.tasks, &mut queue, &mut budget, most, answers)?
            else {
                break;
            };
            self.submit(input).await?;
        }
        match queue.front() {
            // what is under way may use less than was set aside for it
            Some(next) if !self.state.open.iter().any(|open| self.is_ours(open)) => {
                let (.., need) = self.api.chat(next, &self.tasks[next.task]);
                let is_most =
                    self.api.sending.most_requests.is_some_and(|most| self.api.shared.sent() >= most);
                let message =
                    if is_most { self.client.too_many() } else { budget.reached(need, queue.len()) };
                Err(message.into())
            }
            _ => Ok(()),
        }
    }

    /// Sends a file of requests and has it worked off.
    async fn submit(&mut self, input: Input) -> Result<(), Halt> {
        let is_alone = !self.state.is_begun();
        let place = self.state.open.len();
        let known = self.uploaded.remove(&input.sha256);
        let mut may_be_stale = known.is_some();
        self.state.open.push(Open {
            input: input.sha256.clone(),
            key: format!("{:016x}", rand::random::<u64>()),
            requests: input.requests,
            file: known,
            batch: None,
        });
        self.state.save()?;
        let client = Arc::clone(&self.client);
        let batch = loop {
            if self.state.open[place].file.is_none() {
                let name = format!("{}.jsonl", input.sha256);
                let upload = async || client.upload(input.file.as_file(), &name).await;
                let file = match self.until(client.persist(upload)).await? {
                    Err(trouble) if trouble.is_no_endpoint() && is_alone => return self.without_api(place),
                    uploaded => uploaded??,
                };
                self.state.open[place].file = Some(file);
                self.state.save()?;
            }
            match self.start(place).await? {
                Ok(batch) => break batch,
                // the server may have given up a file that a killed run left
                Err(Trouble::Refused(400 | 404 | 422, _)) if may_be_stale => {
                    may_be_stale = false;
                    self.state.open[place].file = None;
                }
                // the address is there, so a 404 is about the file
                Err(Trouble::Refused(405 | 501, _)) if is_alone => return self.without_api(place),
                Err(trouble) => return Err(trouble.into()),
            }
        };
        let n = self.state.open[place].requests.len();
        self.state.open[place].batch = Some(batch.id.clone());
        self.state.save()?;
        self.created += 1;
        self.api.shared.add(n as u64);
        self.context.tell(
            Message::info("I213", format!("{n} requests sent as batch {}", batch.id))
                .detail("Interrupt at any time: the same command goes on"),
        );
        Ok(())
    }

    fn without_api(&mut self, place: usize) -> Result<(), Halt> {
        self.state.open.remove(place);
        self.state.save()?;
        Err(Halt::NoApi)
    }

    /// Makes the batch of a file. Where it is not sure that an attempt failed, the batch is looked for before the next one.
    async fn start(&mut self, place: usize) -> Result<Result<Batch, Trouble>, Halt> {
        let (client, model) = (Arc::clone(&self.client), self.api.options.model.clone());
        let open = self.state.open[place].clone();
        let file = open.file.clone().unwrap_or_default();
        let metadata = [(INPUT, open.input.as_str()), (MODEL, model.as_str()), (KEY, open.key.as_str())];
        let tried = Cell::new(false);
        let create = async || {
            if tried.replace(true) {
                let fits = |batch: &Batch| is_same(&open, &model, batch);
                if let Some(found) = client.find_batch(fits).await? {
                    return Ok(found);
                }
            }
            client.create_batch(&file, &metadata).await
        };
        self.until(client.persist(create)).await
    }
}

/// Whether a batch at the server is the one that was begun.
fn is_same(open: &Open, model: &str, batch: &Batch) -> bool {
    let is_of_file = open.file.is_some() && open.file == batch.input_file_id;
    let says = |key: &str, value: &str| batch.metadata(key) == Some(value);
    is_of_file || (says(INPUT, &open.input) && says(MODEL, model) && says(KEY, &open.key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_known_by_its_file_or_by_all_that_was_said_of_it() {
        let open = Open {
            input: "digest".into(),
            key: "key".into(),
            requests: [("r".to_owned(), 0)].into(),
            file: Some("file-1".into()),
            batch: None,
        };
        let fits = |text: &str| is_same(&open, "model", &serde_json::from_str(text).unwrap());
        assert!(fits(r#"{"id": "b", "input_file_id": "file-1"}"#));
        let said = |key: &str| {
            format!(
                r#"{{"id": "b", "input_file_id": "other", "metadata": {{"{INPUT}": "digest", "{MODEL}": "model", "{KEY}": "{key}"}}}}"#
            )
        };
        assert!(fits(&said("key")));
        assert!(!fits(&said("of an earlier batch with the same requests")));
        assert!(!fits(r#"{"id": "b"}"#));
    }
}
