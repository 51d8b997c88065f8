//! Whether the deepest maps hold enough values for what normalises them.

use networks::{EncoderConfig, HeadNorm, NetworkConfig};
use stage::Message;
use stage::message::counted;

/// What there is to warn of where the deepest convolutions learn nothing or next to nothing (`W444`): instance norms over one voxel give 0, batch
/// norms over two values ±1, whatever the image. `batch`: patches of all processes, over which batch norms go.
///
/// # Errors
/// `E454` for batch norms over a single value, which has no statistics.
pub(super) fn check(
    network: &NetworkConfig,
    patch_zyx: [usize; 3],
    batch: usize,
) -> Result<Option<Message>, Message> {
    let (encoder, kind) = (network.encoder(), network.kind());
    if encoder.ends_in_single_voxels(patch_zyx) {
        let text = format!("the deepest maps of this {kind} are single voxels for patches of {patch_zyx:?}");
        let cause =
            "An instance norm over one voxel gives 0: the convolutions of the deepest block learn nothing";
        // planned for its patches, a resenc has stages enough for larger ones only where an encoder brought them along
        let other = match encoder {
            EncoderConfig::Resenc { .. } => "train without --encoder-weights",
            _ => "choose --network resenc",
        };
        let fix = format!(
            "Plan patches above {:?} voxels along some axis ('preprocess plan', or grid.patch_zyx), or {other}",
            encoder.required_divisor_zyx()
        );
        return Ok(Some(Message::warning("W444", text).cause(cause).fix(fix)));
    }
    let EncoderConfig::Resnet50 { .. } = encoder else { return Ok(None) };
    let values = encoder.deepest_map_zyx(patch_zyx).iter().product::<usize>().saturating_mul(batch);
    let text = format!(
        "the deepest batch norms of {kind} see {} of each feature in a batch of {batch} of {patch_zyx:?}",
        counted(values, "value")
    );
    let fix = "Raise --batch, plan larger patches ('preprocess plan', or grid.patch_zyx), or choose --network resenc";
    match i64::try_from(values).unwrap_or(i64::MAX) {
        ..2 => Err(Message::error("E454", text).fix(fix)),
        2..HeadNorm::MINIMUM_BATCH => {
            let cause = "Over so few, a batch norm gives much the same whatever the image is: the deepest convolutions learn next to nothing";
            Ok(Some(Message::warning("W444", text).cause(cause).fix(fix)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use networks::{DecoderNorm, ResEncConfig, ResEncSize};

    #[test]
    fn deepest_maps_of_too_few_values_are_told_or_refused() {
        let said = |network: &NetworkConfig, patch, batch| match check(network, patch, batch) {
            Ok(warning) => warning.map(|message| message.to_string()).unwrap_or_default(),
            Err(message) => message.to_string(),
        };
        let topology = ResEncConfig::for_patch([64; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let resenc = NetworkConfig::Resenc { in_channels: 1, classes: 2, topology };
        insta::assert_snapshot!(said(&resenc, [16; 3], 8), @"W444 the deepest maps of this resenc are single voxels for patches of [16, 16, 16]. An instance norm over one voxel gives 0: the convolutions of the deepest block learn nothing. Plan patches above [16, 16, 16] voxels along some axis ('preprocess plan', or grid.patch_zyx), or train without --encoder-weights.");
        assert_eq!(said(&resenc, [16, 16, 32], 1), "");
        let decoder_norm = DecoderNorm::Instance;
        let resunet = NetworkConfig::Resunet50 { in_channels: 1, classes: 2, decoder_norm };
        insta::assert_snapshot!(said(&resunet, [8, 32, 32], 1), @"E454 the deepest batch norms of resunet50 see 1 value of each feature in a batch of 1 of [8, 32, 32]. Raise --batch, plan larger patches ('preprocess plan', or grid.patch_zyx), or choose --network resenc.");
        insta::assert_snapshot!(said(&resunet, [8, 32, 32], 2), @"W444 the deepest batch norms of resunet50 see 2 values of each feature in a batch of 2 of [8, 32, 32]. Over so few, a batch norm gives much the same whatever the image is: the deepest convolutions learn next to nothing. Raise --batch, plan larger patches ('preprocess plan', or grid.patch_zyx), or choose --network resenc.");
        for (patch, batch) in [([8, 32, 32], 4), ([16, 64, 32], 1), ([40, 56, 40], 2)] {
            assert_eq!(said(&resunet, patch, batch), "", "{patch:?}");
        }
    }
}
