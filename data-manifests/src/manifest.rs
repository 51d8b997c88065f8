//! `manifest.json`: what a stage read, did and wrote.

mod artefact;
mod guards;

pub use artefact::Artefact;

use crate::digest;
use crate::raw::paths;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage::Message;
use stage::sealed::{self, SealError};
use std::collections::BTreeMap;
use std::path::Path;

/// File name of a manifest.
pub use stage::sealed::MANIFEST as FILE_NAME;

/// Schema id of this version.
pub const SCHEMA: &str = "gtgm/manifest/1";

/// Names of the stages.
pub const STAGES: [&str; 12] = [
    "phantom",
    "preprocess",
    "slices",
    "caption",
    "report",
    "embed",
    "pretrain",
    "train",
    "predict",
    "instances",
    "score",
    "evaluation-report",
];

/// Form of a SHA-256 in text.
const SHA256: &str = "^[0-9a-f]{64}$";

/// Name and version of the executable that wrote a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Executable.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A stage's record of its work; see the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// One of [`STAGES`].
    #[schemars(extend("enum" = STAGES))]
    pub stage: String,
    /// Who wrote it.
    pub tool: Tool,
    /// Dataset names concerned.
    pub datasets: Vec<String>,
    /// The resolved parameters that decide the outputs.
    pub parameters: Value,
    /// What was read.
    pub inputs: Vec<Artefact>,
    /// Every file below the directory, on its own or in a folder that is listed, but the manifest itself, `report.json` and the
    /// lock; sorted by path.
    pub outputs: Vec<Artefact>,
    /// Counts worth knowing, such as cases done and failed.
    pub counts: BTreeMap<String, u64>,
    /// Licence of the outputs, taken from the inputs.
    pub licence: String,
    /// Digest of stage, parameters and inputs: equal digests mean that the work need not be done again.
    #[schemars(regex(pattern = SHA256))]
    pub work: String,
}

impl Manifest {
    /// A manifest without outputs; [`Self::finish`] collects them.
    ///
    /// # Errors
    /// Fails when the parameters cannot be JSON.
    pub fn new(
        stage: &str,
        tool_version: &str,
        tool: &str,
        parameters: &impl Serialize,
        inputs: Vec<Artefact>,
    ) -> anyhow::Result<Self> {
        debug_assert!(STAGES.contains(&stage), "the schema does not know the stage {stage}");
        let parameters = serde_json::to_value(parameters)?;
        let work = work_digest(stage, &parameters, &inputs)?;
        Ok(Self {
            schema: SCHEMA.to_owned(),
            stage: stage.to_owned(),
            tool: Tool { name: tool.to_owned(), version: tool_version.to_owned() },
            datasets: Vec::new(),
            parameters,
            inputs,
            outputs: Vec::new(),
            counts: BTreeMap::new(),
            licence: String::new(),
            work,
        })
    }

