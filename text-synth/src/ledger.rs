//! The append-only record of paid answers: one JSON line each, on disk before it is used, keyed by the digest of the request.
//! A run that is killed and started again finds here what was answered and never sends it again.

pub mod place;
pub mod round;

use serde::{Deserialize, Serialize};
use stage::Message;
use std::collections::HashMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Beginning of the reason of a request that was refused for good.
const REFUSED: &str = "refused: ";

const FORMAT: &str = "gtgm/ledger/1";

/// First line: whose answers these are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Format of the file.
    pub ledger: String,
    /// Language model.
    pub model: String,
    /// Prompt, as [`crate::prompts::Prompt::label`] writes it.
    pub prompt: String,
    /// Sampling parameters.
    pub parameters: serde_json::Value,
}

impl Header {
    /// A header of this version.
    #[must_use]
    pub fn new(model: &str, prompt: &str, parameters: serde_json::Value) -> Self {
        Self { ledger: FORMAT.to_owned(), model: model.to_owned(), prompt: prompt.to_owned(), parameters }
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// SHA-256 of the request.
    pub request: String,
    /// Why it cannot be used; empty when it can.
    pub reasons: Vec<String>,
    /// The text: cleaned when it can be used, as it came otherwise.
    pub text: String,
    /// Why the server stopped.
    pub finish_reason: Option<String>,
    /// Model as the server names it.
    pub served_model: Option<String>,
    /// Tokens of the prompt, as the server counted; estimated where it does not say.
    pub prompt_tokens: u64,
    /// Tokens of the reply, as the server counted; estimated where it does not say.
    pub completion_tokens: u64,
}

impl Entry {
    /// What is kept of a request that cannot succeed, so that it is not sent again.
    #[must_use]
    pub fn of_refusal(request: &str, reason: &str) -> Self {
        Self {
            request: request.to_owned(),
            reasons: vec![format!("{REFUSED}{reason}")],
            text: String::new(),
            finish_reason: None,
            served_model: None,
            prompt_tokens: 0,
            completion_tokens: 0,
        }
    }

    /// Whether the answer can be used.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether the request was refused, and nothing was said.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        refusal(&self.reasons).is_some()
    }
}

/// Why a request was refused, where these reasons say so.
#[must_use]
pub fn refusal(reasons: &[String]) -> Option<&str> {
    reasons.iter().find_map(|reason| reason.strip_prefix(REFUSED))
}

/// Tokens of prompts and of replies in answers.
#[must_use]
pub fn tokens(entries: &HashMap<String, Vec<Entry>>) -> [u64; 2] {
    entries
        .values()
        .flatten()
        .fold([0, 0], |[p, c], e| [p.saturating_add(e.prompt_tokens), c.saturating_add(e.completion_tokens)])
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    appender: Appender,
    entries: HashMap<String, Vec<Entry>>,
    header: Header,
    healed: bool,
}

/// Writes lines at the end of a ledger, on any thread; one at a time.
#[derive(Debug, Clone)]
pub struct Appender {
    path: PathBuf,
    file: Arc<std::fs::File>,
}

impl Appender {
    /// Writes answers; they are on disk when this returns.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn write(&self, entries: &[Entry]) -> std::io::Result<()> {
        self.write_lines(&entries.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?)
    }

    fn write_lines(&self, lines: &[String]) -> std::io::Result<()> {
        let mut text = lines.join("\n");
        text.push('\n');
        let written = (&*self.file).write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written
            .map_err(|e| std::io::Error::new(e.kind(), format!("cannot write {}: {e}", self.path.display())))
    }
}

/// The whole lines of a ledger, and their entries by request.
struct Content {
    whole: usize,
    entries: HashMap<String, Vec<Entry>>,
    has_header: bool,
}

