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
pub(crate) fn select(store: &ShardStore, rule: &SelectionRule) -> anyhow::Result<Selection> {
    let name = &store.descriptor().name;
    let is_test = |row: &cases::CaseRow| row.split == CaseSplit::Test;
    let tests = store.rows().iter().filter(|row| is_test(row)).count();
    if tests > 0 && rule.test_cases == TestCases::Refuse {
        let text = format!("{tests} test cases of {name} are among the cases to pretrain on");
        return Err(Message::error("E312", text)
            .cause("Scores on them would come from an encoder that has seen their images")
            .fix("Give --test-cases leave-out, or --test-cases use: the plan and every report will say so")
            .into());
    }
    let kept: Vec<&cases::CaseRow> =
        store.rows().iter().filter(|row| rule.test_cases == TestCases::Use || !is_test(row)).collect();
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
            .detail(format!("{}: {} cases", store.directory().display(), store.rows().len()))
            .fix("Run preprocess again, or change --test-cases or --holdout")
            .into());
    }
    let ids = |rows: Vec<&cases::CaseRow>| rows.into_iter().map(|row| row.id.clone()).collect();
    let test_cases_used = train.iter().filter(|row| is_test(row)).count();
    Ok(Selection { train: ids(train), held_out: ids(held_out), test_cases_used })
}
