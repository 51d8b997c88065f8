//! OME-Zarr images written by zarr-python: the same voxels at the same places here.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Command;
use test_peers::{python, run_script};
use volume::ome_zarr::{OmeZarr, Planes, is_zarr, label_group};
use volume::stack::SpacingSource;
use volume::{READ_OVERHEAD, ReadLimits, VolumeError};

const SHAPE: [usize; 3] = [5, 48, 40];
const MM: [f64; 3] = [0.08e-3, 0.008e-3, 7.6e-6];

fn written() -> Option<tempfile::TempDir> {
    let python = python("zarr, numcodecs, numpy")?;
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ome_zarr_python.py");
    run_script(Command::new(python).args(["-W", "ignore"]).arg(script).arg(folder.path()))?;
    Some(folder)
}

fn open(path: &Path) -> Result<OmeZarr, VolumeError> {
    OmeZarr::open(path, None, ReadLimits::UNLIMITED)
}

fn value(i: usize) -> u64 {
    (i as u64 * 37) % 250
}

/// All planes, at most `step` at a time.
fn all(mut planes: Planes, step: usize) -> (Vec<f32>, Planes) {
    let (mut data, mut out) = (Vec::new(), Vec::new());
    while planes.next_planes(step, &mut out).unwrap() > 0 {
        data.extend_from_slice(&out);
    }
    assert_eq!(planes.remaining(), 0);
    (data, planes)
}

fn near(found: [f64; 3], expected: [f64; 3]) -> bool {
    found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs().max(1e-9))
}

#[test]
fn zarr_python_and_this_crate_agree() {
    let Some(folder) = written() else { return };
    let expected: Vec<f32> = (0..SHAPE.iter().product()).map(|i| value(i) as f32).collect();
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("v2_") || name.starts_with("v3_") || name.starts_with("type_")
        })
        .collect();
    names.sort();
    assert_eq!(names.len(), 6 + 5 + 9);
    for path in names {
        assert!(is_zarr(&path) && !is_zarr(folder.path()));
        for step in [1, 2, 3, usize::MAX] {
            let image = open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!((image.channels(), image.shape_zyx()), (1, SHAPE));
            let grid = image.grid().unwrap();
            assert!(near(grid.spacing_zyx_mm(), MM), "{grid:?}");
            assert!(near(grid.world([0.0; 3]), [-15.2e-6, 0.016e-3, 0.4e-3]), "{grid:?}");
            let (data, planes) = all(image.planes(), step);
            assert_eq!(data, expected, "{}, {step} planes at a time", path.display());
            assert!(planes.warnings().is_empty());
        }
        // a part along z begins within a chunk
        let part = open(&path).unwrap().with_sections(1..4).unwrap();
        let far = part.grid().unwrap().world([0.0; 3])[2];
        assert!((far - (0.4e-3 + MM[0])).abs() < 1e-12);
        for step in [1, 2, usize::MAX] {
            let part = open(&path).unwrap().with_sections(1..4).unwrap();
            assert_eq!(all(part.planes(), step).0, expected[48 * 40..4 * 48 * 40], "{}", path.display());
        }
        assert_eq!(open(&path).unwrap().with_sections(4..6).unwrap_err().code(), "E199");
    }
}

#[test]
fn layers_without_room_are_decoded_plane_by_plane() {
    let Some(folder) = written() else { return };
    // room for a plane of 48 × 40 as stored and as handed out, and not for two beside each other
    let limits = ReadLimits { max_bytes: READ_OVERHEAD + 8000 };
    for (name, warning) in
        [("v3_plain.zarr", None), ("v2_blosc.zarr", None), ("sparse.zarr", Some("24 of 27 chunks"))]
    {
        let path = folder.path().join(name);
        let expected = all(open(&path).unwrap().planes(), usize::MAX).0;
        let (mut planes, mut data, mut out) =
            (OmeZarr::open(&path, None, limits).unwrap().planes(), Vec::new(), Vec::new());
        while planes.next_planes(usize::MAX, &mut out).unwrap() > 0 {
            assert_eq!(out.len(), 48 * 40, "{name}");
            data.extend_from_slice(&out);
        }
        assert_eq!(data, expected, "{name}");
        let said = planes.warnings().first().map(ToString::to_string);
        assert_eq!(said.is_some(), warning.is_some());
        assert!(warning.is_none_or(|words| said.unwrap().starts_with(words)));
    }
}

#[test]
fn channels_follow_each_other_and_levels_are_named_by_their_path() {
    let Some(folder) = written() else { return };
    let path = folder.path().join("channels.ome.zarr");
    for (level, shape, times) in [("", SHAPE, 1.0), ("s0", SHAPE, 1.0), ("s1", [3, 24, 20], 2.0)] {
        let image = open(&path.join(level)).unwrap();
        assert_eq!((image.channels(), image.shape_zyx()), (3, shape), "{level}");
        assert!(near(image.grid().unwrap().spacing_zyx_mm(), MM.map(|mm| mm * times)));
        let expected: Vec<f32> = (0..3 * shape.iter().product::<usize>()).map(|i| value(i) as f32).collect();
        for step in [1, 2, usize::MAX] {
            assert_eq!(all(open(&path.join(level)).unwrap().planes(), step).0, expected);
        }
    }
    let error = open(&folder.path().join("times.zarr")).unwrap_err();
    assert_eq!(error.code(), "E144");
    assert!(error.to_string().contains("2 time points"), "{error}");
}

