//! Where the ledgers of a directory lie. One is worked on; those of other options are set aside in files of their own and found again when these
//! options come back, so that no answer is ever paid for twice or lost. Whoever works on answers begins with the longest file of these options and
//! only adds to it: of two files of the same options the longer one holds all that the other does.

use super::Header;
use data_manifests::{digest, manifest};
use stage::{Message, atomic};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// File name of a ledger.
pub const FILE_NAME: &str = "ledger.jsonl";
/// File name of a finished directory's ledger with what came since: its manifest lists the other one, which stays as it is until there is
/// something to put in the place of what was finished.
pub const NEXT_NAME: &str = "ledger.next.jsonl";

/// Digits of the digest in the name of a ledger that is set aside.
const DIGITS: usize = 12;
/// Longest line that is read: longer than any reply.
const LONGEST_LINE: u64 = 32 << 20;

/// File name of a ledger that is set aside, such as `ledger.3f2c91aa0b1c.jsonl`: the beginning of its header's digest.
///
/// # Errors
/// Never in practice: headers are JSON.
pub fn aside_name(header: &Header) -> serde_json::Result<String> {
    Ok(format!("ledger.{}.jsonl", &digest::digest_of(header)?[..DIGITS]))
}

/// Whether a file of this name is a ledger.
#[must_use]
pub fn is_ledger(name: &str) -> bool {
    let middle = name.strip_prefix("ledger.").and_then(|rest| rest.strip_suffix(".jsonl"));
    let is_digest = |text: &str| text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    [FILE_NAME, NEXT_NAME].contains(&name) || middle.is_some_and(is_digest)
}

/// The first line of a ledger, and whether any answer follows; none where there is no file, or not the whole of a line in it.
fn look(path: &Path) -> anyhow::Result<Option<(Header, bool)>> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (mut file, mut line) = (BufReader::new(file), Vec::new());
    file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Ok(None);
    }
    let header = serde_json::from_slice(&line).map_err(|error| super::broken(path, 1, &error))?;
    line.clear();
    file.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    // an answer longer than what is read is one, too
    Ok(Some((header, line.ends_with(b"\n") || line.len() as u64 == LONGEST_LINE)))
}

/// Whose answers are in a file; none where there is none.
///
/// # Errors
/// `E215` for a first line that is none of a ledger; any I/O error.
pub fn header_of(path: &Path) -> anyhow::Result<Option<Header>> {
    Ok(look(path)?.and_then(|(header, has_answers)| has_answers.then_some(header)))
}

/// The file in `directory` with the answers to requests of `header`, where there is one.
///
/// # Errors
/// As [`header_of`].
pub fn find(directory: &Path, header: &Header) -> anyhow::Result<Option<PathBuf>> {
    let mut longest = None;
    for name in [FILE_NAME, &aside_name(header)?, NEXT_NAME] {
        let path = directory.join(name);
        if header_of(&path)?.as_ref() == Some(header) {
            let bytes = fs_err::metadata(&path)?.len();
            longest = longest.max(Some((bytes, path)));
        }
    }
    Ok(longest.map(|(_, path)| path))
}

/// The ledger of other options that an unfinished directory was begun with; `header` is that of the options now, none where no model is asked.
///
/// # Errors
/// As [`header_of`].
pub fn other(directory: &Path, header: Option<&Header>) -> anyhow::Result<Option<(PathBuf, Header)>> {
    for name in [NEXT_NAME, FILE_NAME] {
        let path = directory.join(name);
        if let Some(found) = header_of(&path)? {
            return Ok((Some(&found) != header).then_some((path, found)));
        }
    }
    Ok(None)
}

/// The file for answers to requests of `header`. What a finished directory's manifest lists is not changed, and ledgers of other options are set
/// aside.
///
/// # Errors
/// As [`header_of`].
pub(super) fn to_write(directory: &Path, header: &Header) -> anyhow::Result<PathBuf> {
    let [path, next] = [FILE_NAME, NEXT_NAME].map(|name| directory.join(name));
    set_aside(&next, Some(header))?;
    if next.is_file() {
        return Ok(next);
    }
    if directory.join(manifest::FILE_NAME).is_file() {
        if let Some(found) = find(directory, header)? {
            atomic::write(&next, &fs_err::read(found)?)?;
        }
        return Ok(next);
    }
    set_aside(&path, Some(header))?;
    move_over(&directory.join(aside_name(header)?), &path)?;
    atomic::sync_directory(directory)?;
    Ok(path)
}

/// Renames a ledger of other options than `header` says, and gives its new place; one without any answer goes.
fn set_aside(path: &Path, header: Option<&Header>) -> anyhow::Result<Option<PathBuf>> {
    match look(path)? {
        Some((found, _)) if Some(&found) == header => Ok(None),
        Some((found, true)) => {
            let to = path.with_file_name(aside_name(&found)?);
            move_over(path, &to)?;
            Ok(Some(to))
        }
        Some((_, false)) => {
            atomic::remove(path)?;
            Ok(None)
        }
        // what a kill has left of a first line is nobody's
        None => Ok(None),
    }
}

