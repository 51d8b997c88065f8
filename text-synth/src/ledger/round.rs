//! A round in which requests whose answers were all rejected are asked again: what the ledger held before it is written down, so that a
//! round that is interrupted goes on, and asks for nothing twice.

use super::Entry;
use serde::{Deserialize, Serialize};
use stage::{Message, atomic};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

/// File name of a round that is not finished.
pub const FILE_NAME: &str = "retry.json";

const FORMAT: &str = "gtgm/retry/1";

/// A round, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round(Option<BTreeMap<String, usize>>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    retry: String,
    /// Answers before the round to each request that had none to be used.
    before: BTreeMap<String, usize>,
}

impl Round {
    /// The round in `directory`, or a new one over `entries`; none unless it is `asked` for. Changes nothing.
    ///
    /// # Errors
    /// `E215` for a file that is none.
    pub fn peek(
        directory: &Path,
        entries: &HashMap<String, Vec<Entry>>,
        asked: bool,
    ) -> anyhow::Result<Self> {
        if !asked {
            return Ok(Self::default());
        }
        let path = directory.join(FILE_NAME);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::new(entries)),
            Err(error) => return Err(error.into()),
        };
        let broken = |detail: String| {
            Message::error("E215", "what --retry-rejected has asked so far cannot be read")
                .detail(format!("{}: {detail}", path.display()))
                .cause("The file was edited, or belongs to another version")
                .fix("Remove it: all rejected replies are asked for once more then")
        };
        let written: Written = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        if written.retry != FORMAT {
            return Err(broken(format!("found format {}, expected {FORMAT}", written.retry)).into());
        }
        Ok(Self(Some(written.before)))
    }

    fn new(entries: &HashMap<String, Vec<Entry>>) -> Self {
        let rejected = entries.iter().filter(|(_, answers)| !answers.iter().any(Entry::accepted));
        Self(Some(rejected.map(|(request, answers)| (request.clone(), answers.len())).collect()))
    }

    /// As [`Self::peek`]; a round that begins is on disk when this returns.
    ///
    /// # Errors
    /// As [`Self::peek`]; any I/O error.
    pub fn open(
        directory: &Path,
        entries: &HashMap<String, Vec<Entry>>,
        asked: bool,
    ) -> anyhow::Result<Self> {
        let round = Self::peek(directory, entries, asked)?;
        let path = directory.join(FILE_NAME);
        if let Some(before) = &round.0
            && !path.is_file()
        {
            let written = Written { retry: FORMAT.to_owned(), before: before.clone() };
            atomic::write(&path, &serde_json::to_vec(&written)?)?;
        }
        Ok(round)
    }

    /// The answers to a request that count: those of this round, or all where there is none.
    #[must_use]
    pub fn counted<'a>(&self, request: &str, answers: &'a [Entry]) -> &'a [Entry] {
        let before = self.0.as_ref().and_then(|before| before.get(request)).copied().unwrap_or_default();
        &answers[before.min(answers.len())..]
    }
}

/// Ends the round in `directory`, where there is one.
///
/// # Errors
/// Any I/O error.
pub fn end(directory: &Path) -> io::Result<()> {
    atomic::remove(&directory.join(FILE_NAME)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_counts_its_own_answers_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let refusal = || Entry::of_refusal("a", "HTTP 400: no");
        let good = Entry { reasons: Vec::new(), ..Entry::of_refusal("b", "") };
        let mut entries =
            HashMap::from([("a".to_owned(), vec![refusal(), refusal()]), ("b".to_owned(), vec![good])]);
        assert_eq!(Round::open(at, &entries, false).unwrap(), Round::default());
        let round = Round::open(at, &entries, true).unwrap();
        let counted = |round: &Round, entries: &HashMap<String, Vec<Entry>>| {
            ["a", "b"].map(|request| round.counted(request, &entries[request]).len())
        };
        assert_eq!(counted(&Round::default(), &entries), [2, 1]);
        assert_eq!(counted(&round, &entries), [0, 1]);
        entries.entry("a".to_owned()).or_default().push(refusal());
        // a killed run's round goes on
        let again = Round::open(at, &entries, true).unwrap();
        assert_eq!((&again, counted(&again, &entries)), (&round, [1, 1]));
        end(at).unwrap();
        end(at).unwrap();
        assert_eq!(counted(&Round::open(at, &entries, true).unwrap(), &entries), [0, 1]);
        fs_err::write(at.join(FILE_NAME), "{}").unwrap();
        assert!(Round::open(at, &entries, true).unwrap_err().to_string().starts_with("E215"));
    }
}
