//! The draws of one sample.

use super::nature::Nature;
use super::options::{Composition, Perturbation, ViewOptions};
use super::sections;
use crate::augment::elastic::Elastic;
use crate::augment::intensity::{self, Grey};
use crate::augment::sections::{Cuboid, Unfocused};
use crate::random::{coin, uniform};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Mirror and transposition bits of one sample.
#[derive(Debug, Clone, Default)]
pub(super) struct Geometry {
    pub(super) mirror: [bool; 3],
    pub(super) transpose: Vec<bool>,
}

impl Geometry {
    pub(super) fn draw(rng: &mut ChaCha8Rng, options: &ViewOptions, nature: Nature) -> Self {
        let may = std::array::from_fn(|axis| options.mirror_axes[axis] && nature.mirror_axes[axis]);
        Self {
            mirror: may.map(|allowed: bool| rng.random::<bool>() && allowed),
            transpose: options
                .transpose_axes
                .iter()
                .map(|axes| rng.random::<bool>() && nature.permits_swap(*axes))
                .collect(),
        }
    }
}

/// What decides the draws of one sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Edge of the window relative to the view.
    pub(super) largest_crop: f64,
    pub(super) window_depth: i64,
    pub(super) view_zyx: [i64; 3],
    pub(super) nature: Nature,
}

/// What one view of one sample undergoes; every parameter is drawn, those of other perturbations are dropped.
#[derive(Debug, Default)]
pub(super) struct Perturbed {
    pub(super) rescale: Option<f64>,
    pub(super) geometry: Option<Geometry>,
    pub(super) grey: Option<Grey>,
    pub(super) noise: Option<intensity::Noise>,
    pub(super) blur: Option<(f64, usize)>,
    pub(super) shift: Option<Vec<[i64; 2]>>,
    pub(super) missing: Option<Vec<Cuboid>>,
    pub(super) unfocused: Option<Vec<Unfocused>>,
    pub(super) elastic: Option<Elastic>,
    pub(super) cutout: Option<Vec<Cuboid>>,
}

impl Perturbed {
    pub(super) fn draw(rng: &mut ChaCha8Rng, options: &ViewOptions, kind: Sample) -> Self {
        let Sample { largest_crop, window_depth, view_zyx, nature } = kind;
        let depth = usize::try_from(view_zyx[0]).unwrap_or(0);
        let mut enabled = options.perturbations.clone();
        if nature.sectioned {
            enabled.extend(&options.section_perturbations);
        }
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
                Perturbation::Flip => drawn.geometry = Some(Geometry::draw(rng, options, nature)),
                Perturbation::Intensity => drawn.grey = Some(draw_grey(rng, options, depth)),
                Perturbation::Noise => {
                    drawn.noise =
                        Some(intensity::Noise { deviation: uniform(rng, options.noise), seed: rng.random() });
                }
                Perturbation::Blur => {
                    let (low, high) = options.blur_radius;
                    drawn.blur = Some((uniform(rng, options.blur), rng.random_range(low..=high)));
                }
                Perturbation::Misalign => drawn.shift = Some(sections::misalign(rng, window_depth, view_zyx)),
                Perturbation::Missing => drawn.missing = Some(sections::missing(rng, view_zyx)),
                Perturbation::Unfocused => drawn.unfocused = Some(sections::unfocused(rng, view_zyx)),
                Perturbation::Elastic => drawn.elastic = Some(sections::elastic(rng)),
                Perturbation::Cutout => drawn.cutout = Some(sections::cutout(rng, view_zyx)),
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
