//! NIfTI files made byte by byte: both versions, both byte orders, every number type, and damaged ones.

use crate::made::{Files, Made, gz, small};
use volume::nifti::{read_header, write_labels_like};
use volume::scan::{Datatype, Format, read_image, read_labels};
use volume::{VolumeError, Warning};

fn of_version(version: u8) -> Format {
    if version == 1 { Format::Nifti1 } else { Format::Nifti2 }
}

#[test]
fn every_type_version_and_byte_order_reads_the_same() {
    let files = Files::new();
    macro_rules! types {
        ($($number:ty, $code:expr, $kind:expr);*) => {$(
            for (version, big) in [(1, false), (1, true), (2, false), (2, true)] {
                let payload = (0..12).flat_map(|i| {
                    let value = (i * 10) as $number;
                    if big { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
                }).collect();
                let made = Made { version, big, scl: (0.5, -1.0), ..Made::new(&[2, 3, 2], $code, payload) };
                for (name, bytes) in [("a.nii", made.bytes()), ("a.nii.gz", gz(&made.bytes()))] {
                    let image = read_image(files.put(name, &bytes)).unwrap();
                    assert_eq!(image.stored.datatype, $kind);
                    assert_eq!((image.stored.format, image.stored.big_endian), (of_version(version), big));
                    assert_eq!(image.grid.shape_zyx, [2, 3, 2]);
                    assert_eq!(image.grid.spacing_zyx_mm(), [4.0, 3.0, 2.0]);
                    assert_eq!(image.grid.world([0.0; 3]), [-5.0, 6.0, 7.0]);
                    assert!(image.warnings.is_empty(), "{:?}", image.warnings);
                    let expected: Vec<f32> = (0..12).map(|i| (i * 10) as f32 * 0.5 - 1.0).collect();
                    assert_eq!(image.data, expected);
                }
            }
        )*};
    }
    types!(u8, 2, Datatype::U8; i16, 4, Datatype::I16; i32, 8, Datatype::I32; f32, 16, Datatype::F32;
           f64, 64, Datatype::F64; i8, 256, Datatype::I8; u16, 512, Datatype::U16; u32, 768, Datatype::U32;
           i64, 1024, Datatype::I64; u64, 1280, Datatype::U64);
}

#[test]
fn gzip_members_are_joined_and_padding_is_skipped() {
    let files = Files::new();
    let bytes = small().bytes();
    let mut joined = gz(&bytes[..100]);
    joined.extend(gz(&bytes[100..355]));
    joined.extend(gz(&bytes[355..]));
    let expected: Vec<f32> = (0..12).map(|v| v as f32).collect();
    assert_eq!(read_image(files.put("joined.nii.gz", &joined)).unwrap().data, expected);
    joined.extend([0; 1000]);
    assert_eq!(read_image(files.put("padded.nii.gz", &joined)).unwrap().data, expected);
    joined.push(7);
    assert_eq!(read_image(files.put("garbage.nii.gz", &joined)).unwrap_err().code(), "E102");
    // The content decides, not the name.
    assert_eq!(read_image(files.put("plain.nii.gz", &bytes)).unwrap().data, expected);
}

#[test]
fn every_truncation_is_told_and_none_is_read() {
    let files = Files::new();
    let bytes = Made::new(&[16, 16, 16], 2, (0..4096).map(|i| (i * i % 251) as u8).collect()).bytes();
    for (name, whole) in [("cut.nii", bytes.clone()), ("cut.nii.gz", gz(&bytes))] {
        for length in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
            let error = read_image(files.put(name, &whole[..length])).unwrap_err();
            // A file cut before its first four bytes can be anything.
            let codes: &[&str] = if length < 40 { &["E101", "E103"] } else { &["E101"] };
            assert!(codes.contains(&error.code()), "{name} cut at {length}: {error}");
        }
    }
    let error = read_image(files.put("cut.nii", &bytes[..352 + 1000])).unwrap_err();
    assert!(error.to_string().contains("decodes to 1,000 of 4,096 voxel bytes"), "{error}");
    // Cut between two members: every checksum holds, yet voxels are missing.
    let error = read_image(files.put("cut.nii.gz", &gz(&bytes[..352 + 1000]))).unwrap_err();
    assert!(error.to_string().contains("decodes to 1,000 of 4,096 voxel bytes"), "{error}");
}

#[test]
fn every_flipped_payload_byte_of_a_gzip_file_is_noticed() {
    let files = Files::new();
    let whole = gz(&small().bytes());
    // The ten bytes before hold the time stamp and the name of the system, which no checksum covers. Unused bits at
    // the end of the deflate stream may flip without changing anything.
    for at in 10..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        match read_image(files.put("flipped.nii.gz", &bytes)) {
            Ok(image) => assert!(
                at < whole.len() - 8 && image.data.iter().enumerate().all(|(i, v)| *v == i as f32),
                "byte {at}"
            ),
            Err(error) => assert!(["E101", "E102"].contains(&error.code()), "byte {at}: {error}"),
        }
    }
}

