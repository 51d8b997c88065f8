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
    /// Voxels of the shards by label value, every declared class included, written `0:38112;1:1200;2:0` (see
    /// [`label_voxels`]); empty when failed, without label, and for instance labels.
    #[serde(default)]
    pub label_voxels: String,
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

/// Writes voxels by label value as `0:38112;1:1200`.
///
/// In pandas: `table.label_voxels.map(lambda t: dict(p.split(":") for p in t.split(";")) if t else {}).apply(pd.Series)` with
/// `dtype=str, keep_default_na=False` when reading.
pub fn label_voxels(counts: impl IntoIterator<Item = (u64, u64)>) -> String {
    counts.into_iter().map(|(value, voxels)| format!("{value}:{voxels}")).collect::<Vec<_>>().join(";")
}

/// Reads what [`label_voxels`] wrote; `None` for anything else.
#[must_use]
pub fn parse_label_voxels(text: &str) -> Option<std::collections::BTreeMap<u64, u64>> {
    if text.is_empty() {
        return Some(std::collections::BTreeMap::new());
    }
    text.split(';')
        .map(|pair| {
            let (value, voxels) = pair.split_once(':')?;
            Some((value.parse().ok()?, voxels.parse().ok()?))
        })
        .collect()
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
            label_voxels: label_voxels([(0, 38_112), (2, 0)]),
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        stage::atomic::write(&path, &to_csv(std::slice::from_ref(&row)).unwrap()).unwrap();
        assert_eq!(from_csv::<CaseRow>(&path).unwrap(), vec![row]);
    }

    #[test]
    fn tables_from_before_the_counts_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let text =
            "id,subject,image,label,split,shape,spacing,status,digest\na,a,$RAW/a.nii,,train,,,failed,\n";
        stage::atomic::write(&path, text.as_bytes()).unwrap();
        assert_eq!(from_csv::<CaseRow>(&path).unwrap()[0].label_voxels, "");
    }

    #[test]
    fn counts_survive_their_column() {
        let counts = [(0, 38_112), (1, 0), (u64::MAX, 7)];
        let text = label_voxels(counts);
        assert_eq!(text, "0:38112;1:0;18446744073709551615:7");
        assert_eq!(parse_label_voxels(&text).unwrap(), counts.into());
        assert!(parse_label_voxels("").unwrap().is_empty());
        for wrong in ["1", "1:", "a:1", "1:2;"] {
            assert_eq!(parse_label_voxels(wrong), None, "{wrong}");
        }
    }
}
