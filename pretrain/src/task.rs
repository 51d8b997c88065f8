//! One step: two views, encoder, heads, losses.

mod aligned;
mod examine;

use crate::exam::Exam;
use crate::pairs::{Batch, Pairs};
use crate::parts::Parts;
use crate::plan::Plan;
use crate::watch::{CHANCE, PARTS, PARTS_CHANCE, SPREAD};
use networks::{Encoder, HeadNorm, MemoryFormat, ProjectionHead};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tch::{Device, Kind, Tensor, nn};
use torch_runtime::{Group, Precision, gather_rows};
use training::error::BoxedError;
use training::losses::pretrain::{Embeddings, TextEmbeddings, pretrain_loss};
use training::losses::redundancy::spread;
use training::processes::samples;
use training::step::{StepLoss, Task, Validation};
use training::views;

/// Heads that project the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VisualHeads {
    /// One for both, as released
    #[default]
    One,
    /// One for each, as in the paper's figure
    Two,
}

/// What reports are to each other that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AlikeReports {
    /// Nothing: to tell them apart is not learnt
    #[default]
    Masked,
    /// Negatives like all others, as published
    Negatives,
}

/// Encoder and heads under training.
pub(crate) struct Pretraining {
    encoder: Encoder,
    image_head: ProjectionHead,
    /// That of the second view, where it has its own.
    second_head: Option<ProjectionHead>,
    text_head: Option<ProjectionHead>,
    /// Parts of patches and their head.
    parts: Option<(Parts, ProjectionHead)>,
    plan: Plan,
    text_features: i64,
    device: Device,
    precision: Precision,
    /// Where several processes share a batch.
    group: Option<Group>,
    /// The first sample of this process.
    first: u64,
    pairs: Arc<Pairs>,
    exam: Exam,
    /// Set by a loss whose encoder pass has no graph yet.
    cached: Option<Cached>,
    /// Views of a step to come.
    prepared: Option<(u64, views::Views)>,
}

/// A batch that went through the encoder in parts without a graph: the views, and their features as leaves of the losses'
/// graph, whose gradients the second pass hands on to the encoder (GradCache: Gao et al. 2021, arXiv 2101.06983).
struct Cached {
    views: [Tensor; 2],
    features: [Tensor; 2],
}

impl Pretraining {
    /// Builds the network: the encoder in `encoder_store`, the heads `proj_v` and `proj_t` in `head_store`. `exam` asks about
    /// cases of the data sets.
    pub(crate) fn new(
        encoder_store: &nn::VarStore,
        head_store: &nn::VarStore,
        plan: &Plan,
        (pairs, exam): (Arc<Pairs>, Exam),
        precision: Precision,
        group: Option<Group>,
    ) -> anyhow::Result<Self> {
        let text_features = pairs.features();
        let encoder = Encoder::new(&encoder_store.root(), &plan.encoder, plan.seed)?;
        let faster = MemoryFormat::faster(plan.encoder.kind(), encoder_store.device(), precision);
        plan.memory_format.unwrap_or(faster).apply(encoder_store)?;
        let (hidden, out, norm) = (plan.projection_hidden, plan.projection_out, plan.head_norm);
        let root = head_store.root();
        let head = |name: &str, features: i64, seed: u64| {
            ProjectionHead::new(&(&root / name), features, hidden, out, norm, seed)
        };
        let image_head = head("proj_v", encoder.out_features(), plan.seed)?;
        let second_head = match plan.visual_heads {
            VisualHeads::One => None,
            VisualHeads::Two => Some(head("proj_v2", encoder.out_features(), plan.seed)?),
        };
        let text_features = text_features as i64;
        let text_head = (text_features > 0).then(|| head("proj_t", text_features, plan.seed)).transpose()?;
        let device = encoder_store.device();
        let parts = plan.parts.filter(|_| text_features > 0);
        let parts = parts.map(|of| Parts::new(&encoder, of.count, plan.patch_zyx, device)).transpose()?;
        let parts =
            parts.map(|parts| Ok::<_, networks::Error>((parts, head("proj_p", parts.features, plan.seed)?)));
        Ok(Self {
            parts: parts.transpose()?,
            encoder,
            image_head,
            second_head,
            text_head,
            plan: plan.clone(),
            text_features,
            device,
            precision,
            first: samples(plan.batch, group.as_ref()).start as u64,
            group,
            pairs,
            exam,
            cached: None,
            prepared: None,
        })
    }

