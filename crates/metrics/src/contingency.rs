//! How often each object of a reference meets each object of a segmentation, for more objects than a dense table could hold.
//!
//! The table is sparse and is filled by slabs of a volume that need not fit in memory. Pairs lie in shards by the reference's id,
//! each a sorted list beside a short list of what came later; both are merged when the short one has grown. So a pair takes 24
//! bytes, a quarter more at most while shards grow, and no rehash ever doubles the whole: 10⁸ pairs take about 3 GB.

use rayon::prelude::*;

/// Voxels that two objects share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Id in the reference.
    pub reference: u64,
    /// Id in the segmentation.
    pub prediction: u64,
    /// Voxels.
    pub voxels: u64,
}

impl Pair {
    fn ids(&self) -> (u64, u64) {
        (self.reference, self.prediction)
    }
}

const SHARDS: usize = 256;
/// What a shard takes before it is merged, at least.
const PENDING: usize = 1024;
/// Voxels of one task.
const CHUNK: usize = 1 << 18;
/// Entries of a task's cache of recent pairs: neighbouring rows meet the same ones.
const CACHE: usize = 1 << 12;

#[derive(Debug, Clone, Default)]
struct Shard {
    /// Ascending by ids, each pair once.
    sorted: Vec<Pair>,
    pending: Vec<Pair>,
}

impl Shard {
    fn merge(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        // taken, so that what was reserved for it is free again
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable_by_key(Pair::ids);
        let mut merged: Vec<Pair> = Vec::with_capacity(self.sorted.len() + pending.len());
        let mut put = |pair: Pair| match merged.last_mut() {
            Some(last) if last.ids() == pair.ids() => last.voxels += pair.voxels,
            _ => merged.push(pair),
        };
        let mut late = pending.into_iter().peekable();
        for pair in &self.sorted {
            while let Some(next) = late.next_if(|next| next.ids() <= pair.ids()) {
                put(next);
            }
            put(*pair);
        }
        late.for_each(put);
        merged.shrink_to_fit();
        self.sorted = merged;
    }
}

/// A sparse contingency table.
#[derive(Debug, Clone)]
pub struct Contingency {
    shards: Vec<Shard>,
    ignored: u64,
}

impl Default for Contingency {
    fn default() -> Self {
        Self::new()
    }
}

/// Spreads ids, which are often consecutive.
fn hash(id: u64) -> u64 {
    let mixed = (id ^ id >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

impl Contingency {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { shards: vec![Shard::default(); SHARDS], ignored: 0 }
    }

    /// Counts a slab. `counts` says of a position in the slab whether it is evaluated; the others are only numbered.
    ///
    /// # Shapes
    /// Both slices hold the same voxels in the same order; of different lengths, the shorter one counts.
    pub fn add(&mut self, reference: &[u64], prediction: &[u64], counts: impl Fn(usize) -> bool + Sync) {
        let length = reference.len().min(prediction.len());
        let found: Vec<(Vec<Pair>, u64)> = (0..length.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let start = chunk * CHUNK;
                let end = (start + CHUNK).min(length);
                tally(start, &reference[start..end], &prediction[start..end], &counts)
            })
            .collect();
        for (pairs, ignored) in found {
            self.ignored += ignored;
            for pair in pairs {
                self.shards[hash(pair.reference) as usize % SHARDS].pending.push(pair);
            }
        }
        self.shards
            .par_iter_mut()
            .filter(|s| s.pending.len() >= PENDING.max(s.sorted.len() / 8))
            .for_each(Shard::merge);
    }

    /// The finished table: every pair once.
    #[must_use]
    pub fn finish(mut self) -> Table {
        self.shards.par_iter_mut().for_each(Shard::merge);
        let shards: Vec<Vec<Pair>> = self.shards.into_iter().map(|shard| shard.sorted).collect();
        let evaluated = shards.iter().flatten().map(|pair| pair.voxels).sum();
        Table { shards, evaluated, ignored: self.ignored }
    }
}

/// Pairs of a chunk, and voxels that are not evaluated. Runs of equal pairs are counted first, then what a small cache meets again.
fn tally(
    start: usize,
    reference: &[u64],
    prediction: &[u64],
    counts: &impl Fn(usize) -> bool,
) -> (Vec<Pair>, u64) {
    let empty = Pair { reference: 0, prediction: 0, voxels: 0 };
    let mut cache = vec![empty; CACHE];
    let mut out = Vec::new();
    let mut ignored = 0;
    let mut run = empty;
    let mut put = |run: Pair| {
        let place =
            (hash(run.reference).wrapping_add(hash(run.prediction).rotate_left(17)) >> 7) as usize % CACHE;
        let slot = &mut cache[place];
        if slot.ids() == run.ids() {
            slot.voxels += run.voxels;
        } else {
            if slot.voxels > 0 {
                out.push(*slot);
            }
            *slot = run;
        }
    };
    for (i, (r, p)) in reference.iter().zip(prediction).enumerate() {
        if !counts(start + i) {
            ignored += 1;
        } else if run.ids() == (*r, *p) {
            run.voxels += 1;
        } else {
            put(run);
            run = Pair { reference: *r, prediction: *p, voxels: 1 };
        }
    }
    put(run);
    out.extend(cache.into_iter().filter(|pair| pair.voxels > 0));
    (out, ignored)
}

/// A finished contingency table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Ascending by ids; the pairs of one object of the reference lie together.
    shards: Vec<Vec<Pair>>,
    evaluated: u64,
    ignored: u64,
}

/// Memory that a pass over the segmentation's objects may take.
const PASS_BYTES: usize = 256 << 20;

