//! What was tried, and what of it was chosen.

use crate::arguments::{Criterion, Details, MethodName, Pieces};
use crate::chosen::Chosen;
use crate::instances::method;
use label_maps::Method;
use metrics::InstanceScores;
use serde::{Deserialize, Serialize};
use stage::Message;

/// How objects are made, chosen on labelled volumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choice {
    schema: String,
    /// Digests of the models that predicted, as predictions list them; ascending.
    models: Vec<String>,
    /// Digests of their weights in that order; files of earlier versions do not say.
    #[serde(default)]
    weights: Vec<String>,
    /// The volumes that it was chosen on.
    cases: Vec<String>,
    by: Criterion,
    method: MethodName,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
    quantile: u8,
    strides_zyx: [usize; 3],
    /// Objects of fewer voxels became background.
    smallest: u64,
    block_zyx: [usize; 3],
    halo_zyx: [usize; 3],
    /// All that was tried.
    tried: Vec<Trial>,
}

/// A method and a threshold, with the means of their scores over the volumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    method: MethodName,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
    /// Bits.
    voi_split: f64,
    voi_merge: f64,
    /// Adapted Rand error; none where that of a volume is 0 / 0.
    pub(super) arand: Option<f64>,
    /// CREMI's score, likewise.
    pub(super) cremi: Option<f64>,
}

impl Trial {
    pub(super) fn new(method: MethodName, threshold: Option<f64>) -> Self {
        Self { method, threshold, voi_split: 0.0, voi_merge: 0.0, arand: Some(0.0), cremi: Some(0.0) }
    }

    /// Adds the scores of a volume.
    pub(super) fn add(&mut self, scores: &InstanceScores) {
        self.voi_split += scores.voi_split;
        self.voi_merge += scores.voi_merge;
        self.arand = self.arand.zip(scores.rand_cremi.error).map(|(sum, error)| sum + error);
        self.cremi = self.cremi.zip(scores.cremi_score()).map(|(sum, score)| sum + score);
    }

    /// Sums over so many volumes as their means.
    pub(super) fn mean(mut self, volumes: usize) -> Self {
        let n = volumes as f64;
        self.voi_split /= n;
        self.voi_merge /= n;
        self.arand = self.arand.map(|sum| sum / n);
        self.cremi = self.cremi.map(|sum| sum / n);
        self
    }

    pub(super) fn voi(&self) -> f64 {
        self.voi_split + self.voi_merge
    }
}

impl Chosen for Choice {
    const SCHEMA: &'static str = "gtgm/objects-choice/2";
    const CODE: &'static str = "E437";
    const COMMAND: &'static str = "finetune threshold";

    fn schema(&self) -> &str {
        &self.schema
    }

    fn models(&self) -> &[String] {
        &self.models
    }

    fn weights(&self) -> &[String] {
        &self.weights
    }
}

