//! Changes of intensity. All keep the shape `[batch, channel, z, y, x]` and touch the chosen samples only; statistics are
//! per sample and channel, so that images of any normalisation, negative values included, are served.

use super::select::{on_samples, per_sample};
use crate::random::normals;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};
use torch_runtime::transfer::sent;

/// Keeps divisions defined on constant patches, which are common (air).
const TINY: f64 = 1e-7;

const SPACE: [i64; 3] = [2, 3, 4];

fn split(chosen: &[(i64, Vec<f64>)]) -> (Vec<i64>, Vec<f64>) {
    let values = chosen.iter().flat_map(|(_, values)| values.iter().copied());
    (chosen.iter().map(|(index, _)| *index).collect(), values.collect())
}

/// Gaussian noise for one sample: how strong, and the seed of its stream, ChaCha8 on a CPU and LibTorch's own on a GPU, where
/// millions of draws must not wait for the CPU. A sample's noise is the same in any batch, on one kind of device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Standard deviation.
    pub deviation: f64,
    /// Seed.
    pub seed: u64,
}

/// Standard normal noise of the shape of `some`, one stream per sample, times each sample's deviation.
fn noise_like(some: &Tensor, chosen: &[(i64, Noise)]) -> Tensor {
    let per_stream = some.numel() / chosen.len().max(1);
    let drawn: Vec<Tensor> = chosen
        .iter()
        .map(|(_, noise)| match some.device() {
            Device::Cpu => {
                Tensor::from_slice(&normals(&mut ChaCha8Rng::seed_from_u64(noise.seed), per_stream))
            }
            device => {
                tch::manual_seed(noise.seed.cast_signed());
                Tensor::randn([per_stream as i64], (Kind::Float, device))
            }
        })
        .collect();
    let deviations: Vec<f64> = chosen.iter().map(|(_, noise)| noise.deviation).collect();
    Tensor::stack(&drawn, 0).view_as(some) * per_sample(&deviations, some)
}

/// Adds Gaussian noise with standard deviations in the image's own units.
pub fn noise(x: &Tensor, chosen: &[(i64, Noise)]) -> Tensor {
    let indices: Vec<i64> = chosen.iter().map(|(index, _)| *index).collect();
    on_samples(x, &indices, |some| some + noise_like(some, chosen))
}

/// Multiplies each channel by its factor.
///
/// # Source
/// nnU-Net, `MultiplicativeBrightnessTransform`.
pub fn brightness(x: &Tensor, chosen: &[(i64, Vec<f64>)]) -> Tensor {
    let (indices, factors) = split(chosen);
    on_samples(x, &indices, |some| some * per_sample(&factors, some))
}

/// (x − mean) · factor + mean with a factor for each channel, clamped to the channel's old range.
///
/// # Source
/// nnU-Net, `ContrastTransform` with `preserve_range`.
pub fn contrast(x: &Tensor, chosen: &[(i64, Vec<f64>)]) -> Tensor {
    let (indices, factors) = split(chosen);
    on_samples(x, &indices, |some| {
        let mean = some.mean_dim(&SPACE[..], true, Kind::Float);
        let stretched = (some - &mean) * per_sample(&factors, some) + mean;
        stretched.maximum(&some.amin(SPACE, true)).minimum(&some.amax(SPACE, true))
    })
}

/// ((x − min) / range)^γ · range + min, then brought back to the old mean and standard deviation; on −x where `inverted`.
/// γ is each channel's own. Safe for negative values, because the power acts on 0 to 1.
///
/// # Source
/// nnU-Net, `GammaTransform` with `retain_stats`.
pub fn gamma(x: &Tensor, chosen: &[(i64, Vec<f64>)], inverted: bool) -> Tensor {
    let (indices, exponents) = split(chosen);
    on_samples(x, &indices, |some| {
        let some = if inverted { -some } else { some.shallow_clone() };
        let (low, range) = low_and_range(&some);
        let bent =
            ((&some - &low) / range.clamp_min(TINY)).clamp(0.0, 1.0).pow(&per_sample(&exponents, &some))
                * &range
                + low;
        let statistics =
            |t: &Tensor| (t.mean_dim(&SPACE[..], true, Kind::Float), t.std_dim(&SPACE[..], false, true));
        let (mean, deviation) = statistics(&some);
        let (new_mean, new_deviation) = statistics(&bent);
        let restored = (bent - new_mean) * (deviation / new_deviation.clamp_min(TINY)) + mean;
        if inverted { -restored } else { restored }
    })
}

