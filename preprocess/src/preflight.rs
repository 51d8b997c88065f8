//! What the headers of all cases tell before the first is worked on.

use crate::estimate::Estimate;
use crate::messages::some_names;
use data_manifests::raw::RawCase;
use stage::Message;
use std::collections::BTreeMap;

/// Numbers of channels over the data set, where they differ: `41 cases have 4 channels, 1 case (BRATS_233) has 3`.
pub(crate) fn channel_tally(cases: &[RawCase], estimates: &[anyhow::Result<Estimate>]) -> Option<String> {
    let mut by_count: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (case, estimate) in cases.iter().zip(estimates) {
        if let Ok(estimate) = estimate {
            by_count.entry(estimate.channels).or_default().push(case.id.clone());
        }
    }
    if by_count.len() < 2 {
        return None;
    }
    let mut groups: Vec<_> = by_count.into_iter().collect();
    groups.sort_by_key(|(channels, ids)| (std::cmp::Reverse(ids.len()), std::cmp::Reverse(*channels)));
    let worded = groups.iter().enumerate().map(|(i, (channels, ids))| {
        let (noun, verb) = if ids.len() == 1 { ("case", "has") } else { ("cases", "have") };
        // the many are as they should be: who differs is worth a name
        let names = if i == 0 { String::new() } else { format!(" ({})", some_names(ids)) };
        let unit = if i == 0 { " channels" } else { "" };
        format!("{} {noun}{names} {verb} {channels}{unit}", ids.len())
    });
    Some(worded.collect::<Vec<_>>().join(", "))
}

/// The message of a failed case with what the other cases have.
pub(crate) fn explained(message: Message, tally: Option<&str>) -> Message {
    match tally {
        Some(tally) if message.code == "E141" => message.cause(tally),
        _ => message,
    }
}

/// Four significant digits, for people.
pub(crate) fn readable(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
