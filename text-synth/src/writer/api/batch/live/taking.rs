//! Batches are waited for, and their answers taken.

use super::{Halt, Live, WAITING};
use crate::client::batches::{Batch, Status, Trouble};
use crate::writer::api::batch::answers::{Reading, Whose};
use crate::writer::api::{ATTEMPTS, Plan};
use stage::Message;
use std::io::BufReader;
use std::sync::Arc;

impl Live<'_> {
    /// Waits until one of the batches is at its end.
    pub(super) async fn wait(&mut self) -> Result<(usize, Batch), Halt> {
        let client = Arc::clone(&self.client);
        let mut looks = 0;
        loop {
            looks += 1;
            let mut asked = None;
            for place in 0..self.state.open.len() {
                let open = &self.state.open[place];
                let Some(id) = open.batch.clone().filter(|_| self.is_ours(open)) else { continue };
                let look = async || client.batch(&id).await;
                let (batch, after) = match self.until(client.persist(look)).await? {
                    Err(Trouble::Refused(404, _)) => return Err(self.lost(&id).into()),
                    looked => looked?,
                };
                if batch.status() != Status::Going {
                    return Ok((place, batch));
                }
                asked = asked.max(after.map(|after| after.min(WAITING.longest)));
            }
            let wait = WAITING.delay(looks, asked, rand::random());
            self.until(tokio::time::sleep(wait)).await?;
        }
    }

    fn lost(&self, id: &str) -> Message {
        Message::error("E227", format!("the server does not know batch {id}"))
            .detail(self.state.path().display().to_string())
            .cause("It was made with another key, or the server has forgotten it")
            .fix("Use the key it was made with, or remove the file to send its requests again; they are paid for again then")
    }

    /// Brings the answers of a batch that is at its end to the ledger.
    pub(super) async fn take(&mut self, place: usize, batch: &Batch, plan: &Plan) -> Result<(), Halt> {
        let open = self.state.open[place].clone();
        let mut reading =
            Reading::new(self.api, self.tasks, plan, Whose::Batch(&open.requests), self.context);
        for (kind, id) in batch.files() {
            let file = self.download(id).await?;
            reading.read(&format!("batch {}, {kind} file,", batch.id), BufReader::new(file), self.ledger)?;
        }
        let (taken, failed) = reading.end(self.ledger)?;
        let waits_for_others =
            batch.waits_for_others() && self.state.open.iter().filter(|open| self.is_ours(open)).count() > 1;
        let (mut without, mut replies, mut is_hopeless) = (0, 0, false);
        for (id, before) in &open.requests {
            let answers = self.ledger.answers(id);
            replies += usize::from(answers.len() > *before);
            if self.ledger.accepted(id).is_some() {
                self.state.past.remove(id);
                continue;
            }
            let is_rejected = answers.len() > *before;
            let past = self.state.past.entry(id.clone()).or_default();
            if is_rejected {
                past.rejected += 1;
                continue;
            }
            without += 1;
            past.missed += usize::from(!waits_for_others);
            is_hopeless |= past.missed >= ATTEMPTS;
            match failed.get(id) {
                Some(failed) => {
                    past.refused |= !failed.again;
                    past.reason.clone_from(&failed.reason);
                }
                None if batch.status() == Status::Failed => past.reason = batch.errors(),
                None => {
                    past.reason = format!("batch {} ({}) has no answer to it", batch.id, batch.status_word())
                }
            }
        }
        self.state.open.remove(place);
        self.state.save()?;
        let status = batch.status_word();
        let text =
            format!("{taken} new answers from batch {} ({status}), {without} requests without one", batch.id);
        self.context.tell(Message::info("I213", text));
        self.judge(batch, is_hopeless, without)?;
        match failed.values().find(|failed| failed.all) {
            Some(failed) if replies == 0 => Err(self.client.refused(&failed.reason).into()),
            _ => Ok(()),
        }
    }

    /// What follows from how a batch ended.
    fn judge(&self, batch: &Batch, is_hopeless: bool, without: usize) -> Result<(), Halt> {
        match batch.status() {
            Status::Failed if is_hopeless => {
                let reason = format!("batch {}: {}", batch.id, batch.errors());
                Err(self.client.refused(&reason).into())
            }
            Status::Failed => {
                let text = format!("the server refused batch {}; its requests go into another one", batch.id);
                self.context.tell(Message::warning("W213", text).detail(batch.errors()));
                Ok(())
            }
            Status::Cancelled => {
                Err(Message::error("E227", format!("batch {} was cancelled at the server", batch.id))
                    .detail(format!("{without} of its requests have no answer"))
                    .fix("Run the same command to send them in another batch; what was answered is kept")
                    .into())
            }
            Status::Going | Status::Completed | Status::Expired => Ok(()),
        }
    }

    /// A file of the server, on disk: it may be large. It has no name, so that nothing is left of it.
    async fn download(&mut self, id: &str) -> Result<std::fs::File, Halt> {
        let mut file = tempfile::tempfile_in(&self.api.directory)?;
        let client = Arc::clone(&self.client);
        let download = async || client.download(id, &mut file).await;
        self.until(client.persist(download)).await???;
        Ok(file)
    }
}
