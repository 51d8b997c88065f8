//! `report`: turns captions into reports, by templates or by a language model.

mod dry_run;
mod finish;
mod sending;
mod texts;

use super::{CaptionParameters, fresh_input, tell_some};
use crate::client;
use crate::client::endpoint::{self, Endpoint};
use crate::client::retry::Backoff;
use crate::grounding::Grounding;
use crate::grounding::terms::Terms;
use crate::ledger::{self, round};
use crate::prompts::Prompts;
use crate::writer::api::batch::state;
use crate::writer::api::{self, Api};
use crate::writer::template::Template;
use crate::writer::{REJECTED, Stopped, Writer};
use data_manifests::descriptor::Text;
use data_manifests::records::{self, Caption};
use data_manifests::{Manifest, digest};
use serde::Serialize;
use stage::{Context, ExitStatus, Message, atomic};
use std::path::PathBuf;
use std::time::Duration;
use texts::Texting;

const EXAMPLES: &str = "\
Examples:
  text-synth report --captions runs/spleen/captions --out runs/spleen/reports --writer template
  text-synth report --captions captions --out reports --writer api --base-url http://127.0.0.1:8000/v1 --model llama-3.1-8b
  OPENAI_API_KEY=… text-synth report --captions captions --out reports --writer api \\
      --base-url https://api.example.org/v1 --allow-remote api.example.org --model gpt-small
  OPENAI_API_KEY=… text-synth report --captions captions --out reports --writer api --batch \\
      --base-url https://api.example.org/v1 --allow-remote api.example.org --model gpt-small

The writer 'api' keeps every answer in ledger.jsonl before it is used: interrupt it at any time, the same command goes on
and asks for nothing twice. With --batch the same holds for batches: batches.json beside it knows those that are under way.";

/// Share of equal texts from which the user is told.
const MANY_EQUAL: f64 = 0.1;

/// What is done with texts that contradict what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum GroundingMode {
    /// Sentences get a verdict, nothing else happens
    Check,
    /// Contradicted texts are written again once, then the template's sentences take their place
    Rewrite,
    /// Texts are taken as they come
    Off,
}

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Sentences from the facts, offline
    Template,
    /// A language model behind an OpenAI-compatible API
    Api,
}

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What 'text-synth caption' wrote
    #[arg(long, value_name = "DIR")]
    captions: PathBuf,
    /// Where the reports go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Who writes
    #[arg(long, value_enum, default_value = "template")]
    writer: Kind,
    /// Seed of the template writer's wording
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What is done with texts that contradict what was measured
    #[arg(long, value_enum, default_value = "rewrite")]
    grounding: GroundingMode,
    /// More terms: CSV as text-synth/vocabulary/terms.csv, BioPortal's CSV of RadLex or SNOMED CT, or SNOMED's description file; may be given several times
    #[arg(long, value_name = "FILE")]
    vocabulary: Vec<PathBuf>,
    /// Write no reports of whole volumes
    #[arg(long)]
    no_volumes: bool,
    /// Base URL of the server [default: $OPENAI_BASE_URL]; the key comes from $OPENAI_API_KEY
    #[arg(long, value_name = "URL", help_heading = "Writer api")]
    base_url: Option<String>,
    /// Language model
    #[arg(long, value_name = "MODEL", required_if_eq("writer", "api"), help_heading = "Writer api")]
    model: Option<String>,
    /// Prompt file in place of the built-in one
    #[arg(long, value_name = "FILE", help_heading = "Writer api")]
    prompt: Option<PathBuf>,
    /// Prompt file for reports of volumes
    #[arg(long, value_name = "FILE", help_heading = "Writer api")]
    volume_prompt: Option<PathBuf>,
    /// Prompt file for reports that contradict what was measured
    #[arg(long, value_name = "FILE", help_heading = "Writer api")]
    rewrite_prompt: Option<PathBuf>,
    /// Longest reply, in tokens
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Writer api")]
    max_tokens: u32,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 0.2, value_parser = temperature, help_heading = "Writer api")]
    temperature: f64,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Writer api")]
    concurrency: u16,
    /// Seconds to wait for one reply
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Writer api")]
    timeout: u64,
    /// How often a request is sent again after an error that may pass
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Writer api")]
    retries: u32,
    /// Host beyond this machine to which captions may be sent; may be given several times
    #[arg(long, value_name = "HOST", help_heading = "Writer api")]
    allow_remote: Vec<String>,
    /// Ask again where all earlier replies were rejected
    #[arg(long, help_heading = "Writer api")]
    retry_rejected: bool,
    #[command(flatten)]
    sending: sending::Sending,
}

