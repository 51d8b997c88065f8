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
    /// The wait lies between half and the whole of `base * 2^(retry - 1)`, at most `cap`. What the server asked for is kept where it is longer, and at
    /// most a tenth (or a second) added, so that not all come back at once; less than the own wait would burn all attempts at once.
    #[must_use]
    pub fn delay(&self, retry: u32, after: Option<Duration>, chance: f64) -> Duration {
        let whole = self.base.saturating_mul(1 << (retry.clamp(1, 20) - 1)).min(self.cap);
        let own = whole.mul_f64(0.5 + 0.5 * chance);
        after.map_or(own, |after| own.max(spread(after, chance)))
    }

    /// As [`Self::delay`], for all others where the server turned one away: as long as the server asked. What the own wait is longer by is for
    /// those alone that were turned away.
    #[must_use]
    pub fn pause(&self, retry: u32, after: Option<Duration>, chance: f64) -> Duration {
        after.map_or_else(|| self.delay(retry, None, chance), |after| spread(after, chance))
    }
}

fn spread(after: Duration, chance: f64) -> Duration {
    after + after.div_f64(10.0).min(Duration::from_secs(1)).mul_f64(chance)
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
            let own = backoff.delay(retry, None, chance);
            prop_assert!(own >= backoff.base / 2 && own <= backoff.cap);
            match after {
                Some(after) => prop_assert!(
                    wait >= own && wait >= after && wait <= own.max(after + Duration::from_secs(1))
                ),
                None => prop_assert_eq!(wait, own),
            }
        }
    }
}
