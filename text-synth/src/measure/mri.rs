//! MRI: units are arbitrary, so bright and dark are relative to the volume.
//!
//! Mean and standard deviation are the volume's (over non-zero voxels where the data set says so). A pixel belongs
//! to the imaged tissue when its raw value exceeds a tenth of the way from the channel's smallest value to two standard deviations
//! above the mean, in any channel. Within the tissue a pixel is bright above one standard deviation over the mean of the
//! volume, dark below one standard deviation under it, intermediate between.

use super::ct::found;
use super::{Phrase, state_structures, state_symmetry, structures, texture};
use crate::captioner::SliceImage;
use crate::facts::{Facts, key};
use crate::wording::{self, Wording};
use patches::ChannelRecord;

/// Share of the way from the smallest value to the bright end at which tissue begins.
const TISSUE: f32 = 0.1;
/// Standard deviations from the mean at which bright and dark begin.
const BRIGHT: f32 = 1.0;
/// Pixels of the smallest structure.
const SMALLEST_PIXELS: f64 = 4.0;
/// Standard deviations between which the entropy's histogram lies.
const RANGE: [f32; 2] = [-3.0, 3.0];

/// Raw value above which a channel shows tissue.
pub(crate) fn threshold(channel: &ChannelRecord) -> f32 {
    let rule = &channel.normalisation;
    // with zeros kept, background is 0 and the statistics are those of the rest
    let low = if rule.keep_zeros { 0.0 } else { rule.raw(channel.minimum) };
    let [mean, deviation] = channel.moments.unwrap_or([0.0, 1.0]);
    low + TISSUE * (rule.raw(mean + 2.0 * deviation) - low)
}

/// States how far the imaged tissue of a slice extends, and the pixels that show it.
pub(super) fn extent(image: &SliceImage<'_>, facts: &mut Facts) -> Vec<bool> {
    let (shape, spacing) = (image.shape(), image.spacing_mm());
    let n: usize = shape.iter().product();
    let mut tissue = vec![false; n];
    for (c, channel) in image.record.channels.iter().enumerate() {
        let from = threshold(channel);
        for (inside, value) in tissue.iter_mut().zip(image.raw(c)) {
            *inside |= value > from;
        }
    }
    let smallest = SMALLEST_PIXELS * spacing[0] * spacing[1];
    let pixels = tissue.iter().filter(|t| **t).count();
    facts.number("tissue_fraction", pixels as f64 / n.max(1) as f64);
    if let Some(largest) = structures::structures(&tissue, shape, spacing, smallest).first() {
        facts.number("tissue_largest_area_cm2", largest.area / 100.0);
        facts.number("tissue_largest_height_mm", largest.extent[0]);
        facts.number("tissue_largest_width_mm", largest.extent[1]);
    }
    tissue
}

/// States the MRI facts of a slice.
pub(super) fn measure(image: &SliceImage<'_>, facts: &mut Facts) {
    let (shape, spacing) = (image.shape(), image.spacing_mm());
    let smallest = SMALLEST_PIXELS * spacing[0] * spacing[1];
    let tissue = extent(image, facts);
    let pixels = tissue.iter().filter(|t| **t).count();
    facts.count("channels", image.record.channels.len());
    for (c, channel) in image.record.channels.iter().enumerate() {
        let (name, values) = (key(&channel.name), image.standardised(c));
        facts.word(format!("channel_{}", c + 1), &channel.name);
        let inside = values.iter().zip(&tissue).filter(|(_, t)| **t).map(|(v, _)| *v);
        let share =
            |test: fn(f32) -> bool| inside.clone().filter(|v| test(*v)).count() as f64 / pixels.max(1) as f64;
        if pixels > 0 {
            let [mean, deviation] = texture::mean_and_deviation(inside.clone());
            facts.number(format!("{name}_mean_sd"), mean);
            facts.number(format!("{name}_spread_sd"), deviation);
            facts.number(format!("{name}_bright_fraction"), share(|v| v > BRIGHT));
            facts.number(format!("{name}_dark_fraction"), share(|v| v < -BRIGHT));
        }
        for (kind, test) in
            [("bright", (|v| v > BRIGHT) as fn(f32) -> bool), ("dark", (|v| v < -BRIGHT) as fn(f32) -> bool)]
        {
            let mask: Vec<bool> = values.iter().zip(&tissue).map(|(v, t)| *t && test(*v)).collect();
            let found = structures::structures(&mask, shape, spacing, smallest);
            state_structures(image, facts, &format!("{name}_{kind}_structures"), &found);
        }
    }
    state_symmetry(image, facts, image.channel(0));
    texture::state(facts, &image.standardised(0), shape, spacing, RANGE, "sd_per_mm");
}

