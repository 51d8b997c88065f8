//! What somebody should know about a volume that is still usable.

use crate::error::{lengths, size};
use crate::geometry::length_text;
use crate::grouped;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A flaw that does not stop the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// sform and qform are both set and disagree; sform wins.
    FormsDisagree {
        /// Largest corner displacement between the two.
        corner_mm: f64,
    },
    /// sform is used; qform is set too, but is no rotation.
    QformUnusable {
        /// What is wrong with it.
        reason: String,
    },
    /// The affine shears; the nearest rotation was taken.
    NotOrthonormal {
        /// What the header calls its matrix: `sform`, `qform`, `TransformMatrix` or `space directions`.
        form: String,
        /// Largest deviation of an angle between axes from 90 degrees.
        shear_deg: f64,
        /// Largest corner displacement caused by the repair.
        corner_mm: f64,
    },
    /// Neither sform nor qform is set: position and orientation are unknown.
    NoOrientation,
    /// Image and label affines differ, by less than a tenth of a voxel.
    NearlySameGeometry {
        /// Largest corner displacement.
        corner_mm: f64,
    },
    /// The label lay on another grid and was resampled onto the image's.
    LabelAligned {
        /// Largest corner displacement, both grids in canonical orientation.
        corner_mm: f64,
        /// Angle between the two sets of axes, both in canonical orientation.
        rotation_deg: f64,
        /// Shape of the label as stored, z, y, x.
        label_zyx: [usize; 3],
        /// Shape of the image as stored, z, y, x.
        image_zyx: [usize; 3],
        /// Voxels of the label that are not 0.
        labelled: u64,
        /// Those of them that lie outside of the image.
        outside: u64,
    },
    /// The files of an image's channels differ in place, by less than a tenth of a voxel.
    ChannelsNearlyAgree {
        /// Largest corner displacement.
        corner_mm: f64,
    },
    /// The header gives its unit as something else than millimetres.
    Unit {
        /// `metre`, `centimetre`, `micrometre` or `nanometre`.
        unit: String,
    },
    /// The header of an NRRD names no anatomical space.
    SpaceUnknown {
        /// What it names; empty where nothing.
        found: String,
    },
    /// `pixdim` contradicts the affine, whose column norms count.
    PixdimDiffers {
        /// Voxel size by `pixdim`, mm.
        pixdim_zyx_mm: [f64; 3],
        /// Voxel size by the affine, mm.
        affine_zyx_mm: [f64; 3],
    },
    /// Slope or intercept is not a number, so that no scaling was applied.
    ScalingIgnored {
        /// `scl_slope`, as text because JSON has no NaN.
        slope: String,
        /// `scl_inter`.
        inter: String,
    },
    /// One slice only along an axis.
    SingleSlice {
        /// Shape z, y, x.
        shape_zyx: [usize; 3],
    },
    /// The file goes on after the last voxel.
    TrailingBytes {
        /// Bytes after the last voxel.
        bytes: u64,
    },
    /// Non-finite voxels were replaced by the channel's minimum.
    NonFiniteFilled {
        /// Channel.
        channel: usize,
        /// Voxels replaced.
        count: u64,
        /// Value put in their place.
        value: f32,
    },
    /// Hounsfield units that no scanner produces.
    ImplausibleHounsfield {
        /// Smallest intensity.
        min: f32,
        /// Largest intensity.
        max: f32,
        /// Share of voxels below -1100.
        below_share: f64,
    },
    /// Intensities of a CT without any of air, lung or fat.
    UnscaledHounsfield {
        /// Smallest intensity.
        min: f32,
        /// Largest intensity.
        max: f32,
    },
    /// A channel holds one value only; it was normalised to zeros.
    ConstantChannel {
        /// Channel.
        channel: usize,
        /// The value.
        value: f32,
    },
    /// Two sources of a stack's voxel size disagree.
    SpacingSourcesDiffer {
        /// The source that counts.
        used: String,
        /// Its voxel size, mm.
        used_zyx_mm: [f64; 3],
        /// The other source.
        ignored: String,
        /// Its voxel size, mm.
        ignored_zyx_mm: [f64; 3],
    },
    /// Files among a stack's slices that are no images.
    IgnoredFiles {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// One object among many is nearly all that is labelled ([`crate::labels::leaking_share`]).
    LeakingObject {
        /// Objects.
        objects: u64,
        /// Share of the labelled voxels that the largest has.
        share: f64,
    },
    /// Chunks of an OME-Zarr array that are not there, which stand for its fill value.
    AbsentChunks {
        /// How many.
        absent: u64,
        /// Chunks of what was read.
        of: u64,
        /// The fill value, as the metadata have it.
        fill: String,
    },
    /// Anatomical orientations of an OME-Zarr image that are not understood.
    OrientationUnknown {
        /// The words.
        found: String,
    },
    /// Labels that cover a part of their image only.
    PartlyLabelled {
        /// Share of the image's voxels that they cover.
        covered: f64,
        /// What the others became.
        value: u64,
    },
    /// Slices whose names differ in more than their numbers.
    MixedNames {
        /// The first slice.
        first: String,
        /// One that is named otherwise.
        other: String,
    },
    /// A volume that resampling leaves little of.
    Shrunk {
        /// Voxels before, z, y, x.
        from_zyx: [usize; 3],
        /// Their size, mm.
        from_mm: [f64; 3],
        /// Voxels after.
        to_zyx: [usize; 3],
        /// Their size, mm.
        to_mm: [f64; 3],
    },
    /// A jump in the numbers of a stack's slices.
    SliceGap {
        /// Slice before the jump.
        before: String,
        /// Slice after it.
        after: String,
    },
}

