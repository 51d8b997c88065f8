//! Answers to the exam.

use super::Pretraining;
use crate::exam::Place;
use tch::{Kind, Tensor};
use training::error::BoxedError;
use training::probe::{effective_rank, linear_probe, retrieve};
use training::step::Validation;

impl Pretraining {
    /// Retrieval, rank and probe over the exam's places.
    pub(super) fn examine(&self) -> Result<Validation, BoxedError> {
        let _guard = tch::no_grad_guard();
        let shape = self.plan.patch_zyx;
        let [z, y, x] = shape.map(|n| n as i64);
        let mut features = Vec::new();
        for places in self.exam.places.chunks(self.plan.micro_batch) {
            let mut voxels = Vec::with_capacity(places.len() * shape.iter().product::<usize>());
            for place in places {
                let source = &self.pairs.sources()[place.source];
                let case = source.store.case(&place.id).map_err(|e| e.message(&place.id))?;
                case.append_image_channels(&[place.channel], &place.patch, &mut voxels)
                    .map_err(|e| e.message(&place.id))?;
            }
            let patches = Tensor::from_slice(&voxels).view([-1, 1, z, y, x]).to_device(self.device);
            let encoded = {
                let _autocast = self.precision.autocast(self.device)?;
                self.encoder.forward_features(&patches, false)?
            };
            features.push(encoded.to_kind(Kind::Float));
        }
        let features = Tensor::cat(&features, 0);
        let modalities: Vec<i64> = self.exam.places.iter().map(|place| place.modality).collect();
        let mut validation = Validation::default();
        let values = &mut validation.values;
        if let Some(accuracy) = linear_probe(&features, &modalities)? {
            values.insert("probe_modality".to_owned(), accuracy);
        }
        let rows = |wanted: &dyn Fn(&Place) -> bool| {
            let rows: Vec<i64> =
                (0..).zip(&self.exam.places).filter(|(_, p)| wanted(p)).map(|(i, _)| i).collect();
            features.index_select(0, &Tensor::from_slice(&rows).to_device(self.device))
        };
        let held_out = rows(&|place| place.held_out);
        if held_out.size()[0] >= 3 {
            values.insert("effective_rank".to_owned(), effective_rank(&held_out)?);
        }
        let targets: Vec<i64> = self.exam.places.iter().filter_map(|place| place.target).collect();
        if let Some(head) = self.text_head.as_ref().filter(|_| !targets.is_empty()) {
            let images = self.second_head().forward_t(&rows(&|place| place.target.is_some()), false)?;
            let texts = Tensor::from_slice(&self.exam.texts).view([-1, self.text_features]);
            let texts = head.forward_t(&texts.to_device(self.device), false)?;
            let found = retrieve(&images, &texts, &targets)?;
            for k in [1, 5, 10] {
                values.insert(format!("recall_{k}"), found.recall(k));
            }
            values.insert("recall_5_chance".to_owned(), found.chance(5));
            values.insert("median_rank".to_owned(), found.median_rank());
            values.insert("candidates".to_owned(), found.candidates as f64);
            validation.score = Some(found.recall(5));
        }
        Ok(validation)
    }
}
