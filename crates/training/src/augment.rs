//! Fine-tuning augmentation, jointly on image and label, on the device that trains.
//!
//! The operations, their order, probabilities and ranges are nnU-Net's defaults (`nnUNetTrainer.get_training_transforms`,
//! v2); [`AugmentOptions`] names each. All draws come from ChaCha8 by (seed, step, index in the batch);
//! LibTorch's generator is touched on GPUs alone, which draw their noise themselves from a seed that comes from there.

pub mod affine;
mod draw;
pub mod elastic;
pub mod filter;
pub mod flips;
pub mod intensity;
pub mod sections;
mod select;
mod window;

use crate::random::{Purpose, stream};
use crate::{Result, TrainingError};
use affine::Sampling;
use draw::Draw;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use torch_runtime::transfer::sent;

pub(crate) use select::on_samples;

/// What is applied, how often, how strongly. Probabilities are per sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentOptions {
    /// Rotate and scale within z sections only (nnU-Net's dummy-2D), for patches much flatter than wide.
    pub in_plane_only: bool,
    /// Probability of a rotation.
    pub rotation_p: f64,
    /// Largest angle about each axis, degrees.
    pub rotation_degrees: f64,
    /// Probability of scaling.
    pub scaling_p: f64,
    /// Factor on the sampled region's edge: above 1 shows more, smaller.
    pub scaling: (f64, f64),
    /// Probability that a scaling has one factor for each axis instead of one for all.
    #[serde(default)]
    pub stretching_p: f64,
    /// Probability of a smooth deformation.
    #[serde(default)]
    pub bending_p: f64,
    /// Standard deviation of its displacements at control points, voxels; up to 5/12 of their spacing it folds nothing but by rare chance.
    #[serde(default)]
    pub bending: (f64, f64),
    /// Voxels from one control point to the next.
    #[serde(default = "one")]
    pub bending_spacing: f64,
    /// Probability of noise.
    pub noise_p: f64,
    /// Standard deviation of the noise, in units of the normalised image.
    pub noise: (f64, f64),
    /// Probability of blur; each channel then takes part with probability ½.
    pub blur_p: f64,
    /// Standard deviation of the blur, voxels, one for each axis and channel.
    pub blur: (f64, f64),
    /// Probability of a multiplied brightness.
    pub brightness_p: f64,
    /// Factor, one for each channel, as of contrast and gamma.
    pub brightness: (f64, f64),
    /// Probability of a changed contrast about the channel's mean, range preserved.
    pub contrast_p: f64,
    /// Factor.
    pub contrast: (f64, f64),
    /// Probability of simulated low resolution; each channel then takes part with probability ½.
    pub low_resolution_p: f64,
    /// Factor on the number of voxels per axis (in plane only where `in_plane_only`).
    pub low_resolution: (f64, f64),
    /// Probability of gamma on the inverted image.
    pub gamma_inverted_p: f64,
    /// Probability of gamma.
    pub gamma_p: f64,
    /// Exponent: drawn below 1 or above 1 with equal probability.
    pub gamma: (f64, f64),
    /// Axes (z, y, x) that may be mirrored, each with probability ½. Lateral mirroring is wrong where left and right are
    /// different classes.
    pub mirror_axes: [bool; 3],
    /// What labels outside the patch become after a rotation: 0, or the ignored label.
    pub label_outside: i64,
    /// Channels whose zeros are background (nnU-Net's `use_mask_for_norm`), which intensities leave at 0; empty: none.
    #[serde(default)]
    pub zeros_kept: Vec<bool>,
}

fn one() -> f64 {
    1.0
}

/// A named set of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AugmentSet {
    /// nnU-Net's defaults.
    Nnunet,
    /// More of it, and stretched and bent: for few labels.
    Strong,
}

