//! Cross-validation, and nnU-Net's file of it.
//!
//! `splits_final.json` is a list with `{"train": […], "val": […]}` for every fold; nnU-Net sorts the ids. What comes first in a label fraction
//! is not in it and is drawn anew by whoever reads it.

use super::members::{Member, Subject, ids, subjects};
use super::{Split, stratify};
use anyhow::{Context, bail};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// The name that nnU-Net gives the file, in the folder of the preprocessed data set.
pub const NNUNET_FILE: &str = "splits_final.json";

/// A fold as nnU-Net stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fold {
    train: Vec<String>,
    val: Vec<String>,
}

/// Every case validates in exactly one of `folds` splits; subjects stay together, and every class is in every part where there are as many
/// subjects that have it.
///
/// # Errors
/// Fails for fewer than 2 folds, or fewer subjects than folds.
pub fn cross_validation(members: &[Member], folds: usize, seed: u64) -> anyhow::Result<Vec<Split>> {
    let subjects = subjects(members);
    if folds < 2 || subjects.len() < folds {
        bail!(
            "found {} labelled subjects for {folds} folds, expected at least 2 folds, and as many subjects",
            subjects.len()
        );
    }
    let mut order: Vec<_> = subjects.iter().collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let part = stratify::parts(&order, &vec![1.0 / folds as f64; folds]);
    let splits = (0..folds).map(|fold| {
        let (val, train): (Vec<_>, Vec<_>) = order.iter().zip(&part).partition(|(_, p)| **p == fold);
        let train: Vec<_> = train.into_iter().map(|(subject, _)| *subject).collect();
        Split::of(
            seed,
            ids(stratify::covering_first(&train)),
            ids(val.into_iter().map(|(subject, _)| *subject)),
        )
    });
    Ok(splits.collect())
}

/// The cases of subjects in an order drawn with `seed`, subjects together, those first that together have all classes.
pub(super) fn drawn(subjects: &[Subject<'_>], seed: u64) -> Vec<String> {
    let mut order: Vec<_> = subjects.iter().collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    ids(stratify::covering_first(&order))
}

/// Writes nnU-Net's file, atomically.
///
/// # Errors
/// Any failure to write.
pub fn save_nnunet(splits: &[Split], path: &Path) -> anyhow::Result<()> {
    let sorted = |ids: &[String]| {
        let mut ids = ids.to_vec();
        ids.sort();
        ids
    };
    let folds: Vec<Fold> =
        splits.iter().map(|s| Fold { train: sorted(&s.train), val: sorted(&s.val) }).collect();
    let mut text = serde_json::to_string_pretty(&folds)?;
    text.push('\n');
    Ok(stage::atomic::write(path, text.as_bytes())?)
}

fn read_nnunet(path: &Path) -> anyhow::Result<Vec<Fold>> {
    serde_json::from_str(&fs_err::read_to_string(path)?)
        .with_context(|| format!("{} is no list of folds", path.display()))
}

/// Checks nnU-Net's file without the cases that it is about.
///
/// # Errors
/// Names the file when it is not such a list, has no fold, or a case is in a fold twice.
pub fn check_nnunet(path: &Path) -> anyhow::Result<()> {
    let folds = read_nnunet(path)?;
    if folds.is_empty() {
        bail!("{}: the list has no folds", path.display());
    }
    for (number, fold) in folds.into_iter().enumerate() {
        let split = Split::of(0, fold.train, fold.val);
        split.check().with_context(|| format!("{}: fold {number}", path.display()))?;
    }
    Ok(())
}

/// A fold of nnU-Net's file; label fractions take its training cases in an order drawn with `seed`, subjects together, those first that have
/// all classes. Ids that are no member come last, for the caller to refuse.
///
/// # Errors
/// Names the file when it is not such a list, has no such fold, or a case is in the fold twice.
pub fn load_nnunet(path: &Path, fold: usize, members: &[Member], seed: u64) -> anyhow::Result<Split> {
    let place = path.display();
    let folds = read_nnunet(path)?;
    let Some(found) = folds.get(fold) else {
        bail!("{place}: found {} folds, numbered from 0; expected one of number {fold}", folds.len());
    };
    let named: BTreeSet<&str> = found.train.iter().map(String::as_str).collect();
    let subjects = subjects(members.iter().filter(|m| named.contains(m.id.as_str())));
    let mut train = drawn(&subjects, seed);
    let known: BTreeSet<&str> = members.iter().map(|m| m.id.as_str()).collect();
    train.extend(found.train.iter().filter(|id| !known.contains(id.as_str())).cloned());
    if train.len() != found.train.len() {
        bail!("{place}: fold {fold} names a training case twice");
    }
    let split = Split::of(seed, train, found.val.clone());
    split.check().with_context(|| format!("{place}: fold {fold}"))?;
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(n: usize) -> Vec<Member> {
        let classes = |i: usize| if i.is_multiple_of(4) { vec![1, 2] } else { vec![1] };
        (0..n)
            .map(|i| Member {
                id: format!("c{i:02}"),
                subject: format!("s{:02}", i / 2),
                classes: classes(i).into_iter().collect(),
            })
            .collect()
    }

    #[test]
    fn every_case_validates_once_and_every_class_is_everywhere() {
        let all = members(40);
        let splits = cross_validation(&all, 5, 7).unwrap();
        let mut validated: Vec<&String> = splits.iter().flat_map(|s| &s.val).collect();
        validated.sort();
        assert_eq!(validated, all.iter().map(|m| &m.id).collect::<Vec<_>>());
        for split in &splits {
            split.check().unwrap();
            assert_eq!((split.train.len(), split.val.len()), (32, 8));
            let with_two =
                |ids: &[String]| all.iter().filter(|m| m.classes.contains(&2) && ids.contains(&m.id)).count();
            assert_eq!((with_two(&split.val), with_two(&split.train)), (2, 8));
        }
        assert!(cross_validation(&all, 1, 7).is_err() && cross_validation(&all[..4], 3, 7).is_err());
    }

    #[test]
    fn folds_pass_through_the_file_of_nnunet() {
        let all = members(20);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NNUNET_FILE);
        let splits = cross_validation(&all, 4, 1).unwrap();
        save_nnunet(&splits, &path).unwrap();
        for (fold, split) in splits.iter().enumerate() {
            let read = load_nnunet(&path, fold, &all, 9).unwrap();
            assert_eq!(read.val, split.val);
            let sorted = |s: &Split| s.train.iter().cloned().collect::<BTreeSet<_>>();
            assert_eq!(sorted(&read), sorted(split));
            assert_ne!(read.train, split.train, "the order is that of the seed");
        }
        let error =
            |fold, members: &[Member]| format!("{:#}", load_nnunet(&path, fold, members, 9).unwrap_err());
        assert!(error(4, &all).ends_with("found 4 folds, numbered from 0; expected one of number 4"));
        // a case that the shards lack stays in the list: the caller says so
        assert!(load_nnunet(&path, 0, &all[2..], 9).unwrap().train.last() == Some(&"c01".to_owned()));
        fs_err::write(
            &path,
            r#"[{"train": ["c01", "c01"], "val": ["c02"]}, {"train": ["c01"], "val": ["c01"]}]"#,
        )
        .unwrap();
        assert!(error(0, &all).ends_with("fold 0 names a training case twice"));
        assert!(error(1, &all).ends_with("fold 1: case 'c01' is in the split twice"));
    }
}
