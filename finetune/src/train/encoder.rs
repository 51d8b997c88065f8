//! The encoder that training starts from: its shape, its weights and its licence.

use crate::arguments::Train;
use data_manifests::splits::Split;
use data_manifests::{Artefact, Descriptor, Manifest, manifest};
use networks::weights::{self, LoadOptions};
use networks::{EncoderConfig, EncoderKind, NetworkConfig, NetworkKind};
use serde_json::Value;
use stage::{Context, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tch::nn;

/// The plans of files with an encoder.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Stored {
    /// An encoder or a checkpoint of 'pretrain'.
    Encoder { encoder: EncoderConfig },
    /// A model of 'finetune train'.
    Model { network: NetworkConfig },
    /// A checkpoint of it.
    Checkpoint { model: Network },
}

#[derive(serde::Deserialize)]
struct Network {
    network: NetworkConfig,
}

/// The encoder's configuration in the plan of a file that 'pretrain' or 'finetune train' wrote, be it of another data set; `None` for weights of
/// other origin.
///
/// # Errors
/// `E401` when the plan cannot be read, or the encoder does not belong to the network.
pub(super) fn configuration(file: &Path, network: NetworkKind) -> anyhow::Result<Option<EncoderConfig>> {
    let unusable = |text: String| Message::error("E401", text).detail(file.display().to_string());
    let metadata = weights::read_metadata(file).map_err(|e| Message::error("E401", e.to_string()))?;
    let Some(text) = metadata.get("plan") else { return Ok(None) };
    let stored = serde_json::from_str(text).map_err(|e| {
        unusable(format!("the encoder's plan cannot be read: {e}"))
            .fix("Give the encoder.safetensors that 'pretrain' wrote, or the model.safetensors of 'finetune train'")
    })?;
    let stored = match stored {
        Stored::Encoder { encoder } => encoder,
        Stored::Model { network } | Stored::Checkpoint { model: Network { network } } => network.encoder(),
    };
    let expected = match network {
        NetworkKind::Resunet50 | NetworkKind::Attresunet50 => EncoderKind::Resnet50,
        NetworkKind::Resenc => EncoderKind::Resenc,
        NetworkKind::SwinUnetr => EncoderKind::SwinUnetr,
    };
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

/// Says how many of the cases that the model is validated by the encoder has seen: scores on them flatter it. Images of validation cases that were
/// held out or left out of pretraining were not seen.
///
/// # Errors
/// `E401` when the file cannot be read.
pub(super) fn warn_of_seen_cases(
    file: &Path,
    descriptor: &Descriptor,
    val: &[String],
    context: &Context,
) -> anyhow::Result<()> {
    let metadata = weights::read_metadata(file).map_err(|e| Message::error("E401", e.to_string()))?;
    // weights of other origin say nothing of what they have seen
    let Some(plan) = metadata.get("plan").and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Ok(());
    };
    let name = &descriptor.name;
    warn_of_seen_labels(file, &metadata, &plan, (name, val), context)?;
    let datasets = plan["datasets"].as_array().into_iter().flatten();
    let Some(dataset) = datasets.into_iter().find(|dataset| dataset["name"] == *name) else { return Ok(()) };
    let kept = [&dataset["held_out"], &plan["selection"]["left_out"][name]];
    let kept: BTreeSet<&str> =
        kept.into_iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
    let seen = val.iter().filter(|id| !kept.contains(id.as_str())).count();
    if seen > 0 {
        let text =
            format!("the encoder was pretrained on the images of {seen} of {} validation cases", val.len());
        context.tell(
            Message::warning("W431", text)
                .cause("Their labels were not seen, but scores on them may flatter the encoder")
                .fix(format!(
                    "For scores beyond doubt, pretrain with --leave-out {name}=split.json of this split"
                )),
        );
    }
    context.count("validation_cases_pretrained_on", seen as u64);
    Ok(())
}

/// As [`warn_of_seen_cases`], of a model of the same data set, which has learnt from labels.
fn warn_of_seen_labels(
    file: &Path,
    metadata: &BTreeMap<String, String>,
    plan: &Value,
    (name, val): (&str, &[String]),
    context: &Context,
) -> anyhow::Result<()> {
    // a checkpoint has the plan of the run, a model that of the model
    let of = plan.get("model").unwrap_or(plan);
    if of["descriptor"]["name"] != *name {
        return Ok(());
    }
    let trained: Vec<String> = match metadata.get("split") {
        Some(text) => serde_json::from_str::<Split>(text)?.train,
        None => serde_json::from_value(plan["train"].clone()).map_err(|e| {
            Message::error("E401", format!("the plan does not say which cases were trained on: {e}"))
                .detail(file.display().to_string())
        })?,
    };
    let seen = val.iter().filter(|id| trained.contains(id)).count();
    if seen > 0 {
        let text =
            format!("{seen} of {} validation cases are training cases of the encoder's model", val.len());
        context.tell(
            Message::warning("W431", text)
                .cause("It comes from a model of this data set that was trained by another split")
                .fix("Scores on these cases say nothing: give both the same --split"),
        );
    }
    context.count("validation_cases_trained_on", seen as u64);
    Ok(())
}

/// Fills the network's encoder and, where that is asked for, what the file has of its decoder.
///
/// # Errors
/// `E401` when less than `--minimum-match` of the encoder is in the file, or nothing of the decoder.
pub(super) fn load(
    store: &nn::VarStore,
    file: &Path,
    arguments: &Train,
    context: &Context,
) -> anyhow::Result<weights::LoadReport> {
    let load = |options: &LoadOptions| {
        weights::load(store, file, options).map_err(|e| {
            Message::error("E401", e.to_string())
                .fix("Use the network that the encoder was made for, or lower --minimum-match knowingly")
        })
    };
    // that the encoder fits is asked for in any case
    let mut report = load(&LoadOptions::encoder(arguments.minimum_match))?;
    if arguments.with_decoder {
        report = load(&LoadOptions::partial(0.0))?;
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
        let directory = file.parent().unwrap_or(Path::new(""));
        if directory.join(manifest::FILE_NAME).is_file() {
            let found = Manifest::load_any(directory)?;
            if found.outputs.iter().any(|output| output.sha256 == artefact.sha256) {
                all.extend(found.licence.split(" AND ").map(str::to_owned));
            }
        }
    }
    all.remove("");
    Ok(all.into_iter().collect::<Vec<_>>().join(" AND "))
}
