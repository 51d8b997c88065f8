//! One digest over every byte of a case, kept in the case: a resumed run keeps only what is whole.

use crate::error::{Error, Result};
use data_manifests::digest;
use std::path::Path;

/// Attribute of the group that holds the seal.
pub(crate) const ATTRIBUTE: &str = "gtgm_seal";

/// What stands in the attribute while the digest is taken: the digest cannot cover itself.
pub(crate) const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The group's metadata.
const GROUP: &str = "zarr.json";

/// SHA-256 over the lines `SHA-256 path` of the case's files, the seal in the group's metadata blank.
pub(crate) fn of(directory: &Path) -> Result<String> {
    let mut lines = String::new();
    for path in digest::files_below(directory)? {
        let file = directory.join(&path);
        let sha256 = if path == GROUP {
            let text = fs_err::read_to_string(&file)?;
            let text = match stored(&text) {
                Some(seal) => text.replace(&seal, BLANK),
                None => text,
            };
            digest::sha256_hex(text.as_bytes())
        } else {
            digest::file(&file)?.1
        };
        lines.push_str(&format!("{sha256} {path}\n"));
    }
    Ok(digest::sha256_hex(lines.as_bytes()))
}

/// The seal in the text of the group's metadata; only what looks like a digest counts.
fn stored(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let seal = value.get("attributes")?.get(ATTRIBUTE)?.as_str()?;
    (seal.len() == BLANK.len()).then(|| seal.to_owned())
}

/// Compares a case's bytes with its seal.
pub(crate) fn check(directory: &Path) -> Result<()> {
    let expected = stored(&fs_err::read_to_string(directory.join(GROUP))?)
        .ok_or_else(|| Error::Record { path: directory.to_owned(), reason: "it has no seal".to_owned() })?;
    let found = of(directory)?;
    if found == expected {
        return Ok(());
    }
    Err(Error::Mismatch {
        path: directory.to_owned(),
        found: format!("bytes with SHA-256 {found}"),
        expected: format!("{expected}, as written"),
    })
}
