//! The pretraining objective: image-text contrast plus 0.01 times the visual loss.

use super::contrastive::vlp;
use super::redundancy::{Centering, OFF_DIAGONAL_WEIGHT, cross_correlation};
use crate::Result;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Which views are contrasted with the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VlpViews {
    /// The second only, as the paper's figure draws it.
    Second,
    /// Both, as the published code does.
    Both,
}

/// On which vectors the visual loss works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VrSpace {
    /// The projection head's output, as the paper's figure draws it.
    Projected,
    /// The encoder's pooled output, as in the published code.
    Raw,
}

/// Options of the pretraining objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainLossOptions {
    /// Divides the cosine similarities; fixed, not learnt.
    pub temperature: f64,
    /// Views in the image-text loss.
    pub vlp_views: VlpViews,
    /// Vectors in the visual loss.
    pub vr_space: VrSpace,
    /// Whether the visual loss standardises its features.
    pub vr_centering: Centering,
    /// Weight of the visual loss.
    pub vr_weight: f64,
    /// Weight of the off-diagonal entries inside the visual loss.
    pub vr_off_diagonal: f64,
}

impl Default for PretrainLossOptions {
    /// Both views against the text; standardised cross-correlation of the projections.
    fn default() -> Self {
        Self {
            temperature: 0.07,
            vlp_views: VlpViews::Both,
            vr_space: VrSpace::Projected,
            vr_centering: Centering::Standardised,
            vr_weight: 0.01,
            vr_off_diagonal: OFF_DIAGONAL_WEIGHT,
        }
    }
}

impl PretrainLossOptions {
    /// What the published code computes: the uncentred second moment of the encoder's raw output.
    #[must_use]
    pub fn legacy() -> Self {
        Self { vr_space: VrSpace::Raw, vr_centering: Centering::Raw, ..Self::default() }
    }
}

/// Embeddings of one batch, row i of each belonging together; `[batch, feature]` each.
#[derive(Debug)]
pub struct Embeddings<'a> {
    /// First view, projected.
    pub projected_1: &'a Tensor,
    /// Second view, projected.
    pub projected_2: &'a Tensor,
    /// First view, the encoder's pooled output.
    pub raw_1: &'a Tensor,
    /// Second view, the encoder's pooled output.
    pub raw_2: &'a Tensor,
    /// Text, projected to the images' feature count. `None` where the batch has no text: the visual loss stands alone.
    pub text: Option<TextEmbeddings<'a>>,
}

/// The text side of a batch.
#[derive(Debug)]
pub struct TextEmbeddings<'a> {
    /// `[texts, feature]`.
    pub projected: &'a Tensor,
    /// Row of the images that each text belongs to, int64 `[texts]`; `None` where row i belongs to row i.
    pub rows: Option<&'a Tensor>,
    /// Numbers of texts that are alike, one per text in each way of being so; see [`vlp`].
    pub groupings: &'a [&'a [i64]],
}

/// The objective and its parts, scalars on the embeddings' device.
#[derive(Debug)]
pub struct PretrainLoss {
    /// What is minimised.
    pub total: Tensor,
    /// Named parts, detached: `vlp_1`, `vlp_2` (each the sum of its two directions, unweighted), `vr` (unweighted; absent without weight).
    pub parts: Vec<(&'static str, Tensor)>,
}

/// L = Σ_views L_VLP(view, text) + weight · L_VR(view 1, view 2).
///
/// # Errors
/// As [`vlp`] and [`cross_correlation`].
///
/// # Source
/// gtgm.md, section 4.
pub fn pretrain_loss(embeddings: &Embeddings<'_>, options: &PretrainLossOptions) -> Result<PretrainLoss> {
    let (mut terms, mut parts) = (Vec::with_capacity(3), Vec::with_capacity(3));
    if let Some(text) = &embeddings.text {
        let views = match options.vlp_views {
            VlpViews::Second => vec![("vlp_2", embeddings.projected_2)],
            VlpViews::Both => vec![("vlp_1", embeddings.projected_1), ("vlp_2", embeddings.projected_2)],
        };
        for (name, view) in views {
            let view = match text.rows {
                Some(rows) => view.index_select(0, rows),
                None => view.shallow_clone(),
            };
            let loss = vlp(&view, text.projected, options.temperature, text.groupings)?.sum();
            parts.push((name, loss.detach()));
            terms.push(loss);
        }
    }
    // what has no weight is not computed: were it not finite, it would end a run that does not ask for it
    if options.vr_weight != 0.0 {
        let (a, b) = match options.vr_space {
            VrSpace::Projected => (embeddings.projected_1, embeddings.projected_2),
            VrSpace::Raw => (embeddings.raw_1, embeddings.raw_2),
        };
        let vr = cross_correlation(a, b, options.vr_centering, options.vr_off_diagonal)?;
        parts.push(("vr", vr.detach()));
        terms.push(vr * options.vr_weight);
    }
    let total = Tensor::stack(&terms, 0).sum(embeddings.projected_1.kind());
    Ok(PretrainLoss { total, parts })
}
