//! What chance decides of one sample.

use super::affine::{self, Warp};
use super::elastic::Bend;
use super::{AugmentOptions, intensity};
use crate::random::{coin, uniform};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// What was drawn for one sample.
pub(super) struct Draw {
    pub(super) warp: Option<Warp>,
    pub(super) noise: Option<intensity::Noise>,
    /// Per channel, along z, y, x; 0 leaves the channel alone.
    pub(super) blur: Option<Vec<[f64; 3]>>,
    /// Per channel, as contrast and gamma.
    pub(super) brightness: Option<Vec<f64>>,
    pub(super) contrast: Option<Vec<f64>>,
    /// Per channel; 1 leaves the channel alone.
    pub(super) low_resolution: Option<Vec<f64>>,
    pub(super) gamma_inverted: Option<Vec<f64>>,
    pub(super) gamma: Option<Vec<f64>>,
    pub(super) mirror: [bool; 3],
}

impl Draw {
    pub(super) fn new(rng: &mut ChaCha8Rng, options: &AugmentOptions, channels: usize) -> Self {
        let rotate = coin(rng, options.rotation_p);
        let limit = options.rotation_degrees.to_radians();
        let angles: [f64; 3] = std::array::from_fn(|_| uniform(rng, (-limit, limit)));
        let scale = coin(rng, options.scaling_p).then(|| uniform(rng, options.scaling));
        let angles = match (rotate, options.in_plane_only) {
            (false, _) => [0.0; 3],
            (true, true) => [angles[0], 0.0, 0.0],
            (true, false) => angles,
        };
        let factor = scale.unwrap_or(1.0);
        let mut factors = if options.in_plane_only { [1.0, factor, factor] } else { [factor; 3] };
        let every = |rng: &mut ChaCha8Rng, p: f64, range: (f64, f64)| {
            coin(rng, p).then(|| (0..channels).map(|_| symmetric_factor(rng, range)).collect())
        };
        let mut drawn = Self {
            warp: None,
            noise: coin(rng, options.noise_p)
                .then(|| intensity::Noise { deviation: uniform(rng, options.noise), seed: rng.random() }),
            blur: coin(rng, options.blur_p).then(|| {
                half_of(rng, channels, [0.0; 3], |rng| std::array::from_fn(|_| uniform(rng, options.blur)))
            }),
            brightness: every(rng, options.brightness_p, options.brightness),
            contrast: every(rng, options.contrast_p, options.contrast),
            low_resolution: coin(rng, options.low_resolution_p)
                .then(|| half_of(rng, channels, 1.0, |rng| uniform(rng, options.low_resolution))),
            gamma_inverted: every(rng, options.gamma_inverted_p, options.gamma),
            gamma: every(rng, options.gamma_p, options.gamma),
            mirror: options.mirror_axes.map(|allowed| rng.random::<bool>() && allowed),
        };
        // drawn last, so that runs without them draw what they drew before there were any
        if coin(rng, options.stretching_p) && scale.is_some() {
            let first = usize::from(options.in_plane_only);
            factors[first..].fill_with(|| uniform(rng, options.scaling));
        }
        let bend = coin(rng, options.bending_p).then(|| Bend {
            spacing: options.bending_spacing,
            deviation: uniform(rng, options.bending),
            in_plane_only: options.in_plane_only,
            seed: rng.random(),
        });
        drawn.warp = (rotate || scale.is_some() || bend.is_some())
            .then(|| Warp { matrix: affine::rotation_scaling(angles, factors), bend });
        drawn
    }
}

/// Below 1 or above 1 with equal probability, where the range has both sides.
fn symmetric_factor(rng: &mut ChaCha8Rng, (low, high): (f64, f64)) -> f64 {
    let below = coin(rng, 0.5);
    if low >= 1.0 || high <= 1.0 {
        return uniform(rng, (low, high));
    }
    uniform(rng, if below { (low, 1.0) } else { (1.0, high) })
}

/// A value for each channel: drawn with probability ½, else the neutral one. Draws for a channel do not depend on its coin.
fn half_of<V>(
    rng: &mut ChaCha8Rng,
    channels: usize,
    neutral: V,
    value: impl Fn(&mut ChaCha8Rng) -> V,
) -> Vec<V>
where
    V: Copy,
{
    let one = |rng: &mut ChaCha8Rng| {
        let (take, drawn) = (coin(rng, 0.5), value(rng));
        if take { drawn } else { neutral }
    };
    (0..channels).map(|_| one(rng)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn draw(index: u64, options: &AugmentOptions) -> Draw {
        Draw::new(&mut stream(4, index, 0, Purpose::Augmentation), options, 3)
    }

    /// As nnU-Net's transforms with `synchronize_channels=False` and `p_per_channel=1`.
    #[test]
    fn every_channel_has_factors_of_its_own() {
        let options = AugmentOptions {
            brightness_p: 1.0,
            contrast_p: 1.0,
            gamma_inverted_p: 1.0,
            gamma_p: 1.0,
            ..AugmentOptions::nnunet(false, [false; 3])
        };
        let (mut below, mut all) = (0, 0);
        for index in 0..200 {
            let drawn = draw(index, &options);
            for (factors, (low, high)) in [
                (drawn.brightness, options.brightness),
                (drawn.contrast, options.contrast),
                (drawn.gamma_inverted, options.gamma),
                (drawn.gamma, options.gamma),
            ] {
                let [a, b, c] = factors.unwrap().try_into().unwrap();
                assert!(a != b && b != c && [a, b, c].iter().all(|factor| (low..high).contains(factor)));
                below += [a, b, c].iter().filter(|factor| **factor < 1.0).count();
                all += 3;
            }
        }
        assert!(below.abs_diff(all / 2) < all / 20, "{below} of {all}");
    }

    /// As nnU-Net's blur with `synchronize_axes=False`: half of the channels, each axis by its own.
    #[test]
    fn blur_differs_by_channel_and_axis() {
        let options = AugmentOptions { blur_p: 1.0, ..AugmentOptions::nnunet(false, [false; 3]) };
        let all: Vec<[f64; 3]> = (0..200).flat_map(|index| draw(index, &options).blur.unwrap()).collect();
        let blurred: Vec<_> = all.iter().filter(|sigmas| sigmas.iter().all(|sigma| *sigma > 0.0)).collect();
        assert!(blurred.iter().all(|[z, y, x]| z != y && y != x));
        assert!(all.len() == 600 && blurred.len().abs_diff(300) < 50, "{}", blurred.len());
    }
}
