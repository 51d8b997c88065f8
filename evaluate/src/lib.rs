//! Label maps and references to metrics, tables and a report.
//!
//! `score` pairs label maps by case id and measures them; `instances` measures maps of objects; `report` gathers scores of several runs, with their loss curves,
//! overlays and chain of digests, in one HTML file; `show` prints its results.

mod aggregate;
mod chain;
mod chart;
mod compare;
mod comparison;
mod curves;
mod instances;
mod maps;
mod methods;
mod missing;
mod names;
mod objects;
mod overlay;
mod page;
mod pairing;
mod pool;
mod recipe;
mod remarks;
mod report;
mod results;
mod score;
mod scoring;
mod section;
mod show;
mod splits;
pub mod summary;
mod tables;
mod targets;
mod values;
pub mod warned;
mod watch;

use anyhow::Result;
use clap::{Parser, Subcommand};
use stage::run::HasCommon;
use stage::{Common, Context, ExitStatus};

pub use compare::CompareArguments;
pub use instances::{InstancesArguments, Zero};
pub use missing::Missing;
pub use report::ReportArguments;
pub use score::ScoreArguments;
pub use show::ShowArguments;
pub use targets::MeanRule;
pub use watch::WatchArguments;

/// Command line of `evaluate`.
#[derive(Debug, Parser)]
#[command(
    name = "evaluate",
    version,
    about = "Measure label maps against references and report what was measured",
    after_help = "Examples:
  evaluate score --references data/Task04_Hippocampus --predictions runs/predictions --dataset msd04-hippocampus --out runs/scores
  evaluate compare runs/scores-from-scratch runs/scores
  evaluate report --runs runs/scores runs/scores-from-scratch --out runs/report
  evaluate show --report runs/report"
)]
pub struct Arguments {
    /// Arguments of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `evaluate` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure predicted label maps against their references
    Score(ScoreArguments),
    /// Measure predicted objects, such as neurons, against their references
    Instances(InstancesArguments),
    /// Write one self-contained HTML report over several scores
    Report(ReportArguments),
    /// Compare scores case by case: differences, tests, ranking
    Compare(CompareArguments),
    /// Print the results of a report
    Show(ShowArguments),
    /// Print how training runs stand, from their records
    Watch(WatchArguments),
}

impl HasCommon for Arguments {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Runs a parsed command line.
///
/// # Errors
/// Whatever makes the whole command fail; failed cases alone give [`ExitStatus::Partial`].
pub fn run(arguments: Arguments, context: &Context) -> Result<ExitStatus> {
    match arguments.command {
        Command::Score(arguments) => score::run(&arguments, context),
        Command::Instances(arguments) => instances::run(&arguments, context),
        Command::Report(arguments) => report::run(&arguments, context),
        Command::Compare(arguments) => compare::run(&arguments, context),
        Command::Show(arguments) => show::run(&arguments, context),
        Command::Watch(arguments) => watch::run(&arguments, context),
    }
}
