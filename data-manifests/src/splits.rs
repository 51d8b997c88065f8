//! Validation splits and nested label fractions: seeded, grouped by subject, stored.

use crate::cases::{CaseRow, CaseStatus};
use crate::descriptor::{Descriptor, PartRole, Raw};
use crate::raw::part_id;
use anyhow::{Context, bail};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Schema id of a stored split.
pub const SCHEMA: &str = "gtgm/split/1";

/// A case and its subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Case id.
    pub id: String,
    /// Subject id.
    pub subject: String,
}

/// The cases of a table that can be split: in the shards and labelled.
#[must_use]
pub fn members(rows: &[CaseRow]) -> Vec<Member> {
    rows.iter()
        .filter(|row| row.status == CaseStatus::Done && row.is_labelled())
        .map(|row| Member { id: row.id.clone(), subject: row.subject.clone() })
        .collect()
}

/// A validation split with the order in which training cases are taken for a label fraction.
///
/// The fraction `f` of `n` training cases is the first `max(1, round(f·n))` of `train`, so a smaller fraction is always a
/// subset of a larger one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// [`SCHEMA`].
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// Seed.
    pub seed: u64,
    /// Training ids in the order of the nested fractions.
    pub train: Vec<String>,
    /// Validation ids, sorted.
    pub val: Vec<String>,
}

impl Split {
    /// Splits the members: about `val_share` of the subjects go to validation, at least one, never all.
    ///
    /// # Errors
    /// Fails with fewer than two subjects, or a share outside (0, 1).
    pub fn new(members: &[Member], val_share: f64, seed: u64) -> anyhow::Result<Self> {
        if !(val_share > 0.0 && val_share < 1.0) {
            bail!("the validation share must lie between 0 and 1, found {val_share}");
        }
        let mut subjects: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for member in members {
            subjects.entry(&member.subject).or_default().insert(&member.id);
        }
        if subjects.len() < 2 {
            bail!("a validation split needs at least 2 labelled subjects, found {}", subjects.len());
        }
        let mut order: Vec<&str> = subjects.keys().copied().collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let wanted = (val_share * order.len() as f64).round() as usize;
        let held = wanted.clamp(1, order.len() - 1);
        let ids = |part: &[&str]| -> Vec<String> {
            part.iter().flat_map(|subject| &subjects[subject]).map(|id| (*id).to_owned()).collect()
        };
        let mut val = ids(&order[..held]);
        val.sort();
        Ok(Self { schema: SCHEMA.to_owned(), seed, train: ids(&order[held..]), val })
    }

    /// The split that a descriptor declares by the roles of its parts, of the members that there are; `None` where it declares none.
    ///
    /// # Errors
    /// Fails when the members of a role are all absent.
    pub fn declared(descriptor: &Descriptor, members: &[Member], seed: u64) -> anyhow::Result<Option<Self>> {
        let Raw::Cremi { files, parts, .. } = &descriptor.raw else { return Ok(None) };
        if parts.is_empty() {
            return Ok(None);
        }
        let known: BTreeSet<&str> = members.iter().map(|member| member.id.as_str()).collect();
        let of = |role: PartRole| -> Vec<String> {
            let parts = parts.iter().filter(|part| part.role == role);
            let ids = parts.flat_map(|part| files.iter().map(|file| part_id(file, part)));
            ids.filter(|id| known.contains(id.as_str())).collect()
        };
        let (mut train, mut val) = (of(PartRole::Train), of(PartRole::Val));
        for (role, ids) in [("train", &train), ("val", &val)] {
            if ids.is_empty() {
                bail!("no labelled case of role \"{role}\" is in the shards");
            }
        }
        train.sort();
        train.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        val.sort();
        Ok(Some(Self { schema: SCHEMA.to_owned(), seed, train, val }))
    }

