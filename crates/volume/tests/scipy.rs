//! Splines along all three axes against SciPy, on which scikit-image's and so nnU-Net's resampling stands.

use std::path::Path;
use std::process::Command;
use test_peers::{run_script, venv};
use volume::Grid;
use volume::resample::spline;

/// A repeatable texture with edges.
fn texture(shape: [usize; 3]) -> Vec<f32> {
    (0..shape.iter().product::<usize>() as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 22) as f32 + if i % 7 < 3 { 800.0 } else { -200.0 })
        .collect()
}

#[test]
fn splines_equal_scipys_zoom() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(python) = venv("python") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (shape, spacing) in
        [([13, 17, 29], [1.0, 1.0, 1.0]), ([30, 9, 40], [0.7, 1.6, 1.1]), ([5, 50, 3], [1.9, 2.0, 0.8])]
    {
        let data = texture(shape);
        let from = Grid::from_spacing(shape, spacing, [0.0; 3]).unwrap();
        let (out, to) = spline(&data, 1, &from, [0.9, 1.3, 0.8]).unwrap();
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        fs_err::write(folder.path().join("data.raw"), bytes).unwrap();
        let said = |shape: [usize; 3]| shape.map(|n| n.to_string()).join(",");
        if run_script(
            Command::new(&python)
                .arg(manifest.join("tests/scipy_zoom.py"))
                .arg(folder.path())
                .args([said(shape), said(to.shape_zyx)]),
        )
        .is_none()
        {
            return;
        }
        let bytes = fs_err::read(folder.path().join("expected.raw")).unwrap();
        let expected = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        assert_eq!(expected.len(), out.len());
        let (low, high) = data.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let worst = out.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / (high - low);
        assert!(worst < 1e-5, "{shape:?} to {:?}: {worst} of the intensity range", to.shape_zyx);
    }
}
