//! Reports to vectors: the same text is encoded once; texts that are equal but for case and punctuation share a group.

use crate::writer::judge::normalised;
use anyhow::ensure;
use data_manifests::digest::sha256_hex;
use data_manifests::records::{EmbeddingRow, Report};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use tch::Tensor;

/// Name of the tensor.
pub const TENSOR: &str = "embeddings";

/// Texts whose cosines are computed together, between two looks at progress and signals.
const BLOCK: usize = 256;
/// Leaders that a block is compared with at once.
const LEADERS: usize = 4096;

/// The distinct texts among reports: what differs in one letter has a vector of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct {
    /// The texts, in the order in which they came first.
    pub texts: Vec<String>,
    /// The first text that equals each, case and punctuation aside.
    pub first_of: Vec<usize>,
    /// The text of each report.
    pub text_of: Vec<usize>,
}

impl Distinct {
    /// Numbers the texts as they first come.
    #[must_use]
    pub fn of(reports: &[Report]) -> Self {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut texts = Vec::new();
        let text_of = reports
            .iter()
            .map(|report| {
                *known.entry(&report.text).or_insert_with(|| {
                    texts.push(report.text.clone());
                    texts.len() - 1
                })
            })
            .collect();
        let mut equal: HashMap<String, usize> = HashMap::new();
        let first_of =
            texts.iter().enumerate().map(|(i, text)| *equal.entry(normalised(text)).or_insert(i)).collect();
        Self { texts, first_of, text_of }
    }

    /// The group of each distinct text: that of its equal where there is one before it, otherwise as [`similar`] says. None where `step`,
    /// which hears of texts that are done, wishes to stop.
    ///
    /// # Errors
    /// When LibTorch fails.
    pub fn groups(
        &self,
        vectors: &[f32],
        features: usize,
        threshold: f32,
        step: impl FnMut(usize) -> bool,
    ) -> anyhow::Result<Option<Vec<usize>>> {
        let is_first = |i: &usize| self.first_of[*i] == *i;
        let firsts: Vec<usize> = (0..self.texts.len()).filter(is_first).collect();
        let own: Vec<f32> =
            firsts.iter().flat_map(|i| &vectors[i * features..(i + 1) * features]).copied().collect();
        let Some(found) = similar(&own, features, threshold, step)? else { return Ok(None) };
        let mut groups = vec![0; self.texts.len()];
        for (text, group) in firsts.into_iter().zip(found) {
            groups[text] = group;
        }
        Ok(Some(self.first_of.iter().map(|first| groups[*first]).collect()))
    }
}

/// The group of each text: a text joins the first earlier one that its vector is at least as similar to as
/// `threshold` (cosine), where that one leads a group. Leaders, not chains: texts that differ a little from their neighbours
/// must not all become one group. None where `step`, which hears of texts that are done, wishes to stop.
///
/// `vectors` is `[texts, features]` in C order. Takes time with texts times groups, in products of blocks. These only choose whom a text is compared
/// with: what decides is the sum in the order of the features, in f32, so that groups depend on neither machine, threads nor blocks.
///
/// # Errors
/// When LibTorch fails.
pub fn similar(
    vectors: &[f32],
    features: usize,
    threshold: f32,
    mut step: impl FnMut(usize) -> bool,
) -> anyhow::Result<Option<Vec<usize>>> {
    let _no_grad = tch::no_grad_guard();
    let units: Vec<Vec<f32>> = vectors
        .chunks_exact(features.max(1))
        .map(|vector| {
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            vector.iter().map(|v| v / norm).collect()
        })
        .collect();
    // two sums of n products of unit vectors, in whatever order, differ by at most n units in the last place of 1
    let least = f64::from(threshold) - features as f64 * f64::from(f32::EPSILON);
    let mut leaders: Vec<usize> = Vec::new();
    let mut groups = Vec::with_capacity(units.len());
    for (block, start) in units.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        let known = leaders.len();
        let rows = matrix(block.iter(), features)?;
        let mut candidates = vec![Vec::new(); block.len()];
        for (chunk, first) in leaders.chunks(LEADERS).zip((0..).step_by(LEADERS)) {
            let of_leaders = matrix(chunk.iter().map(|leader| &units[*leader]), features)?;
            add_near(&rows, &of_leaders, least, first, &mut candidates)?;
        }
        let mut within = vec![Vec::new(); block.len()];
        add_near(&rows, &rows, least, 0, &mut within)?;
        for (at, unit) in block.iter().enumerate() {
            let is_like = |leader: usize| {
                let cosine: f32 = units[leader].iter().zip(unit).map(|(a, b)| a * b).sum();
                cosine >= threshold
            };
            let earlier = candidates[at].iter().copied().find(|group| is_like(leaders[*group]));
            let of_block = || {
                let near = |leader: &usize| within[at].binary_search(&(leader - start)).is_ok();
                (known..leaders.len()).find(|group| near(&leaders[*group]) && is_like(leaders[*group]))
            };
            groups.push(earlier.or_else(of_block).unwrap_or_else(|| {
                leaders.push(start + at);
                leaders.len() - 1
            }));
        }
        if !step(block.len()) {
            return Ok(None);
        }
    }
    Ok(Some(groups))
}

