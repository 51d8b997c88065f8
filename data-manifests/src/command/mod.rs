//! The command `data-manifests`: one file per subcommand.

mod list;
mod phantom;
mod show;
mod split;
mod validate;
mod verify;

use clap::{Parser, Subcommand};
use stage::run::HasCommon;
use stage::{Common, Context, ExitStatus};

const EXAMPLES: &str = "\
Examples:
  data-manifests list
  data-manifests show msd04-hippocampus > mine.toml
  data-manifests validate mine.toml
  data-manifests verify runs/demo/phantom
  data-manifests split --shards runs/demo/phantom-ct/shards --out split.json --val-share 0.2 --seed 0
  data-manifests phantom --out runs/phantom --size demo --only ct,em

Exit codes: 0 done, 1 something is wrong with the data, 2 wrong usage.";

/// Looks at and makes what the stages write down: descriptors, manifests, splits, phantoms
#[derive(Debug, Parser)]
#[command(name = "data-manifests", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

impl HasCommon for Arguments {
    fn common(&self) -> &Common {
        &self.common
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the built-in data sets
    List,
    /// Print a data set's descriptor
    Show(show::Arguments),
    /// Check a stage directory or a file against schema and rules
    Validate(validate::Arguments),
    /// Check every byte of a finished stage directory
    Verify(verify::Arguments),
    /// Divide the labelled cases of shards into training and validation
    Split(split::Arguments),
    /// Make synthetic data sets in real layouts
    Phantom(phantom::Arguments),
}

/// Runs the command.
///
/// # Errors
/// Whatever a subcommand cannot do; see its messages.
pub fn run(arguments: Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    match arguments.command {
        Command::List => list::run(context),
        Command::Show(arguments) => show::run(&arguments, context),
        Command::Validate(arguments) => validate::run(&arguments, context),
        Command::Verify(arguments) => verify::run(&arguments, context),
        Command::Split(arguments) => split::run(&arguments, context),
        Command::Phantom(arguments) => phantom::run(&arguments, context),
    }
}