/// Minimum and range per sample and channel, `[batch, channel, 1, 1, 1]` each.
pub(crate) fn low_and_range(x: &Tensor) -> (Tensor, Tensor) {
    let low = x.amin(SPACE, true);
    let range = x.amax(SPACE, true) - &low;
    (low, range)
}

/// Contrast, shift and gamma for one sample: one triple for the whole volume, or one per z section.
#[derive(Debug, Clone, PartialEq)]
pub struct Grey {
    /// Factor on the value.
    pub contrast: Vec<f64>,
    /// Added to the value.
    pub shift: Vec<f64>,
    /// Exponent.
    pub gamma: Vec<f64>,
}

/// clamp(clamp(v · contrast + shift)^gamma) with v scaled to 0..1 by the channel's own range, and scaled back.
///
/// # Source
/// gtgm.md, section 2.5, "intensity"; scaling by the range instead of clipping to `[0, 1]`, because only 8-bit images have
/// that range (same section, modality trap).
pub fn grey(x: &Tensor, chosen: &[(i64, Grey)]) -> Tensor {
    let indices: Vec<i64> = chosen.iter().map(|(index, _)| *index).collect();
    on_samples(x, &indices, |some| {
        let depth = some.size()[2];
        let parameter = |of: fn(&Grey) -> &Vec<f64>| {
            let rows: Vec<Tensor> = chosen
                .iter()
                .map(|(_, grey)| Tensor::from_slice(of(grey)).to_kind(Kind::Float).expand([depth], false))
                .collect();
            sent(&Tensor::stack(&rows, 0), some.device()).view([-1, 1, depth, 1, 1])
        };
        let (low, range) = low_and_range(some);
        let unit = (some - &low) / range.clamp_min(TINY);
        let shifted = (unit * parameter(|g| &g.contrast) + parameter(|g| &g.shift)).clamp(0.0, 1.0);
        shifted.pow(&parameter(|g| &g.gamma)) * range + low
    })
}

