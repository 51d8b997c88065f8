//! What a run of BLIP has said so far, so that an interrupted one goes on: one line for each picture, on disk batch by batch.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// File name of a journal; it is gone once the captions are finished.
pub const FILE_NAME: &str = "captioned.jsonl";

const FORMAT: &str = "gtgm/captioned/1";

/// First line: which work this is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    journal: String,
    /// Digest of parameters and inputs.
    work: String,
    /// Pictures that go through the network at once: rounding depends on it.
    batch: usize,
}

/// What was said of one picture, as it came.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    id: String,
    text: String,
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    said: HashMap<String, String>,
}

impl Journal {
    /// Opens or starts the journal in `directory`. What belongs to other work, and a line that a kill left unfinished with all
    /// behind it, is dropped: it can be made again.
    pub(super) fn open(directory: &Path, work: &str, batch: usize) -> io::Result<Self> {
        let path = directory.join(FILE_NAME);
        let header = Header { journal: FORMAT.to_owned(), work: work.to_owned(), batch };
        let mut options = fs_err::OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path)?.into_parts().0;
        let bytes = fs_err::read(&path)?;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let first = lines
            .next()
            .filter(|line| serde_json::from_slice(line).is_ok_and(|found: Header| found == header));
        let mut journal_end = first.map_or(0, <[u8]>::len);
        let mut said = HashMap::new();
        if first.is_some() {
            for line in lines {
                let Ok(Said { id, text }) = serde_json::from_slice(line) else { break };
                said.insert(id, text);
                journal_end += line.len();
            }
        }
        file.set_len(journal_end as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut journal = Self { file, said };
        if first.is_none() {
            journal.write(&[serde_json::to_string(&header)?])?;
        }
        Ok(journal)
    }

    /// How many pictures are in it.
    pub(super) fn len(&self) -> usize {
        self.said.len()
    }

    /// What was said of pictures; none unless it is known of all.
    pub(super) fn all<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
        ids.map(|id| self.said.get(id).cloned()).collect()
    }

    /// Adds a batch; it is on disk when this returns.
    pub(super) fn add<'a>(&mut self, said: impl Iterator<Item = (&'a str, &'a str)>) -> io::Result<()> {
        let line = |(id, text): (&str, &str)| {
            serde_json::to_string(&Said { id: id.to_owned(), text: text.to_owned() })
        };
        self.write(&said.map(line).collect::<Result<Vec<_>, _>>()?)
    }

    fn write(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = lines.join("\n");
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}

/// Removes the journal of a run that is finished.
///
/// # Errors
/// Any I/O error.
pub fn remove(directory: &Path) -> io::Result<()> {
    stage::atomic::remove(&directory.join(FILE_NAME)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_keeps_the_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let open = |work: &str, batch| Journal::open(directory.path(), work, batch).unwrap();
        let mut journal = open("w", 2);
        journal.add([("a", "one\n"), ("b", "")].into_iter()).unwrap();
        journal.add([("c", "three")].into_iter()).unwrap();
        drop(journal);
        let bytes = fs_err::read(&path).unwrap();
        let ends: Vec<_> =
            bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i + 1).collect();
        for cut in 0..=bytes.len() {
            fs_err::write(&path, &bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(open("w", 2).len(), whole.saturating_sub(1), "cut {cut}");
            let mut again = open("w", 2);
            again.add([("z", "last")].into_iter()).unwrap();
            drop(again);
            assert_eq!(open("w", 2).all(["z"].into_iter()), Some(vec!["last".to_owned()]));
        }
        fs_err::write(&path, &bytes).unwrap();
        let all = open("w", 2);
        assert_eq!(all.all(["b", "a"].into_iter()), Some(vec![String::new(), "one\n".to_owned()]));
        assert_eq!(all.all(["a", "x"].into_iter()), None);
        drop(all);
        // other work, or other batches
        assert_eq!(open("w", 3).len(), 0);
        fs_err::write(&path, &bytes).unwrap();
        assert_eq!(open("v", 2).len(), 0);
        remove(directory.path()).unwrap();
        remove(directory.path()).unwrap();
        assert!(!path.exists());
    }
}
