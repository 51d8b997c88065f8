//! What is damaged, missing or foreign in a shard directory, by case.

use crate::finish::DESCRIPTOR;
use data_manifests::{Manifest, cases, manifest, verify};
use patches::{Case, ShardStore};
use rayon::prelude::*;
use stage::{atomic, lock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Flaws by case, and those of other files.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Whether the directory has a manifest to compare with.
    pub(super) finished: bool,
    /// Cases that were looked at.
    pub(super) examined: usize,
    /// Flaws of each damaged case.
    pub(super) cases: BTreeMap<String, Vec<String>>,
    /// Flaws elsewhere.
    pub(super) other: Vec<String>,
}

impl Damage {
    pub(super) fn is_empty(&self) -> bool {
        self.cases.is_empty() && self.other.is_empty()
    }
}

/// The case that a file of a shard directory belongs to.
pub(super) fn case_of(path: &str) -> Option<&str> {
    path.strip_prefix("cases/")?.split_once('/').map(|(id, _)| id)
}

/// Ids of the cases that a manifest lists.
pub(super) fn listed(manifest: &Manifest) -> BTreeSet<&str> {
    manifest.outputs.iter().filter_map(|output| case_of(&output.path)).collect()
}

/// Compares every byte with the manifest.
pub(super) fn of_finished(directory: &Path, manifest: &Manifest) -> anyhow::Result<Damage> {
    let ids = listed(manifest);
    let mut damage = Damage { finished: true, examined: ids.len(), ..Damage::default() };
    for flaw in verify::verify(directory)? {
        match case_of(&flaw).filter(|id| ids.contains(id)) {
            Some(id) => {
                // the case's own seal knows which files; where it does not, the case is another one than the manifest's
                let named = flaws_of(directory, id)?;
                damage.cases.insert(id.to_owned(), if named.is_empty() { vec![flaw] } else { named });
            }
            None => damage.other.push(flaw),
        }
    }
    Ok(damage)
}

/// What a case says of itself, by the seal that it carries.
fn flaws_of(directory: &Path, id: &str) -> anyhow::Result<Vec<String>> {
    let flaws = Case::flaws(&ShardStore::case_directory(directory, id))?;
    Ok(flaws.into_iter().map(|damage| format!("cases/{id}/{}: {}", damage.file, damage.reason)).collect())
}

/// Compares every case with its own seal, where there is no manifest yet.
pub(super) fn of_unfinished(directory: &Path) -> anyhow::Result<Damage> {
    let mut damage = Damage::default();
    let folder = ShardStore::cases_directory(directory);
    let own = [cases::FILE_NAME, DESCRIPTOR, manifest::FILE_NAME, "report.json", lock::FILE_NAME];
    for entry in fs_err::read_dir(directory)? {
        let name = entry?.file_name();
        let known = own.iter().any(|own| name == *own)
            || Some(name.as_os_str()) == folder.file_name()
            || atomic::is_temporary(&name);
        if !known {
            damage.other.push(format!("{}: not a file of the shards", name.to_string_lossy()));
        }
    }
    let mut ids = Vec::new();
    if folder.is_dir() {
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_str() {
                // a run that was killed leaves them, the next one sweeps them
                _ if atomic::is_temporary(&name) => {}
                Some(id) if entry.file_type()?.is_dir() => ids.push(id.to_owned()),
                _ => damage.other.push(format!("cases/{}: not a case", name.to_string_lossy())),
            }
        }
    }
    damage.examined = ids.len();
    damage.other.sort();
    let flaws: BTreeMap<String, Vec<String>> = ids
        .into_par_iter()
        .map(|id| flaws_of(directory, &id).map(|flaws| (id, flaws)))
        .collect::<anyhow::Result<_>>()?;
    damage.cases = flaws.into_iter().filter(|(_, flaws)| !flaws.is_empty()).collect();
    Ok(damage)
}