#[test]
fn claims_beyond_the_file_are_refused_before_memory_is_asked_for() {
    let files = Files::new();
    let made = Made { version: 2, ..Made::new(&[1_000_000, 1_000_000, 1], 2, vec![]) };
    assert_eq!(read_image(files.put("claim.nii.gz", &gz(&made.bytes()))).unwrap_err().code(), "E106");
    assert_eq!(read_image(files.put("claim.nii", &made.bytes())).unwrap_err().code(), "E101");
    let overflow = Made { version: 2, ..Made::new(&[i64::MAX, 2, 2], 64, vec![]) };
    assert_eq!(read_image(files.put("overflow.nii", &overflow.bytes())).unwrap_err().code(), "E105");
}

#[test]
fn channels_come_from_one_axis_beyond_space() {
    let files = Files::new();
    let read = |dims: &[i64], count: u8| {
        read_image(files.put("c.nii", &Made::new(dims, 2, (0..count).collect()).bytes()))
    };
    let image = read(&[2, 2, 2, 3], 24).unwrap();
    assert_eq!((image.channels, image.data[8]), (3, 8.0));
    assert_eq!(read(&[2, 2, 2, 1, 3], 24).unwrap().channels, 3);
    assert_eq!(read(&[2, 2, 2, 3, 1], 24).unwrap().channels, 3);
    assert_eq!(read(&[4, 3], 12).unwrap().grid.shape_zyx, [1, 3, 4]);
    for dims in [&[2, 2, 2, 2, 3][..], &[2, 0, 2], &[2, -3, 2], &[8]] {
        assert_eq!(read(dims, 48).unwrap_err().code(), "E105", "{dims:?}");
    }
    let four = files.put("c.nii", &Made::new(&[2, 2, 2, 3], 2, (0..24).collect()).bytes());
    assert_eq!(read_labels(four).unwrap_err().code(), "E141");
}

#[test]
fn slopes_that_are_no_scaling_are_ignored() {
    let files = Files::new();
    for (slope, inter, warns) in
        [(0.0, 5.0, false), (f64::NAN, 5.0, false), (f64::INFINITY, 5.0, true), (2.0, f64::NAN, true)]
    {
        let image = read_image(files.put("s.nii", &Made { scl: (slope, inter), ..small() }.bytes())).unwrap();
        assert_eq!(image.data[3], 3.0, "{slope} {inter}");
        assert_eq!(!image.warnings.is_empty(), warns);
    }
}

#[test]
fn the_form_is_chosen_by_rule() {
    let files = Files::new();
    let read = |made: Made| read_header(files.put("f.nii", &made.bytes())).map(|(_, grid, w)| (grid, w));
    // 180 degrees about z: x and y run backwards. qfac 0 means +1.
    let turned = Some(([0.0, 0.0, 1.0], [10.0, 20.0, 30.0]));
    let mut pixdim = small().pixdim;
    pixdim[0] = 0.0;
    let (grid, warnings) = read(Made { sform: None, qform: turned, pixdim, ..small() }).unwrap();
    assert_eq!((grid.axis_codes().as_str(), grid.world([0.0; 3])), ("LPS", [10.0, 20.0, 30.0]));
    assert!(warnings.is_empty());
    pixdim[0] = -1.0;
    let (grid, _) = read(Made { sform: None, qform: turned, pixdim, ..small() }).unwrap();
    assert_eq!(grid.axis_codes(), "LPI");
    let (grid, warnings) = read(Made { qform: turned, ..small() }).unwrap();
    assert_eq!(grid.axis_codes(), "RAS");
    assert!(matches!(warnings[..], [Warning::FormsDisagree { .. }]), "{warnings:?}");
    let same = Some(([0.0; 3], [-5.0, 6.0, 7.0]));
    assert!(read(Made { qform: same, ..small() }).unwrap().1.is_empty());
    let (grid, warnings) = read(Made { sform: None, ..small() }).unwrap();
    assert_eq!((grid.spacing_zyx_mm(), warnings), ([4.0, 3.0, 2.0], vec![Warning::NoOrientation]));
}

