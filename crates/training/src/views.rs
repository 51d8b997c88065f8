//! Two views of each pretraining window, made on the device that trains.
//!
//! First the geometry that both views share (mirroring, transposing), then per view one perturbation, drawn uniformly from
//! the enabled ones as published, or each with a probability of its own. All draws, the noise's included, come from ChaCha8
//! by (seed, step, index in the batch); LibTorch's generator is not touched.
//!
//! Source of operations and ranges: gtgm.md, section 2.5. Differences: strengths of intensity and noise are relative to the
//! window's own range instead of to `[0, 1]`, which only 8-bit images have, and nothing is clipped or rescaled afterwards,
//! so that both views of a CT window keep their Hounsfield contrast.

use crate::augment::intensity::Grey;
use crate::augment::{affine, check_image, check_probability, check_range, filter, flips, intensity};
use crate::random::{Purpose, coin, stream, uniform};
use crate::{Result, TrainingError};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// A perturbation of one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Perturbation {
    /// An in-plane crop of random size from the window's centre, resized to the view.
    Rescale,
    /// A fair coin per permitted mirror axis and transposition.
    Flip,
    /// Contrast, shift and gamma, for the volume (25 %) or per section (75 %).
    Intensity,
    /// Gaussian noise.
    Noise,
    /// Gaussian blur within sections.
    Blur,
}

/// How perturbations are combined in a view.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Composition {
    /// Exactly one, drawn uniformly, as published.
    One,
    /// Each on its own with this probability.
    Each {
        /// Probability.
        probability: f64,
    },
}

/// Options of the views.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewOptions {
    /// Probability that the shared geometry is applied at all.
    pub shared_p: f64,
    /// Axes (z, y, x) that may be mirrored.
    pub mirror_axes: [bool; 3],
    /// Pairs of axes (0 = z, 1 = y, 2 = x) that may be swapped; both have one size in the window and in the view. In-plane
    /// (`[1, 2]`) only, for anisotropic data.
    pub transpose_axes: Vec<[usize; 2]>,
    /// The enabled perturbations.
    pub perturbations: Vec<Perturbation>,
    /// How they are combined.
    pub composition: Composition,
    /// Edge of the rescaled crop relative to the view; limited by the window's margin.
    pub rescale: (f64, f64),
    /// Full width of the contrast factor's and of the shift's range (0.1 = ±5 %).
    pub intensity: f64,
    /// log₂ of gamma lies within ± this.
    pub gamma_log2: f64,
    /// Standard deviation of the noise relative to the window's range.
    pub noise: (f64, f64),
    /// Standard deviation of the blur, voxels.
    pub blur: (f64, f64),
    /// Radius of the blur's kernel, voxels, both ends included (1 to 4: 3 to 9 taps).
    pub blur_radius: (usize, usize),
}

impl ViewOptions {
    /// The published probabilities and ranges, with the geometry that the data set permits.
    #[must_use]
    pub fn published(mirror_axes: [bool; 3], transpose_axes: Vec<[usize; 2]>) -> Self {
        use Perturbation::{Blur, Flip, Intensity, Noise, Rescale};
        Self {
            shared_p: 0.5,
            mirror_axes,
            transpose_axes,
            perturbations: vec![Rescale, Flip, Intensity, Noise, Blur],
            composition: Composition::One,
            rescale: (106.0 / 160.0, 1.5),
            intensity: 0.1,
            gamma_log2: 1.0,
            noise: (0.01, 0.2),
            blur: (0.0, 2.0),
            blur_radius: (1, 4),
        }
    }

