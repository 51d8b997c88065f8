//! What is known of batches at a server: kept beside the ledger before and after every step, so that a run that is killed at any
//! instant finds what it has paid for.

use serde::{Deserialize, Serialize};
use stage::{Message, atomic};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// File name of the state.
pub const FILE_NAME: &str = "batches.json";

const FORMAT: &str = "gtgm/batches/1";

/// The batches of a report directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Format of the file.
    batches: String,
    /// Server.
    base: String,
    /// Language model.
    model: String,
    /// Batches whose answers are not in the ledger yet.
    pub(crate) open: Vec<Open>,
    /// What earlier batches left undone, by request.
    pub(crate) past: Earlier,
    #[serde(skip)]
    path: PathBuf,
}

/// What earlier batches left undone, by request.
pub(crate) type Earlier = BTreeMap<String, Past>;

/// A batch that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Open {
    /// SHA-256 of the file of requests.
    pub(crate) input: String,
    /// A random number that tells it from others with the same requests.
    pub(crate) key: String,
    /// Its requests, each with the number of answers that the ledger held before.
    pub(crate) requests: BTreeMap<String, usize>,
    /// The file at the server; none before it is there.
    pub(crate) file: Option<String>,
    /// The batch at the server; none before it is known.
    pub(crate) batch: Option<String>,
}

/// What became of a request in earlier batches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Past {
    /// Answers that were rejected.
    pub(crate) rejected: usize,
    /// Batches without an answer.
    pub(crate) missed: usize,
    /// Whether the server refused it, so that it is not sent again.
    pub(crate) refused: bool,
    /// Why there was no answer.
    pub(crate) reason: String,
}

impl State {
    /// The state in `directory`; none where no batch was begun.
    ///
    /// # Errors
    /// `E215` for a file that is none.
    pub(crate) fn load(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join(FILE_NAME);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let broken = |detail: String| {
            Message::error("E215", "the state of batches cannot be read")
                .detail(format!("{}: {detail}", path.display()))
                .cause("The file was edited, or belongs to another version")
                .fix("Remove it to give up what the server still works on; those requests are paid for again")
        };
        let mut state: Self = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        if state.batches != FORMAT {
            return Err(broken(format!("found format {}, expected {FORMAT}", state.batches)).into());
        }
        state.path = path;
        Ok(Some(state))
    }

    /// The state in `directory` for a run with a server and a model.
    ///
    /// # Errors
    /// As [`Self::load`]; `E228` where another server or model still has batches.
    pub(crate) fn open(directory: &Path, base: &str, model: &str) -> anyhow::Result<Self> {
        let new = || Self {
            batches: FORMAT.to_owned(),
            base: base.to_owned(),
            model: model.to_owned(),
            open: Vec::new(),
            past: Earlier::new(),
            path: directory.join(FILE_NAME),
        };
        match Self::load(directory)? {
            Some(state) if state.base == base && state.model == model => Ok(state),
            Some(state) if state.is_begun() => Err(Message::error("E228", "another server or model has batches of these requests")
                .detail(format!(
                    "{}: found {} and model {}, now {base} and model {model}",
                    state.path.display(),
                    state.base,
                    state.model
                ))
                .fix("Use that server, or remove the file to give those batches up; their requests are paid for again")
                .into()),
            _ => Ok(new()),
        }
    }

    /// Writes it down.
    pub(crate) fn save(&self) -> io::Result<()> {
        if self.open.is_empty() && self.past.is_empty() {
            return atomic::remove(&self.path).map(drop);
        }
        atomic::write(&self.path, &serde_json::to_vec(self)?)
    }

    /// Whether a batch may be at the server: none is made before its file is there.
    pub(crate) fn is_begun(&self) -> bool {
        self.open.iter().any(|open| open.file.is_some())
    }

    /// Whether a request may be in a batch at the server.
    pub(crate) fn has(&self, request: &str) -> bool {
        self.open.iter().any(|open| open.file.is_some() && open.requests.contains_key(request))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The server.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }
}

/// Refuses other work as long as a server may be working on batches: their answers would be lost.
///
/// # Errors
/// `E228` where there are any; as [`State::load`].
pub(crate) fn refuse_open(directory: &Path) -> anyhow::Result<()> {
    let Some(state) = State::load(directory)?.filter(State::is_begun) else { return Ok(()) };
    let n: usize = state.open.iter().map(|open| open.requests.len()).sum();
    Err(Message::error("E228", format!("{n} requests of other options are in batches at the server"))
        .detail(format!("{} at {}, model {}", state.path.display(), state.base, state.model))
        .fix("Repeat the options that they were made with and --batch to take their answers, or remove the file to give them up")
        .into())
}

/// Removes the state of a run that has all it can get; tells of batches that nobody needs any more.
///
/// # Errors
/// As [`State::load`]; any I/O error.
pub(crate) fn end(directory: &Path, context: &stage::Context) -> anyhow::Result<()> {
    let Some(mut state) = State::load(directory)? else { return Ok(()) };
    for open in std::mem::take(&mut state.open) {
        if let Some(batch) = open.batch {
            let text = format!("the answers of batch {batch} were not needed");
            context.tell(
                Message::warning("W213", text)
                    .detail(format!("{} requests at {}", open.requests.len(), state.base))
                    .cause("Options or captions are others than when it was made")
                    .fix("Cancel it at the server if it still runs"),
            );
        }
    }
    state.past.clear();
    Ok(state.save()?)
}