/// Vectors as the rows of a matrix.
fn matrix<'a>(rows: impl Iterator<Item = &'a Vec<f32>>, features: usize) -> anyhow::Result<Tensor> {
    let flat: Vec<f32> = rows.flatten().copied().collect();
    Ok(Tensor::f_from_slice(&flat)?.f_view([-1, i64::try_from(features.max(1))?])?)
}

/// Adds to each row's list, in order, which of the `others`, numbered from `first`, have a cosine of at least about `least` with it.
fn add_near(
    rows: &Tensor,
    others: &Tensor,
    least: f64,
    first: usize,
    near: &mut [Vec<usize>],
) -> anyhow::Result<()> {
    let cosines = rows.f_matmul(&others.f_tr()?)?;
    let pairs = cosines.f_ge(least)?.f_nonzero()?.f_flatten(0, -1)?;
    for pair in Vec::<i64>::try_from(&pairs)?.as_chunks::<2>().0 {
        near[usize::try_from(pair[0])?].push(first + usize::try_from(pair[1])?);
    }
    Ok(())
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
    fn texts_that_differ_have_vectors_of_their_own() {
        let texts = ["a focus of > 5 mm", "a focus of < 5 mm", "A focus of >5 mm.", "at -5 HU", "at 5 HU"];
        let reports: Vec<Report> = texts.iter().map(|text| report(text, text)).collect();
        let distinct = Distinct::of(&reports);
        assert_eq!(distinct.texts, texts);
        assert_eq!(distinct.first_of, [0, 1, 0, 3, 4]);
        // the third vector would be in no group of others, but its text equals the first
        let angle = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let vectors: Vec<f32> = [0.0, 30.0, 60.0, 90.0, 91.0].into_iter().flat_map(angle).collect();
        let groups = distinct.groups(&vectors, 2, 0.999, |_| true).unwrap().unwrap();
        assert_eq!(groups, [0, 1, 0, 2, 2]);
        assert_eq!(distinct.groups(&vectors, 2, 0.999, |_| false).unwrap(), None);
    }

    /// Groups as they were found one text after the other.
    fn one_by_one(vectors: &[f32], features: usize, threshold: f32) -> Vec<usize> {
        let unit = |vector: &[f32]| -> Vec<f32> {
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            vector.iter().map(|v| v / norm).collect()
        };
        let mut leaders: Vec<Vec<f32>> = Vec::new();
        let of = |vector| {
            let unit = unit(vector);
            let is_like =
                |leader: &Vec<f32>| leader.iter().zip(&unit).map(|(a, b)| a * b).sum::<f32>() >= threshold;
            leaders.iter().position(is_like).unwrap_or_else(|| {
                leaders.push(unit);
                leaders.len() - 1
            })
        };
        vectors.chunks_exact(features).map(of).collect()
    }

    #[test]
    fn blocks_find_the_groups_that_one_text_after_the_other_finds() {
        use rand::{RngExt, SeedableRng};
        let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let features = 24;
        // a few centres with noise, so that many cosines lie near the thresholds
        let centres: Vec<f32> = (0..40 * features).map(|_| generator.random_range(-1.0_f32..1.0)).collect();
        let vectors: Vec<f32> = (0..1500 * features)
            .map(|i| {
                centres[(i / features * 7 % 40) * features + i % features]
                    + generator.random_range(-0.15_f32..0.15)
            })
            .collect();
        for threshold in [0.9, 0.97, 0.99, 0.999, 1.0] {
            let mut done = 0;
            let found = similar(&vectors, features, threshold, |n| {
                done += n;
                true
            });
            assert_eq!(found.unwrap().unwrap(), one_by_one(&vectors, features, threshold), "{threshold}");
            assert_eq!(done, 1500);
        }
    }

    #[test]
    fn the_same_texts_share_a_vector_and_equal_ones_a_group() {
        let reports = [report("a", "One text."), report("b", "Another."), report("c", "One text.")];
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
        assert_eq!(rows[0].sha256, rows[2].sha256);
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
        let within =
            |degrees: f32| similar(&vectors, 2, degrees.to_radians().cos(), |_| true).unwrap().unwrap();
        assert_eq!(within(11.0), [0, 0, 1, 1]);
        assert_eq!(within(25.0), [0, 0, 0, 1]);
        assert_eq!(within(1.0), [0, 1, 2, 3]);
    }
}
