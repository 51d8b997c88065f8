//! Flags that say how fast and how much the writer `api` sends, and whether it sends at all.

use crate::client::Shared;
use crate::client::pace::Rates;
use crate::writer::api::batch::{Batching, Files, MOST_REQUESTS};
use crate::writer::api::budget::{Limits, Prices};
use stage::Message;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest request that is read to tell whether it is one.
const MOST_OF_A_LINE: u64 = 8 << 20;

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

/// Whether a file that may not exist yet is to be below a directory.
fn is_inside(file: &Path, directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return file.starts_with(directory) };
    // by its folder: the file need not be there; a link counts where it leads, too
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let places = [folder.canonicalize().ok(), file.canonicalize().ok()];
    places.into_iter().flatten().any(|place| place.starts_with(&directory))
}

/// Whether a file is empty, or begins with a request as this writes them.
fn holds_requests(file: &Path) -> io::Result<bool> {
    if !file.is_file() {
        return Ok(false);
    }
    let mut line = String::new();
    let read = BufReader::new(fs_err::File::open(file)?).take(MOST_OF_A_LINE).read_line(&mut line);
    match read {
        Ok(0) => Ok(true),
        Ok(_) => {
            let request: Option<serde_json::Value> = serde_json::from_str(&line).ok();
            let has = |name: &str| request.as_ref().is_some_and(|request| request.get(name).is_some());
            Ok(has("custom_id") && has("method") && has("body"))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(error),
    }
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

    /// Refuses to write requests over what must not be lost.
    ///
    /// # Errors
    /// `E229` for a place inside of `out` or of the `captions`, and for a file that holds no requests.
    pub(super) fn check_files(&self, out: &Path, captions: &Path) -> anyhow::Result<()> {
        let Some(file) = &self.batch_out else { return Ok(()) };
        let refused = |what: &str| {
            Message::error("E229", "the requests cannot be written there")
                .detail(format!("--batch-out {}: {what}", file.display()))
                .fix("Name a new file outside of --out and --captions")
        };
        if [out, captions].iter().any(|directory| is_inside(file, directory)) {
            return Err(refused("it is inside of a stage's directory, whose files would be lost").into());
        }
        if file.exists() && !holds_requests(file)? {
            return Err(refused("the file that is there holds no requests, and would be lost").into());
        }
        Ok(())
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
