//! The shape of the network: what options say, or that of the encoder that it starts from.

use super::encoder;
use crate::arguments::Train;
use data_manifests::Descriptor;
use networks::{EncoderConfig, NetworkConfig, NetworkKind, ResEncConfig, ResEncSize, SwinConfig};
use stage::Message;

/// A resenc and a swin-unetr take the shape of the encoder that they start from; else a resenc has one for the data set's patch, and a
/// swin-unetr what the options say.
///
/// # Errors
/// `E449` for options that ask for another shape than the encoder's, or are of another network; `E416` for shapes that there are not.
pub(super) fn network(
    arguments: &Train,
    descriptor: &Descriptor,
    classes: usize,
) -> anyhow::Result<NetworkConfig> {
    let stored = match &arguments.encoder_weights {
        Some(file) => encoder::configuration(file, arguments.network)?,
        None => None,
    };
    check(arguments, stored.as_ref())?;
    let in_channels = descriptor.channels.len() as i64;
    let classes = classes as i64;
    let decoder_norm = arguments.decoder_norm;
    // weights of other origin carry no plan: the shape that there would be without them, and loading says what fits
    match (arguments.network, stored) {
        (NetworkKind::Resunet50, _) => Ok(NetworkConfig::Resunet50 { in_channels, classes, decoder_norm }),
        (NetworkKind::Attresunet50, _) => {
            Ok(NetworkConfig::Attresunet50 { in_channels, classes, decoder_norm })
        }
        (NetworkKind::Resenc, Some(EncoderConfig::Resenc { topology, .. })) => {
            Ok(NetworkConfig::Resenc { in_channels, classes, topology })
        }
        (NetworkKind::Resenc, _) => {
            let patch = descriptor.grid.patch_zyx.map(|n| n as i64);
            let size = arguments.size.unwrap_or(ResEncSize::Compact);
            let topology =
                ResEncConfig::for_patch(patch, descriptor.spacing_zyx_mm(), size).map_err(|e| {
                    Message::error("E416", e.to_string())
                        .fix("Enlarge grid.patch_zyx in the data set's descriptor")
                })?;
            Ok(NetworkConfig::Resenc { in_channels, classes, topology })
        }
        (NetworkKind::SwinUnetr, Some(EncoderConfig::SwinUnetr { transformer, .. })) => {
            Ok(NetworkConfig::SwinUnetr { in_channels, classes, transformer })
        }
        (NetworkKind::SwinUnetr, _) => {
            let usual = SwinConfig::default();
            let transformer = SwinConfig {
                feature_size: arguments.swin_feature_size.unwrap_or(usual.feature_size),
                depths: arguments.swin_depths.unwrap_or(usual.depths),
                merging: arguments.swin_merging.unwrap_or(usual.merging),
            };
            transformer.validate().map_err(|e| {
                Message::error("E416", e.to_string()).fix("Give --swin-feature-size a multiple of 12")
            })?;
            Ok(NetworkConfig::SwinUnetr { in_channels, classes, transformer })
        }
    }
}

/// Refuses options that would do nothing.
fn check(arguments: &Train, stored: Option<&EncoderConfig>) -> Result<(), Message> {
    // option, network that has it, and what the encoder has in its place where that is not what was given
    let mut wrong: Vec<(&str, NetworkKind, Option<String>)> = Vec::new();
    let mut given = |option, of, has: Option<String>| {
        if arguments.network != of || has.is_some() {
            wrong.push((option, of, has));
        }
    };
    let (resenc, swin) = match stored {
        Some(EncoderConfig::Resenc { topology, .. }) => (Some(topology), None),
        Some(EncoderConfig::SwinUnetr { transformer, .. }) => (None, Some(transformer)),
        _ => (None, None),
    };
    if let Some(size) = arguments.size {
        let other = resenc.filter(|topology| !size.is_of(topology));
        let has = other.map(|topology| {
            format!("stages of {:?} channels and {:?} blocks", topology.features, topology.blocks)
        });
        given("--size", NetworkKind::Resenc, has);
    }
    let kind = NetworkKind::SwinUnetr;
    if let Some(features) = arguments.swin_feature_size {
        let other = swin.filter(|swin| swin.feature_size != features);
        given("--swin-feature-size", kind, other.map(|swin| swin.feature_size.to_string()));
    }
    if let Some(depths) = arguments.swin_depths {
        let other = swin.filter(|swin| swin.depths != depths);
        given("--swin-depths", kind, other.map(|swin| format!("{:?}", swin.depths)));
    }
    if let Some(merging) = arguments.swin_merging {
        let other = swin.filter(|swin| swin.merging != merging);
        given("--swin-merging", kind, other.map(|swin| swin.merging.to_string()));
    }
    match wrong.into_iter().next() {
        None => Ok(()),
        Some((option, of, None)) => {
            let text = format!("{option} is an option of --network {of}, not of {}", arguments.network);
            Err(Message::error("E449", text).fix(format!("Leave out {option}, or use --network {of}")))
        }
        Some((option, _, Some(has))) => {
            let text = format!("{option} asks for another network than the encoder's");
            Err(Message::error("E449", text).detail(format!("the encoder has {has}")).fix(format!(
                "Leave out {option}: the network takes the encoder's shape; or pretrain an encoder with it"
            )))
        }
    }
}
