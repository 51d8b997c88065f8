//! The encoder that training starts from: its shape, its weights and its licence.

use data_manifests::{Artefact, Manifest, manifest};
use networks::weights::{self, LoadOptions};
use networks::{EncoderConfig, EncoderKind, NetworkKind};
use stage::{Context, Message};
use std::collections::BTreeSet;
use std::path::Path;
use tch::nn;

/// The encoder's configuration in the plan of a file that 'pretrain' wrote; `None` for weights of other origin.
///
/// # Errors
/// `E401` when the plan cannot be read, or the encoder does not belong to the network.
pub(super) fn configuration(file: &Path, network: NetworkKind) -> anyhow::Result<Option<EncoderConfig>> {
    #[derive(serde::Deserialize)]
    struct Stored {
        encoder: EncoderConfig,
    }
    let unusable = |text: String| Message::error("E401", text).detail(file.display().to_string());
    let metadata = weights::read_metadata(file).map_err(|e| Message::error("E401", e.to_string()))?;
    let Some(text) = metadata.get("plan") else { return Ok(None) };
    let stored: Stored = serde_json::from_str(text).map_err(|e| {
        unusable(format!("the encoder's plan cannot be read: {e}"))
            .fix("Give the encoder.safetensors that 'pretrain' wrote")
    })?;
    let expected = match network {
        NetworkKind::Resunet50 | NetworkKind::Attresunet50 => EncoderKind::Resnet50,
        NetworkKind::Resenc => EncoderKind::Resenc,
        NetworkKind::SwinUnetr => EncoderKind::SwinUnetr,
    };
    let found = stored.encoder.kind();
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
    Ok(Some(stored.encoder))
}

/// Fills the network's encoder.
///
/// # Errors
/// `E401` when less than `minimum` of it is in the file.
pub(super) fn load(
    store: &nn::VarStore,
    file: &Path,
    minimum: f64,
    context: &Context,
) -> anyhow::Result<weights::LoadReport> {
    let mut report = weights::load(store, file, &LoadOptions::encoder(minimum)).map_err(|e| {
        Message::error("E401", e.to_string())
            .fix("Use the network that the encoder was made for, or lower --minimum-match knowingly")
    })?;
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