impl Table {
    /// A table of two whole volumes; voxels whose reference is `ignore` are not evaluated.
    #[must_use]
    pub fn of(reference: &[u64], prediction: &[u64], ignore: Option<u64>) -> Self {
        let mut table = Contingency::new();
        table.add(reference, prediction, |i| ignore != Some(reference[i]));
        table.finish()
    }

    /// Voxels that are evaluated.
    #[must_use]
    pub fn evaluated(&self) -> u64 {
        self.evaluated
    }

    /// All voxels, those that are not evaluated among them.
    #[must_use]
    pub fn voxels(&self) -> u64 {
        self.evaluated + self.ignored
    }

    /// Number of pairs.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }

    /// Objects of the reference among the evaluated voxels, 0 too where it is evaluated, and the voxels of the largest one.
    #[must_use]
    pub fn reference_objects(&self) -> (u64, u64) {
        let size = |row: &[Pair]| row.iter().map(|pair| pair.voxels).sum::<u64>();
        self.rows()
            .map(|rows| rows.fold((0, 0), |(count, largest), row| (count + 1, size(row).max(largest))))
            .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1.max(b.1)))
    }

    /// Bytes that the pairs take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pairs() * size_of::<Pair>()
    }

    /// The pairs of each object of the reference, shard by shard.
    pub(crate) fn rows(&self) -> impl ParallelIterator<Item = impl Iterator<Item = &[Pair]>> {
        self.shards.par_iter().map(|shard| shard.chunk_by(|a, b| a.reference == b.reference))
    }

    /// The pairs of one object of the reference.
    pub(crate) fn row(&self, reference: u64) -> &[Pair] {
        let shard = &self.shards[hash(reference) as usize % SHARDS];
        let first = shard.partition_point(|pair| pair.reference < reference);
        let rest = &shard[first..];
        &rest[..rest.partition_point(|pair| pair.reference == reference)]
    }

    /// The pairs of each object of the segmentation, part by part: only as many are sorted anew at a time as fit
    /// a quarter of a GiB.
    pub(crate) fn columns(&self) -> impl Iterator<Item = Vec<Pair>> {
        self.columns_within(PASS_BYTES)
    }

    fn columns_within(&self, bytes: usize) -> impl Iterator<Item = Vec<Pair>> {
        let parts = self.bytes().div_ceil(bytes).max(1) as u64;
        (0..parts).map(move |part| {
            let own = |pair: &&Pair| hash(pair.prediction).rotate_left(13) % parts == part;
            let mut pairs: Vec<Pair> =
                self.shards.par_iter().flat_map_iter(|s| s.iter().filter(own)).copied().collect();
            pairs.par_sort_unstable_by_key(|pair| (pair.prediction, pair.reference));
            pairs
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn brute(reference: &[u64], prediction: &[u64]) -> BTreeMap<(u64, u64), u64> {
        let mut table = BTreeMap::new();
        for pair in reference.iter().copied().zip(prediction.iter().copied()) {
            *table.entry(pair).or_insert(0) += 1;
        }
        table
    }

    fn pairs_of(table: &Table) -> BTreeMap<(u64, u64), u64> {
        table.shards.iter().flatten().map(|pair| (pair.ids(), pair.voxels)).collect()
    }

    proptest! {
        #[test]
        fn equals_a_map_whatever_the_slabs(
            labels in prop::collection::vec((0_u64..40, 0_u64..40), 1..600),
            cut in 1_usize..200,
        ) {
            let (a, b): (Vec<u64>, Vec<u64>) = labels.into_iter().unzip();
            let mut table = Contingency::new();
            for (a, b) in a.chunks(cut).zip(b.chunks(cut)) {
                table.add(a, b, |_| true);
            }
            let table = table.finish();
            let expected = brute(&a, &b);
            prop_assert_eq!(table.pairs(), expected.len());
            prop_assert_eq!(pairs_of(&table), expected.clone());
            let mut sizes = BTreeMap::new();
            a.iter().for_each(|id| *sizes.entry(*id).or_insert(0) += 1);
            let largest = sizes.values().copied().max().unwrap_or(0);
            prop_assert_eq!(table.reference_objects(), (sizes.len() as u64, largest));
            for bytes in [24, 24 * 50, PASS_BYTES] {
                let mut seen = BTreeMap::new();
                for part in table.columns_within(bytes) {
                    prop_assert!(part.windows(2).all(|w| w[0].prediction <= w[1].prediction));
                    let columns: Vec<u64> = part.iter().map(|p| p.prediction).collect();
                    for pair in part {
                        prop_assert_eq!(seen.insert(pair.ids(), pair.voxels), None);
                    }
                    // an object lies in one part
                    prop_assert!(columns.iter().all(|id| seen.iter().filter(|((_, p), _)| p == id).count()
                        == expected.keys().filter(|(_, p)| p == id).count()));
                }
                prop_assert_eq!(&seen, &expected);
            }
        }
    }

    #[test]
    fn many_pairs_are_merged_on_the_way_and_ignored_voxels_are_numbered() {
        let n = 900_000_u64;
        let reference: Vec<u64> = (0..n).map(|i| i / 3 * 7).collect();
        let prediction: Vec<u64> = (0..n).map(|i| i / 2 % 150_000 + (1 << 40)).collect();
        let mut table = Contingency::new();
        for slab in 0..3 {
            let range = slab * 300_000..(slab + 1) * 300_000;
            table.add(&reference[range.clone()], &prediction[range], |i| i % 10 != 0);
        }
        let table = table.finish();
        assert_eq!((table.voxels(), table.evaluated()), (n, n / 10 * 9));
        let mut kept: (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        for i in (0..n as usize).filter(|i| i % 10 != 0) {
            kept.0.push(reference[i]);
            kept.1.push(prediction[i]);
        }
        assert!(pairs_of(&table) == brute(&kept.0, &kept.1));
    }
}
