//! A directory with a file per case: whose it is, and what of it is kept by a run that continues.

use data_manifests::{Manifest, digest, manifest};
use stage::atomic;
use std::collections::BTreeSet;
use std::path::Path;

/// What the files belong to: those of the same work are kept by a run that continues.
pub(crate) const WORK: &str = ".work";

/// The outputs of a stage.
pub(crate) struct Kept {
    /// Name of the stage in manifests.
    pub(crate) stage: &'static str,
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
                let found = digest::file(&entry.path())?;
                keep = manifest
                    .outputs
                    .iter()
                    .any(|o| o.path == name && (o.bytes, &o.sha256) == (found.0, &found.1));
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
            fs_err::remove_file(path)?;
        }
        Ok(atomic::write(&marker, work.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Kept = Kept { stage: "predict", table: "predictions.csv", endings: &[".nii.gz"] };

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
        KEPT.begin(out, "one", &wanted).unwrap();
        assert!(out.join("a.nii.gz").is_file() && !out.join("c.nii.gz").exists());

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
}
