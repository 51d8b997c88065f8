//! The command line and what the subcommands share.

mod asking;
mod caption;
mod embed;
mod planning;
mod rejected;
mod replacing;
mod report;
mod review;
mod slices;
mod spending;

use data_manifests::Manifest;
use stage::{Context, ExitStatus, Message, Severity};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

pub(crate) use caption::Parameters as CaptionParameters;

const EXAMPLES: &str = "\
Examples:
  text-synth slices --shards runs/spleen/shards --out runs/spleen/slices --png
  text-synth caption --shards runs/spleen/shards --out runs/spleen/captions --captioner measure
  text-synth report --captions runs/spleen/captions --out runs/spleen/reports --writer template
  text-synth review --shards runs/spleen/shards --captions runs/spleen/captions --reports runs/spleen/reports \\
      --out runs/spleen/review.html
  text-synth embed --reports runs/spleen/reports --out runs/spleen/text";

/// Shards to captions, reports and embeddings
///
/// Each subcommand reads a finished directory of the one before and writes its own; a rerun does only what is missing.
#[derive(Debug, clap::Parser)]
#[command(name = "text-synth", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    common: stage::Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl stage::run::HasCommon for Arguments {
    fn common(&self) -> &stage::Common {
        &self.common
    }
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Plan slices, and write the pictures of them that captioners see
    Slices(slices::Arguments),
    /// Describe slices of the shards
    Caption(Box<caption::Arguments>),
    /// Turn captions into reports
    Report(Box<report::Arguments>),
    /// Show a sample of slices with captions and reports on one HTML page
    Review(review::Arguments),
    /// Turn reports into vectors with a frozen text encoder
    Embed(embed::Arguments),
}

/// Runs a subcommand.
///
/// # Errors
/// Fails when nothing can be done at all; what fails for single cases gives [`ExitStatus::Partial`].
pub fn run(arguments: Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    match arguments.command {
        Command::Slices(arguments) => slices::run(&arguments, context),
        Command::Caption(arguments) => caption::run(&arguments, context),
        Command::Report(arguments) => report::run(&arguments, context),
        Command::Review(arguments) => review::run(&arguments, context),
        Command::Embed(arguments) => embed::run(&arguments, context),
    }
}

/// Loads the input of a subcommand, and refuses it when it was made from something that has changed since, as far as that is
/// still there to compare.
fn fresh_input(directory: &Path, stage: &str) -> anyhow::Result<Manifest> {
    let found = Manifest::load(directory, stage)?;
    found.check_fresh(directory)?;
    Ok(found)
}

/// Tells of messages that differ in nothing but their case once, with how many there are: a server that is gone fails all requests in flight alike.
fn tell_once(context: &Context, messages: Vec<Message>) {
    let mut kinds: Vec<(Message, usize)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for mut message in messages {
        let case = message.case.take();
        match places.entry(message.to_string()) {
            Entry::Occupied(place) => kinds[*place.get()].1 += 1,
            Entry::Vacant(place) => {
                place.insert(kinds.len());
                message.case = case;
                kinds.push((message, 0));
            }
        }
    }
    for (message, others) in kinds.iter_mut().filter(|(_, others)| *others > 0) {
        message.what.push_str(&format!(" (and so {others} more)"));
    }
    tell_some(context, kinds.into_iter().map(|(message, _)| message).collect());
}

/// Tells at most twenty of many messages, and how many there are.
fn tell_some(context: &Context, messages: Vec<Message>) {
    const MOST: usize = 20;
    let n = messages.len();
    let mut rest = messages.into_iter();
    for message in rest.by_ref().take(MOST) {
        context.tell(message);
    }
    if let Some(next) = rest.next()
        && next.severity == Severity::Error
    {
        context.tell(Message::error(next.code, format!("and {} more like these", n - MOST)));
    }
}

/// The first digits of a digest, enough for people.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
