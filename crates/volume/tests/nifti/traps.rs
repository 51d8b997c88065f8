//! What the `nifti` crate (0.18) gets wrong or leaves to its caller, each done right here.

use crate::counting::peak_of;
use crate::made::{Files, Made, gz, small};
use volume::nifti::{read_header, write_labels, write_labels_like};
use volume::scan::{Datatype, read_image, read_labels};
use volume::{Grid, READ_OVERHEAD};

#[test]
fn scaling_comes_before_any_rounding() {
    // The crate casts to the result type first: a slope of 0.5 into integers truncates.
    let files = Files::new();
    let shorts: Vec<u8> = [1_i16, 3, -5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let made = Made { scl: (0.5, 0.0), ..Made::new(&[3, 1, 1], 4, shorts) };
    assert_eq!(read_image(files.put("s.nii", &made.bytes())).unwrap().data, [0.5, 1.5, -2.5]);
    let twos: Vec<u8> = [2_i16, 4, 10].iter().flat_map(|v| v.to_le_bytes()).collect();
    let made = Made { scl: (0.5, 0.0), ..Made::new(&[3, 1, 1], 4, twos) };
    assert_eq!(read_labels(files.put("s.nii", &made.bytes())).unwrap().data, [1, 2, 5]);
}

#[test]
fn a_slope_of_nan_is_no_scaling() {
    // In the crate every voxel becomes NaN.
    let files = Files::new();
    for version in [1, 2] {
        let made = Made { version, scl: (f64::NAN, f64::NAN), ..small() };
        let image = read_image(files.put("n.nii", &made.bytes())).unwrap();
        assert_eq!(image.data, (0..12).map(|v| v as f32).collect::<Vec<_>>());
        assert!(image.warnings.is_empty(), "NaN is how writers say `none`: {:?}", image.warnings);
    }
}

#[test]
fn voxels_come_in_c_order() {
    // The crate's arrays have strides [1, x, x·y] along x, y, z.
    let files = Files::new();
    let image = read_image(files.put("c.nii", &small().bytes())).unwrap();
    let [_, height, width] = image.grid.shape_zyx;
    for (z, y, x) in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 2, 1)] {
        assert_eq!(image.data[(z * height + y) * width + x], (x + 2 * y + 6 * z) as f32);
    }
}

#[test]
fn a_whole_read_holds_one_copy() {
    // The crate holds the stored bytes and the converted values, two to three times as much.
    let files = Files::new();
    let made = Made::new(&[200, 200, 100], 64, vec![0; 32_000_000]);
    let path = files.put("m.nii.gz", &gz(&made.bytes()));
    drop(made);
    let (image, peak) = peak_of(|| read_image(&path).unwrap());
    assert_eq!(image.data.len(), 4_000_000);
    assert!(peak <= 16_000_000 + READ_OVERHEAD, "{peak} bytes");
}

#[test]
fn gzip_is_told_by_content_and_not_by_name() {
    let files = Files::new();
    let bytes = small().bytes();
    let expected = read_image(files.put("a.nii", &bytes)).unwrap().data;
    for (name, bytes) in [("packed.nii", gz(&bytes)), ("plain.nii.gz", bytes.clone()), ("packed", gz(&bytes))]
    {
        assert_eq!(read_image(files.put(name, &bytes)).unwrap().data, expected, "{name}");
    }
}

#[test]
fn every_member_of_a_gzip_file_is_read() {
    let files = Files::new();
    let bytes = small().bytes();
    let joined = bytes.chunks(50).map(gz).collect::<Vec<_>>().concat();
    let image = read_image(files.put("j.nii.gz", &joined)).unwrap();
    assert_eq!(image.data, read_image(files.put("a.nii", &bytes)).unwrap().data);
}

#[test]
fn the_second_version_has_axes_beyond_16_bits() {
    let files = Files::new();
    let made = Made { version: 2, ..Made::new(&[70_000, 1, 2], 2, vec![1; 140_000]) };
    let image = read_image(files.put("l.nii.gz", &gz(&made.bytes()))).unwrap();
    assert_eq!((image.grid.shape_zyx, image.data.len()), ([2, 1, 70_000], 140_000));
}

#[test]
fn a_qfac_that_is_neither_sign_means_plus_one() {
    // The crate's qform_affine panics on it.
    let files = Files::new();
    for qfac in [0.0, 0.5, f64::NAN, 1.0] {
        let mut pixdim = small().pixdim;
        pixdim[0] = qfac;
        let made = Made { sform: None, qform: Some(([0.0; 3], [1.0, 2.0, 3.0])), pixdim, ..small() };
        let (_, grid, warnings) = read_header(files.put("q.nii", &made.bytes())).unwrap();
        assert_eq!((grid.axis_codes().as_str(), grid.world([0.0; 3])), ("RAS", [1.0, 2.0, 3.0]));
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn names_with_dots_are_written_as_given() {
    // The crate writes `case.1.nii` to `case.nii`.
    let files = Files::new();
    let grid = Grid::from_spacing([1, 2, 3], [1.0; 3], [0.0; 3]).unwrap();
    for name in ["case.1.nii", "case.1.nii.gz", "a.b.c.nii"] {
        write_labels(files.path(name), &[1_u8; 6], &grid).unwrap();
        assert!(files.path(name).is_file(), "{name}");
    }
    assert!(!files.path("case.nii").exists() && !files.path("a.nii").exists());
}

#[test]
fn written_headers_claim_only_what_is_so() {
    // The crate's default header claims a valid sform with a unit affine; a reference's type and slope are overwritten.
    let files = Files::new();
    let grid = Grid::from_spacing([2, 3, 2], [4.0, 3.0, 2.0], [-5.0, 6.0, 7.0]).unwrap();
    write_labels(files.path("own.nii"), &[1_u8; 12], &grid).unwrap();
    let (header, found, _) = read_header(files.path("own.nii")).unwrap();
    assert_eq!((found, header.datatype), (grid, Datatype::U8));
    let made = Made { scl: (3.0, 9.0), sform: None, qform: Some(([0.0; 3], [1.0, 2.0, 3.0])), ..small() };
    let reference = files.put("reference.nii", &made.bytes());
    write_labels_like(files.path("like.nii"), &[300_u32; 12], reference).unwrap();
    let label = read_labels(files.path("like.nii")).unwrap();
    let (header, _, _) = read_header(files.path("like.nii")).unwrap();
    assert_eq!((header.sform_code, header.qform_code), (0, 1));
    assert_eq!((label.stored.datatype, label.stored.scaling), (Datatype::U16, (1.0, 0.0)));
    assert_eq!(label.data, [300; 12]);
}
