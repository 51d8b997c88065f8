//! Seconds, waiting and memory for the record.

use crate::record::Values;
use std::time::{Duration, Instant};

/// Time since the last record line.
pub(super) struct Clock {
    started: Instant,
    /// Time spent waiting for batches.
    pub(super) waited: Duration,
    excluded: Duration,
    step: u64,
}

impl Clock {
    pub(super) fn new(step: u64) -> Self {
        Self { started: Instant::now(), waited: Duration::ZERO, excluded: Duration::ZERO, step }
    }

    /// Leaves out time that was not spent in steps.
    pub(super) fn exclude(&mut self, pause: Duration) {
        self.excluded += pause;
    }

    fn restart(&mut self) {
        (self.started, self.waited, self.excluded) = (Instant::now(), Duration::ZERO, Duration::ZERO);
    }

    /// `seconds` since the last line (validation excluded), `data_wait` share of them, resident and peak memory in MiB.
    pub(super) fn lap(&mut self, step: u64) -> Values {
        let seconds = self.started.elapsed().saturating_sub(self.excluded).as_secs_f64();
        let share = if seconds > 0.0 { self.waited.as_secs_f64() / seconds } else { 0.0 };
        let mut values =
            Values::from([("seconds".to_owned(), seconds), ("data_wait".to_owned(), share.min(1.0))]);
        if step > self.step && seconds > 0.0 {
            values.insert("steps_per_second".to_owned(), (step - self.step) as f64 / seconds);
        }
        for (name, bytes) in [
            ("rss_mib", stage::limits::resident_bytes()),
            ("peak_rss_mib", stage::limits::peak_resident_bytes()),
        ] {
            if let Some(bytes) = bytes {
                values.insert(name.to_owned(), bytes as f64 / f64::from(1u32 << 20));
            }
        }
        self.step = step;
        self.restart();
        values
    }
}
