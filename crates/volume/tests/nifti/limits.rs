//! Headers that ask for too much.

use crate::counting::peak_of;
use crate::made::{Files, Made, gz, small};
use crate::survives::LIMITS;
use std::io::Cursor;
use volume::scan::{LabelPlanes, Planes, read_image, read_image_within, read_labels_within};
use volume::{ReadLimits, VolumeError};

/// Headers of both versions that claim 10^12 voxels.
fn claims() -> [Made; 2] {
    [
        Made::new(&[10_000; 3], 2, vec![]),
        Made { version: 2, ..Made::new(&[1_000_000, 1_000_000, 1], 2, vec![]) },
    ]
}

/// Little enough that nothing can have been allocated for voxels.
const NOTHING: u64 = 512 << 10;

#[test]
fn a_claim_of_a_trillion_voxels_is_refused_before_allocating() {
    let files = Files::new();
    for made in claims() {
        // A small file cannot hold that, whatever the limit.
        for (name, bytes, code) in
            [("claim.nii", made.bytes(), "E101"), ("claim.nii.gz", gz(&made.bytes()), "E106")]
        {
            let path = files.put(name, &bytes);
            let (result, peak) = peak_of(|| read_image(&path));
            assert_eq!(result.unwrap_err().code(), code, "{name}");
            assert!(peak < NOTHING, "{name}: {peak} bytes");
        }
        // One that could: the limit decides.
        for (name, bytes) in [("large.nii", made.bytes()), ("large.nii.gz", gz(&made.bytes()))] {
            let claimed = 2_000_000_000_000;
            let open = || {
                LabelPlanes::<u64>::from_reader(Cursor::new(bytes.clone()), claimed, name, LIMITS)
                    .and_then(|mut planes| planes.next_planes(1, &mut Vec::new()))
            };
            let (result, peak) = peak_of(open);
            assert!(matches!(result, Err(VolumeError::ReadLimit { .. })), "{result:?}");
            assert!(peak < NOTHING, "{name}: {peak} bytes");
            let read =
                || Planes::from_reader(Cursor::new(bytes.clone()), claimed, name, LIMITS)?.into_image();
            let (result, peak) = peak_of(read);
            assert!(matches!(result, Err(VolumeError::ReadLimit { .. })), "{result:?}");
            assert!(peak < NOTHING, "{name}: {peak} bytes");
        }
    }
}

#[test]
fn a_sparse_file_of_a_trillion_voxels_is_refused_too() {
    let files = Files::new();
    for made in claims() {
        let path = files.put("sparse.nii", &made.bytes());
        let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
        if let Err(error) = file.set_len(544 + 1_000_000_000_000) {
            eprintln!("skipped: no sparse files here: {error}");
            return;
        }
        let (error, peak) = peak_of(|| read_image_within(&path, LIMITS).unwrap_err());
        assert_eq!(error.code(), "E160");
        assert!(error.to_string().contains("needs 4,000,002,097,152 bytes"), "{error}");
        assert!(error.to_string().contains("one read may take 16,777,216"), "{error}");
        assert!(error.hint().unwrap().contains("--max-ram"));
        assert!(peak < NOTHING, "{peak} bytes");
        assert_eq!(read_labels_within::<u32>(&path, LIMITS).unwrap_err().code(), "E160");
    }
}

#[test]
fn sizes_that_overflow_are_refused() {
    let files = Files::new();
    let long = [
        vec![i64::MAX, 2, 2],
        vec![1 << 62, 2],
        vec![1 << 32, 1 << 32, 1],
        vec![1 << 31, 1 << 31, 2],
        vec![1 << 21, 1 << 21, 1 << 21],
        vec![4, 4, 4, i64::MAX],
    ];
    for dims in long {
        let made = Made { version: 2, ..Made::new(&dims, 64, vec![]) };
        for (name, bytes) in [("o.nii", made.bytes()), ("o.nii.gz", gz(&made.bytes()))] {
            assert_eq!(read_image(files.put(name, &bytes)).unwrap_err().code(), "E105", "{dims:?}");
        }
    }
    // The most that the first version can say.
    let most = Made::new(&[32_767; 4], 64, vec![]);
    assert_eq!(read_image(files.put("m.nii", &most.bytes())).unwrap_err().code(), "E101");
    assert_eq!(read_image(files.put("m.nii.gz", &gz(&most.bytes()))).unwrap_err().code(), "E106");
    for dims in [&[2, -3, 2][..], &[2, 0, 2], &[i64::MIN, 1, 1]] {
        let made = Made { version: 2, ..Made::new(dims, 2, vec![0; 64]) };
        assert_eq!(read_image(files.put("n.nii", &made.bytes())).unwrap_err().code(), "E105", "{dims:?}");
    }
}

