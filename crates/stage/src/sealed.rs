//! JSON files that notice a flipped byte: keys sorted, fixed layout, and a `seal` member holding the SHA-256 of the rest.
//! `manifest.json` and `report.json` are written this way.

use crate::atomic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the file that a finished stage has in its directory.
pub const MANIFEST: &str = "manifest.json";

/// Name of the member that holds the digest of all others.
pub const SEAL: &str = "seal";

/// Why a sealed file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The content is not JSON, or not of the expected form.
    #[error("{path}: {source}")]
    Json {
        /// File.
        path: PathBuf,
        /// What serde found.
        source: serde_json::Error,
    },
    /// The bytes are not those that were written.
    #[error("{path} was changed after it was written: {reason}")]
    Broken {
        /// File.
        path: PathBuf,
        /// Which check failed.
        reason: String,
    },
}

/// Canonical JSON: object keys sorted by their bytes, no blanks, numbers as serde_json prints them.
#[must_use]
pub fn canonical(value: &Value) -> String {
    canonical_of(&value.to_string()).unwrap_or_default()
}

/// Canonical form of a JSON text.
fn canonical_of(json: &str) -> serde_json::Result<String> {
    let mut text = String::with_capacity(json.len());
    write_canonical(serde_json::from_str(json)?, &mut |piece| text.push_str(piece))?;
    Ok(text)
}

/// The members of an object, sorted by key: serde_json's own order depends on features that other crates may turn on.
///
/// Values stay slices of the text: a tree of values takes ten times the memory, and manifests list thousands of files.
type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Hands the canonical form out piece by piece, so that a digest needs no second copy of it.
fn write_canonical(value: &RawValue, to: &mut impl FnMut(&str)) -> serde_json::Result<()> {
    match value.get().as_bytes().first() {
        Some(b'{') => write_members(serde_json::from_str(value.get())?, to)?,
        Some(b'[') => {
            to("[");
            for (i, item) in serde_json::from_str::<Vec<&RawValue>>(value.get())?.into_iter().enumerate() {
                if i > 0 {
                    to(",");
                }
                write_canonical(item, to)?;
            }
            to("]");
        }
        // numbers and texts may be spelt in many ways
        _ => to(&serde_json::from_str::<Value>(value.get())?.to_string()),
    }
    Ok(())
}

fn write_members(members: Members<'_>, to: &mut impl FnMut(&str)) -> serde_json::Result<()> {
    to("{");
    for (i, (key, item)) in members.into_iter().enumerate() {
        if i > 0 {
            to(",");
        }
        to(&serde_json::to_string(&key)?);
        to(":");
        write_canonical(item, to)?;
    }
    to("}");
    Ok(())
}

/// Lower-case hexadecimal SHA-256 of some bytes.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a value's canonical JSON.
///
/// # Errors
/// Fails when the value cannot be JSON.
pub fn digest_of<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut hasher = Sha256::new();
    write_canonical(serde_json::from_str(&json)?, &mut |piece| hasher.update(piece))?;
    Ok(hex(&hasher.finalize()))
}

fn layout(value: &RawValue, depth: usize, text: &mut String) -> serde_json::Result<()> {
    if value.get().starts_with('{') {
        let members: Members<'_> = serde_json::from_str(value.get())?;
        if !members.is_empty() {
            return layout_members(members, depth, text);
        }
    } else if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get())?;
        if items.iter().any(|item| item.get().starts_with(['{', '['])) {
            for (i, item) in items.into_iter().enumerate() {
                text.push_str(if i > 0 { ",\n" } else { "[\n" });
                indent(depth + 1, text);
                layout(item, depth + 1, text)?;
            }
            text.push('\n');
            indent(depth, text);
            text.push(']');
            return Ok(());
        }
    }
    write_canonical(value, &mut |piece| text.push_str(piece))
}