    /// Lists every file below `directory` as output (`role` names each from its relative path) and writes the manifest.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn finish(self, directory: &Path, role: impl Fn(&str) -> &'static str) -> anyhow::Result<Self> {
        self.finish_with(directory, Vec::new(), role)
    }

    /// As [`Self::finish`], where `trees` are folders whose digests are known: a manifest of thousands of cases has one line
    /// for each, and no byte is read twice.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn finish_with(
        mut self,
        directory: &Path,
        mut trees: Vec<Artefact>,
        role: impl Fn(&str) -> &'static str,
    ) -> anyhow::Result<Self> {
        trees.sort_by(|a, b| a.path.cmp(&b.path));
        let is_listed = |folder: &str| trees.binary_search_by(|t| t.path.as_str().cmp(folder)).is_ok();
        let mut files = digest::files_outside(directory, is_listed)?;
        files.retain(|path| !is_own(path));
        let digests = digest::files(directory, &files.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.outputs = files
            .into_iter()
            .zip(digests)
            .map(|(path, (bytes, sha256))| Artefact { role: role(&path).to_owned(), path, bytes, sha256 })
            .chain(trees)
            .collect();
        self.outputs.sort_by(|a, b| a.path.cmp(&b.path));
        sealed::write(&directory.join(FILE_NAME), &self)?;
        Ok(self)
    }

    /// Reads and checks the manifest of a finished stage directory.
    ///
    /// # Errors
    /// `E010` when the directory is not a finished stage of kind `stage`, `E011` when the manifest was changed.
    pub fn load(directory: &Path, stage: &str) -> anyhow::Result<Self> {
        let manifest = Self::load_any(directory)?;
        if manifest.stage != stage {
            return Err(Message::error("E010", "this directory comes from another stage")
                .detail(format!("{}: found '{}', expected '{stage}'", directory.display(), manifest.stage))
                .fix(format!("Give the directory that '{stage}' wrote"))
                .into());
        }
        Ok(manifest)
    }

    /// As [`Self::load`], for any stage.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_any(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE_NAME);
        if !path.is_file() {
            return Err(unfinished(directory).into());
        }
        let manifest: Self = sealed::read(&path).map_err(|error| match error {
            SealError::Io(error) => anyhow::Error::from(error),
            broken => Message::error("E011", "the manifest cannot be trusted")
                .detail(broken.to_string())
                .fix("Run the stage again")
                .into(),
        })?;
        if manifest.schema != SCHEMA {
            return Err(Message::error("E012", "the manifest has another schema")
                .detail(format!("{}: found {}, expected {SCHEMA}", path.display(), manifest.schema))
                .fix("Run the stage again with this version")
                .into());
        }
        Ok(manifest)
    }

    /// The manifest beside a file that may come from anywhere: none where there is none, or one of another program.
    ///
    /// # Errors
    /// As [`Self::load`], for one of ours; a file that is no JSON is nobody's, and counts as ours.
    pub fn beside(file: &Path) -> anyhow::Result<Option<Self>> {
        let directory =
            file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let path = directory.join(FILE_NAME);
        if !path.is_file() {
            return Ok(None);
        }
        let of_another =
            serde_json::from_slice::<serde_json::Value>(&fs_err::read(&path)?).is_ok_and(|json| {
                let schema = json.get("schema").and_then(serde_json::Value::as_str);
                json.get(sealed::SEAL).is_none() && !schema.is_some_and(|schema| schema.starts_with("gtgm/"))
            });
        if of_another { Ok(None) } else { Self::load_any(directory).map(Some) }
    }

    /// The finished manifest in `directory` if it did exactly this work and all its outputs still have their sizes.
    ///
    /// # Errors
    /// Any I/O error other than absence; a broken manifest counts as absent.
    pub fn reusable(&self, directory: &Path) -> anyhow::Result<Option<Self>> {
        if !directory.join(FILE_NAME).is_file() {
            return Ok(None);
        }
        let Ok(found) = Self::load_any(directory) else { return Ok(None) };
        let whole = found.outputs.iter().all(|output| output.size(directory) == Some(output.bytes));
        Ok((found.work == self.work && found.tool.version == self.tool.version && whole).then_some(found))
    }

    /// Removes a stale manifest before a directory's content is changed, so that a killed run leaves no finished stage.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn withdraw(directory: &Path) -> std::io::Result<()> {
        if stage::atomic::remove(&directory.join(FILE_NAME))? {
            stage::atomic::sync_directory(directory)?;
        }
        Ok(())
    }

    /// The input with a role.
    ///
    /// # Errors
    /// Names the role that is missing.
    pub fn input(&self, role: &str) -> anyhow::Result<&Artefact> {
        self.inputs.iter().find(|a| a.role == role).ok_or_else(|| {
            Message::error("E013", format!("the manifest of '{}' lists no input '{role}'", self.stage)).into()
        })
    }

    /// Describes another stage's manifest as an input of the stage that writes into `base`.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn as_input(role: &str, directory: &Path, base: &Path) -> std::io::Result<Artefact> {
        Artefact::of_file(role, &directory.join(FILE_NAME), base)
    }
}

/// Says that a directory is no finished stage; one that is not there is more likely a slip than a stage that never ran.
fn unfinished(directory: &Path) -> Message {
    let message = Message::error("E010", "no finished stage here");
    if directory.is_dir() {
        return message
            .detail(format!("{} is missing", directory.join(FILE_NAME).display()))
            .cause("The stage that writes it has not finished")
            .fix("Run that stage (again); it continues where it stopped");
    }
    if directory.exists() {
        let detail = format!("{} is a file", directory.display());
        return message.detail(detail).fix("Give the directory that the stage wrote");
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = directory.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let near = paths::nearest_in(parent, &name, |path| path.join(FILE_NAME).is_file());
    let near = if near.is_empty() { String::new() } else { format!("; nearest there: {}", near.join(", ")) };
    message
        .detail(format!("{} does not exist{near}", directory.display()))
        .cause("The path is mistyped, or the stage that writes it was not run")
        .fix("Correct the path, or run that stage")
}

/// Digest of stage, parameters and inputs.
pub(crate) fn work_digest(
    stage: &str,
    parameters: &Value,
    inputs: &[Artefact],
) -> serde_json::Result<String> {
    let read: Vec<_> = inputs.iter().map(|i| (&i.role, &i.sha256)).collect();
    digest::digest_of(&(stage, parameters, read))
}

/// Files that a manifest does not list: itself, the run report (both sealed) and the lock (empty when nobody writes).
pub(crate) fn is_own(path: &str) -> bool {
    path == FILE_NAME || path == "report.json" || path == stage::lock::FILE_NAME
}
