//! Weights to start from: whether they fit, and what they have seen.

use crate::pairs::Pairs;
use data_manifests::seen::Seen;
use networks::{EncoderConfig, weights};
use serde::Deserialize;
use stage::message::counted;
use stage::{Context, Message};
use std::collections::BTreeSet;
use std::path::Path;

/// Refuses weights of a residual encoder that was planned for another patch: names and shapes may fit, what the weights have learnt to see does
/// not.
pub(crate) fn refuse_other_strides(file: &Path, own: &EncoderConfig) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Stored {
        encoder: EncoderConfig,
    }
    let metadata = weights::read_metadata(file).map_err(|e| Message::error("E326", e.to_string()))?;
    // weights of others have no such plan, and shapes alone can tell
    let stored = metadata.get("plan").and_then(|plan| serde_json::from_str::<Stored>(plan).ok());
    if let (
        Some(Stored { encoder: EncoderConfig::Resenc { topology: theirs, .. } }),
        EncoderConfig::Resenc { topology, .. },
    ) = (stored, own)
        && theirs.strides_zyx != topology.strides_zyx
    {
        return Err(Message::error("E326", "the weights to start from are of an encoder for another patch")
            .detail(format!(
                "{} halves by {:?}, this run's by {:?} (z, y, x)",
                file.display(),
                theirs.strides_zyx,
                topology.strides_zyx
            ))
            .fix("Give --patch-zyx, or --network-patch-zyx, as the run that made them had it")
            .into());
    }
    Ok(())
}

/// What the weights to start from have seen.
pub(crate) fn seen_by(file: &Path) -> anyhow::Result<Seen> {
    let unusable = |text: String| Message::error("E326", text).detail(file.display().to_string());
    let metadata = weights::read_metadata(file).map_err(|e| unusable(e.to_string()))?;
    Ok(Seen::of_metadata(&metadata)
        .map_err(|e| unusable(format!("its record of what it has seen cannot be read: {e}")))?)
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
