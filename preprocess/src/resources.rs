//! Disk and memory against what the cases need.

use crate::admission::Admission;
use crate::case::Room;
use crate::estimate::Estimate;
use data_manifests::raw::RawCase;
use patches::ShardStore;
use stage::limits::{self, size};
use stage::{Context, Message};
use std::path::Path;

const GIB: f64 = (1_u64 << 30) as f64;

/// Refuses a run that cannot end well.
pub(crate) fn check_disk(
    out: &Path,
    cases: &[RawCase],
    estimates: &[anyhow::Result<Estimate>],
    admission: &Admission,
    workers: usize,
) -> anyhow::Result<()> {
    let needed = disk_needed(out, cases, estimates, admission, workers);
    let free = limits::free_disk_bytes(out)?;
    if free < needed {
        let text =
            format!("{} has {} free, this data set needs about {}", out.display(), size(free), size(needed));
        return Err(Message::error("E161", text).fix("Free space, or use an --out on another disk").into());
    }
    Ok(())
}

/// Bytes of shards and temporary files; cases that are there already need none: they are kept, or take the place of
/// themselves.
fn disk_needed(
    out: &Path,
    cases: &[RawCase],
    estimates: &[anyhow::Result<Estimate>],
    admission: &Admission,
    workers: usize,
) -> u64 {
    let missing: Vec<&Estimate> = cases
        .iter()
        .zip(estimates)
        .filter(|(case, _)| !ShardStore::case_directory(out, &case.id).is_dir())
        .filter_map(|(_, estimate)| estimate.as_ref().ok())
        .collect();
    // refused is only what hardly fits: intensities compress to about half, what is cropped away is not known before
    let shards = missing.iter().map(|estimate| estimate.disk).fold(0, u64::saturating_add) / 2;
    let mut temporary: Vec<u64> = missing
        .iter()
        .filter(|estimate| matches!(admission.room(estimate, out), Room::Disk(_)))
        .map(|estimate| estimate.temporary)
        .collect();
    temporary.sort_unstable();
    temporary.iter().rev().take(workers).copied().fold(shards, u64::saturating_add)
}

/// Memory that the run may use, in bytes, and in words who says so.
pub(crate) fn budget(max_ram: Option<f64>) -> (u64, &'static str) {
    match max_ram {
        Some(gib) => ((gib * GIB) as u64, "--max-ram allows"),
        None => (
            limits::memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 4),
            "four fifths of what is available are",
        ),
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

#[cfg(test)]
mod tests {
    use super::*;
    use data_manifests::CaseSplit;
    use data_manifests::raw::Source;

    #[test]
    fn only_cases_that_are_not_there_need_room() {
        let case = |id: &str| RawCase {
            id: id.to_owned(),
            subject: id.to_owned(),
            image: Source::Scan(id.into()),
            label: None,
            split: CaseSplit::Train,
        };
        let estimate = |memory: u64, temporary: u64| {
            Ok(Estimate {
                spacing_zyx_mm: [1.0; 3],
                resampled_zyx_mm: [1.0; 3],
                channels: 1,
                shape_zyx: [1; 3],
                resampled_zyx: [1; 3],
                memory,
                streamed: 0,
                temporary,
                disk: 1000,
            })
        };
        let cases = ["a", "b", "c", "d", "e"].map(case);
        let large = u64::MAX / 2;
        let estimates = [
            estimate(large, 50_000),
            estimate(large, 7000),
            estimate(0, 90_000),
            estimate(large, 6000),
            Err(anyhow::anyhow!("its header cannot be read")),
        ];
        let out = tempfile::tempdir().unwrap();
        let admission = Admission::new(1 << 30);
        let needed = |workers| disk_needed(out.path(), &cases, &estimates, &admission, workers);
        // half of four shards, and the temporary files of as many large cases as are worked on at once
        assert_eq!((needed(1), needed(2), needed(8)), (52_000, 59_000, 65_000));
        fs_err::create_dir_all(ShardStore::case_directory(out.path(), "a")).unwrap();
        assert_eq!((needed(1), needed(2), needed(8)), (8500, 14_500, 14_500));
        for id in ["b", "c", "d"] {
            fs_err::create_dir_all(ShardStore::case_directory(out.path(), id)).unwrap();
        }
        assert_eq!(needed(8), 0);
    }
}
