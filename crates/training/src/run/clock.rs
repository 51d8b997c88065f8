//! Seconds, waiting and memory for the record.

use crate::Result;
use crate::record::Values;
use std::time::{Duration, Instant};
use tch::Device;
use torch_runtime::gpu_memory;

/// Time since the last record line.
pub(super) struct Clock {
    started: Instant,
    /// Time spent waiting for batches.
    pub(super) waited: Duration,
    /// Time that threads spent making these batches.
    pub(super) made: Duration,
    /// Patches of these batches, of this process.
    pub(super) patches: usize,
    excluded: Duration,
    step: u64,
    processes: usize,
    device: Device,
}

/// Bytes in a MiB.
const MIB: f64 = 1_048_576.0;

impl Clock {
    /// A clock of a run on `device` that goes on behind `step`, of so many processes with batches of one size.
    pub(super) fn new(step: u64, processes: usize, device: Device) -> Self {
        Self {
            started: Instant::now(),
            waited: Duration::ZERO,
            made: Duration::ZERO,
            patches: 0,
            excluded: Duration::ZERO,
            step,
            processes,
            device,
        }
    }

    /// Leaves out time that was not spent in steps.
    pub(super) fn exclude(&mut self, pause: Duration) {
        self.excluded += pause;
    }

    fn restart(&mut self) {
        (self.started, self.waited, self.excluded) = (Instant::now(), Duration::ZERO, Duration::ZERO);
        (self.made, self.patches) = (Duration::ZERO, 0);
    }

    /// `seconds` since the last line (validation excluded), `data_wait` share of them, `batch_seconds` that a thread needs for a batch, steps
    /// and patches (of all processes) per second, resident and peak memory of the process and of the GPU in MiB.
    ///
    /// # Errors
    /// When the GPU does not tell.
    pub(super) fn lap(&mut self, step: u64) -> Result<Values> {
        let seconds = self.started.elapsed().saturating_sub(self.excluded).as_secs_f64();
        let share = if seconds > 0.0 { self.waited.as_secs_f64() / seconds } else { 0.0 };
        let mut values =
            Values::from([("seconds".to_owned(), seconds), ("data_wait".to_owned(), share.min(1.0))]);
        if step > self.step && seconds > 0.0 {
            let steps = (step - self.step) as f64;
            values.insert("steps_per_second".to_owned(), steps / seconds);
            values.insert("batch_seconds".to_owned(), self.made.as_secs_f64() / steps);
            let patches = (self.patches * self.processes) as f64;
            values.insert("patches_per_second".to_owned(), patches / seconds);
        }
        let gpu = gpu_memory(self.device)?;
        for (name, bytes) in [
            ("rss_mib", stage::limits::resident_bytes()),
            ("peak_rss_mib", stage::limits::peak_resident_bytes()),
            ("gpu_mib", gpu.map(|[now, _]| now)),
            ("peak_gpu_mib", gpu.map(|[_, peak]| peak)),
        ] {
            if let Some(bytes) = bytes {
                values.insert(name.to_owned(), bytes as f64 / MIB);
            }
        }
        self.step = step;
        self.restart();
        Ok(values)
    }
}
