//! What a run reads: shards, texts, weights to start from.

use crate::arguments::Arguments;
use crate::mixture::Mixture;
use crate::pairs::Pairs;
use crate::selection::{self, SelectionRule};
use crate::text::Text;
use data_manifests::{Artefact, Manifest};
use patches::ShardStore;
use stage::Context;
use std::collections::BTreeMap;
use std::path::Path;

/// Opened inputs, and what manifest and plan say of them.
pub(crate) struct Inputs {
    pub(crate) pairs: Pairs,
    /// Damaged cases that were left out, by data set.
    pub(crate) skipped: BTreeMap<String, Vec<String>>,
    /// Which of their cases are trained on.
    pub(crate) rule: SelectionRule,
    /// For the manifest.
    pub(crate) artefacts: Vec<Artefact>,
    /// Digests of the work that made the texts.
    pub(crate) texts: Vec<String>,
    /// SHA-256 of the weights to start from.
    pub(crate) init: Option<String>,
}

impl Inputs {
    /// Opens them; the manifest names them relative to `out`.
    ///
    /// # Errors
    /// When one of them is missing, unfinished, or does not fit the others.
    pub(crate) fn open(arguments: &Arguments, out: &Path, context: &Context) -> anyhow::Result<Self> {
        let stores =
            arguments.shards.iter().map(|d| ShardStore::open(d)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut artefacts = Vec::new();
        for store in &stores {
            artefacts.push(Manifest::as_input("shards", store.directory(), out)?);
        }
        let mut texts = Vec::new();
        for directory in &arguments.text {
            texts.push(Manifest::load(directory, "embed")?.work);
            artefacts.push(Manifest::as_input("text", directory, out)?);
        }
        let mut init = None;
        if let Some(file) = &arguments.init {
            let artefact = Manifest::file_as_input("init", file, out)?;
            init = Some(artefact.sha256.clone());
            artefacts.push(artefact);
        }
        let read = arguments.text.iter().map(|d| Text::open(d)).collect::<anyhow::Result<Vec<_>>>()?;
        let rule = arguments.selection()?;
        selection::check_left_out(&rule, stores.iter().map(|store| store.descriptor().name.as_str()))?;
        for store in &stores {
            selection::warn_of_unknown(store, &rule, context);
        }
        let mixture = Mixture { power: arguments.mix, balance: arguments.balance };
        let pairs = Pairs::new(stores, read, &rule, mixture)?.without_twins(context)?;
        let (pairs, skipped) = pairs.sound(arguments.skip_bad, context)?;
        Ok(Self { pairs, skipped, rule, artefacts, texts, init })
    }
}
