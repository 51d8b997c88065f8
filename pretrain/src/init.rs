//! Weights to start from: whether they fit, and what they have seen.

use crate::pairs::Pairs;
use data_manifests::seen::Seen;
use networks::{EncoderConfig, weights};
use stage::message::counted;
use stage::{Context, Message};
use std::collections::BTreeSet;
use std::path::Path;

/// What a file of weights to start from says of itself.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The encoder that they are of; none for weights of other origin.
    pub(crate) encoder: Option<EncoderConfig>,
    /// What they have seen.
    pub(crate) seen: Seen,
}

impl Origin {
    /// Reads it.
    ///
    /// # Errors
    /// `E326` when the file, or what it says, cannot be read.
    pub(crate) fn of(file: &Path) -> anyhow::Result<Self> {
        let unusable = |text: String| Message::error("E326", text).detail(file.display().to_string());
        let metadata = weights::read_metadata(file).map_err(|e| unusable(e.to_string()))?;
        let encoder = weights::planned_encoder(&metadata)
            .map_err(|e| unusable(format!("the plan of the weights to start from cannot be read: {e}")))?;
        let seen = Seen::of_metadata(&metadata)
            .map_err(|e| unusable(format!("its record of what it has seen cannot be read: {e}")))?;
        Ok(Self { encoder, seen })
    }
}

/// Says how many of the cases that are kept from training the weights to start from have seen: keeping them is in vain.
pub(crate) fn warn_of_kept_cases(seen: &Seen, pairs: &Pairs, context: &Context) {
    for source in pairs.sources() {
        let name = &source.store.descriptor().name;
        // under whatever name: also those that another data set keeps from training
        let kept: BTreeSet<&String> = source.kept.iter().chain(&source.held_out).collect();
        let all = kept.len();
        let [images, _] = seen.among(name, kept, &source.store.images());
        if images > 0 {
            let text = format!(
                "the weights of --init were trained on {images} of {} of {name} that this run keeps from training",
                counted(all, "case")
            );
            context.tell(
                Message::warning("W338", text)
                    .cause("Scores on them, and retrieval, come from weights that have seen their images")
                    .fix("Start from weights that were made with the same --leave-out, --holdout, --seed and --test-cases"),
            );
        }
    }
}
