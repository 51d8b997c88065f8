//! Where things lie in a case.

/// Metadata of a group or an array.
pub(crate) const GROUP: &str = "zarr.json";
/// The image: channel, z, y, x.
pub(crate) const IMAGE: &str = "image";
/// The group that lists the label images, by OME-Zarr's rule.
pub(crate) const LABELS: &str = "labels";
/// The label image in it: a group of its own, by the same rule.
pub(crate) const LABEL: &str = "label";
/// The array of the label image: z, y, x.
pub(crate) const LABEL_ARRAY: &str = "labels/label/0";
/// The sampled voxels of classes: rows class, z, y, x.
pub(crate) const FOREGROUND: &str = "foreground";
