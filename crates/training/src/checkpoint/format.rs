//! The checkpoint file, byte by byte.
//!
//! Written by hand because the safetensors crate writes metadata in the order of a hash map, so that equal content would
//! give different bytes; read through the crate, which checks every offset.

use super::{Checkpoint, Contents, MODEL, OPTIMIZER, SCHEMA};
use crate::{Result, TrainingError};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use stage::sealed::hex;
use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// What stands before the digest in the header. JSON strings escape their quotes, so it occurs nowhere else.
const MARK: &[u8] = b"\"content_sha256\":\"";

/// Digits of the digest.
const DIGITS: usize = 64;

const KINDS: [(Kind, Dtype, &str, usize); 10] = [
    (Kind::Float, Dtype::F32, "F32", 4),
    (Kind::Double, Dtype::F64, "F64", 8),
    (Kind::Half, Dtype::F16, "F16", 2),
    (Kind::BFloat16, Dtype::BF16, "BF16", 2),
    (Kind::Int64, Dtype::I64, "I64", 8),
    (Kind::Int, Dtype::I32, "I32", 4),
    (Kind::Int16, Dtype::I16, "I16", 2),
    (Kind::Int8, Dtype::I8, "I8", 1),
    (Kind::Uint8, Dtype::U8, "U8", 1),
    (Kind::Bool, Dtype::BOOL, "BOOL", 1),
];

struct Entry<'a> {
    name: String,
    tensor: &'a Tensor,
    dtype: &'static str,
    width: usize,
}

/// Writes a checkpoint atomically and returns its content digest; one tensor at a time is copied to the CPU.
///
/// # Errors
/// On a failure to write, a name that occurs twice, or an element kind that safetensors has not.
pub fn write(path: &Path, contents: &Contents<'_>) -> Result<String> {
    let entries = entries(contents.model, contents.optimizer)?;
    let (header, digest_at) = header(&entries, contents)?;
    let mut digest = String::new();
    stage::atomic::write_with(path, |file| {
        let mut hasher = Sha256::new();
        hasher.update(&header);
        file.write_all(&header)?;
        let mut bytes = Vec::new();
        for entry in &entries {
            copy_bytes(entry, &mut bytes)?;
            hasher.update(&bytes);
            file.write_all(&bytes)?;
        }
        digest = hex(&hasher.finalize());
        file.seek(SeekFrom::Start(digest_at))?;
        file.write_all(digest.as_bytes())
    })?;
    Ok(digest)
}

fn entries<'a>(model: &'a [(String, Tensor)], optimizer: &'a [(String, Tensor)]) -> Result<Vec<Entry<'a>>> {
    let mut entries = Vec::with_capacity(model.len() + optimizer.len());
    for (prefix, tensors) in [(MODEL, model), (OPTIMIZER, optimizer)] {
        for (name, tensor) in tensors {
            let Some((_, _, dtype, width)) = KINDS.iter().find(|(kind, ..)| *kind == tensor.kind()) else {
                return Err(TrainingError::shape(
                    format!("tensor {name}"),
                    tensor,
                    "an element kind that safetensors can hold",
                ));
            };
            entries.push(Entry { name: format!("{prefix}{name}"), tensor, dtype, width: *width });
        }
    }
    entries.sort_by(|a, b| b.width.cmp(&a.width).then_with(|| a.name.cmp(&b.name)));
    Ok(entries)
}

/// Length, JSON header with a digest of zeros, and the digest's place in the file.
fn header(entries: &[Entry<'_>], contents: &Contents<'_>) -> Result<(Vec<u8>, u64)> {
    let mut sorted: BTreeMap<String, Value> = BTreeMap::new();
    let mut offset = 0;
    for entry in entries {
        let end = offset + entry.tensor.numel() * entry.width;
        let described = json!({
            "data_offsets": [offset, end], "dtype": entry.dtype, "shape": entry.tensor.size(),
        });
        if sorted.insert(entry.name.clone(), described).is_some() {
            return Err(TrainingError::DuplicateName { name: entry.name.clone() });
        }
        offset = end;
    }
    let mut metadata = contents.notes.clone();
    metadata.extend(
        [
            ("content_sha256", "0".repeat(DIGITS)),
            ("plan", contents.plan.to_string()),
            ("schema", SCHEMA.to_owned()),
            ("state", serde_json::to_string(contents.state).map_err(io::Error::from)?),
        ]
        .map(|(key, text)| (key.to_owned(), text)),
    );
    sorted.insert("__metadata__".to_owned(), json!(metadata));
    let map: Map<String, Value> = sorted.into_iter().collect();
    let mut json = serde_json::to_vec(&map).map_err(io::Error::from)?;
    // tensors begin at a multiple of 8, as the safetensors crate has it
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(&json);
    let digest_at = digest_place(&header).ok_or_else(|| io::Error::other("the header holds no digest"))?;
    Ok((header, digest_at as u64))
}

fn digest_place(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARK.len()).position(|window| window == MARK).map(|place| place + MARK.len())
}

