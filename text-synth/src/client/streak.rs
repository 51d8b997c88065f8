//! Requests in a row without a reply: when they say that the server, and not a request, is at fault.

use super::messages::other_members;
use stage::Message;

/// Requests in a row that got no answer at all and end the run, at least; otherwise the number in flight.
const FEWEST_UNREACHED: usize = 4;
/// Requests of a server that has replied to none yet, and refuses them, that end the run, at least; otherwise twice the number in flight.
const FEWEST_REFUSED: usize = 16;

/// How the last requests ended.
#[derive(Debug)]
pub struct Streak {
    concurrency: usize,
    unreached: usize,
    refused: usize,
    has_replied: bool,
}

impl Streak {
    /// Of a run with so many requests in flight; `has_replied` tells whether the ledger holds a reply already.
    #[must_use]
    pub fn new(concurrency: usize, has_replied: bool) -> Self {
        Self { concurrency, unreached: 0, refused: 0, has_replied }
    }

    /// Whether the server has replied to any request: what it refuses then is that request's fault.
    #[must_use]
    pub fn has_replied(&self) -> bool {
        self.has_replied
    }

    /// A reply came.
    pub fn replied(&mut self) {
        (self.unreached, self.has_replied) = (0, true);
    }

    /// All attempts of a request ended without an answer; gives the end of the run where it is one of too many.
    #[must_use]
    pub fn unreached(&mut self, last: &Message) -> Option<Message> {
        self.unreached += 1;
        (self.unreached >= self.concurrency.max(FEWEST_UNREACHED)).then(|| {
            let detail = last.detail.as_ref().map_or_else(String::new, |detail| format!("; {detail}"));
            Message {
                code: "E201",
                case: None,
                what: format!("{} requests in a row got no reply", self.unreached),
                detail: Some(format!("The last: {}{detail}", last.what)),
                ..last.clone()
            }
        })
    }

    /// A live server refused a request; gives the end of the run where it has refused everything so far.
    #[must_use]
    pub fn refused(&mut self, reason: &str) -> Option<Message> {
        self.unreached = 0;
        self.refused += 1;
        let is_end = !self.has_replied && self.refused >= (2 * self.concurrency).max(FEWEST_REFUSED);
        is_end.then(|| {
            Message::error("E201", format!("the server refused all of the first {} requests", self.refused))
                .detail(reason)
                .fix(other_members(reason).unwrap_or(
                    "Check --model, --max-tokens and what the server says, then run the same command again",
                ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_gone_is_told_from_one_that_refuses() {
        let last = Message::error("E203", "no reply").detail("HTTP 500").fix("Check it");
        let mut streak = Streak::new(2, false);
        let unreached = |streak: &mut Streak, n: usize| {
            (0..n).filter_map(|_| streak.unreached(&last)).next().map(|message| message.to_string())
        };
        assert_eq!(unreached(&mut streak, 3), None);
        assert!(streak.refused("HTTP 400").is_none(), "a refusal is an answer");
        assert_eq!(unreached(&mut streak, 3), None);
        streak.replied();
        assert_eq!(
            unreached(&mut streak, 4).as_deref(),
            Some("E201 4 requests in a row got no reply. The last: no reply; HTTP 500. Check it.")
        );

        let refused = |has_replied: bool| {
            let mut streak = Streak::new(2, has_replied);
            (1..100).find(|_| streak.refused("HTTP 400").is_some())
        };
        assert_eq!((refused(false), refused(true)), (Some(FEWEST_REFUSED), None));
    }
}
