//! Files with what was chosen on the predictions of some models, which are for these models alone.

use crate::model;
use data_manifests::Manifest;
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
    /// Digests of the models, ascending.
    fn models(&self) -> &[String];
}

/// Reads a choice that was made for these models, ascending.
///
/// # Errors
/// For what is no such file, is of another version, or of other models.
pub(crate) fn load<C: Chosen>(path: &Path, models: &[String]) -> anyhow::Result<C> {
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
    if found.models() != models {
        let detail = format!("of {}; given {}", found.models().join(", "), models.join(", "));
        return Err(wrong("this choice was made for other models".to_owned(), detail).into());
    }
    Ok(found)
}

/// Digests of the models that predicted, ascending.
pub(crate) fn models_of(predicted: &Manifest) -> Vec<String> {
    let models = predicted.inputs.iter().filter(|input| input.role == "model");
    let mut models: Vec<String> = models.map(|input| input.sha256.clone()).collect();
    models.sort_unstable();
    models
}

/// Whether these are the models that predicted.
///
/// # Errors
/// When a model cannot be read.
pub(crate) fn predicted_by(given: &[PathBuf], predicted: &Manifest, base: &Path) -> anyhow::Result<bool> {
    let digests = given.iter().map(|given| anyhow::Ok(model::as_input(given, base)?.sha256));
    let mut digests: Vec<String> = digests.collect::<anyhow::Result<_>>()?;
    digests.sort_unstable();
    Ok(digests == models_of(predicted))
}