    fn check(&self, window: [i64; 3], out_zyx: [i64; 3]) -> Result<()> {
        check_probability("shared_p", self.shared_p)?;
        if let Composition::Each { probability } = self.composition {
            check_probability("composition.probability", probability)?;
        }
        check_range("rescale", self.rescale, 0.01)?;
        check_range("noise", self.noise, 0.0)?;
        check_range("blur", self.blur, 0.0)?;
        check_range("intensity", (0.0, self.intensity), 0.0)?;
        check_range("gamma_log2", (0.0, self.gamma_log2), 0.0)?;
        if self.blur_radius.0 > self.blur_radius.1 {
            return Err(TrainingError::Option {
                name: "blur_radius",
                found: format!("{:?}", self.blur_radius),
                expected: "two ascending radii".to_owned(),
            });
        }
        for [a, b] in &self.transpose_axes {
            let fits = a != b
                && [window, out_zyx]
                    .iter()
                    .all(|shape| shape.get(*a).is_some() && shape.get(*a) == shape.get(*b));
            if !fits {
                return Err(TrainingError::Option {
                    name: "transpose_axes",
                    found: format!("[{a}, {b}] for a window of {window:?} and a view of {out_zyx:?}"),
                    expected: "two different axes of equal size".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// Mirror and transposition bits of one sample.
#[derive(Debug, Clone, Default)]
struct Geometry {
    mirror: [bool; 3],
    transpose: Vec<bool>,
}

impl Geometry {
    fn draw(rng: &mut ChaCha8Rng, options: &ViewOptions) -> Self {
        Self {
            mirror: options.mirror_axes.map(|allowed| rng.random::<bool>() && allowed),
            transpose: options.transpose_axes.iter().map(|_| rng.random()).collect(),
        }
    }
}

/// What one view of one sample undergoes; every parameter is drawn, those of other perturbations are dropped.
#[derive(Debug, Default)]
struct Perturbed {
    rescale: Option<f64>,
    geometry: Option<Geometry>,
    grey: Option<Grey>,
    noise: Option<intensity::Noise>,
    blur: Option<(f64, usize)>,
}

impl Perturbed {
    fn draw(rng: &mut ChaCha8Rng, options: &ViewOptions, largest_crop: f64, depth: usize) -> Self {
        let enabled = &options.perturbations;
        let picked: Vec<Perturbation> = match options.composition {
            Composition::One if enabled.is_empty() => Vec::new(),
            Composition::One => vec![enabled[rng.random_range(0..enabled.len())]],
            Composition::Each { probability } => {
                enabled.iter().copied().filter(|_| coin(rng, probability)).collect()
            }
        };
        let mut drawn = Self::default();
        for perturbation in picked {
            match perturbation {
                Perturbation::Rescale => {
                    let (low, high) = options.rescale;
                    drawn.rescale = Some(uniform(rng, (low.min(largest_crop), high.min(largest_crop))));
                }
                Perturbation::Flip => drawn.geometry = Some(Geometry::draw(rng, options)),
                Perturbation::Intensity => drawn.grey = Some(draw_grey(rng, options, depth)),
                Perturbation::Noise => {
                    drawn.noise =
                        Some(intensity::Noise { deviation: uniform(rng, options.noise), seed: rng.random() });
                }
                Perturbation::Blur => {
                    let (low, high) = options.blur_radius;
                    drawn.blur = Some((uniform(rng, options.blur), rng.random_range(low..=high)));
                }
            }
        }
        drawn
    }
}

fn draw_grey(rng: &mut ChaCha8Rng, options: &ViewOptions, depth: usize) -> Grey {
    let count = if uniform(rng, (0.0, 1.0)) > 0.75 { 1 } else { depth };
    let half = options.intensity / 2.0;
    let mut grey = Grey { contrast: Vec::new(), shift: Vec::new(), gamma: Vec::new() };
    for _ in 0..count {
        grey.contrast.push(1.0 + uniform(rng, (-half, half)));
        grey.shift.push(uniform(rng, (-half, half)));
        grey.gamma.push(uniform(rng, (-options.gamma_log2, options.gamma_log2)).exp2());
    }
    grey
}

/// Two views of each window.
///
/// # Shapes
/// `window`: float32 `[batch, channel, z, y, x]`, normalised by its modality's rule, at least as large as the view; a margin
/// in y and x (the published window has twice the view's edge) lets the rescaling show more than the view. Results:
/// `[batch, channel, out_zyx]` each.
///
/// The windows are the samples `first..first + batch` of the step, so that a part of a batch is augmented as in the whole.
///
/// # Errors
/// On shapes that do not fit or options outside their range.
pub fn two_views(
    window: &Tensor,
    out_zyx: [i64; 3],
    options: &ViewOptions,
    seed: u64,
    step: u64,
    first: u64,
) -> Result<(Tensor, Tensor)> {
    let (batch, _, shape) = check_image(window, out_zyx)?;
    options.check(shape, out_zyx)?;
    let _guard = tch::no_grad_guard();
    let samples = first..first + batch.unsigned_abs();
    let shared: Vec<Geometry> = samples
        .clone()
        .map(|index| {
            let mut rng = stream(seed, step, index, Purpose::SharedView);
            if coin(&mut rng, options.shared_p) {
                Geometry::draw(&mut rng, options)
            } else {
                Geometry::default()
            }
        })
        .collect();
    let common = move_axes(window, &shared.iter().map(Some).collect::<Vec<_>>(), options);

    let largest_crop = (shape[1] as f64 / out_zyx[1] as f64).min(shape[2] as f64 / out_zyx[2] as f64);
    let depth = usize::try_from(out_zyx[0]).unwrap_or(0);
    let view = |purpose| {
        let drawn: Vec<Perturbed> = samples
            .clone()
            .map(|index| {
                let mut rng = stream(seed, step, index, purpose);
                Perturbed::draw(&mut rng, options, largest_crop, depth)
            })
            .collect();
        perturb(&common, out_zyx, &drawn, options)
    };
    Ok((view(Purpose::FirstView), view(Purpose::SecondView)))
}

fn perturb(window: &Tensor, out_zyx: [i64; 3], drawn: &[Perturbed], options: &ViewOptions) -> Tensor {
    let rescale = affine::in_plane(&chosen(drawn, |d| d.rescale));
    let mut x = affine::resample(window, &rescale, out_zyx, affine::Sampling::Linear, 0.0);
    let geometry: Vec<Option<&Geometry>> = drawn.iter().map(|d| d.geometry.as_ref()).collect();
    x = move_axes(&x, &geometry, options);
    x = intensity::grey(&x, &chosen(drawn, |d| d.grey.clone()));
    x = intensity::relative_noise(&x, &chosen(drawn, |d| d.noise));
    filter::section_blur(&x, &chosen(drawn, |d| d.blur))
}

fn chosen<P>(drawn: &[Perturbed], parameter: impl Fn(&Perturbed) -> Option<P>) -> Vec<(i64, P)> {
    (0..).zip(drawn).filter_map(|(index, d)| Some((index, parameter(d)?))).collect()
}

fn move_axes(x: &Tensor, geometry: &[Option<&Geometry>], options: &ViewOptions) -> Tensor {
    let of = |g: &Option<&Geometry>| (*g).cloned().unwrap_or_default();
    let mirrors: Vec<(i64, [bool; 3])> =
        (0..).zip(geometry).map(|(index, g)| (index, of(g).mirror)).collect();
    let mut x = flips::mirror(x, &mirrors);
    for (place, axes) in options.transpose_axes.iter().enumerate() {
        let samples: Vec<i64> = (0..)
            .zip(geometry)
            .filter(|(_, g)| of(g).transpose.get(place).copied().unwrap_or(false))
            .map(|(index, _)| index)
            .collect();
        x = flips::transpose(&x, &samples, *axes);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn window() -> Tensor {
        tch::manual_seed(8);
        Tensor::randn([6, 1, 4, 24, 24], (Kind::Float, Device::Cpu))
    }

    fn options() -> ViewOptions {
        ViewOptions::published([true; 3], vec![[1, 2]])
    }

    #[test]
    fn views_are_functions_of_seed_and_step_and_differ_from_each_other() {
        let x = window();
        let (a, b) = two_views(&x, [4, 12, 12], &options(), 1, 2, 0).unwrap();
        let _other = Tensor::randn([3], (Kind::Float, Device::Cpu));
        let (c, d) = two_views(&x, [4, 12, 12], &options(), 1, 2, 0).unwrap();
        assert!(a.equal(&c) && b.equal(&d) && !a.equal(&b));
        assert_eq!(a.size(), [6, 1, 4, 12, 12]);
        let (late, _) = two_views(&x.narrow(0, 2, 4), [4, 12, 12], &options(), 1, 2, 2).unwrap();
        assert!(late.allclose(&a.narrow(0, 2, 4), 1e-6, 1e-6, false), "a part as in the whole");
        let (e, _) = two_views(&x, [4, 12, 12], &options(), 1, 3, 0).unwrap();
        assert!(!a.equal(&e));
        let both = Tensor::cat(&[a, b], 0);
        assert!(both.isfinite().all().int64_value(&[]) == 1);
    }

    #[test]
    fn without_perturbations_both_views_are_the_same_permuted_crop() {
        let x = window();
        let plain = ViewOptions { perturbations: Vec::new(), ..options() };
        let (a, b) = two_views(&x, [4, 24, 24], &plain, 5, 0, 0).unwrap();
        assert!(a.equal(&b));
        let sorted = |t: &Tensor| t.reshape([6, -1]).sort(1, false).0;
        assert!(sorted(&a).equal(&sorted(&x)));
        let still = ViewOptions { shared_p: 0.0, ..plain };
        assert!(two_views(&x, [4, 24, 24], &still, 5, 0, 0).unwrap().0.equal(&x));
    }

    #[test]
    fn each_perturbation_alone_changes_the_view_and_keeps_it_finite() {
        let constant = Tensor::full([2, 1, 4, 24, 24], -3.0, (Kind::Float, Device::Cpu));
        use Perturbation::{Blur, Flip, Intensity, Noise, Rescale};
        for perturbation in [Rescale, Flip, Intensity, Noise, Blur] {
            let one = ViewOptions { shared_p: 0.0, perturbations: vec![perturbation], ..options() };
            let x = window();
            let (a, _) = two_views(&x, [4, 24, 24], &one, 0, 1, 0).unwrap();
            assert!(!a.equal(&x), "{perturbation:?}");
            let (flat, _) = two_views(&constant, [4, 12, 12], &one, 0, 1, 0).unwrap();
            assert!((flat + 3.0).abs().max().double_value(&[]) < 1e-5, "{perturbation:?}");
        }
        let all = ViewOptions { composition: Composition::Each { probability: 1.0 }, ..options() };
        assert!(two_views(&window(), [4, 16, 16], &all, 0, 1, 0).is_ok());
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let x = window();
        assert!(two_views(&x, [5, 12, 12], &options(), 0, 0, 0).is_err());
        let text = two_views(&x, [4, 12, 16], &options(), 0, 0, 0).unwrap_err().to_string();
        assert!(text.contains("equal size"), "{text}");
    }
}
