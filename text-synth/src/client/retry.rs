//! How long to wait before a request is sent again.

use std::time::Duration;

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
            base: Duration::from_millis(125),
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
}
