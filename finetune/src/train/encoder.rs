//! The encoder that training starts from: its shape, its weights and its licence.

use crate::arguments::Train;
use crate::model::{self, ModelPlan};
use crate::objective::Objective;
use data_manifests::seen::Seen;
use data_manifests::{Artefact, Manifest};
use networks::weights::{
    self, LoadOptions, OTHER_ENCODER, OTHER_MERGING, OTHER_STEM, RANDOM_STEM, WHICH_MERGING,
};
use networks::{EncoderConfig, EncoderKind, NetworkConfig, NetworkKind};
use patches::ShardStore;
use stage::message::counted;
use stage::{Context, Message};
use std::collections::BTreeSet;
use std::path::Path;
use tch::nn;

/// The encoder's configuration in the plan of a file that 'pretrain' or 'finetune train' wrote, be it of another data set; `None` for weights of
/// other origin.
///
/// # Errors
/// `E401` when the plan cannot be read, or the encoder does not belong to the network.
pub(super) fn configuration(file: &Path, network: NetworkKind) -> anyhow::Result<Option<EncoderConfig>> {
    let unusable = |text: String| Message::error("E401", text).detail(file.display().to_string());
    let metadata = weights::read_metadata(file).map_err(|e| Message::error("E401", e.to_string()))?;
    let stored = weights::planned_encoder(&metadata).map_err(|e| {
        unusable(format!("the encoder's plan cannot be read: {e}"))
            .fix("Give the encoder.safetensors that 'pretrain' wrote, or the model.safetensors of 'finetune train'")
    })?;
    let Some(stored) = stored else { return Ok(None) };
    let expected = network.encoder();
    let found = stored.kind();
    if found != expected {
        let remedy = match found {
            EncoderKind::Resnet50 => NetworkKind::Resunet50,
            EncoderKind::Resenc => NetworkKind::Resenc,
            EncoderKind::SwinUnetr => NetworkKind::SwinUnetr,
        };
        let text = format!("the encoder is a {found}, and --network {network} takes a {expected}");
        let fix = format!("Use --network {remedy}, or an encoder made with 'pretrain --encoder {expected}'");
        return Err(unusable(text).fix(fix).into());
    }
    Ok(Some(stored))
}

/// Says how many of the cases that the model is validated by the encoder has seen: scores on them flatter it.
pub(super) fn warn_of_seen_cases(seen: &Seen, store: &ShardStore, val: &[String], context: &Context) {
    let dataset = &store.descriptor().name;
    let [images, labels] = seen.among(dataset, val, &store.images());
    let all = val.len();
    if labels > 0 {
        let text = format!(
            "the encoder comes from a model that was trained on {labels} of {}",
            counted(all, "validation case")
        );
        context.tell(
            Message::warning("W431", text)
                .cause("That model is of this data set and was trained by another split")
                .fix("Scores on these cases say nothing: give both the same --split"),
        );
    } else if images > 0 {
        let text = format!(
            "the encoder was pretrained on the images of {images} of {}",
            counted(all, "validation case")
        );
        context.tell(
            Message::warning("W431", text)
                .cause("Their labels were not seen, but scores on them may flatter the encoder")
                .fix(format!(
                    "For scores beyond doubt, pretrain with --leave-out {dataset}=split.json of this split"
                )),
        );
    }
    if seen.incomplete {
        let text = "the encoder's file does not say which cases its weights, or those that they come from, were trained on";
        context.tell(
            Message::info("I438", text)
                .cause("Weights of others, or of a version that did not write it down"),
        );
    }
    context.count("validation_images_seen", images as u64);
    context.count("validation_labels_seen", labels as u64);
}

/// Whether each channel of a model means what it means in another.
fn has_channels_of(one: &ModelPlan, other: &ModelPlan) -> bool {
    let labels = |plan: &ModelPlan| {
        plan.descriptor.labels.as_ref().map(|labels| (labels.classes.clone(), labels.regions.clone()))
    };
    one.objective == other.objective
        && (matches!(one.objective, Objective::Affinities(_)) || labels(one) == labels(other))
}

