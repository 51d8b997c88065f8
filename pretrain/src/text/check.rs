//! Whether texts belong to the shards that a run reads.

use super::{Text, region};
use data_manifests::{digest, manifest};
use patches::{CaseRecord, Region, ShardStore};
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};

impl Text {
    /// Refuses text of shards whose cases have another grid: its boxes, counted in voxels, would lie elsewhere in these. Says where that cannot
    /// be known.
    pub(crate) fn check_origin(
        &self,
        store: &ShardStore,
        skipped: &[String],
    ) -> anyhow::Result<Option<Message>> {
        let unknown = || {
            let what = "whether the text was made from these shards cannot be told: those that it was made from are gone";
            Some(Message::info("I311", what).detail(self.directory.display().to_string()))
        };
        let Some((path, sha256)) = &self.shards else { return Ok(unknown()) };
        let (_, found) = digest::file(&store.directory().join(manifest::FILE_NAME))?;
        if found == *sha256 {
            return Ok(None);
        }
        let Some(folder) = path.parent().filter(|_| path.is_file()) else { return Ok(unknown()) };
        let others = ShardStore::open(folder)?;
        let theirs: BTreeSet<&str> = others.rows().iter().map(|row| row.id.as_str()).collect();
        let ids = store.rows().iter().map(|row| &row.id).filter(|id| theirs.contains(id.as_str()));
        for id in ids.filter(|id| self.describes(id) && !skipped.contains(id)) {
            let [own, other] = [store, &others].map(|store| store.case(id).map_err(|e| e.message(id)));
            let (own, other) = (own?, other?);
            let [own, other] = [own.record(), other.record()];
            if own.shape_zyx != other.shape_zyx || own.affine != other.affine {
                let grid = |record: &CaseRecord| {
                    format!("{:?} voxels of {:?} mm", record.shape_zyx, record.spacing_zyx_mm)
                };
                return Err(Message::error("E323", "the text was made from other shards")
                    .case(id)
                    .detail(format!(
                        "{} has {}, {} has {}",
                        folder.display(),
                        grid(other),
                        store.directory().display(),
                        grid(own)
                    ))
                    .fix("Make captions, reports and embeddings again from these shards")
                    .into());
            }
        }
        Ok(None)
    }

    /// Refuses boxes that do not lie in their cases: the text of other shards. Gives the cases that the shards do not hold; `skipped` ones cannot
    /// be opened.
    pub(crate) fn check(&self, store: &ShardStore, skipped: &[String]) -> anyhow::Result<Vec<&str>> {
        let known: BTreeSet<&str> = store.rows().iter().map(|row| row.id.as_str()).collect();
        let mut unknown = Vec::new();
        let ordered: BTreeMap<&String, &Vec<usize>> = self.by_case.iter().collect();
        for (case, rows) in ordered.into_iter().filter(|(case, _)| !skipped.contains(case)) {
            if !known.contains(case.as_str()) {
                unknown.push(case.as_str());
                continue;
            }
            let shape = store.case(case).map_err(|e| e.message(case))?.record().shape_zyx;
            let whole = Region::whole(shape);
            for row in rows.iter().map(|row| &self.rows[*row]) {
                let found = region(row);
                if found.voxels() == 0 || found.overlap(&whole) != found.voxels() {
                    let detail = format!(
                        "{}: report {} lies at {:?} to {:?}, its case has {shape:?} voxels (z, y, x)",
                        self.directory.display(),
                        row.id,
                        found.lo,
                        found.hi
                    );
                    return Err(Message::error("E323", "the text was made from other shards")
                        .case(case)
                        .detail(detail)
                        .fix("Make captions, reports and embeddings again from these shards")
                        .into());
                }
            }
        }
        Ok(unknown)
    }
}
