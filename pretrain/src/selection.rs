//! Which cases are trained on: not those published for testing unless that was asked for, and some kept for questions.

use data_manifests::splits::{self, Split};
use data_manifests::{CaseSplit, cases, digest};
use patches::ShardStore;
use serde::{Deserialize, Serialize};
use stage::message::counted;
use stage::{Context, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

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

/// What becomes of cases without a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WithoutReport {
    /// They serve the visual loss
    #[default]
    VisualOnly,
    /// They are not trained on
    Skip,
    /// A run with any of them is refused
    Error,
}

impl WithoutReport {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Applies the rule to a data set of which `described` says whether a case has a report; gives how many cases it left out.
    ///
    /// # Errors
    /// `E311` for cases without where they are refused, `E320` where nothing is left to train on.
    pub(crate) fn apply(
        self,
        name: &str,
        ids: &mut Vec<String>,
        described: impl Fn(&str) -> bool,
    ) -> Result<usize, Message> {
        let before = ids.len();
        let first = ids.iter().find(|id| !described(id)).cloned();
        let without = ids.iter().filter(|id| !described(id)).count();
        match (self, first) {
            (Self::VisualOnly, _) | (_, None) => Ok(0),
            (Self::Error, Some(first)) => {
                let text = format!("{without} of {before} cases of {name} have no report: first {first}");
                Err(Message::error("E311", text)
                    .fix("Make their reports with text-synth, or give --without-report visual-only or skip"))
            }
            (Self::Skip, Some(_)) => {
                ids.retain(|id| described(id));
                if ids.is_empty() {
                    return Err(Message::error("E320", format!("no case of {name} has a report")).fix(
                        "Give its --text, leave its --shards out, or give --without-report visual-only",
                    ));
                }
                Ok(without)
            }
        }
    }
}

/// The rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SelectionRule {
    pub(crate) test_cases: TestCases,
    /// Share of the subjects of each data set that is kept for questions.
    pub(crate) holdout: f64,
    pub(crate) seed: u64,
    /// By data set the cases that are scored on later: neither trained on nor asked about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) left_out: BTreeMap<String, Vec<String>>,
    /// By data set the cases that the same splits train on: parts of one volume are cases of one subject.
    #[serde(skip)]
    pub(crate) trained_later: BTreeMap<String, BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "WithoutReport::is_default")]
    pub(crate) without_report: WithoutReport,
}

/// `DATASET=split.json`, or a fold `DATASET=splits_final.json#K` of a list of them: its validation cases are to be left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LeftOut {
    dataset: String,
    split: PathBuf,
    fold: Option<usize>,
}

impl FromStr for LeftOut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (dataset, split) =
            text.split_once('=').ok_or("give DATASET=FILE.json, or DATASET=FILE.json#FOLD")?;
        let fold = split.rsplit_once('#').and_then(|(file, fold)| Some((file, fold.parse().ok()?)));
        let (split, fold) = fold.map_or((split, None), |(file, fold)| (file, Some(fold)));
        Ok(Self { dataset: dataset.to_owned(), split: split.into(), fold })
    }
}

impl LeftOut {
    /// Adds the validation cases to a rule.
    ///
    /// # Errors
    /// `E337` for a file that is no split, or has no such fold.
    pub(crate) fn apply(&self, rule: &mut SelectionRule) -> anyhow::Result<()> {
        let found = match self.fold {
            // the order of training cases is of no account here
            Some(fold) => splits::load_nnunet(&self.split, fold, &[], 0),
            None => Split::load(&self.split),
        };
        let Split { train, val, .. } = found.map_err(|e| {
            Message::error("E337", "the split of --leave-out cannot be used").detail(format!("{e:#}")).fix(
                "Make one with 'data-manifests split'; of a list of folds, such as nnU-Net's splits_final.json, name one: DATASET=FILE.json#FOLD",
            )
        })?;
        rule.left_out.entry(self.dataset.clone()).or_default().extend(val);
        rule.trained_later.entry(self.dataset.clone()).or_default().extend(train);
        Ok(())
    }
}

/// Says which cases a rule leaves out that a data set does not have: a misspelt one would be trained on.
pub(crate) fn warn_of_unknown(store: &ShardStore, rule: &SelectionRule, context: &Context) {
    let name = &store.descriptor().name;
    let known: BTreeSet<&str> = store.rows().iter().map(|row| row.id.as_str()).collect();
    let named = rule.left_out.get(name).into_iter().flatten();
    let unknown: Vec<&String> = named.filter(|id| !known.contains(id.as_str())).collect();
    if let Some(first) = unknown.first() {
        let text = format!(
            "{} of --leave-out not among those of {name}: first {first}",
            counted(unknown.len(), "case")
        );
        context.tell(
            Message::warning("W337", text)
                .cause("preprocess could not convert them, or the split is of other shards")
                .fix("Compare the split with the shards' cases.csv"),
        );
    }
}

/// Refuses data sets to leave cases out of that are none of these.
///
/// # Errors
/// `E337`.
pub(crate) fn check_left_out<'a>(
    rule: &SelectionRule,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), Message> {
    let known: BTreeSet<&str> = names.collect();
    match rule.left_out.keys().find(|name| !known.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            Err(Message::error("E337", format!("--leave-out names '{name}', which is not pretrained on"))
                .fix(format!("Name one of {}", known.into_iter().collect::<Vec<_>>().join(", "))))
        }
    }
}