#[test]
fn no_field_of_the_header_is_trusted() {
    let files = Files::new();
    let read = |bytes: &[u8]| read_image(files.put("t.nii", bytes));
    let with = |version: u8, at: usize, field: &[u8]| {
        let mut bytes = Made { version, ..small() }.bytes();
        bytes[at..at + field.len()].copy_from_slice(field);
        bytes
    };
    let expected: Vec<f32> = (0..12).map(|v| v as f32).collect();
    // bitpix says nothing that the type does not.
    for bitpix in [0_i16, 1, 64, -8, i16::MAX] {
        assert_eq!(read(&with(1, 72, &bitpix.to_le_bytes())).unwrap().data, expected);
        assert_eq!(read(&with(2, 14, &bitpix.to_le_bytes())).unwrap().data, expected);
    }
    // vox_offset beyond the file, inside the header, no number.
    for (offset, code) in [
        (1e9_f32, "E101"),
        (1e30, "E105"),
        (f32::NAN, "E105"),
        (f32::INFINITY, "E105"),
        (-352.0, "E105"),
        (347.0, "E105"),
    ] {
        assert_eq!(read(&with(1, 108, &offset.to_le_bytes())).unwrap_err().code(), code, "{offset}");
    }
    for (offset, code) in [(i64::MAX, "E105"), (i64::MIN, "E105"), (1 << 39, "E101"), (539, "E105")] {
        assert_eq!(read(&with(2, 168, &offset.to_le_bytes())).unwrap_err().code(), code, "{offset}");
    }
    assert_eq!(read(&with(1, 108, &0_f32.to_le_bytes())).unwrap().data, expected);
    // dim[0]
    for count in [0_i16, -1, 8, i16::MIN, i16::MAX] {
        assert_eq!(read(&with(1, 40, &count.to_le_bytes())).unwrap_err().code(), "E105", "{count}");
    }
    for count in [0_i64, -1, 8, i64::MIN, i64::MAX, 1 << 32 | 3] {
        assert_eq!(read(&with(2, 16, &count.to_le_bytes())).unwrap_err().code(), "E105", "{count}");
    }
    // sizeof_hdr
    for size in [0_i32, 347, 349, 541, -1, i32::MAX] {
        assert_eq!(read(&with(1, 0, &size.to_le_bytes())).unwrap_err().code(), "E103", "{size}");
    }
    // An extension that claims more than there is, or less than nothing: only vox_offset says where voxels begin.
    for size in [i32::MAX, -8, 0] {
        let mut bytes = small().bytes();
        bytes[348] = 1;
        bytes.splice(352..352, size.to_le_bytes().into_iter().chain([6, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]));
        bytes[108..112].copy_from_slice(&368_f32.to_le_bytes());
        assert_eq!(read(&bytes).unwrap().data, expected, "{size}");
    }
}

#[test]
fn planes_keep_within_their_limit() {
    // 64 MB of voxels, 256 MB as f32.
    let files = Files::new();
    let bytes = Made::new(&[1000, 1000, 64], 2, vec![7; 64_000_000]).bytes();
    let path = files.put("big.nii", &bytes);
    drop(bytes);
    let limits = ReadLimits { max_bytes: 15 << 20 };
    let (sections, peak) = peak_of(|| {
        let mut planes = Planes::open(&path, limits).unwrap();
        let (mut piece, mut sections) = (Vec::new(), Vec::new());
        loop {
            let count = planes.next_planes(50, &mut piece).unwrap();
            if count == 0 {
                return sections;
            }
            assert!(piece.len() == count * 1_000_000 && piece.iter().all(|v| *v == 7.0));
            sections.push(count);
        }
    });
    assert_eq!(sections.iter().sum::<usize>(), 64);
    assert!(sections.iter().all(|count| *count <= 3), "{sections:?}");
    assert!(peak <= limits.max_bytes, "{peak} bytes");
    assert_eq!(read_image_within(&path, limits).unwrap_err().code(), "E160");
}
