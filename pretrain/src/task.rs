//! One step: two views, encoder, heads, losses.

use crate::pairs::Batch;
use crate::plan::Plan;
use crate::watch::{CHANCE, SPREAD};
use networks::{Encoder, HeadNorm, ProjectionHead};
use tch::{Device, Kind, Tensor, nn};
use torch_runtime::Precision;
use training::error::BoxedError;
use training::losses::pretrain::{Embeddings, TextEmbeddings, pretrain_loss};
use training::losses::redundancy::spread;
use training::step::{StepLoss, Task, Validation};
use training::views;

/// Encoder and heads under training.
pub(crate) struct Pretraining {
    encoder: Encoder,
    image_head: ProjectionHead,
    text_head: Option<ProjectionHead>,
    plan: Plan,
    text_features: i64,
    device: Device,
    precision: Precision,
}

impl Pretraining {
    /// Builds the network: the encoder in `encoder_store`, the heads `proj_v` and `proj_t` in `head_store`.
    pub(crate) fn new(
        encoder_store: &nn::VarStore,
        head_store: &nn::VarStore,
        plan: &Plan,
        text_features: usize,
        precision: Precision,
    ) -> anyhow::Result<Self> {
        let encoder = Encoder::new(&encoder_store.root(), &plan.encoder, plan.seed)?;
        let (hidden, out, norm) = (plan.projection_hidden, plan.projection_out, plan.head_norm);
        let root = head_store.root();
        let head = |name: &str, features: i64, seed: u64| {
            ProjectionHead::new(&(&root / name), features, hidden, out, norm, seed)
        };
        let image_head = head("proj_v", encoder.out_features(), plan.seed)?;
        let text_features = text_features as i64;
        let text_head = (text_features > 0).then(|| head("proj_t", text_features, plan.seed)).transpose()?;
        let device = encoder_store.device();
        Ok(Self { encoder, image_head, text_head, plan: plan.clone(), text_features, device, precision })
    }

    /// Features of the encoder's pooled output.
    pub(crate) fn features(&self) -> i64 {
        self.encoder.out_features()
    }

    /// Pooled features and projections of a view, float32.
    fn embed(&self, view: &Tensor) -> Result<(Tensor, Tensor), BoxedError> {
        let raw = {
            let _autocast = self.precision.autocast(self.device)?;
            self.encoder.forward_features(view, true)?
        };
        let raw = raw.to_kind(Kind::Float);
        let projected = self.image_head.forward_t(&raw, true)?;
        Ok((raw, projected))
    }
}

/// How many texts a batch needs: a contrast needs a negative, and batch statistics more than that.
pub(crate) fn least_texts(norm: HeadNorm) -> i64 {
    match norm {
        HeadNorm::Batch => HeadNorm::MINIMUM_BATCH,
        HeadNorm::Layer => 2,
    }
}

/// The image-text loss (both directions) where every candidate is as likely: 2 ln B without equal texts. A text's
/// candidates are itself and the texts of other groups.
fn chance(groups: &[i64]) -> f64 {
    let candidates = |group: i64| 1 + groups.iter().filter(|other| **other != group).count();
    let sum: f64 = groups.iter().map(|group| (candidates(*group) as f64).ln()).sum();
    2.0 * sum / groups.len().max(1) as f64
}

impl Task for Pretraining {
    type Batch = Batch;

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        let [z, y, x] = self.plan.window_zyx.map(|n| n as i64);
        let windows = Tensor::from_slice(&batch.windows).view([-1, 1, z, y, x]).to_device(self.device);
        let patch = self.plan.patch_zyx.map(|n| n as i64);
        let (first, second) = views::two_views(&windows, patch, &self.plan.views, self.plan.seed, step)?;
        // one after the other: less memory than both at once, and as fast
        let (raw_1, projected_1) = self.embed(&first)?;
        let (raw_2, projected_2) = self.embed(&second)?;

        let text = match &self.text_head {
            Some(head) if batch.rows.len() as i64 >= least_texts(self.plan.head_norm) => {
                let text =
                    Tensor::from_slice(&batch.text).view([-1, self.text_features]).to_device(self.device);
                let rows = Tensor::from_slice(&batch.rows).to_device(self.device);
                Some((head.forward_t(&text, true)?, rows))
            }
            _ => None,
        };
        let embeddings = Embeddings {
            projected_1: &projected_1,
            projected_2: &projected_2,
            raw_1: &raw_1,
            raw_2: &raw_2,
            text: text.as_ref().map(|(projected, rows)| TextEmbeddings {
                projected,
                rows: Some(rows),
                groups: Some(&batch.groups),
            }),
        };
        let loss = pretrain_loss(&embeddings, &self.plan.loss)?;
        let mut parts: Vec<(String, Tensor)> =
            loss.parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if text.is_some() {
            let chance = Tensor::from(chance(&batch.groups)).to_device(self.device);
            parts.push((CHANCE.to_owned(), chance));
        }
        parts.push((SPREAD.to_owned(), Tensor::from(spread(&raw_1)?).to_device(self.device)));
        parts.push(("texts".to_owned(), Tensor::from(batch.rows.len() as f64).to_device(self.device)));
        Ok(StepLoss { total: loss.total, parts })
    }

    fn members(&self, batch: &Batch) -> Vec<String> {
        batch.members.clone()
    }

    fn validate(&mut self, _step: u64) -> Result<Validation, BoxedError> {
        Ok(Validation::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_leaves_equal_texts_out() {
        assert!((chance(&[0, 1, 2, 3]) - 2.0 * 4f64.ln()).abs() < 1e-12);
        assert!((chance(&[7, 7, 7])).abs() < 1e-12);
        assert!((chance(&[0, 0, 1]) - 2.0 * (2.0 * 2f64.ln() + 3f64.ln()) / 3.0).abs() < 1e-12);
    }
}
