//! `report.json`: what a run did, for machines; written always, on failure too.

use crate::{ExitStatus, Message};
use serde::Serialize;
use std::collections::BTreeMap;

/// The content of `report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Schema id.
    pub schema: &'static str,
    /// Executable.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Arguments as typed; values of secrets never pass through arguments.
    pub arguments: Vec<String>,
    /// `done`, `failed`, `usage`, `partial` or `interrupted`.
    pub status: &'static str,
    /// The process exit code.
    pub exit_code: u8,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Largest resident memory, in bytes.
    pub peak_resident_bytes: Option<u64>,
    /// Cores granted.
    pub cores: usize,
    /// Counts that the stage chose to report.
    pub counts: BTreeMap<String, u64>,
    /// Every message, errors last.
    pub messages: Vec<Message>,
}

impl Report {
    pub(crate) const SCHEMA: &'static str = "gtgm/report/1";

    pub(crate) fn new(program: &str, version: &str, status: ExitStatus, seconds: f64) -> Self {
        Self {
            schema: Self::SCHEMA,
            program: program.to_owned(),
            version: version.to_owned(),
            arguments: std::env::args().skip(1).collect(),
            status: status.word(),
            exit_code: status.code(),
            seconds,
            peak_resident_bytes: crate::limits::peak_resident_bytes(),
            cores: crate::limits::cores(),
            counts: BTreeMap::new(),
            messages: Vec::new(),
        }
    }
}
