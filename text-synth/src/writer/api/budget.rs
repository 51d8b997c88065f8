//! What may be spent: tokens and money, over everything that the ledger holds.

use stage::Message;

/// Prices per million tokens, in any currency.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prices {
    /// Of prompts.
    pub prompt: f64,
    /// Of replies.
    pub completion: f64,
}

/// What may be spent.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Most tokens of prompts and replies.
    pub total_tokens: Option<u64>,
    /// Highest cost.
    pub cost: Option<f64>,
    /// What tokens cost, where that is known.
    pub prices: Option<Prices>,
}

impl Limits {
    /// Cost of tokens of prompts and of replies; none without prices.
    #[must_use]
    pub fn cost(&self, [prompt, completion]: [u64; 2]) -> Option<f64> {
        let of = |tokens: u64, price: f64| tokens as f64 * price / 1e6;
        self.prices.map(|prices| of(prompt, prices.prompt) + of(completion, prices.completion))
    }
}

/// Tokens that bytes of text make, roughly: a quarter, rounded up. English text has some four letters a token; servers say exactly.
#[must_use]
pub fn estimated_tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// Keeps account: what answers used, and what requests in flight may use.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    limits: &'a Limits,
    used: [u64; 2],
    reserved: [u64; 2],
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: &'a Limits, used: [u64; 2]) -> Self {
        Self { limits, used, reserved: [0, 0] }
    }

    /// Sets `need` aside (tokens of a prompt, and the most its reply may have) unless that could pass a limit.
    pub(crate) fn reserve(&mut self, need: [u64; 2]) -> bool {
        let after: [u64; 2] =
            std::array::from_fn(|i| self.used[i].saturating_add(self.reserved[i]).saturating_add(need[i]));
        let tokens = self.limits.total_tokens.is_none_or(|most| after[0].saturating_add(after[1]) <= most);
        let cost = self.limits.cost.zip(self.limits.cost(after)).is_none_or(|(most, cost)| cost <= most);
        if tokens && cost {
            self.hold(need);
        }
        tokens && cost
    }

    /// Sets `need` aside for what is under way already.
    pub(crate) fn hold(&mut self, need: [u64; 2]) {
        self.reserved = std::array::from_fn(|i| self.reserved[i].saturating_add(need[i]));
    }

    /// Ends a reservation with what was used.
    pub(crate) fn settle(&mut self, need: [u64; 2], used: [u64; 2]) {
        self.reserved = std::array::from_fn(|i| self.reserved[i].saturating_sub(need[i]));
        self.used = std::array::from_fn(|i| self.used[i].saturating_add(used[i]));
    }

    /// Says that the next of `left` requests, which needs `need`, could pass a limit.
    pub(crate) fn reached(&self, need: [u64; 2], left: usize) -> Message {
        let all = |[prompt, completion]: [u64; 2]| prompt.saturating_add(completion);
        let (used, next) = (all(self.used), all(need));
        let (what, detail) = match (self.limits.total_tokens, self.limits.cost, self.limits.cost(self.used)) {
            (Some(most), ..) if used.saturating_add(next) > most => (
                format!("stopping: {used} tokens used, the limit is reached"),
                format!("--max-total-tokens is {most}, the next of {left} requests may use {next}"),
            ),
            (_, Some(most), Some(cost)) => (
                format!("stopping: {} spent, the limit is reached", money(cost)),
                format!(
                    "--max-cost is {most}, the next of {left} requests may cost {}",
                    money(self.limits.cost(need).unwrap_or_default())
                ),
            ),
            // not reached: without limits everything fits
            _ => ("stopping: a limit is reached".to_owned(), format!("{left} requests are left")),
        };
        Message::error("E209", what)
            .detail(detail)
            .fix("Run the same command with a higher limit; what was answered is kept")
    }
}

/// An amount, with enough digits for small ones.
#[must_use]
pub fn money(amount: f64) -> String {
    if amount >= 1.0 { format!("{amount:.2}") } else { format!("{amount:.6}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_rounded_up() {
        assert_eq!([0, 1, 4, 5].map(estimated_tokens), [0, 1, 1, 2]);
    }

    #[test]
    fn tokens_are_set_aside_until_they_are_known() {
        let limits = Limits { total_tokens: Some(1000), ..Limits::default() };
        let mut budget = Budget::new(&limits, [500, 100]);
        assert!(budget.reserve([100, 100]) && budget.reserve([100, 100]));
        assert!(!budget.reserve([1, 0]));
        budget.settle([100, 100], [100, 40]);
        assert!(budget.reserve([60, 0]) && !budget.reserve([1, 0]));
        budget.settle([100, 100], [0, 0]);
        insta::assert_snapshot!(budget.reached([200, 300], 7), @"E209 stopping: 740 tokens used, the limit is reached. --max-total-tokens is 1000, the next of 7 requests may use 500. Run the same command with a higher limit; what was answered is kept.");
    }

    #[test]
    fn an_absurd_count_does_not_wrap() {
        let limits = Limits { total_tokens: Some(1000), ..Limits::default() };
        let mut budget = Budget::new(&limits, [u64::MAX, 0]);
        assert!(!budget.reserve([1, 1]));
        budget.settle([1, 1], [u64::MAX, u64::MAX]);
        assert!(budget.reached([1, 1], 1).what.contains(&u64::MAX.to_string()));
    }

    #[test]
    fn money_counts_by_kind_of_token() {
        let prices = Some(Prices { prompt: 1.0, completion: 10.0 });
        let limits = Limits { cost: Some(0.01), prices, total_tokens: None };
        let mut budget = Budget::new(&limits, [2000, 500]);
        assert_eq!(limits.cost([2000, 500]), Some(0.007));
        assert!(budget.reserve([1000, 200]));
        assert!(!budget.reserve([0, 1]));
        insta::assert_snapshot!(budget.reached([1000, 300], 3), @"E209 stopping: 0.007000 spent, the limit is reached. --max-cost is 0.01, the next of 3 requests may cost 0.004000. Run the same command with a higher limit; what was answered is kept.");
    }
}