fn temperature(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..=2.0).contains(&value) { Ok(value) } else { Err("expected a number from 0 to 2".to_owned()) }
}

/// What decides the reports.
#[derive(Serialize)]
struct Parameters {
    writer: String,
    model: Option<String>,
    prompt: Option<String>,
    max_tokens: Option<u32>,
    temperature: Option<f64>,
    seed: Option<u64>,
    grounding: GroundingMode,
    /// SHA-256 of each added vocabulary.
    vocabulary: Vec<String>,
    volumes: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    if arguments.sending.dry_run {
        return dry_run::run(arguments, context);
    }
    if arguments.writer == Kind::Template
        && let Some(flag) = arguments.sending.batch_flag()
    {
        let text = format!("{flag} is for requests to a language model, and the writer 'template' has none");
        context.tell(Message::error("E226", text).fix("Give --writer api, or leave the flag out"));
        return Ok(ExitStatus::Usage);
    }
    let out = arguments.out.as_path();
    if let Some(base) = &arguments.base_url {
        endpoint::refuse_secrets(base)?;
    }
    arguments.sending.check_files(out, &arguments.captions)?;
    let own = [
        records::REPORTS,
        records::VOLUMES,
        REJECTED,
        ledger::FILE_NAME,
        ledger::NEXT_NAME,
        round::FILE_NAME,
        state::FILE_NAME,
    ];
    Manifest::refuse_foreign(out, |name| own.contains(&name))?;
    let output = context.open_output(out)?;
    let input = fresh_input(&arguments.captions, "caption")?;
    let (mut writer, parameters): (Box<dyn Writer>, Parameters) = match arguments.writer {
        Kind::Template => template(arguments)?,
        Kind::Api => {
            let (writer, parameters) = api(arguments, &input)?;
            (Box::new(writer), parameters)
        }
    };