#[test]
fn sheared_and_impossible_geometry() {
    let files = Files::new();
    let read = |made: Made| read_header(files.put("g.nii", &made.bytes())).map(|(_, grid, w)| (grid, w));
    let shear = [[2.0, 0.03, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0]];
    let (_, warnings) = read(Made { sform: Some(shear), ..small() }).unwrap();
    let [Warning::NotOrthonormal { shear_deg, corner_mm, .. }] = warnings[..] else { panic!("{warnings:?}") };
    assert!((shear_deg - 0.573).abs() < 1e-3, "{shear_deg}");
    assert!(corner_mm > 0.01 && corner_mm < 0.1, "{corner_mm}");
    for bad in [0.0, f64::NAN] {
        let mut pixdim = small().pixdim;
        pixdim[2] = bad;
        let error = read(Made { pixdim, ..small() }).unwrap_err();
        assert!(matches!(error, VolumeError::Spacing { .. }), "{error}");
    }
    let flat = [[2.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0]];
    assert_eq!(read(Made { sform: Some(flat), ..small() }).unwrap_err().code(), "E122");
    let (grid, warnings) = read(Made { units: 3, ..small() }).unwrap();
    assert!((grid.spacing_zyx_mm()[0] - 0.004).abs() < 1e-12);
    assert!(matches!(warnings[..], [Warning::Unit { .. }]));
    let mut pixdim = small().pixdim;
    pixdim[1] = 1.0;
    assert_eq!(read(Made { pixdim, ..small() }).unwrap().1[0].code(), "W125");
}

#[test]
fn colour_pairs_and_other_files_are_named() {
    let files = Files::new();
    let error =
        read_image(files.put("rgb.nii", &Made::new(&[2, 2, 2], 128, vec![0; 24]).bytes())).unwrap_err();
    assert!(error.to_string().contains("RGB24"), "{error}");
    let mut pair = small().bytes();
    pair[344..348].copy_from_slice(b"ni1\0");
    assert!(matches!(read_image(files.put("x.hdr", &pair)), Err(VolumeError::HeaderPair { .. })));
    let error = read_image(files.put("page.nii", b"<html><body>404 Not Found</body></html>")).unwrap_err();
    assert!(error.to_string().contains("\"<html><body>404 Not Foun"), "{error}");
    assert_eq!(read_image(files.put("empty.nii", b"")).unwrap_err().code(), "E103");
}

#[test]
fn float_labels_must_be_integers() {
    let files = Files::new();
    let read = |values: &[f32]| {
        let payload = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        read_labels(files.put("l.nii", &Made::new(&[values.len() as i64, 1, 1], 16, payload).bytes()))
    };
    assert_eq!(read(&[0.0, 0.9995, 2.0004]).unwrap().data, [0, 1, 2]);
    let error = read(&[0.0, 1.5, 1.5, 0.25, f32::NAN]).unwrap_err();
    assert!(error.to_string().contains("1.5 (2 voxels), 0.25 (1 voxel), NaN (1 voxel)"), "{error}");
    let error = read(&[0.0, -1.0, 5e9]).unwrap_err();
    assert!(matches!(&error, VolumeError::LabelRange { values, .. } if values.0.len() == 2), "{error}");
}

#[test]
fn labels_are_written_on_the_grid_of_their_reference() {
    let files = Files::new();
    for version in [1, 2] {
        for big in [false, true] {
            let sheared = [[2.0, 0.1, 0.0, 0.1], [0.0, 3.0, 0.0, 0.2], [0.0, 0.0, 4.0, 0.3]];
            let made = Made {
                version,
                big,
                sform: Some(sheared),
                qform: Some(([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])),
                scl: (2.0, 1.0),
                ..Made::new(&[2, 3, 2, 2], 2, (0..24).collect())
            };
            let reference = files.put("reference.nii.gz", &gz(&made.bytes()));
            let (header, grid, _) = read_header(&reference).unwrap();
            for (largest, datatype) in [(255_u32, Datatype::U8), (65535, Datatype::U16)] {
                let labels: Vec<u32> = (0..12).map(|i| if i == 7 { largest } else { i }).collect();
                for name in ["out.nii.gz", "out.nii"] {
                    let path = files.path(name);
                    write_labels_like(&path, &labels, &reference).unwrap();
                    let found = read_labels(&path).unwrap();
                    assert_eq!((found.grid, found.data), (grid, labels.clone()));
                    let (written, _, _) = read_header(&path).unwrap();
                    assert_eq!(written.datatype, datatype);
                    assert_eq!(written.version, version);
                    assert_eq!(written.srow, header.srow);
                    assert_eq!(written.quaternion, header.quaternion);
                    assert_eq!(written.pixdim, header.pixdim);
                    assert_eq!(written.dims, [2, 3, 2]);
                }
            }
            assert_eq!(
                write_labels_like(files.path("x.nii"), &[70_000_u32; 12], &reference).unwrap_err().code(),
                "E113"
            );
            assert!(write_labels_like(files.path("x.nii"), &[0_u8; 11], &reference).is_err());
        }
    }
}
