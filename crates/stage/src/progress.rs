//! Progress: a bar on a terminal, a plain line now and then otherwise (batch logs), nothing when quiet.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A first line soon, so that somebody who waits learns how long.
const FIRST_LINE: Duration = Duration::from_secs(2);
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Counts finished items; may be shared between threads.
#[derive(Debug)]
pub struct Progress {
    label: String,
    total: u64,
    done: AtomicU64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Bar(ProgressBar),
    Lines { started: Instant, resumed_at: AtomicU64, next: Mutex<Instant> },
    Hidden,
}

impl Progress {
    pub(crate) fn new(label: &str, total: u64, quiet: bool) -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let kind = if quiet {
            Kind::Hidden
        } else if terminal {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {eta} {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(label.to_owned());
            Kind::Bar(bar)
        } else {
            let now = Instant::now();
            Kind::Lines { started: now, resumed_at: AtomicU64::new(0), next: Mutex::new(now + FIRST_LINE) }
        };
        Self { label: label.to_owned(), total, done: AtomicU64::new(0), kind }
    }

    /// Starts from `done` items, for a resumed run.
    pub fn start_at(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        match &self.kind {
            Kind::Bar(bar) => bar.set_position(done),
            Kind::Lines { resumed_at, .. } => resumed_at.store(done, Ordering::Relaxed),
            Kind::Hidden => {}
        }
    }

    /// One more item is done; `note` says something short about it.
    pub fn step(&self, note: &str) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.kind {
            Kind::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(note.to_owned());
            }
            Kind::Lines { started, resumed_at, next } => {
                // a poisoned clock only costs a line of progress
                let Ok(mut next) = next.lock() else { return };
                let now = Instant::now();
                if done == self.total || now >= *next {
                    *next = now + LINE_EVERY;
                    let counted = (resumed_at.load(Ordering::Relaxed), done, self.total);
                    crate::context::line(&text_line(&self.label, counted, started.elapsed(), note));
                }
            }
            Kind::Hidden => {}
        }
    }

    /// Ends the bar.
    pub fn finish(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }

    /// Runs `print` while the bar is hidden.
    pub fn suspend(&self, print: impl FnOnce()) {
        match &self.kind {
            Kind::Bar(bar) => bar.suspend(print),
            _ => print(),
        }
    }
}

/// `cases 500/2000 12 s, about 36 s left c0499`; `counted` is where this run began, what is done and what there is.
fn text_line(label: &str, counted: (u64, u64, u64), elapsed: Duration, note: &str) -> String {
    let (resumed_at, done, total) = counted;
    let seconds = elapsed.as_secs();
    let left = match done.saturating_sub(resumed_at) {
        made if made > 0 && done < total => {
            let left = elapsed.as_secs_f64() * (total - done) as f64 / made as f64;
            format!(", about {left:.0} s left")
        }
        _ => String::new(),
    };
    format!("{label} {done}/{total} {seconds} s{left} {note}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_estimate_from_what_this_run_did() {
        let line = |counted| text_line("cases", counted, Duration::from_secs(12), "c");
        assert_eq!(line((0, 500, 2000)), "cases 500/2000 12 s, about 36 s left c");
        assert_eq!(line((400, 500, 2000)), "cases 500/2000 12 s, about 180 s left c");
        assert_eq!(line((0, 2000, 2000)), "cases 2000/2000 12 s c");
        // nothing made yet, or more than was announced
        assert_eq!(line((7, 7, 9)), "cases 7/9 12 s c");
        assert_eq!(line((0, 3, 2)), "cases 3/2 12 s c");
    }
}
