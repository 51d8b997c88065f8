//! Tells people how a run goes.

use super::Observer;
use crate::record::Values;
use stage::{Context, Message, Progress, limits};

/// Share of time spent waiting for batches from which something is said.
const LONG_WAIT: f64 = 0.2;
/// Record lines in a row with such a share; the first batches always take a while.
const LONG_WAITS: u32 = 3;

/// Progress with the last loss, a line per validation, every message.
#[derive(Debug)]
pub struct Reporter<'a> {
    context: &'a Context,
    progress: Progress,
    note: String,
    waits: Waits,
}

/// Lines in a row in which the run waited long for batches; said once.
#[derive(Debug, Default)]
struct Waits {
    in_a_row: u32,
    said: bool,
}

impl Waits {
    /// `step_seconds` with the waiting; `batch_seconds` that one thread needs for a batch.
    fn see(&mut self, step: u64, share: f64, [step_seconds, batch_seconds]: [f64; 2]) -> Option<Message> {
        self.in_a_row = if share > LONG_WAIT { self.in_a_row + 1 } else { 0 };
        if self.said || self.in_a_row < LONG_WAITS {
            return None;
        }
        self.said = true;
        let text = format!("step {step}: waited {:.0} % of the time for batches", 100.0 * share);
        let busy = step_seconds * (1.0 - share);
        let detail = format!("A batch takes a thread {batch_seconds:.2} s, the rest of a step {busy:.2} s");
        // as many as keep up; one more where they wait for each other
        let workers = (batch_seconds / busy.max(1e-3)).ceil().clamp(1.0, 512.0) + 1.0;
        let fix = format!("Try --workers {workers:.0}; {} cores are granted", limits::cores());
        Some(Message::info("I309", text).detail(detail).fix(fix))
    }
}

impl<'a> Reporter<'a> {
    /// A reporter for a run that goes from `first` to `steps`.
    #[must_use]
    pub fn new(context: &'a Context, first: u64, steps: u64) -> Self {
        let progress = context.progress("steps", steps);
        progress.start_at(first);
        Self { context, progress, note: String::new(), waits: Waits::default() }
    }

    /// Ends the progress display.
    pub fn finish(&self) {
        self.progress.finish();
    }
}

fn list(values: &Values) -> String {
    values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ")
}

impl Observer for Reporter<'_> {
    fn step(&mut self, _step: u64, _steps: u64) {
        self.progress.step(&self.note);
    }

    fn logged(&mut self, step: u64, metrics: &Values, timing: &Values) {
        let loss = metrics.get("loss").copied().unwrap_or(f64::NAN);
        let rate = timing.get("steps_per_second").copied().unwrap_or(f64::NAN);
        let wait = 100.0 * timing.get("data_wait").copied().unwrap_or(f64::NAN);
        self.note = format!("loss {loss:.4}, {rate:.2} steps/s, data wait {wait:.0} %");
        tracing::info!("step {step}: {} | {}", list(metrics), list(timing));
        let batch_seconds = timing.get("batch_seconds").copied().unwrap_or(f64::NAN);
        if let Some(message) = self.waits.see(step, wait / 100.0, [rate.recip(), batch_seconds]) {
            self.message(message);
        }
    }

    fn validated(&mut self, step: u64, values: &Values, is_best: bool) {
        let best = if is_best { " (best so far)" } else { "" };
        let score = if values.contains_key("score") { "" } else { ", score n/a" };
        let text = format!("validation after step {step}: {}{score}{best}", list(values));
        self.progress.suspend(|| self.context.say(&text));
    }

    fn message(&mut self, message: Message) {
        self.progress.suspend(|| self.context.tell(message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_waits_for_batches_is_told_of_once() {
        let mut waits = Waits::default();
        let said: Vec<usize> = [0.9, 0.9, 0.1, 0.3, 0.41, 0.5, 0.6, f64::NAN, 0.9, 0.9, 0.9]
            .into_iter()
            .enumerate()
            .filter_map(|(line, share)| waits.see(10, share, [1.0; 2]).map(|_| line))
            .collect();
        assert_eq!(said, [5]);
        let message = Waits { in_a_row: 2, said: false }.see(30, 0.41, [2.0, 4.0]).unwrap().to_string();
        assert!(message.contains("I309 step 30: waited 41 % of the time for batches"), "{message}");
        assert!(message.contains("takes a thread 4.00 s, the rest of a step 1.18 s"), "{message}");
        assert!(message.contains("Try --workers 5; "), "{message}");
    }
}
