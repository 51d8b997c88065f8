//! `manifest.json`: what a stage read, did and wrote.

use crate::digest;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage::Message;
use stage::sealed::{self, SealError};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// File name of a manifest.
pub const FILE_NAME: &str = "manifest.json";

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

/// One input or output of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// What it is to the stage: `raw`, `shards`, `captions`, `reports`, `text`, `encoder`, `model`, `images`, `predictions`,
    /// `references`, `descriptor`, `cases`, `record` …
    pub role: String,
    /// Relative to the manifest's directory, or below a named root: `$RAW/imagesTr/a.nii.gz`. With `/` at its end it is a folder
    /// with all files below it.
    pub path: String,
    /// Size; of a folder the sum of its files'.
    pub bytes: u64,
    /// Lower-case hexadecimal SHA-256 of the file; of a folder that of the lines `SHA-256 path` of its files, sorted by path.
    #[schemars(regex(pattern = SHA256))]
    pub sha256: String,
}

impl Artefact {
    /// Describes `file` relative to `base`, with `../` where needed.
    ///
    /// # Errors
    /// Any I/O error while reading the file.
    pub fn of_file(role: &str, file: &Path, base: &Path) -> std::io::Result<Self> {
        let (bytes, sha256) = digest::file(file)?;
        Ok(Self { role: role.to_owned(), path: relative(file, base)?, bytes, sha256 })
    }

    /// Describes `file` below a named root: `$NAME/…`.
    ///
    /// # Errors
    /// Any I/O error while reading the file; a file outside the root.
    pub fn of_rooted(role: &str, file: &Path, name: &str, root: &Path) -> std::io::Result<Self> {
        let (bytes, sha256) = digest::file(file)?;
        let inside = file.strip_prefix(root).map_err(std::io::Error::other)?;
        Ok(Self { role: role.to_owned(), path: format!("${name}/{}", portable(inside)), bytes, sha256 })
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_tree(&self) -> bool {
        self.path.ends_with('/')
    }

    /// Bytes and SHA-256 as they are now, given the manifest's directory.
    ///
    /// # Errors
    /// Any I/O error while reading.
    pub fn measure(&self, directory: &Path) -> std::io::Result<(u64, String)> {
        let place = self.resolve(directory);
        if self.is_tree() { digest::tree(&place) } else { digest::file(&place) }
    }

    /// The size as it is now; none where it is not there.
    #[must_use]
    pub fn size(&self, directory: &Path) -> Option<u64> {
        let place = self.resolve(directory);
        let of_file = |path: &Path| path.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        if !self.is_tree() {
            return of_file(&place);
        }
        digest::files_below(&place).ok()?.iter().map(|path| of_file(&place.join(path))).sum()
    }

    /// The file that an unrooted path names, given the manifest's directory.
    #[must_use]
    pub fn resolve(&self, directory: &Path) -> PathBuf {
        directory.join(&self.path)
    }
}

fn portable(path: &Path) -> String {
    path.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// `file` as seen from directory `base`, both made absolute, links resolved where they exist.
fn relative(file: &Path, base: &Path) -> std::io::Result<String> {
    let file = fs_err::canonicalize(file)?;
    let base = fs_err::canonicalize(base)?;
    let common = file.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().skip(common).map(|_| Component::ParentDir);
    Ok(portable(&up.chain(file.components().skip(common)).collect::<PathBuf>()))
}

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
        let digests: Vec<(u64, String)> =
            files.par_iter().map(|path| digest::file(&directory.join(path))).collect::<Result<_, _>>()?;
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
            let cause = if directory.is_dir() {
                "The stage that writes it has not finished"
            } else {
                "The directory does not exist"
            };
            return Err(Message::error("E010", "no finished stage here")
                .detail(format!("{} is missing", path.display()))
                .cause(cause)
                .fix("Run that stage (again); it continues where it stopped")
                .into());
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

    /// Path of an output of this manifest, which lies in `directory`, after its bytes were compared with what was written: for
    /// small files that carry no digest of their own and whose content decides what later stages make.
    ///
    /// # Errors
    /// `E015` when it is not listed, missing, or not as it was written; any I/O error.
    pub fn intact(&self, directory: &Path, path: &str) -> anyhow::Result<PathBuf> {
        let file = directory.join(path);
        let listed = self.outputs.iter().find(|output| output.path == path);
        let found = if file.is_file() { Some(digest::file(&file)?.1) } else { None };
        if let (Some(listed), Some(found)) = (listed, &found)
            && listed.sha256 == *found
        {
            return Ok(file);
        }
        let expected = listed.map_or("no such file", |listed| &listed.sha256);
        let found = found.map_or("none".to_owned(), |sha256| format!("SHA-256 {sha256}"));
        Err(Message::error("E015", "a file is not as it was written")
            .detail(format!("{}: found {found}, expected {expected}", file.display()))
            .cause("It was changed or lost since the stage finished")
            .fix(format!("Remove it and run '{}' again with --out {}", self.stage, directory.display()))
            .into())
    }

    /// Removes a stale manifest before a directory's content is changed, so that a killed run leaves no finished stage.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn withdraw(directory: &Path) -> std::io::Result<()> {
        let path = directory.join(FILE_NAME);
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(()),
            Ok(()) => stage::atomic::sync_directory(directory),
        }
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

