//! Stable codes of errors and how to get rid of them.

use crate::error::{NoForeground, VolumeError};
use std::path::{Path, PathBuf};

fn is_hdf5(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ["h5", "hdf", "hdf5"].contains(&ending.as_str()))
}

impl VolumeError {
    /// Stable code, `E` and three digits; the numbers of the hundreds `E1xx` belong to reading and preparing volumes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) | Self::DanglingLink { .. } | Self::Write { .. } => "E100",
            Self::Truncated { .. } | Self::TruncatedHeader { .. } | Self::SliceTruncated { .. } => "E101",
            Self::Corrupt { .. } => "E102",
            Self::NotNifti { .. } | Self::HeaderPair { .. } => "E103",
            Self::UnsupportedType { .. } => "E104",
            Self::Dimensions { .. } | Self::EmptyShape { .. } => "E105",
            Self::ImpossibleSize { .. } | Self::SliceTooLarge { .. } => "E106",
            Self::UndeclaredLabels { .. } => "E110",
            Self::LabelNotInteger { .. } => "E111",
            Self::LabelRange { .. } => "E112",
            Self::TooManyLabels { .. } => "E113",
            Self::GeometryMismatch { .. } | Self::NotParallel { .. } => "E120",
            Self::ShapeMismatch { .. } => "E121",
            Self::Affine { .. } => "E122",
            Self::NoOverlap { .. } => "E123",
            Self::NonFinite { .. } | Self::NothingFinite { .. } => "E130",
            Self::IntensityRange { .. } => "E131",
            Self::Constant { .. } => "E132",
            Self::EmptyForeground { .. } => "E133",
            Self::Rule { .. } => "E134",
            Self::Spacing { .. } | Self::StackSpacing { .. } => "E140",
            Self::Channels { .. } => "E141",
            Self::StackSlice { .. } => "E142",
            Self::StackContent { .. } => "E143",
            Self::StackAxes { .. } => "E144",
            Self::Sidecar { .. } => "E145",
            Self::ChannelGrid { .. } => "E146",
            Self::OmeZarr { .. } => "E147",
            Self::Chunk { .. } => "E148",
            Self::ScanHeader { .. } => "E149",
            Self::Memory { .. } | Self::ReadLimit { .. } => "E160",
            Self::Hdf5 { .. } | Self::Hdf5Lock { .. } => "E180",
            Self::Hdf5Type { .. } | Self::LabelInexact { .. } => "E181",
            Self::Hdf5Dataset { .. } => "E182",
            Self::Raster { .. } => "E183",
            Self::Unplaced { .. } => "E184",
            Self::PartlyLabelled { .. } => "E185",
            Self::Length { .. }
            | Self::OutsideVolume { .. }
            | Self::NoChannel { .. }
            | Self::Planes { .. } => "E199",
            Self::InFile { source, .. } => source.code(),
        }
    }

    /// Likely cause and the command or edit that fixes it, where there is one to give.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Truncated { .. } | Self::TruncatedHeader { .. } | Self::SliceTruncated { .. } => {
                "Usually an interrupted download or copy. Fetch the file again, then rerun the same command"
            }
            Self::DanglingLink { .. } => crate::links::UNFETCHED,
            Self::Corrupt { .. } => {
                "Usually a damaged copy or disk. Fetch the file again, then rerun the same command"
            }
            Self::NotNifti { .. } => {
                "Usually an error page saved under the image's name, or another format. Fetch the file again or convert it to NIfTI"
            }
            Self::ScanHeader { fix, .. } => fix,
            Self::HeaderPair { .. } => {
                "Join the pair: python -c \"import nibabel as n; n.save(n.load('x.hdr'), 'x.nii.gz')\""
            }
            Self::UnsupportedType { .. } => "Convert colour or complex voxels to one number per voxel first",
            // a header that says nothing usable is no time series
            Self::Dimensions { reason, .. } if !reason.starts_with("only one axis") => {
                "The header is damaged, or was written by a faulty program. Fetch the file again, or export it again"
            }
            Self::Dimensions { .. } => {
                "Split a time series or a vector field so that channels are the only axis beyond x, y, z"
            }
            Self::ImpossibleSize { .. } => {
                "The header is damaged, or the file is cut short. Fetch the file again"
            }
            Self::Memory { .. } => "Lower --workers or --max-ram, or use a machine with more memory",
            Self::ReadLimit { .. } => {
                "If that size is right, raise --max-ram; if not, the header is damaged: fetch the file again"
            }
            Self::Spacing { path, .. } if is_hdf5(path) => {
                "Write the voxel size in nm as z, y, x: python -c \"import h5py; \
                 h5py.File('x.h5', 'r+')['/volumes/raw'].attrs['resolution'] = [40.0, 4.0, 4.0]\" with the true numbers, and likewise \
                 for the labels"
            }
            Self::Spacing { .. } => {
                "Set the voxel size with the tool that made the file; for NIfTI, with the true millimetres: python -c \"import nibabel as n, numpy as np; \
                 i=n.load('x.nii.gz'); n.save(n.Nifti1Image(i.dataobj, np.diag([1,1,2,1]), i.header), 'mended.nii.gz')\""
            }
            Self::Affine { .. } => {
                "Repair what places the voxels (sform and qform, TransformMatrix or space directions) with the tool that made the file"
            }
            Self::LabelNotInteger { .. } => {
                "Labels were probably interpolated or smoothed. Export them again with nearest-neighbour interpolation"
            }
            Self::LabelRange { .. } => {
                "Probably an intensity image in place of a label map. Check which file is the label"
            }
            Self::LabelInexact { .. } => {
                "Export the ids again as 64-bit integers with scl_slope 1 and scl_inter 0, and declare them as kind = \"instances\" below [labels] of the data set's descriptor"
            }
            Self::UndeclaredLabels { remap, .. } => return Some(of_undeclared(remap)),
            Self::TooManyLabels { .. } => "Write instance maps as HDF5 with 64-bit ids",
            Self::ShapeMismatch { .. } => {
                "Probably the label of another case or of a resampled image. Check the pair; to resample the label, \
                 --align-labels nearest"
            }
            Self::GeometryMismatch { .. } => {
                "If the label was drawn on this voxel grid, use --trust-voxel-grid; to resample the label, --align-labels nearest"
            }
            Self::NoOverlap { .. } => {
                "Probably the label of another case, or one whose affine was lost. Check the pair; if the label was drawn \
                 on this voxel grid, use --trust-voxel-grid"
            }
            Self::NonFinite { .. } => "Replace them with --nan fill=min, or export the image again",
            Self::NothingFinite { .. } | Self::Constant { .. } => {
                "Probably an empty export. Check the source image"
            }
            Self::EmptyForeground { reason } => match reason {
                NoForeground::Nothing { .. } => "Probably an empty image. Check the source image",
                NoForeground::OneValue { .. } => {
                    "Probably a mask or a label in place of the image. Check the source image"
                }
                NoForeground::OutsideWindow { .. } => {
                    "Check that the intensities are in the unit of the window: CT in Hounsfield units, rescaled once; or widen low and high \
                     below [intensity] of the data set's descriptor"
                }
                NoForeground::Collapsed { .. } => {
                    "The file's voxel size is probably in another unit than it says, such as cm or µm in place of mm. Correct it, or the \
                     target spacing"
                }
            },
            Self::IntensityRange { .. } => {
                "Check the modality, rescale it to 8 bits before, or give it another intensity rule"
            }
            Self::Channels { .. } => {
                "Check the channels that the data set declares; of overlapping segments, export each as a label map"
            }
            Self::ChannelGrid { .. } => {
                "Resample all channels of the case onto one grid first; a channel of another case may be among them"
            }
            Self::Hdf5Lock { .. } => {
                "Inputs are opened read-only; set HDF5_USE_FILE_LOCKING=FALSE or copy the file to a local disk. If another \
                 program is writing it, wait for that"
            }
            Self::Hdf5 { action: "open", .. } => {
                "Inputs are opened read-only and without locks. Check that the file is HDF5, whole and readable"
            }
            Self::Hdf5Type { .. } => {
                "Convert the dataset: ids as unsigned 64-bit integers (ids above 2^53 cannot go through float), raw as 8-bit"
            }
            Self::Hdf5Dataset { .. } => {
                "Expected CREMI's layout: /volumes/raw and /volumes/labels/neuron_ids"
            }
            Self::Raster { .. } => "Resample the labels to the raw stack's resolution first",
            Self::Unplaced { path, dataset, .. } => {
                return Some(format!(
                    "Write the place of its first voxel, in nm as z, y, x: python -c \"import h5py; \
                     h5py.File('{}', 'r+')['{dataset}'].attrs['offset'] = [0.0, 0.0, 0.0]\" with the true numbers",
                    path.display()
                ));
            }
            Self::PartlyLabelled { free, .. } => {
                return Some(format!(
                    "Add ignore = {free} below [labels] of the data set's descriptor: the rest then counts as not annotated"
                ));
            }
            Self::StackSpacing { path, .. } => {
                return Some(format!(
                    "Give {} {{\"spacing_zyx_um\":[0.08,0.0076,0.0076]}} or --spacing-zyx. Order is z,y,x",
                    crate::stack::sidecar_name(path)
                ));
            }
            Self::StackSlice { .. } => {
                "Remove the slice if it is a thumbnail or belongs elsewhere, or export the stack again"
            }
            Self::StackContent { fix, .. } | Self::OmeZarr { fix, .. } => fix,
            Self::Chunk { .. } => {
                "Usually an interrupted copy, or a disk that is damaged. Copy the folder again, then rerun the same command"
            }
            Self::StackAxes { .. } => {
                "Split channels and time points into one stack each. If the axis is really z: python -c \"import tifffile as t; \
                 t.imwrite('z.tif', t.imread('x.tif'), photometric='minisblack')\", with the voxel size in z.json"
            }
            Self::Sidecar { .. } => {
                "The whole file should be {\"spacing_zyx_um\":[0.08,0.0076,0.0076]} (or _nm or _mm), order z,y,x"
            }
            Self::SliceTooLarge { .. } => {
                "Fetch the file again if it is damaged, or cut the sections into tiles"
            }
            Self::InFile { source, .. } => return source.hint(),
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// The same error with the file it belongs to.
    #[must_use]
    pub fn in_file(self, path: impl Into<PathBuf>) -> Self {
        Self::InFile { path: path.into(), source: Box::new(self) }
    }
}