    /// The head of the second view, which every choice of views contrasts with the text.
    fn second_head(&self) -> &ProjectionHead {
        self.second_head.as_ref().unwrap_or(&self.image_head)
    }

    fn views(&self, step: u64, batch: &Batch) -> training::Result<views::Views> {
        views::two_views(
            &batch.windows,
            self.plan.patch_zyx.map(|n| n as i64),
            &self.plan.views,
            self.plan.seed,
            step,
            self.first,
            &batch.natures,
        )
    }

    /// How reports are alike, as far as that keeps them from being negatives.
    fn groupings<'a>(&self, all: &'a [&'a [i64]]) -> &'a [&'a [i64]] {
        match self.plan.alike_reports {
            AlikeReports::Masked => all,
            AlikeReports::Negatives => &[],
        }
    }

    /// Features of the encoder's pooled output.
    pub(crate) fn features(&self) -> i64 {
        self.encoder.out_features()
    }

    /// First rows and numbers of rows of the pieces that go through the encoder at a time.
    fn pieces(&self, rows: i64) -> impl Iterator<Item = (i64, i64)> + use<> {
        let most = self.plan.micro_batch as i64;
        (0..rows).step_by(self.plan.micro_batch).map(move |first| (first, most.min(rows - first)))
    }

    /// Features of both views: at once where the batch may be, and else piece by piece without a graph.
    fn features_of(&mut self, views: [Tensor; 2]) -> Result<[Tensor; 2], BoxedError> {
        let rows = views[0].size()[0];
        if rows <= self.plan.micro_batch as i64 {
            return self.encode_views(&views);
        }
        let without_graph = |view: &Tensor| -> Result<Tensor, BoxedError> {
            let _guard = tch::no_grad_guard();
            let pieces =
                self.pieces(rows).map(|(first, n)| self.encode_piece(&view.narrow(0, first, n), None));
            Ok(Tensor::cat(&pieces.collect::<Result<Vec<_>, _>>()?, 0))
        };
        let features = [without_graph(&views[0])?, without_graph(&views[1])?];
        let features = features.map(|features| features.set_requires_grad(true));
        let kept = [features[0].shallow_clone(), features[1].shallow_clone()];
        self.cached = Some(Cached { views, features: kept });
        Ok(features)
    }

    /// Features of the whole batch, of all processes; heads and losses see all of it, and batch statistics are global.
    fn gathered(&self, features: Tensor) -> Result<Tensor, BoxedError> {
        match &self.group {
            Some(group) => Ok(gather_rows(group, &features)?),
            None => Ok(features),
        }
    }
}

/// How many texts a batch needs: a contrast needs a negative, and batch statistics more than that.
pub(crate) fn least_texts(norm: HeadNorm) -> i64 {
    match norm {
        HeadNorm::Batch => HeadNorm::MINIMUM_BATCH,
        HeadNorm::Layer => 2,
    }
}

/// The image-text loss (both directions) where every candidate is as likely: 2 ln B without texts that are alike. A text's
/// candidates are itself and the texts that it is not alike to.
fn chance(groupings: &[&[i64]], texts: usize) -> f64 {
    let alike = |a: usize, b: usize| groupings.iter().any(|numbers| numbers[a] == numbers[b]);
    let candidates =
        |text: usize| 1 + (0..texts).filter(|other| *other != text && !alike(text, *other)).count();
    let sum: f64 = (0..texts).map(|text| (candidates(text) as f64).ln()).sum();
    2.0 * sum / texts.max(1) as f64
}

impl Task for Pretraining {
    type Batch = Batch;

