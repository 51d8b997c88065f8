//! Training patches: uniform over cases, a guaranteed share placed on a labelled voxel of a class drawn uniformly.

use data_manifests::cases;
use patches::{Region, ShardStore, sampler};
use rand::RngExt;
use std::collections::BTreeMap;
use training::error::BoxedError;

/// Where patches come from.
pub(crate) struct Patches {
    store: ShardStore,
    ids: Vec<String>,
    /// The region that is read: the patch and a margin for rotations, z, y, x.
    window_zyx: [usize; 3],
    batch: usize,
    forced: usize,
    seed: u64,
    /// Labelled voxels of each case by class, z, y, x.
    foreground: BTreeMap<String, BTreeMap<u32, Vec<[u32; 3]>>>,
}

/// One batch on the CPU.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `[batch, channel, z, y, x]`.
    pub(crate) images: Vec<f32>,
    /// `[batch, z, y, x]`.
    pub(crate) labels: Vec<i64>,
    /// Names of the samples, for messages.
    pub(crate) members: Vec<String>,
}

impl Patches {
    /// Takes the training cases `ids` of `store`.
    pub(crate) fn new(
        store: ShardStore,
        ids: Vec<String>,
        window_zyx: [usize; 3],
        batch: usize,
        foreground_share: f64,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut foreground = BTreeMap::new();
        for id in &ids {
            let mut classes: BTreeMap<u32, Vec<[u32; 3]>> = BTreeMap::new();
            for [class, z, y, x] in store.case(id)?.read_foreground()? {
                classes.entry(class).or_default().push([z, y, x]);
            }
            foreground.insert(id.clone(), classes);
        }
        // nnU-Net's rule: the last samples of a batch are the forced ones
        let free = (batch as f64 * (1.0 - foreground_share)).round() as usize;
        Ok(Self { store, ids, window_zyx, batch, forced: batch - free.min(batch), seed, foreground })
    }

    /// The batch of a step, a pure function of (seed, step).
    pub(crate) fn batch(&self, step: u64) -> Result<Batch, BoxedError> {
        let mut batch = Batch { images: Vec::new(), labels: Vec::new(), members: Vec::new() };
        for index in 0..self.batch {
            let mut generator = sampler::generator(self.seed, step, index as u64);
            let id = &self.ids[generator.random_range(0..self.ids.len())];
            let case = self.store.case(id)?;
            let shape = case.record().shape_zyx;
            let forced = index >= self.batch - self.forced;
            let classes = self.foreground.get(id).filter(|classes| forced && !classes.is_empty());
            let region: Region = match classes {
                Some(classes) => {
                    let wanted = generator.random_range(0..classes.len());
                    match classes.values().nth(wanted) {
                        Some(voxels) => {
                            let voxel = voxels[generator.random_range(0..voxels.len())];
                            sampler::around(&mut generator, shape, self.window_zyx, voxel)
                        }
                        None => sampler::uniform(&mut generator, shape, self.window_zyx),
                    }
                }
                None => sampler::uniform(&mut generator, shape, self.window_zyx),
            };
            batch.images.extend(case.read_image(&region)?);
            batch.labels.extend(case.read_label(&region)?.into_iter().map(i64::from));
            batch.members.push(format!("{id}@{}", cases::triple(&region.lo)));
        }
        Ok(batch)
    }
}
