//! A directory with a file per case: whose it is, and what of it is kept by a run that continues.

use data_manifests::{Artefact, Manifest, digest, manifest};
use stage::{Message, atomic};
use std::collections::BTreeSet;
use std::path::Path;

/// What the files belong to: those of the same work are kept by a run that continues.
pub(crate) const WORK: &str = ".work";

/// The outputs of a stage.
pub(crate) struct Kept {
    /// Name of the stage in manifests.
    pub(crate) stage: &'static str,
    /// Role of the cases' files there.
    pub(crate) role: &'static str,
    /// Its table.
    pub(crate) table: &'static str,
    /// Endings of the cases' files.
    pub(crate) endings: &'static [&'static str],
}

impl Kept {
    fn is_output(&self, name: &str) -> bool {
        self.endings.iter().any(|ending| name.ends_with(ending))
    }

    /// Refuses a directory with files of somebody else, images above all, since files of other work are removed.
    pub(crate) fn refuse_foreign(&self, out: &Path) -> anyhow::Result<()> {
        let ours = out.join(WORK).is_file() || Manifest::load(out, self.stage).is_ok();
        Manifest::refuse_foreign(out, |name| {
            ours && (self.is_output(name) || name == self.table || name == WORK)
        })
    }

    /// Refuses to remove files of cases that this command does not name, unless that was asked for: one scan after the other into one
    /// directory would leave the last.
    ///
    /// # Errors
    /// `E440` names the first.
    pub(crate) fn refuse_loss(
        &self,
        out: &Path,
        named: &BTreeSet<&str>,
        overwrite: bool,
    ) -> anyhow::Result<()> {
        if overwrite {
            return Ok(());
        }
        let mut lost = Vec::new();
        for entry in fs_err::read_dir(out)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let case = self.endings.iter().find_map(|ending| name.strip_suffix(ending));
            if case.is_some_and(|case| !named.contains(case)) {
                lost.push(name);
            }
        }
        lost.sort();
        let Some(first) = lost.first() else { return Ok(()) };
        let text = format!("{} finished files of other cases would be removed: first {first}", lost.len());
        Err(Message::error("E440", text)
            .detail(out.display().to_string())
            .fix("Give another --out, name all cases in one command, or give --overwrite")
            .into())
    }

    /// Keeps whole files of the same work, removes all others, and withdraws the manifest.
    pub(crate) fn begin(&self, out: &Path, work: &str, wanted: &BTreeSet<String>) -> anyhow::Result<()> {
        let marker = out.join(WORK);
        let same = marker.is_file() && fs_err::read_to_string(&marker)? == work;
        // a finished run tells every byte; an interrupted one left only whole files
        let finished =
            if out.join(manifest::FILE_NAME).is_file() { Manifest::load_any(out).ok() } else { None };
        let mut others = Vec::new();
        for entry in fs_err::read_dir(out)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != self.table && !self.is_output(&name) {
                continue;
            }
            let mut keep = same && wanted.contains(&name);
            if keep && let Some(manifest) = &finished {
                let (path, found) = listed(&entry.path(), &name)?;
                keep = manifest
                    .outputs
                    .iter()
                    .any(|o| o.path == path && (o.bytes, &o.sha256) == (found.0, &found.1));
            }
            if !keep {
                others.push(entry.path());
            }
        }
        // killed in between, nothing that is wrong may look right: first the claim goes, then the files
        atomic::write(&marker, b"")?;
        Manifest::withdraw(out)?;
        atomic::sweep(out)?;
        for path in others {
            if path.is_dir() { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) }?;
        }
        Ok(atomic::write(&marker, work.as_bytes())?)
    }
}

impl Kept {
    /// Cases that are directories, each as one line of the manifest.
    pub(crate) fn trees(&self, out: &Path) -> anyhow::Result<Vec<Artefact>> {
        let mut trees = Vec::new();
        for entry in fs_err::read_dir(out)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.is_output(&name) && entry.file_type()?.is_dir() {
                let (path, (bytes, sha256)) = listed(&entry.path(), &name)?;
                trees.push(Artefact { role: self.role.to_owned(), path, bytes, sha256 });
            }
        }
        Ok(trees)
    }
}

