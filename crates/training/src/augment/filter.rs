//! Blur and simulated low resolution.

use super::select::on_samples;
use tch::{Kind, Tensor};
use torch_runtime::transfer::sent;

/// A Gaussian kernel along one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kernel {
    sigma: f64,
    radius: usize,
}

impl Kernel {
    /// Weights of the offsets −reach..=reach, sum 1; beyond the own radius 0.
    fn weights(self, reach: usize) -> Vec<f64> {
        let weight = |offset: usize| {
            let distance = offset.abs_diff(reach);
            match (distance, self.sigma > 0.0) {
                (0, _) => 1.0,
                (d, true) if d <= self.radius => (-0.5 * (d as f64 / self.sigma).powi(2)).exp(),
                _ => 0.0,
            }
        };
        let raw: Vec<f64> = (0..=2 * reach).map(weight).collect();
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|w| w / sum).collect()
    }
}

/// Gaussian blur along all three axes; standard deviations in voxels, along z, y, x of each channel (0: none). The kernel
/// ends at 3 standard deviations; the border is replicated.
///
/// # Shapes
/// `x`: float `[batch, channel, z, y, x]`.
///
/// # Source
/// nnU-Net, `GaussianBlurTransform`.
pub fn blur(x: &Tensor, chosen: &[(i64, Vec<[f64; 3]>)]) -> Tensor {
    let indices: Vec<i64> = chosen.iter().map(|(index, _)| *index).collect();
    let kernels = |axis: usize| -> Vec<Kernel> {
        let sigmas = chosen.iter().flat_map(|(_, channels)| channels.iter().map(|sigmas| sigmas[axis]));
        sigmas.map(|sigma| Kernel { sigma, radius: (3.0 * sigma).ceil() as usize }).collect()
    };
    on_samples(x, &indices, |some| {
        (0..3).fold(some.shallow_clone(), |t, axis| along(&t, axis, &kernels(axis)))
    })
}

/// Gaussian blur within z sections, all channels alike, with standard deviation (voxels) and kernel radius per sample.
///
/// # Shapes
/// `x`: float `[batch, channel, z, y, x]`.
///
/// # Source
/// gtgm.md, section 2.5, "blur".
pub fn section_blur(x: &Tensor, chosen: &[(i64, (f64, usize))]) -> Tensor {
    let indices: Vec<i64> = chosen.iter().map(|(index, _)| *index).collect();
    let channels = usize::try_from(x.size()[1]).unwrap_or(0);
    let kernels: Vec<Kernel> = chosen
        .iter()
        .flat_map(|(_, (sigma, radius))| {
            std::iter::repeat_n(Kernel { sigma: *sigma, radius: *radius }, channels)
        })
        .collect();
    on_samples(x, &indices, |some| {
        [1, 2].iter().fold(some.shallow_clone(), |t, axis| along(&t, *axis, &kernels))
    })
}

/// Weighted sum of shifted copies: kernels differ by sample and channel, which no single convolution offers cheaply.
fn along(x: &Tensor, axis: usize, kernels: &[Kernel]) -> Tensor {
    let reach = kernels.iter().map(|k| if k.sigma > 0.0 { k.radius } else { 0 }).max().unwrap_or(0);
    if reach == 0 {
        return x.shallow_clone();
    }
    let shape = x.size();
    let mut padding = [0; 6];
    // LibTorch names the last axis first
    let place = 2 * (2 - axis);
    (padding[place], padding[place + 1]) = (reach as i64, reach as i64);
    let padded = x.replication_pad3d(padding);
    let weights: Vec<f64> = kernels.iter().flat_map(|k| k.weights(reach)).collect();
    let weights = sent(&Tensor::from_slice(&weights).to_kind(Kind::Float), x.device());
    let weights = weights.view([shape[0], shape[1], 1, 1, 1, -1]);
    let mut sum = x.zeros_like();
    for offset in 0..=2 * reach as i64 {
        let shifted = padded.narrow(axis as i64 + 2, offset, shape[axis + 2]);
        let _sum = sum.addcmul_(&shifted, &weights.select(5, offset));
    }
    sum
}

