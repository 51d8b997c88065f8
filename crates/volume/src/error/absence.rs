//! Volumes in which there is nothing.

use super::words::{lengths, size};
use std::fmt;

/// Why a volume has no foreground.
#[derive(Debug, Clone, PartialEq)]
pub enum NoForeground {
    /// No voxel is what counts as foreground.
    Nothing {
        /// Shape of the volume.
        shape_zyx: [usize; 3],
        /// What counts.
        criterion: &'static str,
    },
    /// All voxels other than 0 have one value, so that nothing can be normalised.
    OneValue {
        /// The value.
        value: f32,
    },
    /// The rule's window clips all voxels to one value.
    OutsideWindow {
        /// Smallest intensity.
        min: f32,
        /// Largest intensity.
        max: f32,
        /// Lower end of the window.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Resampling left so few voxels that they do not differ any more.
    Collapsed {
        /// Voxels before, z, y, x.
        from_zyx: [usize; 3],
        /// Their size, mm.
        from_mm: [f64; 3],
        /// Voxels after.
        to_zyx: [usize; 3],
        /// Their size, mm.
        to_mm: [f64; 3],
    },
}

impl fmt::Display for NoForeground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { shape_zyx, criterion } => {
                write!(f, "no voxel of {} is {criterion}", size(shape_zyx))
            }
            Self::OneValue { value } => write!(f, "every voxel other than 0 is {value}"),
            Self::OutsideWindow { min, max, low, high } => {
                write!(f, "intensities span [{min}, {max}], outside of the window [{low}, {high}]")
            }
            Self::Collapsed { from_zyx, from_mm, to_zyx, to_mm } => write!(
                f,
                "resampling {} voxels of {} mm to {} mm leaves {} (z×y×x), which do not differ",
                size(from_zyx),
                lengths(from_mm),
                lengths(to_mm),
                size(to_zyx)
            ),
        }
    }
}
