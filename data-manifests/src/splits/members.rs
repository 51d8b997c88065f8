//! What of a case decides its place in a split: its subject, and the classes that occur in it.

use crate::cases::{CaseRow, CaseSplit, CaseStatus, parse_label_voxels};
use std::collections::{BTreeMap, BTreeSet};

/// A case, its subject and its classes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Case id.
    pub id: String,
    /// Subject id.
    pub subject: String,
    /// Label values with at least one voxel, the background 0 and what nobody annotated left out; empty for labels that are objects.
    pub classes: BTreeSet<u64>,
}

/// The cases of a table that can be split: in the shards, labelled and not published for testing; nor is another case of a subject with one that
/// is. `ignore` is the data set's ignore value.
#[must_use]
pub fn members(rows: &[CaseRow], ignore: Option<u32>) -> Vec<Member> {
    let ignored = ignore.map_or(0, u64::from);
    let tests = rows.iter().filter(|row| row.split == CaseSplit::Test);
    let tested: BTreeSet<&str> = tests.map(|row| row.subject.as_str()).collect();
    rows.iter()
        .filter(|row| row.status == CaseStatus::Done && row.is_labelled())
        .filter(|row| !tested.contains(row.subject.as_str()))
        .map(|row| {
            let voxels = parse_label_voxels(&row.label_voxels).unwrap_or_default();
            let classes = voxels.into_iter().filter(|(value, n)| ![0, ignored].contains(value) && *n > 0);
            Member {
                id: row.id.clone(),
                subject: row.subject.clone(),
                classes: classes.map(|(value, _)| value).collect(),
            }
        })
        .collect()
}

/// A subject with all of its cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject<'a> {
    /// Sorted.
    pub(super) cases: BTreeSet<&'a str>,
    /// Of all of them.
    pub(super) classes: BTreeSet<u64>,
}

/// The subjects in the order of their ids: whatever order the cases come in, the same.
pub(super) fn subjects<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<Subject<'a>> {
    let mut found: BTreeMap<&str, Subject<'a>> = BTreeMap::new();
    for member in members {
        let subject = found
            .entry(&member.subject)
            .or_insert_with(|| Subject { cases: BTreeSet::new(), classes: BTreeSet::new() });
        subject.cases.insert(&member.id);
        subject.classes.extend(&member.classes);
    }
    found.into_values().collect()
}

/// The cases of subjects, one subject after the other.
pub(super) fn ids<'a>(subjects: impl IntoIterator<Item = &'a Subject<'a>>) -> Vec<String> {
    subjects.into_iter().flat_map(|s| &s.cases).map(|id| (*id).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_background_nor_what_nobody_annotated_is_a_class() {
        let row = CaseRow {
            id: "a".to_owned(),
            subject: "a".to_owned(),
            image: "a.nii.gz".to_owned(),
            label: "l.nii.gz".to_owned(),
            split: CaseSplit::Train,
            shape: "2x2x3".to_owned(),
            spacing: "1x1x1".to_owned(),
            status: CaseStatus::Done,
            digest: "00".to_owned(),
            label_voxels: "0:4;1:3;2:0;9:5".to_owned(),
        };
        let classes = |ignore| members(std::slice::from_ref(&row), ignore)[0].classes.clone();
        assert_eq!(classes(Some(9)), BTreeSet::from([1]));
        assert_eq!(classes(None), BTreeSet::from([1, 9]));
        // what is scored at the end takes no part, nor another scan of the same subject
        let of = |id: &str, subject: &str, split| CaseRow {
            id: id.into(),
            subject: subject.into(),
            split,
            ..row.clone()
        };
        let rows = [
            of("a", "s1", CaseSplit::Train),
            of("b", "s2", CaseSplit::Train),
            of("c", "s2", CaseSplit::Test),
            of("d", "s3", CaseSplit::Test),
        ];
        let ids: Vec<String> = members(&rows, None).into_iter().map(|member| member.id).collect();
        assert_eq!(ids, ["a"]);
    }
}