    /// Refuses outputs of a stage that was run before its own inputs were made again, as far as those are still there to
    /// compare; follows the chain to its beginning. `directory` is the manifest's.
    ///
    /// # Errors
    /// `E214` names the input that has changed; any I/O error.
    pub fn check_fresh(&self, directory: &Path) -> anyhow::Result<()> {
        let stages = self.inputs.iter().filter(|i| i.path.ends_with(FILE_NAME) && !i.path.starts_with('$'));
        for input in stages {
            let path = input.resolve(directory);
            if !path.is_file() {
                continue;
            }
            let (_, found) = digest::file(&path)?;
            if found != input.sha256 {
                let what = format!("the output of '{}' was made from other {}", self.stage, input.role);
                return Err(Message::error("E214", what)
                    .detail(format!("{}: recorded {}, found {found}", path.display(), input.sha256))
                    .cause(format!("The {} were made again afterwards", input.role))
                    .fix(format!("Run '{}' again with --out {}", self.stage, directory.display()))
                    .into());
            }
            if let Some(parent) = path.parent() {
                Self::load_any(parent)?.check_fresh(parent)?;
            }
        }
        Ok(())
    }

    /// The first input of this role in the chain of stages behind this one, with its path, as far as those are still there to look
    /// into. `directory` is the manifest's.
    ///
    /// # Errors
    /// Any I/O error, a manifest that cannot be read.
    pub fn origin(&self, directory: &Path, role: &str) -> anyhow::Result<Option<(PathBuf, Artefact)>> {
        for input in self.inputs.iter().filter(|i| i.path.ends_with(FILE_NAME) && !i.path.starts_with('$')) {
            let path = input.resolve(directory);
            if input.role == role {
                return Ok(Some((path, input.clone())));
            }
            if let Some(parent) = path.parent().filter(|_| path.is_file())
                && let Some(found) = Self::load_any(parent)?.origin(parent, role)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Refuses an output directory that holds files of somebody else: they would be listed as outputs; and one inside of a finished
    /// stage's, which would not be as it was written any more. `is_own_output` says which names a stage writes, besides manifest, report, lock
    /// and temporaries.
    ///
    /// # Errors
    /// `E165` names the files; any I/O error.
    pub fn refuse_foreign(directory: &Path, is_own_output: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        for above in std::path::absolute(directory)?.ancestors().skip(1) {
            // others have files of this name, too
            if above.join(FILE_NAME).is_file()
                && let Ok(Self { stage, .. }) = Self::load_any(above)
            {
                return Err(Message::error(
                    "E165",
                    format!("the output directory lies in what '{stage}' wrote"),
                )
                .detail(format!("{} lies in {}", directory.display(), above.display()))
                .fix("Give --out a place beside that directory")
                .into());
            }
        }
        if !directory.is_dir() {
            return Ok(());
        }
        let mut foreign = Vec::new();
        for entry in fs_err::read_dir(directory)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy().into_owned();
            if !is_own(&text) && !is_own_output(&text) && !stage::atomic::is_temporary(&name) {
                foreign.push(text);
            }
        }
        foreign.sort();
        let Some(first) = foreign.first() else { return Ok(()) };
        let more = match foreign.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Message::error("E165", "the output directory holds other files")
            .detail(format!("{}: found {first}{more}, expected none", directory.display()))
            .fix("Give --out a directory of its own, or move the files away")
            .into())
    }

    /// Describes another stage's manifest as an input of the stage that writes into `base`.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn as_input(role: &str, directory: &Path, base: &Path) -> std::io::Result<Artefact> {
        Artefact::of_file(role, &directory.join(FILE_NAME), base)
    }
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
