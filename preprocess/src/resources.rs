//! Disk and memory against what the cases need.

use crate::arguments::Arguments;
use crate::estimate::Estimate;
use crate::messages::size;
use data_manifests::raw::RawCase;
use patches::ShardStore;
use stage::{Context, Message, limits};
use std::path::Path;

const GIB: f64 = (1_u64 << 30) as f64;

/// Refuses a run that cannot end well; cases that are there already need no more space.
pub(crate) fn check_disk(
    out: &Path,
    cases: &[RawCase],
    estimates: &[anyhow::Result<Estimate>],
) -> anyhow::Result<()> {
    // refused is only what hardly fits: intensities compress to about half, what is cropped away is not known before
    let needed = cases
        .iter()
        .zip(estimates)
        .filter(|(case, _)| !ShardStore::case_directory(out, &case.id).is_dir())
        .filter_map(|(_, estimate)| estimate.as_ref().ok())
        .map(|estimate| estimate.disk)
        .fold(0, u64::saturating_add)
        / 2;
    let free = limits::free_disk_bytes(out)?;
    if free < needed {
        let text =
            format!("{} has {} free, this data set needs about {}", out.display(), size(free), size(needed));
        return Err(Message::error("E161", text).fix("Free space, or use an --out on another disk").into());
    }
    Ok(())
}

/// As many cases at once as cores and memory allow.
pub(crate) fn workers(
    arguments: &Arguments,
    estimates: &[anyhow::Result<Estimate>],
    context: &Context,
) -> usize {
    let largest = estimates.iter().filter_map(|e| e.as_ref().ok()).map(|e| e.memory).max().unwrap_or(0);
    concurrency(arguments.workers, arguments.max_ram, largest, estimates.len(), context)
}

/// As many of `cases` at once as cores and memory allow when the largest needs `largest` bytes.
pub(crate) fn concurrency(
    workers: Option<u16>,
    max_ram: Option<f64>,
    largest: u64,
    cases: usize,
    context: &Context,
) -> usize {
    let wanted = workers.map_or_else(limits::cores, usize::from).min(cases);
    let (budget, whose) = match max_ram {
        Some(gib) => ((gib * GIB) as u64, "--max-ram allows"),
        None => (limits::memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 4), "the machine has"),
    };
    let allowed = usize::try_from(budget / largest.max(1)).unwrap_or(usize::MAX);
    let used = wanted.min(allowed).max(1);
    if allowed < wanted {
        let text = format!("the largest case needs about {}, {whose} {}", size(largest), size(budget));
        let fix = if allowed == 0 {
            "Trying it alone; it may run out of memory".to_owned()
        } else {
            format!("Working on {used} at once instead of {wanted}")
        };
        context.tell(Message::warning("W160", text).fix(fix));
    }
    used
}
