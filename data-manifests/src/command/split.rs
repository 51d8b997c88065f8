//! `data-manifests split`.

use crate::splits::{self, Split};
use crate::{CaseRow, Manifest, cases};
use stage::{Context, ExitStatus, Message};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Directory that 'preprocess' wrote
    #[arg(long, value_name = "DIR")]
    shards: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE.json")]
    out: PathBuf,
    /// Share of the subjects that go to validation; at least one does, and one remains
    #[arg(long, default_value_t = 0.2)]
    val_share: f64,
    /// Seed of the order
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    Manifest::load(&arguments.shards, "preprocess")?;
    let table = arguments.shards.join(cases::FILE_NAME);
    let rows: Vec<CaseRow> = cases::from_csv(&table)?;
    let split =
        Split::new(&splits::members(&rows), arguments.val_share, arguments.seed).map_err(|error| {
            Message::error("E018", "the cases cannot be split")
                .detail(format!("{}: {error:#}", table.display()))
                .fix("Use a --val-share between 0 and 1, and shards with at least 2 labelled subjects")
        })?;
    split.save(&arguments.out)?;
    let out = arguments.out.display();
    context.say(&format!("{out}: {} training and {} validation cases.", split.train.len(), split.val.len()));
    Ok(ExitStatus::Done)
}
