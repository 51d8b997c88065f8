//! The shape of the encoder: what options say, or that of the weights that it starts from.

use crate::arguments::Arguments;
use networks::{EncoderConfig, EncoderKind, ResEncConfig, ResEncSize};
use stage::{Context, Message};

/// Spacings count as equal where they differ by less than this share.
const SAME_SPACING: f64 = 0.01;

/// A resenc and a swin-unetr take the shape of the weights that they start from, `stored`, whose names and sizes may fit others, too, but not
/// what they have learnt to see. Else a resenc has one for `patch_zyx` and the data sets' spacings (mm), and a swin-unetr what the options
/// say.
///
/// # Errors
/// `E324` for options of another encoder, and shapes that there are not; `E326` for options that ask for another shape than the weights'.
pub(crate) fn encoder(
    arguments: &Arguments,
    stored: Option<&EncoderConfig>,
    patch_zyx: [usize; 3],
    spacings_zyx_mm: &[[f64; 3]],
) -> anyhow::Result<EncoderConfig> {
    let asked = arguments.asked_shape();
    refuse_idle_options(arguments)?;
    if let Some(stored) = stored.filter(|stored| stored.kind() == arguments.encoder)
        && let Some((option, has)) = asked.contradicted(stored)
    {
        return Err(other_shape(option, &has).into());
    }
    let size = arguments.size.unwrap_or(ResEncSize::Compact);
    let planned = || {
        ResEncConfig::for_patch(patch_zyx.map(|n| n as i64), common(spacings_zyx_mm), size).map_err(|e| {
            Message::error("E324", e.to_string()).fix("Choose a larger --patch-zyx, or --network-patch-zyx")
        })
    };
    Ok(match (arguments.encoder, stored) {
        (EncoderKind::Resnet50, _) => EncoderConfig::Resnet50 { in_channels: 1 },
        (EncoderKind::Resenc, Some(EncoderConfig::Resenc { topology, .. })) => {
            if arguments.network_patch_zyx.is_some() && planned()?.strides_zyx != topology.strides_zyx {
                let has = format!("halves by {:?} (z, y, x)", topology.strides_zyx);
                return Err(other_shape("network-patch-zyx", &has).into());
            }
            EncoderConfig::Resenc { in_channels: 1, topology: topology.clone() }
        }
        (EncoderKind::Resenc, _) => EncoderConfig::Resenc { in_channels: 1, topology: planned()? },
        (EncoderKind::SwinUnetr, Some(EncoderConfig::SwinUnetr { transformer, .. })) => {
            EncoderConfig::SwinUnetr { in_channels: 1, transformer: transformer.clone() }
        }
        (EncoderKind::SwinUnetr, _) => {
            let transformer = asked.transformer().map_err(|e| {
                Message::error("E324", e.to_string()).fix("Give --swin-feature-size a multiple of 12")
            })?;
            EncoderConfig::SwinUnetr { in_channels: 1, transformer }
        }
    })
}

/// Says where the shape comes from, if this run's patches would have given another one.
pub(crate) fn tell_origin(
    encoder: &EncoderConfig,
    size: Option<ResEncSize>,
    patch_zyx: [usize; 3],
    spacings_zyx_mm: &[[f64; 3]],
    context: &Context,
) {
    let EncoderConfig::Resenc { topology, .. } = encoder else { return };
    let size = size.unwrap_or(ResEncSize::Compact);
    let own = ResEncConfig::for_patch(patch_zyx.map(|n| n as i64), common(spacings_zyx_mm), size);
    if own.as_ref().is_ok_and(|own| own == topology) {
        return;
    }
    let text = format!(
        "the encoder has the shape of the weights to start from: its stages halve by {:?} (z, y, x)",
        topology.strides_zyx
    );
    let of_patches = match own {
        Ok(own) => format!("This run's patches and voxels would have given {:?}", own.strides_zyx),
        Err(_) => "This run's patches are too small to give one".to_owned(),
    };
    context.tell(Message::info("I326", text).cause(of_patches));
}

/// The spacing that all data sets share, whose anisotropy is theirs; for a mixture the patch alone decides.
fn common(spacings_zyx: &[[f64; 3]]) -> [f64; 3] {
    let first = spacings_zyx.first().copied().unwrap_or([1.0; 3]);
    let is_first = |other: &[f64; 3]| (0..3).all(|a| (other[a] / first[a] - 1.0).abs() < SAME_SPACING);
    if spacings_zyx.iter().all(is_first) { first } else { [1.0; 3] }
}

/// Refuses options that are of another encoder.
fn refuse_idle_options(arguments: &Arguments) -> Result<(), Message> {
    let later = arguments.network_patch_zyx.is_some() && arguments.encoder != EncoderKind::Resenc;
    let later = later.then_some(("network-patch-zyx", EncoderKind::Resenc));
    match later.or_else(|| arguments.asked_shape().idle(arguments.encoder)) {
        None => Ok(()),
        Some((option, of)) => {
            let text = format!("--{option} is an option of --encoder {of}, not of {}", arguments.encoder);
            Err(Message::error("E324", text).fix(format!("Leave out --{option}, or choose --encoder {of}")))
        }
    }
}

fn other_shape(option: &str, has: &str) -> Message {
    Message::error(
        "E326",
        format!("--{option} asks for another encoder than the weights to start from are of"),
    )
    .detail(format!("that of --init: {has}"))
    .fix(format!("Leave out --{option}: the encoder takes the shape of the weights; or leave out --init"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sets_of_one_spacing_keep_their_anisotropy() {
        let em = [40.0e-6, 4.0e-6, 4.0e-6];
        assert_eq!(common(&[em]), em);
        assert_eq!(common(&[em, em.map(|mm| mm * 1.001), em]), em);
        assert_eq!(common(&[em, [1.0; 3]]), [1.0; 3]);
        assert_eq!(common(&[]), [1.0; 3]);
    }
}
