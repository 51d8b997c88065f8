//! Checks a finished stage directory byte by byte.

use crate::digest;
use crate::manifest::{self, Artefact, Manifest};
use rayon::prelude::*;
use stage::sealed;
use std::collections::BTreeMap;
use std::path::Path;

/// What follows the name of a file that the manifest does not list.
pub(crate) const UNLISTED: &str = ": not in the manifest";

/// Everything that is wrong with a stage directory; empty when every byte is as written.
///
/// The manifest and the run report carry their own seals, every other file's SHA-256 stands in the manifest, the lock
/// must be empty, and no file may be there that the manifest does not list.
///
/// # Errors
/// Fails when the directory holds no finished stage, or a file cannot be read.
pub fn verify(directory: &Path) -> anyhow::Result<Vec<String>> {
    let manifest = Manifest::load_any(directory)?;
    let mut wrong = outputs(&manifest, directory)?;
    let report = directory.join("report.json");
    if report.is_file()
        && let Err(error) = sealed::check(&report)
    {
        wrong.push(error.to_string());
    }
    let path = stage::lock::FILE_NAME;
    let lock = directory.join(path);
    if lock.is_file() && fs_err::metadata(&lock)?.len() != 0 {
        wrong.push(format!("{path}: the lock is not empty; a run is writing here, or was killed"));
    }
    Ok(wrong)
}

/// What differs from the outputs that `manifest` lists, byte by byte, and which files it does not list; sorted by path, those
/// that are missing last.
///
/// # Errors
/// Fails when a file cannot be read.
pub fn outputs(manifest: &Manifest, directory: &Path) -> anyhow::Result<Vec<String>> {
    let listed: BTreeMap<&str, &Artefact> = manifest.outputs.iter().map(|o| (o.path.as_str(), o)).collect();
    let there = digest::files_outside(directory, |folder| listed.contains_key(folder))?;
    let mut paths: Vec<&str> =
        there.iter().map(String::as_str).filter(|path| !manifest::is_own(path)).collect();
    let trees = listed.iter().filter(|(_, output)| output.is_tree()).map(|(path, _)| *path);
    paths.extend(trees.filter(|path| directory.join(path).is_dir()));
    paths.sort_unstable();
    let files: Vec<&str> = paths
        .iter()
        .copied()
        .filter(|path| listed.get(path).is_some_and(|output| !output.is_tree()))
        .collect();
    let read: BTreeMap<&str, (u64, String)> =
        files.iter().copied().zip(digest::files(directory, &files)?).collect();
    let flaw = |path: &&str| -> anyhow::Result<Option<String>> {
        let Some(expected) = listed.get(path) else {
            return Ok(Some(format!("{path}{UNLISTED}")));
        };
        let (bytes, sha256) = match read.get(path) {
            Some(measured) => measured.clone(),
            None => expected.measure(directory)?,
        };
        Ok(if bytes != expected.bytes {
            Some(format!("{path}: found {bytes} bytes, expected {}", expected.bytes))
        } else if sha256 != expected.sha256 {
            Some(format!("{path}: found SHA-256 {sha256}, expected {}", expected.sha256))
        } else {
            None
        })
    };
    let found: Vec<Option<String>> = paths.par_iter().map(flaw).collect::<anyhow::Result<_>>()?;
    let mut wrong: Vec<String> = found.into_iter().flatten().collect();
    let missing = listed.keys().filter(|path| paths.binary_search(path).is_err());
    wrong.extend(missing.map(|path| format!("{path}: missing")));
    Ok(wrong)
}
