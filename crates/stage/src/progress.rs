//! Progress: a bar on a terminal, a plain line now and then otherwise (batch logs), nothing when quiet.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    Lines { started: Instant, last: Mutex<Instant> },
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
            Kind::Lines { started: now, last: Mutex::new(now) }
        };
        Self { label: label.to_owned(), total, done: AtomicU64::new(0), kind }
    }

    /// Starts from `done` items, for a resumed run.
    pub fn start_at(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        if let Kind::Bar(bar) = &self.kind {
            bar.set_position(done);
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
            Kind::Lines { started, last } => {
                // a poisoned clock only costs a line of progress
                let Ok(mut last) = last.lock() else { return };
                if done == self.total || last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    let seconds = started.elapsed().as_secs();
                    crate::context::line(&format!("{} {done}/{} {seconds} s {note}", self.label, self.total));
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
