//! CT: intensity classes by physical meaning, in Hounsfield units recovered through the normalisation.
//!
//! The shards keep a window of the HU scale; what lies outside it was clamped to its ends. A class is measured only where
//! clamping cannot change the answer, and nothing is said of the others. Of values that are not in Hounsfield units, by the data set's rule for
//! the first channel, only extents are said.

use super::{Phrase, mri, state_structures, state_symmetry, structures, texture};
use crate::captioner::SliceImage;
use crate::facts::Facts;
use crate::wording::{self, Wording};

/// A class of attenuation.
#[derive(Debug, Clone, Copy)]
pub struct Class {
    /// Beginning of its fact names.
    pub name: &'static str,
    /// Words for people.
    pub words: &'static str,
    /// Lower bound, HU, inclusive; none: open.
    pub low: Option<f32>,
    /// Upper bound, HU, exclusive; none: open.
    pub high: Option<f32>,
}

/// The classes. Visceral fat at -150 … -50 HU: Mourtzakis et al. 2008, doi:10.1139/H08-075; air -1000, water 0, soft tissue
/// 20 … 100, bone from about 300 HU: DenOtter and Schubert, "Hounsfield Unit", StatPearls 2023. The bounds leave out mixtures.
pub const CLASSES: [Class; 6] = [
    Class { name: "air", words: "air or aerated lung", low: None, high: Some(-500.0) },
    Class { name: "fat", words: "fat", low: Some(-150.0), high: Some(-50.0) },
    Class { name: "fluid", words: "fluid-like attenuation", low: Some(-10.0), high: Some(20.0) },
    Class { name: "soft_tissue", words: "soft tissue", low: Some(20.0), high: Some(130.0) },
    Class {
        name: "dense",
        words: "contrast-enhanced or calcified tissue",
        low: Some(130.0),
        high: Some(300.0),
    },
    Class { name: "bone", words: "bone-like attenuation", low: Some(300.0), high: None },
];

/// HU that parts the body from the air around it, where the window shows it.
const BODY: f32 = -300.0;
/// HU from which a structure counts as dense: above unenhanced soft tissue.
const DENSE: f32 = 130.0;
/// Smallest structure, mm²: a disc of 3.4 mm.
const SMALLEST_MM2: f64 = 9.0;

impl Class {
    /// Whether clamping to `window` leaves the class measurable.
    #[must_use]
    pub fn measurable(&self, window: [f32; 2]) -> bool {
        self.low.is_none_or(|l| window[0] < l && l < window[1])
            && self.high.is_none_or(|h| window[0] < h && h < window[1])
    }

    /// Whether a value belongs to the class.
    #[must_use]
    pub fn holds(&self, hu: f32) -> bool {
        self.low.is_none_or(|l| hu >= l) && self.high.is_none_or(|h| hu < h)
    }

    /// Its bounds for people.
    #[must_use]
    pub fn range(&self) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) => format!("{low:.0} to {high:.0} HU"),
            (None, Some(high)) => format!("below {high:.0} HU"),
            (Some(low), None) => format!("above {low:.0} HU"),
            (None, None) => "any HU".to_owned(),
        }
    }
}

/// States the CT facts of a slice.
pub(super) fn measure(image: &SliceImage<'_>, facts: &mut Facts) {
    let channel = &image.record.channels[0];
    let hu = image.raw(0);
    let window = channel.normalisation.clip.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
    let ends = [
        window[0].max(channel.normalisation.raw(channel.minimum)),
        window[1].min(channel.normalisation.raw(channel.maximum)),
    ];
    let share =
        |test: &dyn Fn(f32) -> bool| hu.iter().filter(|v| test(**v)).count() as f64 / hu.len().max(1) as f64;
    facts.number("window_low_hu", ends[0].into());
    facts.number("window_high_hu", ends[1].into());
    if channel.normalisation.clip.is_some() {
        // half a unit allows for the rounding of the way through the normalisation
        facts.number("at_window_low_fraction", share(&|v| v <= window[0] + 0.5));
        facts.number("at_window_high_fraction", share(&|v| v >= window[1] - 0.5));
    }
    for class in CLASSES.iter().filter(|c| c.measurable(window)) {
        facts.number(format!("{}_fraction", class.name), share(&|v| class.holds(v)));
    }
    let (shape, spacing) = (image.shape(), image.spacing_mm());
    let edge = BODY.max(window[0] + 1.0);
    let body: Vec<bool> = hu.iter().map(|v| *v > edge).collect();
    facts.number("body_from_hu", edge.into());
    let found = structures::structures(&body, shape, spacing, SMALLEST_MM2);
    if let Some(largest) = found.first() {
        facts.number("body_area_cm2", largest.area / 100.0);
        facts.number("body_height_mm", largest.extent[0]);
        facts.number("body_width_mm", largest.extent[1]);
        let region = structures::members(&body, shape, largest);
        let [mean, deviation] = texture::mean_and_deviation(region.into_iter().map(|pixel| hu[pixel]));
        facts.number("body_mean_hu", mean);
        facts.number("body_sd_hu", deviation);
    }
    if window[1] > DENSE {
        let dense: Vec<bool> = hu.iter().map(|v| *v >= DENSE).collect();
        let found = structures::structures(&dense, shape, spacing, SMALLEST_MM2);
        state_structures(image, facts, "dense_structures", &found);
    }
    if CLASSES[0].measurable(window) {
        let air: Vec<bool> = hu.iter().map(|v| CLASSES[0].holds(*v)).collect();
        let mut found = structures::structures(&air, shape, spacing, SMALLEST_MM2);
        // air that reaches the edge may lie outside the body
        found.retain(|s| !s.at_edge);
        state_structures(image, facts, "gas_structures", &found);
    }
    state_symmetry(image, facts, &hu);
    texture::state(facts, &hu, shape, spacing, ends, "hu_per_mm");
}

