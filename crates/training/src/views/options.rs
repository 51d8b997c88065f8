//! What views may undergo, how often and how strongly.

use crate::augment::{check_probability, check_range};
use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};

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
    /// One section, or all from one on, moved within the plane.
    Misalign,
    /// A section, or a rectangle of one, without signal.
    Missing,
    /// A section, or a rectangle of one, out of focus.
    Unfocused,
    /// A smooth deformation within sections.
    Elastic,
    /// Many small boxes without content.
    Cutout,
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
    /// Axes (z, y, x) that may be mirrored, where a sample's data set permits it.
    pub mirror_axes: [bool; 3],
    /// Pairs of axes (0 = z, 1 = y, 2 = x) that may be swapped; both have one size in the window and in the view. In-plane
    /// (`[1, 2]`) only, for anisotropic data.
    pub transpose_axes: Vec<[usize; 2]>,
    /// The enabled perturbations.
    pub perturbations: Vec<Perturbation>,
    /// Those enabled beside them where sections were cut and imaged one by one (electron microscopy).
    pub section_perturbations: Vec<Perturbation>,
    /// How they are combined.
    pub composition: Composition,
    /// Edge of the rescaled crop relative to the view; limited by the window's margin.
    pub rescale: (f64, f64),
    /// Full width of the contrast factor's and of the shift's range (0.1 = ±5 %), the shift relative to the cropped view's range.
    pub intensity: f64,
    /// log₂ of gamma lies within ± this.
    pub gamma_log2: f64,
    /// Standard deviation of the noise relative to the view's range, after crop and grey values.
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
            section_perturbations: Vec::new(),
            composition: Composition::One,
            rescale: (106.0 / 160.0, 1.5),
            intensity: 0.1,
            gamma_log2: 1.0,
            noise: (0.01, 0.2),
            blur: (0.0, 2.0),
            blur_radius: (1, 4),
        }
    }

    /// Each of the published perturbations on its own with probability ½, and for electron microscopy those that the published
    /// code has and leaves off.
    #[must_use]
    pub fn extended(mirror_axes: [bool; 3], transpose_axes: Vec<[usize; 2]>) -> Self {
        use Perturbation::{Cutout, Elastic, Misalign, Missing, Unfocused};
        Self {
            section_perturbations: vec![Misalign, Missing, Unfocused, Elastic, Cutout],
            composition: Composition::Each { probability: 0.5 },
            ..Self::published(mirror_axes, transpose_axes)
        }
    }

    pub(super) fn check(&self, window: [i64; 3], out_zyx: [i64; 3]) -> Result<()> {
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
