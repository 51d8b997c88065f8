//! The case table `cases.csv` of a shard directory.

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// File name of a case table.
pub const FILE_NAME: &str = "cases.csv";

/// Where a case comes from in its data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CaseSplit {
    /// Published for training; has a label unless the data set has none at all.
    Train,
    /// Published for testing, without a label.
    Test,
}

/// Whether a case is in the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CaseStatus {
    /// Written and complete.
    Done,
    /// Skipped with an error; see `report.json`.
    Failed,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseRow {
    /// Case id, unique in the data set.
    pub id: String,
    /// Subject: cases of one subject never part in a split.
    pub subject: String,
    /// Source image below a named root, such as `$RAW/imagesTr/a.nii.gz`.
    pub image: String,
    /// Source label, empty without one.
    pub label: String,
    /// Published role.
    pub split: CaseSplit,
    /// Shape in the shards, z, y, x, written `40x56x40`; empty when failed.
    pub shape: String,
    /// Spacing in the shards, z, y, x, in mm, written `1x1x1`; empty when failed.
    pub spacing: String,
    /// Whether it is there.
    pub status: CaseStatus,
    /// Digest of the case's files; empty when failed.
    pub digest: String,
}

impl CaseRow {
    /// Whether the case has a label.
    #[must_use]
    pub fn is_labelled(&self) -> bool {
        !self.label.is_empty()
    }
}

/// Writes three numbers as `AxBxC`.
#[must_use]
pub fn triple<T: std::fmt::Display>(zyx: &[T; 3]) -> String {
    format!("{}x{}x{}", zyx[0], zyx[1], zyx[2])
}

/// The bytes of a case table.
///
/// # Errors
/// Fails when a row cannot be written as CSV.
pub fn to_csv<T: Serialize>(rows: &[T]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.into_inner()?)
}

/// Reads a CSV table into rows.
///
/// # Errors
/// Names the file and the line that cannot be read.
pub fn from_csv<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let mut reader = csv::Reader::from_reader(fs_err::File::open(path)?);
    reader.deserialize().map(|row| row.with_context(|| format!("cannot read {}", path.display()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_the_disk() {
        let row = CaseRow {
            id: "a, \"b\"".into(),
            subject: "s".into(),
            image: "$RAW/imagesTr/ä.nii.gz".into(),
            label: String::new(),
            split: CaseSplit::Test,
            shape: triple(&[40, 56, 40]),
            spacing: triple(&[1.5, 1.0, 0.25]),
            status: CaseStatus::Done,
            digest: "00".into(),
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        stage::atomic::write(&path, &to_csv(std::slice::from_ref(&row)).unwrap()).unwrap();
        assert_eq!(from_csv::<CaseRow>(&path).unwrap(), vec![row]);
    }
}
