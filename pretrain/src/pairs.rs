//! Which patch, which report: every choice a pure function of (seed, step, index).

use crate::selection::{self, SelectionRule};
use crate::text::{self, ReportMatch, Text};
use data_manifests::cases;
use patches::{Case, ShardStore, sampler};
use rand::RngExt;
use stage::{Context, Message};
use std::sync::Arc;
use training::error::BoxedError;

/// A data set: its cases and, where there are any, its texts.
pub(crate) struct Source {
    pub(crate) store: ShardStore,
    /// Cases that are trained on.
    pub(crate) ids: Vec<String>,
    /// Cases that are kept for questions.
    pub(crate) held_out: Vec<String>,
    pub(crate) test_cases_used: usize,
    /// Wordings of the reports, of which one is drawn for each patch.
    pub(crate) texts: Vec<Text>,
    /// For each wording the number of each of its groups among those of all data sets: reports of one caption are in one group,
    /// however they are worded.
    groups: Vec<Vec<i64>>,
}

impl Source {
    fn described(&self) -> usize {
        self.ids.iter().filter(|id| self.texts.iter().any(|text| text.describes(id))).count()
    }
}

/// All data sets of a run.
pub(crate) struct Pairs {
    sources: Vec<Source>,
    features: usize,
}

/// How batches are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// The window that is read for each patch, z, y, x.
    pub(crate) window_zyx: [usize; 3],
    /// The patch that the network sees; reports are matched with it.
    pub(crate) patch_zyx: [usize; 3],
    /// Patches a step.
    pub(crate) batch: usize,
    /// Those of them whose windows are read here: of several processes each reads its own. Texts are those of all.
    pub(crate) samples: (usize, usize),
    /// How reports are matched with patches.
    pub(crate) report_match: ReportMatch,
    /// Seed.
    pub(crate) seed: u64,
}

/// One batch on the CPU.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `[samples, 1, z, y, x]` windows of this process's samples.
    pub(crate) windows: Vec<f32>,
    /// `[rows.len(), features]` text embeddings.
    pub(crate) text: Vec<f32>,
    /// Which sample of the whole batch each text belongs to.
    pub(crate) rows: Vec<i64>,
    /// Group of each text.
    pub(crate) groups: Vec<i64>,
    /// Names of the samples, for messages.
    pub(crate) members: Vec<String>,
}

impl Pairs {
    /// Joins shards and texts; each text says from which data set it was made. `rule` says which cases are trained on.
    pub(crate) fn new(
        stores: Vec<ShardStore>,
        texts: Vec<Text>,
        rule: &SelectionRule,
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
            let selection::Selection { train, held_out, test_cases_used } = selection::select(&store, rule)?;
            sources.push(Source {
                store,
                ids: train,
                held_out,
                test_cases_used,
                texts: Vec::new(),
                groups: Vec::new(),
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
            let source =
                sources.iter_mut().find(|s| s.store.descriptor().name == dataset).ok_or_else(|| {
                    Message::error("E322", "a text belongs to no shards of this run")
                        .detail(format!("{directory} was made from data set '{dataset}'"))
                        .fix("Give its shards too, or leave the text out")
                })?;
            source.texts.push(text);
        }
        let mut first = 0;
        for source in &mut sources {
            (source.groups, first) = text::joined_groups(&source.texts, first);
        }
        Ok(Self { sources, features })
    }

    /// No data set, texts of `features` numbers: for tests of what follows on batches.
    #[cfg(test)]
    pub(crate) fn without_images(features: usize) -> Self {
        Self { sources: Vec::new(), features }
    }

    /// Opens every case, so that a damaged one is known before the first step and not days later.
    pub(crate) fn check(&self, context: &Context) -> anyhow::Result<()> {
        let mut damaged = 0usize;
        for source in &self.sources {
            for id in source.ids.iter().chain(&source.held_out) {
                if let Err(error) = source.store.case(id) {
                    damaged += 1;
                    context.tell(error.message(id));
                }
            }
        }
        if damaged > 0 {
            return Err(Message::error("E301", format!("{damaged} cases cannot be read"))
                .fix("Run preprocess again: it makes damaged cases anew and keeps the others")
                .into());
        }
        for source in &self.sources {
            for text in &source.texts {
                let unknown = text.check(&source.store)?;
                if let Some(first) = unknown.first() {
                    let what =
                        format!("reports of {} cases that are not in the shards: left out", unknown.len());
                    let detail = format!("{}: first {first}", text.directory().display());
                    context.tell(Message::warning("W311", what).detail(detail));
                }
            }
        }
        Ok(())
    }

    /// Says which cases have no report, and whether a batch holds enough reports for the image-text loss.
    pub(crate) fn warn_about_text(&self, batch: usize, least: i64, context: &Context) {
        let all: usize = self.sources.iter().map(|s| s.ids.len()).sum();
        let described: usize = self.sources.iter().map(Source::described).sum();
        if described < all {
            let without = all - described;
            let text = format!("{without} of {all} cases have no report: used for the visual loss only");
            context.tell(Message::warning("W311", text));
        }
        // data sets are drawn with equal probability
        let share: f64 = self.sources.iter().map(|s| s.described() as f64 / s.ids.len() as f64).sum::<f64>()
            / self.sources.len() as f64;
        let expected = batch as f64 * share;
        if described > 0 && expected < least as f64 {
            let text = format!(
                "a batch of {batch} holds about {expected:.1} reports, and the image-text loss needs {least}: \
                 most steps go without it"
            );
            let fix = "Raise --batch, give the text of more data sets, or use --head-norm layer";
            context.tell(Message::warning("W327", text).fix(fix));
        }
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

    /// The batch of a step. Data sets are drawn with equal probability, so that a large one does not crowd out the others;
    /// then a case, a channel (of several, one: gtgm.md 2.2) and a place.
    pub(crate) fn batch(&self, step: u64, cut: &Cut) -> Result<Batch, BoxedError> {
        let (first, last) = cut.samples;
        let mut batch = Batch {
            windows: Vec::with_capacity((last - first) * cut.window_zyx.iter().product::<usize>()),
            text: Vec::new(),
            rows: Vec::new(),
            groups: Vec::new(),
            members: Vec::with_capacity(last - first),
        };
        for index in 0..cut.batch {
            let mut generator = sampler::generator(cut.seed, step, index as u64);
            let source = &self.sources[generator.random_range(0..self.sources.len())];
            let id = &source.ids[generator.random_range(0..source.ids.len())];
            let case: Arc<Case> = source.store.case(id).map_err(|e| e.message(id))?;
            let patch = sampler::uniform(&mut generator, case.record().shape_zyx, cut.patch_zyx);
            let channel = generator.random_range(0..case.record().channels.len());
            if (first..last).contains(&index) {
                let window = patch.widened(cut.window_zyx);
                case.append_image_channels(&[channel], &window, &mut batch.windows)
                    .map_err(|e| e.message(id))?;
                let dataset = &source.store.descriptor().name;
                batch.members.push(format!("{dataset}/{id}@{}", cases::triple(&patch.lo)));
            }
            let wording = match source.texts.len() {
                0 => continue,
                1 => 0,
                several => generator.random_range(0..several),
            };
            let text = &source.texts[wording];
            if let Some(row) = text.choose(&mut generator, id, &patch, cut.report_match) {
                batch.text.extend_from_slice(text.embedding(row));
                batch.rows.push(index as i64);
                batch.groups.push(source.groups[wording][text.group(row)]);
            }
        }
        Ok(batch)
    }
}
