//! Features of patches and of their parts, and texts, on the way to the losses.

use super::{Pretraining, least_texts};
use crate::pairs::Texts;
use crate::parts::Parts;
use tch::{Kind, Tensor};
use torch_runtime::transfer::uploaded;
use training::error::BoxedError;
use training::losses::contrastive::vlp;

impl Pretraining {
    /// Pooled features of patches in training, float32, and beside them the features of all parts where these are aligned: of one of so many pieces of
    /// a batch, or, without a number, of one that comes again.
    pub(super) fn encode_piece(&self, patches: &Tensor, pieces: Option<usize>) -> Result<Tensor, BoxedError> {
        let _autocast = self.precision.autocast(self.device)?;
        self.pooled(&self.encoder.forward_piece(patches, self.group.as_ref(), pieces)?)
    }

    /// As [`Self::encode_piece`], of two whole views of the same patches.
    pub(super) fn encode_views(&self, [first, second]: &[Tensor; 2]) -> Result<[Tensor; 2], BoxedError> {
        let _autocast = self.precision.autocast(self.device)?;
        let [first, second] = self.encoder.forward_views([first, second], self.group.as_ref())?;
        Ok([self.pooled(&first)?, self.pooled(&second)?])
    }

    fn pooled(&self, maps: &[Tensor]) -> Result<Tensor, BoxedError> {
        let last = maps.last().ok_or("the encoder gave no feature map")?;
        let whole = last.f_mean_dim([2_i64, 3, 4].as_slice(), false, Kind::Float)?;
        match &self.parts {
            Some((parts, _)) => Ok(Tensor::f_cat(&[whole, parts.pool(maps)?], 1)?),
            None => Ok(whole),
        }
    }

    /// Features of patches and, where parts are aligned, of their parts as `[batch, count, features]` from the lowest z on.
    pub(super) fn parted(
        &self,
        features: &Tensor,
        reversed: &[bool],
    ) -> Result<(Tensor, Option<Tensor>), BoxedError> {
        let Some((parts, _)) = &self.parts else { return Ok((features.shallow_clone(), None)) };
        let whole = self.features();
        let of_parts = features.narrow(1, whole, parts.count as i64 * parts.features);
        let of_parts = of_parts.view([-1, parts.count as i64, parts.features]);
        Ok((features.narrow(1, 0, whole), Some(Parts::ordered(&of_parts, reversed)?)))
    }

    /// Texts through their head; none where they are too few for a contrast.
    pub(super) fn projected(&self, texts: &Texts) -> Result<Option<(Tensor, Tensor)>, BoxedError> {
        let Some(head) = &self.text_head else { return Ok(None) };
        if (texts.rows.len() as i64) < least_texts(self.plan.head_norm) {
            return Ok(None);
        }
        let text = uploaded(&texts.embeddings, &[-1, self.text_features], self.device)?;
        let rows = uploaded(&texts.rows, &[-1], self.device)?;
        Ok(Some((head.forward_t(&text, true)?, rows)))
    }

    /// The image-text loss of parts, the mean over both views; none without enough texts of parts.
    pub(super) fn loss_of_parts(
        &self,
        views: [Option<Tensor>; 2],
        texts: &Texts,
    ) -> Result<Option<Tensor>, BoxedError> {
        let (Some((parts, head)), [Some(first), Some(second)]) = (&self.parts, views) else {
            return Ok(None);
        };
        let Some((text, rows)) = self.projected(texts)? else { return Ok(None) };
        let of_view = |view: Tensor| -> Result<Tensor, BoxedError> {
            let view = self.gathered(view.reshape([-1, parts.count as i64 * parts.features]))?;
            let image = head.forward_t(&view.view([-1, parts.features]), true)?.index_select(0, &rows);
            Ok(vlp(&image, &text, self.plan.loss.temperature, self.groupings(&texts.groupings()))?.sum())
        };
        Ok(Some((of_view(first)? + of_view(second)?) / 2.0))
    }
}