fn copy_bytes(entry: &Entry<'_>, bytes: &mut Vec<u8>) -> io::Result<()> {
    let tensor = entry.tensor.detach().to_device(Device::Cpu).contiguous();
    let elements = tensor.numel();
    bytes.resize(elements * entry.width, 0);
    tensor.f_copy_data_u8(bytes, elements).map_err(|e| io::Error::other(format!("{}: {e}", entry.name)))
}

/// Reads a checkpoint and verifies its content digest. Memory: the file and its tensors.
///
/// # Errors
/// When the file cannot be read, is cut short, was changed, or is no checkpoint of this schema.
pub fn read(path: &Path) -> Result<Checkpoint> {
    let bytes = fs_err::read(path)?;
    let damaged = |reason: String| TrainingError::Damaged { path: path.to_owned(), reason };
    let (header_bytes, header) =
        SafeTensors::read_metadata(&bytes).map_err(|e| damaged(format!("no safetensors header ({e})")))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let text = |key: &str| {
        metadata
            .get(key)
            .ok_or_else(|| damaged(format!("its header has no `{key}`; is it a checkpoint of a run?")))
    };
    let schema = text("schema")?;
    if schema != SCHEMA {
        return Err(damaged(format!("its schema is {schema}, expected {SCHEMA}")));
    }
    let content_sha256 = text("content_sha256")?.clone();
    let found = content_digest(&bytes, header_bytes + 8)
        .ok_or_else(|| damaged("its header holds no digest in the expected form".to_owned()))?;
    if found != content_sha256 {
        return Err(damaged(format!("its content has SHA-256 {found}, expected {content_sha256}")));
    }
    let plan =
        serde_json::from_str(text("plan")?).map_err(|e| damaged(format!("its plan is no JSON ({e})")))?;
    let state = serde_json::from_str(text("state")?)
        .map_err(|e| damaged(format!("its state is unreadable ({e})")))?;

    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let (mut model, mut optimizer) = (BTreeMap::new(), BTreeMap::new());
    for (name, view) in tensors.iter() {
        let (place, short) = if let Some(short) = name.strip_prefix(MODEL) {
            (&mut model, short)
        } else if let Some(short) = name.strip_prefix(OPTIMIZER) {
            (&mut optimizer, short)
        } else {
            return Err(damaged(format!("tensor {name} is neither {MODEL}… nor {OPTIMIZER}…")));
        };
        let Some((kind, ..)) = KINDS.iter().find(|(_, dtype, ..)| *dtype == view.dtype()) else {
            return Err(damaged(format!("tensor {name} has unknown kind {:?}", view.dtype())));
        };
        let shape = view
            .shape()
            .iter()
            .map(|n| i64::try_from(*n))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|e| damaged(format!("tensor {name}: {e}")))?;
        let tensor = Tensor::f_from_data_size(view.data(), &shape, *kind)
            .map_err(|e| damaged(format!("tensor {name}: {e}")))?;
        place.insert(short.to_owned(), tensor);
    }
    Ok(Checkpoint { model, optimizer, plan, state, content_sha256 })
}

/// SHA-256 of the file with the digest's digits as zeros; `None` where the header has no such place.
fn content_digest(bytes: &[u8], header_end: usize) -> Option<String> {
    let start = digest_place(bytes.get(..header_end)?)?;
    let mut hasher = Sha256::new();
    hasher.update(&bytes[..start]);
    hasher.update([b'0'; DIGITS]);
    hasher.update(bytes.get(start + DIGITS..)?);
    Some(hex(&hasher.finalize()))
}
