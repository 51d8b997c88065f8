//! What can be wrong with the arguments.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, LabelMapError>;

/// Why an operation on a label map cannot be done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelMapError {
    /// The slice does not fill the shape.
    #[error("a volume of shape {shape_zyx:?} (z, y, x) was given {found} voxels")]
    Length {
        /// Elements in the slice.
        found: usize,
        /// Shape it should fill.
        shape_zyx: [usize; 3],
    },
    /// A spacing is not a positive finite number.
    #[error("the spacing must be positive and finite along each axis, found {found:?} (z, y, x)")]
    Spacing {
        /// The spacing given.
        found: [f64; 3],
    },
    /// More components than a 32-bit label can name.
    #[error("the volume of {voxels} voxels has more than 4,294,967,295 components; label it in blocks")]
    TooManyComponents {
        /// Voxels of the volume.
        voxels: usize,
    },
}
