//! The grey picture of a slice: what a captioner sees and people review.
//!
//! Values are those before the normalisation. CT is shown through a named window, MRI (and CT that is not in Hounsfield units) between two
//! percentiles of the imaged tissue of the slice, EM as it is, or in the volume's range where it has more than 8 bits. Pixels are square: the axis with the wider spacing is interpolated linearly to the finer one, between
//! pixel centres, edges repeated. CT and MRI lie as radiologists look at them: axial with the patient's right at the picture's
//! left and the front at its top, coronal with right at left and the head at the top, sagittal with the front at left and the head
//! at the top. Since shards are in RAS+, whose indices grow rightwards, forwards and upwards, that turns each section by half.

use crate::captioner::{Scale, SliceImage};
use crate::facts::Facts;
use crate::measure::mri;
use anyhow::Context;
use data_manifests::descriptor::Modality;
use networks::blip::GreyImage;

/// Version of the rules here; it changes with every change of a picture.
pub const VERSION: &str = "render/1";

/// Percentiles of an MRI slice's tissue that become black and white.
const PERCENTILES: [f64; 2] = [0.5, 99.5];
/// Hounsfield unit below which there is nothing to see: air.
const AIR_HU: f32 = -1000.0;
/// Share of a window that must be stored for it to be used.
const FEWEST_STORED: f32 = 0.5;

/// A named CT window.
struct Window {
    name: &'static str,
    level: f32,
    width: f32,
    /// Words in a data set's anatomy for which it is meant; none: for all others.
    anatomy: &'static [&'static str],
}

/// Levels and widths that radiologists commonly use (Murphy et al., "Windowing (CT)", Radiopaedia, rID 52108).
const WINDOWS: [Window; 4] = [
    Window { name: "lung", level: -600.0, width: 1500.0, anatomy: &["lung", "lungs", "chest", "thorax"] },
    Window { name: "brain", level: 40.0, width: 80.0, anatomy: &["brain", "head"] },
    Window {
        name: "bone",
        level: 400.0,
        width: 1800.0,
        anatomy: &["bone", "bones", "spine", "vertebrae", "ribs", "skeleton"],
    },
    SOFT_TISSUE,
];
const SOFT_TISSUE: Window = Window { name: "soft tissue", level: 50.0, width: 400.0, anatomy: &[] };

/// Which raw values become black and white, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grey {
    /// Name of the CT window.
    pub window: Option<&'static str>,
    /// Raw value that becomes 0.
    pub black: f32,
    /// Raw value that becomes 255.
    pub white: f32,
}

impl Grey {
    /// The rule for a slice's first channel.
    #[must_use]
    pub fn of(image: &SliceImage<'_>) -> Self {
        match image.scale() {
            Scale::Hounsfield => {
                let stored = image.record.channels[0].normalisation.clip;
                window(&image.descriptor.text.anatomy, stored.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]))
            }
            Scale::Relative => {
                let from = mri::threshold(&image.record.channels[0]);
                let values = image.raw(0);
                let mut tissue: Vec<f32> = values.iter().copied().filter(|v| *v > from).collect();
                if tissue.is_empty() {
                    tissue = values;
                }
                tissue.sort_by(f32::total_cmp);
                let [black, white] = PERCENTILES.map(|p| percentile(&tissue, p));
                Self { window: None, black, white }
            }
            Scale::Grey([black, white]) => Self { window: None, black, white },
        }
    }

    /// States the rule: name, level and width of a CT window, the range of an MRI picture and its channel.
    pub fn state(&self, image: &SliceImage<'_>, facts: &mut Facts) {
        match image.scale() {
            Scale::Hounsfield => {
                facts.word("window", self.window.unwrap_or_default());
                facts.number("window_level_hu", f32::midpoint(self.black, self.white).into());
                facts.number("window_width_hu", (self.white - self.black).into());
            }
            Scale::Relative => {
                facts.word("picture_channel", &image.record.channels[0].name);
                facts.number("picture_black", self.black.into());
                facts.number("picture_white", self.white.into());
            }
            Scale::Grey(_) => {}
        }
    }

    fn value(&self, raw: f32) -> u8 {
        if self.white <= self.black {
            return 0;
        }
        // a cast of a float to u8 saturates
        ((raw - self.black) / (self.white - self.black) * 255.0).round() as u8
    }
}