/// Puts a file in the place of one of the same options; the longer one stays.
fn move_over(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = |path: &Path| {
        if path.is_file() { fs_err::metadata(path).map(|file| Some(file.len())) } else { Ok(None) }
    };
    match (bytes(from)?, bytes(to)?) {
        (None, _) => Ok(()),
        (Some(moved), Some(there)) if there > moved => fs_err::remove_file(from),
        (Some(_), _) => fs_err::rename(from, to),
    }
}

/// Once the manifest is withdrawn: puts the answers of `header` in the ledger's place, and sets those of other options aside; gives the files that
/// now hold these. Without a header no model was asked, and all are set aside.
///
/// # Errors
/// As [`header_of`].
pub fn take_over(directory: &Path, header: Option<&Header>) -> anyhow::Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    for name in [FILE_NAME, NEXT_NAME] {
        aside.extend(set_aside(&directory.join(name), header)?);
    }
    if let Some(header) = header {
        for name in [NEXT_NAME, &aside_name(header)?] {
            move_over(&directory.join(name), &directory.join(FILE_NAME))?;
        }
    }
    atomic::sync_directory(directory)?;
    aside.dedup();
    Ok(aside)
}

/// Tells where the answers of other options are kept.
#[must_use]
pub fn kept(aside: &Path) -> Message {
    let name = aside.file_name().unwrap_or_default().display();
    Message::info("I230", format!("answers of other options are kept in {name}"))
        .detail("The options that they were asked with find them there")
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Ledger};
    use super::*;
    use serde_json::json;

    fn header(model: &str) -> Header {
        Header::new(model, "p/1", json!({"t": 0.5}))
    }

    fn say(directory: &Path, model: &str, request: &str) {
        let mut ledger = Ledger::open(directory, &header(model)).unwrap();
        ledger.append(vec![Entry::of_refusal(request, "HTTP 400: no")]).unwrap();
    }

    /// The requests that are answered for each model, wherever that stands.
    fn known(directory: &Path) -> [Vec<String>; 2] {
        ["one", "two"].map(|model| {
            let mut known: Vec<_> = Ledger::peek(directory, &header(model)).unwrap().into_keys().collect();
            known.sort();
            known
        })
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs_err::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_ledgers_have_their_names() {
        let aside = aside_name(&header("one")).unwrap();
        for name in [FILE_NAME, NEXT_NAME, &aside] {
            assert!(is_ledger(name), "{name}");
        }
        for name in
            ["ledger.json", "ledger.old.jsonl", "ledger.3f2c91aa0b1.jsonl", "ledger.3f2c91aa0b1z.jsonl"]
        {
            assert!(!is_ledger(name), "{name}");
        }
        assert_ne!(aside, aside_name(&header("two")).unwrap());
    }

    #[test]
    fn answers_of_other_options_are_neither_mixed_nor_lost_while_nothing_is_finished() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        say(at, "one", "a");
        assert_eq!(other(at, Some(&header("one"))).unwrap(), None);
        let (path, found) = other(at, Some(&header("two"))).unwrap().unwrap();
        assert_eq!((path, found.model.as_str()), (at.join(FILE_NAME), "one"));
        assert!(other(at, None).unwrap().is_some());
        say(at, "two", "b");
        say(at, "one", "c");
        assert_eq!(known(at), [vec!["a", "c"], vec!["b"]]);
        assert_eq!(names(at), [aside_name(&header("two")).unwrap().as_str(), FILE_NAME]);
        // without a model
        assert_eq!(take_over(at, None).unwrap(), [at.join(aside_name(&header("one")).unwrap())]);
        assert_eq!(known(at), [vec!["a", "c"], vec!["b"]]);
        assert_eq!(other(at, None).unwrap(), None);
    }

    #[test]
    fn what_holds_no_answer_is_nobodys() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        drop(Ledger::open(at, &header("one")).unwrap());
        assert_eq!(other(at, Some(&header("two"))).unwrap(), None);
        say(at, "two", "b");
        assert_eq!(names(at), [FILE_NAME]);
        assert_eq!(known(at), [vec![], vec!["b"]]);
    }

    #[test]
    fn a_finished_directory_keeps_its_files_until_it_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        say(at, "one", "a");
        let manifest = at.join(manifest::FILE_NAME);
        fs_err::write(&manifest, "{}").unwrap();
        let finished = fs_err::read(at.join(FILE_NAME)).unwrap();
        say(at, "two", "b");
        assert!(fs_err::read(at.join(FILE_NAME)).unwrap() == finished);
        assert_eq!(names(at), [FILE_NAME, NEXT_NAME, manifest::FILE_NAME]);
        // the finished options again: what was begun stands aside
        say(at, "one", "c");
        assert_eq!(known(at), [vec!["a", "c"], vec!["b"]]);
        say(at, "two", "d");
        fs_err::remove_file(&manifest).unwrap();
        // killed before it took over, and after
        for _ in 0..2 {
            assert_eq!(known(at), [vec!["a", "c"], vec!["b", "d"]]);
            take_over(at, Some(&header("two"))).unwrap();
        }
        assert_eq!(known(at), [vec!["a", "c"], vec!["b", "d"]]);
        assert_eq!(names(at), [aside_name(&header("one")).unwrap().as_str(), FILE_NAME]);
        assert_eq!(header_of(&at.join(FILE_NAME)).unwrap(), Some(header("two")));
        // and back
        say(at, "one", "e");
        assert_eq!(known(at), [vec!["a", "c", "e"], vec!["b", "d"]]);
    }
}