impl AugmentSet {
    /// The options. `in_plane_only`: see [`is_flat`].
    #[must_use]
    pub fn options(self, in_plane_only: bool, mirror_axes: [bool; 3]) -> AugmentOptions {
        let nnunet = AugmentOptions::nnunet(in_plane_only, mirror_axes);
        match self {
            Self::Nnunet => nnunet,
            Self::Strong => AugmentOptions {
                rotation_p: 0.5,
                scaling_p: 0.5,
                stretching_p: 0.5,
                bending_p: 0.3,
                bending: (2.0, 5.0),
                bending_spacing: 12.0,
                noise_p: 0.2,
                noise: (0.0, 0.15),
                brightness_p: 0.3,
                brightness: (0.7, 1.3),
                contrast_p: 0.3,
                contrast: (0.7, 1.4),
                ..nnunet
            },
        }
    }
}

impl AugmentOptions {
    /// nnU-Net's defaults for 3D. `in_plane_only`: see [`is_flat`].
    #[must_use]
    pub fn nnunet(in_plane_only: bool, mirror_axes: [bool; 3]) -> Self {
        Self {
            in_plane_only,
            rotation_p: 0.2,
            rotation_degrees: if in_plane_only { 180.0 } else { 30.0 },
            scaling_p: 0.2,
            scaling: (0.7, 1.4),
            stretching_p: 0.0,
            bending_p: 0.0,
            bending: (0.0, 0.0),
            bending_spacing: 1.0,
            noise_p: 0.1,
            noise: (0.0, 0.1),
            blur_p: 0.2,
            blur: (0.5, 1.0),
            brightness_p: 0.15,
            brightness: (0.75, 1.25),
            contrast_p: 0.15,
            contrast: (0.75, 1.25),
            low_resolution_p: 0.25,
            low_resolution: (0.5, 1.0),
            gamma_inverted_p: 0.1,
            gamma_p: 0.3,
            gamma: (0.7, 1.5),
            mirror_axes,
            label_outside: 0,
            zeros_kept: Vec::new(),
        }
    }

    fn check(&self, channels: i64) -> Result<()> {
        let listed = self.zeros_kept.len();
        if listed > 0 && listed as i64 != channels {
            return Err(TrainingError::Option {
                name: "zeros_kept",
                found: format!("{listed} channels"),
                expected: format!("none or {channels}"),
            });
        }
        for (name, p) in [
            ("rotation_p", self.rotation_p),
            ("scaling_p", self.scaling_p),
            ("stretching_p", self.stretching_p),
            ("bending_p", self.bending_p),
            ("noise_p", self.noise_p),
            ("blur_p", self.blur_p),
            ("brightness_p", self.brightness_p),
            ("contrast_p", self.contrast_p),
            ("low_resolution_p", self.low_resolution_p),
            ("gamma_inverted_p", self.gamma_inverted_p),
            ("gamma_p", self.gamma_p),
        ] {
            check_probability(name, p)?;
        }
        for (name, range, least) in [
            ("scaling", self.scaling, 0.01),
            ("bending", self.bending, 0.0),
            ("bending_spacing", (self.bending_spacing, self.bending_spacing), 1.0),
            ("noise", self.noise, 0.0),
            ("blur", self.blur, 0.0),
            ("brightness", self.brightness, 0.0),
            ("contrast", self.contrast, 0.0),
            ("low_resolution", self.low_resolution, 0.01),
            ("gamma", self.gamma, 0.01),
        ] {
            check_range(name, range, least)?;
        }
        check_range("rotation_degrees", (0.0, self.rotation_degrees), 0.0)
    }
}

pub(crate) fn check_probability(name: &'static str, p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(TrainingError::Option { name, found: p.to_string(), expected: "0 to 1".to_owned() })
}

pub(crate) fn check_range(name: &'static str, (low, high): (f64, f64), least: f64) -> Result<()> {
    if low >= least && high >= low && high.is_finite() {
        return Ok(());
    }
    let expected = format!("two numbers of at least {least}, ascending");
    Err(TrainingError::Option { name, found: format!("({low}, {high})"), expected })
}

/// nnU-Net's rule for dummy-2D augmentation: the largest edge is more than 3 times the first.
#[must_use]
pub fn is_flat(patch_zyx: [i64; 3]) -> bool {
    patch_zyx.iter().max().is_some_and(|largest| *largest > 3 * patch_zyx[0])
}

