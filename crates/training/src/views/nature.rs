//! What the data set of a sample permits.

/// What may befall a sample, by its data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// Whether its sections were cut and imaged one by one (electron microscopy).
    pub sectioned: bool,
    /// Axes z, y, x along which a mirror image is plausible.
    pub mirror_axes: [bool; 3],
}

impl Default for Nature {
    /// One volume that may be mirrored along every axis.
    fn default() -> Self {
        Self { sectioned: false, mirror_axes: [true; 3] }
    }
}

impl Nature {
    /// Whether two axes may be swapped: that is the mirror image at their diagonal, and with it what lay along the one lies along the
    /// other, which only what has no preferred direction among the two bears.
    #[must_use]
    pub fn permits_swap(self, axes: [usize; 2]) -> bool {
        axes.iter().all(|axis| self.mirror_axes.get(*axis) == Some(&true))
    }
}
