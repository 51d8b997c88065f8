//! Which patch, which report: every choice a pure function of (seed, step, index).

use anyhow::Context as _;
use data_manifests::records::{self, EmbeddingRow};
use data_manifests::{Manifest, cases};
use networks::weights;
use patches::{Case, Region, ShardStore, sampler};
use rand::{Rng, RngExt};
use stage::Message;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use training::error::BoxedError;

/// The embedded reports of one data set.
struct Text {
    /// `[rows, features]`.
    embeddings: Vec<f32>,
    features: usize,
    /// Number that makes the groups of several data sets distinct.
    first_group: i64,
    rows: Vec<EmbeddingRow>,
    /// Rows of each case.
    by_case: HashMap<String, Vec<usize>>,
}

/// A data set: its cases and, where there is one, its text.
struct Source {
    store: ShardStore,
    ids: Vec<String>,
    text: Option<Text>,
}

/// All data sets of a run.
pub(crate) struct Pairs {
    sources: Vec<Source>,
    features: usize,
    /// The window that is read for each patch, z, y, x.
    window_zyx: [usize; 3],
    /// The patch that the network sees; reports are matched with it.
    patch_zyx: [usize; 3],
    batch: usize,
    seed: u64,
}

/// One batch on the CPU.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `[batch, 1, z, y, x]` windows.
    pub(crate) windows: Vec<f32>,
    /// `[rows.len(), features]` text embeddings.
    pub(crate) text: Vec<f32>,
    /// Which sample each text belongs to.
    pub(crate) rows: Vec<i64>,
    /// Group of each text.
    pub(crate) groups: Vec<i64>,
    /// Names of the samples, for messages.
    pub(crate) members: Vec<String>,
}

impl Pairs {
    /// Opens shards and their texts; each text directory says from which shards it was made.
    pub(crate) fn open(
        shards: &[PathBuf],
        texts: &[PathBuf],
        window_zyx: [usize; 3],
        patch_zyx: [usize; 3],
        batch: usize,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut sources = Vec::with_capacity(shards.len());
        for directory in shards {
            let store = ShardStore::open(directory)?;
            let ids: Vec<String> = store.rows().iter().map(|row| row.id.clone()).collect();
            if ids.is_empty() {
                return Err(Message::error("E320", "no case in the shards")
                    .detail(directory.display().to_string())
                    .fix("Run preprocess again")
                    .into());
            }
            sources.push(Source { store, ids, text: None });
        }
        let mut features = 0;
        let mut groups = 0;
        for directory in texts {
            let (dataset, text) = open_text(directory, groups)?;
            groups += text.rows.iter().map(|row| row.group as i64 + 1).max().unwrap_or(0);
            if features != 0 && features != text.features {
                return Err(Message::error("E321", "the texts were embedded by different encoders")
                    .detail(format!("{}: {} features, expected {features}", directory.display(), text.features))
                    .fix("Embed all reports with one text encoder")
                    .into());
            }
            features = text.features;
            let source = sources.iter_mut().find(|s| s.store.descriptor().name == dataset).ok_or_else(|| {
                Message::error("E322", "a text belongs to no shards of this run")
                    .detail(format!("{} was made from data set '{dataset}'", directory.display()))
                    .fix("Give its shards too, or leave the text out")
            })?;
            if source.text.replace(text).is_some() {
                return Err(Message::error("E322", format!("data set '{dataset}' has two texts"))
                    .detail(directory.display().to_string())
                    .fix("Give one text for each data set")
                    .into());
            }
        }
        Ok(Self { sources, features, window_zyx, patch_zyx, batch, seed })
    }

    /// Features of the text embeddings; 0 without any text.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// Cases in all, and those of them without a report.
    pub(crate) fn count_cases(&self) -> (usize, usize) {
        let all = self.sources.iter().map(|s| s.ids.len()).sum();
        let without = self
            .sources
            .iter()
            .flat_map(|s| s.ids.iter().map(move |id| s.text.as_ref().is_some_and(|t| t.by_case.contains_key(id))))
            .filter(|has_text| !has_text)
            .count();
        (all, without)
    }

    /// The stores.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &ShardStore> {
        self.sources.iter().map(|s| &s.store)
    }

    /// The batch of a step. Data sets are drawn with equal probability, so that a large one does not crowd out the others;
    /// then a case, a channel (of several, one: gtgm.md 2.2) and a place.
    pub(crate) fn batch(&self, step: u64) -> Result<Batch, BoxedError> {
        let mut batch = Batch {
            windows: Vec::with_capacity(self.batch * self.window_zyx.iter().product::<usize>()),
            text: Vec::new(),
            rows: Vec::new(),
            groups: Vec::new(),
            members: Vec::with_capacity(self.batch),
        };
        for index in 0..self.batch {
            let mut generator = sampler::generator(self.seed, step, index as u64);
            let source = &self.sources[generator.random_range(0..self.sources.len())];
            let id = &source.ids[generator.random_range(0..source.ids.len())];
            let case: Arc<Case> = source.store.case(id)?;
            let patch = sampler::uniform(&mut generator, case.record().shape_zyx, self.patch_zyx);
            let window = around(&patch, self.window_zyx);
            let channel = generator.random_range(0..case.record().channels.len());
            let all = case.read_image(&window)?;
            let voxels = window.voxels();
            batch.windows.extend_from_slice(&all[channel * voxels..(channel + 1) * voxels]);
            if let Some(text) = &source.text
                && let Some(row) = text.choose(&mut generator, id, &patch)
            {
                batch.text.extend_from_slice(&text.embeddings[row * text.features..(row + 1) * text.features]);
                batch.rows.push(index as i64);
                batch.groups.push(text.first_group + text.rows[row].group as i64);
            }
            let dataset = &source.store.descriptor().name;
            batch.members.push(format!("{dataset}/{id}@{}", cases::triple(&patch.lo)));
        }
        Ok(batch)
    }
}