    let inputs = vec![Manifest::as_input("captions", &arguments.captions, out)?];
    let manifest =
        Manifest::new("report", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    if let Some(found) = manifest.reusable(out)? {
        let count = |name: &str| found.counts.get(name).copied().unwrap_or_default();
        if count("unanswered") == 0 && !(arguments.retry_rejected && count("rejected") > 0) {
            context.say(&format!(
                "Nothing to do: {} holds these {} reports already.",
                out.display(),
                count("reports")
            ));
            if count("rejected") > 0 {
                let rejected = count("rejected");
                context.tell(
                    Message::error(
                        "E205",
                        format!("{rejected} captions have no report: all replies were rejected"),
                    )
                    .detail(out.join(REJECTED).display().to_string())
                    .fix("Pass --retry-rejected to ask again"),
                );
                return Ok(ExitStatus::Partial);
            }
            return Ok(ExitStatus::Done);
        }
    }
    let captions: Vec<Caption> = records::read_lines(&input.intact(&arguments.captions, records::CAPTIONS)?)?;
    let grounding = match arguments.grounding {
        GroundingMode::Off => None,
        GroundingMode::Check | GroundingMode::Rewrite => {
            let declared = declarations(arguments, &input)?;
            Some(Grounding::new(&declared, Terms::load(&arguments.vocabulary)?))
        }
    };
    output.to_write()?;
    writer.check()?;
    // what was finished stays so until there is something to put in its place
    atomic::sweep(out)?;
    let texting = Texting {
        grounding: grounding.as_ref(),
        rewrite: arguments.grounding == GroundingMode::Rewrite,
        volumes: !arguments.no_volumes,
        context,
    };
    let mut texts = texting.all(writer.as_mut(), &captions)?;
    match texts.written.stopped.take() {
        Some(Stopped::Interrupted) => {
            context.say("Interrupted; the same command goes on where this run stopped.");
            return Ok(ExitStatus::Interrupted);
        }
        Some(Stopped::HandedOver) => return Ok(ExitStatus::Done),
        Some(Stopped::Error(message)) => {
            tell_some(context, texts.written.unanswered);
            return Err((*message).into());
        }
        None => {}
    }
    finish::finish(writer.as_ref(), manifest, &input, captions, texts, arguments, context)
}

/// What the data set declares for texts, as the captions keep it.
fn declarations(arguments: &Arguments, input: &Manifest) -> anyhow::Result<Text> {
    let parameters: CaptionParameters =
        serde_json::from_value(input.parameters.clone()).map_err(|error| {
            Message::error("E214", "the captions come from another version")
                .detail(format!("{}: {error}", arguments.captions.display()))
                .fix("Run 'text-synth caption' again")
        })?;
    Ok(parameters.text)
}

fn vocabulary(arguments: &Arguments) -> anyhow::Result<Vec<String>> {
    arguments.vocabulary.iter().map(|file| Ok(digest::file(file)?.1)).collect()
}

fn template(arguments: &Arguments) -> anyhow::Result<(Box<dyn Writer>, Parameters)> {
    let paid = arguments.out.join(ledger::FILE_NAME);
    if paid.exists() {
        return Err(Message::error("E212", "answers of a language model are here")
            .detail(format!("{} belongs to the writer 'api'", paid.display()))
            .fix("Use another --out, or remove the file to give those answers up")
            .into());
    }
    let writer = Template { seed: arguments.seed };
    let parameters = Parameters {
        writer: writer.name(),
        model: None,
        prompt: None,
        max_tokens: None,
        temperature: None,
        seed: Some(arguments.seed),
        grounding: arguments.grounding,
        vocabulary: vocabulary(arguments)?,
        volumes: !arguments.no_volumes,
    };
    Ok((Box::new(writer), parameters))
}

fn api(arguments: &Arguments, input: &Manifest) -> anyhow::Result<(Api, Parameters)> {
    let of_environment = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    let sending = &arguments.sending;
    let base = arguments.base_url.clone().or_else(|| of_environment("OPENAI_BASE_URL"));
    let endpoint = match base.filter(|_| sending.contacts_a_server()) {
        Some(base) => Some(Endpoint::new(&base, &arguments.allow_remote, of_environment("OPENAI_API_KEY"))?),
        None if sending.contacts_a_server() => return Err(api::batch::no_server().into()),
        None => None,
    };
    let model = arguments
        .model
        .clone()
        .ok_or_else(|| Message::error("E216", "no model is named").fix("Give --model"))?;
    let prompts = Prompts::load(
        arguments.prompt.as_deref(),
        arguments.volume_prompt.as_deref(),
        arguments.rewrite_prompt.as_deref(),
    )?;
    let declared = declarations(arguments, input)?;
    let writer = Api {
        endpoint,
        sending: client::Options {
            timeout: Duration::from_secs(arguments.timeout),
            retries: arguments.retries,
            backoff: Backoff::default(),
            concurrency: usize::from(arguments.concurrency),
            most_requests: sending.most_requests(),
        },
        shared: sending.shared(),
        batch: sending.files(),
        batching: sending.batching(),
        counted: api::Counted::default(),
        vocabulary: declared.vocabulary,
        options: api::Options {
            model: model.clone(),
            max_tokens: arguments.max_tokens,
            temperature: arguments.temperature,
            retry_rejected: arguments.retry_rejected,
            limits: sending.limits(),
        },
        directory: arguments.out.clone(),
        prompts,
    };
    let parameters = Parameters {
        writer: writer.name(),
        model: Some(model),
        prompt: Some(writer.prompts.sha256()?),
        max_tokens: Some(arguments.max_tokens),
        temperature: Some(arguments.temperature),
        seed: None,
        grounding: arguments.grounding,
        vocabulary: vocabulary(arguments)?,
        volumes: !arguments.no_volumes,
    };
    Ok((writer, parameters))
}
