//! Which patch, which report: every choice a pure function of (seed, step, index).

mod check;
mod sides;
mod twins;

use crate::mixture::Mixture;
use crate::selection::{self, SelectionRule};
use crate::text::{self, Likeness, ReportMatch, Text};
use data_manifests::descriptor::Modality;
use data_manifests::{Descriptor, cases, digest};
use patches::{Case, Region, ShardStore, sampler};
use rand::RngExt;
use stage::Message;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use tch::{Device, Tensor};
use torch_runtime::transfer::uploaded;
use training::error::BoxedError;
use training::views::Nature;

/// A data set: its cases and, where there are any, its texts.
pub(crate) struct Source {
    pub(crate) store: ShardStore,
    /// Cases that are trained on.
    pub(crate) ids: Vec<String>,
    /// Cases that are kept for questions.
    pub(crate) held_out: Vec<String>,
    /// Cases that are scored on later, as far as they are known, and others of their subjects: neither trained on nor asked about.
    pub(crate) kept: Vec<String>,
    /// Those of them that are scored on.
    scored: BTreeSet<String>,
    /// Cases of the same subjects that a split trains on all the same: parts of one volume.
    parted: BTreeSet<String>,
    pub(crate) test_cases_used: usize,
    /// Wordings of the reports, of which one is drawn for each patch.
    pub(crate) texts: Vec<Text>,
    /// Of each wording's rows.
    likeness: Vec<Vec<Likeness>>,
}

impl Source {
    /// Adds the report of an image row.
    fn add(&self, wording: usize, row: usize, image: usize, texts: &mut Texts) {
        let text = &self.texts[wording];
        texts.embeddings.extend_from_slice(text.embedding(row));
        texts.rows.push(image as i64);
        let likeness = &self.likeness[wording][row];
        texts.likeness.resize_with(likeness.len(), Vec::new);
        for (numbers, number) in texts.likeness.iter_mut().zip(likeness) {
            numbers.push(*number);
        }
    }

    /// Digest of the cases that are trained on, as they were preprocessed.
    pub(crate) fn digest(&self) -> String {
        let trained: BTreeSet<&String> = self.ids.iter().collect();
        let rows = self.store.rows().iter().filter(|row| trained.contains(&row.id));
        let lines: String = rows.map(|row| format!("{} {}\n", row.id, row.digest)).collect();
        digest::sha256_hex(lines.as_bytes())
    }

    fn described(&self) -> usize {
        self.ids.iter().filter(|id| self.texts.iter().any(|text| text.describes(id))).count()
    }
}

/// All data sets of a run.
pub(crate) struct Pairs {
    sources: Vec<Source>,
    /// Upper end of each data set's part of the numbers from 0 to 1.
    ends: Vec<f64>,
    mixture: Mixture,
    /// Cases that were left out since they have no report.
    skipped: usize,
    features: usize,
}

/// How batches are cut.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// The window that is read for each patch, z, y, x.
    pub(crate) window_zyx: [usize; 3],
    /// The patch that the network sees; reports are matched with it.
    pub(crate) patch_zyx: [usize; 3],
    /// Patches a step.
    pub(crate) batch: usize,
    /// Those of them whose windows are read here: of several processes each reads its own. Texts are those of all.
    pub(crate) samples: Range<usize>,
    /// How reports are matched with patches.
    pub(crate) report_match: ReportMatch,
    /// Equal parts along z that have reports of their own; 0 for none.
    pub(crate) parts: usize,
    /// Axes z, y, x along which views may be mirrored where their data set permits it.
    pub(crate) mirror: [bool; 3],
    /// Seed.
    pub(crate) seed: u64,
    /// Where windows are put.
    pub(crate) device: Device,
}

/// Embedded reports and what they belong to.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// `[rows.len(), features]`.
    pub(crate) embeddings: Vec<f32>,
    /// Which image row each belongs to.
    pub(crate) rows: Vec<i64>,
    /// Of each, by way of being alike.
    pub(crate) likeness: Vec<Vec<i64>>,
}

