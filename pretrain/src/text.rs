//! The embedded reports of a data set, and which of them a patch is shown with.

mod check;
mod likeness;

pub(crate) use likeness::{Likeness, are_alike, likeness};

use anyhow::Context as _;
use data_manifests::records::{self, EmbeddingRow};
use data_manifests::{Manifest, cases};
use networks::weights;
use patches::Region;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Which report a patch is shown with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReportMatch {
    /// One of those that overlap it, with probability in proportion to the overlap
    Overlap,
    /// The one whose centre is nearest to the patch's
    Nearest,
}

/// The embedded reports of one data set.
#[derive(Debug)]
pub(crate) struct Text {
    directory: PathBuf,
    dataset: String,
    /// `[rows, features]`.
    embeddings: Vec<f32>,
    features: usize,
    rows: Vec<EmbeddingRow>,
    /// Rows of each case.
    by_case: HashMap<String, Vec<usize>>,
    /// Manifest of the shards that the reports describe, and its digest then; `None` where the stages between are gone.
    shards: Option<(PathBuf, String)>,
    /// What decides in which space the embeddings lie: the text encoder's files and how it pools.
    space: Value,
    /// Of its manifest.
    counts: BTreeMap<String, u64>,
}

impl Text {
    /// Opens what 'text-synth embed' wrote; refuses text whose shards were made again since.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let manifest = Manifest::load(directory, "embed")?;
        manifest.check_fresh(directory)?;
        let dataset = manifest
            .datasets
            .first()
            .with_context(|| format!("{}: the manifest names no data set", directory.display()))?
            .clone();
        let rows: Vec<EmbeddingRow> = cases::from_csv(&manifest.intact(directory, records::ROWS)?)?;
        let path = manifest.intact(directory, records::EMBEDDINGS)?;
        let tensors = weights::read_tensors(&path)?;
        let tensor = tensors
            .get("embeddings")
            .with_context(|| format!("{}: no tensor 'embeddings'", path.display()))?
            .to_kind(tch::Kind::Float);
        let size = tensor.size();
        if size.len() != 2 || size[0] != rows.len() as i64 || size[1] < 1 || rows.is_empty() {
            let detail = format!("{}: tensor {size:?}, table of {} rows", directory.display(), rows.len());
            return Err(Message::error("E323", "embeddings and table disagree")
                .detail(detail)
                .fix("Run 'text-synth embed' again")
                .into());
        }
        let features = size[1] as usize;
        let embeddings = Vec::<f32>::try_from(&tensor.contiguous().view(-1))?;
        if let Some(at) = embeddings.iter().position(|value| !value.is_finite()) {
            return Err(Message::error("E323", "an embedding is not finite")
                .detail(format!("{}: row {}", path.display(), at / features))
                .fix("Run 'text-synth embed' again")
                .into());
        }
        let mut by_case: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            by_case.entry(row.case.clone()).or_default().push(i);
        }
        let shards = manifest.origin(directory, "shards")?.map(|(path, artefact)| (path, artefact.sha256));
        let encoder = manifest.inputs.iter().filter(|input| input.role == "text-encoder");
        let files: BTreeSet<&str> = encoder.map(|input| input.sha256.as_str()).collect();
        let space = json!([files, manifest.parameters.get("pooling")]);
        Ok(Self {
            directory: directory.to_owned(),
            dataset,
            embeddings,
            features,
            rows,
            by_case,
            shards,
            space,
            counts: manifest.counts,
        })
    }

    /// What the manifest counts under a name, such as those of [`records::OPPOSITES`]; 0 where it does not.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// How many reports there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where it lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The data set that it was made from.
    pub(crate) fn dataset(&self) -> &str {
        &self.dataset
    }

    /// What decides in which space the embeddings lie.
    pub(crate) fn space(&self) -> &Value {
        &self.space
    }

    /// Features of an embedding.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// How many groups of equal texts there can be: one more than the largest number of a group.
    pub(crate) fn groups(&self) -> usize {
        self.rows.iter().map(|row| row.group + 1).max().unwrap_or(0)
    }

    /// Group of a row.
    pub(crate) fn group(&self, row: usize) -> usize {
        self.rows[row].group
    }

    /// Digest of a row's words, where its table has one.
    pub(crate) fn words(&self, row: usize) -> Option<&str> {
        row_words(&self.rows[row])
    }

    /// Embedding of a row.
    pub(crate) fn embedding(&self, row: usize) -> &[f32] {
        &self.embeddings[row * self.features..(row + 1) * self.features]
    }

    /// Whether there is a report of the case.
    pub(crate) fn describes(&self, case: &str) -> bool {
        self.by_case.contains_key(case)
    }

    /// Rows of a case's reports.
    pub(crate) fn rows_of(&self, case: &str) -> &[usize] {
        self.by_case.get(case).map_or(&[], Vec::as_slice)
    }

    /// The report that a patch is shown with; where none overlaps, the one whose centre is nearest. `None` for a case without
    /// reports. Takes one draw or none.
    pub(crate) fn choose(
        &self,
        generator: &mut impl Rng,
        case: &str,
        patch: &Region,
        rule: ReportMatch,
    ) -> Option<usize> {
        let rows = self.by_case.get(case)?;
        let boxes: Vec<Region> = rows.iter().map(|row| region(&self.rows[*row])).collect();
        let overlaps: Vec<usize> = boxes.iter().map(|b| b.overlap(patch)).collect();
        let total: usize = overlaps.iter().sum();
        if total == 0 || rule == ReportMatch::Nearest {
            return (0..rows.len()).min_by_key(|i| distance(&boxes[*i], patch)).map(|i| rows[i]);
        }
        let mut left = generator.random_range(0..total);
        for (row, overlap) in rows.iter().zip(overlaps) {
            if left < overlap {
                return Some(*row);
            }
            left -= overlap;
        }
        None
    }

    /// Of the reports that overlap a part of a patch, the one whose centre is nearest to the part's.
    pub(crate) fn within(&self, case: &str, part: &Region) -> Option<usize> {
        let rows = self.by_case.get(case)?.iter().copied();
        let overlapping = rows.filter(|row| region(&self.rows[*row]).overlap(part) > 0);
        overlapping.min_by_key(|row| distance(&region(&self.rows[*row]), part))
    }
}

