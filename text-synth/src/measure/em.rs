//! EM: dark membranes, electron-dense and electron-lucent areas, and the compartments between membranes.
//!
//! Grey values are 0 … 255 as in the source (the volume's range scaled to that, where the source has more bits), dark where stain is. Membranes are pixels darker than the mean of their surroundings
//! (250 nm to each side) by half of the slice's standard deviation, after smoothing over 6 nm to each side; compartments are
//! what they part. Electron-dense areas stay 1.5 standard deviations below the slice's mean after smoothing over
//! 25 nm to each side, so that thin membranes do not count. These are rules on intensity, not segmentations.

use super::{Phrase, place, structures, texture};
use crate::captioner::{Scale, SliceImage};
use crate::facts::Facts;
use crate::wording::{self, Wording};

const NM_PER_MM: f64 = 1e6;
const MEMBRANE_SMOOTH_NM: f64 = 6.0;
const SURROUNDINGS_NM: f64 = 250.0;
const DENSE_SMOOTH_NM: f64 = 25.0;
/// Standard deviations below the surroundings at which a membrane begins.
const MEMBRANE: f64 = 0.5;
/// Standard deviations below the mean at which an electron-dense area begins.
const DENSE: f64 = 1.5;
/// Smallest compartment, nm²: 100 nm by 100 nm.
const SMALLEST_COMPARTMENT: f64 = 1e4;
/// Smallest electron-dense area, nm²: a disc of 80 nm.
const SMALLEST_DENSE: f64 = 5e3;
const NM2_PER_UM2: f64 = 1e6;

/// Grey values from 0 to 255: as in the source where they are 8 bits, else the volume's own range.
fn grey(image: &SliceImage<'_>) -> Vec<f32> {
    let mut values = image.raw(0);
    if let Scale::Grey([black, white]) = image.scale()
        && (black, white) != (0.0, 255.0)
    {
        let range = if white > black { white - black } else { 1.0 };
        values.iter_mut().for_each(|value| *value = 255.0 * (*value - black) / range);
    }
    values
}

/// States the EM facts of a slice or tile.
pub(super) fn measure(image: &SliceImage<'_>, facts: &mut Facts) {
    let grey = grey(image);
    let shape = image.shape();
    let spacing = image.spacing_mm().map(|mm| mm * NM_PER_MM);
    let radius = |nm: f64| spacing.map(|s| (nm / s) as usize);
    let n = grey.len().max(1) as f64;
    let area_um2 = n * spacing[0] * spacing[1] / NM2_PER_UM2;
    let [mean, deviation] = texture::mean_and_deviation(grey.iter().copied());
    facts.number("grey_mean", mean);
    facts.number("grey_sd", deviation);
    let share = |mask: &[bool]| mask.iter().filter(|m| **m).count() as f64 / n;
    if let Some(threshold) = texture::otsu(&grey) {
        facts.number("stain_threshold_grey", threshold.into());
        facts.number("stained_fraction", share(&grey.iter().map(|v| *v < threshold).collect::<Vec<_>>()));
    }
    let lucent = mean + deviation;
    facts.number("lucent_fraction", share(&grey.iter().map(|v| f64::from(*v) > lucent).collect::<Vec<_>>()));

    let smooth = texture::box_mean(&grey, shape, radius(MEMBRANE_SMOOTH_NM));
    let around = texture::box_mean(&grey, shape, radius(SURROUNDINGS_NM));
    let step = MEMBRANE * deviation;
    let membrane: Vec<bool> =
        smooth.iter().zip(&around).map(|(v, a)| f64::from(*v) < f64::from(*a) - step).collect();
    facts.number("membrane_fraction", share(&membrane));
    let open: Vec<bool> = membrane.iter().map(|m| !m).collect();
    let compartments = structures::structures(&open, shape, spacing, SMALLEST_COMPARTMENT);
    facts.count("compartment_count", compartments.len());
    facts.number("compartments_per_um2", compartments.len() as f64 / area_um2);
    if let Some(largest) = compartments.first() {
        facts.number("compartment_median_nm", compartments[compartments.len() / 2].diameter());
        facts.number("compartment_largest_nm", largest.diameter());
    }

    let smooth = texture::box_mean(&grey, shape, radius(DENSE_SMOOTH_NM));
    let limit = mean - DENSE * deviation;
    let dense: Vec<bool> = smooth.iter().map(|v| deviation > 0.0 && f64::from(*v) < limit).collect();
    let found = structures::structures(&dense, shape, spacing, SMALLEST_DENSE);
    facts.number("dense_fraction", share(&dense));
    facts.count("dense_count", found.len());
    if let Some(largest) = found.first() {
        facts.number("dense_largest_nm", largest.diameter());
        facts.number("dense_largest_length_nm", largest.length());
        facts.word("dense_largest_place", place(image, largest));
    }
    texture::state(facts, &grey, shape, spacing, [0.0, 255.0], "grey_per_nm");
}

