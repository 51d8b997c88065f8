//! CREMI's HDF5 layout: `/volumes/raw` (8-bit), `/volumes/labels/NAME` (64-bit ids), attributes `resolution` and
//! `offset` in nm, axes z, y, x.
//!
//! Inputs are opened read-only and without file locks. Ids stay 64-bit integers throughout: 2^64 − 1 marks voxels that
//! are not annotated, and no id passes through a float. The library serialises all calls, so read in slabs from one
//! thread.

mod predictions;
mod read;
mod write;

pub use predictions::{AffinityFile, LabelFile, ProbabilityFile};
pub use read::{CremiFile, read_cremi};
pub use write::write_cremi;

use crate::error::{Result, VolumeError};
use crate::geometry::Grid;
use crate::labels::Counts;
use hdf5_metno as h5;
use std::path::Path;

const RAW: &str = "volumes/raw";
const LABELS: &str = "volumes/labels";
/// Name of the neuron labels.
pub const NEURON_IDS: &str = "neuron_ids";
/// Value of voxels that nobody annotated.
pub const NOT_ANNOTATED: u64 = u64::MAX;

/// Where a stack lies.
#[derive(Debug, Clone, PartialEq)]
pub struct StackInfo {
    /// Name below `/volumes` or `/volumes/labels`.
    pub name: String,
    /// Shape z, y, x.
    pub shape_zyx: [usize; 3],
    /// Voxel size z, y, x in nm.
    pub resolution_zyx_nm: [f64; 3],
    /// World position of the first voxel, z, y, x in nm.
    pub offset_zyx_nm: [f64; 3],
}

impl StackInfo {
    /// The stack's grid in mm, axes taken as RAS+.
    ///
    /// # Errors
    /// A resolution that is not positive, an empty axis.
    pub fn grid(&self) -> Result<Grid> {
        let [z, y, x] = self.offset_zyx_nm.map(|nm| nm * 1e-6);
        Grid::from_spacing(self.shape_zyx, self.resolution_zyx_nm.map(|nm| nm * 1e-6), [x, y, z])
    }
}

/// One label stack in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelStack {
    /// Where it lies; may be smaller than the raw stack and shifted against it.
    pub info: StackInfo,
    /// Ids in C order z, y, x.
    pub data: Vec<u64>,
}

/// A whole file in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Cremi {
    /// Raw intensities in C order z, y, x.
    pub raw: Vec<u8>,
    /// Where the raw stack lies.
    pub info: StackInfo,
    /// Neuron ids, if there are any.
    pub neuron_ids: Option<LabelStack>,
    /// Names of the other integer label stacks; read them with [`CremiFile::read_labels`].
    pub other_labels: Vec<String>,
}

impl StackInfo {
    /// The voxels of the raw stack that a label stack covers.
    ///
    /// # Errors
    /// [`VolumeError::Raster`] if the resolutions differ, the offset is no whole number of voxels or the labels reach
    /// beyond the raw stack.
    pub fn bounds_in(&self, raw: &StackInfo) -> Result<crate::crop::BoundingBox> {
        let mut start_zyx = [0; 3];
        for axis in 0..3 {
            let (label_nm, raw_nm) = (self.resolution_zyx_nm[axis], raw.resolution_zyx_nm[axis]);
            let shift_voxels = (self.offset_zyx_nm[axis] - raw.offset_zyx_nm[axis]) / raw_nm;
            let whole = shift_voxels.round();
            let last = whole + self.shape_zyx[axis] as f64;
            let fits = (label_nm - raw_nm).abs() <= 1e-6 * raw_nm
                && (shift_voxels - whole).abs() < 0.01
                && whole >= 0.0
                && last <= raw.shape_zyx[axis] as f64;
            if !fits {
                return Err(VolumeError::Raster {
                    dataset: self.name.clone(),
                    axis: ['z', 'y', 'x'][axis],
                    label_nm,
                    raw_nm,
                    shift_voxels,
                });
            }
            start_zyx[axis] = whole as usize;
        }
        let end_zyx = std::array::from_fn(|axis| start_zyx[axis] + self.shape_zyx[axis]);
        Ok(crate::crop::BoundingBox { start_zyx, end_zyx })
    }
}

impl LabelStack {
    /// The labels on the raw stack's grid, `outside` where they have none (CREMI's padded volumes).
    ///
    /// # Errors
    /// As [`StackInfo::bounds_in`].
    pub fn on_raw_grid(&self, raw: &StackInfo, outside: u64) -> Result<Vec<u64>> {
        let bounds = self.info.bounds_in(raw)?;
        crate::crop::uncrop(&self.data, 1, raw.shape_zyx, &bounds, outside)
    }

