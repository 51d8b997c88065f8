//! The record of a run, one JSON object per line.
//!
//! `metrics.jsonl` holds what the run computed and nothing that depends on the clock: an interrupted and resumed run
//! leaves the same bytes as an uninterrupted one. `timing.jsonl` holds seconds, the share of time spent waiting for
//! batches, and memory. Each line begins with `step` (completed steps) and `kind` (`step` or `validation`); numbers that
//! are not finite are the strings `NaN`, `inf`, `-inf`. `tensorboard/` holds both once more as TensorBoard's events, and
//! `progress.png` shows them; `validation.png` shows cases of the last validation.

pub mod events;
pub mod progress;

use crate::{Result, TrainingError};
use events::Events;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// File of reproducible values.
pub const METRICS: &str = "metrics.jsonl";

/// File of values that depend on clock and machine.
pub const TIMING: &str = "timing.jsonl";

/// File of the picture of the last validation, where a task draws one.
pub const VALIDATION: &str = "validation.png";

/// The kind of lines of validations.
const VALIDATION_KIND: &str = "validation";

/// Named numbers of one line.
pub type Values = BTreeMap<String, f64>;

#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    kind: &'a str,
    #[serde(flatten)]
    values: BTreeMap<&'a str, Number>,
}

struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        // JSON has no such numbers, and `null` would hide which it was
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.collect_str(&self.0) }
    }
}

#[derive(Deserialize)]
struct Numbered {
    step: u64,
    #[serde(default)]
    kind: String,
}

#[derive(Debug)]
struct Lines {
    file: fs_err::File,
}

impl Lines {
    fn open(path: PathBuf) -> Result<Self> {
        Ok(Self { file: fs_err::OpenOptions::new().create(true).append(true).open(path)? })
    }

    fn append(&mut self, step: u64, kind: &str, values: &Values) -> Result<()> {
        let values = values.iter().map(|(name, value)| (name.as_str(), Number(*value))).collect();
        let mut line = serde_json::to_vec(&Line { step, kind, values }).map_err(io::Error::from)?;
        line.push(b'\n');
        // one write call per line, so that a kill leaves at most one incomplete line
        Ok(self.file.write_all(&line)?)
    }
}

/// The files of a run.
#[derive(Debug)]
pub struct Record {
    metrics: Lines,
    timing: Lines,
    events: Events,
}

impl Record {
    /// Starts an empty record in `directory`.
    ///
    /// # Errors
    /// When the files cannot be created.
    pub fn create(directory: &Path) -> Result<Self> {
        for name in [METRICS, TIMING] {
            stage::atomic::write(&directory.join(name), b"")?;
        }
        // an earlier run's, which this one may never replace
        match fs_err::remove_file(directory.join(VALIDATION)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        Self::open(directory, Events::create(directory)?)
    }

    /// Continues a record after `step` completed steps, of which the last may have to be validated again: later lines and an incomplete last
    /// line are removed. Returns how many lines were.
    ///
    /// # Errors
    /// When a file cannot be read or written, or a line other than the last is no JSON object with a step.
    pub fn resume(directory: &Path, step: u64, validation_due: bool) -> Result<(Self, usize)> {
        let mut removed = 0;
        for name in [METRICS, TIMING] {
            removed += cut(&directory.join(name), step, validation_due)?;
        }
        Ok((Self::open(directory, Events::resume(directory, step, validation_due)?)?, removed))
    }

    fn open(directory: &Path, events: Events) -> Result<Self> {
        Ok(Self {
            events,
            metrics: Lines::open(directory.join(METRICS))?,
            timing: Lines::open(directory.join(TIMING))?,
        })
    }

    /// Adds a line of reproducible values.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn metrics(&mut self, step: u64, kind: &str, values: &Values) -> Result<()> {
        self.metrics.append(step, kind, values)?;
        self.events.append(step, kind, values)
    }

    /// Adds a line of values that depend on clock and machine.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn timing(&mut self, step: u64, kind: &str, values: &Values) -> Result<()> {
        self.timing.append(step, kind, values)?;
        self.events.append(step, &format!("timing-{kind}"), values)
    }

    /// Brings all lines to disk; called before a checkpoint is written, so that no checkpoint is ahead of the record.
    ///
    /// # Errors
    /// When the system fails to.
    pub fn sync(&mut self) -> Result<()> {
        self.metrics.file.sync_all()?;
        self.events.sync()?;
        Ok(self.timing.file.sync_all()?)
    }
}

/// Keeps the complete lines up to `step`, but for its validation where that is due; returns the number of lines removed.
fn cut(path: &Path, step: u64, validation_due: bool) -> Result<usize> {
    let text = match fs_err::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut kept = Vec::with_capacity(text.len());
    let mut removed = 0;
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            removed += 1;
            continue;
        }
        let numbered: Numbered = serde_json::from_slice(line).map_err(|e| TrainingError::Damaged {
            path: path.to_owned(),
            reason: format!("line {} is no record ({e})", index + 1),
        })?;
        let is_due = validation_due && numbered.step == step && numbered.kind == VALIDATION_KIND;
        if numbered.step <= step && !is_due {
            kept.extend_from_slice(line);
        } else {
            removed += 1;
        }
    }
    if kept.len() != text.len() {
        stage::atomic::write(path, &kept)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, f64)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_resumed_record_has_the_bytes_of_an_uninterrupted_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(METRICS);
        let mut record = Record::create(directory.path()).unwrap();
        for step in 1..=5 {
            record.metrics(step, "step", &values(&[("loss", 1.0 / step as f64), ("lr", 0.1)])).unwrap();
        }
        let whole = fs_err::read(&path).unwrap();
        record.metrics.file.write_all(b"{\"step\":6,\"ki").unwrap();
        let (mut record, removed) = Record::resume(directory.path(), 3, false).unwrap();
        assert_eq!(removed, 3);
        for step in 4..=5 {
            record.metrics(step, "step", &values(&[("loss", 1.0 / step as f64), ("lr", 0.1)])).unwrap();
        }
        record.sync().unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), whole);
        assert!(
            String::from_utf8(whole)
                .unwrap()
                .starts_with("{\"step\":1,\"kind\":\"step\",\"loss\":1.0,\"lr\":0.1}\n")
        );
    }

    #[test]
    fn numbers_that_are_not_finite_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::create(directory.path()).unwrap();
        record.metrics(1, "validation", &values(&[("a", f64::NAN), ("b", f64::INFINITY)])).unwrap();
        let text = fs_err::read_to_string(directory.path().join(METRICS)).unwrap();
        assert_eq!(text, "{\"step\":1,\"kind\":\"validation\",\"a\":\"NaN\",\"b\":\"inf\"}\n");
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        stage::atomic::write(&directory.path().join(METRICS), b"{\"step\":1}\nnonsense\n{\"step\":2}\n")
            .unwrap();
        let text = Record::resume(directory.path(), 9, false).unwrap_err().to_string();
        assert!(text.contains("line 2") && text.contains(METRICS), "{text}");
    }
}
