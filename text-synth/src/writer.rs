//! What a writer is: it turns captions into reports.

pub mod api;
pub mod judge;
pub mod template;

use data_manifests::records::Caption;
use serde::{Deserialize, Serialize};
use stage::{Context, Message};

/// File of [`Rejected`] lines in a report directory.
pub const REJECTED: &str = "rejected.jsonl";

/// The text for one caption.
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
    /// One entry per caption, in their order; none where no usable text came.
    pub texts: Vec<Option<Text>>,
    /// Replies that were not used, in the order of the captions.
    pub rejected: Vec<Rejected>,
    /// Requests that got no reply, each with the caption's id; a rerun sends them again.
    pub unanswered: Vec<Message>,
    /// Why the run has to stop before all is answered.
    pub stopped: Option<Stopped>,
}

/// Why a writer stopped early.
#[derive(Debug)]
pub enum Stopped {
    /// A signal asked for it.
    Interrupted,
    /// The server or the command line is at fault.
    Error(Box<Message>),
}

/// Turns captions into reports.
pub trait Writer {
    /// Name and version, which stand in every record.
    fn name(&self) -> String;

    /// The language model, where there is one.
    fn model(&self) -> Option<String>;

    /// Writes a text for each caption.
    ///
    /// # Errors
    /// When nothing can be written at all.
    fn write(&mut self, captions: &[Caption], context: &Context) -> anyhow::Result<Written>;
}
