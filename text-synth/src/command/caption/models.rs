//! The options of captioners that are models, and the captioners made of them.

use super::Kind;
use crate::captioner::PictureCaptioner;
use crate::captioner::api::{self, Api};
use crate::captioner::blip::{self, Blip};
use crate::client;
use crate::client::endpoint::{self, Endpoint};
use crate::client::retry::Backoff;
use crate::prompts::Prompt;
use data_manifests::Artefact;
use networks::blip::Search;
use serde::{Deserialize, Serialize};
use stage::{Context, Message};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Models {
    /// BLIP captioning model in Hugging Face layout
    #[arg(long, value_name = "DIR", required_if_eq("captioner", "blip"), help_heading = "Captioner blip")]
    blip: Option<PathBuf>,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", help_heading = "Captioner blip")]
    device: String,
    /// Beams; 1 is greedy
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Captioner blip")]
    beams: u16,
    /// Pictures that go through the network at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Captioner blip")]
    batch: u16,
    /// Longest caption, in tokens
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..), help_heading = "Captioner blip")]
    max_length: u16,
    /// Base URL of the server [default: $OPENAI_BASE_URL]; the key comes from $OPENAI_API_KEY
    #[arg(long, value_name = "URL", help_heading = "Captioner api")]
    base_url: Option<String>,
    /// Vision model
    #[arg(long, value_name = "MODEL", required_if_eq("captioner", "api"), help_heading = "Captioner api")]
    model: Option<String>,
    /// Prompt file in place of the built-in one
    #[arg(long, value_name = "FILE", help_heading = "Captioner api")]
    prompt: Option<PathBuf>,
    /// Longest reply, in tokens
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Captioner api")]
    max_tokens: u32,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 0.2, value_parser = temperature, help_heading = "Captioner api")]
    temperature: f64,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Captioner api")]
    concurrency: u16,
    /// Seconds to wait for one reply
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Captioner api")]
    timeout: u64,
    /// How often a request is sent again after an error that may pass
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Captioner api")]
    retries: u32,
    /// Host beyond this machine to which pictures may be sent; may be given several times
    #[arg(long, value_name = "HOST", help_heading = "Captioner api")]
    allow_remote: Vec<String>,
    /// Ask again where all earlier replies were rejected
    #[arg(long, help_heading = "Captioner api")]
    pub(super) retry_rejected: bool,
}

fn temperature(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..=2.0).contains(&value) { Ok(value) } else { Err("expected a number from 0 to 2".to_owned()) }
}

/// What of a model decides the captions, beside its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelParameters {
    /// Rules of the pictures.
    pub pictures: String,
    /// Search of the captioner `blip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// Model of the captioner `api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// SHA-256 of its prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Longest reply, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Sampling temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

impl ModelParameters {
    fn new() -> Self {
        let pictures = crate::render::VERSION.to_owned();
        Self { pictures, search: None, model: None, prompt: None, max_tokens: None, temperature: None }
    }
}

/// A captioner that was checked and can be started when the output directory is locked.
pub(super) enum Ready {
    Blip(Box<Blip>, ModelParameters, Vec<Artefact>),
    Api(Box<ReadyApi>, ModelParameters),
}

/// What the captioner `api` needs.
pub(super) struct ReadyApi {
    endpoint: Endpoint,
    sending: client::Options,
    prompt: Prompt,
    options: api::Options,
}

impl Ready {
    /// Name and version of the captioner.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Blip(..) => blip::NAME,
            Self::Api(..) => api::NAME,
        }
    }

    pub(super) fn parameters(&self) -> &ModelParameters {
        match self {
            Self::Blip(_, parameters, _) | Self::Api(_, parameters) => parameters,
        }
    }

    /// Files of the model.
    pub(super) fn inputs(&self) -> &[Artefact] {
        match self {
            Self::Blip(_, _, files) => files,
            Self::Api(..) => &[],
        }
    }

    /// Refuses what other work has left in `out`; changes nothing.
    pub(super) fn check(&self, out: &std::path::Path) -> anyhow::Result<()> {
        match self {
            // its journal belongs to one piece of work, and is begun anew for another
            Self::Blip(..) => Ok(()),
            Self::Api(ready, _) => ready.options.check(out, &ready.prompt),
        }
    }

    /// The captioner; `out` is locked, and `work` the digest of all that decides captions.
    pub(super) fn start(
        self,
        out: &std::path::Path,
        work: &str,
        vocabulary: &[String],
        context: &Context,
    ) -> anyhow::Result<Box<dyn PictureCaptioner>> {
        Ok(match self {
            Self::Blip(blip, ..) => Box::new(blip.resume(out, work, context)?),
            Self::Api(ready, _) => {
                let ReadyApi { endpoint, sending, prompt, options } = *ready;
                Box::new(Api::open(out, endpoint, sending, prompt, vocabulary.to_vec(), options, context)?)
            }
        })
    }
}

impl Models {
    /// Refuses a base URL that holds what must not be stored.
    pub(super) fn refuse_secrets(&self) -> Result<(), Message> {
        self.base_url.as_deref().map_or(Ok(()), endpoint::refuse_secrets)
    }

    /// Checks what was asked for, before anything is written; none for the captioner `measure`.
    pub(super) fn ready(&self, kind: Kind) -> anyhow::Result<Option<Ready>> {
        match kind {
            Kind::Measure => Ok(None),
            Kind::Blip => self.blip().map(Some),
            Kind::Api => self.api().map(Some),
        }
    }

    fn blip(&self) -> anyhow::Result<Ready> {
        let folder = self
            .blip
            .as_ref()
            .ok_or_else(|| Message::error("E222", "no captioner is named").fix("Give --blip"))?;
        let search = Search {
            max_tokens: usize::from(self.max_length),
            beams: usize::from(self.beams),
            ..Search::default()
        };
        let device = torch_runtime::parse_device(&self.device)?;
        let blip = Blip::open(folder, device, search, usize::from(self.batch))?;
        let files = blip
            .files()
            .iter()
            .map(|file| Artefact::of_rooted("captioner", file, "CAPTIONER", folder))
            .collect::<Result<_, _>>()?;
        let parameters = ModelParameters { search: Some(search), ..ModelParameters::new() };
        Ok(Ready::Blip(Box::new(blip), parameters, files))
    }

    fn api(&self) -> anyhow::Result<Ready> {
        let of_environment = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        let base = self.base_url.clone().or_else(|| of_environment("OPENAI_BASE_URL")).ok_or_else(|| {
            Message::error("E216", "no server is named")
                .fix("Give --base-url or set $OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1")
        })?;
        let endpoint = Endpoint::new(&base, &self.allow_remote, of_environment("OPENAI_API_KEY"))?;
        let model = self
            .model
            .clone()
            .ok_or_else(|| Message::error("E216", "no model is named").fix("Give --model"))?;
        let prompt = Prompt::for_pictures(self.prompt.as_deref())?;
        let parameters = ModelParameters {
            model: Some(model.clone()),
            prompt: Some(prompt.sha256.clone()),
            max_tokens: Some(self.max_tokens),
            temperature: Some(self.temperature),
            ..ModelParameters::new()
        };
        let sending = client::Options {
            timeout: Duration::from_secs(self.timeout),
            retries: self.retries,
            backoff: Backoff::default(),
            concurrency: usize::from(self.concurrency),
            most_requests: None,
        };
        let options = api::Options {
            model,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            concurrency: usize::from(self.concurrency),
            retry_rejected: self.retry_rejected,
        };
        Ok(Ready::Api(Box::new(ReadyApi { endpoint, sending, prompt, options }), parameters))
    }
}
