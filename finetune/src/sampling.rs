//! Training patches: uniform over cases, a guaranteed share placed on a labelled voxel of a class drawn uniformly.

use crate::objective::{UNKNOWN, small_ids};
use data_manifests::cases;
use patches::{Case, Region, ShardStore, sampler};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use stage::message::counted;
use stage::{Context, Message};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use tch::{Device, Tensor};
use torch_runtime::transfer::uploaded;
use training::error::BoxedError;
use volume::hdf5::NOT_ANNOTATED;

/// How often a patch is drawn anew where nobody annotated any of its voxels.
const TRIES: usize = 16;

/// Sizes of what is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// The region that is read: the patch and a margin for rotations around it, z, y, x.
    pub(crate) window_zyx: [usize; 3],
    /// What the network sees; this part holds the labelled voxel.
    pub(crate) patch_zyx: [usize; 3],
}

/// How batches are drawn.
#[derive(Debug, Clone)]
pub(crate) struct Draw {
    /// Patches a step, of all processes.
    pub(crate) batch: usize,
    /// Those of them that are read here.
    pub(crate) samples: Range<usize>,
    /// Share of the patches that are placed on a labelled voxel.
    pub(crate) foreground_share: f64,
    pub(crate) seed: u64,
    /// Where they go.
    pub(crate) device: Device,
}

/// What the voxels of labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voxels {
    Objects,
    /// Classes; voxels of the value given, if one is, nobody annotated.
    Classes(Option<u32>),
}

impl Voxels {
    fn ignored(self) -> Option<u32> {
        match self {
            Self::Objects => None,
            Self::Classes(ignored) => ignored,
        }
    }
}

/// Where patches come from.
pub(crate) struct Patches {
    store: Arc<ShardStore>,
    ids: Vec<String>,
    cut: Cut,
    draw: Draw,
    forced: Forced,
    voxels: Voxels,
    /// Labelled voxels of each case by class, z, y, x.
    foreground: BTreeMap<String, BTreeMap<u32, Vec<[u32; 3]>>>,
}

/// How many patches of a batch, its last ones, lie on a labelled voxel.
#[derive(Debug, Clone, Copy)]
struct Forced {
    batch: usize,
    share: f64,
}

impl Forced {
    /// nnU-Net's number, what is left of the batch when the free ones are rounded; where that is none, as with one patch a step, one in so
    /// many steps that the share is kept.
    fn at(self, step: u64) -> usize {
        // rounded half to even, as Python does, and of this product: B − B·s has other last digits and falls to the other side of a half
        let free = (self.batch as f64 * (1.0 - self.share)).round_ties_even() as usize;
        let wanted = self.batch as f64 * self.share;
        match self.batch - free.min(self.batch) {
            0 => ((step + 1) as f64 * wanted).floor() as usize - (step as f64 * wanted).floor() as usize,
            forced => forced,
        }
    }
}

/// One batch, on the device that trains.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `[batch, channel, z, y, x]`.
    pub(crate) images: Tensor,
    /// int64 `[batch, 1, z, y, x]`: classes, or [`small_ids`].
    pub(crate) labels: Tensor,
    /// Names of the samples, for messages.
    pub(crate) members: Vec<String>,
}

impl Patches {
    /// Takes the training cases `ids` of `store`.
    pub(crate) fn new(
        store: Arc<ShardStore>,
        ids: Vec<String>,
        cut: Cut,
        draw: Draw,
        voxels: Voxels,
    ) -> anyhow::Result<Self> {
        let voxels_ignored = voxels.ignored();
        let mut foreground = BTreeMap::new();
        for id in &ids {
            let mut classes: BTreeMap<u32, Vec<[u32; 3]>> = BTreeMap::new();
            let voxels = store.case(id).and_then(|case| case.read_foreground()).map_err(|e| e.message(id))?;
            // the table has what nobody annotated as a class of its own
            let annotated = voxels.into_iter().filter(|row| voxels_ignored != Some(row[0]));
            for [class, z, y, x] in annotated {
                classes.entry(class).or_default().push([z, y, x]);
            }
            foreground.insert(id.clone(), classes);
        }
        let forced = Forced { batch: draw.batch, share: draw.foreground_share };
        Ok(Self { store, ids, cut, draw, forced, voxels, foreground })
    }

    /// Says how many cases have no labelled voxel to place patches on (I404).
    pub(crate) fn say_what_is_empty(&self, context: &Context) {
        let empty = self.foreground.values().filter(|classes| classes.is_empty()).count();
        if empty > 0 && self.forced.share > 0.0 {
            let text = format!(
                "no labelled voxel in {empty} of {}: patches of these lie anywhere",
                counted(self.ids.len(), "training case")
            );
            context.tell(Message::info("I404", text));
        }
    }

