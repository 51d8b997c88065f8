//! What was in the output directory before a run, to say why cases of it are made anew.

use crate::convert::Outcome;
use crate::messages::some_names;
use data_manifests::Manifest;
use data_manifests::raw::RawCase;
use patches::ShardStore;
use serde_json::Value;
use stage::message::counted;
use stage::{Context, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Parameters that decide no voxel.
const HARMLESS: [&str; 20] = [
    "only",
    "listing",
    "descriptor.title",
    "descriptor.source",
    "descriptor.citation",
    "descriptor.licence",
    "descriptor.train_cases",
    "descriptor.test_cases",
    "descriptor.raw.folder",
    "descriptor.raw.images",
    "descriptor.raw.labels",
    "descriptor.raw.file",
    "descriptor.raw.files",
    "descriptor.raw.cases",
    "descriptor.text",
    "descriptor.mirror_axes",
    "descriptor.tolerance",
    "descriptor.published",
    "descriptor.grid.patch_zyx",
    "descriptor.grid.source",
];

/// Names that users know; other parameters keep their own.
const NAMES: [(&str, &str); 6] = [
    ("descriptor.raw.spacing_zyx", "spacing_zyx"),
    ("descriptor.raw.unit", "spacing_zyx"),
    ("descriptor.grid.spacing_zyx", "target_spacing"),
    ("descriptor.grid.unit", "target_spacing"),
    ("descriptor.labels.map", "label_map"),
    ("non_finite", "nan"),
];

/// The state before a run.
#[derive(Debug)]
pub(crate) struct Before {
    /// Of a finished run.
    manifest: Option<Manifest>,
    /// Cases that were there, whole or not.
    ids: BTreeSet<String>,
}

impl Before {
    /// Looks at `out` for these cases.
    pub(crate) fn of(out: &Path, cases: &[RawCase]) -> Self {
        let is_there = |case: &&RawCase| ShardStore::case_directory(out, &case.id).is_dir();
        Self {
            // a directory without a usable manifest has no known rules
            manifest: Manifest::load(out, "preprocess").ok(),
            ids: cases.iter().filter(is_there).map(|case| case.id.clone()).collect(),
        }
    }

    /// Says how many cases were made anew, and why.
    pub(crate) fn tell(
        &self,
        outcomes: &[Outcome],
        cases: &[RawCase],
        manifest: &Manifest,
        context: &Context,
    ) {
        let kept = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Kept(_))).count();
        let again = outcomes
            .iter()
            .zip(cases)
            .filter(|(outcome, case)| matches!(outcome, Outcome::Converted(_)) && self.ids.contains(&case.id))
            .count();
        if again == 0 {
            return;
        }
        let why = match &self.manifest {
            None => "damaged, or made by other rules".to_owned(),
            Some(old) => reasons(old, manifest),
        };
        context.tell(Message::info(
            "I170",
            format!("{} reused, {again} recomputed ({why})", counted(kept, "case")),
        ));
    }
}

/// What differs between the work of two manifests.
fn reasons(old: &Manifest, new: &Manifest) -> String {
    let mut reasons = Vec::new();
    if old.tool.version != new.tool.version {
        reasons.push(format!("program {} instead of {}", new.tool.version, old.tool.version));
    }
    let plan = changed_parameters(&old.parameters, &new.parameters);
    if !plan.is_empty() {
        reasons.push(format!("plan changed: {}", plan.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let digests = |manifest: &Manifest| -> BTreeMap<String, String> {
        let raw = manifest.inputs.iter().filter(|input| input.role == "raw");
        raw.map(|input| (input.path.clone(), input.sha256.clone())).collect()
    };
    let before = digests(old);
    let files: Vec<String> = digests(new)
        .into_iter()
        .filter(|(path, sha256)| before.get(path).is_some_and(|old| old != sha256))
        .map(|(path, _)| path.trim_start_matches("$RAW/").to_owned())
        .collect();
    if !files.is_empty() {
        reasons.push(format!("raw files changed: {}", some_names(&files)));
    }
    if reasons.is_empty() { "damaged".to_owned() } else { reasons.join("; ") }
}

/// Names of the parameters that decide voxels and differ.
fn changed_parameters(old: &Value, new: &Value) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    compare("", old, new, &mut changed);
    changed
}

fn compare(path: &str, old: &Value, new: &Value, changed: &mut BTreeSet<String>) {
    if old == new || HARMLESS.contains(&path) {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (old, new)
        && !NAMES.iter().any(|(known, _)| *known == path)
    {
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let value = |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or_default();
            compare(&inner, &value(a), &value(b), changed);
        }
        return;
    }
    let known = NAMES.iter().find(|(known, _)| *known == path).map(|(_, name)| (*name).to_owned());
    changed.insert(known.unwrap_or_else(|| path.trim_start_matches("descriptor.").to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_named_as_users_know_them() {
        let value = |spacing: f64, stride: u32, high: f64, nan: &str| {
            json!({
                "descriptor": {
                    "grid": {"unit": "mm", "spacing_zyx": [spacing, 1.0, 1.0], "patch_zyx": [1, 2, stride]},
                    "intensity": {"rule": "ct-window", "low": 0.0, "high": high},
                    "text": {"stride": stride},
                },
                "non_finite": nan,
                "only": [stride],
            })
        };
        let names = |a: &Value, b: &Value| changed_parameters(a, b).into_iter().collect::<Vec<_>>();
        let old = value(1.0, 3, 10.0, "error");
        assert_eq!(names(&old, &value(1.0, 4, 10.0, "error")), [""; 0]);
        assert_eq!(names(&old, &value(2.0, 3, 10.0, "error")), ["target_spacing"]);
        assert_eq!(names(&old, &value(1.0, 3, 11.0, "fill-min")), ["intensity.high", "nan"]);
    }
}