/// Why weights are not loaded, and what to do.
fn refused(error: &networks::Error) -> Message {
    let message = Message::error("E401", error.to_string());
    match error {
        // no other network or share would make numbers of them
        networks::Error::NotFinite { .. } => message
            .cause("The training that wrote the file diverged, or the file is damaged")
            .fix("Give --encoder-weights another file, such as an earlier checkpoint of that training"),
        networks::Error::TooFewWeights { .. } | networks::Error::OtherNetwork { .. } => {
            message.fix("Use the network that the encoder was made for, or lower --minimum-match knowingly")
        }
        // says itself how such a file is converted
        networks::Error::Pickle { .. } => message,
        _ => message.fix("Give --encoder-weights a whole safetensors file"),
    }
}

/// Fills the network's encoder and, where that is asked for, what the file has of its decoder.
///
/// # Errors
/// `E401` when less than `--minimum-match` of the encoder is in the file, or nothing of the decoder.
pub(super) fn load(
    store: &nn::VarStore,
    file: &Path,
    own: &ModelPlan,
    arguments: &Train,
    context: &Context,
) -> anyhow::Result<weights::LoadReport> {
    let load = |options: &LoadOptions| weights::load(store, file, options).map_err(|e| refused(&e));
    // that the encoder fits is asked for in any case
    let mut report = load(&LoadOptions::encoder(arguments.minimum_match))?;
    if let Some(text) = report.other_encoder() {
        context.tell(
            Message::warning("W442", text)
                .cause(OTHER_ENCODER)
                .fix("Compare the weights' network with --network, its size and the data set's patch"),
        );
    }
    if let Some(text) = report.random_stem() {
        context.tell(Message::warning("W447", text).cause(RANDOM_STEM).fix(OTHER_STEM));
    }
    if let NetworkConfig::SwinUnetr { transformer, .. } = &own.network
        && arguments.swin_merging.is_none()
        && configuration(file, arguments.network)?.is_none()
    {
        let merging = transformer.merging;
        let text = format!(
            "the file does not say in which order its transformer merges patches: taken for {merging}"
        );
        context.tell(Message::warning("W450", text).cause(OTHER_MERGING).fix(WHICH_MERGING));
    }
    if arguments.with_decoder {
        let others = model::stored_plan(file).ok().filter(|stored| !has_channels_of(stored, own));
        report = load(&LoadOptions { without_scores: others.is_some(), ..LoadOptions::partial(0.0) })?;
        if let Some(stored) = others {
            let text =
                format!("the file's model scores other classes, those of '{}'", stored.descriptor.name);
            context.tell(Message::info("I440", text).cause("The layers that give scores are drawn anew"));
        }
        if report.matched.iter().all(|name| weights::is_encoder(name)) {
            return Err(Message::error("E401", "the file holds no decoder of this network")
                .detail(file.display().to_string())
                .fix("Give --encoder-weights a model of 'finetune train', or omit --with-decoder")
                .into());
        }
    }
    context.say(&report.to_string());
    // stored beside the model, which may move: the file's name is enough
    report.path = report.path.file_name().map(Into::into).unwrap_or_default();
    Ok(report)
}

/// The licences of the labels and of what the encoder saw, as far as a manifest beside the encoder tells.
pub(super) fn licence(own: &str, encoder: Option<(&Path, &Artefact)>) -> anyhow::Result<String> {
    let mut all = BTreeSet::from([own.to_owned()]);
    if let Some((file, artefact)) = encoder {
        let found = Manifest::beside(file)?;
        let found = found.filter(|found| found.outputs.iter().any(|output| output.sha256 == artefact.sha256));
        all.extend(found.iter().flat_map(|found| found.licence.split(" AND ")).map(str::to_owned));
    }
    all.remove("");
    Ok(all.into_iter().collect::<Vec<_>>().join(" AND "))
}