    /// The batch of a step, a pure function of (seed, step).
    pub(crate) fn batch(&self, step: u64) -> Result<Batch, BoxedError> {
        let (mut images, mut all_labels, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for index in self.draw.samples.clone() {
            let mut generator = sampler::generator(self.draw.seed, step, index as u64);
            let id = &self.ids[generator.random_range(0..self.ids.len())];
            let case = self.store.case(id).map_err(|e| e.message(id))?;
            let forced = index >= self.draw.batch - self.forced.at(step);
            let patch = self.place(&mut generator, id, &case, forced).map_err(|e| e.message(id))?;
            let region = patch.widened(self.cut.window_zyx);
            images.extend(case.read_image(&region).map_err(|e| e.message(id))?);
            let labels = match self.voxels {
                Voxels::Objects => objects(&case, &region),
                Voxels::Classes(ignored) => classes(&case, &region, ignored.map(i64::from)),
            };
            all_labels.extend(labels.map_err(|e| e.message(id))?);
            members.push(format!("{id}@{}", cases::triple(&patch.lo)));
        }
        let [z, y, x] = self.cut.window_zyx.map(|n| n as i64);
        let batch = self.draw.samples.len() as i64;
        Ok(Batch {
            images: uploaded(&images, &[batch, -1, z, y, x], self.draw.device)?,
            labels: uploaded(&all_labels, &[batch, 1, z, y, x], self.draw.device)?,
            members,
        })
    }

    /// Where a sample of the batch lies: on a labelled voxel where that is `forced`, else anywhere that somebody annotated.
    fn place(
        &self,
        generator: &mut ChaCha8Rng,
        id: &str,
        case: &Case,
        forced: bool,
    ) -> patches::Result<Region> {
        let (shape, patch_zyx) = (case.record().shape_zyx, self.cut.patch_zyx);
        let classes = self.foreground.get(id).filter(|classes| !classes.is_empty());
        if let Some(classes) = classes.filter(|_| forced) {
            return Ok(on_a_class(generator, classes, shape, patch_zyx));
        }
        let mut patch = sampler::uniform(generator, shape, patch_zyx);
        for _ in 0..TRIES {
            if self.is_annotated(case, &patch.intersect(&Region::whole(shape)))? {
                return Ok(patch);
            }
            patch = sampler::uniform(generator, shape, patch_zyx);
        }
        Ok(classes.map_or(patch, |classes| on_a_class(generator, classes, shape, patch_zyx)))
    }
}

impl Patches {
    /// Whether somebody annotated a voxel of a region.
    fn is_annotated(&self, case: &Case, region: &Region) -> patches::Result<bool> {
        Ok(match self.voxels {
            Voxels::Objects => case.read_label_wide(region)?.iter().any(|id| *id != NOT_ANNOTATED),
            Voxels::Classes(Some(ignored)) => case.read_label(region)?.iter().any(|label| *label != ignored),
            Voxels::Classes(None) => true,
        })
    }
}

/// A patch on a voxel of a class, both drawn uniformly.
fn on_a_class(
    generator: &mut ChaCha8Rng,
    classes: &BTreeMap<u32, Vec<[u32; 3]>>,
    shape: [usize; 3],
    patch_zyx: [usize; 3],
) -> Region {
    let voxels = classes.values().nth(generator.random_range(0..classes.len()));
    match voxels {
        Some(voxels) => {
            let voxel = voxels[generator.random_range(0..voxels.len())];
            sampler::around(generator, shape, patch_zyx, voxel)
        }
        None => sampler::uniform(generator, shape, patch_zyx),
    }
}

/// Objects of a region as [`small_ids`]; what lies outside of the volume is unknown.
pub(crate) fn objects(case: &Case, region: &Region) -> patches::Result<Vec<i64>> {
    let mut ids = small_ids(&case.read_label_wide(region)?);
    fill_outside(&mut ids, case, region, UNKNOWN.cast_signed());
    Ok(ids)
}

/// Classes of a region. What lies outside of the volume is background, as in nnU-Net; where some voxels are ignored it is too, since it
/// would outnumber the few that are annotated.
fn classes(case: &Case, region: &Region, ignored: Option<i64>) -> patches::Result<Vec<i64>> {
    let mut classes: Vec<i64> = case.read_label(region)?.into_iter().map(i64::from).collect();
    if let Some(ignored) = ignored {
        fill_outside(&mut classes, case, region, ignored);
    }
    Ok(classes)
}

/// Gives the voxels of a region that lie outside of the volume a value.
fn fill_outside(values: &mut [i64], case: &Case, region: &Region, outside: i64) {
    let inside = region.intersect(&Region::whole(case.record().shape_zyx));
    if inside != *region {
        let [_, ny, nx] = region.shape();
        for (i, value) in values.iter_mut().enumerate() {
            let place = [i / (ny * nx), i / nx % ny, i % nx];
            let is_inside = (0..3).all(|a| {
                let at = region.lo[a] + place[a] as i64;
                inside.lo[a] <= at && at < inside.hi[a]
            });
            if !is_inside {
                *value = outside;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_on_labelled_voxels_is_nnunets_and_never_lost_to_rounding() {
        let at = |batch, share, step| Forced { batch, share }.at(step);
        assert_eq!(
            [(2, 0.33), (3, 0.33), (9, 0.33), (4, 0.5), (2, 1.0), (2, 0.0)].map(|(b, s)| at(b, s, 5)),
            [1, 1, 3, 2, 2, 0]
        );
        // what Python's B - round(B * (1 - s)) gives, where the product lies at a half
        let at_halves = [(10, 0.95), (15, 0.7), (25, 0.42), (50, 0.43), (50, 0.95)];
        assert_eq!(at_halves.map(|(b, s)| at(b, s, 0)), [9, 10, 10, 21, 47]);
        for (batch, share, steps, wanted) in
            [(1, 0.33, 100, 33), (1, 0.5, 10, 10), (2, 0.1, 50, 10), (1, 1.0, 7, 7), (1, 0.0, 9, 0)]
        {
            let found: usize = (0..steps).map(|step| at(batch, share, step)).sum();
            assert_eq!(found, wanted, "{batch} {share}");
        }
        let first: Vec<usize> = (0..7).map(|step| at(1, 0.33, step)).collect();
        assert_eq!(first, [0, 0, 0, 1, 0, 0, 1]);
    }
}