impl Warning {
    /// The code of [`Warning::LabelAligned`], by which a record tells that its label was.
    pub const ALIGNED: &str = "W128";
    /// The code of intensities that are no Hounsfield units.
    pub const IMPLAUSIBLE: &str = "W131";

    /// Stable code, `W` and three digits.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TrailingBytes { .. } => "W101",
            Self::SingleSlice { .. } => "W105",
            Self::FormsDisagree { .. } => "W120",
            Self::NotOrthonormal { .. } => "W121",
            Self::NearlySameGeometry { .. } => "W122",
            Self::NoOrientation => "W123",
            Self::Unit { .. } => "W124",
            Self::PixdimDiffers { .. } => "W125",
            Self::ChannelsNearlyAgree { .. } => "W126",
            Self::QformUnusable { .. } => "W127",
            Self::LabelAligned { .. } => Self::ALIGNED,
            Self::NonFiniteFilled { .. } => "W130",
            Self::ImplausibleHounsfield { .. } | Self::UnscaledHounsfield { .. } => Self::IMPLAUSIBLE,
            Self::ConstantChannel { .. } => "W132",
            Self::ScalingIgnored { .. } => "W133",
            Self::SpacingSourcesDiffer { .. } => "W140",
            Self::IgnoredFiles { .. } => "W142",
            Self::SliceGap { .. } => "W143",
            Self::LeakingObject { .. } => "W144",
            Self::AbsentChunks { .. } => "W145",
            Self::OrientationUnknown { .. } => "W146",
            Self::PartlyLabelled { .. } => "W147",
            Self::MixedNames { .. } => "W148",
            Self::Shrunk { .. } => "W150",
            Self::SpaceUnknown { .. } => "W151",
        }
    }
}

