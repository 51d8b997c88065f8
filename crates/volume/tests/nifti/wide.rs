//! Instance ids of 64 bits.

use crate::made::{Files, Made};
use volume::scan::{LabelPlanes, read_labels, read_labels_wide};
use volume::{ReadLimits, VolumeError};

fn file(files: &Files, code: i16, scl: (f64, f64), values: &[[u8; 8]]) -> std::path::PathBuf {
    let made = Made { version: 2, scl, ..Made::new(&[values.len() as i64, 1, 1], code, values.concat()) };
    files.put("w.nii", &made.bytes())
}

#[test]
fn ids_of_64_bits_are_exact() {
    let files = Files::new();
    let ids = [u64::MAX, u64::MAX - 1, (1 << 53) + 1, 1 << 53, 0];
    let path = file(&files, 1280, (1.0, 0.0), &ids.map(u64::to_le_bytes));
    assert_eq!(read_labels_wide(&path).unwrap().data, ids);
    let mut piece = Vec::new();
    let mut planes = LabelPlanes::<u64>::open(&path, ReadLimits::UNLIMITED).unwrap();
    assert_eq!(planes.next_planes(1, &mut piece).unwrap(), 1);
    assert_eq!(piece, ids);
    let error = read_labels(&path).unwrap_err();
    assert!(error.to_string().contains("expected 0 to 4,294,967,295"), "{error}");
    // Signed ids, negative ones named.
    let signed = [i64::MAX, (1 << 60) + 3, 5];
    let path = file(&files, 1024, (0.0, 0.0), &signed.map(i64::to_le_bytes));
    assert_eq!(read_labels_wide(path).unwrap().data, signed.map(i64::cast_unsigned));
    let error = read_labels_wide(file(&files, 1024, (0.0, 0.0), &[(-4_i64).to_le_bytes()])).unwrap_err();
    assert!(error.to_string().contains("-4 (1 voxel); expected 0 to 18,446,744,073,709,551,615"), "{error}");
}

#[test]
fn whole_scaling_stays_exact() {
    let files = Files::new();
    let ids = [(1_u64 << 60) + 1, 7];
    let path = file(&files, 1280, (2.0, 3.0), &ids.map(u64::to_le_bytes));
    assert_eq!(read_labels_wide(&path).unwrap().data, ids.map(|id| 2 * id + 3));
    let path = file(&files, 1280, (-1.0, 10.0), &ids.map(u64::to_le_bytes));
    assert_eq!(read_labels_wide(path).unwrap_err().code(), "E112");
}

#[test]
fn ids_that_went_through_a_float_are_refused() {
    let files = Files::new();
    let exact = [9_007_199_254_740_992.0_f64, 3.0];
    let path = file(&files, 64, (1.0, 0.0), &exact.map(f64::to_le_bytes));
    assert_eq!(read_labels_wide(path).unwrap().data, [1 << 53, 3]);
    let path = file(&files, 64, (1.0, 0.0), &[1e16_f64, 3.0].map(f64::to_le_bytes));
    let error = read_labels_wide(path).unwrap_err();
    assert_eq!(error.code(), "E181");
    assert!(
        error.to_string().starts_with("ids above 9,007,199,254,740,992 cannot go through float."),
        "{error}"
    );
    assert!(error.to_string().contains("stored as 64-bit floats"), "{error}");
    assert!(error.hint().unwrap().contains("kind = \"instances\""));
    let path = file(&files, 1280, (0.5, 0.0), &[(1_u64 << 60).to_le_bytes(), 8_u64.to_le_bytes()]);
    let error = read_labels_wide(path).unwrap_err();
    assert!(error.to_string().contains("scaled by scl_slope=0.5"), "{error}");
    let narrow = [1e8_f32, 3.0].map(f32::to_le_bytes).concat();
    let path = files.put("f.nii", &Made::new(&[2, 1, 1], 16, narrow).bytes());
    assert!(matches!(
        read_labels_wide(&path).unwrap_err(),
        VolumeError::LabelInexact { exact: 16_777_216, .. }
    ));
    assert_eq!(read_labels(path).unwrap().data, [100_000_000, 3]);
}
