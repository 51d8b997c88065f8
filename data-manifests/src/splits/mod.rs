//! Validation splits and nested label fractions: seeded, grouped by subject, every class in every part where possible, stored.

mod as_nnunet;
mod folds;
mod members;
mod stratify;

pub use as_nnunet::nnunet_folds;
pub use folds::{NNUNET_FILE, check_nnunet, cross_validation, load_nnunet, save_nnunet};
pub use members::{Member, members};

use crate::descriptor::{Descriptor, PartRole, Raw};
use crate::raw::part_id;
use anyhow::{Context, bail};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Schema id of a stored split.
pub const SCHEMA: &str = "gtgm/split/1";

/// A validation split with the order in which training cases are taken for a label fraction.
///
/// The fraction `f` of `n` training cases is the first `max(1, round(f·n))` of `train`, so a smaller fraction is always a
/// subset of a larger one. Subjects that together have all classes come first.
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
    /// A split of these ids; the validation's are sorted.
    fn of(seed: u64, train: Vec<String>, mut val: Vec<String>) -> Self {
        val.sort();
        Self { schema: SCHEMA.to_owned(), seed, train, val }
    }

    /// Splits the members: about `val_share` of the subjects go to validation, and of those that have a class, for every class; at least
    /// one, never all.
    ///
    /// # Errors
    /// Fails with fewer than two subjects, or a share outside (0, 1).
    pub fn new(members: &[Member], val_share: f64, seed: u64) -> anyhow::Result<Self> {
        if !(val_share > 0.0 && val_share < 1.0) {
            bail!("the validation share must lie between 0 and 1, found {val_share}");
        }
        let subjects = members::subjects(members);
        if subjects.len() < 2 {
            bail!("a validation split needs at least 2 labelled subjects, found {}", subjects.len());
        }
        let mut order: Vec<_> = subjects.iter().collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let part = stratify::parts(&order, &[val_share, 1.0 - val_share]);
        let (val, train): (Vec<_>, Vec<_>) = order.iter().zip(part).partition(|(_, part)| *part == 0);
        let train: Vec<_> = train.into_iter().map(|(subject, _)| *subject).collect();
        let val = val.into_iter().map(|(subject, _)| *subject);
        Ok(Self::of(seed, members::ids(stratify::covering_first(&train)), members::ids(val)))
    }

    /// All members train, in the order of the nested fractions, and none validates.
    ///
    /// # Errors
    /// Fails without a member.
    pub fn all(members: &[Member], seed: u64) -> anyhow::Result<Self> {
        let subjects = members::subjects(members);
        if subjects.is_empty() {
            bail!("there is no labelled case to train on");
        }
        let mut order: Vec<_> = subjects.iter().collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        Ok(Self::of(seed, members::ids(stratify::covering_first(&order)), Vec::new()))
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
        let (mut train, val) = (of(PartRole::Train), of(PartRole::Val));
        for (role, ids) in [("train", &train), ("val", &val)] {
            if ids.is_empty() {
                bail!("no labelled case of role \"{role}\" is in the shards");
            }
        }
        train.sort();
        train.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        Ok(Some(Self::of(seed, train, val)))
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
        split.check().with_context(|| path.display().to_string())?;
        Ok(split)
    }

    /// Every case at most once, and some to train on; none validates where all train.
    fn check(&self) -> anyhow::Result<()> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.train.iter().chain(&self.val).find(|id| !seen.insert(id.as_str())) {
            bail!("case '{twice}' is in the split twice");
        }
        if self.train.is_empty() {
            bail!("found no training case, expected at least one");
        }
        Ok(())
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

    /// Class 1 everywhere, 2 in every third subject, 3 in every seventh.
    fn classes(subject: usize) -> BTreeSet<u64> {
        let has = |class: &u64| match class {
            2 => subject.is_multiple_of(3),
            3 => subject % 7 == 1,
            _ => true,
        };
        (1..4).filter(has).collect()
    }

    fn members(subjects: usize, each: usize) -> Vec<Member> {
        (0..subjects)
            .flat_map(|s| {
                (0..each).map(move |i| Member {
                    id: format!("c{s:03}_{i}"),
                    subject: format!("s{s:03}"),
                    classes: classes(s),
                })
            })
            .collect()
    }

    #[test]
    fn parts_of_one_sample_have_their_roles() {
        let descriptor = Descriptor::find("cremi-a").unwrap();
        let member = |id: &str| Member {
            id: id.to_owned(),
            subject: "sample_A_20160501".to_owned(),
            classes: BTreeSet::new(),
        };
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
        fn no_part_is_empty_whatever_classes_occur(sets in proptest::collection::vec(proptest::collection::btree_set(0u64..40, 0..6), 5..40), seed: u64) {
            let all: Vec<Member> = sets
                .into_iter()
                .enumerate()
                .map(|(i, classes)| Member { id: format!("c{i:03}"), subject: format!("s{i:03}"), classes })
                .collect();
            prop_assert!(Split::new(&all, 0.2, seed).unwrap().check().is_ok());
            for split in cross_validation(&all, 5, seed).unwrap() {
                prop_assert!(split.check().is_ok() && split.val.len() <= all.len().div_ceil(2));
                prop_assert_eq!(split.train.len() + split.val.len(), all.len());
            }
        }

        #[test]
        fn nothing_is_lost_and_subjects_stay_together(subjects in 2usize..60, each in 1usize..4, share in 0.01f64..0.99, seed: u64) {
            let all = members(subjects, each);
            let split = Split::new(&all, share, seed).unwrap();
            let train: BTreeSet<_> = split.train.iter().collect();
            let val: BTreeSet<_> = split.val.iter().collect();
            prop_assert!(train.is_disjoint(&val));
            prop_assert_eq!(train.len() + val.len(), all.len());
            prop_assert!(!train.is_empty() && !val.is_empty());
            for class in 1..4 {
                let with = |ids: &BTreeSet<&String>| all.iter().any(|m| m.classes.contains(&class) && ids.contains(&m.id));
                let subjects: BTreeSet<_> = all.iter().filter(|m| m.classes.contains(&class)).map(|m| &m.subject).collect();
                prop_assert!(subjects.len() < 2 || (with(&train) && with(&val)), "class {class} of {} subjects", subjects.len());
            }
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
