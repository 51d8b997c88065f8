//! JSON files that notice a flipped byte: keys sorted, fixed layout, and a `seal` member holding the SHA-256 of the rest.
//! `manifest.json` and `report.json` are written this way.

use crate::atomic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

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
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            // sorted here: serde_json's own order depends on features that other crates may turn on
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_bytes());
            text.push('{');
            for (i, (key, item)) in keys.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(key.clone()).to_string());
                text.push(':');
                write_canonical(item, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
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
    Ok(sha256_hex(canonical(&serde_json::to_value(value)?).as_bytes()))
}

fn layout(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth + 1);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_bytes());
            text.push_str("{\n");
            for (i, (key, item)) in keys.into_iter().enumerate() {
                if i > 0 {
                    text.push_str(",\n");
                }
                text.push_str(&indent);
                text.push_str(&Value::String(key.clone()).to_string());
                text.push_str(": ");
                layout(item, depth + 1, text);
            }
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
            text.push('}');
        }
        Value::Array(items) if items.iter().any(|i| i.is_object() || i.is_array()) => {
            text.push_str("[\n");
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push_str(",\n");
                }
                text.push_str(&indent);
                layout(item, depth + 1, text);
            }
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
            text.push(']');
        }
        other => write_canonical(other, text),
    }
}

fn sealed_bytes(mut value: Value) -> Vec<u8> {
    if let Value::Object(map) = &mut value {
        map.remove(SEAL);
    }
    let seal = sha256_hex(canonical(&value).as_bytes());
    if let Value::Object(map) = &mut value {
        map.insert(SEAL.to_owned(), Value::String(seal));
    }
    let mut text = String::new();
    layout(&value, 0, &mut text);
    text.push('\n');
    text.into_bytes()
}

/// Writes a value (a struct or map) atomically with its seal.
///
/// # Errors
/// Any I/O error, or a value that cannot be JSON.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), SealError> {
    let value =
        serde_json::to_value(value).map_err(|source| SealError::Json { path: path.to_owned(), source })?;
    Ok(atomic::write(path, &sealed_bytes(value))?)
}

/// Checks every byte of a sealed file.
///
/// # Errors
/// [`SealError::Broken`] when a byte differs from what was written.
pub fn check(path: &Path) -> Result<Value, SealError> {
    let bytes = fs_err::read(path)?;
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|source| SealError::Json { path: path.to_owned(), source })?;
    if value.get(SEAL).and_then(Value::as_str).is_none() {
        return Err(SealError::Broken {
            path: path.to_owned(),
            reason: format!("member '{SEAL}' is missing"),
        });
    }
    // one comparison covers content, seal and layout
    if sealed_bytes(value.clone()) != bytes {
        return Err(SealError::Broken {
            path: path.to_owned(),
            reason: "its SHA-256 does not fit".to_owned(),
        });
    }
    Ok(value)
}

/// Reads a sealed file into its type, after checking it.
///
/// # Errors
/// As [`check`], and when the content is not of type `T`.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SealError> {
    let mut value = check(path)?;
    if let Value::Object(map) = &mut value {
        map.remove(SEAL);
    }
    serde_json::from_value(value).map_err(|source| SealError::Json { path: path.to_owned(), source })
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