/// States what can be said of a slice whose values are not Hounsfield units: how far what is imaged extends, and symmetry.
pub(super) fn measure_without_units(image: &SliceImage<'_>, facts: &mut Facts) {
    let _tissue = mri::extent(image, facts);
    state_symmetry(image, facts, image.channel(0));
}

/// Says what the CT facts state.
pub(super) fn phrases(facts: &Facts, wording: &Wording) -> Vec<Phrase> {
    let mut phrases = Vec::from_iter(mri::extent_phrase(facts, wording));
    let mut classes: Vec<(f64, &Class, String)> = CLASSES
        .iter()
        .filter_map(|class| {
            let name = format!("{}_fraction", class.name);
            facts.get(&name).map(|share| (share, class, name))
        })
        .filter(|(share, ..)| *share >= 0.005)
        .collect();
    classes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let parts: Vec<String> = classes
        .iter()
        .map(|(share, class, _)| format!("{} ({}) {}", class.words, class.range(), wording::percent(*share)))
        .collect();
    if !parts.is_empty() {
        let start = wording.pick(
            "classes",
            &["by attenuation, the slice shows", "measured shares of the slice:", "it contains"],
        );
        let names: Vec<&str> = classes.iter().map(|(.., name)| name.as_str()).collect();
        phrases.push(Phrase::new(&format!("{start} {}", wording::list(&parts)), &names));
    }
    for (name, end, side) in [
        ("at_window_low_fraction", "window_low_hu", "below"),
        ("at_window_high_fraction", "window_high_hu", "above"),
    ] {
        if let (Some(share), Some(hu)) = (facts.get(name), facts.get(end))
            && share >= 0.05
        {
            let text = format!(
                "{} of the slice lies at or {side} the window's end of {hu:.0} HU",
                wording::percent(share)
            );
            phrases.push(Phrase::new(&text, &[name, end]));
        }
    }
    if let (Some(height), Some(width), Some(mean)) =
        (facts.get("body_height_mm"), facts.get("body_width_mm"), facts.get("body_mean_hu"))
    {
        let text = format!(
            "the largest region above {:.0} HU extends over {} by {}, with a mean of {mean:.0} HU",
            facts.get("body_from_hu").unwrap_or_default(),
            wording::millimetres(height),
            wording::millimetres(width)
        );
        phrases
            .push(Phrase::new(&text, &["body_from_hu", "body_height_mm", "body_width_mm", "body_mean_hu"]));
    }
    for (name, one, many) in [
        ("dense_structures", "structure above 130 HU", "structures above 130 HU"),
        ("gas_structures", "enclosed gas-like region", "enclosed gas-like regions"),
    ] {
        phrases.extend(found(facts, name, one, many, wording));
    }
    phrases
}

/// Number, size and place of structures.
pub(super) fn found(facts: &Facts, name: &str, one: &str, many: &str, wording: &Wording) -> Option<Phrase> {
    let names = ["count", "largest_length_mm", "largest_place"].map(|end| format!("{name}_{end}"));
    let n = facts.get_count(&names[0]).filter(|n| *n > 0)?;
    let counted = wording::counted(n, one, many);
    let length = wording::millimetres(facts.get(&names[1])?);
    let place = facts.get_word(&names[2])?;
    let largest = if n == 1 { "it" } else { "the largest" };
    let text = match wording.pick(name, &["a", "b"]) {
        "a" if n == 1 => format!("{counted}, {length} long, in the {place} part"),
        "a" => format!("{counted}, {largest} {length} long in the {place} part"),
        _ => format!("{counted}; {largest} spans {length} and lies in the {place} part"),
    };
    Some(Phrase::new(&text, &names.each_ref().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_classes_inside_the_window_are_measured() {
        let names =
            |window| CLASSES.iter().filter(|c| c.measurable(window)).map(|c| c.name).collect::<Vec<_>>();
        assert_eq!(names([-1000.0, 1000.0]), ["air", "fat", "fluid", "soft_tissue", "dense", "bone"]);
        assert_eq!(names([-175.0, 250.0]), ["fat", "fluid", "soft_tissue"]);
        assert_eq!(names([-100.0, 250.0]), ["fluid", "soft_tissue"]);
        assert_eq!(names([-500.0, 300.0]), ["fat", "fluid", "soft_tissue"]);
        assert!(names([0.0, 10.0]).is_empty());
    }

    #[test]
    fn classes_do_not_overlap() {
        for hu in -2000..3000 {
            assert!(CLASSES.iter().filter(|c| c.holds(hu as f32)).count() <= 1, "{hu}");
        }
    }
}
