//! Checks a finished stage directory byte by byte.

use crate::digest;
use crate::manifest::{self, Manifest};
use stage::sealed;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that is wrong with a stage directory; empty when every byte is as written.
///
/// The manifest and the run report carry their own seals, every other file's SHA-256 stands in the manifest, the lock
/// must be empty, and no file may be there that the manifest does not list.
///
/// # Errors
/// Fails when the directory holds no finished stage, or a file cannot be read.
pub fn verify(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let manifest = Manifest::load_any(directory)?;
    let mut listed: BTreeMap<&str, _> = manifest.outputs.iter().map(|o| (o.path.as_str(), o)).collect();
    for path in digest::files_below(directory)? {
        let file = directory.join(&path);
        if path == manifest::FILE_NAME {
            continue;
        }
        if path == "report.json" {
            if let Err(error) = sealed::check(&file) {
                wrong.push(error.to_string());
            }
            continue;
        }
        if path == stage::lock::FILE_NAME {
            let bytes = fs_err::metadata(&file)?.len();
            if bytes != 0 {
                wrong.push(format!("{path}: the lock is not empty; a run is writing here, or was killed"));
            }
            continue;
        }
        let Some(expected) = listed.remove(path.as_str()) else {
            wrong.push(format!("{path}: not in the manifest"));
            continue;
        };
        let (bytes, sha256) = digest::file(&file)?;
        if bytes != expected.bytes {
            wrong.push(format!("{path}: found {bytes} bytes, expected {}", expected.bytes));
        } else if sha256 != expected.sha256 {
            wrong.push(format!("{path}: found SHA-256 {sha256}, expected {}", expected.sha256));
        }
    }
    wrong.extend(listed.keys().map(|path| format!("{path}: missing")));
    Ok(wrong)
}