/// A value that is likely background in other words is mapped; one that may be a class is not taken from the labels at the first word.
fn of_undeclared(remap: &str) -> String {
    let pairs: Vec<(&str, &str)> = remap.split(',').filter_map(|pair| pair.split_once('=')).collect();
    let map: Vec<String> = pairs.iter().map(|(from, to)| format!("\"{from}\" = {to}")).collect();
    let map = map.join(", ");
    if pairs.iter().all(|(_, to)| *to == "0") {
        format!(
            "If it is a class, declare it below [labels] of the data set's descriptor; to make it background, pass --label-map {remap} or add map = \
             {{{map}}} there"
        )
    } else {
        format!(
            "Pass --label-map {remap} or add map = {{{map}}} below [labels] of the data set's descriptor, or declare the value"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_for_the_flaw_and_the_format_at_hand() {
        let dimensions =
            |reason| VolumeError::Dimensions { path: "a.nii".into(), found: String::new(), reason };
        let advice = |error: VolumeError| error.hint().unwrap_or_default();
        assert!(advice(dimensions("every axis needs at least one voxel")).contains("damaged"));
        assert!(advice(dimensions("only one axis beyond x, y, z can be channels")).contains("time series"));
        let spacing = |path: &str| VolumeError::Spacing { path: path.into(), found: String::new() };
        assert!(advice(spacing("a.HDF")).contains("attrs['resolution']"));
        assert!(advice(spacing("a.nii.gz")).contains("nibabel"));
    }
}