impl Texts {
    /// As the losses take it.
    pub(crate) fn groupings(&self) -> Vec<&[i64]> {
        self.likeness.iter().map(Vec::as_slice).collect()
    }
}

/// One batch.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `[samples, 1, z, y, x]` windows of this process's samples, on the device that trains.
    pub(crate) windows: Tensor,
    /// What each of these permits.
    pub(crate) natures: Vec<Nature>,
    /// The reports of patches; rows are samples of the whole batch.
    pub(crate) texts: Texts,
    /// The reports of parts; rows are sample times parts plus part.
    pub(crate) part_texts: Texts,
    /// Names of all patches of the batch, also of those of other processes.
    pub(crate) members: Vec<String>,
}

/// Axes z, y, x along which a data set's patches are mirrored, of those that are wanted.
pub(crate) fn mirrored(descriptor: &Descriptor, wanted: [bool; 3]) -> [bool; 3] {
    let permitted = descriptor.mirrors();
    [0, 1, 2].map(|axis| permitted[axis] && wanted[axis])
}

/// One of so many equal parts of a patch along z.
fn part_of(patch: &Region, part: usize, parts: usize) -> Region {
    let depth = patch.hi[0] - patch.lo[0];
    let end = |n: usize| patch.lo[0] + depth * n as i64 / parts as i64;
    Region { lo: [end(part), patch.lo[1], patch.lo[2]], hi: [end(part + 1), patch.hi[1], patch.hi[2]] }
}

impl Pairs {
    /// Joins shards and texts; each text says from which data set it was made. `rule` says which cases are trained on.
    pub(crate) fn new(
        stores: Vec<ShardStore>,
        texts: Vec<Text>,
        rule: &SelectionRule,
        mixture: Mixture,
    ) -> anyhow::Result<Self> {
        let mut sources: Vec<Source> = Vec::with_capacity(stores.len());
        for store in stores {
            let name = &store.descriptor().name;
            if let Some(other) = sources.iter().find(|s| s.store.descriptor().name == *name) {
                let [a, b] = [other.store.directory(), store.directory()].map(|d| d.display().to_string());
                return Err(Message::error("E328", format!("two shard directories hold data set '{name}'"))
                    .detail(format!("{a} and {b}"))
                    .fix("Give each data set once; different data need different names in their descriptors")
                    .into());
            }
            let selection::Selection { train, held_out, kept, scored, parted, test_cases_used } =
                selection::select(&store, rule)?;
            sources.push(Source {
                store,
                ids: train,
                held_out,
                kept,
                scored,
                parted,
                test_cases_used,
                texts: Vec::new(),
                likeness: Vec::new(),
            });
        }
        let mut features = 0;
        for text in texts {
            let (directory, dataset) = (text.directory().display().to_string(), text.dataset().to_owned());
            if features != 0 && features != text.features() {
                return Err(Message::error("E321", "the texts were embedded by different encoders")
                    .detail(format!("{directory}: found {} features, expected {features}", text.features()))
                    .fix("Embed all reports with one text encoder")
                    .into());
            }
            features = text.features();
            if let Some(other) =
                sources.iter().flat_map(|s| &s.texts).find(|other| other.space() != text.space())
            {
                return Err(Message::error("E321", "the texts were embedded by different encoders")
                    .detail(format!(
                        "{} and {directory}: other files of the encoder, or another --pooling",
                        other.directory().display()
                    ))
                    .fix("Embed all reports with one text encoder")
                    .into());
            }
            let source =
                sources.iter_mut().find(|s| s.store.descriptor().name == dataset).ok_or_else(|| {
                    Message::error("E322", "a text belongs to no shards of this run")
                        .detail(format!("{directory} was made from data set '{dataset}'"))
                        .fix("Give its shards too, or leave the text out")
                })?;
            source.texts.push(text);
        }
        let likeness = text::likeness(&sources.iter().map(|s| s.texts.as_slice()).collect::<Vec<_>>());
        for (source, likeness) in sources.iter_mut().zip(likeness) {
            source.likeness = likeness;
        }
        let mut skipped = 0;
        for Source { store, ids, texts, .. } in &mut sources {
            let described = |id: &str| texts.iter().any(|text| text.describes(id));
            skipped += rule.without_report.apply(&store.descriptor().name, ids, described)?;
        }
        Ok(Self { sources, ends: Vec::new(), mixture, skipped, features }.mixed())
    }

