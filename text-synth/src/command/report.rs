//! `report`: turns captions into reports, by templates or by a language model.

mod batches;
mod dry_run;
mod finish;
mod texts;

use super::asking::Asking;
use super::replacing::{Chosen, Replacing, without_version};
use super::spending::Spending;
use super::{CaptionParameters, fresh_input, tell_once};
use crate::client::body::ExtraBody;
use crate::grounding::Grounding;
use crate::grounding::terms::Terms;
use crate::ledger::{place, round};
use crate::prompts::Prompts;
use crate::writer::api::batch::state;
use crate::writer::api::{self, Api};
use crate::writer::template::Template;
use crate::writer::{REJECTED, Stopped, Writer};
use data_manifests::descriptor::Text;
use data_manifests::records::{self, Caption};
use data_manifests::{Manifest, digest};
use serde::Serialize;
use serde_json::{Map, Value};
use stage::{Context, ExitStatus, Message, atomic};
use std::path::PathBuf;
use texts::Texting;

const EXAMPLES: &str = "\
Examples:
  text-synth report --captions runs/spleen/captions --out runs/spleen/reports --writer template
  text-synth report --captions captions --out reports --writer api --base-url http://127.0.0.1:8000/v1 --model llama-3.1-8b
  OPENAI_API_KEY=… text-synth report --captions captions --out reports --writer api \\
      --base-url https://api.example.org/v1 --allow-remote api.example.org --model gpt-small
  OPENAI_API_KEY=… text-synth report --captions captions --out reports --writer api --batch \\
      --base-url https://api.example.org/v1 --allow-remote api.example.org --model gpt-small
  text-synth report --captions captions --out reports --writer api --base-url http://127.0.0.1:8000/v1 --model qwen3-8b \\
      --extra-body '{\"chat_template_kwargs\": {\"enable_thinking\": false}}'

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
    /// Prompt file for reports of volumes
    #[arg(long, value_name = "FILE", help_heading = "Model behind an API")]
    volume_prompt: Option<PathBuf>,
    /// Prompt file for reports that contradict what was measured
    #[arg(long, value_name = "FILE", help_heading = "Model behind an API")]
    rewrite_prompt: Option<PathBuf>,
    #[command(flatten)]
    replacing: Replacing,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    spending: Spending,
    #[command(flatten)]
    batches: batches::Batches,
}

/// What decides the reports.
#[derive(Serialize)]
struct Parameters {
    writer: String,
    model: Option<String>,
    prompt: Option<String>,
    max_tokens: Option<u32>,
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_body: Option<ExtraBody>,
    seed: Option<u64>,
    grounding: GroundingMode,
    /// SHA-256 of each added vocabulary.
    vocabulary: Vec<String>,
    volumes: bool,
}

/// What of it the user chooses.
fn options(parameters: &mut Map<String, Value>) {
    without_version(parameters, "writer");
    if let Some(Value::Bool(volumes)) = parameters.remove("volumes") {
        parameters.insert("no_volumes".to_owned(), (!volumes).into());
    }
}

const CHOSEN: Chosen<'static> = Chosen { what: "reports", options: &options, model: None };

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    arguments.asking.refuse_secrets()?;
    if arguments.writer == Kind::Api && !arguments.asking.names_a_model(context) {
        return Ok(ExitStatus::Usage);
    }
    if arguments.spending.dry_run {
        return dry_run::run(arguments, context);
    }
    if arguments.writer == Kind::Template
        && let Some(flag) = arguments.batches.batch_flag()
    {
        let text = format!("{flag} is for requests to a language model, and the writer 'template' has none");
        context.tell(Message::error("E226", text).fix("Give --writer api, or leave the flag out"));
        return Ok(ExitStatus::Usage);
    }
    let out = arguments.out.as_path();
    arguments.batches.check_files(out, &arguments.captions)?;
    let own = [records::REPORTS, records::VOLUMES, REJECTED, round::FILE_NAME, state::FILE_NAME];
    Manifest::refuse_foreign(out, |name| own.contains(&name) || place::is_ledger(name))?;
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
        if count("unanswered") == 0 && !(arguments.asking.retry_rejected && count("rejected") > 0) {
            if output.to_write().is_ok() {
                round::clear(out)?;
            }
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
    let header = writer.header()?;
    let replaces = arguments.replacing.check(&CHOSEN, &manifest, header.as_ref(), out)?;
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
    if replaces {
        round::end(out)?;
    }
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
            tell_once(context, texts.written.unanswered);
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
    let writer = Template { seed: arguments.seed };
    let parameters = Parameters {
        writer: writer.name(),
        model: None,
        prompt: None,
        max_tokens: None,
        temperature: None,
        top_p: None,
        request_seed: None,
        extra_body: None,
        seed: Some(arguments.seed),
        grounding: arguments.grounding,
        vocabulary: vocabulary(arguments)?,
        volumes: !arguments.no_volumes,
    };
    Ok((Box::new(writer), parameters))
}

fn api(arguments: &Arguments, input: &Manifest) -> anyhow::Result<(Api, Parameters)> {
    let Arguments { asking, spending, batches, .. } = arguments;
    let contacts_a_server = !spending.dry_run && batches.contacts_a_server();
    let endpoint = contacts_a_server.then(|| asking.endpoint()).transpose()?;
    let (model, sampling) = (asking.model()?, asking.sampling()?);
    let prompts = Prompts::load(
        asking.prompt.as_deref(),
        arguments.volume_prompt.as_deref(),
        arguments.rewrite_prompt.as_deref(),
    )?;
    let declared = declarations(arguments, input)?;
    let writer = Api {
        endpoint,
        sending: asking.sending(spending.most_requests()),
        shared: spending.shared(&sampling),
        batch: batches.files(),
        batching: batches.batching(),
        counted: api::Counted::default(),
        vocabulary: declared.vocabulary,
        options: api::Options {
            model: model.clone(),
            sampling: sampling.clone(),
            retry_rejected: asking.retry_rejected,
            limits: spending.limits(),
        },
        directory: arguments.out.clone(),
        prompts,
    };
    let parameters = Parameters {
        writer: writer.name(),
        model: Some(model),
        prompt: Some(writer.prompts.sha256()?),
        max_tokens: Some(sampling.max_tokens),
        temperature: Some(sampling.temperature),
        top_p: sampling.top_p,
        request_seed: sampling.request_seed,
        extra_body: sampling.extra_body,
        seed: None,
        grounding: arguments.grounding,
        vocabulary: vocabulary(arguments)?,
        volumes: !arguments.no_volumes,
    };
    Ok((writer, parameters))
}
