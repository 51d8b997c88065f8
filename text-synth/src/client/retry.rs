//! How long to wait before a request is sent again, and a pause that holds for all.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Exponential waiting times with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    /// Wait before the first retry.
    pub base: Duration,
    /// Longest wait that is chosen here.
    pub cap: Duration,
    /// Longest wait that a server may ask for.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            longest: Duration::from_secs(600),
        }
    }
}

impl Backoff {
    /// The wait before retry number `retry` (from 1), `chance` in 0 … 1.
    ///
    /// What the server asked for is kept and at most a tenth (or a second) added, so that not all come back at once; without it the wait
    /// lies between half and the whole of `base * 2^(retry - 1)`, at most `cap`.
    #[must_use]
    pub fn delay(&self, retry: u32, after: Option<Duration>, chance: f64) -> Duration {
        match after {
            Some(after) => after + after.div_f64(10.0).min(Duration::from_secs(1)).mul_f64(chance),
            None => {
                let whole = self.base.saturating_mul(1 << (retry.clamp(1, 20) - 1)).min(self.cap);
                whole.mul_f64(0.5 + 0.5 * chance)
            }
        }
    }
}

/// A moment before which nothing is sent.
#[derive(Debug, Default)]
pub struct Pace {
    until: Mutex<Option<Instant>>,
}

impl Pace {
    /// Holds everybody for `wait` from now; a longer pause that is running stays.
    pub fn pause(&self, wait: Duration) {
        let end = Instant::now() + wait;
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(until.map_or(end, |u| u.max(end)));
    }

    /// Returns when no pause is running.
    pub async fn wait(&self) {
        loop {
            let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
            match until {
                // another pause may begin meanwhile
                Some(end) if end > Instant::now() => tokio::time::sleep_until(end).await,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_are_bounded(retry in 0u32..100, chance in 0.0f64..1.0, after in prop::option::of(0u64..600)) {
            let backoff = Backoff::default();
            let after = after.map(Duration::from_secs);
            let wait = backoff.delay(retry, after, chance);
            match after {
                Some(after) => prop_assert!(wait >= after && wait <= after + Duration::from_secs(1)),
                None => prop_assert!(wait >= backoff.base / 2 && wait <= backoff.cap),
            }
        }
    }

    #[tokio::test]
    async fn a_pause_holds_for_all() {
        let pace = Pace::default();
        let start = Instant::now();
        pace.pause(Duration::from_millis(80));
        pace.pause(Duration::from_millis(5));
        tokio::join!(pace.wait(), pace.wait());
        assert!(start.elapsed() >= Duration::from_millis(80));
    }
}