impl Content {
    fn read(bytes: &[u8], path: &Path) -> Result<Self, Message> {
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let mut lines =
            bytes[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        let mut content = Self { whole, entries: HashMap::new(), has_header: false };
        if let Some((_, line)) = lines.next() {
            // whose answers these are, was looked at when the file was chosen
            let _header: Header = serde_json::from_slice(line).map_err(|e| broken(path, 1, &e))?;
            content.has_header = true;
        }
        for (number, line) in lines {
            let entry: Entry = serde_json::from_slice(line).map_err(|e| broken(path, number + 1, &e))?;
            content.entries.entry(entry.request.clone()).or_default().push(entry);
        }
        Ok(content)
    }
}

fn broken(path: &Path, line: usize, error: &serde_json::Error) -> Message {
    Message::error("E215", "the ledger of answers cannot be read")
        .detail(format!("{} line {line}: {error}", path.display()))
        .cause("The file was edited, or belongs to another version")
        .fix("Remove that line; its answer is asked for again")
}

impl Ledger {
    /// Opens or starts the ledger in `directory`; one of other options is set aside ([`place`]). A last line without its end, which a kill
    /// leaves, is cut off.
    ///
    /// # Errors
    /// `E215` when a whole line is not an entry; any I/O error.
    pub fn open(directory: &Path, header: &Header) -> anyhow::Result<Self> {
        if let Some(path) = place::find(directory, header)? {
            // refused before anything is copied
            Content::read(&fs_err::read(&path)?, &path)?;
        }
        let path = place::to_write(directory, header)?;
        let mut file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?
            .into_parts()
            .0;
        let bytes = fs_err::read(&path)?;
        let content = Content::read(&bytes, &path)?;
        let healed = content.whole < bytes.len();
        if healed {
            file.set_len(content.whole as u64)?;
        }
        file.seek(SeekFrom::End(0))?;
        let appender = Appender { path, file: Arc::new(file) };
        if !content.has_header {
            appender.write_lines(&[serde_json::to_string(header)?])?;
        }
        Ok(Self { appender, entries: content.entries, header: header.clone(), healed })
    }

    /// The answers in `directory`, by request, where nothing is to be changed; none without a ledger of these options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn peek(directory: &Path, header: &Header) -> anyhow::Result<HashMap<String, Vec<Entry>>> {
        match place::find(directory, header)? {
            Some(path) => Ok(Content::read(&fs_err::read(&path)?, &path)?.entries),
            None => Ok(HashMap::new()),
        }
    }

    /// Whether an incomplete last line was cut off.
    #[must_use]
    pub fn healed(&self) -> bool {
        self.healed
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.appender.path
    }

    /// All answers to a request, in the order in which they came.
    #[must_use]
    pub fn answers(&self, request: &str) -> &[Entry] {
        self.entries.get(request).map_or(&[], Vec::as_slice)
    }

    /// The answer to a request that can be used.
    #[must_use]
    pub fn accepted(&self, request: &str) -> Option<&Entry> {
        self.answers(request).iter().find(|e| e.accepted())
    }

    /// The answers that can be used.
    pub fn used(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().flatten().filter(|entry| entry.accepted())
    }

    /// Whether any request was replied to.
    #[must_use]
    pub fn has_replies(&self) -> bool {
        self.entries.values().flatten().any(|entry| !entry.is_refusal())
    }

    /// All answers, by request.
    #[must_use]
    pub fn entries(&self) -> &HashMap<String, Vec<Entry>> {
        &self.entries
    }