#[test]
fn ids_stay_whole_and_labels_take_the_size_of_their_image() {
    let Some(folder) = written() else { return };
    for version in ["0.4", "0.5"] {
        let path = folder.path().join(format!("labelled_{version}.zarr"));
        let image = open(&path).unwrap();
        assert_eq!(image.labels(), ["cells"]);
        let cells = open(&label_group(&path, "cells")).unwrap();
        assert_eq!((cells.type_name(), cells.is_whole()), ("uint64", true));
        assert_eq!(cells.grid().unwrap_err().code(), "E140");
        assert!(near(cells.grid_of(MM).unwrap().spacing_zyx_mm(), MM));
        let (mut planes, mut ids, mut out) = (cells.planes(), Vec::new(), Vec::new());
        while planes.next_labels(2, &mut out).unwrap() > 0 {
            ids.extend_from_slice(&out);
        }
        let expected: Vec<u64> = (0..SHAPE.iter().product()).map(|i| value(i) + (1 << 53) + 1).collect();
        assert_eq!(ids, expected);
    }
}

#[test]
fn anatomical_orientations_turn_the_grid() {
    let Some(folder) = written() else { return };
    let grid = open(&folder.path().join("lps.zarr")).unwrap().grid().unwrap();
    assert_eq!(grid.axis_codes(), "LPS");
    // a place in LPS has the other sign in RAS+
    assert!(near(grid.world([0.0; 3]), [15.2, -0.016, 0.4]), "{grid:?}");
    assert!(near(grid.world([1.0, 1.0, 1.0]), [15.2 - 7.6, -0.016 - 0.008, 0.48]), "{grid:?}");
    let odd = open(&folder.path().join("odd.zarr")).unwrap();
    assert_eq!(odd.grid().unwrap().axis_codes(), "RAS");
    assert_eq!(odd.warnings()[0].code(), "W146");
}

#[test]
fn what_is_missing_is_said() {
    let Some(folder) = written() else { return };
    let at = |name: &str| folder.path().join(name);
    // 6 of 3 × 3 × 3 chunks hold something: y begins within the first of three, x is whole
    let (data, planes) = all(open(&at("sparse.zarr")).unwrap().planes(), 2);
    assert_eq!((data[1], data[SHAPE.iter().product::<usize>() - 1]), (37.0, 7.0));
    let warnings: Vec<String> = planes.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("24 of 27 chunks are not there and were read as 7."), "{warnings:?}");
    let part = open(&at("sparse.zarr")).unwrap().with_sections(1..3).unwrap();
    let (_, planes) = all(part.planes(), 1);
    assert!(planes.warnings()[0].to_string().starts_with("15 of 18 chunks"), "{:?}", planes.warnings());

    let mut torn = open(&at("torn.zarr")).unwrap().planes();
    let mut out = Vec::new();
    assert_eq!(torn.next_planes(2, &mut out).unwrap(), 2);
    let error = torn.next_planes(2, &mut out).unwrap_err();
    assert_eq!(error.code(), "E148");
    assert!(error.to_string().contains("torn.zarr/0: planes 2 to 3 cannot be read"), "{error}");

    let unitless = open(&at("unitless.zarr")).unwrap();
    let error = unitless.grid().unwrap_err();
    assert!(error.to_string().contains("its axes have no unit"), "{error}");
    assert!(error.hint().unwrap().contains("unitless.zarr.json"), "{:?}", error.hint());
    fs_err::write(at("unitless.zarr.json"), "{\"spacing_zyx_nm\": [80, 8, 7.6]}").unwrap();
    let unitless = open(&at("unitless.zarr")).unwrap();
    assert!(near(unitless.grid().unwrap().spacing_zyx_mm(), [80e-6, 8e-6, 7.6e-6]));
    assert!(matches!(unitless.spacing_source(), Some(SpacingSource::Sidecar(_))));

    for (name, words, fix) in [
        ("turned.zarr", "axes x, y, z", "c, z, y, x or fewer"),
        ("collection.zarr", "collection of images", "NAME.zarr/0"),
        ("bare.zarr", "no multiscales", "multiscales"),
        ("bare.zarr/0", "no image above it names", "multiscales"),
        ("labelled_0.5.zarr/labels", "group of label images", "IMAGE.zarr#NAME"),
        ("complex.zarr", "complex", "multiscales"),
    ] {
        let error = open(&at(name)).unwrap_err();
        assert_eq!(error.code(), "E147", "{name}");
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(error.hint().unwrap().contains(fix), "{name}: {error}");
    }
    let small = ReadLimits { max_bytes: (2 << 20) + 1000 };
    let image = OmeZarr::open(&at("v3_plain.zarr"), None, small).unwrap();
    assert_eq!(image.planes().next_planes(1, &mut out).unwrap_err().code(), "E160");
    assert_eq!(open(&at("none.zarr")).unwrap_err().code(), "E100");
}
