//! What makes a volume unusable, with found and expected values, a stable code and the likely remedy.

mod absence;
mod words;

pub use absence::NoForeground;
pub use words::ValueTable;
pub(crate) use words::{lengths, size};

use crate::channels::NamedChannel;
use crate::geometry::length_text;
use crate::grouped;
use crate::scan::Format;
use std::path::PathBuf;
use words::{extent, note, progress};

/// Result of this crate.
pub type Result<T, E = VolumeError> = std::result::Result<T, E>;

/// Everything that can be wrong with one volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The operating system refused; the message carries the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),

    /// A link in place of a file, whose target is not there.
    #[error("{} is a link to {}, where nothing is", path.display(), target.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// What it names.
        target: PathBuf,
    },

    /// The payload is shorter than the header says.
    #[error("the file is truncated. {} decodes to {} of {} voxel bytes", path.display(), grouped(*decoded), grouped(*expected))]
    Truncated {
        /// File.
        path: PathBuf,
        /// Voxel bytes found.
        decoded: u64,
        /// Voxel bytes that the header announces.
        expected: u64,
    },

    /// The file ends inside its header.
    #[error("the file is truncated. {} holds {decoded} of {expected} header bytes", path.display())]
    TruncatedHeader {
        /// File.
        path: PathBuf,
        /// Bytes found.
        decoded: u64,
        /// Bytes of a whole header.
        expected: u64,
    },

    /// The compressed stream contradicts its own checksum or syntax.
    #[error("image file is corrupt. {}: {reason}{}", path.display(), progress(*decoded, *expected))]
    Corrupt {
        /// File.
        path: PathBuf,
        /// What the decompressor found.
        reason: String,
        /// Voxel bytes decoded before that.
        decoded: u64,
        /// Voxel bytes that the header announces; 0 if the header itself is damaged.
        expected: u64,
    },

    /// Not a NIfTI file, nor a MetaImage or NRRD, which are told by their first words.
    #[error("not a NIfTI file. {} begins with {found}; expected a header of 348 (NIfTI-1) or 540 (NIfTI-2) bytes", path.display())]
    NotNifti {
        /// File.
        path: PathBuf,
        /// The first bytes, readable.
        found: String,
    },

    /// A header of MetaImage or NRRD that cannot be used.
    #[error("{} cannot be read as {format}: {found}", path.display())]
    ScanHeader {
        /// File.
        path: PathBuf,
        /// Format.
        format: Format,
        /// What is wrong with it.
        found: String,
        /// What helps.
        fix: &'static str,
    },

    /// Header and voxels are in two files.
    #[error("{} belongs to a .hdr/.img pair; expected one .nii or .nii.gz file", path.display())]
    HeaderPair {
        /// File.
        path: PathBuf,
    },

    /// A voxel type that holds no plain number.
    #[error("{} has voxel type {name} (NIfTI code {code}); expected an integer or floating point type", path.display())]
    UnsupportedType {
        /// File.
        path: PathBuf,
        /// NIfTI's code.
        code: i16,
        /// NIfTI's name.
        name: &'static str,
    },

    /// Dimensions that are no volume, or a volume with too many axes.
    #[error("{} has dimensions {found}: {reason}", path.display())]
    Dimensions {
        /// File.
        path: PathBuf,
        /// Dimensions in the file's order (x, y, z, …).
        found: String,
        /// What is wrong with them.
        reason: &'static str,
    },

    /// The header announces more than the file can possibly hold.
    #[error("{} announces {} voxel bytes, but a file of {} bytes can hold at most {}", path.display(), grouped(*expected), grouped(*file_bytes), grouped(*possible))]
    ImpossibleSize {
        /// File.
        path: PathBuf,
        /// Voxel bytes announced.
        expected: u64,
        /// Bytes on disk.
        file_bytes: u64,
        /// Most bytes that could come out of that.
        possible: u64,
    },

    /// Memory for the voxels was refused.
    #[error("no memory for {}: needs {} bytes", path.display(), grouped(*bytes))]
    Memory {
        /// File.
        path: PathBuf,
        /// Bytes asked for.
        bytes: u64,
    },

    /// A volume that needs more memory than one read may take.
    #[error("{} needs {} bytes of memory for its {} voxels (z×y×x); one read may take {}", path.display(), grouped(*bytes), size(shape_zyx), grouped(*limit))]
    ReadLimit {
        /// File.
        path: PathBuf,
        /// Shape of one channel, or of one plane.
        shape_zyx: [usize; 3],
        /// Bytes that reading takes.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },

    /// Voxel size missing, zero or not a number.
    #[error("{} has no usable voxel size: {found}; expected three positive numbers", path.display())]
    Spacing {
        /// File.
        path: PathBuf,
        /// What was found, naming axis and field.
        found: String,
    },

    /// An affine that maps the voxels onto a plane or a line, or holds NaN.
    #[error("unusable affine {affine:?}: {reason}")]
    Affine {
        /// The matrix.
        affine: [[f64; 4]; 4],
        /// Why.
        reason: String,
    },

    /// A volume without voxels.
    #[error("volume of {} voxels has an empty axis", size(shape_zyx))]
    EmptyShape {
        /// Shape z, y, x.
        shape_zyx: [usize; 3],
    },

    /// Another error, with the file it belongs to.
    #[error("{}: {source}", path.display())]
    InFile {
        /// File.
        path: PathBuf,
        /// The error.
        source: Box<VolumeError>,
    },

    /// Labels that are no integers.
    #[error("label values are not integers. {}: {values}; expected integers within 0.001 after scaling", path.display())]
    LabelNotInteger {
        /// File.
        path: PathBuf,
        /// Offending values.
        values: ValueTable,
    },

    /// Labels below zero or too large.
    #[error("label values out of range. {}: {values}; expected 0 to {}", path.display(), grouped(*largest))]
    LabelRange {
        /// File.
        path: PathBuf,
        /// Offending values.
        values: ValueTable,
        /// Largest value possible.
        largest: u64,
    },

    /// Ids so large that the floats which hold or scale them no longer tell neighbours apart.
    #[error("ids above {} cannot go through float. {}: {values}, {through}; expected unscaled integers", grouped(*exact), path.display())]
    LabelInexact {
        /// File.
        path: PathBuf,
        /// Offending values.
        values: ValueTable,
        /// Where the float is: how they are stored or scaled.
        through: String,
        /// Largest value that is certainly exact.
        exact: u64,
    },

    /// Labels that the data set does not declare.
    #[error("label values outside the declared {declared}: {values}. {cause}")]
    UndeclaredLabels {
        /// Offending values.
        values: ValueTable,
        /// Declared values, as `{0,1,2}`.
        declared: String,
        /// Likely cause.
        cause: String,
        /// The remap that would make the labels valid, as `7=0`.
        remap: String,
    },

    /// More label values than a label file can hold.
    #[error("label value {found} does not fit; label files hold values up to {limit}")]
    TooManyLabels {
        /// Largest value.
        found: u32,
        /// Largest value possible.
        limit: u32,
    },

    /// Image and label have different sizes.
    #[error("image and label differ in shape. {} has {} voxels, {} has {} (z×y×x)", image.display(), size(image_zyx), label.display(), size(label_zyx))]
    ShapeMismatch {
        /// Image file.
        image: PathBuf,
        /// Its shape.
        image_zyx: [usize; 3],
        /// Label file.
        label: PathBuf,
        /// Its shape.
        label_zyx: [usize; 3],
    },

    /// Image and label lie elsewhere in the world.
    #[error("image and label disagree by {} at the far corner (rotation {rotation_deg:.1} deg). {} against {}; allowed {}", length_text(*corner_mm), label.display(), image.display(), length_text(*allowed_mm))]
    GeometryMismatch {
        /// Image file.
        image: PathBuf,
        /// Label file.
        label: PathBuf,
        /// Largest corner displacement.
        corner_mm: f64,
        /// Angle between the two sets of axes.
        rotation_deg: f64,
        /// Largest displacement allowed, a tenth of a voxel.
        allowed_mm: f64,
    },

    /// A label that is to be resampled onto its image lies beside it.
    #[error("image and label do not overlap. {} lies within {}, {} within {} (x, y, z in mm)", label.display(), extent(label_mm), image.display(), extent(image_mm))]
    NoOverlap {
        /// Image file.
        image: PathBuf,
        /// Lowest and highest x, y, z of its voxels' centres in the world.
        image_mm: [[f64; 3]; 2],
        /// Label file.
        label: PathBuf,
        /// The same of the label.
        label_mm: [[f64; 3]; 2],
    },

    /// The files of an image's channels do not lie on one grid.
    #[error("channels differ in {differ}. {} against {}", other.display(), first.display())]
    ChannelGrid {
        /// File of the first channel.
        first: PathBuf,
        /// File of the other channel.
        other: PathBuf,
        /// What differs, found against expected.
        differ: String,
    },

    /// Two grids whose axes do not run in parallel.
    #[error(
        "grids are not parallel: axes deviate by {deviation_voxels:.3} voxels over the volume; expected the same orientation"
    )]
    NotParallel {
        /// Largest deviation in voxels.
        deviation_voxels: f64,
    },

    /// Voxels that are NaN or infinite.
    #[error("{} NaN and {} infinite voxels in {channel}; expected finite intensities", grouped(*nan), grouped(*infinite))]
    NonFinite {
        /// Channel.
        channel: NamedChannel,
        /// NaN voxels.
        nan: u64,
        /// Infinite voxels.
        infinite: u64,
    },

    /// A channel without one number.
    #[error("no finite voxel in {channel}: {} NaN and {} infinite; expected an image", grouped(*nan), grouped(*infinite))]
    NothingFinite {
        /// Channel.
        channel: NamedChannel,
        /// NaN voxels.
        nan: u64,
        /// Infinite voxels.
        infinite: u64,
    },

    /// All voxels of a channel are the same.
    #[error("{channel} is constant: every voxel is {value}; expected an image")]
    Constant {
        /// Channel.
        channel: NamedChannel,
        /// The only value.
        value: f32,
    },

    /// Intensities outside what the rule is made for.
    #[error(
        "{}intensities span [{min}, {max}]; the rule {rule} expects [{low}, {high}]",
        channel.as_ref().map(|channel| format!("{channel}: ")).unwrap_or_default()
    )]
    IntensityRange {
        /// Channel, of several.
        channel: Option<NamedChannel>,
        /// Rule.
        rule: &'static str,
        /// Smallest intensity.
        min: f32,
        /// Largest intensity.
        max: f32,
        /// Smallest expected.
        low: f64,
        /// Largest expected.
        high: f64,
    },

    /// An intensity rule with impossible numbers.
    #[error("intensity rule {rule} is impossible: {reason}")]
    Rule {
        /// Rule.
        rule: &'static str,
        /// What is wrong.
        reason: String,
    },

    /// Nothing is left after the foreground crop.
    #[error("no foreground: {reason}")]
    EmptyForeground {
        /// Why.
        reason: NoForeground,
    },

    /// A box that does not lie in its volume.
    #[error("box z,y,x {start_zyx:?}..{end_zyx:?} does not lie in a volume of {}", size(shape_zyx))]
    OutsideVolume {
        /// First voxel.
        start_zyx: [usize; 3],
        /// One past the last voxel.
        end_zyx: [usize; 3],
        /// Shape of the volume.
        shape_zyx: [usize; 3],
    },

    /// A channel that the volume does not have.
    #[error("channel {channel} does not exist; the volume has {channels}, counted from 0")]
    NoChannel {
        /// Channel asked for.
        channel: usize,
        /// Channels of the volume.
        channels: usize,
    },

    /// A temporary volume that did not get all of its planes.
    #[error("a temporary volume got {found} of {expected} planes")]
    Planes {
        /// Planes written.
        found: usize,
        /// Planes of all channels.
        expected: usize,
    },

    /// Several channels where one is expected, or another number of them.
    #[error("{} has {found} channels; expected {expected}", path.display())]
    Channels {
        /// File.
        path: PathBuf,
        /// Channels found.
        found: usize,
        /// Channels expected.
        expected: usize,
    },

    /// A slice of another length than its shape needs.
    #[error("{what} has {found} elements; its shape needs {expected}")]
    Length {
        /// What.
        what: &'static str,
        /// Elements found.
        found: usize,
        /// Elements expected.
        expected: usize,
    },

    /// The NIfTI writer failed.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// File.
        path: PathBuf,
        /// Reason.
        reason: String,
    },

    /// The HDF5 library refused.
    #[error("cannot {action} {}: {reason}", path.display())]
    Hdf5 {
        /// What was tried.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// The library's words.
        reason: String,
    },

    /// A file lock in the way.
    #[error("cannot lock {} ({reason})", path.display())]
    Hdf5Lock {
        /// File.
        path: PathBuf,
        /// `errno 11, Resource temporarily unavailable`.
        reason: String,
    },

    /// A dataset that CREMI's layout needs is missing or not three-dimensional.
    #[error("{} has no usable dataset {dataset}: {found}", path.display())]
    Hdf5Dataset {
        /// File.
        path: PathBuf,
        /// Dataset path.
        dataset: String,
        /// What was found in its place.
        found: String,
    },

    /// A dataset of another number type.
    #[error("{}: {dataset} holds {found}; expected {expected}", path.display())]
    Hdf5Type {
        /// File.
        path: PathBuf,
        /// Dataset path.
        dataset: String,
        /// Type found.
        found: String,
        /// Type expected.
        expected: &'static str,
    },

    /// Label and raw stacks that do not share a voxel raster.
    #[error(
        "{dataset} is not on the raster of the raw stack along {axis}: resolution {label_nm} against {raw_nm} nm, offset {shift_voxels} voxels"
    )]
    Raster {
        /// Dataset.
        dataset: String,
        /// Axis name.
        axis: char,
        /// Resolution of the labels.
        label_nm: f64,
        /// Resolution of the raw stack.
        raw_nm: f64,
        /// Offset in raw voxels.
        shift_voxels: f64,
    },

    /// A label stack that is smaller than the raw one, without a word on where it lies.
    #[error("{}: {dataset} has {} voxels, the raw stack {} (z×y×x), and no attribute 'offset' says where it lies in it", path.display(), size(label_zyx), size(raw_zyx))]
    Unplaced {
        /// File.
        path: PathBuf,
        /// Dataset path.
        dataset: String,
        /// Shape of the labels.
        label_zyx: [usize; 3],
        /// Shape of the raw stack.
        raw_zyx: [usize; 3],
    },

    /// Classes for a part of a stack, where no value says that the rest is not annotated.
    #[error("{}: labels {dataset} cover {:.1} % of the raw stack, and the data set has no value for what nobody annotated", path.display(), 100.0 * covered)]
    PartlyLabelled {
        /// File.
        path: PathBuf,
        /// Dataset.
        dataset: String,
        /// Share of the raw stack's voxels.
        covered: f64,
        /// A value that no class has.
        free: u32,
    },

    /// A stack whose voxel size nobody states.
    #[error("stack {} has no voxel size{}", crate::stack::short_name(path), note(found))]
    StackSpacing {
        /// File or directory.
        path: PathBuf,
        /// What the tags give in its place; may be empty.
        found: String,
    },

    /// A slice of another size or number type than the first.
    #[error("stack {}: {slice} is {found}; expected {expected} as in {first}", path.display())]
    StackSlice {
        /// File or directory.
        path: PathBuf,
        /// The slice that differs.
        slice: String,
        /// Its size and type.
        found: String,
        /// Size and type of the first.
        expected: String,
        /// The first slice.
        first: String,
    },

    /// Something that is no stack of grey values or ids.
    #[error("stack {}: {found}; expected {expected}", path.display())]
    StackContent {
        /// File or directory.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
        /// The command or edit that helps.
        fix: &'static str,
    },

    /// Channels, time points or series beyond z, y, x, or another number of slices than the file says.
    #[error("stack {}: {found}; expected one series of z, y, x", path.display())]
    StackAxes {
        /// File.
        path: PathBuf,
        /// What the description says.
        found: String,
    },

    /// A folder that is no OME-Zarr image, or one of a kind that is not read.
    #[error("OME-Zarr {}: {found}", path.display())]
    OmeZarr {
        /// Folder, or the file in it.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was expected, or the edit that helps.
        fix: &'static str,
    },

    /// Voxels of an OME-Zarr image that cannot be read.
    #[error("OME-Zarr {}: planes {first} to {last} cannot be read: {reason}", path.display())]
    Chunk {
        /// Folder of the array.
        path: PathBuf,
        /// First plane, counted from 0.
        first: usize,
        /// Last plane.
        last: usize,
        /// The library's words.
        reason: String,
    },

    /// A file beside a stack that should give its voxel size.
    #[error("{}: {reason}", path.display())]
    Sidecar {
        /// File.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// A slice that ends too early.
    #[error("the file is truncated. {} ends within {slice}{}", path.display(), note(detail))]
    SliceTruncated {
        /// File.
        path: PathBuf,
        /// Page or header.
        slice: String,
        /// Bytes found and needed, where known.
        detail: String,
    },

    /// A slice beyond the declared limit.
    #[error("{}: {slice} announces {} bytes; slices may have up to {}", path.display(), grouped(*bytes), grouped(*limit))]
    SliceTooLarge {
        /// File.
        path: PathBuf,
        /// Page.
        slice: String,
        /// Bytes announced.
        bytes: u64,
        /// Most bytes allowed.
        limit: u64,
    },
}
