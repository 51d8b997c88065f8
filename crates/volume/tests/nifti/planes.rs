//! Some planes at a time give what the whole gives, errors included.

use crate::made::{Files, Made, gz, small};
use crate::survives;
use volume::scan::{LabelPlanes, Planes, read_image, read_labels};
use volume::{ReadLimits, VolumeError, Warning};

/// 2 channels of 5 planes of 6 × 7 voxels.
fn two_channels() -> Made {
    let values = (0..420_i16).flat_map(|v| (v - 50).to_be_bytes()).collect();
    Made { big: true, scl: (0.25, 3.0), ..Made::new(&[7, 6, 5, 2], 4, values) }
}

#[test]
fn planes_come_in_the_order_of_the_file_channel_after_channel() {
    let files = Files::new();
    let bytes = two_channels().bytes();
    let mut members = gz(&bytes[..200]);
    members.extend(gz(&bytes[200..601]));
    members.extend(gz(&bytes[601..]));
    for (name, bytes) in [("p.nii", &bytes), ("p.nii.gz", &members)] {
        let path = files.put(name, bytes);
        let whole = read_image(&path).unwrap();
        assert_eq!((whole.data[0], whole.data[419]), (-9.5, 95.25));
        for step in [1, 2, 3, 5, 7, 10, 99] {
            let mut planes = Planes::open(&path, ReadLimits::UNLIMITED).unwrap();
            assert_eq!((planes.channels(), planes.remaining(), *planes.grid()), (2, 10, whole.grid));
            let (mut data, mut piece) = (Vec::new(), vec![1.0; 3]);
            loop {
                let expected = step.min(planes.remaining());
                let count = planes.next_planes(step, &mut piece).unwrap();
                assert_eq!((count, piece.len()), (expected, count * 42));
                if count == 0 {
                    break;
                }
                data.extend_from_slice(&piece);
            }
            assert_eq!(data, whole.data);
        }
    }
}

#[test]
fn damage_is_told_in_the_same_words_and_before_the_last_plane() {
    let files = Files::new();
    let bytes = two_channels().bytes();
    let mut wrong_sum = gz(&bytes);
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let cases = [
        ("cut.nii", bytes[..900].to_vec(), "E101"),
        ("cut.nii.gz", gz(&bytes[..900]), "E101"),
        ("half.nii.gz", gz(&bytes)[..300].to_vec(), "E101"),
        ("sum.nii.gz", wrong_sum, "E102"),
        ("garbage.nii.gz", [gz(&bytes), b"garbage".to_vec()].concat(), "E102"),
    ];
    for (name, bytes, code) in cases {
        let path = files.put(name, &bytes);
        let whole = read_image(&path).unwrap_err();
        assert_eq!(whole.code(), code, "{name}: {whole}");
        let mut seen = 0;
        let streamed = Planes::open(&path, ReadLimits::UNLIMITED).and_then(|mut planes| {
            let mut piece = Vec::new();
            loop {
                match planes.next_planes(1, &mut piece)? {
                    0 => return Ok(()),
                    count => seen += count,
                }
            }
        });
        assert_eq!(streamed.unwrap_err().to_string(), whole.to_string(), "{name}");
        assert!(seen < 10, "{name}: all planes were handed out");
    }
    let path = files.put("more.nii", &[bytes, vec![0; 1234]].concat());
    let mut planes = Planes::open(&path, ReadLimits::UNLIMITED).unwrap();
    assert!(planes.warnings().is_empty());
    planes.next_planes(10, &mut Vec::new()).unwrap();
    assert_eq!(planes.warnings(), [Warning::TrailingBytes { bytes: 1234 }]);
    assert_eq!(planes.next_planes(10, &mut Vec::new()).unwrap(), 0);
}

#[test]
fn offending_labels_are_gathered_over_the_whole_file() {
    let files = Files::new();
    let mut values = [1.0_f32; 60];
    (values[3], values[30], values[59]) = (1.5, 1.5, 0.25);
    let payload = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let path = files.put("l.nii.gz", &gz(&Made::new(&[3, 2, 10], 16, payload).bytes()));
    let mut planes = LabelPlanes::<u32>::open(&path, ReadLimits::UNLIMITED).unwrap();
    let mut piece = Vec::new();
    let error = planes.next_planes(2, &mut piece).unwrap_err();
    assert!(error.to_string().contains("1.5 (2 voxels), 0.25 (1 voxel)"), "{error}");
    assert_eq!(error.to_string(), read_labels(&path).unwrap_err().to_string());
    assert_eq!((planes.remaining(), planes.next_planes(2, &mut piece).unwrap()), (0, 0));
    // Found only in the last plane.
    (values[3], values[30]) = (2.0, 3.0);
    let payload = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let path = files.put("late.nii", &Made::new(&[3, 2, 10], 16, payload).bytes());
    let mut planes = LabelPlanes::<u32>::open(&path, ReadLimits::UNLIMITED).unwrap();
    assert_eq!(planes.next_planes(9, &mut piece).unwrap(), 9);
    assert_eq!((piece[3], piece[30]), (2, 3));
    let error = planes.next_planes(9, &mut piece).unwrap_err();
    assert!(
        matches!(&error, VolumeError::LabelNotInteger { values, .. } if values.0 == [(0.25, 1)]),
        "{error}"
    );
}

#[test]
fn every_small_file_reads_the_same_in_pieces() {
    for version in [1, 2] {
        for code in [2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280] {
            for dims in [&[2, 3][..], &[2, 3, 4], &[2, 3, 4, 2], &[1, 1, 40]] {
                let payload = (0..400).map(|i| (i * 37 % 256) as u8).collect();
                let made = Made { version, ..Made::new(dims, code, payload) };
                survives::image(&made.bytes()).unwrap();
                let _ids = survives::labels(&made.bytes());
                let _same = survives::gzip(&[&[0x23], &made.bytes()[..]].concat());
            }
        }
    }
    survives::labels(&small().bytes()).unwrap();
}
