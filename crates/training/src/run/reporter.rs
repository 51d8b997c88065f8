//! Tells people how a run goes.

use super::Observer;
use crate::record::Values;
use stage::{Context, Message, Progress};

/// Progress with the last loss, a line per validation, every message.
#[derive(Debug)]
pub struct Reporter<'a> {
    context: &'a Context,
    progress: Progress,
    note: String,
}

impl<'a> Reporter<'a> {
    /// A reporter for a run that goes from `first` to `steps`.
    #[must_use]
    pub fn new(context: &'a Context, first: u64, steps: u64) -> Self {
        let progress = context.progress("steps", steps);
        progress.start_at(first);
        Self { context, progress, note: String::new() }
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
    }

    fn validated(&mut self, step: u64, values: &Values, is_best: bool) {
        let best = if is_best { " (best so far)" } else { "" };
        self.progress
            .suspend(|| self.context.say(&format!("validation after step {step}: {}{best}", list(values))));
    }

    fn message(&mut self, message: Message) {
        self.progress.suspend(|| self.context.tell(message));
    }
}
