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
    /// More voxels, edges or regions than one step can number by 32 bits.
    #[error("{found} {what} are more than the 4,294,967,295 that fit one block; take smaller blocks")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        found: u64,
    },
    /// The affinities do not fill offsets and shape.
    #[error(
        "affinities of {offsets} offsets over a shape of {shape_zyx:?} (z, y, x) were given {found} values"
    )]
    AffinityLength {
        /// Elements in the slice.
        found: usize,
        /// Number of offsets.
        offsets: usize,
        /// Shape of the volume.
        shape_zyx: [usize; 3],
    },
    /// An offset that pairs no voxels, or one listed twice.
    #[error("the offsets of affinities must be distinct and not [0, 0, 0], found {found:?} (z, y, x)")]
    Offset {
        /// The offset.
        found: [isize; 3],
    },
    /// A method asks for affinities of neighbours that are not listed.
    #[error(
        "no offset of one voxel along {axis}: this method needs affinities of nearest neighbours, found {offsets:?} (z, y, x)"
    )]
    NoNearest {
        /// Name of the axis.
        axis: char,
        /// The offsets given.
        offsets: Vec<[isize; 3]>,
    },
    /// A probability that is none.
    #[error(
        "{what} must be numbers from 0 to 1, found {found} at {place_zyx:?} (z, y, x) of channel {channel}"
    )]
    Probability {
        /// What is wrong.
        what: &'static str,
        /// The value.
        found: f32,
        /// Its channel, counted from 0.
        channel: usize,
        /// Its voxel.
        place_zyx: [usize; 3],
    },
    /// A parameter outside of what has a meaning.
    #[error("`{name}` must be {expected}, found {found}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

impl LabelMapError {
    /// A place that is said becomes one of the volume; it was counted from the first voxel of a part that begins at `start_zyx`.
    pub(crate) fn seen_from(mut self, start_zyx: [usize; 3]) -> Self {
        if let Self::Probability { place_zyx, .. } = &mut self {
            for (place, start) in place_zyx.iter_mut().zip(start_zyx) {
                *place += start;
            }
        }
        self
    }

    /// A parameter outside of what has a meaning.
    pub(crate) fn parameter(name: &'static str, expected: &'static str, found: impl std::fmt::Debug) -> Self {
        Self::Parameter { name, expected, found: format!("{found:?}") }
    }
}