    fn prepare(&mut self, step: u64, batch: &Batch) -> Result<(), BoxedError> {
        self.prepared = Some((step, self.views(step, batch)?));
        Ok(())
    }

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        // of a step that was given up
        self.cached = None;
        let prepared = self.prepared.take().filter(|(of, _)| *of == step);
        let views::Views { first, second, reversed } = match prepared {
            Some((_, views)) => views,
            None => self.views(step, batch)?,
        };
        let [features_1, features_2] = self.features_of([first, second])?;
        let (raw_1, parts_1) = self.parted(&features_1, &reversed[0])?;
        let (raw_2, parts_2) = self.parted(&features_2, &reversed[1])?;
        let (raw_1, raw_2) = (self.gathered(raw_1)?, self.gathered(raw_2)?);
        let projected_1 = self.image_head.forward_t(&raw_1, true)?;
        let projected_2 = self.second_head().forward_t(&raw_2, true)?;
        let text = self.projected(&batch.texts)?;
        let groupings = batch.texts.groupings();
        let groupings = self.groupings(&groupings);
        let embeddings = Embeddings {
            projected_1: &projected_1,
            projected_2: &projected_2,
            raw_1: &raw_1,
            raw_2: &raw_2,
            text: text.as_ref().map(|(projected, rows)| TextEmbeddings {
                projected,
                rows: Some(rows),
                groupings,
            }),
        };
        let loss = pretrain_loss(&embeddings, &self.plan.loss)?;
        let mut parts: Vec<(String, Tensor)> =
            loss.parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if text.is_some() {
            let chance = Tensor::from(chance(groupings, batch.texts.rows.len()));
            parts.push((CHANCE.to_owned(), chance));
        }
        let weight = self.plan.parts.map_or(0.0, |parts| parts.weight);
        let mut total = loss.total;
        if let Some(loss) = self.loss_of_parts([parts_1, parts_2], &batch.part_texts)? {
            let texts = &batch.part_texts;
            let groupings = texts.groupings();
            let chance = Tensor::from(chance(self.groupings(&groupings), texts.rows.len()));
            parts.push((PARTS.to_owned(), loss.detach()));
            parts.push((PARTS_CHANCE.to_owned(), chance));
            total = &total + loss * weight;
        }
        parts.push((SPREAD.to_owned(), spread(&raw_1)?));
        parts.push(("texts".to_owned(), Tensor::from(batch.texts.rows.len() as f64)));
        Ok(StepLoss { total, parts })
    }

    fn backward(
        &mut self,
        _batch: &Batch,
        loss: &StepLoss,
        last: &dyn Fn() -> Result<(), BoxedError>,
    ) -> Result<(), BoxedError> {
        let Some(Cached { views, features }) = self.cached.take() else {
            last()?;
            return Ok(loss.total.f_backward()?);
        };
        loss.total.f_backward()?;
        for (number, (view, features)) in views.iter().zip(&features).enumerate() {
            let (gradient, rows) = (features.grad(), view.size()[0]);
            let pieces = self.pieces(rows).count();
            for (first, n) in self.pieces(rows) {
                let again = self.encode_piece(&view.narrow(0, first, n), Some(pieces))?;
                if number + 1 == views.len() && first + n == rows {
                    last()?;
                }
                (again * gradient.narrow(0, first, n)).sum(Kind::Float).f_backward()?;
            }
        }
        Ok(())
    }

    fn members(&self, batch: &Batch) -> Vec<String> {
        batch.members.clone()
    }

    fn patches(&self, batch: &Batch) -> usize {
        batch.natures.len()
    }

    fn validate(&mut self, _step: u64) -> Result<Validation, BoxedError> {
        self.examine()
    }
}

#[cfg(test)]
mod against_torch;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_leaves_equal_texts_out() {
        assert!((chance(&[&[0, 1, 2, 3]], 4) - 2.0 * 4f64.ln()).abs() < 1e-12);
        assert!((chance(&[&[7, 7, 7]], 3)).abs() < 1e-12);
        assert!((chance(&[&[0, 0, 1]], 3) - 2.0 * (2.0 * 2f64.ln() + 3f64.ln()) / 3.0).abs() < 1e-12);
        // the first and the second are alike in one way, the second and the third in another
        assert!((chance(&[&[0, 0, 1], &[0, 1, 1]], 3) - 2.0 * (2.0 * 2f64.ln()) / 3.0).abs() < 1e-12);
        assert!((chance(&[], 5) - 2.0 * 5f64.ln()).abs() < 1e-12);
    }
}