/// Reduces each channel to `factor` of its voxels per axis (nearest) and enlarges it again (trilinear); factor 1 leaves a
/// channel alone. `in_plane_only` keeps the number of sections.
///
/// # Shapes
/// `x`: float `[batch, channel, z, y, x]`.
///
/// # Source
/// nnU-Net, `SimulateLowResolutionTransform`.
pub fn low_resolution(x: &Tensor, chosen: &[(i64, Vec<f64>)], in_plane_only: bool) -> Tensor {
    let mut x = x.shallow_clone();
    for (sample, factors) in chosen {
        x =
            on_samples(&x, &[*sample], |one| {
                let shape = one.size();
                let channels: Vec<Tensor> =
                    (0..)
                        .zip(factors)
                        .map(|(channel, factor)| {
                            let part = one.narrow(1, channel, 1);
                            let reduced = |axis: usize| ((shape[axis] as f64 * factor).round() as i64).max(1);
                            let size =
                                [if in_plane_only { shape[2] } else { reduced(2) }, reduced(3), reduced(4)];
                            if size == shape[2..] {
                                return part;
                            }
                            part.internal_upsample_nearest_exact3d(size, None, None, None)
                                .upsample_trilinear3d(&shape[2..], false, None, None, None)
                        })
                        .collect();
                Tensor::cat(&channels, 1)
            });
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn blur_keeps_constants_and_sums_and_is_the_kernel_on_a_point() {
        let flat = Tensor::full([1, 2, 5, 6, 7], 3.0, (Kind::Float, Device::Cpu));
        assert!(
            (blur(&flat, &[(0, vec![[1.0; 3], [0.5, 0.0, 2.0]])]) - &flat).abs().max().double_value(&[])
                < 1e-5
        );
        let point = Tensor::zeros([2, 1, 9, 9, 9], (Kind::Float, Device::Cpu));
        let _one = point.narrow(0, 1, 1).narrow(2, 4, 1).narrow(3, 4, 1).narrow(4, 4, 1).fill_(1.0);
        let y = blur(&point, &[(1, vec![[1.0; 3]])]);
        assert!((y.sum(Kind::Float).double_value(&[]) - 1.0).abs() < 1e-5);
        let weights = Kernel { sigma: 1.0, radius: 3 }.weights(3);
        let expected = weights[3] * weights[3] * weights[4];
        assert!((y.double_value(&[1, 0, 4, 4, 5]) - expected).abs() < 1e-6);
        assert!((y.double_value(&[1, 0, 5, 4, 4]) - expected).abs() < 1e-6);
        assert!(y.get(0).abs().max().double_value(&[]) < 1e-12);
        let along_x = blur(&point, &[(1, vec![[0.0, 0.0, 1.0]])]);
        assert!((along_x.double_value(&[1, 0, 4, 4, 5]) - weights[4]).abs() < 1e-6);
        assert!(along_x.double_value(&[1, 0, 4, 5, 4]).abs() < 1e-12);
    }

    #[test]
    fn section_blur_stays_in_its_section_and_radius() {
        let point = Tensor::zeros([1, 1, 3, 9, 9], (Kind::Float, Device::Cpu));
        let _one = point.narrow(2, 1, 1).narrow(3, 4, 1).narrow(4, 4, 1).fill_(1.0);
        let y = section_blur(&point, &[(0, (2.0, 1))]);
        assert!(y.narrow(2, 0, 1).abs().max().double_value(&[]) < 1e-12);
        assert!(y.double_value(&[0, 0, 1, 4, 5]) > 0.0 && y.double_value(&[0, 0, 1, 4, 6]).abs() < 1e-12);
    }

    #[test]
    fn low_resolution_smooths_the_chosen_channel_only() {
        tch::manual_seed(1);
        let x = Tensor::randn([2, 2, 6, 8, 8], (Kind::Float, Device::Cpu));
        let y = low_resolution(&x, &[(1, vec![1.0, 0.5])], true);
        assert!(y.get(0).equal(&x.get(0)) && y.get(1).get(0).equal(&x.get(1).get(0)));
        assert!(!y.get(1).get(1).equal(&x.get(1).get(1)));
        assert_eq!(y.size(), x.size());
        let flat = x.ones_like();
        assert!(
            (low_resolution(&flat, &[(0, vec![0.6; 2])], false) - &flat).abs().max().double_value(&[]) < 1e-6
        );
    }
}
