//! What a writer is: it turns captions, and the reports of a volume, into text.

pub mod api;
pub mod judge;
pub mod template;

use crate::facts::Facts;
use crate::ledger::Header;
use data_manifests::records::Caption;
use serde::{Deserialize, Serialize};
use stage::{Context, Message};
use std::fmt;

/// File of [`Rejected`] lines in a report directory.
pub const REJECTED: &str = "rejected.jsonl";

/// What a text is made from. Neither the id nor the case may reach a language model.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Id of the caption, or of the case for a volume.
    pub id: String,
    /// What is described.
    pub subject: Subject,
    /// The caption; for a volume the slice reports, one a line.
    pub caption: String,
    /// Measured facts; of a volume those of its slices, summed up.
    pub facts: Facts,
    /// A text that was found wanting, to be written anew.
    pub draft: Option<Draft>,
}

impl Task {
    /// The same task without the words that an answer may well repeat: the caption, and the text that is to be corrected, whose wrong sentences
    /// the objections quote.
    #[must_use]
    pub fn without_words(&self) -> Self {
        let unquoted = |objection: &Objection| Objection { sentence: None, reason: objection.reason.clone() };
        let draft = self.draft.as_ref().map(|draft| Draft {
            text: String::new(),
            objections: draft.objections.iter().map(unquoted).collect(),
        });
        Self { caption: String::new(), draft, ..self.clone() }
    }

    /// The text for a caption.
    #[must_use]
    pub fn of_slice(caption: &Caption) -> Self {
        Self {
            id: caption.id.clone(),
            subject: Subject::Slice,
            caption: caption.caption.clone(),
            facts: Facts::from_record(&caption.facts),
            draft: None,
        }
    }
}

/// What a text describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// One slice or tile.
    Slice,
    /// All slices of a case.
    Volume,
}

/// A text that contradicts what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub objections: Vec<Objection>,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The sentence that is wrong; none where it is the whole text.
    pub sentence: Option<String>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sentence {
            Some(sentence) => write!(f, "\"{sentence}\": {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// The text for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The report.
    pub text: String,
    /// SHA-256 of everything that decided it.
    pub request: String,
}

/// A reply that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// Id of the caption.
    pub id: String,
    /// SHA-256 of the request.
    pub request: String,
    /// Which reply to the request this was, from 1.
    pub attempt: usize,
    /// Why it was not used.
    pub reasons: Vec<String>,
    /// Why the server stopped.
    pub finish_reason: Option<String>,
    /// The reply as it came.
    pub text: String,
    /// Whether another reply to the same request was used.
    pub replaced: bool,
}

/// What a writer made of some captions.
#[derive(Debug, Default)]
pub struct Written {
    /// One entry per task, in their order; none where no usable text came.
    pub texts: Vec<Option<Text>>,
    /// Replies that were not used, in the order of the tasks.
    pub rejected: Vec<Rejected>,
    /// Requests that got no reply, each with the task's id; a rerun sends them again.
    pub unanswered: Vec<Message>,
    /// Why the run has to stop before all is answered.
    pub stopped: Option<Stopped>,
}

/// Why a writer stopped early.
#[derive(Debug)]
pub enum Stopped {
    /// A signal asked for it.
    Interrupted,
    /// The requests were written to a file; their answers come another way.
    HandedOver,
    /// The server or the command line is at fault.
    Error(Box<Message>),
}

/// Writes texts.
pub trait Writer {
    /// Name and version, which stand in every record.
    fn name(&self) -> String;

    /// The language model, where there is one.
    fn model(&self) -> Option<String>;

    /// Whose answers its ledger holds; none for a writer that asks no model.
    ///
    /// # Errors
    /// Never in practice: options are JSON.
    fn header(&self) -> anyhow::Result<Option<Header>> {
        Ok(None)
    }

    /// The option that makes room for longer replies, where the writer has one.
    fn more_room(&self) -> Option<String> {
        None
    }

    /// Refuses what lies where the writer works and cannot be read, and changes nothing. A writer that keeps nothing has nothing to refuse.
    ///
    /// # Errors
    /// `E215`.
    fn check(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Writes a text for each task.
    ///
    /// # Errors
    /// When nothing can be written at all.
    fn write(&mut self, tasks: &[Task], context: &Context) -> anyhow::Result<Written>;
}
