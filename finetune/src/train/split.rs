//! Which cases train and which validate, and whether every class occurs among them.

use crate::arguments::Train;
use data_manifests::splits::{self, Split};
use patches::ShardStore;
use stage::message::counted;
use stage::{Context, Message};
use std::collections::BTreeSet;

/// The stored split, or a fold, or the split that the descriptor declares, or a new one of the labelled cases.
pub(super) fn of(arguments: &Train, store: &ShardStore) -> anyhow::Result<Split> {
    let members = splits::members(store.rows(), store.descriptor().ignored());
    let seed = arguments.split_seed.unwrap_or(arguments.compute.seed);
    let unusable = |e: anyhow::Error| {
        Message::error("E402", e.to_string())
            .fix("Add labelled cases, give --split a file, or train on all of them with --val-share 0")
    };
    if let (Some(folds), Some(fold)) = (arguments.folds, arguments.fold) {
        let mut all = splits::cross_validation(&members, folds, seed).map_err(unusable)?;
        if fold >= all.len() {
            return Err(Message::error("E402", format!("--fold {fold} of {folds} folds numbered from 0"))
                .fix(format!("Give --fold a number from 0 to {}", folds - 1))
                .into());
        }
        return Ok(all.swap_remove(fold));
    }
    let Some(file) = &arguments.split else {
        if arguments.val_share == 0.0 {
            return Ok(Split::all(&members, seed).map_err(unusable)?);
        }
        let split = match Split::declared(store.descriptor(), &members, seed) {
            Ok(Some(declared)) => Ok(declared),
            Ok(None) => Split::new(&members, arguments.val_share, seed),
            Err(error) => Err(error),
        };
        return Ok(split.map_err(unusable)?);
    };
    let wrong = |detail: String, fix: &str| {
        Message::error("E412", "the split cannot be used").detail(detail).fix(fix)
    };
    if arguments.fold.is_none() && arguments.split_seed.is_some() {
        let detail =
            format!("{} has its own order of cases, which --split-seed does not change", file.display());
        return Err(wrong(detail, "Leave --split-seed out").into());
    }
    let split = match arguments.fold {
        Some(fold) => splits::load_nnunet(file, fold, &members, seed).map_err(|e| {
            wrong(format!("{e:#}"), "Give --split nnU-Net's splits_final.json and --fold one of its folds")
        })?,
        None => Split::load(file).map_err(|e| {
            wrong(
                format!("{e:#}"),
                "Make one with 'data-manifests split'; of nnU-Net's splits_final.json, name a --fold",
            )
        })?,
    };
    let known: BTreeSet<&str> = members.iter().map(|m| m.id.as_str()).collect();
    let unknown: Vec<&String> =
        split.train.iter().chain(&split.val).filter(|id| !known.contains(id.as_str())).collect();
    match unknown.first() {
        None => Ok(split),
        Some(first) => {
            let (path, count) = (file.display(), unknown.len());
            let detail = format!(
                "{path}: {count} ids are no labelled case of the shards, or of subjects published for testing: first {first}"
            );
            Err(wrong(detail, "Make one with 'data-manifests split'").into())
        }
    }
}

/// Warns of classes that no case in use has: W403, and how to change that.
pub(super) fn warn_about_classes(
    store: &ShardStore,
    classes: &[String],
    split: &Split,
    used: &[String],
    context: &Context,
) -> anyhow::Result<()> {
    let absent = |ids: &[String]| -> anyhow::Result<Vec<String>> {
        let found = occurring(store, ids)?;
        let names = classes.iter().enumerate().skip(1).filter(|(value, _)| !found.contains(value));
        Ok(names.map(|(_, name)| format!("'{name}'")).collect())
    };
    let missing = absent(used)?;
    if !missing.is_empty() {
        let others = absent(&split.train)?;
        let fix = if others.len() < missing.len() {
            "Use a larger --fraction or another --seed"
        } else {
            "Use another --seed or --split, or add labelled cases that have it"
        };
        let text = format!(
            "there is no {} in the labels of {}",
            missing.join(", "),
            counted(used.len(), "training case")
        );
        context.tell(Message::warning("W403", text).cause("The model cannot learn it").fix(fix));
    }
    let missing = if split.val.is_empty() { Vec::new() } else { absent(&split.val)? };
    if !missing.is_empty() {
        let text = format!(
            "there is no {} in the labels of {}",
            missing.join(", "),
            counted(split.val.len(), "validation case")
        );
        let fix = "Use another --seed, --val-share or --split";
        context.tell(Message::warning("W403", text).cause("It gets no score").fix(fix));
    }
    Ok(())
}

/// Label values with at least one voxel in any of the cases.
fn occurring(store: &ShardStore, ids: &[String]) -> anyhow::Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for id in ids {
        let case = store.case(id).map_err(|e| e.message(id))?;
        let counts = case.record().label.iter().flat_map(|label| &label.voxels);
        found.extend(counts.filter(|count| count.voxels > 0).map(|count| count.value as usize));
    }
    Ok(found)
}
