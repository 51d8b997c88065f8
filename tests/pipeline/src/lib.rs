//! Runs the stages in this process with the arguments that a user would type; the tests beside it check what they hand over.

use clap::Parser;
use stage::{Context, ExitStatus};

/// The executables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `data-manifests`
    DataManifests,
    /// `preprocess`
    Preprocess,
    /// `text-synth`
    TextSynth,
    /// `pretrain`
    Pretrain,
    /// `finetune`
    Finetune,
    /// `evaluate`
    Evaluate,
}

/// How a run ended, and what it told.
#[derive(Debug)]
pub struct Ended {
    /// Exit status; errors count as [`ExitStatus::Failed`].
    pub status: ExitStatus,
    /// Messages, one a line, the error that ended the run last.
    pub messages: String,
}

/// Runs `program` with `words` as its arguments.
///
/// # Errors
/// Arguments that the program does not take.
pub fn run(program: Program, words: &[&str]) -> anyhow::Result<Ended> {
    let context = Context::new("test", true);
    let argv = std::iter::once("test").chain(words.iter().copied());
    let result = match program {
        Program::DataManifests => {
            data_manifests::run(data_manifests::command::Arguments::try_parse_from(argv)?, &context)
        }
        Program::Preprocess => preprocess::run(preprocess::Arguments::try_parse_from(argv)?, &context),
        Program::TextSynth => text_synth::run(text_synth::Arguments::try_parse_from(argv)?, &context),
        Program::Pretrain => pretrain::run(pretrain::Arguments::try_parse_from(argv)?, &context),
        Program::Finetune => finetune::run(finetune::Arguments::try_parse_from(argv)?, &context),
        Program::Evaluate => evaluate::run(evaluate::Arguments::try_parse_from(argv)?, &context),
    };
    let mut lines: Vec<String> = context.messages().iter().map(ToString::to_string).collect();
    let status = result.unwrap_or_else(|error| {
        lines.push(format!("{error:#}"));
        ExitStatus::Failed
    });
    Ok(Ended { status, messages: lines.join("\n") })
}