/// What helps where intensities are no Hounsfield units.
const RESCALE: &str =
    "export it again with the DICOM slope and intercept applied once, or correct scl_slope and scl_inter";

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FormsDisagree { corner_mm } => write!(
                f,
                "sform and qform differ by {} at a corner. Using sform; if qform is right, set sform_code to 0",
                length_text(*corner_mm)
            ),
            Self::QformUnusable { reason } => write!(f, "qform is unusable ({reason}). Using sform"),
            Self::NotOrthonormal { form, shear_deg, corner_mm } => write!(
                f,
                "{form} is not orthonormal (shear {shear_deg:.2} deg). Using {form}, direction snapped by polar \
                 decomposition; largest corner shift {}",
                length_text(*corner_mm)
            ),
            Self::NoOrientation => write!(
                f,
                "neither sform nor qform is set: orientation unknown, taken as RAS+ with the voxel size of pixdim. \
                 Left and right may be swapped"
            ),
            Self::NearlySameGeometry { corner_mm } => write!(
                f,
                "image and label differ by {} at the far corner, less than a tenth of a voxel. Using the image's grid",
                length_text(*corner_mm)
            ),
            Self::LabelAligned { corner_mm, rotation_deg, label_zyx, image_zyx, labelled, outside } => {
                write!(
                    f,
                    "label of {} voxels resampled onto the image's grid of {} (z×y×x), nearest voxel: off by {} \
                 at the far corner (rotation {rotation_deg:.1} deg). {} of {} labelled voxels lie outside of the image",
                    size(label_zyx),
                    size(image_zyx),
                    length_text(*corner_mm),
                    grouped(*outside),
                    grouped(*labelled)
                )
            }
            Self::ChannelsNearlyAgree { corner_mm } => write!(
                f,
                "channels differ by {} at the far corner, less than a tenth of a voxel. Using the first one's grid",
                length_text(*corner_mm)
            ),
            Self::Unit { unit } => {
                write!(f, "the header's unit of length is the {unit}; converted to millimetres")
            }
            Self::PixdimDiffers { pixdim_zyx_mm, affine_zyx_mm } => write!(
                f,
                "pixdim says {pixdim_zyx_mm:?} mm, the affine {affine_zyx_mm:?} mm (z,y,x). Using the affine"
            ),
            Self::ScalingIgnored { slope, inter } => {
                write!(f, "scl_slope={slope}, scl_inter={inter} is no scaling. Using the values as stored")
            }
            Self::SingleSlice { shape_zyx } => write!(
                f,
                "volume of {}×{}×{} (z×y×x) is a single slice, which 3-D training pads to its patch. Leave it out if it is a localiser",
                shape_zyx[0], shape_zyx[1], shape_zyx[2]
            ),
            Self::TrailingBytes { bytes } => {
                write!(f, "{} bytes after the last voxel were ignored", grouped(*bytes))
            }
            Self::NonFiniteFilled { channel, count, value } => write!(
                f,
                "{} NaN or infinite voxels in channel {channel} replaced by its minimum {value}",
                grouped(*count)
            ),
            Self::ImplausibleHounsfield { min, max, below_share } => write!(
                f,
                "intensities span [{min}, {max}], {:.1} % below -1100: not plausible Hounsfield units. This looks like \
                 rescale applied twice or an unscaled image. Air is near -1000: {RESCALE}",
                100.0 * below_share
            ),
            Self::UnscaledHounsfield { min, max } => write!(
                f,
                "intensities span [{min}, {max}], none between -1100 and -200: not plausible Hounsfield units, unless the volume was cut out \
                 inside of the body. This looks like an unscaled image or one of 8 bits. Air is near -1000: {RESCALE}"
            ),
            Self::ConstantChannel { channel, value } => {
                write!(
                    f,
                    "channel {channel} has no contrast (every voxel, or every one that the rule counts, is {value}) and was normalised to zeros"
                )
            }
            Self::SpacingSourcesDiffer { used, used_zyx_mm, ignored, ignored_zyx_mm } => write!(
                f,
                "voxel size {used_zyx_mm:?} mm by {used}, but {ignored_zyx_mm:?} mm by {ignored} (z,y,x). Using {used}"
            ),
            Self::IgnoredFiles { count, example } => {
                write!(
                    f,
                    "{count} files among the slices are no TIFF or PNG and were ignored, e.g. {example}"
                )
            }
            Self::LeakingObject { objects, share } => write!(
                f,
                "one of {objects} objects is {:.1} % of all that is labelled. Objects made by connecting what lies between membranes leak \
                 from section to section: connect within sections, or training and scores say little",
                100.0 * share
            ),
            Self::AbsentChunks { absent, of, fill } => write!(
                f,
                "{} of {} chunks are not there and were read as {fill}. Right where the image is empty; else the copy is incomplete",
                grouped(*absent),
                grouped(*of)
            ),
            Self::OrientationUnknown { found } => write!(
                f,
                "orientation '{found}' is not understood: axes taken as RAS+. Left and right may be swapped"
            ),
            Self::SpaceUnknown { found } => {
                match found.as_str() {
                    "" => write!(f, "the header names no space")?,
                    found => write!(f, "the header's space '{found}' says nothing of left and right")?,
                }
                write!(
                    f,
                    ": axes taken as left, posterior, superior, as ITK takes them. Left and right may be swapped"
                )
            }
            Self::MixedNames { first, other } => write!(
                f,
                "slices are named in more than one way, as {first} and {other}. If they are two series, z is wrong: give each a folder"
            ),
            Self::Shrunk { from_zyx, from_mm, to_zyx, to_mm } => write!(
                f,
                "resampling {} voxels of {} mm to {} mm leaves {} (z×y×x). If the file's voxel size is in another unit than it says, or \
                 the target spacing is wrong, correct it",
                size(from_zyx),
                lengths(from_mm),
                lengths(to_mm),
                size(to_zyx)
            ),
            Self::PartlyLabelled { covered, value } => write!(
                f,
                "labels cover {:.1} % of the raw stack. The rest counts as not annotated ({value})",
                100.0 * covered
            ),
            Self::SliceGap { before, after } => write!(
                f,
                "slice numbers jump from {before} to {after}. If a section is missing, z is wrong from there on"
            ),
        }
    }
}
