//! What one pass over a channel finds: moments, extremes, and where along each axis voxels are not 0.
//!
//! A channel is read in tiles of fixed size and place; what they hold is joined in their order. Nothing depends on who
//! reads them, so that a volume in memory and one on disk have the same statistics to the last bit.

use crate::crop::BoundingBox;
use crate::error::{Result, VolumeError};
use crate::intensity::{ChannelStatistics, IntensityRule, Moments, count_non_finite};
use crate::voxels::Voxels;
use rayon::prelude::*;

/// Edge of a tile in voxels: 1 MiB of f32.
const TILE: usize = 64;
/// Tiles whose statistics are held before they are joined.
const BATCH: usize = 256;

/// The voxels other than 0 of one slice across an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slice {
    pub(super) smallest: f32,
    pub(super) largest: f32,
    pub(super) used: u64,
}

impl Slice {
    const EMPTY: Self = Self { smallest: f32::INFINITY, largest: f32::NEG_INFINITY, used: 0 };

    fn join(&mut self, other: &Self) {
        self.smallest = self.smallest.min(other.smallest);
        self.largest = self.largest.max(other.largest);
        self.used += other.used;
    }

    /// Smallest and largest value if `zeros` zeros belong to it too.
    pub(super) fn range(&self, zeros: u64) -> [f32; 2] {
        if zeros == 0 {
            [self.smallest, self.largest]
        } else {
            [self.smallest.min(0.0), self.largest.max(0.0)]
        }
    }
}

/// The lowest values after clipping, which tell whether a crop to what lies above them keeps any of the lowest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lowest {
    value: f32,
    count: u64,
    next: f32,
}

impl Lowest {
    const NONE: Self = Self { value: f32::INFINITY, count: 0, next: f32::INFINITY };

    fn of(values: &[f32], clip: Clamp, value: f32) -> Self {
        let (mut count, mut next) = (0_u64, f32::INFINITY);
        for piece in values.chunks(1 << 12) {
            let mut here = 0_u32;
            for found in piece {
                let found = clip.of(*found);
                here += u32::from(found == value);
                next = if found > value && found < next { found } else { next };
            }
            count += u64::from(here);
        }
        Self { value, count, next }
    }

    fn join(&mut self, other: &Self) {
        let next = self.next.min(other.next);
        *self = if self.value == other.value {
            Self { count: self.count + other.count, next, ..*self }
        } else {
            let (low, high) = if self.value < other.value { (*self, other) } else { (*other, &*self) };
            Self { next: next.min(high.value), ..low }
        };
    }
}

/// Clipping in f32 that keeps apart what the rule's clipping in f64 keeps apart, and nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clamp {
    low: f32,
    high: f32,
}

impl Clamp {
    pub(super) fn of_rule(rule: &IntensityRule) -> Self {
        let Some([low, high]) = rule.window() else {
            return Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
        };
        // outwards to the next f32: no voxel lies between the two
        let (below, above) = (low as f32, high as f32);
        Self {
            low: if f64::from(below) > low { below.next_down() } else { below },
            high: if f64::from(above) < high { above.next_up() } else { above },
        }
    }

    pub(super) fn of(self, value: f32) -> f32 {
        let value = if value < self.low { self.low } else { value };
        if value > self.high { self.high } else { value }
    }
}

/// One channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Channel {
    shape_zyx: [usize; 3],
    moments: Moments,
    lowest: Lowest,
    /// Slices across z, y and x.
    pub(super) slices: [Vec<Slice>; 3],
}

impl Channel {
    fn empty(shape_zyx: [usize; 3]) -> Self {
        let slices = shape_zyx.map(|n| vec![Slice::EMPTY; n]);
        Self { shape_zyx, moments: Moments::default(), lowest: Lowest::NONE, slices }
    }

    /// Reads a channel once; with `clip` its lowest values after clipping are found too.
    pub(super) fn of(source: &dyn Voxels<f32>, channel: usize, clip: Option<Clamp>) -> Result<Self> {
        let mut whole = Self::empty(source.shape_zyx());
        for batch in tiles(source.shape_zyx()).chunks(BATCH) {
            let found: Vec<Self> = batch
                .par_iter()
                .map(|tile| Ok(Self::of_tile(&source.read(channel, tile)?, tile.shape(), clip)))
                .collect::<Result<_>>()?;
            for (tile, found) in batch.iter().zip(&found) {
                whole.join(found, tile.start_zyx);
            }
        }
        Ok(whole)
    }