/// Says how far the imaged tissue extends, where that was measured.
pub(super) fn extent_phrase(facts: &Facts, wording: &Wording) -> Option<Phrase> {
    facts.get("tissue_fraction").map(|share| {
        let mut names = vec!["tissue_fraction"];
        let share = wording::percent(share);
        let extent = match (facts.get("tissue_largest_height_mm"), facts.get("tissue_largest_width_mm")) {
            (Some(height), Some(width)) => {
                names.extend(["tissue_largest_height_mm", "tissue_largest_width_mm"]);
                format!(
                    ", its largest region over {} by {}",
                    wording::millimetres(height),
                    wording::millimetres(width)
                )
            }
            _ => String::new(),
        };
        let text = match wording.pick("tissue", &["a", "b"]) {
            "a" => format!("imaged tissue fills {share} of the slice{extent}"),
            _ => format!("{share} of the slice shows tissue{extent}"),
        };
        Phrase::new(&text, &names)
    })
}

/// Says what the MRI facts state; of more than two channels the two with the largest bright share.
pub(super) fn phrases(facts: &Facts, wording: &Wording) -> Vec<Phrase> {
    let mut phrases = Vec::from_iter(extent_phrase(facts, wording));
    for channel in leading_channels(facts) {
        let name = key(&channel);
        let names = ["bright_fraction", "dark_fraction", "mean_sd"].map(|end| format!("{name}_{end}"));
        if let (Some(bright), Some(dark), Some(mean)) =
            (facts.get(&names[0]), facts.get(&names[1]), facts.get(&names[2]))
        {
            let (bright, dark) = (wording::percent(bright), wording::percent(dark));
            let level = match mean {
                m if m > 0.3 => "brighter than",
                m if m < -0.3 => "darker than",
                _ => "close to",
            };
            let text = match wording.pick(&name, &["a", "b"]) {
                "a" => format!(
                    "on {channel}, {bright} of the tissue is bright and {dark} dark; the slice is {level} the volume's mean"
                ),
                _ => format!(
                    "{channel} signal is {level} the volume's mean, bright in {bright} and dark in {dark} of the tissue"
                ),
            };
            phrases.push(Phrase::new(&text, &names.each_ref().map(String::as_str)));
        }
        for kind in ["bright", "dark"] {
            let adjective = adjective(facts, kind, &channel);
            let (one, many) = (format!("{adjective} structure"), format!("{adjective} structures"));
            phrases.extend(found(facts, &format!("{name}_{kind}_structures"), &one, &many, wording));
        }
    }
    phrases
}

/// `bright FLAIR`, or only `bright` where there is no other channel.
#[must_use]
pub fn adjective(facts: &Facts, kind: &str, channel: &str) -> String {
    if facts.get_count("channels") == Some(1) { kind.to_owned() } else { format!("{kind} {channel}") }
}

/// Names of the channels worth telling: at most two, by bright share, in the order of the files.
#[must_use]
pub fn leading_channels(facts: &Facts) -> Vec<String> {
    let count = facts.get_count("channels").unwrap_or_default();
    let names: Vec<String> =
        (1..=count).filter_map(|c| facts.get_word(&format!("channel_{c}")).map(str::to_owned)).collect();
    let bright = |name: &String| facts.get(&format!("{}_bright_fraction", key(name))).unwrap_or_default();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|a, b| bright(&names[*b]).total_cmp(&bright(&names[*a])));
    order.truncate(2);
    order.sort_unstable();
    order.into_iter().map(|i| names[i].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use patches::Normalisation;

    #[test]
    fn tissue_begins_a_tenth_above_the_background() {
        let channel = |keep_zeros, minimum| {
            let normalisation = Normalisation { clip: None, subtract: 500.0, divide: 250.0, keep_zeros };
            threshold(&ChannelRecord {
                name: "T1".into(),
                normalisation,
                minimum,
                maximum: 9.0,
                moments: None,
            })
        };
        // background 0, bright end 1000
        assert!((channel(false, -2.0) - 100.0).abs() < 1e-3);
        assert!((channel(true, -1.5) - 100.0).abs() < 1e-3);
    }
}