/// The window for an anatomy, cut to the stored range of HU. One of which less than half is stored gives way to soft tissue, and that
/// to the stored range itself.
fn window(anatomy: &str, stored: [f32; 2]) -> Grey {
    let anatomy = anatomy.to_lowercase();
    let meant =
        |w: &&Window| anatomy.split(|c: char| !c.is_alphanumeric()).any(|word| w.anatomy.contains(&word));
    let wish = WINDOWS.iter().find(meant).unwrap_or(&SOFT_TISSUE);
    for window in [wish, &SOFT_TISSUE] {
        let [low, high] = [-0.5, 0.5].map(|half| window.level + half * window.width);
        let low = low.max(AIR_HU);
        let (black, white) = (low.max(stored[0]), high.min(stored[1]));
        if white - black >= FEWEST_STORED * (high - low) {
            return Grey { window: Some(window.name), black, white };
        }
    }
    Grey { window: Some("stored range"), black: stored[0], white: stored[1] }
}

/// A percentile of sorted values, linear between neighbours; 0 of nothing.
fn percentile(sorted: &[f32], percent: f64) -> f32 {
    let place = percent / 100.0 * sorted.len().saturating_sub(1) as f64;
    let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
    let (below, part) = (place.floor() as usize, place.fract() as f32);
    let next = at((below + 1).min(sorted.len().saturating_sub(1)));
    at(below) + part * (next - at(below))
}

/// The picture of a slice.
#[must_use]
pub fn picture(image: &SliceImage<'_>) -> GreyImage {
    let grey = Grey::of(image);
    let spacing = image.spacing_mm();
    let finest = spacing[0].min(spacing[1]);
    let shape = image.shape();
    let size: [usize; 2] =
        std::array::from_fn(|a| ((shape[a] as f64 * spacing[a] / finest).round() as usize).max(1));
    let raw = columns(&rows(&image.raw(0), shape, size[0]), [size[0], shape[1]], size[1]);
    let mut values: Vec<u8> = raw.into_iter().map(|v| grey.value(v)).collect();
    if image.record.modality != Modality::Em {
        values.reverse();
    }
    GreyImage { height: size[0], width: size[1], values }
}

/// The two neighbours of each of `to` new places among `from` old ones, and the second one's weight.
fn places(from: usize, to: usize) -> impl Iterator<Item = (usize, usize, f32)> {
    let last = from.saturating_sub(1);
    (0..to).map(move |i| {
        let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, last as f64);
        (at as usize, (at as usize + 1).min(last), at.fract() as f32)
    })
}

fn rows(values: &[f32], [height, width]: [usize; 2], to: usize) -> Vec<f32> {
    if height == to {
        return values.to_vec();
    }
    places(height, to)
        .flat_map(|(a, b, part)| {
            let row = |r: usize| &values[r * width..(r + 1) * width];
            row(a).iter().zip(row(b)).map(move |(a, b)| a + part * (b - a))
        })
        .collect()
}

fn columns(values: &[f32], [_, width]: [usize; 2], to: usize) -> Vec<f32> {
    if width == to {
        return values.to_vec();
    }
    values
        .chunks(width)
        .flat_map(|row| places(width, to).map(|(a, b, part)| row[a] + part * (row[b] - row[a])))
        .collect()
}

/// The PNG file of a picture, 8-bit grey.
///
/// # Errors
/// When the picture is empty or too large for the format.
pub fn png(picture: &GreyImage) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder =
        png::Encoder::new(&mut bytes, u32::try_from(picture.width)?, u32::try_from(picture.height)?);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().context("cannot write a picture")?;
    writer.write_image_data(&picture.values).context("cannot write a picture")?;
    writer.finish().context("cannot write a picture")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