    fn of_tile(values: &[f32], shape_zyx: [usize; 3], clip: Option<Clamp>) -> Self {
        let [_, height, width] = shape_zyx;
        let mut this = Self::empty(shape_zyx);
        let mut columns = Columns::new(width);
        for (number, row) in values.chunks_exact(width).enumerate() {
            columns.add(row);
            let all = of_row(row);
            this.slices[0][number / height].join(&all);
            this.slices[1][number % height].join(&all);
        }
        this.slices[2] = columns.slices();
        this.moments = Moments::of(values);
        if let Some(clip) = clip {
            let smallest = clip.of(this.total().range(this.moments.zeros)[0]);
            this.lowest = Lowest::of(values, clip, smallest);
        }
        this
    }

    fn join(&mut self, tile: &Self, start_zyx: [usize; 3]) {
        self.moments = self.moments.merged(tile.moments);
        self.lowest.join(&tile.lowest);
        for ((own, found), start) in self.slices.iter_mut().zip(&tile.slices).zip(start_zyx) {
            own[start..].iter_mut().zip(found).for_each(|(own, found)| own.join(found));
        }
    }

    /// All voxels other than 0.
    fn total(&self) -> Slice {
        let mut total = Slice::EMPTY;
        self.slices[0].iter().for_each(|slice| total.join(slice));
        total
    }

    /// Zeros in a box outside of which all voxels are 0.
    fn zeros(&self, bounds: &BoundingBox) -> u64 {
        bounds.voxels() as u64 - self.moments.used
    }

    /// Smallest and largest value in a box outside of which all voxels are 0.
    fn range(&self, bounds: &BoundingBox) -> [f32; 2] {
        self.total().range(self.zeros(bounds))
    }

    /// The statistics of a box outside of which all voxels are 0, for a rule.
    pub(super) fn statistics(&self, bounds: &BoundingBox, rule: &IntensityRule) -> ChannelStatistics {
        let zeros = self.zeros(bounds);
        let moments = self.moments.having_zeros(zeros);
        let [min, max] = self.range(bounds);
        let (voxels, used) = (bounds.voxels() as u64, self.moments.used);
        if rule.keeps_zeros() {
            let (mean, std) = moments.without_zeros();
            return ChannelStatistics { min, max, mean, std, used, voxels };
        }
        let (mean, std) = moments.with_zeros();
        ChannelStatistics { min, max, mean, std, used: voxels, voxels }
    }

    /// Values other than 0, and whether there is a 0, in a box outside of which all voxels are 0.
    pub(super) fn values(&self, bounds: &BoundingBox) -> (Slice, bool) {
        (self.total(), self.zeros(bounds) > 0)
    }

    /// Smallest and largest value after clipping of a box outside of which all voxels have the smallest value.
    pub(super) fn clipped_range(&self, bounds: &BoundingBox, clip: Clamp) -> [f32; 2] {
        let whole = BoundingBox::whole(self.shape_zyx);
        let outside = (whole.voxels() - bounds.voxels()) as u64;
        let low = if self.lowest.count > outside { self.lowest.value } else { self.lowest.next };
        [low, clip.of(self.range(&whole)[1])]
    }

    /// Largest value of each slice across an axis.
    pub(super) fn largest(&self, axis: usize) -> impl DoubleEndedIterator<Item = f32> + '_ {
        let voxels = (crate::voxels(self.shape_zyx) / self.shape_zyx[axis]) as u64;
        self.slices[axis].iter().map(move |slice| slice.range(voxels - slice.used)[1])
    }

    /// The smallest value after clipping.
    pub(super) fn lowest(&self) -> f32 {
        self.lowest.value
    }
}

/// Slices across x, as arrays that a processor can take several voxels of at once.
struct Columns {
    smallest: Vec<f32>,
    largest: Vec<f32>,
    used: Vec<u32>,
}

impl Columns {
    fn new(width: usize) -> Self {
        let [smallest, largest] = [f32::INFINITY, f32::NEG_INFINITY].map(|value| vec![value; width]);
        Self { smallest, largest, used: vec![0; width] }
    }

    fn add(&mut self, row: &[f32]) {
        let columns = self.smallest.iter_mut().zip(&mut self.largest).zip(&mut self.used);
        for (value, ((smallest, largest), used)) in row.iter().zip(columns) {
            let counts = *value != 0.0;
            *smallest = if counts && *value < *smallest { *value } else { *smallest };
            *largest = if counts && *value > *largest { *value } else { *largest };
            *used += u32::from(counts);
        }
    }

