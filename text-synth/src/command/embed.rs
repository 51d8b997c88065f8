//! `embed`: turns reports into vectors with a frozen text encoder.

use super::fresh_input;
use super::replacing::{Chosen, Replacing};
use crate::embed::{Distinct, rows, to_safetensors};
use crate::sides;
use anyhow::Context as _;
use data_manifests::records::{self, OPPOSITES, Report};
use data_manifests::{Artefact, Manifest, cases};
use networks::{MAX_TOKENS, Pooling, TextEncoder, default_text_encoder};
use serde::Serialize;
use serde_json::{Map, Value};
use stage::{Context, ExitStatus, Message, atomic, interrupt};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  text-synth embed --reports runs/spleen/reports --out runs/spleen/text
  text-synth embed --reports reports --out text --text-encoder models/biobert --pooling cls --device cuda";

/// Share of reports in the group of another from which the user is told.
const MANY_GROUPED: f64 = 0.1;

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What 'text-synth report' wrote
    #[arg(long, value_name = "DIR")]
    reports: PathBuf,
    /// Where the vectors go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// BERT in Hugging Face layout [default: $GTGM_TEXT_ENCODER, else the one that 'make setup' installs]
    #[arg(long, value_name = "DIR")]
    text_encoder: Option<PathBuf>,
    /// How tokens become one vector: mean (as the default encoder was trained) or cls (as in the paper)
    #[arg(long, value_name = "POOLING", default_value = "mean")]
    pooling: Pooling,
    /// Texts between two looks at progress and signals, in whole batches of the encoder; the vectors do not depend on it
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Cosine from which two texts are near-identical: their reports are no negatives of each other; 1 leaves only equal texts
    #[arg(long, value_name = "COSINE", default_value_t = 0.999, value_parser = cosine)]
    similar: f32,
    /// Tokens of a text that are embedded, at most; what comes after is cut
    #[arg(long, value_name = "N", default_value_t = MAX_TOKENS)]
    max_tokens: usize,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    replacing: Replacing,
}

fn cosine(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if value > 0.0 && value <= 1.0 {
        Ok(value)
    } else {
        Err("expected a number above 0, at most 1".to_owned())
    }
}

/// What decides the vectors and groups, beside reports and encoder.
#[derive(Serialize)]
struct Parameters {
    /// Which texts share a vector: vectors of other rules are made anew.
    texts: &'static str,
    pooling: Pooling,
    similar: f32,
    /// Where it is another number than usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<usize>,
}

/// What of it the user chooses.
fn options(parameters: &mut Map<String, Value>) {
    parameters.remove("texts");
    parameters.entry("max_tokens").or_insert_with(|| MAX_TOKENS.into());
}

const CHOSEN: Chosen<'static> =
    Chosen { what: "embeddings", options: &options, model: Some(("text-encoder", "text-encoder")) };

