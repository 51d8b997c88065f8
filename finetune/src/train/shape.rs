//! The shape of the network: what options say, or that of the encoder that it starts from.

use super::encoder;
use crate::arguments::Train;
use data_manifests::Descriptor;
use networks::{EncoderConfig, NetworkConfig, NetworkKind, ResEncConfig, ResEncSize};
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
            let transformer = arguments.asked_shape().transformer().map_err(|e| {
                Message::error("E416", e.to_string()).fix("Give --swin-feature-size a multiple of 12")
            })?;
            Ok(NetworkConfig::SwinUnetr { in_channels, classes, transformer })
        }
    }
}

/// Refuses options that would do nothing.
fn check(arguments: &Train, stored: Option<&EncoderConfig>) -> Result<(), Message> {
    let asked = arguments.asked_shape();
    let network = arguments.network;
    if let Some((option, of)) = asked.idle(network.encoder()) {
        let text = format!("--{option} is an option of --network {of}, not of {network}");
        return Err(Message::error("E449", text).fix(format!("Leave out --{option}, or use --network {of}")));
    }
    if let Some((option, has)) = stored.and_then(|stored| asked.contradicted(stored)) {
        let text = format!("--{option} asks for another network than the encoder's");
        return Err(Message::error("E449", text).detail(format!("the encoder has {has}")).fix(format!(
            "Leave out --{option}: the network takes the encoder's shape; or pretrain an encoder with it"
        )));
    }
    Ok(())
}
