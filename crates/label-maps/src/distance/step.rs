//! Counts of whole steps along z.

/// A count of steps; its largest value stands for "nowhere".
pub(super) trait Step: Copy + Ord + Send + Sync {
    const HERE: Self;
    const NOWHERE: Self;
    /// One step further; nowhere stays nowhere.
    fn further(self) -> Self;
    fn count(self) -> f64;
}

impl Step for u16 {
    const HERE: Self = 0;
    const NOWHERE: Self = Self::MAX;
    fn further(self) -> Self {
        self.saturating_add(1)
    }
    fn count(self) -> f64 {
        f64::from(self)
    }
}

impl Step for u32 {
    const HERE: Self = 0;
    const NOWHERE: Self = Self::MAX;
    fn further(self) -> Self {
        self.saturating_add(1)
    }
    fn count(self) -> f64 {
        f64::from(self)
    }
}