/// The cases of a data set, in the order of its table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selection {
    pub(crate) train: Vec<String>,
    pub(crate) held_out: Vec<String>,
    /// Cases that are kept from both: those that are scored on later, and others of their subjects.
    pub(crate) kept: Vec<String>,
    /// Of these the former.
    pub(crate) scored: BTreeSet<String>,
    /// Of the others those that stand on the other side of a split than one of their subject that is scored on.
    pub(crate) parted: BTreeSet<String>,
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
        message.detail(format!("{}: {}", store.directory().display(), counted(store.rows().len(), "case")))
    })
}

fn of_rows(name: &str, rows: &[cases::CaseRow], rule: &SelectionRule) -> Result<Selection, Message> {
    let is_test = |row: &cases::CaseRow| row.split == CaseSplit::Test;
    let tests = rows.iter().filter(|row| is_test(row)).count();
    if tests > 0 && rule.test_cases == TestCases::Refuse {
        let text = format!("{} of {name} among the cases to pretrain on", counted(tests, "test case"));
        return Err(Message::error("E312", text)
            .cause("Scores on them would come from an encoder that has seen their images")
            .fix("Give --test-cases leave-out, or --test-cases use: the encoder's plan will say so"));
    }
    let left_out: BTreeSet<&str> =
        rule.left_out.get(name).into_iter().flatten().map(String::as_str).collect();
    if !left_out.is_empty() && !rows.iter().any(|row| left_out.contains(row.id.as_str())) {
        return Err(Message::error("E337", format!("--leave-out names no case of {name}"))
            .cause("The split is of another data set")
            .fix("Give the split that these shards are fine-tuned by"));
    }
    // another scan of a subject that is scored on shows the same anatomy
    let is_named = |row: &cases::CaseRow| {
        left_out.contains(row.id.as_str()) || (rule.test_cases != TestCases::Use && is_test(row))
    };
    let apart: BTreeSet<&str> =
        rows.iter().filter(|row| is_named(row)).map(|row| row.subject.as_str()).collect();
    let trained_later = rule.trained_later.get(name);
    let is_parted = |row: &cases::CaseRow| {
        let trained = trained_later.is_some_and(|ids| ids.contains(&row.id));
        trained && !is_named(row) && apart.contains(row.subject.as_str())
    };
    let (used, kept): (Vec<&cases::CaseRow>, Vec<_>) =
        rows.iter().partition(|row| is_parted(row) || !apart.contains(row.subject.as_str()));
    let mut subjects: Vec<(String, &str)> = used
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
        used.into_iter().partition(|row| held.contains(row.subject.as_str()));
    if train.is_empty() {
        return Err(Message::error("E320", format!("no case of {name} is left to train on"))
            .fix("Run preprocess again, or change --test-cases, --leave-out or --holdout"));
    }
    let ids = |rows: Vec<&cases::CaseRow>| rows.into_iter().map(|row| row.id.clone()).collect();
    let test_cases_used = train.iter().filter(|row| is_test(row)).count();
    let those = |of: &dyn Fn(&cases::CaseRow) -> bool| {
        rows.iter().filter(|row| of(row)).map(|row| row.id.clone()).collect()
    };
    Ok(Selection {
        train: ids(train),
        held_out: ids(held_out),
        kept: ids(kept),
        scored: those(&is_named),
        parted: those(&is_parted),
        test_cases_used,
    })
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
        let without_report = WithoutReport::default();
        let (left_out, trained_later) = (BTreeMap::new(), BTreeMap::new());
        SelectionRule { test_cases, holdout, seed, left_out, trained_later, without_report }
    }

    #[test]
    fn cases_that_are_scored_on_later_are_neither_trained_on_nor_asked_about() {
        let rows = rows(10);
        let mut rule = rule(TestCases::LeaveOut, 0.25, 0);
        rule.left_out.insert("d".to_owned(), ["c0", "c1", "c6"].map(str::to_owned).to_vec());
        let found = of_rows("d", &rows, &rule).unwrap();
        let all: Vec<&String> = found.train.iter().chain(&found.held_out).collect();
        // of the two cases of a subject one is scored on
        assert_eq!(all.len(), 12);
        assert!(!all.iter().any(|id| ["c0", "c1", "c6", "c7"].contains(&id.as_str())), "{all:?}");
        assert_eq!(found.kept, ["c0", "c1", "c6", "c7", "c8", "c9", "c18", "c19"]);
        assert!(found.scored.contains("c6") && !found.scored.contains("c7") && found.parted.is_empty());
        assert_eq!(of_rows("other", &rows, &rule).unwrap().train.len(), 12);
        // parts of one volume, as the split parts them
        rule.trained_later.insert("d".to_owned(), BTreeSet::from(["c7".to_owned()]));
        let found = of_rows("d", &rows, &rule).unwrap();
        let all: Vec<&String> = found.train.iter().chain(&found.held_out).collect();
        assert!(all.len() == 13 && all.iter().any(|id| *id == "c7"), "{all:?}");
        assert!(found.parted.iter().eq(["c7"]) && !found.kept.contains(&"c7".to_owned()));
        let mut mixed = rows.clone();
        mixed[8].split = CaseSplit::Train;
        let found = of_rows("other", &mixed, &rule).unwrap();
        assert!(!found.train.iter().chain(&found.held_out).any(|id| id == "c8"), "{found:?}");
        rule.left_out.insert("d".to_owned(), vec!["elsewhere".to_owned()]);
        assert!(
            of_rows("d", &rows, &rule)
                .unwrap_err()
                .to_string()
                .contains("E337 --leave-out names no case of d")
        );
        assert!(check_left_out(&rule, ["d", "e"].into_iter()).is_ok());
        let said = check_left_out(&rule, ["e", "f"].into_iter()).unwrap_err().to_string();
        assert!(
            said.contains("'d', which is not pretrained on") && said.contains("Name one of e, f"),
            "{said}"
        );
        assert!("split.json".parse::<LeftOut>().is_err());
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