    /// Voxels per id.
    pub fn counts(&self) -> Counts {
        crate::labels::counts(&self.data)
    }
}

/// The first line of the library's words; the rest is its C call stack.
fn library(action: &'static str, path: &Path, error: &h5::Error) -> VolumeError {
    let text = error.to_string();
    if let Some(reason) = lock_in_the_way(&text) {
        return VolumeError::Hdf5Lock { path: path.into(), reason };
    }
    let reason = text.lines().next().unwrap_or("unknown reason").to_owned();
    VolumeError::Hdf5 { action, path: path.into(), reason }
}

/// What the library says of a lock that it could not have, or of a mark that a writer left in the file.
///
/// Locks are off by default here, but the environment variable of the library overrides that.
fn lock_in_the_way(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("unable to lock file") {
        let after = |key: &str, end: char| {
            rest.split_once(key)
                .and_then(|(_, value)| value.split(end).next())
                .map(|value| value.trim().to_owned())
        };
        let errno = after("errno = ", ',').filter(|errno| errno.bytes().all(|b| b.is_ascii_digit()));
        return Some(match (errno, after("error message = \'", '\'')) {
            (Some(errno), Some(message)) => format!("errno {errno}, {message}"),
            (Some(errno), None) => format!("errno {errno}"),
            _ => "the library gives no errno".to_owned(),
        });
    }
    text.contains("file is already open for").then(|| "the file is marked as open for writing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::write::put;
    use super::*;

    fn stack(name: &str, shape_zyx: [usize; 3], offset_zyx_nm: [f64; 3]) -> StackInfo {
        StackInfo { name: name.into(), shape_zyx, resolution_zyx_nm: [40.0, 4.0, 4.0], offset_zyx_nm }
    }

    fn example() -> (Vec<u8>, StackInfo, Vec<LabelStack>) {
        let info = stack("raw", [4, 6, 8], [0.0; 3]);
        let raw = (0..192).map(|i| (i * 7 % 256) as u8).collect();
        let label = |name: &str, base: u64| LabelStack {
            info: stack(name, [2, 3, 4], [40.0, 8.0, 4.0]),
            data: (0..24).map(|i| if i == 5 { NOT_ANNOTATED } else { base + i }).collect(),
        };
        (raw, info, vec![label(NEURON_IDS, 1 << 53), label("clefts", 0)])
    }

    #[test]
    fn what_is_written_is_read_bit_for_bit_and_written_again_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sample ü.h5");
        let (raw, info, labels) = example();
        write_cremi(&path, &raw, &info, &labels).unwrap();
        let found = read_cremi(&path).unwrap();
        assert_eq!((found.raw, found.info), (raw.clone(), info.clone()));
        assert_eq!(found.neuron_ids.unwrap(), labels[0]);
        assert_eq!(found.other_labels, ["clefts"]);
        let file = CremiFile::open(&path).unwrap();
        assert_eq!(file.read_raw_slab(1..3).unwrap(), raw[48..144]);
        assert_eq!(file.read_label_slab(NEURON_IDS, 1..2).unwrap(), labels[0].data[12..]);
        assert_eq!(file.read_labels("none").unwrap_err().code(), "E182");
        assert_eq!(file.read_raw_slab(3..5).unwrap_err().code(), "E199");
        let again = directory.path().join("again.h5");
        write_cremi(&again, &raw, &info, &labels).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), fs_err::read(&again).unwrap());
    }

    #[test]
    fn smaller_labels_find_their_place() {
        let (_, info, labels) = example();
        let placed = labels[0].on_raw_grid(&info, NOT_ANNOTATED).unwrap();
        // Offset 1, 2, 1 voxels.
        assert_eq!(placed[(6 + 2) * 8 + 1], labels[0].data[0]);
        assert_eq!(placed.iter().filter(|id| **id != NOT_ANNOTATED).count(), 23);
        let mut shifted = labels[0].clone();
        shifted.info.offset_zyx_nm[0] = 60.0;
        assert_eq!(shifted.on_raw_grid(&info, 0).unwrap_err().code(), "E183");
    }

    #[test]
    fn smaller_labels_without_an_offset_are_not_put_into_the_corner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sample.h5");
        let (raw, info, mut labels) = example();
        labels[0].info.offset_zyx_nm = [0.0; 3];
        let whole =
            LabelStack { info: StackInfo { name: "whole".into(), ..info.clone() }, data: vec![1; 192] };
        labels.push(whole);
        write_cremi(&path, &raw, &info, &labels).unwrap();
        let bounds = CremiFile::open(&path).unwrap().label_bounds(NEURON_IDS).unwrap();
        assert_eq!((bounds.start_zyx, bounds.end_zyx), ([0; 3], [2, 3, 4]), "where the file says so");
        let file = h5::File::open_rw(&path).unwrap();
        for name in [NEURON_IDS, "whole"] {
            file.dataset(&format!("{LABELS}/{name}")).unwrap().delete_attr("offset").unwrap();
        }
        file.close().unwrap();
        let open = || CremiFile::open(&path).unwrap();
        for file in [open(), open().with_sections(0..2).unwrap()] {
            let error = file.label_bounds(NEURON_IDS).unwrap_err();
            assert_eq!(error.code(), "E184");
            assert!(error.to_string().contains("has 2×3×4 voxels"), "{error}");
            assert!(error.hint().unwrap().contains("['/volumes/labels/neuron_ids'].attrs['offset']"));
            // one of the raw stack's shape can lie in one place only, and one that has an offset lies there
            assert_eq!(file.label_bounds("whole").unwrap().shape(), file.raw().shape_zyx);
        }
        assert_eq!(open().label_bounds("clefts").unwrap().start_zyx, [1, 2, 1]);
        assert_eq!(open().label_bounds("none").unwrap_err().code(), "E182");
    }

    #[test]
    fn a_part_of_the_sections_is_a_file_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sample.h5");
        let (raw, info, labels) = example();
        write_cremi(&path, &raw, &info, &labels).unwrap();
        let open = |sections| CremiFile::open(&path).unwrap().with_sections(sections);
        let part = open(2..4).unwrap();
        assert_eq!((part.raw().shape_zyx, part.raw().offset_zyx_nm), ([2, 6, 8], [80.0, 0.0, 0.0]));
        assert_eq!(part.read_raw_slab(0..2).unwrap(), raw[96..]);
        assert_eq!(part.read_raw_slab(1..3).unwrap_err().code(), "E199");
        // labels cover sections 1 and 2 of the file: one of them is here
        let ids = part.read_labels(NEURON_IDS).unwrap();
        assert_eq!((ids.info.shape_zyx, ids.info.offset_zyx_nm), ([1, 3, 4], [80.0, 8.0, 4.0]));
        assert_eq!(ids.data, labels[0].data[12..]);
        let whole = labels[0].on_raw_grid(&info, 0).unwrap();
        assert_eq!(ids.on_raw_grid(part.raw(), 0).unwrap(), whole[96..]);
        // a part of a part
        assert_eq!(part.with_sections(1..2).unwrap().read_raw_slab(0..1).unwrap(), raw[144..]);
        // without labels, outside, and nothing
        assert_eq!(open(3..4).unwrap().labels().count(), 0);
        for sections in [3..5, 2..2] {
            let error = open(sections).unwrap_err();
            assert!(error.code() == "E199" && error.to_string().contains("sample.h5"), "{error}");
        }
    }

    #[test]
    fn nanometres_become_millimetres() {
        let grid = stack("raw", [4, 6, 8], [40.0, 0.0, 8.0]).grid().unwrap();
        assert!((grid.spacing_zyx_nm()[0] - 40.0).abs() < 1e-9);
        assert!((grid.affine[0][3] - 8e-6).abs() < 1e-18);
    }

    #[test]
    fn other_files_and_types_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = CremiFile::open(directory.path().join("missing.h5")).unwrap_err();
        assert!(missing.to_string().contains("missing.h5"), "{missing}");
        let text = directory.path().join("text.h5");
        fs_err::write(&text, "no hdf5").unwrap();
        assert_eq!(CremiFile::open(&text).unwrap_err().code(), "E180");
        let empty = directory.path().join("empty.h5");
        h5::File::create(&empty).unwrap().close().unwrap();
        assert_eq!(CremiFile::open(&empty).unwrap_err().code(), "E182");
        let float = directory.path().join("float.h5");
        let file = h5::File::create(&float).unwrap();
        let group = file.create_group("volumes").unwrap();
        group.new_dataset::<f32>().shape((1, 1, 1)).create("raw").unwrap();
        drop(group);
        file.close().unwrap();
        let error = CremiFile::open(&float).unwrap_err();
        assert!(error.to_string().contains("32-bit floats"), "{error}");
    }

    #[test]
    fn lock_errors_are_told_from_others() {
        let text = "H5Fopen(): unable to synchronously open file: unable to lock file, errno = 37, error message = \
                    'No locks available'";
        assert_eq!(lock_in_the_way(text).unwrap(), "errno 37, No locks available");
        assert_eq!(lock_in_the_way("H5Fopen(): unable to lock file, errno = 11").unwrap(), "errno 11");
        assert!(lock_in_the_way("unable to lock the file: file is already open for write").is_some());
        assert_eq!(lock_in_the_way("H5Fopen(): file signature not found"), None);
        let path = std::path::PathBuf::from("sample_A.hdf");
        let error = VolumeError::Hdf5Lock { path, reason: "errno 37, No locks available".to_owned() };
        assert_eq!(error.code(), "E180");
        assert_eq!(error.to_string(), "cannot lock sample_A.hdf (errno 37, No locks available)");
        let hint = error.hint().unwrap();
        assert!(hint.contains("opened read-only; set HDF5_USE_FILE_LOCKING=FALSE or copy"), "{hint}");
    }

    #[test]
    fn a_locked_file_is_named_with_its_remedy() {
        const FILE: &str = "GTGM_TEST_LOCKED_HDF5";
        if let Some(path) = std::env::var_os(FILE) {
            // The second process: the library reads the variable that turns locks on when it starts.
            let error = CremiFile::open(path).unwrap_err();
            assert!(matches!(error, VolumeError::Hdf5Lock { .. }), "{error}");
            assert!(error.to_string().contains("errno 11"), "{error}");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locked.h5");
        let (raw, info, labels) = example();
        write_cremi(&path, &raw, &info, &labels).unwrap();
        let before = fs_err::read(&path).unwrap();
        let held = std::fs::File::open(&path).unwrap();
        held.lock().unwrap();
        // Without that variable a lock is no obstacle.
        CremiFile::open(&path).unwrap();
        let second = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hdf5::tests::a_locked_file_is_named_with_its_remedy"])
            .env("HDF5_USE_FILE_LOCKING", "TRUE")
            .env(FILE, &path)
            .output()
            .unwrap();
        assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stdout));
        assert_eq!(fs_err::read(&path).unwrap(), before, "reading changed the file");
    }

    #[test]
    fn slabs_of_labels_are_the_sections_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("slabs.h5");
        let (raw, info, labels) = example();
        write_cremi(&path, &raw, &info, &labels).unwrap();
        let file = CremiFile::open(&path).unwrap();
        for stack in &labels {
            let [depth, height, width] = stack.info.shape_zyx;
            for (start, end) in (0..depth).flat_map(|start| (start + 1..=depth).map(move |end| (start, end)))
            {
                let slab = file.read_label_slab(&stack.info.name, start..end).unwrap();
                assert_eq!(slab, stack.data[start * height * width..end * height * width]);
            }
            let name = &stack.info.name;
            for sections in [1..1, 0..depth + 1] {
                assert_eq!(file.read_label_slab(name, sections).unwrap_err().code(), "E199");
            }
        }
    }

    #[test]
    fn claims_beyond_the_limit_are_refused_before_memory_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claim.h5");
        let file = h5::File::create(&path).unwrap();
        let volumes = file.create_group("volumes").unwrap();
        // Chunks that were never written take no room in the file.
        let raw = volumes
            .new_dataset::<u8>()
            .shape((10_000, 10_000, 10_000))
            .chunk((1, 100, 100))
            .create("raw")
            .unwrap();
        raw.new_attr::<f64>().shape(3).create("resolution").unwrap().write_raw(&[40.0, 4.0, 4.0]).unwrap();
        drop((raw, volumes));
        file.close().unwrap();
        let file = CremiFile::open_within(&path, crate::ReadLimits { max_bytes: 16 << 20 }).unwrap();
        let error = file.read_raw_slab(0..10_000).unwrap_err();
        assert!(matches!(error, VolumeError::ReadLimit { .. }), "{error}");
        assert!(error.to_string().contains("10000×10000×10000 voxels"), "{error}");
    }

    #[test]
    fn signed_labels_are_read_and_negative_ones_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signed.h5");
        let (raw, info, _) = example();
        write_cremi(&path, &raw, &info, &[]).unwrap();
        let file = h5::File::open_rw(&path).unwrap();
        let group = file.group(LABELS).unwrap();
        put(&group, "good", &[3_i32, 4], &stack("good", [1, 1, 2], [0.0; 3])).unwrap();
        put(&group, "bad", &[3_i64, -4], &stack("bad", [1, 1, 2], [0.0; 3])).unwrap();
        drop(group);
        file.close().unwrap();
        let file = CremiFile::open(&path).unwrap();
        assert_eq!(file.read_labels("good").unwrap().data, [3, 4]);
        assert!(file.read_labels("bad").unwrap_err().to_string().contains("-4"));
    }
}
