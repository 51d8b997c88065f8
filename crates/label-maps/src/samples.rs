//! Affinities across one border between two regions: count, mean and histogram.

/// Bins of a histogram over 0 to 1, as in waterz.
pub const BINS: usize = 256;

/// One as a sum.
const ONE: f64 = 4_294_967_296.0;

/// Affinities across one border.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    count: u64,
    /// In units of 2⁻³².
    sum: u64,
    /// Bins that occur and how often, ascending; empty where histograms are not kept.
    bins: Vec<(u8, u32)>,
}

impl Samples {
    /// Number of voxel pairs.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean affinity; 0 without any.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / ONE / self.count as f64 }
    }

    /// The affinity at a quantile, as waterz has it: the centre of the bin of the sample number
    /// ⌊percent · count / 100⌋ + 1 in ascending order. `None` without a histogram.
    #[must_use]
    pub fn quantile(&self, percent: u8) -> Option<f64> {
        let count: u64 = self.bins.iter().map(|(_, n)| u64::from(*n)).sum();
        let wanted = u64::from(percent) * count / 100 + 1;
        let mut seen = 0;
        let bin = self.bins.iter().find(|(_, n)| {
            seen += u64::from(*n);
            seen >= wanted
        });
        bin.or(self.bins.last()).map(|(bin, _)| (f64::from(*bin) + 0.5) / BINS as f64)
    }

    /// The samples with only the largest bin in the histogram, counted once, as waterz begins by default.
    #[must_use]
    pub fn largest_only(&self) -> Self {
        let bins = self.bins.last().map(|(bin, _)| (*bin, 1)).into_iter().collect();
        Self { bins, ..*self }
    }

    pub(crate) fn add(&mut self, affinity: f32, histograms: bool) {
        let affinity = f64::from(affinity).clamp(0.0, 1.0);
        self.count += 1;
        self.sum += (affinity * ONE) as u64;
        if histograms {
            // 1 belongs to the last bin
            self.add_bin(((affinity * BINS as f64) as usize).min(BINS - 1) as u8, 1);
        }
    }

    fn add_bin(&mut self, bin: u8, n: u32) {
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(i) => self.bins[i].1 = self.bins[i].1.saturating_add(n),
            Err(i) => self.bins.insert(i, (bin, n)),
        }
    }

    /// Takes in the samples of another border.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        for (bin, n) in &other.bins {
            self.add_bin(*bin, *n);
        }
    }
}
