//! What can be wrong with the arguments.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, MetricsError>;

/// Why a metric cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// A slice does not fill its shape.
    #[error("{what} of shape {shape_zyx:?} (z, y, x) has {found} voxels")]
    Length {
        /// Which volume.
        what: &'static str,
        /// Elements in the slice.
        found: usize,
        /// Shape it should fill.
        shape_zyx: [usize; 3],
    },
    /// A box does not lie in its volume.
    #[error("the box from {:?} to {:?} does not lie in a volume of shape {shape_zyx:?} (z, y, x)", found.start_zyx, found.end_zyx)]
    Bounds {
        /// The box.
        found: crate::Bounds,
        /// Shape of the volume.
        shape_zyx: [usize; 3],
    },
    /// Two volumes differ in shape.
    #[error("prediction {prediction:?} and reference {reference:?} differ in shape (z, y, x)")]
    Shape {
        /// Shape of the prediction.
        prediction: [usize; 3],
        /// Shape of the reference.
        reference: [usize; 3],
    },
    /// A class or region that cannot be scored.
    #[error(
        "what is scored must hold a value, once each, and neither 0 nor the ignored value, and be listed once; found {found:?}"
    )]
    Classes {
        /// Its values.
        found: Vec<u64>,
    },
    /// A distance transform was refused.
    #[error(transparent)]
    LabelMap(#[from] label_maps::LabelMapError),
}