    /// With the shares of data sets by their cases now.
    fn mixed(mut self) -> Self {
        let of = |source: &Source| (source.store.descriptor().modality, source.ids.len());
        self.ends = self.mixture.ends(&self.sources.iter().map(of).collect::<Vec<_>>());
        self
    }

    /// No data set, texts of `features` numbers: for tests of what follows on batches.
    #[cfg(test)]
    pub(crate) fn without_images(features: usize) -> Self {
        Self { sources: Vec::new(), ends: Vec::new(), mixture: Mixture::default(), skipped: 0, features }
    }

    /// Features of the text embeddings; 0 without any text.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// The data sets.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The stores.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &ShardStore> {
        self.sources.iter().map(|s| &s.store)
    }

    /// The batch of a step. Data sets are drawn as [`Self::new`] was told, then a case, a channel (of several, one: gtgm.md 2.2) and a place.
    pub(crate) fn batch(&self, step: u64, cut: &Cut) -> Result<Batch, BoxedError> {
        let own = cut.samples.len();
        let mut windows = Vec::with_capacity(own * cut.window_zyx.iter().product::<usize>());
        let mut batch = Batch {
            windows: Tensor::new(),
            natures: Vec::with_capacity(own),
            texts: Texts::default(),
            part_texts: Texts::default(),
            members: Vec::with_capacity(cut.batch),
        };
        for index in 0..cut.batch {
            let mut generator = sampler::generator(cut.seed, step, index as u64);
            let drawn: f64 = generator.random();
            // rounding may leave the last end below 1
            let number = self.ends.partition_point(|end| *end <= drawn).min(self.sources.len() - 1);
            let source = &self.sources[number];
            let id = &source.ids[generator.random_range(0..source.ids.len())];
            let case: Arc<Case> = source.store.case(id).map_err(|e| e.message(id))?;
            let patch = sampler::uniform(&mut generator, case.record().shape_zyx, cut.patch_zyx);
            let channel = generator.random_range(0..case.record().channels.len());
            if cut.samples.contains(&index) {
                let window = patch.widened(cut.window_zyx);
                case.append_image_channels(&[channel], &window, &mut windows).map_err(|e| e.message(id))?;
                let descriptor = source.store.descriptor();
                batch.natures.push(Nature {
                    sectioned: descriptor.modality == Modality::Em,
                    mirror_axes: mirrored(descriptor, cut.mirror),
                });
            }
            let name = &source.store.descriptor().name;
            batch.members.push(format!("{name}/{id}@{}", cases::triple(&patch.lo)));
            // of the wordings that there are of this case's reports
            let wordings: Vec<usize> =
                (0..source.texts.len()).filter(|wording| source.texts[*wording].describes(id)).collect();
            let wording = match wordings[..] {
                [] => continue,
                [only] => only,
                _ => wordings[generator.random_range(0..wordings.len())],
            };
            let text = &source.texts[wording];
            if let Some(row) = text.choose(&mut generator, id, &patch, cut.report_match) {
                source.add(wording, row, index, &mut batch.texts);
            }
            for part in 0..cut.parts {
                if let Some(row) = text.within(id, &part_of(&patch, part, cut.parts)) {
                    source.add(wording, row, index * cut.parts + part, &mut batch.part_texts);
                }
            }
        }
        let [z, y, x] = cut.window_zyx.map(|n| n as i64);
        batch.windows = uploaded(&windows, &[-1, 1, z, y, x], cut.device)?;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_patch() {
        let patch = Region::at([-3, 2, 2], [8, 4, 4]);
        let parts: Vec<Region> = (0..3).map(|part| part_of(&patch, part, 3)).collect();
        assert_eq!(parts.iter().map(|p| (p.lo[0], p.hi[0])).collect::<Vec<_>>(), [(-3, -1), (-1, 2), (2, 5)]);
        assert!(parts.iter().all(|part| part.overlap(&patch) == part.voxels()));
    }
}
