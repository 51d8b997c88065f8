//! The chain of digests behind a score: every stage directory that it rests on, found through manifests.

use anyhow::Result;
use data_manifests::manifest::FILE_NAME;
use data_manifests::{Artefact, Manifest};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Whether a directory is still what its user read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// What was read of it has the digest that its user noted.
    Current,
    /// It was written again since.
    Changed,
    /// It is not there, or its manifest cannot be trusted.
    Missing,
}

/// One stage directory.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// What it is to the stage that read it.
    pub(crate) role: String,
    /// How many stages lie between it and the score.
    pub(crate) depth: usize,
    /// Where it lies.
    pub(crate) directory: PathBuf,
    /// The same, as written in the manifest that lists it.
    pub(crate) path: String,
    /// SHA-256 of its manifest, or of the one file of it that was read, as noted.
    pub(crate) sha256: String,
    /// Whether it is unchanged.
    pub(crate) state: State,
    /// Its manifest, unless missing.
    pub(crate) manifest: Option<Manifest>,
}

impl Link {
    /// Name of the stage.
    pub(crate) fn stage(&self) -> &str {
        self.manifest.as_ref().map_or("?", |m| m.stage.as_str())
    }
}

/// Whether an input is another stage's directory: its manifest, or a file beside one.
fn is_stage(input: &Artefact, directory: &Path) -> bool {
    let inside = Path::new(&input.path);
    let names_manifest = inside.file_name().is_some_and(|n| n == FILE_NAME);
    !input.path.starts_with('$')
        && (names_manifest || input.resolve(directory).with_file_name(FILE_NAME).is_file())
}

/// All stages behind the score in `directory`, itself first, each once, in the order in which they are found.
///
/// # Errors
/// When the score itself is no finished stage.
pub(crate) fn walk(directory: &Path, base: &Path) -> Result<Vec<Link>> {
    let manifest = Manifest::load(directory, "score")?;
    let own = Manifest::as_input("score", directory, base)?;
    let mut links = vec![Link {
        role: own.role,
        depth: 0,
        directory: directory.to_owned(),
        path: own.path,
        sha256: own.sha256,
        state: State::Current,
        manifest: Some(manifest),
    }];
    let mut seen = BTreeSet::new();
    let mut next = 0;
    while let Some(link) = links.get(next).cloned() {
        next += 1;
        let Some(manifest) = &link.manifest else { continue };
        for input in manifest.inputs.iter().filter(|i| is_stage(i, &link.directory)) {
            let file = input.resolve(&link.directory);
            let stage = file.with_file_name(FILE_NAME);
            let place = fs_err::canonicalize(&stage).unwrap_or(stage);
            if seen.insert(place) {
                links.push(follow(input, &file, link.depth + 1, base));
            }
        }
    }
    Ok(links)
}

/// The stage that an input names; a place that cannot be read is a missing one.
fn follow(input: &Artefact, file: &Path, depth: usize, base: &Path) -> Link {
    let directory = file.parent().unwrap_or(Path::new(".")).to_owned();
    let manifest = Manifest::load_any(&directory).ok();
    let seen = Manifest::as_input(&input.role, &directory, base).ok();
    let state = match (&manifest, &seen) {
        (Some(manifest), Some(seen)) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let output = manifest.outputs.iter().find(|o| o.path == name).map(|o| &o.sha256);
            let now = if name == FILE_NAME { Some(&seen.sha256) } else { output };
            if now == Some(&input.sha256) { State::Current } else { State::Changed }
        }
        _ => State::Missing,
    };
    Link {
        role: input.role.clone(),
        depth,
        path: seen.map_or_else(|| input.path.clone(), |s| s.path),
        directory,
        sha256: input.sha256.clone(),
        state,
        manifest,
    }
}