    /// Records answers; they are on disk when this returns.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn append(&mut self, entries: Vec<Entry>) -> anyhow::Result<()> {
        self.appender.write(&entries)?;
        self.remember(entries);
        Ok(())
    }

    /// What writes to this ledger's file; what it wrote is to be [remembered](Self::remember).
    #[must_use]
    pub fn appender(&self) -> Appender {
        self.appender.clone()
    }

    /// Takes over answers that the [`Appender`] has written.
    pub fn remember(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.entries.entry(entry.request.clone()).or_default().push(entry);
        }
    }

    /// Rewrites the ledger with the answers to `order` first and in that order, others behind by digest, so that its bytes
    /// do not depend on which reply came first.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn settle(self, order: &[String]) -> anyhow::Result<()> {
        let mut rest = self.entries;
        let mut lines = vec![serde_json::to_string(&self.header)?];
        let mut push = |entries: Vec<Entry>| -> serde_json::Result<()> {
            for entry in entries {
                lines.push(serde_json::to_string(&entry)?);
            }
            Ok(())
        };
        for request in order {
            if let Some(entries) = rest.remove(request) {
                push(entries)?;
            }
        }
        let mut rest: Vec<_> = rest.into_iter().collect();
        rest.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, entries) in rest {
            push(entries)?;
        }
        let mut text = lines.join("\n");
        text.push('\n');
        stage::atomic::write(&self.appender.path, text.as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::place::{FILE_NAME, NEXT_NAME, take_over};
    use super::*;
    use serde_json::json;

    fn entry(request: &str, reasons: &[&str]) -> Entry {
        Entry {
            request: request.into(),
            reasons: reasons.iter().map(|r| (*r).into()).collect(),
            text: "text\nof two lines".into(),
            finish_reason: Some("stop".into()),
            served_model: None,
            prompt_tokens: 10,
            completion_tokens: 3,
        }
    }

    #[test]
    fn any_cut_keeps_the_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let header = Header::new("m", "p/1", json!({"t": 0.5}));
        let mut ledger = Ledger::open(directory.path(), &header).unwrap();
        ledger.append(vec![entry("a", &[])]).unwrap();
        ledger.append(vec![entry("b", &["empty"]), entry("b", &[])]).unwrap();
        drop(ledger);
        let path = directory.path().join(FILE_NAME);
        let bytes = fs_err::read(&path).unwrap();
        let ends: Vec<_> =
            bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        for cut in 0..=bytes.len() {
            fs_err::write(&path, &bytes[..cut]).unwrap();
            let peeked = Ledger::peek(directory.path(), &header).unwrap();
            assert_eq!(fs_err::read(&path).unwrap(), bytes[..cut], "looking changes nothing");
            let ledger = Ledger::open(directory.path(), &header).unwrap();
            let whole = ends.iter().filter(|e| **e <= cut).count();
            assert_eq!(
                ledger.answers("a").len() + ledger.answers("b").len(),
                whole.saturating_sub(1),
                "cut {cut}"
            );
            assert_eq!(ledger.entries(), &peeked);
            assert_eq!(ledger.healed(), cut > 0 && !ends.contains(&cut));
            drop(ledger);
            // what is appended next begins on a line of its own
            let mut again = Ledger::open(directory.path(), &header).unwrap();
            assert!(!again.healed());
            again.append(vec![entry("z", &[])]).unwrap();
            drop(again);
            assert_eq!(Ledger::open(directory.path(), &header).unwrap().answers("z").len(), 1);
        }
    }

    #[test]
    fn a_finished_ledger_stays_until_it_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let header = Header::new("m", "p/1", json!({}));
        let mut ledger = Ledger::open(directory.path(), &header).unwrap();
        ledger.append(vec![entry("a", &[]), Entry::of_refusal("b", "HTTP 400: no")]).unwrap();
        drop(ledger);
        let path = directory.path().join(FILE_NAME);
        let manifest = directory.path().join(data_manifests::manifest::FILE_NAME);
        fs_err::write(&manifest, "{}").unwrap();
        let finished = fs_err::read(&path).unwrap();
        let mut ledger = Ledger::open(directory.path(), &header).unwrap();
        assert!(ledger.answers("b")[0].is_refusal() && !ledger.answers("a")[0].is_refusal());
        ledger.append(vec![entry("b", &[])]).unwrap();
        drop(ledger);
        // a killed run's answers are found, whether or not the manifest is still there
        for _ in 0..2 {
            assert!(Ledger::peek(directory.path(), &header).unwrap()["b"].len() == 2);
            let ledger = Ledger::open(directory.path(), &header).unwrap();
            assert_eq!(ledger.answers("b").len(), 2);
            ledger.settle(&["b".into()]).unwrap();
            assert_eq!(fs_err::read(&path).unwrap() == finished, manifest.is_file());
            if manifest.is_file() {
                fs_err::remove_file(&manifest).unwrap();
            }
        }
        for _ in 0..2 {
            assert!(take_over(directory.path(), Some(&header)).unwrap().is_empty());
        }
        assert!(!directory.path().join(NEXT_NAME).exists());
        assert_eq!(Ledger::open(directory.path(), &header).unwrap().answers("b").len(), 2);
    }

    #[test]
    fn a_settled_ledger_does_not_depend_on_the_order_of_replies() {
        let header = Header::new("m", "p", json!({}));
        let bytes = |order: &[&str]| {
            let directory = tempfile::tempdir().unwrap();
            let mut ledger = Ledger::open(directory.path(), &header).unwrap();
            for request in order {
                ledger.append(vec![entry(request, &[])]).unwrap();
            }
            ledger.settle(&["c".into(), "a".into()]).unwrap();
            let bytes = fs_err::read(directory.path().join(FILE_NAME)).unwrap();
            assert_eq!(tokens(Ledger::open(directory.path(), &header).unwrap().entries()), [40, 12]);
            bytes
        };
        assert_eq!(bytes(&["a", "b", "c", "d"]), bytes(&["d", "c", "b", "a"]));
    }

    #[test]
    fn a_broken_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let header = Header::new("m", "p", json!({}));
        drop(Ledger::open(directory.path(), &header).unwrap());
        let path = directory.path().join(FILE_NAME);
        let text = fs_err::read_to_string(&path).unwrap();
        fs_err::write(&path, format!("{text}nonsense\n")).unwrap();
        let error = Ledger::open(directory.path(), &header).unwrap_err().to_string();
        assert!(error.starts_with("E215") && error.contains("line 2"), "{error}");
    }
}
