//! Reports to vectors: equal texts are encoded once and share a group.

use crate::writer::judge::normalised;
use anyhow::ensure;
use data_manifests::digest::sha256_hex;
use data_manifests::records::{EmbeddingRow, Report};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;

/// Name of the tensor.
pub const TENSOR: &str = "embeddings";

/// The distinct texts among reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct {
    /// One text per group, the first that came.
    pub texts: Vec<String>,
    /// The group of each report.
    pub groups: Vec<usize>,
}

impl Distinct {
    /// Groups reports by their texts, case and punctuation aside; groups are numbered as they first come.
    #[must_use]
    pub fn of(reports: &[Report]) -> Self {
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut texts = Vec::new();
        let groups = reports
            .iter()
            .map(|report| {
                *known.entry(normalised(&report.text)).or_insert_with(|| {
                    texts.push(report.text.clone());
                    texts.len() - 1
                })
            })
            .collect();
        Self { texts, groups }
    }
}

/// The table that names the tensor's rows: one row per report, in their order.
#[must_use]
pub fn rows(reports: &[Report], distinct: &Distinct) -> Vec<EmbeddingRow> {
    reports
        .iter()
        .zip(&distinct.groups)
        .enumerate()
        .map(|(row, (report, group))| {
            let [z0, y0, x0, z1, y1, x1] = report.box_zyx;
            EmbeddingRow {
                row,
                id: report.id.clone(),
                dataset: report.dataset.clone(),
                case: report.case.clone(),
                z0,
                y0,
                x0,
                z1,
                y1,
                x1,
                group: *group,
                sha256: sha256_hex(report.text.as_bytes()),
            }
        })
        .collect()
}

/// The bytes of a safetensors file with the tensor `embeddings`, float32 `[reports, features]`; `vectors` is
/// `[groups, features]` in C order.
///
/// # Errors
/// When the number of vectors does not fit the groups, or a number is not finite.
pub fn to_safetensors(distinct: &Distinct, vectors: &[f32], features: usize) -> anyhow::Result<Vec<u8>> {
    let expected = distinct.texts.len() * features;
    ensure!(
        vectors.len() == expected,
        "the text encoder gave {} numbers, expected {expected}",
        vectors.len()
    );
    if let Some(bad) = vectors.iter().position(|v| !v.is_finite()) {
        anyhow::bail!(
            "the text encoder gave {} for the text '{}'",
            vectors[bad],
            distinct.texts[bad / features]
        );
    }
    let mut bytes = Vec::with_capacity(distinct.groups.len() * features * size_of::<f32>());
    for group in &distinct.groups {
        for value in &vectors[group * features..(group + 1) * features] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    let view = TensorView::new(Dtype::F32, vec![distinct.groups.len(), features], &bytes)?;
    Ok(safetensors::serialize([(TENSOR, view)], None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_manifests::records::Plane;

    fn report(id: &str, text: &str) -> Report {
        Report {
            id: id.into(),
            case: "c".into(),
            dataset: "d".into(),
            plane: Plane::Axial,
            index: 2,
            box_zyx: [2, 0, 0, 3, 8, 9],
            text: text.into(),
            writer: "w".into(),
            model: None,
            request: String::new(),
            sentences: Vec::new(),
        }
    }

    #[test]
    fn equal_texts_share_a_vector_and_a_group() {
        let reports = [report("a", "One text."), report("b", "Another."), report("c", "one  TEXT")];
        let distinct = Distinct::of(&reports);
        assert_eq!((distinct.texts.len(), &distinct.groups[..]), (2, &[0, 1, 0][..]));
        let bytes = to_safetensors(&distinct, &[1.0, 2.0, 3.0, 4.0], 2).unwrap();
        assert_eq!(bytes, to_safetensors(&distinct, &[1.0, 2.0, 3.0, 4.0], 2).unwrap());
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor(TENSOR).unwrap();
        assert_eq!(tensor.shape(), [3, 2]);
        let values: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 1.0, 2.0]);
        let rows = rows(&reports, &distinct);
        assert_eq!((rows[2].row, rows[2].group, rows[2].x1), (2, 0, 9));
        assert_ne!(rows[0].sha256, rows[2].sha256);
        assert!(to_safetensors(&distinct, &[1.0; 3], 2).is_err());
        let error = to_safetensors(&distinct, &[1.0, 2.0, f32::NAN, 4.0], 2).unwrap_err().to_string();
        assert!(error.contains("NaN") && error.contains("Another."), "{error}");
    }
}
