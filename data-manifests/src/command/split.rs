//! `data-manifests split`.

use crate::splits::{self, Split};
use crate::{CaseRow, Descriptor, Manifest, cases};
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
    /// Share of the subjects that go to validation, where the descriptor's parts have no roles; at least one does, and one remains
    #[arg(long, default_value_t = 0.2)]
    val_share: f64,
    /// Cross-validation in so many folds instead, written as nnU-Net's splits_final.json
    #[arg(long, value_name = "N", conflicts_with = "val_share")]
    folds: Option<usize>,
    /// The five folds that nnU-Net draws of these cases, written as its splits_final.json; unlike the others they may part subjects
    #[arg(long, conflicts_with_all = ["val_share", "folds", "seed"])]
    nnunet: bool,
    /// Seed of the order
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    Manifest::load(&arguments.shards, "preprocess")?;
    let table = arguments.shards.join(cases::FILE_NAME);
    let rows: Vec<CaseRow> = cases::from_csv(&table)?;
    let descriptor = Descriptor::find(&arguments.shards.join("dataset.toml").display().to_string())?;
    let members = splits::members(&rows, descriptor.ignored());
    let refused = |error: anyhow::Error, fix: &str| {
        Message::error("E018", "the cases cannot be split")
            .detail(format!("{}: {error:#}", table.display()))
            .fix(fix)
    };
    let out = arguments.out.display();
    if arguments.nnunet {
        let (all, parted) = splits::nnunet_folds(&members, arguments.seed)
            .map_err(|error| refused(error, "Give shards with at least 5 labelled cases"))?;
        if parted > 0 {
            let text =
                format!("{parted} subjects are in training and validation of a fold, as nnU-Net draws them");
            context.tell(
                Message::warning("W108", text)
                    .cause("Scores on cases of a subject that was trained on flatter a model")
                    .fix("Draw folds with --folds 5, which keeps subjects together"),
            );
        }
        splits::save_nnunet(&all, &arguments.out)?;
        context.say(&format!("{out}: nnU-Net's {} folds of {} cases.", all.len(), members.len()));
        return Ok(ExitStatus::Done);
    }
    if let Some(folds) = arguments.folds {
        let all = splits::cross_validation(&members, folds, arguments.seed).map_err(|error| {
            refused(error, "Use --folds of 2 or more, and shards with as many labelled subjects")
        })?;
        splits::save_nnunet(&all, &arguments.out)?;
        let sizes: Vec<String> = all.iter().map(|split| split.val.len().to_string()).collect();
        context.say(&format!("{out}: {folds} folds of {} validation cases.", sizes.join(", ")));
        return Ok(ExitStatus::Done);
    }
    let split = match Split::declared(&descriptor, &members, arguments.seed)? {
        Some(declared) => declared,
        None => Split::new(&members, arguments.val_share, arguments.seed).map_err(|error| {
            refused(error, "Use a --val-share between 0 and 1, and shards with at least 2 labelled subjects")
        })?,
    };
    split.save(&arguments.out)?;
    context.say(&format!("{out}: {} training and {} validation cases.", split.train.len(), split.val.len()));
    Ok(ExitStatus::Done)
}
