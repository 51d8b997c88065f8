//! The command line: a run, or one of the commands around it.

use crate::{arguments, info, plan, preview, treatment, verify};
use stage::{Context, ExitStatus, Message};

const EXAMPLES: &str = "\
Examples:
  preprocess --dataset msd04-hippocampus --raw data/Task04_Hippocampus --out runs/hippocampus/shards
  preprocess --dataset my-data.toml --raw data/mine --out shards --only case_01,case_07
  preprocess --dataset nnUNet_raw/Dataset017_Mine --out shards
  preprocess --dataset cremi-a --raw data/CREMI --out shards --dry-run
  preprocess plan --dataset my-data.toml --raw data/mine --out plan.json
  preprocess info data/mine/case_01.nii.gz --dataset my-data.toml
  preprocess preview --shards shards --raw data/mine --out preview
  preprocess verify shards
  preprocess verify shards --repair case_07 --raw data/mine

'preprocess COMMAND --help' has more. Flags of a run and commands exclude each other; give --quiet, --log and --config
after the command's name.

Exit codes: 0 done, 1 a data or run error, 2 wrong usage, 3 finished with some cases failed, 75 interrupted: rerun.";

/// Raw volumes to shards
///
/// Reads a data set in place, brings every volume to canonical orientation, target spacing and normalised intensities,
/// crops it to its foreground and writes Zarr v3 shards with a manifest. Run it again after an interruption: finished
/// cases are kept.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "preprocess",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Arguments {
    #[command(flatten)]
    common: stage::Common,
    #[command(flatten)]
    run: Option<arguments::Arguments>,
    // not inside of the former: a group that holds another is never taken as given
    #[command(flatten)]
    treatment: treatment::Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    /// Say what volumes hold and what a run would do with them
    Info(info::Arguments),
    /// Measure a data set, and plan spacing, patch and intensities
    Plan(plan::Arguments),
    /// Draw cases before and after, with label outlines
    Preview(preview::Arguments),
    /// Check every byte of a shard directory, and make damaged cases anew
    Verify(verify::Arguments),
}

impl stage::run::HasCommon for Arguments {
    fn common(&self) -> &stage::Common {
        &self.common
    }
}

/// Runs what the command line says.
///
/// # Errors
/// Fails when nothing can be done at all; single bad cases of a run give [`ExitStatus::Partial`].
pub fn run(arguments: Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    match (arguments.command, arguments.run) {
        (Some(Command::Info(arguments)), _) => info::run(&arguments, context),
        (Some(Command::Plan(arguments)), _) => plan::run(&arguments, context),
        (Some(Command::Preview(arguments)), _) => preview::run(&arguments, context),
        (Some(Command::Verify(arguments)), _) => verify::run(&arguments, context),
        (None, Some(run)) => crate::run::run(run, arguments.treatment.treatment(), context),
        (None, None) => {
            context.tell(Message::error("E002", "nothing to do").fix("See 'preprocess --help'"));
            Ok(ExitStatus::Usage)
        }
    }
}
