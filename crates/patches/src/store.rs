//! A finished shard directory.

use crate::error::Error;
use crate::reader::Case;
use crate::shard::OpenShards;
use data_manifests::cases::{self, CaseRow, CaseStatus};
use data_manifests::{Descriptor, Manifest};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Folder of the cases in a shard directory.
const CASES: &str = "cases";

/// A finished shard directory; cases are opened once and shared, and of all their files those that were used last stay open.
#[derive(Debug)]
pub struct ShardStore {
    directory: PathBuf,
    manifest: Manifest,
    descriptor: Descriptor,
    rows: Vec<CaseRow>,
    open: Mutex<HashMap<String, Arc<Case>>>,
    shards: Arc<OpenShards>,
}

impl ShardStore {
    /// Where the cases lie in a shard directory.
    #[must_use]
    pub fn cases_directory(directory: &Path) -> PathBuf {
        directory.join(CASES)
    }

    /// Where a case lies in a shard directory.
    #[must_use]
    pub fn case_directory(directory: &Path, id: &str) -> PathBuf {
        directory.join(CASES).join(id)
    }

    /// Opens what `preprocess` wrote.
    ///
    /// # Errors
    /// Fails when the directory is not a finished shard directory.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let manifest = Manifest::load(directory, "preprocess")?;
        let descriptor = directory.join("dataset.toml");
        let descriptor = Descriptor::find(&descriptor.to_string_lossy())?;
        let mut rows: Vec<CaseRow> = cases::from_csv(&directory.join(cases::FILE_NAME))?;
        rows.retain(|row| row.status == CaseStatus::Done);
        Ok(Self {
            directory: directory.to_owned(),
            manifest,
            descriptor,
            rows,
            open: Mutex::default(),
            shards: OpenShards::of_process(),
        })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The data set.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The finished cases, sorted by id.
    #[must_use]
    pub fn rows(&self) -> &[CaseRow] {
        &self.rows
    }

    /// A case.
    ///
    /// # Errors
    /// Fails for an id that the table does not list as done, and as [`Case::open`].
    pub fn case(&self, id: &str) -> crate::Result<Arc<Case>> {
        // the map only grows by whole entries: a panic elsewhere leaves it usable
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(case) = open.get(id) {
            return Ok(Arc::clone(case));
        }
        if !self.rows.iter().any(|row| row.id == id) {
            return Err(Error::UnknownCase { path: self.directory.clone(), case: id.to_owned() });
        }
        let directory = Self::case_directory(&self.directory, id);
        let case = Arc::new(Case::open_with(&directory, &self.shards)?);
        open.insert(id.to_owned(), Arc::clone(&case));
        Ok(case)
    }
}