/// A case's file, or its directory, as manifests list it, with bytes and digest.
pub(crate) fn listed(path: &Path, name: &str) -> std::io::Result<(String, (u64, String))> {
    match path.is_dir() {
        true => Ok((format!("{name}/"), digest::tree(path)?)),
        false => Ok((name.to_owned(), digest::file(path)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Kept = Kept {
        stage: "predict",
        role: "predictions",
        table: "predictions.csv",
        endings: &[".nii.gz", ".zarr"],
    };

    #[test]
    fn label_maps_of_other_work_go_and_images_are_never_touched() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path();
        fs_err::write(out.join("scan.nii.gz"), "an image").unwrap();
        let error = KEPT.refuse_foreign(out).unwrap_err().to_string();
        assert!(error.starts_with("E165") && error.contains("scan.nii.gz"), "{error}");
        fs_err::remove_file(out.join("scan.nii.gz")).unwrap();

        let wanted = BTreeSet::from(["a", "b"].map(|id| format!("{id}.nii.gz")));
        KEPT.refuse_foreign(out).unwrap();
        KEPT.begin(out, "one", &wanted).unwrap();
        fs_err::write(out.join("a.nii.gz"), "label map").unwrap();
        fs_err::write(out.join("c.nii.gz"), "label map of a case that is gone").unwrap();
        KEPT.refuse_foreign(out).unwrap();
        let named = BTreeSet::from(["a", "b"]);
        let error = KEPT.refuse_loss(out, &named, false).unwrap_err().to_string();
        assert!(error.starts_with("E440 1 finished files") && error.contains("c.nii.gz"), "{error}");
        KEPT.refuse_loss(out, &named, true).unwrap();
        KEPT.begin(out, "one", &wanted).unwrap();
        assert!(out.join("a.nii.gz").is_file() && !out.join("c.nii.gz").exists());
        KEPT.refuse_loss(out, &named, false).unwrap();

        // finished, then a byte flips
        fs_err::write(out.join("b.nii.gz"), "label map").unwrap();
        let finish = || {
            let manifest = Manifest::new("predict", "1", "finetune", &(), Vec::new()).unwrap();
            manifest.finish(out, |_| "predictions").unwrap();
        };
        finish();
        fs_err::write(out.join("a.nii.gz"), "label nap").unwrap();
        KEPT.begin(out, "one", &wanted).unwrap();
        assert!(!out.join("a.nii.gz").exists() && out.join("b.nii.gz").is_file());
        assert!(!out.join(manifest::FILE_NAME).exists());
        KEPT.begin(out, "two", &wanted).unwrap();
        assert!(!out.join("b.nii.gz").exists());
    }

    #[test]
    fn directories_are_kept_and_removed_whole() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path();
        let wanted = BTreeSet::from(["a", "b"].map(|id| format!("{id}.zarr")));
        KEPT.begin(out, "one", &wanted).unwrap();
        for id in ["a", "b", "c"] {
            fs_err::create_dir_all(out.join(format!("{id}.zarr/0"))).unwrap();
            fs_err::write(out.join(format!("{id}.zarr/0/zarr.json")), id).unwrap();
        }
        let trees = KEPT.trees(out).unwrap();
        assert_eq!(trees.iter().filter(|tree| tree.path.ends_with(".zarr/")).count(), 3);
        let manifest = Manifest::new("predict", "1", "finetune", &(), Vec::new()).unwrap();
        manifest.finish_with(out, trees, |_| "predictions").unwrap();
        fs_err::write(out.join("a.zarr/0/zarr.json"), "another").unwrap();
        KEPT.begin(out, "one", &wanted).unwrap();
        assert!(!out.join("a.zarr").exists() && out.join("b.zarr").is_dir() && !out.join("c.zarr").exists());
    }
}