    fn slices(&self) -> Vec<Slice> {
        let columns = self.smallest.iter().zip(&self.largest).zip(&self.used);
        let slice = |((smallest, largest), used): ((&f32, &f32), &u32)| Slice {
            smallest: *smallest,
            largest: *largest,
            used: u64::from(*used),
        };
        columns.map(slice).collect()
    }
}

fn of_row(row: &[f32]) -> Slice {
    const LANES: usize = 8;
    let mut lanes = Columns::new(LANES);
    let (chunks, rest) = row.as_chunks::<LANES>();
    chunks.iter().for_each(|chunk| lanes.add(chunk));
    lanes.add(rest);
    let mut all = Slice::EMPTY;
    lanes.slices().iter().for_each(|lane| all.join(lane));
    all
}

/// The error of a channel whose statistics are not finite.
pub(super) fn non_finite(source: &dyn Voxels<f32>, channel: usize) -> VolumeError {
    let (mut nan, mut infinite) = (0, 0);
    for tile in tiles(source.shape_zyx()) {
        match source.read(channel, &tile) {
            Ok(values) => {
                let found = count_non_finite(&values);
                nan += found.0;
                infinite += found.1;
            }
            Err(error) => return error,
        }
    }
    VolumeError::NonFinite { channel: channel.into(), nan, infinite }
}

/// The tiles of a volume in C order.
fn tiles(shape_zyx: [usize; 3]) -> Vec<BoundingBox> {
    let [z, y, x] = shape_zyx.map(|n| (0..n).step_by(TILE));
    let mut found = Vec::new();
    for z in z {
        for y in y.clone() {
            for x in x.clone() {
                let start_zyx = [z, y, x];
                let end_zyx = std::array::from_fn(|axis| (start_zyx[axis] + TILE).min(shape_zyx[axis]));
                found.push(BoundingBox { start_zyx, end_zyx });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voxels::InMemory;

    #[test]
    fn clipping_in_f32_keeps_apart_what_f64_keeps_apart() {
        let rule = IntensityRule::CtWindow { low: 0.1, high: 0.7 };
        let clip = Clamp::of_rule(&rule);
        for bound in [0.1_f64, 0.7] {
            let mut value = (bound as f32).next_down().next_down();
            for _ in 0..5 {
                let next = value.next_up();
                let same = f64::from(value).clamp(0.1, 0.7) == f64::from(next).clamp(0.1, 0.7);
                assert_eq!(clip.of(value) == clip.of(next), same, "{value}");
                value = next;
            }
        }
    }

    #[test]
    fn tiles_join_to_the_whole() {
        let shape = [70, 3, 130];
        let data: Vec<f32> = (0..70 * 3 * 130)
            .map(|i: usize| ((i * 7919) % 1013) as f32 - 200.0)
            .map(|v| if v < 0.0 { 0.0 } else { v })
            .collect();
        let rule = IntensityRule::CtWindow { low: 10.5, high: 700.0 };
        let source = InMemory::new(&data, 1, shape).unwrap();
        let found = Channel::of(&source, 0, Some(Clamp::of_rule(&rule))).unwrap();
        let count = |test: &dyn Fn(f32) -> bool| data.iter().filter(|v| test(**v)).count() as u64;
        assert_eq!((found.moments.used, found.moments.zeros), (count(&|v| v != 0.0), count(&|v| v == 0.0)));
        let lowest = Lowest { value: 10.5, count: count(&|v| v <= 10.5), next: 11.0 };
        assert_eq!(found.lowest, lowest);
        assert_eq!(found.slices[2].iter().map(|s| s.used).sum::<u64>(), found.moments.used);
        for (axis, slices) in found.slices.iter().enumerate() {
            let stride = shape[axis + 1..].iter().product::<usize>();
            for (number, slice) in slices.iter().enumerate() {
                let inside = |i: &usize| i / stride % shape[axis] == number && data[*i] != 0.0;
                let values: Vec<f32> = (0..data.len()).filter(inside).map(|i| data[i]).collect();
                assert_eq!(slice.used, values.len() as u64);
                assert_eq!(slice.smallest, values.iter().copied().fold(f32::INFINITY, f32::min));
                assert_eq!(slice.largest, values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            }
        }
    }
}