/// Squared distance of two centres, in half voxels.
fn distance(a: &Region, b: &Region) -> i64 {
    (0..3).map(|axis| ((a.lo[axis] + a.hi[axis]) - (b.lo[axis] + b.hi[axis])).pow(2)).sum()
}

/// Digest of a row's words; a table of before has none.
fn row_words(row: &EmbeddingRow) -> Option<&str> {
    Some(row.sha256.as_str()).filter(|digest| !digest.is_empty())
}

fn region(row: &EmbeddingRow) -> Region {
    Region { lo: [row.z0, row.y0, row.x0].map(|v| v as i64), hi: [row.z1, row.y1, row.x1].map(|v| v as i64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patches::sampler;

    pub(in crate::text) fn row(row: usize, z: [usize; 2], group: usize) -> EmbeddingRow {
        EmbeddingRow {
            row,
            id: format!("r{row}"),
            dataset: "d".into(),
            case: "c".into(),
            z0: z[0],
            y0: 0,
            x0: 0,
            z1: z[1],
            y1: 10,
            x1: 10,
            group,
            sha256: format!("{row} of {group}"),
        }
    }

    pub(in crate::text) fn text(rows: Vec<EmbeddingRow>) -> Text {
        let by_case = HashMap::from([("c".to_owned(), (0..rows.len()).collect())]);
        let embeddings = vec![0.0; rows.len()];
        Text {
            directory: "t".into(),
            dataset: "d".into(),
            embeddings,
            features: 1,
            rows,
            by_case,
            shards: None,
            space: Value::Null,
            counts: BTreeMap::new(),
        }
    }

    #[test]
    fn reports_are_chosen_by_overlap() {
        let text = text(vec![row(0, [0, 1], 0), row(1, [4, 7], 1), row(2, [30, 31], 2)]);
        let mut counts = [0; 3];
        for step in 0..400 {
            let mut generator = sampler::generator(1, step, 0);
            let patch = Region::at([0, 0, 0], [8, 8, 8]);
            counts[text.choose(&mut generator, "c", &patch, ReportMatch::Overlap).unwrap()] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!((60..140).contains(&counts[0]), "one section against three: {counts:?}");
    }

    #[test]
    fn the_nearest_report_is_that_of_the_middle() {
        let text = text((0..9).map(|z| row(z, [z, z + 1], z)).collect());
        let mut generator = sampler::generator(1, 0, 0);
        for z in 0..4 {
            let patch = Region::at([z, 0, 0], [5, 8, 8]);
            let found = text.choose(&mut generator, "c", &patch, ReportMatch::Nearest);
            assert_eq!(found, Some(z as usize + 2));
        }
        assert_eq!(text.rows_of("c").len() + text.rows_of("other").len(), 9);
    }

    #[test]
    fn a_part_has_the_report_that_lies_in_it() {
        let text = text(vec![row(0, [0, 1], 0), row(1, [5, 6], 1), row(2, [6, 7], 2)]);
        let of = |z: i64| text.within("c", &Region::at([z, 0, 0], [2, 8, 8]));
        assert_eq!([0, 2, 4, 6].map(of), [Some(0), None, Some(1), Some(2)]);
    }

    #[test]
    fn without_overlap_the_nearest_is_taken() {
        let text = text(vec![row(0, [0, 1], 0), row(1, [20, 21], 1)]);
        let mut generator = sampler::generator(1, 0, 0);
        let patch = Region::at([14, 0, 0], [4, 8, 8]);
        assert_eq!(text.choose(&mut generator, "c", &patch, ReportMatch::Overlap), Some(1));
        assert_eq!(text.choose(&mut generator, "other", &patch, ReportMatch::Overlap), None);
    }
}
