//! MONAI's Orientation(RAS) + Spacing(1.5, 1.5, 2.0) on three stored orientations.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use safetensors::{Dtype, SafeTensors};
use std::path::PathBuf;
use volume::scan;
use volume::{Grid, Orientation, resample};

fn golden() -> PathBuf {
    std::env::var_os("GTGM_GOLDEN")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden").into(), PathBuf::from)
}

/// A tensor with its shape, as f64.
fn tensor(file: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f64>) {
    let view = file.tensor(name).unwrap();
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        other => panic!("{name} has type {other:?}"),
    };
    (view.shape().to_vec(), values)
}

/// (1, x, y, z) in C order → z, y, x.
fn transposed(shape: &[usize], values: &[f64]) -> ([usize; 3], Vec<f64>) {
    let [_, nx, ny, nz] = shape else { panic!("shape {shape:?}") };
    let mut out = Vec::with_capacity(values.len());
    for z in 0..*nz {
        for y in 0..*ny {
            for x in 0..*nx {
                out.push(values[(x * ny + y) * nz + z]);
            }
        }
    }
    ([*nz, *ny, *nx], out)
}

fn assert_affine(found: &Grid, expected: &[f64], case: &str) {
    for (found, expected) in found.affine.iter().flatten().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{case}: {:?} {expected}", found);
    }
}

#[test]
fn orientation_and_spacing_match_monai() {
    for case in ["LPS", "RAS", "SPL"] {
        let folder = golden();
        let bytes = fs_err::read(folder.join(format!("resample_{case}_monai.safetensors"))).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let spacing_zyx_mm = [2.0, 1.5, 1.5];

        let image = scan::read_image(folder.join(format!("resample_{case}_image.nii.gz"))).unwrap();
        assert_eq!(image.grid.axis_codes(), case);
        let turn = Orientation::to_canonical(&image.grid);
        let (data, _) = turn.apply_channels(&image.data, image.channels, image.grid.shape_zyx).unwrap();
        let canonical = turn.apply_to_grid(&image.grid);
        let (data, grid) = resample::trilinear(&data, image.channels, &canonical, spacing_zyx_mm).unwrap();
        let (shape, values) = tensor(&expected, "image");
        let (shape_zyx, values) = transposed(&shape, &values);
        assert_eq!(grid.shape_zyx, shape_zyx, "{case}");
        assert_affine(&grid, &tensor(&expected, "image_affine").1, case);
        let (low, high) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let worst = data.iter().zip(&values).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(worst <= 1e-3 * (high - low), "{case}: {worst} of {}", high - low);

        let label = scan::read_labels(folder.join(format!("resample_{case}_label.nii.gz"))).unwrap();
        let (data, _) = turn.apply(&label.data, label.grid.shape_zyx).unwrap();
        let (data, grid) =
            resample::nearest(&data, &turn.apply_to_grid(&label.grid), spacing_zyx_mm).unwrap();
        let (shape, values) = tensor(&expected, "label");
        let (shape_zyx, values) = transposed(&shape, &values);
        assert_eq!(grid.shape_zyx, shape_zyx, "{case}");
        assert_affine(&grid, &tensor(&expected, "label_affine").1, case);
        let wrong = data.iter().zip(&values).filter(|(a, b)| f64::from(**a) != **b).count();
        assert!(wrong * 1000 <= data.len(), "{case}: {wrong} of {} labels differ", data.len());
    }
}
