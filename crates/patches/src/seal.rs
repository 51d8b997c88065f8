//! Digests of every file of a case, kept in the group's metadata: a resumed run keeps only what is whole, and a damaged file
//! is named.

use crate::error::{Damage, Error, Result};
use crate::names::GROUP;
use data_manifests::digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Attribute of the group that holds the seal: `sha256` of the group's own metadata and `files` with that of each other file.
pub(crate) const ATTRIBUTE: &str = "gtgm_seal";

/// What stands for the metadata's own digest while that is taken: it cannot cover itself.
const BLANK: &str = "----------------------------------------------------------------";

/// The text of the group's metadata with these attributes and the seal over all other files, given their SHA-256.
pub(crate) fn group_text(
    files: &BTreeMap<String, String>,
    mut attributes: serde_json::Map<String, Value>,
) -> String {
    attributes.insert(ATTRIBUTE.to_owned(), json!({ "sha256": BLANK, "files": files }));
    let group = json!({ "zarr_format": 3, "node_type": "group", "attributes": attributes });
    let text = format!("{group:#}\n");
    text.replace(BLANK, &digest::sha256_hex(text.as_bytes()))
}

/// Compares every file below `directory` with its digest: all that differ, are missing or do not belong to the case.
///
/// # Errors
/// Any I/O error but the absence of a file.
pub(crate) fn flaws(directory: &Path) -> Result<Vec<Damage>> {
    let damage = |file: &str, reason: String| Damage::new(directory, file, reason);
    let text = match fs_err::read(directory.join(GROUP)).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => return Ok(vec![damage(GROUP, "is not text".to_owned())]),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(vec![Damage::missing(directory, GROUP)]);
        }
        Err(e) => return Err(e.into()),
    };
    let group: Value = match serde_json::from_str(&text) {
        Ok(group) => group,
        Err(e) => return Ok(vec![damage(GROUP, format!("is not JSON: {e}"))]),
    };
    let seal = &group["attributes"][ATTRIBUTE];
    // only what looks like a digest counts: it is looked for in the whole text
    let own = seal["sha256"].as_str().filter(|own| own.len() == BLANK.len());
    let files = seal["files"].as_object();
    let (Some(own), Some(files)) = (own, files) else {
        return Ok(vec![damage(GROUP, "has no seal".to_owned())]);
    };
    if digest::sha256_hex(text.replace(own, BLANK).as_bytes()) != own {
        // what it says of the others cannot be trusted
        return Ok(vec![damage(GROUP, "has other bytes than were written".to_owned())]);
    }
    let mut found = digest::files_below(directory)?;
    let mut flaws = Vec::new();
    for (file, sha256) in files {
        if found.binary_search(file).is_err() {
            flaws.push(Damage::missing(directory, file));
        } else if Some(digest::file(&directory.join(file))?.1.as_str()) != sha256.as_str() {
            flaws.push(damage(file, "has other bytes than were written".to_owned()));
        }
    }
    found.retain(|file| file != GROUP && !files.contains_key(file));
    flaws.extend(found.iter().map(|file| damage(file, "does not belong to the case".to_owned())));
    Ok(flaws)
}

/// As [`flaws`], where one is as good as many.
///
/// # Errors
/// The first flaw, or any I/O error.
pub(crate) fn check(directory: &Path) -> Result<()> {
    match flaws(directory)?.into_iter().next() {
        Some(damage) => Err(Error::Damaged(damage)),
        None => Ok(()),
    }
}
