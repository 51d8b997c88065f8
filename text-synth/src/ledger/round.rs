//! A round in which requests whose answers were all rejected are asked again: what the ledger held before it is written down, so that a
//! round that is interrupted goes on, and asks for nothing twice.

use super::{Entry, Header, place};
use data_manifests::digest;
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
    /// Digest of the ledger's header: whose round it is.
    #[serde(default)]
    options: Option<String>,
    /// Answers before the round to each request that had none to be used.
    before: BTreeMap<String, usize>,
}

impl Round {
    /// The round in `directory` over `entries`, the answers to requests of `header`, or a new one where there is none or one of other options; none
    /// unless it is `asked` for. Changes nothing.
    ///
    /// # Errors
    /// `E215` for a file that is none.
    pub fn peek(
        directory: &Path,
        header: &Header,
        entries: &HashMap<String, Vec<Entry>>,
        asked: bool,
    ) -> anyhow::Result<Self> {
        if !asked {
            return Ok(Self::default());
        }
        let found = Self::read(directory, header, entries)?;
        Ok(found.unwrap_or_else(|| Self::new(entries)))
    }

    /// The round of these options in `directory`.
    fn read(
        directory: &Path,
        header: &Header,
        entries: &HashMap<String, Vec<Entry>>,
    ) -> anyhow::Result<Option<Self>> {
        let path = directory.join(FILE_NAME);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
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
        let is_own = match &written.options {
            Some(options) => *options == digest::digest_of(header)?,
            // from before whose it is was written down: requests tell, since their digests depend on the options
            None => written.before.keys().any(|request| entries.contains_key(request)),
        };
        Ok(is_own.then_some(Self(Some(written.before))))
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
        header: &Header,
        entries: &HashMap<String, Vec<Entry>>,
        asked: bool,
    ) -> anyhow::Result<Self> {
        if !asked {
            return Ok(Self::default());
        }
        if let Some(found) = Self::read(directory, header, entries)? {
            return Ok(found);
        }
        let round = Self::new(entries);
        if let Some(before) = &round.0 {
            let options = Some(digest::digest_of(header)?);
            let written = Written { retry: FORMAT.to_owned(), options, before: before.clone() };
            atomic::write(&directory.join(FILE_NAME), &serde_json::to_vec(&written)?)?;
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

/// Clears what an unfinished rerun has left in a finished `directory` where no answer is lost by that.
///
/// # Errors
/// `E215` for a ledger that is none; any I/O error.
pub fn clear(directory: &Path) -> anyhow::Result<()> {
    if place::clear(directory)? {
        end(directory)?;
    }
    Ok(())
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
    use serde_json::json;

    fn header(model: &str) -> Header {
        Header::new(model, "p/1", json!({}))
    }

    fn rejected(request: &str) -> HashMap<String, Vec<Entry>> {
        HashMap::from([(
            request.to_owned(),
            vec![Entry::of_refusal(request, "no"), Entry::of_refusal(request, "no")],
        )])
    }

    #[test]
    fn a_round_counts_its_own_answers_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let refusal = || Entry::of_refusal("a", "HTTP 400: no");
        let good = Entry { reasons: Vec::new(), ..Entry::of_refusal("b", "") };
        let mut entries =
            HashMap::from([("a".to_owned(), vec![refusal(), refusal()]), ("b".to_owned(), vec![good])]);
        assert_eq!(Round::open(at, &header("one"), &entries, false).unwrap(), Round::default());
        let round = Round::open(at, &header("one"), &entries, true).unwrap();
        let counted = |round: &Round, entries: &HashMap<String, Vec<Entry>>| {
            ["a", "b"].map(|request| round.counted(request, &entries[request]).len())
        };
        assert_eq!(counted(&Round::default(), &entries), [2, 1]);
        assert_eq!(counted(&round, &entries), [0, 1]);
        entries.entry("a".to_owned()).or_default().push(refusal());
        // a killed run's round goes on
        let again = Round::open(at, &header("one"), &entries, true).unwrap();
        assert_eq!((&again, counted(&again, &entries)), (&round, [1, 1]));
        end(at).unwrap();
        end(at).unwrap();
        assert_eq!(counted(&Round::open(at, &header("one"), &entries, true).unwrap(), &entries), [0, 1]);
        fs_err::write(at.join(FILE_NAME), "{}").unwrap();
        assert!(Round::open(at, &header("one"), &entries, true).unwrap_err().to_string().starts_with("E215"));
    }

    #[test]
    fn a_round_counts_for_the_options_that_began_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let [one, two] = [rejected("a"), rejected("b")];
        let begun = Round::open(at, &header("one"), &one, true).unwrap();
        assert!(begun.counted("a", &one["a"]).is_empty());
        let more = HashMap::from([("a".to_owned(), [&one["a"][..], &one["a"][..1]].concat())]);
        let goes_on = Round::peek(at, &header("one"), &more, true).unwrap();
        assert_eq!((goes_on.counted("a", &more["a"]).len(), &goes_on), (1, &begun));
        // other options begin one of their own, in its place
        for _ in 0..2 {
            let other = Round::peek(at, &header("two"), &two, true).unwrap();
            assert!(other.counted("b", &two["b"]).is_empty());
            assert_eq!(Round::open(at, &header("two"), &two, true).unwrap(), other);
        }
        assert_ne!(Round::peek(at, &header("one"), &more, true).unwrap(), begun);
    }

    #[test]
    fn a_round_of_before_is_known_by_its_requests() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        fs_err::write(at.join(FILE_NAME), r#"{"retry": "gtgm/retry/1", "before": {"a": 1}}"#).unwrap();
        let counted = |request: &str| {
            let answers = rejected(request);
            Round::peek(at, &header("one"), &answers, true).unwrap().counted(request, &answers[request]).len()
        };
        assert_eq!((counted("a"), counted("b")), (1, 0));
    }
}
