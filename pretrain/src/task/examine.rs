//! Answers to the exam.

use super::Pretraining;
use crate::exam::Place;
use stage::Message;
use std::collections::BTreeSet;
use tch::{Device, Kind, Tensor};
use training::error::BoxedError;
use training::probe::{Probe, effective_rank, linear_probe, retrieve};
use training::step::Validation;

/// Patches that are named where their features are not finite.
const ODD_SHOWN: usize = 5;

impl Pretraining {
    /// Retrieval, rank and probe over the exam's places.
    pub(super) fn examine(&self) -> Result<Validation, BoxedError> {
        let _guard = tch::no_grad_guard();
        let shape = self.plan.patch_zyx;
        let [z, y, x] = shape.map(|n| n as i64);
        let mut features = Vec::new();
        // as many as a step sends through the encoder here, of however many processes
        let own = self.plan.batch.div_ceil(self.group.as_ref().map_or(1, |group| group.size()));
        for places in self.exam.places.chunks(self.plan.micro_batch.min(own)) {
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
        let mut validation = Validation::default();
        let (features, asked) = self.finite(features, &mut validation)?;
        if asked.is_empty() {
            validation.score = Some(f64::NAN);
            return Ok(validation);
        }
        let of_places = |of: fn(&Place) -> i64| -> Vec<i64> { asked.iter().map(|place| of(place)).collect() };
        let values = &mut validation.values;
        let probe = linear_probe(&features, &of_places(|p| p.modality), &of_places(|p| p.subject))?;
        if let Some(Probe { accuracy, chance }) = probe {
            values.insert("probe_modality".to_owned(), accuracy);
            values.insert("probe_modality_chance".to_owned(), chance);
        }
        let rows = |wanted: &dyn Fn(&Place) -> bool| {
            let rows: Vec<i64> =
                (0..).zip(&asked).filter(|(_, place)| wanted(place)).map(|(i, _)| i).collect();
            features.index_select(0, &Tensor::from_slice(&rows).to_device(self.device))
        };
        let held_out = rows(&|place| place.held_out);
        values.insert("patches".to_owned(), held_out.size()[0] as f64);
        if held_out.size()[0] >= 3 {
            values.insert("effective_rank".to_owned(), effective_rank(&held_out)?);
        }
        let targets: Vec<i64> = asked.iter().filter_map(|place| place.target).collect();
        let can_choose = self.exam.owners.len() > 1 && !targets.is_empty();
        if let Some(head) = self.text_head.as_ref().filter(|_| can_choose) {
            let images = self.second_head().forward_t(&rows(&|place| place.target.is_some()), false)?;
            let texts = Tensor::from_slice(&self.exam.texts).view([-1, self.text_features]);
            let texts = head.forward_t(&texts.to_device(self.device), false)?;
            let found = retrieve(&images, &texts, &targets)?;
            for k in [1, 5, 10] {
                values.insert(format!("recall_{k}"), found.recall(k));
            }
            values.insert("recall_5_chance".to_owned(), found.chance(5));
            values.insert("median_rank".to_owned(), found.median_rank());
            values.insert("mean_reciprocal_rank".to_owned(), found.mean_reciprocal_rank());
            values.insert("candidates".to_owned(), found.candidates as f64);
            // where few are to choose from, all are among the first five
            validation.score = Some(found.mean_reciprocal_rank());
            if let Some([recall, chance]) = self.within_data_sets(&asked, &images, &texts)? {
                values.insert("recall_5_within".to_owned(), recall);
                values.insert("recall_5_within_chance".to_owned(), chance);
            }
        }
        Ok(validation)
    }

    /// The features that are finite, and their places; a message names the others, of which nothing can be asked.
    fn finite(
        &self,
        features: Tensor,
        validation: &mut Validation,
    ) -> Result<(Tensor, Vec<&Place>), BoxedError> {
        let is_finite = Vec::<bool>::try_from(features.isfinite().all_dim(1, false).to_device(Device::Cpu))?;
        let places = || self.exam.places.iter().zip(&is_finite);
        let asked: Vec<&Place> = places().filter(|(_, finite)| **finite).map(|(place, _)| place).collect();
        if asked.len() == self.exam.places.len() {
            return Ok((features, asked));
        }
        let name = |place: &Place| {
            let [z, y, x] = place.patch.lo;
            format!("{} at {z},{y},{x}", place.id)
        };
        let odd: Vec<String> =
            places().filter(|(_, finite)| !**finite).map(|(place, _)| name(place)).collect();
        let more = odd.len().saturating_sub(ODD_SHOWN);
        let mut detail = odd[..odd.len() - more].join("; ");
        if more > 0 {
            detail.push_str(&format!("; and {more} more"));
        }
        let text = format!(
            "features of {} of {} patches are not finite: nothing is asked of these",
            odd.len(),
            is_finite.len()
        );
        validation.messages.push(
            Message::warning("W302", text)
                .detail(detail)
                .fix("Where it is always the same cases, look at their shards: 'preprocess verify', 'preprocess info' of their files"),
        );
        let rows: Vec<i64> =
            (0..).zip(&is_finite).filter(|(_, finite)| **finite).map(|(row, _)| row).collect();
        Ok((features.index_select(0, &Tensor::from_slice(&rows).to_device(self.device)), asked))
    }

    /// Share of images whose text is among the first five of their own data set, and that of guessing: to know the data set is enough to
    /// find a text among all more often than by chance. None where all are of one data set.
    fn within_data_sets(
        &self,
        asked: &[&Place],
        images: &Tensor,
        texts: &Tensor,
    ) -> Result<Option<[f64; 2]>, BoxedError> {
        let asked: Vec<&Place> = asked.iter().copied().filter(|place| place.target.is_some()).collect();
        let sources: BTreeSet<usize> = asked.iter().map(|place| place.source).collect();
        if sources.len() < 2 {
            return Ok(None);
        }
        let pick =
            |of: &Tensor, rows: &[i64]| of.index_select(0, &Tensor::from_slice(rows).to_device(self.device));
        let mut sums = [0.0; 2];
        for source in sources {
            let own: Vec<i64> = (0_i64..)
                .zip(&self.exam.owners)
                .filter(|(_, of)| of.contains(&source))
                .map(|(i, _)| i)
                .collect();
            let of_source = (0_i64..).zip(&asked).filter(|(_, place)| place.source == source);
            // the target of a place is a text of its own data set
            let (rows, targets): (Vec<i64>, Vec<i64>) = of_source
                .filter_map(|(row, place)| Some((row, own.binary_search(&place.target?).ok()? as i64)))
                .unzip();
            let found = retrieve(&pick(images, &rows), &pick(texts, &own), &targets)?;
            let share = rows.len() as f64 / asked.len() as f64;
            sums[0] += share * found.recall(5);
            sums[1] += share * found.chance(5);
        }
        Ok(Some(sums))
    }
}
