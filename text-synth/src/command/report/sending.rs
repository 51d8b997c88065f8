//! Flags that say how fast and how much the writer `api` sends, and whether it sends at all.

use crate::client::Shared;
use crate::client::pace::Rates;
use crate::writer::api::batch::{Batching, Files, MOST_REQUESTS};
use crate::writer::api::budget::{Limits, Prices};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits of the writer api")]
pub(super) struct Sending {
    /// Most requests a minute, spread evenly, retries included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_minute: Option<u32>,
    /// Most tokens a minute, of prompts and replies: estimated before sending, corrected by what the server counts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens_per_minute: Option<u64>,
    /// Most requests of this run, retries included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_requests: Option<u64>,
    /// Most tokens of prompts and replies, over all answers in the ledger
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_total_tokens: Option<u64>,
    /// Highest cost, over all answers in the ledger
    #[arg(long, value_name = "AMOUNT", value_parser = amount, requires_all = ["price_prompt", "price_completion"])]
    max_cost: Option<f64>,
    /// Price of a million tokens of prompts, in any currency
    #[arg(long, value_name = "AMOUNT", value_parser = amount, requires = "price_completion")]
    price_prompt: Option<f64>,
    /// Price of a million tokens of replies
    #[arg(long, value_name = "AMOUNT", value_parser = amount, requires = "price_prompt")]
    price_completion: Option<f64>,
    /// Say what would be sent and what it would cost; send and write nothing
    #[arg(long, conflicts_with_all = ["batch_in", "batch_out"])]
    pub(super) dry_run: bool,
    /// Write the requests without an answer to an OpenAI batch file, and send nothing
    #[arg(long, value_name = "FILE")]
    batch_out: Option<PathBuf>,
    /// Read answers from the output file of an OpenAI batch, and send nothing
    #[arg(long, value_name = "FILE")]
    batch_in: Option<PathBuf>,
    /// Use the server's batch API where it has one: cheaper where batches are, answers within a day
    #[arg(long, conflicts_with_all = ["batch_in", "batch_out"], help_heading = "Writer api")]
    batch: bool,
    /// Most requests of one batch
    #[arg(long, value_name = "N", default_value_t = MOST_REQUESTS as u64, value_parser = clap::value_parser!(u64).range(1..=MOST_REQUESTS as u64), requires = "batch", help_heading = "Writer api")]
    batch_requests: u64,
}

fn amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a number that is not negative".to_owned()),
    }
}

impl Sending {
    pub(super) fn contacts_a_server(&self) -> bool {
        !self.dry_run && !self.files().is_used()
    }

    pub(super) fn files(&self) -> Files {
        Files { input: self.batch_in.clone(), out: self.batch_out.clone() }
    }

    pub(super) fn batching(&self) -> Option<Batching> {
        // the range of the flag fits every platform's usize
        self.batch.then_some(Batching { most_requests: self.batch_requests as usize })
    }

    /// The flag that is about batches, where there is one.
    pub(super) fn batch_flag(&self) -> Option<&'static str> {
        let flags = [
            ("--batch-in", self.batch_in.is_some()),
            ("--batch-out", self.batch_out.is_some()),
            ("--batch", self.batch),
        ];
        flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    pub(super) fn limits(&self) -> Limits {
        let prices = self.price_prompt.zip(self.price_completion);
        Limits {
            total_tokens: self.max_total_tokens,
            cost: self.max_cost,
            prices: prices.map(|(prompt, completion)| Prices { prompt, completion }),
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::new(Shared::new(Rates {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
        }))
    }

    pub(super) fn most_requests(&self) -> Option<u64> {
        self.max_requests
    }
}
