//! What decides the bytes of predictions.

use super::output::{Format, ProbabilityKind};
use crate::arguments::Predict;
use crate::objective::Objective;
use data_manifests::{Artefact, digest};
use serde::Serialize;
use stage::Message;
use training::predict::SlidingWindow;

#[derive(Serialize)]
pub(super) struct Parameters<'a> {
    pub(super) cases: Vec<(&'a str, &'a str)>,
    pub(super) sliding_window: &'a SlidingWindow,
    pub(super) precision: &'a str,
    /// NIfTI where nothing is said, as before there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<Format>,
    /// Of a model of objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) affinities: Option<ProbabilityKind>,
    /// Of classes or regions, where they are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) probabilities: Option<ProbabilityKind>,
}

impl Parameters<'_> {
    /// A digest of all that decides a case's files but for its image: these, and the models and the choice among `inputs`.
    pub(super) fn settings(&self, inputs: &[Artefact]) -> anyhow::Result<String> {
        let mut value = serde_json::to_value(self)?;
        if let Some(all) = value.as_object_mut() {
            all.remove("cases");
        }
        let inputs: Vec<_> = inputs.iter().map(|input| (&input.role, &input.sha256)).collect();
        Ok(digest::digest_of(&(value, inputs))?)
    }
}

/// Refuses options of probabilities that would do nothing (`E448`).
pub(super) fn check_probabilities(arguments: &Predict, objective: &Objective) -> Result<(), Message> {
    if arguments.probabilities && !objective.is_semantic() {
        return Err(Message::error(
            "E448",
            "a model of objects predicts affinities, which are probabilities already",
        )
        .fix("Leave out --probabilities"));
    }
    if arguments.probability_kind.is_some() && objective.is_semantic() && !arguments.probabilities {
        return Err(Message::error("E448", "--probability-kind is of probabilities, and none are written")
            .fix("Add --probabilities, or leave it out"));
    }
    Ok(())
}
