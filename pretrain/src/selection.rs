//! Which cases are trained on: not those published for testing unless that was asked for, and some kept for questions.

use data_manifests::{CaseSplit, cases, digest};
use patches::ShardStore;
use serde::{Deserialize, Serialize};
use stage::Message;
use std::collections::BTreeSet;

/// What becomes of the cases that are published for testing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TestCases {
    /// A run with any of them is refused
    Refuse,
    /// They are not trained on
    LeaveOut,
    /// They are trained on like the others, and the plan says so
    Use,
}

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct SelectionRule {
    pub(crate) test_cases: TestCases,
    /// Share of the subjects of each data set that is kept for questions.
    pub(crate) holdout: f64,
    pub(crate) seed: u64,
}

/// The cases of a data set, in the order of its table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selection {
    pub(crate) train: Vec<String>,
    pub(crate) held_out: Vec<String>,
    /// Test cases among the trained ones.
    pub(crate) test_cases_used: usize,
}

/// Applies the rule to a data set. Cases of one subject are never parted; which subjects are held out is a function of seed,
/// data set and subject, so that a data set that grows keeps its held-out subjects apart but for the new ones.
///
/// # Errors
/// `E312` for test cases where they are refused, `E320` where nothing is left to train on.
pub(crate) fn select(store: &ShardStore, rule: &SelectionRule) -> Result<Selection, Message> {
    of_rows(&store.descriptor().name, store.rows(), rule).map_err(|message| {
        message.detail(format!("{}: {} cases", store.directory().display(), store.rows().len()))
    })
}

fn of_rows(name: &str, rows: &[cases::CaseRow], rule: &SelectionRule) -> Result<Selection, Message> {
    let is_test = |row: &cases::CaseRow| row.split == CaseSplit::Test;
    let tests = rows.iter().filter(|row| is_test(row)).count();
    if tests > 0 && rule.test_cases == TestCases::Refuse {
        let text = format!("{tests} test cases of {name} are among the cases to pretrain on");
        return Err(Message::error("E312", text)
            .cause("Scores on them would come from an encoder that has seen their images")
            .fix("Give --test-cases leave-out, or --test-cases use: the plan and every report will say so"));
    }
    let kept: Vec<&cases::CaseRow> =
        rows.iter().filter(|row| rule.test_cases == TestCases::Use || !is_test(row)).collect();
    let mut subjects: Vec<(String, &str)> = kept
        .iter()
        .map(|row| row.subject.as_str())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|subject| (digest::sha256_hex(format!("{}/{name}/{subject}", rule.seed).as_bytes()), subject))
        .collect();
    subjects.sort();
    let count = (subjects.len() as f64 * rule.holdout).round() as usize;
    let held: BTreeSet<&str> = subjects.iter().take(count).map(|(_, subject)| *subject).collect();
    let (held_out, train): (Vec<_>, Vec<_>) =
        kept.into_iter().partition(|row| held.contains(row.subject.as_str()));
    if train.is_empty() {
        return Err(Message::error("E320", format!("no case of {name} is left to train on"))
            .fix("Run preprocess again, or change --test-cases or --holdout"));
    }
    let ids = |rows: Vec<&cases::CaseRow>| rows.into_iter().map(|row| row.id.clone()).collect();
    let test_cases_used = train.iter().filter(|row| is_test(row)).count();
    Ok(Selection { train: ids(train), held_out: ids(held_out), test_cases_used })
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_manifests::CaseStatus;

    /// Two cases of each subject; every fifth subject is one for testing.
    fn rows(subjects: usize) -> Vec<cases::CaseRow> {
        (0..2 * subjects)
            .map(|i| cases::CaseRow {
                id: format!("c{i}"),
                subject: format!("s{}", i / 2),
                image: String::new(),
                label: String::new(),
                split: if i / 2 % 5 == 4 { CaseSplit::Test } else { CaseSplit::Train },
                shape: String::new(),
                spacing: String::new(),
                status: CaseStatus::Done,
                digest: String::new(),
                label_voxels: String::new(),
            })
            .collect()
    }

    fn rule(test_cases: TestCases, holdout: f64, seed: u64) -> SelectionRule {
        SelectionRule { test_cases, holdout, seed }
    }

    #[test]
    fn subjects_are_held_out_as_a_whole_and_for_good() {
        let rows = rows(40);
        let select = |rows: &[cases::CaseRow], seed| {
            of_rows("d", rows, &rule(TestCases::LeaveOut, 0.25, seed)).unwrap()
        };
        let found = select(&rows, 1);
        assert_eq!((found.train.len(), found.held_out.len(), found.test_cases_used), (48, 16, 0));
        let subject = |id: &String| id[1..].parse::<usize>().unwrap() / 2;
        let held: BTreeSet<usize> = found.held_out.iter().map(subject).collect();
        assert_eq!(held.len(), 8);
        assert!(found.train.iter().all(|id| !held.contains(&subject(id)) && subject(id) % 5 != 4));
        assert_eq!(select(&rows, 1), found);
        assert_ne!(select(&rows, 2).held_out, found.held_out);
        // of a smaller set, those that were held out of it stay so but for the share
        let fewer = select(&rows[..70], 1);
        let stay = fewer.held_out.iter().filter(|id| found.held_out.contains(id)).count();
        assert!(stay + 4 >= fewer.held_out.len(), "{fewer:?} {found:?}");
    }

    #[test]
    fn cases_for_testing_are_refused_left_out_or_counted() {
        let rows = rows(10);
        let refused = of_rows("d", &rows, &rule(TestCases::Refuse, 0.0, 0)).unwrap_err().to_string();
        assert!(refused.contains("E312 4 test cases of d"), "{refused}");
        assert_eq!(of_rows("d", &rows, &rule(TestCases::Use, 0.0, 0)).unwrap().test_cases_used, 4);
        let none = of_rows("d", &rows[8..10], &rule(TestCases::LeaveOut, 0.0, 0)).unwrap_err().to_string();
        assert!(none.contains("E320"), "{none}");
        // a share below half a subject holds nobody out
        assert!(of_rows("d", &rows, &rule(TestCases::Use, 0.04, 0)).unwrap().held_out.is_empty());
    }
}
