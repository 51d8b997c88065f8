//! Files with what was chosen on the predictions of some models, which are for these models alone.

use crate::model;
use data_manifests::{Artefact, Manifest, digest, manifest};
use serde::de::DeserializeOwned;
use stage::Message;
use std::path::{Path, PathBuf};

/// A choice that a command stored.
pub(crate) trait Chosen: DeserializeOwned {
    /// Schema id.
    const SCHEMA: &'static str;
    /// Code of its messages.
    const CODE: &'static str;
    /// The command that makes it.
    const COMMAND: &'static str;

    /// Schema id in the file.
    fn schema(&self) -> &str;
    /// Digests of the models as predictions list them, ascending.
    fn models(&self) -> &[String];
    /// Digests of their weights in that order; empty in files of earlier versions.
    fn weights(&self) -> &[String];
}

/// A model by the digests that files name it by, so that it is the same one whether its directory or its file is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// SHA-256 of the file of weights, where it is known.
    weights: Option<String>,
    /// SHA-256 of the manifest of the directory that training wrote, or what predictions list.
    listed: Option<String>,
}

impl Identity {
    fn digests(&self) -> impl Iterator<Item = &String> {
        self.weights.iter().chain(&self.listed)
    }

    fn is(&self, other: &Self) -> bool {
        self.digests().any(|one| other.digests().any(|two| one == two))
    }

    /// A model that was given as its directory, or as a file of weights.
    fn of_given(given: &Path) -> anyhow::Result<Self> {
        let file = model::file_of(given);
        let weights = digest::file(&file)?.1;
        // a checkpoint beside the model is another model
        let is_listed = |found: &Manifest| output_of(found).is_some_and(|output| *output == weights);
        let listed = match Manifest::beside(&file)?.filter(is_listed) {
            Some(_) => Some(digest::file(&file.with_file_name(manifest::FILE_NAME))?.1),
            None => None,
        };
        Ok(Self { weights: Some(weights), listed })
    }

    /// A model as predictions in `base` list it. Its weights are known where its directory is still there.
    fn of_input(input: &Artefact, base: &Path) -> Self {
        let file = input.resolve(base);
        let weights = match file.file_name().is_some_and(|name| name == manifest::FILE_NAME) {
            true => weights_of(&file, &input.sha256),
            false => Some(input.sha256.clone()),
        };
        Self { weights, listed: Some(input.sha256.clone()) }
    }
}

/// The digest of the model that a manifest lists.
fn output_of(found: &Manifest) -> Option<&String> {
    found.outputs.iter().find(|output| output.path == model::FILE_NAME).map(|output| &output.sha256)
}

/// The same of the manifest in a file, unless it is gone or another by now.
fn weights_of(file: &Path, sha256: &str) -> Option<String> {
    digest::file(file).ok().filter(|(_, found)| found == sha256)?;
    output_of(&Manifest::load_any(file.parent()?).ok()?).cloned()
}

/// The models that were given.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn given(models: &[PathBuf]) -> anyhow::Result<Vec<Identity>> {
    models.iter().map(|given| Identity::of_given(given)).collect()
}

/// The models that predicted what lies in `base`.
pub(crate) fn predicted_by(predicted: &Manifest, base: &Path) -> Vec<Identity> {
    let models = predicted.inputs.iter().filter(|input| input.role == "model");
    models.map(|input| Identity::of_input(input, base)).collect()
}

/// Whether both are the same models, in any order.
pub(crate) fn same(one: &[Identity], other: &[Identity]) -> bool {
    let mut rest: Vec<&Identity> = other.iter().collect();
    let mut taken =
        |model: &Identity| rest.iter().position(|other| model.is(other)).map(|at| rest.remove(at));
    one.len() == other.len() && one.iter().all(|model| taken(model).is_some())
}

/// What a choice stores of the models that predicted: their digests as predictions list them, ascending, and those of their weights.
///
/// `given` are the same models, of which the weights are there.
pub(crate) fn stored(predicted: &[Identity], given: &[Identity]) -> (Vec<String>, Vec<String>) {
    let weights = |model: &Identity| {
        let found = given.iter().find(|given| model.is(given));
        found.and_then(|given| given.weights.clone()).or_else(|| model.weights.clone())
    };
    let mut pairs: Vec<(String, String)> =
        predicted.iter().filter_map(|model| Some((model.listed.clone()?, weights(model)?))).collect();
    pairs.sort_unstable();
    pairs.into_iter().unzip()
}

/// Reads a choice that was made for these models.
///
/// # Errors
/// For what is no such file, is of another version, or of other models.
pub(crate) fn load<C: Chosen>(path: &Path, models: &[Identity]) -> anyhow::Result<C> {
    let wrong = |what: String, detail: String| {
        Message::error(C::CODE, what)
            .detail(format!("{}: {detail}", path.display()))
            .fix(format!("Make it with '{}' of these models' predictions", C::COMMAND))
    };
    let bytes = fs_err::read(path)?;
    let found: C = serde_json::from_slice(&bytes)
        .map_err(|e| wrong(format!("this is not a choice of '{}'", C::COMMAND), e.to_string()))?;
    if found.schema() != C::SCHEMA {
        let detail = format!("schema {}, expected {}", found.schema(), C::SCHEMA);
        return Err(wrong("this choice is of another version".to_owned(), detail).into());
    }
    let mut weights = found.weights().iter().cloned();
    let chosen_for: Vec<Identity> = found
        .models()
        .iter()
        .map(|listed| Identity { weights: weights.next(), listed: Some(listed.clone()) })
        .collect();
    if same(models, &chosen_for) {
        return Ok(found);
    }
    let names = |models: &[Identity]| {
        models.iter().filter_map(|model| model.digests().next().cloned()).collect::<Vec<_>>().join(", ")
    };
    let detail = format!("of {}; given {}", names(&chosen_for), names(models));
    if found.weights().is_empty() && models.iter().any(|model| model.listed.is_none()) {
        let what = "this choice does not say whether it was made for these models";
        return Err(wrong(what.to_owned(), detail)
            .cause(
                "It is of an earlier version and names models by the directories that 'finetune train' wrote",
            )
            .fix(format!("Give those directories, or make it again with '{}'", C::COMMAND))
            .into());
    }
    Err(wrong("this choice was made for other models".to_owned(), detail).into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Identity;

    /// A model that is known by what predictions list alone, or by its weights too.
    pub(crate) fn identity(listed: Option<&str>, weights: Option<&str>) -> Identity {
        Identity { weights: weights.map(str::to_owned), listed: listed.map(str::to_owned) }
    }

    #[test]
    fn a_model_is_the_same_by_its_directory_and_by_its_file() {
        let [directory, file, other] = [(Some("m"), Some("w")), (None, Some("w")), (Some("n"), Some("v"))]
            .map(|(listed, weights)| identity(listed, weights));
        assert!(super::same(&[directory.clone(), other.clone()], &[other.clone(), file.clone()]));
        assert!(!super::same(&[directory.clone(), directory.clone()], &[directory.clone(), other.clone()]));
        assert!(!super::same(std::slice::from_ref(&directory), &[]));
        assert_eq!(
            super::stored(&[other, identity(Some("m"), None)], &[directory, identity(Some("n"), Some("v"))]),
            (vec!["m".to_owned(), "n".to_owned()], vec!["w".to_owned(), "v".to_owned()])
        );
    }
}
