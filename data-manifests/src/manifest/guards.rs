//! What keeps stages from reading what is stale or changed, and from writing over each other.

use super::{Artefact, FILE_NAME, Manifest, is_own};
use crate::digest;
use stage::Message;
use std::path::{Component, Path, PathBuf};

impl Manifest {
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
                    .detail(format!("{}: recorded {}, found {found}", plain(&path).display(), input.sha256))
                    .cause(format!("The {} were made again afterwards", input.role))
                    .fix(format!("Run '{}' again with --out {}", self.stage, plain(directory).display()))
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
        Err(self.not_as_written(directory, &file, &found, expected).into())
    }

    /// Describes a file that a stage may have written, such as weights, as an input of the stage that writes into `base`. Where the manifest
    /// beside it lists it, its bytes must be those; there need be no manifest.
    ///
    /// # Errors
    /// `E015` when it is not as it was written; as [`Self::load`] where the manifest beside it is not; any I/O error.
    pub fn file_as_input(role: &str, file: &Path, base: &Path) -> anyhow::Result<Artefact> {
        if !file.is_file() {
            let (what, fix) = match file.is_dir() {
                true => (
                    "a directory is given where a file is needed",
                    "Name the file in it, such as encoder.safetensors of 'pretrain'",
                ),
                false => (
                    "a file that is needed is not there",
                    "Correct the path, or run the stage that makes the file",
                ),
            };
            return Err(Message::error("E019", what)
                .detail(format!("{role}: {}", file.display()))
                .fix(fix)
                .into());
        }
        let found = Artefact::of_file(role, file, base)?;
        if let Some(manifest) = Self::beside(file)?
            && let Some(listed) =
                manifest.outputs.iter().find(|output| file.file_name() == Some(output.path.as_ref()))
            && listed.sha256 != found.sha256
        {
            let sha256 = format!("SHA-256 {}", found.sha256);
            let directory = file.parent().unwrap_or(Path::new("."));
            return Err(manifest.not_as_written(directory, file, &sha256, &listed.sha256).into());
        }
        Ok(found)
    }

    fn not_as_written(&self, directory: &Path, file: &Path, found: &str, expected: &str) -> Message {
        Message::error("E015", "a file is not as it was written")
            .detail(format!("{}: found {found}, expected {expected}", file.display()))
            .cause("It was changed or lost since the stage finished")
            .fix(format!(
                "Remove {} and run '{}' again with --out {}",
                file.display(),
                self.stage,
                directory.display()
            ))
    }

    /// Refuses an output directory that holds files of somebody else: they would be listed as outputs; and one inside of a finished
    /// stage's, which would not be as it was written any more. `is_own_output` says which names a stage writes, besides manifest, report, lock
    /// and temporaries.
    ///
    /// # Errors
    /// `E165` names the files; any I/O error.
    pub fn refuse_foreign(directory: &Path, is_own_output: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        for above in real(directory)?.ancestors().skip(1) {
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
}

/// A path for people: one that goes down and up again, as those from manifest to manifest do, as it is without that, seen from where the command
/// runs if it lies there.
fn plain(path: &Path) -> PathBuf {
    let is_up = |component: &Component<'_>| *component == Component::ParentDir;
    if !path.components().skip_while(is_up).any(|component| is_up(&component)) {
        return path.to_owned();
    }
    let Ok(real) = fs_err::canonicalize(path) else { return path.to_owned() };
    let here = std::env::current_dir().and_then(fs_err::canonicalize);
    here.ok().and_then(|here| real.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or(real)
}

/// Where a directory lies that need not be there yet, without links and steps upwards.
fn real(directory: &Path) -> std::io::Result<PathBuf> {
    let mut place = PathBuf::new();
    for component in std::path::absolute(directory)?.components() {
        match component {
            Component::ParentDir => {
                place.pop();
            }
            component => {
                place.push(component);
                // what is not there yet is no link
                place = fs_err::canonicalize(&place).unwrap_or(place);
            }
        }
    }
    Ok(place)
}
