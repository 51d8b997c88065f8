//! Labels brought onto another grid against nibabel's resample_from_to with order 0, which stands on SciPy.

#![expect(clippy::unwrap_used, reason = "test code")]

use nalgebra::{Matrix4, Vector4};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::path::Path;
use std::process::Command;
use test_peers::{run_script, venv};
use volume::crop::BoundingBox;
use volume::nifti::{self, ImageType};
use volume::resample::{Aligned, Alignment};
use volume::{Grid, InMemory, Orientation, Voxels as _};

const PAIRS: usize = 40;

/// Turned, unequally spaced and flipped; NIfTI files hold its affine exactly.
fn grids() -> impl Strategy<Value = Grid> {
    let shape = [2..20_usize, 2..20_usize, 2..20_usize];
    let axes = prop_oneof![Just([0, 1, 2]), Just([2, 0, 1]), Just([1, 0, 2])];
    let turn = prop_oneof![Just(0.0), -0.7..0.7];
    (shape, axes, turn, [0.5..2.5, 0.5..2.5, 0.5..2.5], any::<[bool; 3]>(), [-5.0..5.0, -5.0..5.0, -5.0..5.0])
        .prop_map(
            |(shape_zyx, axes, turn, spacing, flips, origin): (
                [usize; 3],
                [usize; 3],
                f64,
                [f64; 3],
                _,
                [f64; 3],
            )| {
                let (sin, cos) = turn.sin_cos();
                let turned = [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]];
                let mut affine = [[0.0; 4]; 4];
                for row in 0..3 {
                    for column in 0..3 {
                        let sign = if flips[column] { -1.0 } else { 1.0 };
                        affine[row][column] = sign * turned[row][axes[column]] * spacing[column];
                    }
                    // about one centre
                    affine[row][3] = origin[row]
                        - (0..3)
                            .map(|column| affine[row][column] * shape_zyx[2 - column] as f64 / 2.0)
                            .sum::<f64>();
                }
                affine[3] = [0.0, 0.0, 0.0, 1.0];
                let exact = affine.map(|row| row.map(|v| f64::from(v as f32)));
                Grid::new(shape_zyx, exact).unwrap()
            },
        )
}

/// The place in the label, x, y, z, of a voxel of the image.
fn place(label: &Grid, image: &Grid, [z, y, x]: [usize; 3]) -> [f64; 3] {
    let matrix = |grid: &Grid| Matrix4::from_fn(|row, column| grid.affine[row][column]);
    let place = matrix(label).try_inverse().unwrap()
        * matrix(image)
        * Vector4::new(x as f64, y as f64, z as f64, 1.0);
    [place[0], place[1], place[2]]
}

#[test]
fn nearest_labels_equal_nibabels() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(python) = venv("python") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, number: usize, end: &str| folder.path().join(format!("{name}_{number:02}.{end}"));
    let mut runner = TestRunner::deterministic();
    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        let [label, image] = [0, 1].map(|_| grids().new_tree(&mut runner).unwrap().current());
        let data: Vec<u32> = (1..=label.shape_zyx.iter().product::<usize>() as u32).collect();
        nifti::write_labels(file("label", number, "nii"), &data, &label).unwrap();
        let empty = vec![0.0; image.shape_zyx.iter().product()];
        nifti::write_image(file("image", number, "nii"), &empty, 1, &image, ImageType::F32).unwrap();
        // as they are read again
        let [label, image] =
            ["label", "image"].map(|name| nifti::read_header(file(name, number, "nii")).unwrap().1);
        pairs.push((label, image, data));
    }
    if run_script(Command::new(&python).arg(manifest.join("tests/nibabel_align.py")).arg(folder.path()))
        .is_none()
    {
        return;
    }
    let (mut compared, mut labelled, mut ties) = (0, 0, 0);
    for (number, (label, image, data)) in pairs.iter().enumerate() {
        let read = |name: &str| -> Vec<u64> {
            let bytes = fs_err::read(file(name, number, "raw")).unwrap();
            bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect()
        };
        let found = match Alignment::new(Path::new("image"), image, Path::new("label"), label) {
            Ok(alignment) => {
                let turn = Orientation::to_canonical(label);
                let source = InMemory::oriented(data, 1, label.shape_zyx, turn).unwrap();
                let aligned = Aligned::new(&source, &alignment).unwrap();
                let shape = aligned.shape_zyx();
                let canonical = aligned.read(0, &BoundingBox::whole(shape)).unwrap();
                Orientation::to_canonical(image).invert().apply(&canonical, shape).unwrap().0
            }
            Err(error) => {
                assert_eq!(error.code(), "E123");
                vec![0; image.shape_zyx.iter().product()]
            }
        };
        let (expected, inner) = (read("expected"), read("inner"));
        assert_eq!((found.len(), found.len()), (expected.len(), inner.len()));
        let [_, height, width] = image.shape_zyx;
        for (i, value) in found.iter().map(|v| u64::from(*v)).enumerate() {
            let at = [i / (height * width), i / width % height, i % width];
            let place = place(label, image, at);
            if place.iter().any(|v| ((v - 0.5) - (v - 0.5).round()).abs() < 1e-6) {
                ties += 1;
                continue;
            }
            assert_eq!(value, expected[i], "pair {number}, voxel {at:?}, place {place:?}");
            let last = [2, 1, 0].map(|axis: usize| (label.shape_zyx[axis] - 1) as f64);
            if place.iter().zip(last).all(|(v, last)| *v > 0.0 && *v < last) {
                assert_eq!(value, inner[i], "pair {number}, voxel {at:?}, place {place:?}");
            }
            compared += 1;
            labelled += usize::from(value != 0);
        }
    }
    eprintln!("{compared} voxels compared, {labelled} of them labelled; {ties} lie between two");
    assert!(labelled > 10_000 && ties < compared / 10, "{compared} {labelled} {ties}");
}