/// Says what the EM facts state.
pub(super) fn phrases(facts: &Facts, wording: &Wording) -> Vec<Phrase> {
    let mut phrases = Vec::new();
    let mut say = |text: String, names: &[&str]| phrases.push(Phrase::new(&text, names));
    if let (Some(mean), Some(deviation)) = (facts.get("grey_mean"), facts.get("grey_sd")) {
        say(
            format!("grey values average {mean:.0} with a standard deviation of {deviation:.0}"),
            &["grey_mean", "grey_sd"],
        );
    }
    if let Some(share) = facts.get("membrane_fraction") {
        let grade = membrane_grade(share);
        let share = wording::percent(share);
        let text = match wording.pick("membrane", &["a", "b"]) {
            "a" => format!("dark membrane-like lines are {grade}, covering {share} of the area"),
            _ => format!("membrane-like dark lines cover {share}, a {grade} pattern"),
        };
        say(text, &["membrane_fraction"]);
    }
    if let (Some(n), Some(median), Some(largest)) = (
        facts.get_count("compartment_count"),
        facts.get("compartment_median_nm"),
        facts.get("compartment_largest_nm"),
    ) {
        let text = format!(
            "they bound {}, {} in median diameter, the largest {}",
            wording::counted(n, "compartment", "compartments"),
            wording::nanometres(median),
            wording::nanometres(largest)
        );
        say(text, &["compartment_count", "compartment_median_nm", "compartment_largest_nm"]);
    }
    match (
        facts.get_count("dense_count"),
        facts.get("dense_largest_nm"),
        facts.get_word("dense_largest_place"),
    ) {
        (Some(n), Some(diameter), Some(place)) if n > 0 => {
            let counted = wording::counted(n, "electron-dense area", "electron-dense areas");
            let size = wording::nanometres(diameter);
            let largest = if n == 1 { "it" } else { "the largest" };
            let text = match wording.pick("dense", &["a", "b"]) {
                "a" => format!("{counted}; {largest} has a diameter of {size} and lies in the {place} part"),
                _ => format!(
                    "there {} {counted}, {largest} about {size} across, {place}",
                    if n == 1 { "is" } else { "are" }
                ),
            };
            say(text, &["dense_count", "dense_largest_nm", "dense_largest_place"]);
        }
        (Some(0), ..) => say("no electron-dense area of 80 nm or more is seen".to_owned(), &["dense_count"]),
        _ => {}
    }
    if let Some(share) = facts.get("lucent_fraction") {
        say(format!("electron-lucent areas take up {}", wording::percent(share)), &["lucent_fraction"]);
    }
    phrases
}

/// How close membranes lie, by the share of the area that they cover.
#[must_use]
pub fn membrane_grade(share: f64) -> &'static str {
    match share {
        s if s < 0.12 => "sparse",
        s if s < 0.25 => "moderately dense",
        _ => "dense",
    }
}
