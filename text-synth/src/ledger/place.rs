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

/// File name of what continues such a ledger while another one is being continued in [`NEXT_NAME`], such as `ledger.next.3f2c91aa0b1c.jsonl`.
fn next_aside_name(header: &Header) -> serde_json::Result<String> {
    Ok(format!("ledger.next.{}.jsonl", &digest::digest_of(header)?[..DIGITS]))
}

/// Whether a file of this name is a ledger.
#[must_use]
pub fn is_ledger(name: &str) -> bool {
    let middle = name.strip_prefix("ledger.").and_then(|rest| rest.strip_suffix(".jsonl"));
    let is_digest = |text: &str| text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    [FILE_NAME, NEXT_NAME].contains(&name)
        || middle.is_some_and(|middle| is_digest(middle.strip_prefix("next.").unwrap_or(middle)))
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
    for name in [FILE_NAME, &aside_name(header)?, &next_aside_name(header)?, NEXT_NAME] {
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

/// The file for answers to requests of `header`, with all that were given so far. What a finished directory's manifest lists is neither changed nor
/// joined; ledgers of other options are set aside.
///
/// # Errors
/// As [`header_of`].
pub(super) fn to_write(directory: &Path, header: &Header) -> anyhow::Result<PathBuf> {
    let [path, next] = [FILE_NAME, NEXT_NAME].map(|name| directory.join(name));
    if directory.join(manifest::FILE_NAME).is_file() {
        continue_in(&next, directory, header)?;
        return Ok(next);
    }
    for from in [&path, &next] {
        set_aside(from, Some(header), aside_name)?;
    }
    remove_cut(&next)?;
    for name in [&aside_name(header)?, &next_aside_name(header)?, NEXT_NAME] {
        move_over(&directory.join(name), &path)?;
    }
    atomic::sync_directory(directory)?;
    Ok(path)
}

/// Makes `next` the file of `header` beside what is finished: whole from its first moment, so that no kill and no full disk leaves one that hides what
/// was answered before.
fn continue_in(next: &Path, directory: &Path, header: &Header) -> anyhow::Result<()> {
    set_aside(next, Some(header), next_aside_name)?;
    match find(directory, header)? {
        Some(found) if found == next => {}
        Some(found) => atomic::write(next, &fs_err::read(found)?)?,
        None => atomic::write(next, format!("{}\n", serde_json::to_string(header)?).as_bytes())?,
    }
    // all that it held is in `next`
    atomic::remove(&directory.join(next_aside_name(header)?))?;
    Ok(())
}

/// Renames a ledger of other options than `header` says to what `name` makes of them, and gives its new place; one without any answer goes.
fn set_aside(
    path: &Path,
    header: Option<&Header>,
    name: fn(&Header) -> serde_json::Result<String>,
) -> anyhow::Result<Option<PathBuf>> {
    match look(path)? {
        Some((found, _)) if Some(&found) == header => Ok(None),
        Some((found, true)) => {
            let to = path.with_file_name(name(&found)?);
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

/// Removes a file that ends within its first line.
fn remove_cut(path: &Path) -> anyhow::Result<()> {
    if look(path)?.is_none() {
        atomic::remove(path)?;
    }
    Ok(())
}

/// Puts a file in the place of one of the same options; the longer one stays, of two as long the one that is moved.
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

/// The files in `directory` that continue ledgers of other options beside what is finished, each with its name once nothing is.
fn continuations(directory: &Path) -> io::Result<Vec<[PathBuf; 2]>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_ledger(name))
            && let Some(rest) = name.strip_prefix("ledger.next.")
            && name != NEXT_NAME
        {
            found.push([directory.join(name), directory.join(format!("ledger.{rest}"))]);
        }
    }
    found.sort();
    Ok(found)
}

/// Once the manifest is withdrawn: puts the answers of `header` in the ledger's place, and sets those of other options aside; gives the files that
/// now hold these. Without a header no model was asked, and all are set aside.
///
/// # Errors
/// As [`header_of`].
pub fn take_over(directory: &Path, header: Option<&Header>) -> anyhow::Result<Vec<PathBuf>> {
    let [path, next] = [FILE_NAME, NEXT_NAME].map(|name| directory.join(name));
    let mut aside = Vec::new();
    for from in [&path, &next] {
        aside.extend(set_aside(from, header, aside_name)?);
    }
    remove_cut(&next)?;
    for [from, to] in continuations(directory)? {
        move_over(&from, &to)?;
        aside.push(to);
    }
    if let Some(header) = header {
        let own = directory.join(aside_name(header)?);
        // the settled one comes last: of two as long it stays
        for from in [&own, &next] {
            move_over(from, &path)?;
        }
        aside.retain(|path| *path != own);
    }
    atomic::sync_directory(directory)?;
    aside.sort();
    aside.dedup();
    Ok(aside)
}

/// Removes what an unfinished rerun has left in a finished `directory` where that adds nothing: no answer, or none that the ledger lacks. Tells whether
/// nothing of a rerun is there any more.
///
/// # Errors
/// As [`header_of`].
pub(super) fn clear(directory: &Path) -> anyhow::Result<bool> {
    let [path, next] = [FILE_NAME, NEXT_NAME].map(|name| directory.join(name));
    if next.is_file() {
        let adds = header_of(&next)?.is_some()
            && !(path.is_file() && fs_err::read(&path)?.starts_with(&fs_err::read(&next)?));
        if adds {
            return Ok(false);
        }
        atomic::remove(&next)?;
    }
    Ok(continuations(directory)?.is_empty())
}

/// Tells where the answers of other options are kept.
#[must_use]
pub fn kept(aside: &Path) -> Message {
    let name = aside.file_name().unwrap_or_default().display();
    Message::info("I230", format!("answers of other options are kept in {name}"))
        .detail("The options that they were asked with find them there")
}

#[cfg(test)]
mod tests;
