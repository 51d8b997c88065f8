//! Limits of what a model behind an API is asked for, shared by `caption` and `report`.

use crate::client::Shared;
use crate::client::body::Sampling;
use crate::client::pace::Rates;
use crate::writer::api::budget::{Limits, Prices};
use std::sync::Arc;

const HEADING: &str = "Limits of a model behind an API";

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Spending {
    /// Most requests a minute, spread evenly, retries included
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_minute: Option<u32>,
    /// Most tokens a minute, of prompts and replies: estimated before sending, corrected by what the server counts
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens_per_minute: Option<u64>,
    /// Most requests of this run, retries included
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_requests: Option<u64>,
    /// Most tokens of prompts and replies, over all answers in the ledger
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_total_tokens: Option<u64>,
    /// Highest cost, over all answers in the ledger
    #[arg(long, help_heading = HEADING, value_name = "AMOUNT", value_parser = amount, requires_all = ["price_prompt", "price_completion"])]
    max_cost: Option<f64>,
    /// Price of a million tokens of prompts, in any currency
    #[arg(long, help_heading = HEADING, value_name = "AMOUNT", value_parser = amount, requires = "price_completion")]
    price_prompt: Option<f64>,
    /// Price of a million tokens of replies
    #[arg(long, help_heading = HEADING, value_name = "AMOUNT", value_parser = amount, requires = "price_prompt")]
    price_completion: Option<f64>,
    /// Say what would be sent and what it would cost; send and write nothing
    #[arg(long, help_heading = HEADING)]
    pub(super) dry_run: bool,
}

fn amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a number that is not negative".to_owned()),
    }
}

impl Spending {
    pub(super) fn limits(&self) -> Limits {
        let prices = self.price_prompt.zip(self.price_completion);
        Limits {
            total_tokens: self.max_total_tokens,
            cost: self.max_cost,
            prices: prices.map(|(prompt, completion)| Prices { prompt, completion }),
        }
    }

    /// What the requests of a run share.
    pub(super) fn shared(&self, sampling: &Sampling) -> Arc<Shared> {
        let rates = Rates {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
        };
        let shared = Shared::new(rates);
        Arc::new(if sampling.has_form() { shared.without_form() } else { shared })
    }

    pub(super) fn most_requests(&self) -> Option<u64> {
        self.max_requests
    }
}
