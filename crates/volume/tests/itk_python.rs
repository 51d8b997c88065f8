//! MetaImage and NRRD written by SimpleITK: the same voxels in the same places as its NIfTI of the same scan.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Command;
use test_peers::{python, run_script};
use volume::scan::{self, Image, LabelPlanes, Planes};
use volume::{ReadLimits, same_geometry};

fn written() -> Option<tempfile::TempDir> {
    let python = python("SimpleITK, numpy")?;
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/itk_python.py");
    run_script(Command::new(python).args(["-W", "ignore"]).arg(script).arg(folder.path()))?;
    Some(folder)
}

/// Scans with their twins in NIfTI, by name.
fn pairs(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found: Vec<_> = fs_err::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|e| ["mha", "mhd", "nrrd", "nhdr"].iter().any(|x| e == *x))
        })
        .filter(|path| path.with_extension("twin").exists())
        .map(|path| {
            let twin = fs_err::read_to_string(path.with_extension("twin")).unwrap();
            let twin = folder.join(twin);
            (path, twin)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn simple_itk_and_this_crate_agree() {
    let Some(folder) = written() else { return };
    let pairs = pairs(folder.path());
    assert_eq!(pairs.len(), 10 * 2 + 8 + 2 + 3 + 8);
    for (path, twin) in pairs {
        let name = path.display();
        let [found, expected] =
            [&path, &twin].map(|path| scan::read_image(path).unwrap_or_else(|e| panic!("{e}")));
        assert_eq!(found.stored.datatype, expected.stored.datatype, "{name}");
        assert_eq!(
            found.stored.interleaved,
            path.file_name().unwrap().to_str().unwrap().starts_with("vector")
        );
        assert_eq!((found.channels, found.grid.shape_zyx), (expected.channels, expected.grid.shape_zyx));
        assert!(found.data == expected.data, "{name}");
        // NIfTI keeps its matrix in 32 bits
        let apart = same_geometry(&found.grid, &expected.grid);
        assert!(apart < 1e-4, "{name}: {apart} mm");
        let codes: Vec<_> = found.warnings.iter().map(|warning| warning.code()).collect();
        let expected: &[&str] = match (found.grid.shape_zyx, found.channels) {
            ([1, ..], _) => &["W105"],
            // ITK names no space where there are four axes
            (_, 2) if name.to_string().ends_with(".nrrd") => &["W151"],
            _ => &[],
        };
        assert_eq!(codes, expected, "{name}");
        // by planes, whatever their number
        for step in [1, 3, 100] {
            let mut planes = Planes::open(&path, ReadLimits::UNLIMITED).unwrap();
            let (mut all, mut piece) = (Vec::new(), Vec::new());
            while planes.next_planes(step, &mut piece).unwrap() > 0 {
                all.extend_from_slice(&piece);
            }
            assert!(all == found.data, "{name}");
        }
        let is_detached = path.extension().is_some_and(|e| e == "mhd" || e == "nhdr");
        let beside = scan::data_file(&path).unwrap();
        assert_eq!(beside.as_ref().is_some_and(|file| file.is_file()), is_detached, "{name}: {beside:?}");
    }
}

#[test]
fn ids_of_64_bits_are_kept() {
    let Some(folder) = written() else { return };
    for file in ["uint64_zippedmha.mha", "uint64_plainnrrd.nrrd"] {
        let path = folder.path().join(file);
        let Image { data, .. } = scan::read_image(&path).unwrap();
        let labels = LabelPlanes::<u64>::open(&path, ReadLimits::UNLIMITED).unwrap().into_labels().unwrap();
        assert!(labels.data.iter().zip(&data).all(|(id, value)| *id as f32 == *value));
    }
}

#[test]
fn labels_have_one_channel() {
    let Some(folder) = written() else { return };
    for file in ["vector_zippedmha.mha", "vector_plainnrrd.nrrd"] {
        let error = LabelPlanes::<u32>::open(folder.path().join(file), ReadLimits::UNLIMITED).unwrap_err();
        assert_eq!(error.code(), "E141");
        assert!(error.to_string().contains("has 3 channels; expected 1"), "{error}");
    }
}
