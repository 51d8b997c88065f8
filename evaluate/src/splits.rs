//! Which splits are scored, and how that is said.

use std::collections::BTreeSet;

/// Whether cases of a split are scored: of none but those asked for, and where none was asked for of all but `train`, since a score on what
/// a model was trained on must be.
pub(crate) fn takes(wanted: &[String], split: &str) -> bool {
    if wanted.is_empty() { split != "train" } else { wanted.iter().any(|s| s == split) }
}

/// The splits of cases, each once, in the order of the alphabet; none where predictions do not say.
pub(crate) fn distinct<'a>(splits: impl Iterator<Item = Option<&'a str>>) -> Vec<String> {
    splits.flatten().collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
}
