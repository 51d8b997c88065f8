//! Facts of a volume: those of its slices, summed up.

use crate::facts::Facts;
use std::collections::{BTreeMap, BTreeSet};

/// Facts that are of one slice and no other.
const OF_ONE_SLICE: [&str; 12] = [
    "section",
    "level",
    "level_fraction",
    "level_mm",
    "depth_nm",
    "tile_row",
    "tile_column",
    "tile_rows",
    "tile_columns",
    "lines_degrees",
    "coherence",
    "mirror_correlation",
];

/// Sums the facts of slices up: shares, means and grey values by their mean, medians by their mean over what was counted, counts
/// and sizes by the largest of one slice (`counts_of` says so), places by the slice with the largest structure, other words where
/// all slices agree (symmetry: what most are). `slices` is their number; where they come in tiles, `tiles` is that of the tiles.
#[must_use]
pub fn of_slices(slices: &[&Facts]) -> Facts {
    let mut numbers: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for facts in slices {
        for (name, value) in facts.iter().filter(|(name, _)| !OF_ONE_SLICE.contains(name)) {
            if let Some(number) = value.as_f64() {
                numbers.entry(name).or_default().push(number);
            } else if let Some(word) = value.as_str() {
                words.entry(name).or_default().push(word);
            }
        }
    }
    let mut volume = Facts::default();
    for (name, values) in numbers {
        if let Some((counted, _)) = name.split_once("_median_") {
            // the largest one would stand beside a count that it never occurred with
            volume.number(name, weighted_mean(slices, name, &format!("{counted}_count")));
            continue;
        }
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if name.ends_with("_count") || matches!(name, "channels" | "sections") {
            // counts are whole and not negative
            volume.count(name, largest as usize);
        } else if ["_mm", "_nm", "_um", "_cm2"].iter().any(|unit| name.ends_with(unit)) {
            volume.number(name, largest);
        } else {
            volume.number(name, values.iter().sum::<f64>() / values.len() as f64);
        }
    }
    for (name, values) in words {
        if let Some(prefix) = name.strip_suffix("_place") {
            if let Some(place) = place_of_largest(slices, prefix, name) {
                volume.word(name, place);
            }
        } else if name == "symmetry" {
            volume.word(name, most_frequent(&values));
        } else if values.len() == slices.len() && values.iter().all(|value| *value == values[0]) {
            volume.word(name, values[0]);
        }
    }
    let sections: BTreeSet<_> = slices
        .iter()
        .enumerate()
        // one that does not say where it lies is one of its own
        .map(|(i, facts)| match facts.get_count("section") {
            Some(section) => (facts.get_word("plane"), section, 0),
            None => (None, 0, i + 1),
        })
        .collect();
    volume.count("slices", sections.len());
    let in_tiles = slices.iter().any(|facts| facts.has("tile_rows"));
    if in_tiles {
        volume.count("tiles", slices.len());
    }
    volume.word("counts_of", if in_tiles { "the most in one tile" } else { "the most in one slice" });
    volume
}

/// The mean of what slices state, each as often as it was counted there.
fn weighted_mean(slices: &[&Facts], name: &str, count: &str) -> f64 {
    let stated = slices.iter().filter_map(|facts| Some((facts.get(name)?, facts.get(count).unwrap_or(1.0))));
    let [sum, weight] =
        stated.fold([0.0, 0.0], |[sum, all], (value, weight)| [sum + value * weight, all + weight]);
    sum / weight
}

fn place_of_largest<'a>(slices: &[&'a Facts], prefix: &str, name: &str) -> Option<&'a str> {
    let size = |facts: &Facts| {
        ["_length_mm", "_length_nm"]
            .iter()
            .find_map(|end| facts.get(&format!("{prefix}{end}")))
            .unwrap_or(0.0)
    };
    let largest = slices.iter().filter(|f| f.has(name)).max_by(|a, b| size(a).total_cmp(&size(b)))?;
    largest.get_word(name)
}

fn most_frequent<'a>(values: &[&'a str]) -> &'a str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, n)| *n).map_or("", |(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_summed_up_by_what_their_facts_mean() {
        let slice = |section, share, count, length, place: &str| {
            let mut facts = Facts::default();
            facts.word("modality", "ct");
            facts.count("section", section);
            facts.number("fat_fraction", share);
            facts.count("dense_structures_count", count);
            facts.number("dense_structures_largest_length_mm", length);
            facts.word("dense_structures_largest_place", place);
            facts
        };
        let slices =
            [slice(1, 0.2, 3, 10.0, "left"), slice(2, 0.4, 1, 30.0, "right"), slice(3, 0.3, 2, 5.0, "left")];
        let volume = of_slices(&slices.each_ref());
        assert_eq!(volume.get("fat_fraction"), Some(0.3));
        assert_eq!(volume.get_count("dense_structures_count"), Some(3));
        assert_eq!(volume.get("dense_structures_largest_length_mm"), Some(30.0));
        assert_eq!(volume.get_word("dense_structures_largest_place"), Some("right"));
        assert_eq!((volume.get_word("modality"), volume.get_count("slices")), (Some("ct"), Some(3)));
        assert!(!volume.has("section") && !volume.has("tiles"));
        assert_eq!(volume.get_word("counts_of"), Some("the most in one slice"));
    }

    #[test]
    fn medians_are_averaged_and_tiles_are_no_slices() {
        let tile = |plane: &str, section, column, compartments, median| {
            let mut facts = Facts::default();
            facts.word("modality", "em");
            facts.word("plane", plane);
            facts.count("section", section);
            facts.count("tile_rows", 1);
            facts.count("tile_column", column);
            facts.count("compartment_count", compartments);
            if compartments > 0 {
                facts.number("compartment_median_nm", median);
            }
            facts
        };
        let tiles = [
            tile("axial", 1, 1, 14, 100.0),
            tile("axial", 1, 2, 1, 400.0),
            tile("axial", 2, 1, 0, 0.0),
            tile("coronal", 1, 1, 5, 220.0),
        ];
        let volume = of_slices(&tiles.each_ref());
        assert_eq!((volume.get_count("slices"), volume.get_count("tiles")), (Some(3), Some(4)));
        assert_eq!(volume.get("compartment_median_nm"), Some(145.0));
        assert_eq!(volume.get_count("compartment_count"), Some(14));
        assert_eq!(volume.get_word("counts_of"), Some("the most in one tile"));
    }
}
