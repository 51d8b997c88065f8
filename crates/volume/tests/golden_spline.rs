//! nnU-Net's resampling of an anisotropic volume: order 3 in plane, order 0 across.
#![expect(clippy::unwrap_used, reason = "test code")]

use safetensors::SafeTensors;
use std::path::PathBuf;
use volume::Grid;
use volume::resample::{self, Resampling};

/// A tensor with its shape.
fn tensor(file: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = file.tensor(name).unwrap();
    let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    (view.shape().to_vec(), values)
}

#[test]
fn separate_z_with_splines_matches_nnunet() {
    let folder = std::env::var_os("GTGM_GOLDEN")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden").into(), PathBuf::from);
    let bytes = fs_err::read(folder.join("resample_nnunet.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let spacing = |name: &str| -> [f64; 3] {
        let (_, values) = tensor(&file, name);
        std::array::from_fn(|axis| f64::from(values[axis]))
    };
    let (shape, data) = tensor(&file, "data");
    let [channels, shape_zyx @ ..] = <[usize; 4]>::try_from(shape).unwrap();
    let from = Grid::from_spacing(shape_zyx, spacing("old_spacing"), [0.0; 3]).unwrap();
    let (out, to) = resample::spline(&data, channels, &from, spacing("new_spacing")).unwrap();
    let (shape, expected) = tensor(&file, "expected_separate_z_order3_0");
    assert_eq!([&[channels], &to.shape_zyx[..]].concat(), shape);
    assert_eq!(out.len(), expected.len());
    let (low, high) = data.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    let worst = out.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / (high - low);
    assert!(worst < 1e-5, "{worst} of the intensity range");
    let (again, _) = Resampling::Nnunet.image(&data, channels, &from, spacing("new_spacing")).unwrap();
    assert_eq!(again, out);
}