fn layout_members(members: Members<'_>, depth: usize, text: &mut String) -> serde_json::Result<()> {
    for (i, (key, item)) in members.into_iter().enumerate() {
        text.push_str(if i > 0 { ",\n" } else { "{\n" });
        indent(depth + 1, text);
        text.push_str(&serde_json::to_string(&key)?);
        text.push_str(": ");
        layout(item, depth + 1, text)?;
    }
    text.push('\n');
    indent(depth, text);
    text.push('}');
    Ok(())
}

fn indent(depth: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", depth));
}

/// The file of an object's members with the digest of all but the seal among them; `None` for what is no object.
fn sealed_bytes(json: &str) -> serde_json::Result<Option<Vec<u8>>> {
    if !json.starts_with('{') {
        return Ok(None);
    }
    let mut members: Members<'_> = serde_json::from_str(json)?;
    members.remove(SEAL);
    let mut hasher = Sha256::new();
    write_members(members.clone(), &mut |piece| hasher.update(piece))?;
    let seal = format!("\"{}\"", hex(&hasher.finalize()));
    members.insert(Cow::Borrowed(SEAL), serde_json::from_str(&seal)?);
    let mut text = String::with_capacity(json.len() + json.len() / 8);
    layout_members(members, 0, &mut text)?;
    text.push('\n');
    Ok(Some(text.into_bytes()))
}

/// Writes a value (a struct or map) atomically with its seal.
///
/// # Errors
/// Any I/O error, or a value that cannot be a JSON object.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), SealError> {
    let bytes = serde_json::to_string(value).and_then(|json| sealed_bytes(&json));
    match bytes.map_err(|source| SealError::Json { path: path.to_owned(), source })? {
        Some(bytes) => Ok(atomic::write(path, &bytes)?),
        None => Err(broken(path, "it is no JSON object")),
    }
}

fn broken(path: &Path, reason: &str) -> SealError {
    SealError::Broken { path: path.to_owned(), reason: reason.to_owned() }
}

/// The text of a sealed file, every byte of which is as it was written.
fn checked(path: &Path) -> Result<String, SealError> {
    let bytes = fs_err::read(path)?;
    let json = |source| SealError::Json { path: path.to_owned(), source };
    let Ok(text) = String::from_utf8(bytes) else { return Err(broken(path, "it is not UTF-8")) };
    // one comparison covers content, seal and layout
    let written = sealed_bytes(&text).map_err(json)?;
    if !text.contains(&format!("\"{SEAL}\"")) {
        return Err(broken(path, &format!("member '{SEAL}' is missing")));
    }
    if written.is_none_or(|written| written != text.as_bytes()) {
        return Err(broken(path, "its SHA-256 does not fit"));
    }
    Ok(text)
}

/// Checks every byte of a sealed file.
///
/// # Errors
/// [`SealError::Broken`] when a byte differs from what was written.
pub fn check(path: &Path) -> Result<(), SealError> {
    checked(path).map(|_| ())
}

/// Reads a sealed file into its type, after checking it.
///
/// # Errors
/// As [`check`], and when the content is not of type `T`.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SealError> {
    let text = checked(path)?;
    let json = |source| SealError::Json { path: path.to_owned(), source };
    // types refuse members that they do not know
    let mut members: Members<'_> = serde_json::from_str(&text).map_err(json)?;
    members.remove(SEAL);
    serde_json::to_string(&members).and_then(|members| serde_json::from_str(&members)).map_err(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_flipped_bit_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.json");
        let value = json!({"b": [1, 2.5, null], "a": {"y": "é\n", "x": []}, "c": [{"k": 1e-7}]});
        write(&path, &value).unwrap();
        assert_eq!(read::<Value>(&path).unwrap(), value);
        let good = fs_err::read(&path).unwrap();
        for i in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[i] ^= 1 << bit;
                fs_err::write(&path, &bad).unwrap();
                assert!(check(&path).is_err(), "bit {bit} of byte {i} of {}", String::from_utf8_lossy(&good));
            }
        }
    }

    #[test]
    fn canonical_form_sorts_keys() {
        assert_eq!(
            canonical(&json!({"b": 1, "a": [true, {"d": 0, "c": "x"}]})),
            r#"{"a":[true,{"c":"x","d":0}],"b":1}"#
        );
    }
}
