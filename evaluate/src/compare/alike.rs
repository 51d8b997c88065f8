//! Whether runs were measured alike: a difference must not come from another policy, another data set or other references.

use crate::objects::OBJECTS;
use crate::summary::SummaryFile;
use anyhow::Result;
use data_manifests::{Artefact, Manifest};
use serde_json::Value;
use stage::message::counted;
use stage::{Context, Message};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A score and what it says of how it was made.
pub(super) struct Score {
    name: String,
    directory: PathBuf,
    manifest: Manifest,
    summary: SummaryFile,
}

impl Score {
    /// Of a finished score.
    ///
    /// # Errors
    /// A directory that holds none.
    pub(super) fn read(name: &str, directory: &Path) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            manifest: Manifest::load(directory, "score")?,
            summary: SummaryFile::read(directory)?,
        })
    }

    fn of_objects(&self) -> bool {
        self.summary.gtgm.classes.iter().any(|class| class.class == OBJECTS)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.manifest.parameters.get(name).and_then(Value::as_str)
    }

    fn references(&self) -> impl Iterator<Item = &Artefact> {
        self.manifest.inputs.iter().filter(|input| input.role == "references")
    }

    /// Digests of the references by where they lie: below a root, or on this machine.
    fn by_place(&self) -> BTreeMap<String, &str> {
        let place = |input: &Artefact| {
            if input.path.starts_with('$') {
                return input.path.clone();
            }
            let file = input.resolve(&self.directory);
            fs_err::canonicalize(&file).unwrap_or(file).display().to_string()
        };
        self.references().map(|input| (place(input), input.sha256.as_str())).collect()
    }

    /// Digests of the references by case, as far as a file's name says whose it is.
    fn by_case(&self) -> BTreeMap<&str, &str> {
        let name = |path: &str| {
            let file = path.split('#').next().unwrap_or(path).trim_end_matches('/');
            Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned())
        };
        let mut digests: BTreeMap<String, Option<&str>> = BTreeMap::new();
        for input in self.references() {
            let Some(name) = name(&input.path) else { continue };
            // two of one name are nobody's
            digests.entry(name).and_modify(|known| *known = None).or_insert(Some(&input.sha256));
        }
        let cases = self.summary.metric_per_case.iter();
        cases
            .filter_map(|entry| {
                Some((entry.case.as_str(), *digests.get(&name(&entry.reference_file)?)?.as_ref()?))
            })
            .collect()
    }
}

/// Something in which two runs differ: what it is, and how each has it.
type Difference = (String, String, String);

/// Refuses runs that were not measured as the first one was, and tells what else may make them differ; `wanted` says which definitions are compared.
///
/// # Errors
/// `E521` for another data set, policy, formula or kind of class, `E522` for references that were changed in between.
pub(super) fn check(scores: &[Score], wanted: impl Fn(&str) -> bool, context: &Context) -> Result<()> {
    let Some((first, others)) = scores.split_first() else { return Ok(()) };
    for other in others {
        let found = differences(first, other, &wanted);
        if !found.is_empty() {
            let said = |(what, one, two): &Difference| {
                format!("{what}: {one} in '{}', {two} in '{}'", first.name, other.name)
            };
            return Err(Message::error("E521", format!("'{}' was not measured as '{}' was", other.name, first.name))
                .detail(found.iter().map(said).collect::<Vec<_>>().join("; "))
                .cause("A difference could come from the measure alone")
                .fix("Score both again with the same --dataset and the same options (--policy; of objects --border-nm, --zero, --min-part)")
                .into());
        }
        references(first, other)?;
        warn(first, other, context);
    }
    Ok(())
}

/// In what two runs differ that decides the meaning of their numbers. How classes become a report's mean does not: no number here is one.
fn differences(first: &Score, other: &Score, wanted: &impl Fn(&str) -> bool) -> Vec<Difference> {
    let [one, two] = [&first.summary.gtgm, &other.summary.gtgm];
    let mut found = Vec::new();
    let mut unless_equal = |what: String, one: &str, two: &str| {
        if one != two {
            found.push((what, one.to_owned(), two.to_owned()));
        }
    };
    unless_equal("data set".to_owned(), &one.dataset.name, &two.dataset.name);
    unless_equal("policy".to_owned(), &one.policy.to_string(), &two.policy.to_string());
    if first.of_objects() && other.of_objects() {
        unless_equal("evaluated voxels".to_owned(), &one.missing_rule, &two.missing_rule);
    }
    for class in &one.classes {
        if let Some(same) = two.classes.iter().find(|c| c.class == class.class) {
            unless_equal(format!("class {}", class.class), &class.name, &same.name);
        }
    }
    for note in one.definitions.iter().filter(|note| wanted(&note.id)) {
        if let Some(same) = two.definitions.iter().find(|d| d.id == note.id) {
            unless_equal(format!("definition of {}", note.id), &note.text, &same.text);
        }
    }
    found
}

/// Refuses references that were changed between two scores.
fn references(first: &Score, other: &Score) -> Result<(), Message> {
    let known = first.by_place();
    let found = other.by_place();
    let changed: Vec<_> = found
        .iter()
        .filter_map(|(place, two)| known.get(place).filter(|one| *one != two).map(|one| (place, one, two)))
        .collect();
    let Some((place, one, two)) = changed.first() else { return Ok(()) };
    let text = format!(
        "'{}' and '{}' have other references in {}",
        other.name,
        first.name,
        counted(changed.len(), "case")
    );
    Err(Message::error("E522", text)
        .detail(format!("{place}: SHA-256 {one} in '{}', {two} in '{}'", first.name, other.name))
        .cause("They were changed between the two scores")
        .fix("Score both again against the same references"))
}

/// Tells what may make runs differ beside their predictions.
fn warn(first: &Score, other: &Score, context: &Context) {
    let [one, two] =
        [first, other].map(|score| (score.parameter("missing"), score.summary.gtgm.cases.missing));
    if let ((Some(rule), missing), (Some(other_rule), other_missing)) = (one, two)
        && rule != other_rule
        && missing + other_missing > 0
    {
        let text = format!("'{}' and '{}' treat missing predictions differently", first.name, other.name);
        context.tell(
            Message::warning("W516", text)
                .detail(format!(
                    "--missing {rule} with {missing} missing, --missing {other_rule} with {other_missing} missing"
                ))
                .cause("With worst they count as empty predictions, with skip their cases are compared in no run")
                .fix("Score both with the same --missing"),
        );
    }
    if first.parameter("descriptor") != other.parameter("descriptor") {
        let name = &first.summary.gtgm.dataset.name;
        let text = format!(
            "'{}' and '{}' were scored with different descriptors of '{name}'",
            first.name, other.name
        );
        context.tell(
            Message::warning("W517", text)
                .cause("Classes, ignored values or maps of values may differ")
                .fix("Score both with the same descriptor unless only its texts changed"),
        );
    }
    let known = first.by_case();
    let cases: Vec<&str> = other
        .by_case()
        .into_iter()
        .filter_map(|(case, digest)| known.get(case).filter(|d| **d != digest).map(|_| case))
        .collect();
    if let Some(example) = cases.first() {
        let text = format!(
            "{}: reference files in '{}' are not those in '{}' (first: {example})",
            counted(cases.len(), "case"),
            other.name,
            first.name
        );
        context.tell(
            Message::warning("W518", text)
                .fix("Score both against the same references unless they hold the same labels"),
        );
    }
}
