//! The append-only record of paid answers: one JSON line each, on disk before it is used, keyed by the digest of the request.
//! A run that is killed and started again finds here what was answered and never sends it again.

use serde::{Deserialize, Serialize};
use stage::Message;
use std::collections::HashMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// File name of a ledger.
pub const FILE_NAME: &str = "ledger.jsonl";

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
    /// Tokens of the prompt, as the server counted.
    pub prompt_tokens: u64,
    /// Tokens of the reply, as the server counted.
    pub completion_tokens: u64,
}

impl Entry {
    /// Whether the answer can be used.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: std::fs::File,
    entries: HashMap<String, Vec<Entry>>,
    header: Header,
    healed: bool,
}

impl Ledger {
    /// Opens or starts the ledger in `directory`. A last line without its end, which a kill leaves, is cut off.
    ///
    /// # Errors
    /// `E212` when it holds answers of another model, prompt or parameters; `E215` when a whole line is not an entry.
    pub fn open(directory: &Path, header: &Header) -> anyhow::Result<Self> {
        let path = directory.join(FILE_NAME);
        let mut file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?
            .into_parts()
            .0;
        let bytes = fs_err::read(&path)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let healed = whole < bytes.len();
        if healed {
            file.set_len(whole as u64)?;
        }
        file.seek(SeekFrom::End(0))?;
        let mut ledger = Self { path, file, entries: HashMap::new(), header: header.clone(), healed };
        let mut lines =
            bytes[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        match lines.next() {
            None => ledger.append_lines(&[serde_json::to_string(header)?])?,
            Some((_, line)) => {
                let found: Header = serde_json::from_slice(line).map_err(|e| ledger.broken(1, &e))?;
                if found != *header {
                    return Err(ledger.foreign(&found).into());
                }
            }
        }
        for (number, line) in lines {
            let entry: Entry = serde_json::from_slice(line).map_err(|e| ledger.broken(number + 1, &e))?;
            ledger.entries.entry(entry.request.clone()).or_default().push(entry);
        }
        Ok(ledger)
    }

    fn broken(&self, line: usize, error: &serde_json::Error) -> Message {
        Message::error("E215", "the ledger of answers cannot be read")
            .detail(format!("{} line {line}: {error}", self.path.display()))
            .cause("The file was edited, or belongs to another version")
            .fix("Remove that line; its answer is asked for again")
    }

    fn foreign(&self, found: &Header) -> Message {
        let of = |h: &Header| format!("model {}, prompt {}, {}", h.model, h.prompt, h.parameters);
        Message::error("E212", "answers of another model, prompt or parameters are here")
            .detail(format!("{} holds {}; now {}", self.path.display(), of(found), of(&self.header)))
            .fix("Use another --out, or remove the file to give those answers up")
    }

    /// Whether an incomplete last line was cut off.
    #[must_use]
    pub fn healed(&self) -> bool {
        self.healed
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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

    /// Tokens of prompts and of replies so far.
    #[must_use]
    pub fn tokens(&self) -> [u64; 2] {
        self.entries.values().flatten().fold([0, 0], |[p, c], e| {
            [p.saturating_add(e.prompt_tokens), c.saturating_add(e.completion_tokens)]
        })
    }

    /// Records answers; they are on disk when this returns.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn append(&mut self, entries: Vec<Entry>) -> anyhow::Result<()> {
        let lines = entries.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        self.append_lines(&lines)?;
        for entry in entries {
            self.entries.entry(entry.request.clone()).or_default().push(entry);
        }
        Ok(())
    }

    fn append_lines(&mut self, lines: &[String]) -> std::io::Result<()> {
        let mut text = lines.join("\n");
        text.push('\n');
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written
            .map_err(|e| std::io::Error::new(e.kind(), format!("cannot write {}: {e}", self.path.display())))
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
        stage::atomic::write(&self.path, text.as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
            let ledger = Ledger::open(directory.path(), &header).unwrap();
            let whole = ends.iter().filter(|e| **e <= cut).count();
            assert_eq!(
                ledger.answers("a").len() + ledger.answers("b").len(),
                whole.saturating_sub(1),
                "cut {cut}"
            );
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
    fn answers_of_another_model_are_not_mixed() {
        let directory = tempfile::tempdir().unwrap();
        drop(Ledger::open(directory.path(), &Header::new("one", "p", json!({}))).unwrap());
        let error =
            Ledger::open(directory.path(), &Header::new("two", "p", json!({}))).unwrap_err().to_string();
        assert!(
            error.starts_with("E212") && error.contains("model one") && error.contains("model two"),
            "{error}"
        );
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
            assert_eq!(Ledger::open(directory.path(), &header).unwrap().tokens(), [40, 12]);
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
