//! Disk and memory against what the cases need.

use crate::admission::Admission;
use crate::case::Room;
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
    admission: &Admission,
    workers: usize,
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
    let mut temporary: Vec<u64> = estimates
        .iter()
        .filter_map(|estimate| estimate.as_ref().ok())
        .filter(|estimate| matches!(admission.room(estimate, out), Room::Disk(_)))
        .map(|estimate| estimate.temporary)
        .collect();
    temporary.sort_unstable();
    let needed = temporary.iter().rev().take(workers).copied().fold(needed, u64::saturating_add);
    let free = limits::free_disk_bytes(out)?;
    if free < needed {
        let text =
            format!("{} has {} free, this data set needs about {}", out.display(), size(free), size(needed));
        return Err(Message::error("E161", text).fix("Free space, or use an --out on another disk").into());
    }
    Ok(())
}

/// Memory that the run may use, in bytes, and in words who says so.
pub(crate) fn budget(max_ram: Option<f64>) -> (u64, &'static str) {
    match max_ram {
        Some(gib) => ((gib * GIB) as u64, "--max-ram allows"),
        None => (limits::memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 4), "the machine has"),
    }
}

/// Cases worked on at once.
pub(crate) fn workers(wanted: Option<u16>, cases: usize) -> usize {
    wanted.map_or_else(limits::cores, usize::from).min(cases).max(1)
}

/// As many of `cases` at once as cores and memory allow when the largest needs `largest` bytes.
pub(crate) fn concurrency(
    wanted: Option<u16>,
    max_ram: Option<f64>,
    largest: u64,
    cases: usize,
    context: &Context,
) -> usize {
    let wanted = workers(wanted, cases);
    let (budget, whose) = budget(max_ram);
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
