//! The options of captioners that are models, and the captioners made of them.

use super::Kind;
use crate::captioner::PictureCaptioner;
use crate::captioner::api::{self, Api, Estimating};
use crate::captioner::blip::{self, Blip};
use crate::client::body::{ExtraBody, Sampling};
use crate::client::endpoint::Endpoint;
use crate::client::{self, Shared};
use crate::command::asking::Asking;
use crate::command::spending::Spending;
use crate::ledger::Header;
use crate::prompts::Prompt;
use crate::writer::api::batch::no_server;
use data_manifests::Artefact;
use networks::blip::Search;
use serde::{Deserialize, Serialize};
use stage::{Context, Message};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    #[command(flatten)]
    pub(super) asking: Asking,
    #[command(flatten)]
    pub(super) spending: Spending,
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
    /// Share of the probability from which tokens are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Seed of the server's sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_seed: Option<i64>,
    /// Further members of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_body: Option<ExtraBody>,
}

impl ModelParameters {
    fn of_search(search: Search) -> Self {
        Self {
            pictures: crate::render::VERSION.to_owned(),
            search: Some(search),
            model: None,
            prompt: None,
            max_tokens: None,
            temperature: None,
            top_p: None,
            request_seed: None,
            extra_body: None,
        }
    }

    fn of_api(model: &str, prompt: &Prompt, sampling: &Sampling) -> Self {
        Self {
            pictures: crate::render::VERSION.to_owned(),
            search: None,
            model: Some(model.to_owned()),
            prompt: Some(prompt.sha256.clone()),
            max_tokens: Some(sampling.max_tokens),
            temperature: Some(sampling.temperature),
            top_p: sampling.top_p,
            request_seed: sampling.request_seed,
            extra_body: sampling.extra_body.clone(),
        }
    }
}

/// A captioner that was checked and can be started when the output directory is locked.
pub(super) enum Ready {
    Blip(Box<Blip>, ModelParameters, Vec<Artefact>),
    Api(Box<ReadyApi>, ModelParameters),
}

/// What the captioner `api` needs.
pub(super) struct ReadyApi {
    /// None where nothing is sent.
    endpoint: Option<Endpoint>,
    sending: client::Options,
    shared: Arc<Shared>,
    asking: api::Asking,
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

    /// Whose answers the captioner's ledger holds, where it has one.
    pub(super) fn header(&self) -> anyhow::Result<Option<Header>> {
        match self {
            Self::Blip(..) => Ok(None),
            Self::Api(ready, _) => ready.asking.header().map(Some),
        }
    }

    /// Refuses what lies in `out` and cannot be read; changes nothing.
    pub(super) fn check(&self, out: &Path) -> anyhow::Result<()> {
        match self {
            // its journal belongs to one piece of work, and is begun anew for another
            Self::Blip(..) => Ok(()),
            Self::Api(ready, _) => ready.asking.check(out),
        }
    }

    /// What sends nothing and tells what would be sent; none where nothing ever is.
    pub(super) fn estimating(self, out: &Path) -> anyhow::Result<Option<Estimating>> {
        match self {
            Self::Blip(..) => Ok(None),
            Self::Api(ready, _) => Estimating::new(ready.asking, out).map(Some),
        }
    }

    /// The captioner; `out` is locked, and `work` the digest of all that decides captions.
    pub(super) fn start(
        self,
        out: &Path,
        work: &str,
        context: &Context,
    ) -> anyhow::Result<Box<dyn PictureCaptioner>> {
        Ok(match self {
            Self::Blip(blip, ..) => Box::new(blip.resume(out, work, context)?),
            Self::Api(ready, _) => {
                let ReadyApi { endpoint, sending, shared, asking } = *ready;
                let endpoint = endpoint.ok_or_else(no_server)?;
                Box::new(Api::open(out, endpoint, sending, shared, asking, context)?)
            }
        })
    }
}

impl Models {
    /// Checks what was asked for, before anything is written; none for the captioner `measure`.
    /// `vocabulary` are the structures that may be named.
    pub(super) fn ready(&self, kind: Kind, vocabulary: &[String]) -> anyhow::Result<Option<Ready>> {
        match kind {
            Kind::Measure => Ok(None),
            Kind::Blip => self.blip().map(Some),
            Kind::Api => self.api(vocabulary).map(Some),
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
        Ok(Ready::Blip(Box::new(blip), ModelParameters::of_search(search), files))
    }

    fn api(&self, vocabulary: &[String]) -> anyhow::Result<Ready> {
        let Self { asking, spending, .. } = self;
        let endpoint = (!spending.dry_run).then(|| asking.endpoint()).transpose()?;
        let (model, sampling) = (asking.model()?, asking.sampling()?);
        let prompt = Prompt::for_pictures(asking.prompt.as_deref())?;
        let parameters = ModelParameters::of_api(&model, &prompt, &sampling);
        let ready = ReadyApi {
            endpoint,
            sending: asking.sending(spending.most_requests()),
            shared: spending.shared(&sampling),
            asking: api::Asking {
                prompt,
                vocabulary: vocabulary.to_vec(),
                options: api::Options {
                    model,
                    sampling,
                    concurrency: asking.concurrency(),
                    retry_rejected: asking.retry_rejected,
                    limits: spending.limits(),
                },
            },
        };
        Ok(Ready::Api(Box::new(ready), parameters))
    }
}
