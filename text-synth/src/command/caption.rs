//! `caption`: describes planned slices of all cases.

mod dry_run;
mod finish;
mod models;
mod work;

use super::planning::{self, Planning};
use super::replacing::{Chosen, Replacing, lift, without_version};
use crate::captioner::Captioner;
use crate::captioner::blip::journal;
use crate::ledger::{place, round};
use crate::measure::Measure;
use crate::slices::{self, PlanOptions};
use crate::writer::REJECTED;
use data_manifests::descriptor::Text;
use data_manifests::{Descriptor, Manifest, records};
use models::{ModelParameters, Models, Ready};
use patches::ShardStore;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stage::{Context, ExitStatus, atomic, limits};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  text-synth caption --shards runs/spleen/shards --out runs/spleen/captions
  text-synth caption --shards shards --out captions --plane axial,coronal --stride 5 --workers 4
  text-synth caption --shards shards --out captions --captioner blip --blip models/blip-base --device cuda --beams 3
  text-synth caption --shards shards --out captions --captioner api --base-url http://127.0.0.1:8000/v1 --model qwen2.5-vl-7b

'text-synth slices --png' writes the pictures that blip and api see. The captioner 'api' keeps every answer in ledger.jsonl
before it is used: interrupt it at any time, the same command goes on and asks for nothing twice.";

/// How slices are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Facts measured on the slice: deterministic, no model, no labels
    Measure,
    /// A frozen BLIP, run here
    Blip,
    /// A vision model behind an OpenAI-compatible API
    Api,
}

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What 'preprocess' wrote
    #[arg(long, value_name = "DIR")]
    shards: PathBuf,
    /// Where the captions go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How slices are described
    #[arg(long, value_enum, default_value = "measure")]
    captioner: Kind,
    #[command(flatten)]
    planning: Planning,
    /// Cases worked on at once [default: the cores granted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    #[command(flatten)]
    replacing: Replacing,
    #[command(flatten)]
    models: Models,
}

/// What decides the captions, as the manifest keeps it; `report` finds the vocabulary here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// Name and version of the captioner.
    pub captioner: String,
    /// Slice plan.
    pub plan: PlanOptions,
    /// What the descriptor says for texts.
    pub text: Text,
    /// The model that describes the pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelParameters>,
}

/// What of it the user chooses; what is declared for texts is the shards'.
fn options(parameters: &mut Map<String, Value>) {
    without_version(parameters, "captioner");
    let text = parameters.remove("text").unwrap_or_default();
    planning::chosen(parameters, text.get("stride"));
    lift(parameters, "model");
    parameters.remove("pictures");
    if let Some(Value::Object(search)) = parameters.get_mut("search")
        && let Some(longest) = search.remove("max_tokens")
    {
        search.insert("max_length".to_owned(), longest);
    }
    lift(parameters, "search");
}

const CHOSEN: Chosen<'static> =
    Chosen { what: "captions", options: &options, model: Some(("captioner", "blip")) };

fn parameters(arguments: &Arguments, descriptor: &Descriptor, ready: Option<&Ready>) -> Parameters {
    let measure = Measure { seed: arguments.planning.seed }.name();
    Parameters {
        captioner: match ready {
            Some(ready) => format!("{}, facts {measure}", ready.name()),
            None => measure,
        },
        plan: arguments.planning.options(descriptor),
        text: descriptor.text.clone(),
        model: ready.map(|ready| ready.parameters().clone()),
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    arguments.models.asking.refuse_secrets()?;
    if arguments.captioner == Kind::Api && !arguments.models.asking.names_a_model(context) {
        return Ok(ExitStatus::Usage);
    }
    if arguments.models.spending.dry_run {
        return dry_run::run(arguments, context);
    }
    let own = [records::CAPTIONS, slices::FILE_NAME, REJECTED, round::FILE_NAME, journal::FILE_NAME];
    Manifest::refuse_foreign(out, |name| own.contains(&name) || place::is_ledger(name))?;
    let output = context.open_output(out)?;
    let store = ShardStore::open(&arguments.shards)?;
    let descriptor = store.descriptor();
    let measure = Measure { seed: arguments.planning.seed };
    let ready = arguments.models.ready(arguments.captioner, &descriptor.text.vocabulary)?;
    let parameters = parameters(arguments, descriptor, ready.as_ref());

    let mut inputs = vec![Manifest::as_input("shards", store.directory(), out)?];
    inputs.extend(ready.iter().flat_map(|r| r.inputs().to_vec()));
    let manifest =
        Manifest::new("caption", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    if let Some(found) = manifest.reusable(out)? {
        let count = |name: &str| found.counts.get(name).copied().unwrap_or_default();
        let again = arguments.models.asking.retry_rejected && count("rejected") > 0;
        // failed cases are tried again: memory or a disk may have been at fault
        if found.counts.get("failed") == Some(&0) && count("unanswered") == 0 && !again {
            if output.to_write().is_ok() {
                round::clear(out)?;
            }
            let n = count("captions");
            context.say(&format!("Nothing to do: {} holds these {n} captions already.", out.display()));
            return Ok(finish::status(arguments.captioner, 0, 0, count("rejected")));
        }
    }
    let header = ready.as_ref().map(Ready::header).transpose()?.flatten();
    let replaces = arguments.replacing.check(&CHOSEN, &manifest, header.as_ref(), out)?;
    output.to_write()?;
    if let Some(ready) = &ready {
        ready.check(out)?;
    }
    if replaces {
        round::end(out)?;
    }
    // what was finished stays so until there is something to put in its place
    atomic::sweep(out)?;

    let workers = arguments.workers.map_or_else(limits::cores, usize::from);
    let made = match ready {
        None => work::by_slice(&store, &parameters.plan, &measure, workers, context)?,
        Some(ready) => {
            let mut captioner = ready.start(out, &manifest.work, context)?;
            work::by_picture(&store, &parameters.plan, captioner.as_mut(), workers, context)?
        }
    };
    let Some(made) = made else {
        context.say(match arguments.captioner {
            Kind::Measure => "Interrupted; the same command starts over, captions take little time.",
            Kind::Blip | Kind::Api => "Interrupted; the same command goes on where this run stopped.",
        });
        return Ok(ExitStatus::Interrupted);
    };
    finish::finish(made, manifest, &store, (arguments, header.as_ref()), context)
}