/// `E223`; the error says what to do.
fn unusable(error: &networks::Error) -> Message {
    Message::error("E223", "the text encoder cannot be used").detail(error.to_string())
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    Manifest::refuse_foreign(out, |name| [records::EMBEDDINGS, records::ROWS].contains(&name))?;
    let output = context.open_output(out)?;
    let input = fresh_input(&arguments.reports, "report")?;
    let device = torch_runtime::parse_device(&arguments.device)?;
    let folder = match &arguments.text_encoder {
        Some(folder) => folder.clone(),
        None => default_text_encoder().map_err(|e| unusable(&e))?,
    };
    let mut encoder = TextEncoder::open(&folder, device).map_err(|e| unusable(&e))?;
    if arguments.max_tokens != MAX_TOKENS {
        encoder = encoder.cut_at(arguments.max_tokens).map_err(|e| unusable(&e))?;
    }

    let mut inputs = vec![Manifest::as_input("reports", &arguments.reports, out)?];
    for file in encoder.files() {
        inputs.push(Artefact::of_rooted("text-encoder", file, "TEXT_ENCODER", &folder)?);
    }
    let max_tokens = Some(arguments.max_tokens).filter(|tokens| *tokens != MAX_TOKENS);
    let parameters =
        Parameters { texts: "exact", pooling: arguments.pooling, similar: arguments.similar, max_tokens };
    let mut manifest =
        Manifest::new("embed", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    if let Some(found) = manifest.reusable(out)? {
        let n = found.counts.get("rows").copied().unwrap_or_default();
        context.say(&format!("Nothing to do: {} holds these {n} embeddings already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    arguments.replacing.check(&CHOSEN, &manifest, None, out)?;
    let reports: Vec<Report> = records::read_lines(&input.intact(&arguments.reports, records::REPORTS)?)?;
    if reports.is_empty() {
        return Err(Message::error("E218", "there is nothing to embed")
            .detail(format!("{} has no reports", arguments.reports.display()))
            .fix("Run 'text-synth report' again")
            .into());
    }
    output.to_write()?;
    Manifest::withdraw(out)?;
    atomic::sweep(out)?;

    let distinct = Distinct::of(&reports);
    let features = usize::try_from(encoder.hidden_size())?;
    let mut vectors = vec![0.0; distinct.texts.len() * features];
    let progress = context.progress("texts embedded", distinct.texts.len() as u64);
    // the same texts share a batch of the encoder, and its padding, whatever --batch says
    let order = by_length(&encoder, &distinct.texts, arguments.batch as usize)?;
    for places in order.chunks((arguments.batch as usize).next_multiple_of(TextEncoder::BATCH)) {
        if interrupt::requested() {
            context.say("Interrupted; the same command starts over.");
            return Ok(ExitStatus::Interrupted);
        }
        let batch: Vec<String> = places.iter().map(|place| distinct.texts[*place].clone()).collect();
        let embedded = encoder.embed(&batch, arguments.pooling)?;
        let flat = embedded.f_flatten(0, -1).context("cannot read the vectors")?;
        let flat = Vec::<f32>::try_from(flat).context("cannot read the vectors")?;
        for (place, vector) in places.iter().zip(flat.chunks_exact(features.max(1))) {
            vectors[place * features..(place + 1) * features].copy_from_slice(vector);
            progress.step("");
        }
    }
    progress.finish();
    let progress = context.progress("texts grouped", distinct.texts.len() as u64);
    let step = |n| {
        (0..n).for_each(|_| progress.step(""));
        !interrupt::requested()
    };
    let Some(groups) = distinct.groups(&vectors, features, arguments.similar, step)? else {
        context.say("Interrupted; the same command starts over.");
        return Ok(ExitStatus::Interrupted);
    };
    progress.finish();
    let found = groups.iter().max().map_or(0, |last| last + 1);
    let grouped = reports.len() - found;
    if grouped as f64 > MANY_GROUPED * reports.len() as f64 {
        let share = 100.0 * grouped as f64 / reports.len() as f64;
        context.tell(Message::warning(
            "W211",
            format!("{share:.0} % of reports are nearly identical to another: contrastive negatives will be masked"),
        ));
    }
    let cut = encoder.count_cut(&distinct.texts)?;
    if cut > 0 {
        let text = format!(
            "{cut} of {} texts have more than {} tokens: what comes after is not embedded",
            distinct.texts.len(),
            encoder.limit()
        );
        context.tell(Message::warning("W217", text).fix(
            "Embed with a higher --max-tokens (512 is the most for most encoders), or make shorter reports",
        ));
    }
    atomic::write(&out.join(records::EMBEDDINGS), &to_safetensors(&distinct, &vectors, features)?)?;
    atomic::write(&out.join(records::ROWS), &cases::to_csv(&rows(&reports, &distinct, &groups))?)?;
    let counts = [
        ("rows", reports.len()),
        ("texts", distinct.texts.len()),
        ("groups", found),
        ("features", features),
        ("cut", cut),
    ];
    for (name, value) in counts {
        manifest.counts.insert(name.to_owned(), value as u64);
        context.count(name, value as u64);
    }
    let sided = sides::count(reports.iter().map(|report| report.text.as_str()));
    for ((name, _), count) in OPPOSITES.iter().zip(sided) {
        manifest.counts.insert((*name).to_owned(), count);
    }
    manifest.datasets.clone_from(&input.datasets);
    manifest.licence.clone_from(&input.licence);
    manifest.finish(out, |path| if path == records::ROWS { "rows" } else { "embeddings" })?;
    context.say(&format!(
        "{} reports with {} distinct texts in {found} groups, {features} numbers each, in {}",
        reports.len(),
        distinct.texts.len(),
        out.display()
    ));
    Ok(ExitStatus::Done)
}

/// Places of the texts by their number of tokens, equal ones as they come; looks at so many texts at a time.
fn by_length(encoder: &TextEncoder, texts: &[String], at_a_time: usize) -> anyhow::Result<Vec<usize>> {
    let mut lengths = Vec::with_capacity(texts.len());
    for some in texts.chunks(at_a_time) {
        lengths.extend(encoder.token_ids(some)?.iter().map(Vec::len));
    }
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|place| lengths[*place]);
    Ok(order)
}
