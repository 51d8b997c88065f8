//! Options of a model behind an API, shared by `caption` and `report`.

use crate::client;
use crate::client::body::{ExtraBody, Sampling};
use crate::client::endpoint::{self, Endpoint};
use crate::client::retry::Backoff;
use crate::client::secret::Secret;
use crate::writer::api::batch::no_server;
use stage::{Context, Message};
use std::path::PathBuf;
use std::time::Duration;

const HEADING: &str = "Model behind an API";
/// Tokens of the longest reply, where nothing else is given.
const MAX_TOKENS: u32 = 256;
const TEMPERATURE: f64 = 0.2;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Asking {
    /// Base URL of the server [default: $OPENAI_BASE_URL]; the key comes from $OPENAI_API_KEY
    #[arg(long, value_name = "URL", help_heading = HEADING)]
    base_url: Option<String>,
    /// Language or vision model
    #[arg(long, value_name = "MODEL", help_heading = HEADING)]
    model: Option<String>,
    /// Prompt file in place of the built-in one
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    pub(super) prompt: Option<PathBuf>,
    /// Longest reply, in tokens [default: 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = HEADING)]
    max_tokens: Option<u32>,
    /// Sampling temperature [default: 0.2]
    #[arg(long, value_name = "T", value_parser = temperature, help_heading = HEADING)]
    temperature: Option<f64>,
    /// Draw tokens from the likeliest that make this share of the probability [default: the server's]
    #[arg(long, value_name = "P", value_parser = share, help_heading = HEADING)]
    top_p: Option<f64>,
    /// Seed of the server's sampling, the member 'seed' of requests [default: none]; --seed is another one
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = HEADING)]
    request_seed: Option<i64>,
    /// Further members of requests, null takes one out: '{"chat_template_kwargs": {"enable_thinking": false}}'
    #[arg(long, value_name = "JSON|@FILE", help_heading = HEADING)]
    extra_body: Option<String>,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..), help_heading = HEADING)]
    concurrency: u16,
    /// Seconds to wait for one reply
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..), help_heading = HEADING)]
    timeout: u64,
    /// How often a request is sent again after an error that may pass
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = HEADING)]
    retries: u32,
    /// Host beyond this machine to which captions or pictures may be sent; may be given several times
    #[arg(long, value_name = "HOST", help_heading = HEADING)]
    allow_remote: Vec<String>,
    /// Ask again where all earlier replies were rejected
    #[arg(long, help_heading = HEADING)]
    pub(super) retry_rejected: bool,
}

fn temperature(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..=2.0).contains(&value) { Ok(value) } else { Err("expected a number from 0 to 2".to_owned()) }
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    let is_share = value > 0.0 && value <= 1.0;
    if is_share { Ok(value) } else { Err("expected a number above 0, at most 1".to_owned()) }
}

fn of_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl Asking {
    /// Refuses what must not be stored, before anything is.
    ///
    /// # Errors
    /// `E216` for a base URL, `E231` for further members of requests.
    pub(super) fn refuse_secrets(&self) -> anyhow::Result<()> {
        if let Some(base) = &self.base_url {
            endpoint::refuse_secrets(base)?;
        }
        self.sampling().map(drop)
    }

    /// What decides replies beside model and messages.
    ///
    /// # Errors
    /// `E231` for further members of requests that cannot be used.
    pub(super) fn sampling(&self) -> anyhow::Result<Sampling> {
        let key = of_environment("OPENAI_API_KEY").map(|key| Secret::new(key.trim())).unwrap_or_default();
        let extra_body =
            self.extra_body.as_deref().map(|given| ExtraBody::parse(given, &key)).transpose()?.flatten();
        let sampling = Sampling {
            max_tokens: self.max_tokens.unwrap_or(MAX_TOKENS),
            temperature: self.temperature.unwrap_or(TEMPERATURE),
            top_p: self.top_p,
            request_seed: self.request_seed,
            extra_body,
        };
        sampling.check([self.max_tokens.is_some(), self.temperature.is_some()])?;
        Ok(sampling)
    }

    /// # Errors
    /// `E216` where none is named; as [`Endpoint::new`].
    pub(super) fn endpoint(&self) -> Result<Endpoint, Message> {
        let base =
            self.base_url.clone().or_else(|| of_environment("OPENAI_BASE_URL")).ok_or_else(no_server)?;
        Endpoint::new(&base, &self.allow_remote, of_environment("OPENAI_API_KEY"))
    }

    /// Tells where no model is named.
    pub(super) fn names_a_model(&self, context: &Context) -> bool {
        self.model().map_err(|message| context.tell(message)).is_ok()
    }

    /// # Errors
    /// `E216` where none is named.
    pub(super) fn model(&self) -> Result<String, Message> {
        self.model.clone().ok_or_else(|| Message::error("E216", "no model is named").fix("Give --model"))
    }

    /// How to send.
    pub(super) fn sending(&self, most_requests: Option<u64>) -> client::Options {
        client::Options {
            timeout: Duration::from_secs(self.timeout),
            retries: self.retries,
            backoff: Backoff::default(),
            concurrency: self.concurrency(),
            most_requests,
        }
    }

    pub(super) fn concurrency(&self) -> usize {
        usize::from(self.concurrency)
    }
}
