//! Reports to vectors: equal texts are encoded once and share a group.

use crate::writer::judge::normalised;
use anyhow::ensure;
use data_manifests::digest::sha256_hex;
use data_manifests::records::{EmbeddingRow, Report};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;

/// Name of the tensor.
pub const TENSOR: &str = "embeddings";

/// The distinct texts among reports: equal ones, case and punctuation aside, share a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct {
    /// The texts, each as it came first.
    pub texts: Vec<String>,
    /// The text of each report.
    pub text_of: Vec<usize>,
}

impl Distinct {
    /// Numbers the texts as they first come.
    #[must_use]
    pub fn of(reports: &[Report]) -> Self {
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut texts = Vec::new();
        let text_of = reports
            .iter()
            .map(|report| {
                *known.entry(normalised(&report.text)).or_insert_with(|| {
                    texts.push(report.text.clone());
                    texts.len() - 1
                })
            })
            .collect();
        Self { texts, text_of }
    }
}

/// The group of each distinct text: a text joins the first earlier one that its vector is at least as similar to as
/// `threshold` (cosine), where that one leads a group. Leaders, not chains: texts that differ a little from their neighbours
/// must not all become one group.
///
/// `vectors` is `[texts, features]` in C order. Takes time with texts times groups.
#[must_use]
pub fn similar(vectors: &[f32], features: usize, threshold: f32) -> Vec<usize> {
    let units: Vec<Vec<f32>> = vectors
        .chunks_exact(features.max(1))
        .map(|vector| {
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            vector.iter().map(|v| v / norm).collect()
        })
        .collect();
    let mut leaders: Vec<usize> = Vec::new();
    let mut groups = Vec::with_capacity(units.len());
    for unit in &units {
        let is_like = |leader: &usize| {
            let cosine: f32 = units[*leader].iter().zip(unit).map(|(a, b)| a * b).sum();
            cosine >= threshold
        };
        let group = leaders.par_iter().with_min_len(256).position_first(is_like).unwrap_or_else(|| {
            leaders.push(groups.len());
            leaders.len() - 1
        });
        groups.push(group);
    }
    groups
}

/// The table that names the tensor's rows: one row per report, in their order; `groups` gives the group of each distinct text.
#[must_use]
pub fn rows(reports: &[Report], distinct: &Distinct, groups: &[usize]) -> Vec<EmbeddingRow> {
    reports
        .iter()
        .zip(&distinct.text_of)
        .enumerate()
        .map(|(row, (report, text))| {
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
                group: groups[*text],
                sha256: sha256_hex(report.text.as_bytes()),
            }
        })
        .collect()
}

/// The bytes of a safetensors file with the tensor `embeddings`, float32 `[reports, features]`; `vectors` is
/// `[texts, features]` in C order.
///
/// # Errors
/// When the number of vectors does not fit the texts, or a number is not finite.
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
    let mut bytes = Vec::with_capacity(distinct.text_of.len() * features * size_of::<f32>());
    for text in &distinct.text_of {
        for value in &vectors[text * features..(text + 1) * features] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    let view = TensorView::new(Dtype::F32, vec![distinct.text_of.len(), features], &bytes)?;
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
        assert_eq!((distinct.texts.len(), &distinct.text_of[..]), (2, &[0, 1, 0][..]));
        let bytes = to_safetensors(&distinct, &[1.0, 2.0, 3.0, 4.0], 2).unwrap();
        assert_eq!(bytes, to_safetensors(&distinct, &[1.0, 2.0, 3.0, 4.0], 2).unwrap());
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor(TENSOR).unwrap();
        assert_eq!(tensor.shape(), [3, 2]);
        let values: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 1.0, 2.0]);
        let rows = rows(&reports, &distinct, &[0, 1]);
        assert_eq!((rows[2].row, rows[2].group, rows[2].x1), (2, 0, 9));
        assert_ne!(rows[0].sha256, rows[2].sha256);
        assert!(to_safetensors(&distinct, &[1.0; 3], 2).is_err());
        let error = to_safetensors(&distinct, &[1.0, 2.0, f32::NAN, 4.0], 2).unwrap_err().to_string();
        assert!(error.contains("NaN") && error.contains("Another."), "{error}");
    }

    #[test]
    fn similar_texts_share_a_group_without_chains() {
        let angle = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        // each is 10 degrees from its neighbours; lengths do not matter
        let vectors: Vec<f32> =
            [0.0, 10.0, 20.0, 30.0].iter().flat_map(|a| angle(*a).map(|v| v * (1.0 + a))).collect();
        let within = |degrees: f32| similar(&vectors, 2, degrees.to_radians().cos());
        assert_eq!(within(11.0), [0, 0, 1, 1]);
        assert_eq!(within(25.0), [0, 0, 0, 1]);
        assert_eq!(within(1.0), [0, 1, 2, 3]);
    }
}
