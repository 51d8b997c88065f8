//! A look at a TIFF's signature and first directory before the decoder sees them.
//!
//! The decoder takes limits of memory only once it has read the first directory, and reserves what the directory says.

use super::pixels::first_bytes;
use crate::error::{Result, VolumeError};
use crate::grouped;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Whole numbers in the order of bytes that the signature names.
#[derive(Clone, Copy)]
struct Numbers {
    big_endian: bool,
    /// BigTIFF: offsets and counts of 8 bytes.
    wide: bool,
}

impl Numbers {
    /// Of 2, 4 or 8 bytes.
    fn of(self, bytes: &[u8]) -> u64 {
        let digit = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if self.big_endian { bytes.iter().fold(0, digit) } else { bytes.iter().rev().fold(0, digit) }
    }

    /// Bytes of an offset.
    fn offset(self) -> usize {
        if self.wide { 8 } else { 4 }
    }
}

/// Fails if the bytes are no TIFF, have no page, or have a first directory whose values reach beyond the file of
/// `file_bytes` bytes. Ends where it began, at the start of `source`.
pub(super) fn check<S: Read + Seek>(path: &Path, source: &mut S, file_bytes: u64) -> Result<()> {
    let (numbers, directory) = signature(path, source)?;
    source.seek(SeekFrom::Start(directory))?;
    let entries = numbers.of(&exactly(path, source, if numbers.wide { 8 } else { 2 })?);
    let entry_bytes = 4 + 2 * numbers.offset();
    // Each entry is read on its own, so that a count beyond the file ends at the file's end.
    for _ in 0..entries {
        let entry = exactly(path, source, entry_bytes)?;
        let (tag, kind) = (numbers.of(&entry[..2]), numbers.of(&entry[2..4]));
        let (count, value) = entry[4..].split_at(numbers.offset());
        let Some(each) = type_bytes(kind) else {
            // The decoder passes over the first 12 bytes of such an entry, which are all of it in a classic TIFF only.
            if !numbers.wide {
                continue;
            }
            return Err(VolumeError::Corrupt {
                path: path.into(),
                reason: format!("the header of page 1: tag {tag} is of the unknown type {kind}"),
                decoded: 0,
                expected: 0,
            });
        };
        let stored = numbers.of(count).saturating_mul(each);
        if stored <= numbers.offset() as u64 {
            continue;
        }
        let end = numbers.of(value).saturating_add(stored);
        if end > file_bytes {
            return Err(VolumeError::SliceTruncated {
                path: path.into(),
                slice: "the header of page 1".into(),
                detail: format!(
                    "the values of tag {tag} end at byte {}, the file at {}",
                    grouped(end),
                    grouped(file_bytes)
                ),
            });
        }
    }
    source.seek(SeekFrom::Start(0))?;
    Ok(())
}

/// How numbers are stored, and where the first directory lies.
fn signature<S: Read + Seek>(path: &Path, source: &mut S) -> Result<(Numbers, u64)> {
    let mut head = Vec::with_capacity(16);
    source.by_ref().take(16).read_to_end(&mut head)?;
    let (big_endian, wide, offset) = match head.as_slice() {
        [b'I', b'I', 42, 0, rest @ ..] => (false, false, rest.get(..4)),
        [b'M', b'M', 0, 42, rest @ ..] => (true, false, rest.get(..4)),
        [b'I', b'I', 43, 0, _, _, _, _, rest @ ..] => (false, true, rest.get(..8)),
        [b'M', b'M', 0, 43, _, _, _, _, rest @ ..] => (true, true, rest.get(..8)),
        other => {
            return Err(VolumeError::StackContent {
                path: path.into(),
                found: format!("the file begins with {}", first_bytes(other)),
                expected: "a TIFF signature (II*, MM* or BigTIFF)",
                fix: "Usually an error page saved under the image's name, or another format. Fetch the file again or give it its right extension",
            });
        }
    };
    let numbers = Numbers { big_endian, wide };
    match offset.map(|bytes| numbers.of(bytes)) {
        None => Err(truncated(path, "the file header", format!("{} bytes", head.len()))),
        Some(0) => Err(VolumeError::StackContent {
            path: path.into(),
            found: "the file has no pages".into(),
            expected: "at least one page",
            fix: "Usually an export that was interrupted. Export the stack again",
        }),
        Some(directory) => Ok((numbers, directory)),
    }
}

/// The next `count` bytes, 20 at most.
fn exactly(path: &Path, source: &mut impl Read, count: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
    source.by_ref().take(count as u64).read_to_end(&mut bytes)?;
    if bytes.len() < count {
        return Err(truncated(path, "the header of page 1", String::new()));
    }
    Ok(bytes)
}

fn truncated(path: &Path, slice: &str, detail: String) -> VolumeError {
    VolumeError::SliceTruncated { path: path.into(), slice: slice.into(), detail }
}

/// Bytes of one value by the code of its type (TIFF 6.0, section 2, and BigTIFF).
fn type_bytes(kind: u64) -> Option<u64> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 | 17 | 18 => Some(8),
        _ => None,
    }
}
