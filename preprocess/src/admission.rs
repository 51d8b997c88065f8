//! Which cases may be in memory at the same time.

use crate::case::Room;
use crate::estimate::Estimate;
use stage::Message;
use stage::limits::size;
use stage::message::counted;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the program needs beside the cases: code, manifests, thread stacks, freed memory that the allocator keeps.
const RESERVE: u64 = 96 << 20;

/// A budget of memory that cases share. Those that are too large for it go through temporary files.
#[derive(Debug)]
pub(crate) struct Admission {
    /// For the whole process.
    granted: u64,
    /// For cases.
    budget: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    /// Cases come in one after the other, so that a large one waits no longer than for those before it.
    next_ticket: u64,
    serving: u64,
}

/// Memory of one case, given back on drop.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    admission: &'a Admission,
    bytes: u64,
}

impl Admission {
    /// A budget of `bytes` for the whole process.
    pub(crate) fn new(bytes: u64) -> Self {
        let budget = bytes.saturating_sub(RESERVE).max(1);
        Self { granted: bytes, budget, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Where a case's voxels go; `scratch` takes temporary files.
    pub(crate) fn room<'a>(&self, estimate: &Estimate, scratch: &'a Path) -> Room<'a> {
        if estimate.memory <= self.budget { Room::Memory } else { Room::Disk(scratch) }
    }

    /// Waits until there is memory for a case in this room.
    pub(crate) fn admit(&self, estimate: &Estimate, room: &Room<'_>) -> Grant<'_> {
        // what does not fit at all is tried alone
        let bytes = self.need(estimate, room).min(self.budget);
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.serving != ticket || state.used + bytes > self.budget {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.serving += 1;
        state.used += bytes;
        drop(state);
        self.changed.notify_all();
        Grant { admission: self, bytes }
    }

    fn need(&self, estimate: &Estimate, room: &Room<'_>) -> u64 {
        match room {
            Room::Memory => estimate.memory,
            Room::Disk(_) => estimate.streamed,
        }
    }

    /// What somebody should know of a budget that is small for these cases and this many workers.
    pub(crate) fn warning(&self, estimates: &[&Estimate], workers: usize, whose: &str) -> Option<Message> {
        let scratch = Path::new("");
        let on_disk = estimates.iter().filter(|e| matches!(self.room(e, scratch), Room::Disk(_))).count();
        let largest = estimates.iter().map(|e| e.memory).max()?;
        let text =
            format!("peak estimate {} of the largest case, {whose} {}", size(largest), size(self.granted));
        if on_disk > 0 {
            let least = estimates.iter().map(|e| e.streamed).max()?;
            let fix = if least > self.budget {
                format!("It needs about {} even so and may run out of memory", size(least))
            } else {
                "The shards are the same".to_owned()
            };
            let cases = counted(on_disk, "large case");
            let verb = if on_disk == 1 { "goes" } else { "go" };
            let detail = format!("{cases} {verb} through temporary files");
            return Some(Message::warning("W160", text).detail(detail).fix(fix));
        }
        let together = largest.saturating_mul(workers as u64);
        (together > self.budget)
            .then(|| Message::warning("W160", text).fix("Large cases wait for each other's memory"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // the numbers are right at every moment, whatever became of another thread
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        self.admission.lock().used -= self.bytes;
        self.admission.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn estimate(memory: u64) -> Estimate {
        Estimate {
            spacing_zyx_mm: [1.0; 3],
            resampled_zyx_mm: [1.0; 3],
            channels: 1,
            shape_zyx: [1; 3],
            resampled_zyx: [1; 3],
            memory,
            streamed: 10 << 20,
            temporary: 0,
            disk: 0,
        }
    }

    #[test]
    fn cases_beyond_the_budget_go_through_files() {
        let admission = Admission::new(RESERVE + (100 << 20));
        let scratch = Path::new("out");
        assert!(matches!(admission.room(&estimate(100 << 20), scratch), Room::Memory));
        assert!(matches!(admission.room(&estimate(101 << 20), scratch), Room::Disk(_)));
        let (small, large) = (estimate(40 << 20), estimate(200 << 20));
        assert!(admission.warning(&[&small], 2, "--max-ram allows").is_none());
        let waits = admission.warning(&[&estimate(60 << 20)], 2, "--max-ram allows").unwrap().to_string();
        assert!(waits.starts_with("W160") && waits.contains("wait"), "{waits}");
        let files = admission.warning(&[&small, &large], 2, "--max-ram allows").unwrap().to_string();
        assert!(files.contains("200.0 MiB") && files.contains("1 large case"), "{files}");
    }

    #[test]
    fn what_is_in_memory_never_exceeds_the_budget() {
        let admission = Admission::new(RESERVE + 100);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for worker in 0..4_u64 {
                let (admission, now, most) = (&admission, &now, &most);
                scope.spawn(move || {
                    for case in 0..50 {
                        let estimate = estimate(1 + (worker * 37 + case * 13) % 100);
                        let grant = admission.admit(&estimate, &Room::Memory);
                        let used = now.fetch_add(grant.bytes, Ordering::SeqCst) + grant.bytes;
                        most.fetch_max(used, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(grant.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!(most > 0 && most <= 100, "{most}");
        // alone, a case beyond the budget is let in too
        drop(admission.admit(&estimate(1000), &Room::Memory));
    }
}
