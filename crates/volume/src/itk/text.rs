//! Text headers line by line.

use super::Input;
use crate::error::{Result, VolumeError};
use crate::scan::Format;
use std::io::{BufRead, Read};
use std::path::Path;

/// Longest header: segmentations of 3D Slicer keep some lines for each segment.
const LONGEST: u64 = 4 << 20;

/// A header being read.
pub(super) struct Header<'a> {
    pub(super) path: &'a Path,
    pub(super) format: Format,
    input: &'a mut Input,
    /// Bytes read so far.
    pub(super) position: u64,
}

impl<'a> Header<'a> {
    pub(super) fn new(path: &'a Path, format: Format, input: &'a mut Input) -> Self {
        Self { path, format, input, position: 0 }
    }

    /// The next line without its end; `None` after the last.
    pub(super) fn line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let left = LONGEST.saturating_sub(self.position);
        self.input.by_ref().take(left).read_until(b'\n', &mut bytes)?;
        self.position += bytes.len() as u64;
        if bytes.last() != Some(&b'\n') && self.position >= LONGEST {
            return Err(self.wrong(
                format!("its header has no end within {LONGEST} bytes"),
                "The file is damaged, or no such header: fetch it again",
            ));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// Why the header cannot be used.
    pub(super) fn wrong(&self, found: impl Into<String>, fix: &'static str) -> VolumeError {
        VolumeError::ScanHeader { path: self.path.into(), format: self.format, found: found.into(), fix }
    }

    /// The file ends inside its header.
    pub(super) fn cut(&self) -> VolumeError {
        self.wrong("it ends inside its header", "Usually an interrupted copy: fetch the file again")
    }

    /// Numbers parted by blanks.
    pub(super) fn numbers<T: std::str::FromStr>(&self, field: &str, text: &str) -> Result<Vec<T>> {
        text.split_whitespace().map(|word| word.parse().map_err(|_| self.odd(field, text))).collect()
    }

    /// A field that does not hold what it should.
    pub(super) fn odd(&self, field: &str, text: &str) -> VolumeError {
        const LONGEST_SHOWN: usize = 80;
        let shown: String = text.chars().take(LONGEST_SHOWN).collect();
        self.wrong(
            format!("'{field}' is '{}'", shown.escape_debug()),
            "The header is damaged, or was written by a faulty program: export the scan again",
        )
    }

    /// A field that is not there.
    pub(super) fn missing(&self, field: &str) -> VolumeError {
        self.wrong(
            format!("'{field}' is missing"),
            "The header is damaged, or was written by a faulty program: export the scan again",
        )
    }
}