impl Choice {
    /// Takes the best of what was tried, the first of equal ones.
    ///
    /// # Errors
    /// `E437` where nothing could be scored so.
    pub(super) fn new(
        (models, weights): (Vec<String>, Vec<String>),
        cases: Vec<String>,
        by: Criterion,
        (details, pieces): (Details, Pieces),
        tried: Vec<Trial>,
    ) -> Result<Self, Message> {
        let scored = tried.iter().filter_map(|trial| Some((by.of(trial)?, trial)));
        let best = scored.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, trial)| trial);
        let best = best.ok_or_else(|| {
            Message::error("E437", "nothing that was tried has such a score").fix("Choose by voi")
        })?;
        Ok(Self {
            schema: Self::SCHEMA.to_owned(),
            models,
            weights,
            cases,
            by,
            method: best.method,
            threshold: best.threshold,
            quantile: details.quantile(),
            strides_zyx: details.strides(),
            smallest: pieces.smallest,
            block_zyx: pieces.block,
            halo_zyx: pieces.halo(),
            tried,
        })
    }

    /// The method that was chosen.
    ///
    /// # Errors
    /// `E434` for values with which it cannot work.
    pub(crate) fn method(&self) -> Result<Method, Message> {
        let details = Details { quantile: Some(self.quantile), strides: Some(self.strides_zyx) };
        method::of(self.method, self.threshold.unwrap_or_default(), details)
    }

    /// How volumes were cut up, on which the objects depend, too.
    pub(crate) fn pieces(&self) -> Pieces {
        Pieces { smallest: self.smallest, block: self.block_zyx, halo: Some(self.halo_zyx) }
    }

    /// What was tried, for people: a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |trial: &Trial| {
            let threshold = trial.threshold.map_or_else(|| "-".to_owned(), |t| t.to_string());
            let arand = trial.arand.map_or_else(|| "n/a".to_owned(), |error| format!("{error:.4}"));
            let taken = (trial.method, trial.threshold) == (self.method, self.threshold);
            format!(
                "{:<16} {threshold:<5} VOI {:.4} (split {:.4}, merge {:.4}), ARAND {arand}{}",
                trial.method.name(),
                trial.voi(),
                trial.voi_split,
                trial.voi_merge,
                if taken { "  taken" } else { "" }
            )
        };
        self.tried.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chosen::{self, tests::identity};

    fn trial(method: MethodName, threshold: Option<f64>, voi: f64, arand: Option<f64>) -> Trial {
        Trial { voi_split: voi / 4.0, voi_merge: voi * 0.75, arand, ..Trial::new(method, threshold) }
    }

    fn choice(by: Criterion) -> Result<Choice, Message> {
        let details = Details { quantile: Some(25), strides: Some([1, 2, 3]) };
        let pieces = Pieces { smallest: 9, block: [8, 64, 64], halo: Some([2, 8, 8]) };
        let tried = vec![
            trial(MethodName::Mean, Some(0.4), 0.5, Some(0.2)),
            trial(MethodName::Mean, Some(0.6), 0.3, Some(0.3)),
            trial(MethodName::MutexWatershed, None, 0.9, None),
        ];
        Choice::new(
            (vec!["a".to_owned()], vec!["w".to_owned()]),
            vec!["s".to_owned()],
            by,
            (details, pieces),
            tried,
        )
    }

    #[test]
    fn the_lowest_score_is_taken() {
        let by_voi = choice(Criterion::Voi).unwrap();
        assert_eq!((by_voi.method, by_voi.threshold), (MethodName::Mean, Some(0.6)));
        assert_eq!(choice(Criterion::Arand).unwrap().threshold, Some(0.4));
        let lines = by_voi.lines();
        assert_eq!(
            lines[1],
            "mean             0.6   VOI 0.3000 (split 0.0750, merge 0.2250), ARAND 0.3000  taken"
        );
        assert!(lines[2].starts_with("mutex-watershed  -     VOI 0.9000"), "{}", lines[2]);
        assert!(lines[2].ends_with("ARAND n/a"), "{}", lines[2]);
        let details = Details { quantile: None, strides: None };
        let pieces = by_voi.pieces();
        assert_eq!((pieces.smallest, pieces.block, pieces.halo()), (9, [8, 64, 64], [2, 8, 8]));
        let none = Choice::new(
            (Vec::new(), Vec::new()),
            Vec::new(),
            Criterion::Arand,
            (details, pieces),
            Vec::new(),
        );
        assert!(none.unwrap_err().to_string().contains("E437"));
    }

    #[test]
    fn a_choice_is_for_its_models() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("choice.json");
        let made = choice(Criterion::Voi).unwrap();
        fs_err::write(&path, serde_json::to_vec(&made).unwrap()).unwrap();
        for model in [identity(Some("a"), None), identity(None, Some("w"))] {
            assert_eq!(chosen::load::<Choice>(&path, &[model]).unwrap(), made);
        }
        let details = Details { quantile: Some(25), strides: Some([1, 2, 3]) };
        assert_eq!(made.method().unwrap(), method::of(MethodName::Mean, 0.6, details).unwrap());
        let said = chosen::load::<Choice>(&path, &[identity(Some("b"), None)]).unwrap_err().to_string();
        assert!(said.starts_with("E437 this choice was made for other models"), "{said}");
        fs_err::write(&path, "{}").unwrap();
        let said = chosen::load::<Choice>(&path, &[]).unwrap_err().to_string();
        assert!(said.starts_with("E437 this is not a choice"), "{said}");
    }
}
