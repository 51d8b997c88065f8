//! nibabel sees the same shapes, affines and values as we do: in files of every number type, byte order, version and
//! orientation that it makes, and in the real volumes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_peers::{run_script, venv};
use volume::scan;
use volume::scan::{read_image, read_labels_wide};
use volume::{Grid, Warning};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nibabel/reference.py");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What nibabel reads from one file.
#[derive(Deserialize)]
struct Reference {
    file: PathBuf,
    /// x, y, z, then channels.
    shape: Vec<usize>,
    affine: [[f64; 4]; 4],
    /// The affine with its directions replaced by the nearest orthonormal ones.
    snapped: [[f64; 4]; 4],
    sform_code: i32,
    qform_code: i32,
    datatype: i16,
    /// File of the scaled values: 64-bit floats, x fastest.
    values: PathBuf,
    /// File of the stored integers as 64-bit unsigned ones, where they are not scaled and none is negative.
    ids: Option<PathBuf>,
}

/// Runs the script, which writes references to files that it makes (`make`) or is given.
fn references(out: &Path, files: &[PathBuf]) -> Option<Vec<Reference>> {
    run_script(Command::new(venv("python")?).arg(SCRIPT).arg(out).args(files))?;
    Some(serde_json::from_slice(&fs_err::read(out.join("references.json")).unwrap()).unwrap())
}

fn assert_affine(name: &Path, grid: &Grid, expected: &[[f64; 4]; 4]) {
    // Relative to the largest entry: files hold 32-bit floats.
    let largest = expected.iter().flatten().fold(1.0_f64, |most, v| most.max(v.abs()));
    for (found, expected) in grid.affine.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() <= 1e-6 * largest, "{name:?}: {:?}", grid.affine);
    }
}

fn compare(reference: &Reference) {
    let name = &reference.file;
    let image = read_image(name).unwrap_or_else(|error| panic!("{error}"));
    let mut shape: Vec<usize> = image.grid.shape_zyx.iter().rev().copied().collect();
    if image.channels > 1 {
        shape.push(image.channels);
    }
    let axes = reference.shape.len().max(3);
    shape.resize(axes, 1);
    assert_eq!(shape[..reference.shape.len()], reference.shape, "{name:?}");
    assert_eq!(image.stored.datatype.code(), reference.datatype);
    let snapped = image.warnings.iter().any(|w| matches!(w, Warning::NotOrthonormal { .. }));
    if reference.sform_code <= 0 && reference.qform_code <= 0 {
        // nibabel centres such a volume and flips its first axis; the project's rule does neither.
        assert!(image.warnings.contains(&Warning::NoOrientation), "{name:?}: {:?}", image.warnings);
        let spacing = |affine: &[[f64; 4]; 4]| {
            Grid::new(image.grid.shape_zyx, *affine).unwrap().spacing_zyx_mm().map(|v| (v * 1e4).round())
        };
        assert_eq!(spacing(&image.grid.affine), spacing(&reference.affine));
    } else if snapped {
        assert_affine(name, &image.grid, &reference.snapped);
    } else {
        assert_affine(name, &image.grid, &reference.affine);
    }
    let values = fs_err::read(&reference.values).unwrap();
    let (values, _) = values.as_chunks::<8>();
    assert_eq!(values.len(), image.data.len(), "{name:?}");
    for (found, expected) in image.data.iter().zip(values) {
        let expected = f64::from_le_bytes(*expected);
        let same = f64::from(*found) == expected
            || (f64::from(*found) - expected).abs() <= 1e-6 * expected.abs()
            || (found.is_nan() && expected.is_nan());
        assert!(same, "{name:?}: {found} against {expected}");
    }
    if let Some(ids) = &reference.ids {
        let ids: Vec<u64> =
            fs_err::read(ids).unwrap().as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        assert_eq!(read_labels_wide(name).unwrap().data, ids, "{name:?}");
    }
}

#[test]
fn nibabel_agrees_on_every_type_byte_order_version_and_orientation() {
    let folder = tempfile::tempdir().unwrap();
    let Some(references) = references(folder.path(), &[]) else { return };
    // 10 types, 2 byte orders, 2 versions, 7 geometries; scaling varies along.
    assert!(references.len() >= 280, "{} files", references.len());
    references.iter().for_each(compare);
    assert!(references.iter().filter(|reference| reference.ids.is_some()).count() > 50);
}

#[test]
fn nibabel_agrees_on_real_volumes() {
    let root =
        std::env::var_os("GTGM_SHARED").map_or_else(|| Path::new(ROOT).join("../shared"), PathBuf::from);
    let data = root.join("data");
    let mut files: Vec<PathBuf> = Vec::new();
    for (part, every) in [
        ("Task04_Hippocampus/imagesTr", 20),
        ("Task04_Hippocampus/labelsTr", 30),
        ("CT_torso", 1),
        ("flawed", 1),
    ] {
        let Ok(entries) = fs_err::read_dir(data.join(part)) else { continue };
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| path.extension().is_some_and(|e| e == "gz"));
        found.sort();
        files.extend(found.into_iter().step_by(every));
    }
    // Those of `flawed` that are no readable files have their own test.
    files.retain(|path| scan::read_image(path).is_ok());
    if files.is_empty() {
        eprintln!("skipped: {} is absent (set GTGM_SHARED)", data.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(references) = references(folder.path(), &files) else { return };
    assert_eq!(references.len(), files.len());
    references.iter().for_each(compare);
}