/// Augments a batch.
///
/// Order: rotation, scaling and deformation (one resampling; trilinear for the image, nearest for the label; 0 and
/// `label_outside` beyond the patch), noise, blur, brightness, contrast, low resolution, gamma on the inverted image, gamma,
/// zeros of `zeros_kept` set back, mirroring.
///
/// # Shapes
/// `image`: float `[batch, channel, z, y, x]`, normalised; `label`: `[batch, 1, z, y, x]` of any kind, kept. `out_zyx`: size of
/// the result; where it is smaller than the input, rotated corners are filled from the margin instead of padding, and
/// samples that are not rotated are cropped at the centre. The last argument is the run's seed, the step, and the place that
/// the first sample has in the whole batch, of which other processes may hold the rest.
///
/// # Errors
/// On shapes that do not fit or options outside their range.
pub fn augment(
    image: &Tensor,
    label: &Tensor,
    out_zyx: [i64; 3],
    options: &AugmentOptions,
    (seed, step, first): (u64, u64, u64),
) -> Result<(Tensor, Tensor)> {
    let (batch, channels, shape) = check_image(image, out_zyx)?;
    options.check(channels)?;
    if label.size() != [batch, 1, shape[0], shape[1], shape[2]] {
        return Err(TrainingError::shape("label", label, format!("[{batch}, 1, {shape:?}] as the image")));
    }
    let _guard = tch::no_grad_guard();
    let draws: Vec<Draw> = (0..batch)
        .map(|index| {
            let mut rng = stream(seed, step, first + index.unsigned_abs(), Purpose::Augmentation);
            Draw::new(&mut rng, options, usize::try_from(channels).unwrap_or(0))
        })
        .collect();
    let warps = chosen(&draws, |draw| draw.warp);
    let mut x = affine::resample(image, &warps, out_zyx, Sampling::Linear, 0.0);
    let outside = options.label_outside as f64;
    let mut y = affine::resample(label, &warps, out_zyx, Sampling::Nearest, outside);

    let background = zeros_of(&x, &options.zeros_kept);
    x = intensity::noise(&x, &chosen(&draws, |draw| draw.noise));
    x = filter::blur(&x, &chosen(&draws, |draw| draw.blur.clone()));
    x = intensity::brightness(&x, &chosen(&draws, |draw| draw.brightness.clone()));
    x = intensity::contrast(&x, &chosen(&draws, |draw| draw.contrast.clone()));
    x = filter::low_resolution(
        &x,
        &chosen(&draws, |draw| draw.low_resolution.clone()),
        options.in_plane_only,
    );
    x = intensity::gamma(&x, &chosen(&draws, |draw| draw.gamma_inverted.clone()), true);
    x = intensity::gamma(&x, &chosen(&draws, |draw| draw.gamma.clone()), false);
    if let Some(background) = background {
        x = x.masked_fill(&background, 0.0);
    }
    let mirrors = chosen(&draws, |draw| Some(draw.mirror));
    x = flips::mirror(&x, &mirrors);
    y = flips::mirror(&y, &mirrors);
    Ok((x, y))
}

/// Where the channels marked in `kept` are 0; `None` where none is marked.
fn zeros_of(x: &Tensor, kept: &[bool]) -> Option<Tensor> {
    let marked = Tensor::from_slice(kept).view([1, -1, 1, 1, 1]);
    kept.contains(&true).then(|| x.eq(0.0).logical_and(&sent(&marked, x.device())))
}

/// (sample, parameter) of the samples that take part in an operation.
pub(crate) type Chosen<P> = Vec<(i64, P)>;

fn chosen<P>(draws: &[Draw], parameter: impl Fn(&Draw) -> Option<P>) -> Chosen<P> {
    (0..).zip(draws).filter_map(|(index, draw)| Some((index, parameter(draw)?))).collect()
}

