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
    /// Role of a file there.
    pub(crate) role: fn(&str) -> &'static str,
    /// Its table, and what else is of all cases.
    pub(crate) tables: &'static [&'static str],
    /// Endings of the cases' files.
    pub(crate) endings: &'static [&'static str],
}

/// Files of cases that a command names.
pub(crate) struct Named {
    /// Those that it makes.
    pub(crate) wanted: BTreeSet<String>,
    /// Those that it cannot make again because their image is gone; kept where the rest of the work is the same.
    pub(crate) lost: BTreeSet<String>,
}

impl Kept {
    fn is_output(&self, name: &str) -> bool {
        self.endings.iter().any(|ending| name.ends_with(ending))
    }

    /// Refuses a directory with files of somebody else, images above all, since files of other work are removed.
    pub(crate) fn refuse_foreign(&self, out: &Path) -> anyhow::Result<()> {
        let ours = out.join(WORK).is_file() || Manifest::load(out, self.stage).is_ok();
        Manifest::refuse_foreign(out, |name| {
            ours && (self.is_output(name) || self.tables.contains(&name) || name == WORK)
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
            let mut cases = self.endings.iter().filter_map(|ending| name.strip_suffix(ending));
            if self.is_output(&name) && cases.all(|case| !named.contains(case)) {
                lost.push(name);
            }
        }
        lost.sort();
        let Some(first) = lost.first() else { return Ok(()) };
        let what = match lost.len() {
            1 => "a finished file of another case".to_owned(),
            n => format!("{n} finished files of other cases"),
        };
        let text = format!("{what} would be removed: first {first}");
        Err(Message::error("E440", text)
            .detail(out.display().to_string())
            .fix("Give another --out, name all cases in one command, or give --overwrite")
            .into())
    }

    /// Whether what lies here is of the same work but for the cases: the second line of `work` tells.
    pub(crate) fn is_same_but_for_cases(&self, out: &Path, work: &str) -> anyhow::Result<bool> {
        let marker = out.join(WORK);
        let found = if marker.is_file() { fs_err::read_to_string(&marker)? } else { String::new() };
        Ok(work.lines().nth(1).is_some_and(|settings| found.lines().nth(1) == Some(settings)))
    }

    /// Keeps whole files of the same work, removes all others, and withdraws the manifest.
    pub(crate) fn begin(&self, out: &Path, work: &str, named: &Named) -> anyhow::Result<()> {
        let marker = out.join(WORK);
        let same = marker.is_file() && fs_err::read_to_string(&marker)? == work;
        let keeps_lost = self.is_same_but_for_cases(out, work)?;
        // a finished run tells every byte; an interrupted one left only whole files
        let finished =
            if out.join(manifest::FILE_NAME).is_file() { Manifest::load_any(out).ok() } else { None };
        let mut others = Vec::new();
        for entry in fs_err::read_dir(out)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_table = self.tables.contains(&name.as_str());
            // the table has the rows of what is kept though its image is gone
            if !is_table && !self.is_output(&name) || is_table && keeps_lost && !named.lost.is_empty() {
                continue;
            }
            let mut keep = same && named.wanted.contains(&name) || keeps_lost && named.lost.contains(&name);
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
                trees.push(Artefact { role: (self.role)(&name).to_owned(), path, bytes, sha256 });
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
        role: |_| "predictions",
        tables: &["predictions.csv"],
        endings: &[".nii.gz", ".zarr"],
    };

    fn named(wanted: &[&str], lost: &[&str]) -> Named {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Named { wanted: set(wanted), lost: set(lost) }
    }

    #[test]
    fn label_maps_of_other_work_go_and_images_are_never_touched() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path();
        fs_err::write(out.join("scan.nii.gz"), "an image").unwrap();
        let error = KEPT.refuse_foreign(out).unwrap_err().to_string();
        assert!(error.starts_with("E165") && error.contains("scan.nii.gz"), "{error}");
        fs_err::remove_file(out.join("scan.nii.gz")).unwrap();

        let wanted = named(&["a.nii.gz", "b.nii.gz"], &[]);
        KEPT.refuse_foreign(out).unwrap();
        KEPT.begin(out, "one", &wanted).unwrap();
        fs_err::write(out.join("a.nii.gz"), "label map").unwrap();
        fs_err::write(out.join("c.nii.gz"), "label map of a case that is gone").unwrap();
        KEPT.refuse_foreign(out).unwrap();
        let cases = BTreeSet::from(["a", "b"]);
        let error = KEPT.refuse_loss(out, &cases, false).unwrap_err().to_string();
        assert!(
            error.starts_with("E440 a finished file of another case") && error.contains("c.nii.gz"),
            "{error}"
        );
        KEPT.refuse_loss(out, &cases, true).unwrap();
        KEPT.begin(out, "one", &wanted).unwrap();
        assert!(out.join("a.nii.gz").is_file() && !out.join("c.nii.gz").exists());
        KEPT.refuse_loss(out, &cases, false).unwrap();

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
    fn files_whose_image_is_gone_are_kept_with_their_table() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path();
        KEPT.begin(out, "both\nsettings\n", &named(&["a.nii.gz", "b.nii.gz"], &[])).unwrap();
        for name in ["a.nii.gz", "b.nii.gz", "predictions.csv"] {
            fs_err::write(out.join(name), name).unwrap();
        }
        let gone = named(&["a.nii.gz"], &["b.nii.gz"]);
        assert!(KEPT.is_same_but_for_cases(out, "one\nsettings\n").unwrap());
        KEPT.begin(out, "one\nsettings\n", &gone).unwrap();
        assert!(!out.join("a.nii.gz").exists() && out.join("b.nii.gz").is_file());
        assert!(out.join("predictions.csv").is_file());
        // of other settings it would be another label map, and a stage whose work has one line knows none
        for other in ["one\nothers\n", "one\n"] {
            assert!(!KEPT.is_same_but_for_cases(out, other).unwrap());
        }
        KEPT.begin(out, "one\nothers\n", &gone).unwrap();
        assert!(!out.join("b.nii.gz").exists() && !out.join("predictions.csv").exists());
    }

    #[test]
    fn directories_are_kept_and_removed_whole() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path();
        let wanted = named(&["a.zarr", "b.zarr"], &[]);
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
