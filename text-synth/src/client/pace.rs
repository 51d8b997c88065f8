//! When the next request may be sent: an even rate, and pauses that hold for all.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What a minute may hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Requests, those that are sent again included.
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and replies.
    pub tokens_per_minute: Option<u64>,
}

/// Gives out the moments at which requests may be sent.
///
/// Moments that nobody took are not saved up, so that no burst follows a quiet time: requests are at least a minute's share apart,
/// and those that need many tokens keep the next one waiting for longer.
#[derive(Debug)]
pub struct Pace {
    seconds_per_request: f64,
    seconds_per_token: f64,
    state: Mutex<State>,
}

/// Moments before which nothing is sent.
#[derive(Debug, Clone, Copy)]
struct State {
    by_requests: Instant,
    by_tokens: Instant,
    by_pause: Instant,
}

impl Pace {
    /// A pace that keeps to `rates`.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        let now = Instant::now();
        Self {
            seconds_per_request: rates.requests_per_minute.map_or(0.0, |n| 60.0 / f64::from(n)),
            seconds_per_token: rates.tokens_per_minute.map_or(0.0, |n| 60.0 / n as f64),
            state: Mutex::new(State { by_requests: now, by_tokens: now, by_pause: now }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // three moments, each set as a whole: a panic elsewhere cannot leave them half changed
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds everybody for `wait` from now; a longer pause that is running stays. Tells whether none was running.
    pub fn pause(&self, wait: Duration) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let begins = state.by_pause <= now;
        state.by_pause = state.by_pause.max(now + wait);
        begins
    }

    /// Returns when a request that needs about `tokens` may be sent.
    pub async fn turn(&self, tokens: u64) {
        loop {
            let (start, before) = self.book(tokens);
            if start > before {
                tokio::time::sleep_until(start).await;
            }
            // a pause may have begun meanwhile: its moment is lost, another one is taken behind the pause
            if self.state().by_pause <= Instant::now() {
                return;
            }
        }
    }

    /// Takes the next moment; gives it, and what time it is.
    fn book(&self, tokens: u64) -> (Instant, Instant) {
        let now = Instant::now();
        let mut state = self.state();
        let start = now.max(state.by_requests).max(state.by_tokens).max(state.by_pause);
        state.by_requests = start + self.of_request();
        state.by_tokens = start + self.of_tokens(tokens);
        (start, now)
    }

    /// Sets right what [`Self::turn`] was told: a reply used `used` tokens, not `expected`.
    pub fn correct(&self, expected: u64, used: u64) {
        let mut state = self.state();
        if used > expected {
            state.by_tokens += self.of_tokens(used - expected);
        } else {
            state.by_tokens -= self.of_tokens(expected - used);
        }
    }

    fn of_request(&self) -> Duration {
        Duration::from_secs_f64(self.seconds_per_request)
    }

    fn of_tokens(&self, tokens: u64) -> Duration {
        // a day is longer than any run would wait, and no overflow
        Duration::from_secs_f64((self.seconds_per_token * tokens as f64).min(86_400.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::task::JoinSet;

    /// Seconds after which each of `n` that come at once has its turn, in order.
    async fn turns(pace: &Arc<Pace>, n: usize, tokens: u64) -> Vec<f64> {
        let start = Instant::now();
        let mut waiting = JoinSet::new();
        for _ in 0..n {
            let pace = Arc::clone(pace);
            waiting.spawn(async move {
                pace.turn(tokens).await;
                start.elapsed().as_secs_f64()
            });
        }
        let mut seconds = waiting.join_all().await;
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            // timers tick in milliseconds
            assert!((found - expected).abs() <= 0.0021, "{found} instead of {expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_spread_evenly() {
        let pace = Arc::new(Pace::new(Rates { requests_per_minute: Some(120), ..Rates::default() }));
        close(&turns(&pace, 4, 1000).await, &[0.0, 0.5, 1.0, 1.5]);
        // a quiet time earns nothing
        tokio::time::sleep(Duration::from_secs(60)).await;
        close(&turns(&pace, 3, 1000).await, &[0.0, 0.5, 1.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_count_as_used_once_that_is_known() {
        let pace = Arc::new(Pace::new(Rates { tokens_per_minute: Some(6000), ..Rates::default() }));
        close(&turns(&pace, 3, 200).await, &[0.0, 2.0, 4.0]);
        // the next would have its turn at 6; of the 600 tokens expected 150 were used
        pace.correct(600, 150);
        close(&turns(&pace, 2, 100).await, &[0.0, 1.0]);
        pace.correct(100, 300);
        close(&turns(&pace, 1, 100).await, &[3.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_stricter_rate_decides() {
        let rates = Rates { requests_per_minute: Some(600), tokens_per_minute: Some(6000) };
        close(&turns(&Arc::new(Pace::new(rates)), 3, 100).await, &[0.0, 1.0, 2.0]);
        close(&turns(&Arc::new(Pace::new(rates)), 3, 1).await, &[0.0, 0.1, 0.2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_for_all_and_keeps_the_rate_after_it() {
        let pace = Arc::new(Pace::new(Rates { requests_per_minute: Some(60), ..Rates::default() }));
        let begun = Arc::clone(&pace);
        let pausing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert!(begun.pause(Duration::from_secs(10)));
            assert!(!begun.pause(Duration::from_secs(1)), "a shorter pause inside does not begin one");
        });
        // two went before the pause; the others had moments in it
        close(&turns(&pace, 4, 0).await, &[0.0, 1.0, 11.5, 12.5]);
        pausing.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_no_length_holds_nobody() {
        let pace = Arc::new(Pace::new(Rates::default()));
        pace.pause(Duration::ZERO);
        close(&turns(&pace, 64, 1000).await, &[0.0; 64]);
    }
}
