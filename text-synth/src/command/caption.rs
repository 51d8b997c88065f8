//! `caption`: describes planned slices of all cases.

mod finish;
mod models;
mod work;

use super::planning::Planning;
use crate::captioner::Captioner;
use crate::captioner::blip::journal;
use crate::ledger::{self, round};
use crate::measure::Measure;
use crate::slices::{self, PlanOptions};
use crate::writer::REJECTED;
use data_manifests::descriptor::Text;
use data_manifests::{Manifest, records};
use models::{ModelParameters, Models};
use patches::ShardStore;
use serde::{Deserialize, Serialize};
use stage::{Context, ExitStatus, Message, atomic, limits};
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

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    arguments.models.refuse_secrets()?;
    let own = [
        records::CAPTIONS,
        slices::FILE_NAME,
        REJECTED,
        ledger::FILE_NAME,
        ledger::NEXT_NAME,
        round::FILE_NAME,
        journal::FILE_NAME,
    ];
    Manifest::refuse_foreign(out, |name| own.contains(&name))?;
    let output = context.open_output(out)?;
    let store = ShardStore::open(&arguments.shards)?;
    let descriptor = store.descriptor();
    let measure = Measure { seed: arguments.planning.seed };
    let ready = arguments.models.ready(arguments.captioner)?;
    let parameters = Parameters {
        captioner: ready
            .as_ref()
            .map_or_else(|| measure.name(), |r| format!("{}, facts {}", r.name(), measure.name())),
        plan: arguments.planning.options(descriptor),
        text: descriptor.text.clone(),
        model: ready.as_ref().map(|r| r.parameters().clone()),
    };

    let mut inputs = vec![Manifest::as_input("shards", store.directory(), out)?];
    inputs.extend(ready.iter().flat_map(|r| r.inputs().to_vec()));
    let manifest =
        Manifest::new("caption", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    if let Some(found) = manifest.reusable(out)? {
        let count = |name: &str| found.counts.get(name).copied().unwrap_or_default();
        let again = arguments.models.retry_rejected && count("rejected") > 0;
        // failed cases are tried again: memory or a disk may have been at fault
        if found.counts.get("failed") == Some(&0) && count("unanswered") == 0 && !again {
            let n = count("captions");
            context.say(&format!("Nothing to do: {} holds these {n} captions already.", out.display()));
            return Ok(finish::status(arguments.captioner, 0, 0, count("rejected")));
        }
    }
    let paid = out.join(ledger::FILE_NAME);
    if arguments.captioner != Kind::Api && paid.exists() {
        return Err(Message::error("E212", "answers of a vision model are here")
            .detail(format!("{} belongs to the captioner 'api'", paid.display()))
            .fix("Use another --out, or remove the file to give those answers up")
            .into());
    }
    output.to_write()?;
    if let Some(ready) = &ready {
        ready.check(out)?;
    }
    // what was finished stays so until there is something to put in its place
    atomic::sweep(out)?;

    let workers = arguments.workers.map_or_else(limits::cores, usize::from);
    let made = match ready {
        None => work::by_slice(&store, &parameters.plan, &measure, workers, context)?,
        Some(ready) => {
            let mut captioner = ready.start(out, &manifest.work, &descriptor.text.vocabulary, context)?;
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
    finish::finish(made, manifest, &store, arguments, context)
}