/// The window with the same centre.
fn around(patch: &Region, window_zyx: [usize; 3]) -> Region {
    let shape = patch.shape();
    let lo = std::array::from_fn(|a| patch.lo[a] - ((window_zyx[a] - shape[a]) / 2) as i64);
    Region::at(lo, window_zyx)
}

impl Text {
    /// A report whose box overlaps the patch, with probability in proportion to the overlap; where none does, the one whose
    /// centre is nearest. `None` for a case without reports.
    fn choose(&self, generator: &mut impl Rng, case: &str, patch: &Region) -> Option<usize> {
        let rows = self.by_case.get(case)?;
        let boxes: Vec<Region> = rows.iter().map(|row| region(&self.rows[*row])).collect();
        let overlaps: Vec<usize> = boxes.iter().map(|b| b.overlap(patch)).collect();
        let total: usize = overlaps.iter().sum();
        if total == 0 {
            let distance = |b: &Region| -> i64 {
                (0..3).map(|a| ((b.lo[a] + b.hi[a]) - (patch.lo[a] + patch.hi[a])).pow(2)).sum()
            };
            return (0..rows.len()).min_by_key(|i| distance(&boxes[*i])).map(|i| rows[i]);
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
}

fn region(row: &EmbeddingRow) -> Region {
    Region {
        lo: [row.z0, row.y0, row.x0].map(|v| v as i64),
        hi: [row.z1, row.y1, row.x1].map(|v| v as i64),
    }
}

fn open_text(directory: &Path, first_group: i64) -> anyhow::Result<(String, Text)> {
    let manifest = Manifest::load(directory, "embed")?;
    let dataset = manifest
        .datasets
        .first()
        .with_context(|| format!("{}: the manifest names no data set", directory.display()))?
        .clone();
    let rows: Vec<EmbeddingRow> = cases::from_csv(&directory.join(records::ROWS))?;
    let path = directory.join(records::EMBEDDINGS);
    let tensors = weights::read_tensors(&path)?;
    let tensor = tensors
        .get("embeddings")
        .with_context(|| format!("{}: no tensor 'embeddings'", path.display()))?
        .to_kind(tch::Kind::Float);
    let size = tensor.size();
    if size.len() != 2 || size[0] != rows.len() as i64 || size[1] < 1 || rows.is_empty() {
        return Err(Message::error("E323", "embeddings and table disagree")
            .detail(format!("{}: tensor {size:?}, table of {} rows", directory.display(), rows.len()))
            .fix("Run 'text-synth embed' again")
            .into());
    }
    let features = size[1] as usize;
    let embeddings = Vec::<f32>::try_from(&tensor.contiguous().view(-1))?;
    let mut by_case: HashMap<String, Vec<usize>> = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        by_case.entry(row.case.clone()).or_default().push(i);
    }
    Ok((dataset, Text { embeddings, features, first_group, rows, by_case }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(row: usize, z: [usize; 2], group: usize) -> EmbeddingRow {
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
            sha256: String::new(),
        }
    }

    fn text(rows: Vec<EmbeddingRow>) -> Text {
        let by_case = HashMap::from([("c".to_owned(), (0..rows.len()).collect())]);
        Text { embeddings: vec![0.0; rows.len()], features: 1, first_group: 0, rows, by_case }
    }

    #[test]
    fn reports_are_chosen_by_overlap() {
        let text = text(vec![row(0, [0, 1], 0), row(1, [4, 7], 1), row(2, [30, 31], 2)]);
        let mut counts = [0; 3];
        for step in 0..400 {
            let mut generator = sampler::generator(1, step, 0);
            let patch = Region::at([0, 0, 0], [8, 8, 8]);
            counts[text.choose(&mut generator, "c", &patch).unwrap()] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!((60..140).contains(&counts[0]), "one section against three: {counts:?}");
    }

    #[test]
    fn without_overlap_the_nearest_is_taken() {
        let text = text(vec![row(0, [0, 1], 0), row(1, [20, 21], 1)]);
        let mut generator = sampler::generator(1, 0, 0);
        let patch = Region::at([14, 0, 0], [4, 8, 8]);
        assert_eq!(text.choose(&mut generator, "c", &patch), Some(1));
        assert_eq!(text.choose(&mut generator, "other", &patch), None);
    }

    #[test]
    fn windows_keep_the_patch_in_their_middle() {
        let window = around(&Region::at([3, 4, 5], [8, 16, 16]), [8, 24, 24]);
        assert_eq!((window.lo, window.shape()), ([3, 0, 1], [8, 24, 24]));
    }
}