/// Checks a batch of images against the size wanted; returns batch, channels and spatial shape.
pub(crate) fn check_image(image: &Tensor, out_zyx: [i64; 3]) -> Result<(i64, i64, [i64; 3])> {
    let found = image.size();
    let [batch, channels, z, y, x] = found[..] else {
        return Err(TrainingError::shape("image", image, "[batch, channel, z, y, x]"));
    };
    if image.kind() != Kind::Float {
        return Err(TrainingError::shape("image", image, "float32"));
    }
    let shape = [z, y, x];
    if batch < 1 || channels < 1 || out_zyx.iter().zip(shape).any(|(out, size)| *out < 1 || *out > size) {
        return Err(TrainingError::shape("image", image, format!("at least {out_zyx:?} voxels")));
    }
    Ok((batch, channels, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn always() -> AugmentOptions {
        AugmentOptions {
            rotation_p: 1.0,
            scaling_p: 1.0,
            stretching_p: 1.0,
            bending_p: 1.0,
            bending: (2.0, 4.0),
            bending_spacing: 12.0,
            noise_p: 1.0,
            blur_p: 1.0,
            brightness_p: 1.0,
            contrast_p: 1.0,
            low_resolution_p: 1.0,
            gamma_inverted_p: 1.0,
            gamma_p: 1.0,
            ..AugmentOptions::nnunet(false, [true; 3])
        }
    }

    fn batch() -> (Tensor, Tensor) {
        tch::manual_seed(11);
        let image = Tensor::randn([3, 2, 10, 12, 14], (Kind::Float, Device::Cpu));
        let label = Tensor::randint(3, [3, 1, 10, 12, 14], (Kind::Uint8, Device::Cpu));
        (image, label)
    }

    #[test]
    fn equal_seeds_give_equal_bits_and_other_seeds_do_not() {
        let (image, label) = batch();
        let run = |seed, step| augment(&image, &label, [8, 10, 12], &always(), (seed, step, 0)).unwrap();
        let (x, y) = run(1, 5);
        let _noise = Tensor::randn([7], (Kind::Float, Device::Cpu));
        let (again_x, again_y) = run(1, 5);
        assert!(x.equal(&again_x) && y.equal(&again_y));
        assert_eq!((x.size(), y.size()), (vec![3, 2, 8, 10, 12], vec![3, 1, 8, 10, 12]));
        assert!(!x.equal(&run(2, 5).0) && !x.equal(&run(1, 6).0));
        // the last two samples of the batch, held by another process
        let [own_image, own_label] = [&image, &label].map(|whole| whole.narrow(0, 1, 2));
        let (own_x, own_y) = augment(&own_image, &own_label, [8, 10, 12], &always(), (1, 5, 1)).unwrap();
        assert!(own_x.allclose(&x.narrow(0, 1, 2), 1e-6, 1e-6, false) && own_y.equal(&y.narrow(0, 1, 2)));
        assert_eq!(y.kind(), Kind::Uint8);
        assert!(x.isfinite().all().int64_value(&[]) == 1 && y.max().int64_value(&[]) <= 2);
    }

    #[test]
    fn label_and_image_move_together() {
        // a blob: the label is the image's own threshold, before and after
        let line = |centre: f64| (Tensor::arange(32, (Kind::Float, Device::Cpu)) - centre).square();
        let squares =
            line(11.0).view([32, 1, 1]) + line(20.0).view([1, 32, 1]) * 0.5 + line(17.0).view([1, 1, 32]);
        let image = (-squares / 50.0).exp().view([1, 1, 32, 32, 32]);
        let label = image.ge(0.5).to_kind(Kind::Int64);
        let options = AugmentOptions {
            noise_p: 0.0,
            blur_p: 0.0,
            brightness_p: 0.0,
            contrast_p: 0.0,
            low_resolution_p: 0.0,
            gamma_inverted_p: 0.0,
            gamma_p: 0.0,
            scaling: (0.8, 1.2),
            ..always()
        };
        for step in 0..5 {
            let (x, y) = augment(&image, &label, [32; 3], &options, (3, step, 0)).unwrap();
            let bright = x.ge(0.5).to_kind(Kind::Int64);
            let dice = |other: &Tensor| {
                let both = (&bright * other).sum(Kind::Int64).double_value(&[]);
                2.0 * both / (bright.sum(Kind::Int64) + other.sum(Kind::Int64)).double_value(&[])
            };
            // they agree but for rounding at the surface, and both have moved
            assert!(dice(&y) > 0.9 && dice(&label) < 0.8, "{} {}", dice(&y), dice(&label));
        }
    }

    /// What a patch looks like after geometry alone, of `options` with one thing taken away.
    #[test]
    fn stretching_and_bending_each_change_the_patch() {
        let (image, label) = batch();
        let geometry = |change: fn(&mut AugmentOptions)| {
            let mut options = AugmentOptions {
                stretching_p: 1.0,
                bending_p: 1.0,
                rotation_p: 1.0,
                scaling_p: 1.0,
                ..AugmentSet::Strong.options(false, [false; 3])
            };
            change(&mut options);
            augment(&image, &label, [8, 10, 12], &options, (2, 7, 0)).unwrap().0
        };
        let whole = geometry(|_| ());
        assert!(!whole.equal(&geometry(|options| options.stretching_p = 0.0)));
        assert!(!whole.equal(&geometry(|options| options.bending_p = 0.0)));
        let flat = AugmentSet::Strong.options(true, [true; 3]);
        for step in 0..20 {
            let (x, y) = augment(&image, &label, [3, 12, 14], &flat, (2, step, 0)).unwrap();
            assert!(x.isfinite().all().int64_value(&[]) == 1 && y.max().int64_value(&[]) <= 2);
        }
    }

    #[test]
    fn nothing_chosen_is_a_centre_crop() {
        let (image, label) = batch();
        let never = AugmentOptions {
            rotation_p: 0.0,
            scaling_p: 0.0,
            noise_p: 0.0,
            blur_p: 0.0,
            brightness_p: 0.0,
            contrast_p: 0.0,
            low_resolution_p: 0.0,
            gamma_inverted_p: 0.0,
            gamma_p: 0.0,
            ..AugmentOptions::nnunet(true, [false; 3])
        };
        let (x, y) = augment(&image, &label, [6, 12, 14], &never, (0, 0, 0)).unwrap();
        assert!(x.equal(&image.narrow(2, 2, 6)) && y.equal(&label.narrow(2, 2, 6)));
    }

    #[test]
    fn background_stays_background_in_channels_whose_zeros_are_kept() {
        let (image, label) = batch();
        let tissue = image.abs() + 1.0;
        let disc = Tensor::arange(12, (Kind::Float, Device::Cpu)) - 5.5;
        let inside = (disc.square().view([12, 1])
            + (Tensor::arange(14, (Kind::Float, Device::Cpu)) - 6.5).square())
        .le(16.0)
        .to_kind(Kind::Float);
        let image = tissue * inside;
        let changed = AugmentOptions {
            rotation_p: 0.0,
            scaling_p: 0.0,
            bending_p: 0.0,
            mirror_axes: [false; 3],
            zeros_kept: vec![false, true],
            ..always()
        };
        let run = |options: &AugmentOptions| augment(&image, &label, [10, 12, 14], options, (1, 0, 0));
        let (x, _) = run(&changed).unwrap();
        let air = image.eq(0.0);
        let in_air = |channel: i64| {
            let air = air.select(1, channel);
            x.select(1, channel).masked_select(&air).abs().max().double_value(&[])
        };
        assert!(in_air(1) == 0.0 && in_air(0) > 0.0);
        assert!(!x.select(1, 1).equal(&image.select(1, 1)));
        assert!(run(&AugmentOptions { zeros_kept: vec![true], ..changed }).is_err());
    }

    #[test]
    fn bad_options_and_shapes_are_refused() {
        let (image, label) = batch();
        let run = |o: &AugmentOptions, out| augment(&image, &label, out, o, (0, 0, 0));
        assert!(run(&AugmentOptions { bending_p: -0.5, ..always() }, [8; 3]).is_err());
        assert!(run(&AugmentOptions { bending_spacing: 0.0, ..always() }, [8; 3]).is_err());
        assert!(run(&AugmentOptions { blur_p: 1.5, ..always() }, [8; 3]).is_err());
        assert!(run(&AugmentOptions { gamma: (1.5, 0.7), ..always() }, [8; 3]).is_err());
        assert!(run(&always(), [11, 8, 8]).is_err());
        assert!(augment(&image, &label.squeeze_dim(1), [8; 3], &always(), (0, 0, 0)).is_err());
        assert!(is_flat([20, 320, 256]) && !is_flat([40, 56, 40]));
    }
}