/// [`noise`] with standard deviations relative to the sample's range (largest channel).
pub fn relative_noise(x: &Tensor, chosen: &[(i64, Noise)]) -> Tensor {
    let indices: Vec<i64> = chosen.iter().map(|(index, _)| *index).collect();
    on_samples(x, &indices, |some| {
        let (_, range) = low_and_range(some);
        some + noise_like(some, chosen) * range.amax([1i64].as_slice(), true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn image() -> Tensor {
        tch::manual_seed(2);
        Tensor::randn([2, 2, 4, 5, 6], (Kind::Float, Device::Cpu)) * 3.0 - 1.0
    }

    fn close(a: &Tensor, b: &Tensor) -> bool {
        (a - b).abs().max().double_value(&[]) < 1e-4
    }

    #[test]
    fn neutral_parameters_change_nothing() {
        let x = image();
        assert!(close(&gamma(&x, &[(0, vec![1.0; 2]), (1, vec![1.0; 2])], true), &x));
        assert!(close(&contrast(&x, &[(0, vec![1.0; 2])]), &x));
        assert!(close(&brightness(&x, &[(1, vec![1.0; 2])]), &x));
        let neutral = Grey { contrast: vec![1.0], shift: vec![0.0], gamma: vec![1.0] };
        assert!(close(&grey(&x, &[(0, neutral)]), &x));
        assert!(close(&noise(&x, &[(0, Noise { deviation: 0.0, seed: 1 })]), &x));
    }

    #[test]
    fn gamma_keeps_mean_and_deviation_and_the_order_of_values() {
        let x = image();
        for inverted in [false, true] {
            let y = gamma(&x, &[(0, vec![0.7, 1.2]), (1, vec![1.5, 0.9])], inverted);
            assert!(!close(&y, &x));
            let mean = |t: &Tensor| t.mean_dim(&SPACE[..], true, Kind::Float);
            assert!(close(&mean(&y), &mean(&x)));
            assert!(close(&y.std_dim(&SPACE[..], false, true), &x.std_dim(&SPACE[..], false, true)));
            let order = |t: &Tensor| t.view([4, -1]).argsort(1, false);
            assert!(order(&y).equal(&order(&x)));
        }
    }

    #[test]
    fn channels_change_by_their_own_factors() {
        let x = image();
        let factors = [2.0, 0.5, 3.0, 1.0];
        let chosen = [(0, factors[..2].to_vec()), (1, factors[2..].to_vec())];
        let of_each = Tensor::from_slice(&factors).to_kind(Kind::Float).view([2, 2, 1, 1, 1]);
        assert!(close(&brightness(&x, &chosen), &(&x * &of_each)));
        for (changed, first) in [
            (contrast(&x, &chosen), contrast(&x.get(0).get(0).view([1, 1, 4, 5, 6]), &[(0, vec![2.0])])),
            (
                gamma(&x, &chosen, true),
                gamma(&x.get(0).get(0).view([1, 1, 4, 5, 6]), &[(0, vec![2.0])], true),
            ),
        ] {
            assert!(close(&changed.get(0).get(0), &first.get(0).get(0)));
            assert!(close(&changed.get(1).get(1), &x.get(1).get(1)) && !close(&changed.get(1), &x.get(1)));
        }
    }

    #[test]
    fn constant_patches_stay_finite() {
        let x = Tensor::full([1, 1, 3, 3, 3], -2.5, (Kind::Float, Device::Cpu));
        assert!(close(&gamma(&x, &[(0, vec![0.7])], false), &x));
        assert!(close(&contrast(&x, &[(0, vec![0.7])]), &x));
        assert!(close(&relative_noise(&x, &[(0, Noise { deviation: 0.2, seed: 1 })]), &x));
        let strong = Grey { contrast: vec![1.05], shift: vec![0.05], gamma: vec![2.0] };
        assert!(close(&grey(&x, &[(0, strong)]), &x));
    }

    #[test]
    fn a_samples_noise_depends_on_its_seed_alone() {
        let x = Tensor::zeros([3, 1, 8, 16, 16], (Kind::Float, Device::Cpu));
        let strong = Noise { deviation: 2.0, seed: 5 };
        let alone = noise(&x, &[(2, strong)]);
        let among = noise(&x, &[(0, Noise { deviation: 1.0, seed: 6 }), (2, strong)]);
        assert!(alone.get(2).equal(&among.get(2)) && alone.get(1).equal(&x.get(1)));
        assert!((alone.get(2).std(false).double_value(&[]) - 2.0).abs() < 0.1);
    }

    #[test]
    fn sections_can_have_their_own_parameters() {
        let x = image();
        let sections = Grey { contrast: vec![1.0; 4], shift: vec![0.0; 4], gamma: vec![1.0, 2.0, 1.0, 1.0] };
        let y = grey(&x, &[(1, sections)]);
        assert!(close(&y.get(0), &x.get(0)));
        assert!(close(&y.get(1).narrow(1, 2, 2), &x.get(1).narrow(1, 2, 2)));
        assert!(!close(&y.get(1).narrow(1, 1, 1), &x.get(1).narrow(1, 1, 1)));
    }

    #[test]
    fn contrast_keeps_the_range() {
        let x = image();
        let y = contrast(&x, &[(0, vec![1.25; 2]), (1, vec![1.25; 2])]);
        let (low, range) = low_and_range(&x);
        assert!(close(&y.amin(SPACE, true), &low) && close(&low_and_range(&y).1, &range));
    }
}