    /// Writes the split as JSON, atomically.
    ///
    /// # Errors
    /// Any failure to write.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(stage::atomic::write(path, text.as_bytes())?)
    }

    /// Reads a stored split.
    ///
    /// # Errors
    /// Names the file when it is not a split of this version, or a case is in it twice.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let split: Self = serde_json::from_str(&fs_err::read_to_string(path)?)
            .with_context(|| format!("{} is no split", path.display()))?;
        if split.schema != SCHEMA {
            bail!("{}: found schema {}, expected {SCHEMA}", path.display(), split.schema);
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = split.train.iter().chain(&split.val).find(|id| !seen.insert(id.as_str())) {
            bail!("{}: case '{twice}' is in the split twice", path.display());
        }
        if split.train.is_empty() || split.val.is_empty() {
            bail!(
                "{}: found {} training and {} validation cases, expected at least one of each",
                path.display(),
                split.train.len(),
                split.val.len()
            );
        }
        Ok(split)
    }

    /// The training ids of a label fraction, at least one.
    ///
    /// # Errors
    /// Fails for a fraction outside (0, 1].
    pub fn fraction(&self, fraction: f64) -> anyhow::Result<&[String]> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            bail!("the label fraction must lie above 0 and not above 1, found {fraction}");
        }
        let n = (fraction * self.train.len() as f64).round() as usize;
        Ok(&self.train[..n.clamp(1, self.train.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(subjects: usize, each: usize) -> Vec<Member> {
        (0..subjects)
            .flat_map(|s| {
                (0..each).map(move |i| Member { id: format!("c{s:03}_{i}"), subject: format!("s{s:03}") })
            })
            .collect()
    }

    #[test]
    fn parts_of_one_sample_have_their_roles() {
        let descriptor = Descriptor::find("cremi-a").unwrap();
        let member = |id: &str| Member { id: id.to_owned(), subject: "sample_A_20160501".to_owned() };
        let all = ["sample_A_20160501_train", "sample_A_20160501_val"].map(member);
        let split = Split::declared(&descriptor, &all, 3).unwrap().unwrap();
        assert_eq!((&split.train, &split.val), (&vec![all[0].id.clone()], &vec![all[1].id.clone()]));
        let error = Split::declared(&descriptor, &all[..1], 3).unwrap_err().to_string();
        assert_eq!(error, "no labelled case of role \"val\" is in the shards");
        let other = Descriptor::find("msd04-hippocampus").unwrap();
        assert_eq!(Split::declared(&other, &all, 3).unwrap(), None);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_subjects_stay_together(subjects in 2usize..60, each in 1usize..4, share in 0.01f64..0.99, seed: u64) {
            let all = members(subjects, each);
            let split = Split::new(&all, share, seed).unwrap();
            let train: BTreeSet<_> = split.train.iter().collect();
            let val: BTreeSet<_> = split.val.iter().collect();
            prop_assert!(train.is_disjoint(&val));
            prop_assert_eq!(train.len() + val.len(), all.len());
            prop_assert!(!train.is_empty() && !val.is_empty());
            for member in &all {
                for other in &all {
                    if member.subject == other.subject {
                        prop_assert_eq!(train.contains(&member.id), train.contains(&other.id));
                    }
                }
            }
            let mut shuffled = all.clone();
            shuffled.reverse();
            prop_assert_eq!(Split::new(&shuffled, share, seed).unwrap(), split);
        }

        #[test]
        fn fractions_nest(n in 2usize..300, seed: u64, a in 0.001f64..1.0, b in 0.001f64..1.0) {
            let split = Split::new(&members(n, 1), 0.2, seed).unwrap();
            let (small, large) = (split.fraction(a.min(b)).unwrap(), split.fraction(a.max(b)).unwrap());
            prop_assert!(!small.is_empty());
            prop_assert_eq!(&large[..small.len()], small);
            prop_assert_eq!(split.fraction(1.0).unwrap().len(), split.train.len());
        }
    }

    #[test]
    fn one_subject_cannot_be_split() {
        assert!(Split::new(&members(1, 3), 0.2, 0).is_err());
        assert!(Split::new(&members(5, 1), 0.2, 0).unwrap().fraction(0.0).is_err());
    }
}
