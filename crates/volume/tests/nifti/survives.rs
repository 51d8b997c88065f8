//! What has to hold for readers on any bytes at all; the fuzz targets and the replay of their findings share it.
//!
//! No panic, no memory beyond the limit, planes equal to the whole, the same message from both, wide labels equal to
//! narrow ones, gzip equal to plain.

use crate::counting::peak_of;
use flate2::Crc;
use std::io::Cursor;
use volume::scan::{Format, Image, LabelImage, LabelPlanes, LabelType, Planes};
use volume::{ReadLimits, Result, VolumeError};

/// The declared limit of each read.
pub(crate) const LIMITS: ReadLimits = ReadLimits { max_bytes: 16 << 20 };

fn within_limit<R>(read: impl FnOnce() -> R) -> R {
    let (result, peak) = peak_of(read);
    assert!(peak <= LIMITS.max_bytes, "{peak} bytes allocated");
    result
}

/// Few calls for many planes, several of them for few.
fn step(remaining: usize, bytes: &[u8]) -> usize {
    1 + bytes.len() % 3 + remaining / 100
}

/// Reads an image whole and by planes.
pub(crate) fn image(bytes: &[u8]) -> Result<Image> {
    let input = (Cursor::new(bytes.to_vec()), Cursor::new(bytes.to_vec()));
    let length = bytes.len() as u64;
    let whole = within_limit(|| Planes::from_reader(input.0, length, "image.nii", LIMITS)?.into_image());
    let mut compared = 0;
    let streamed = within_limit(|| -> Result<()> {
        let mut planes = Planes::from_reader(input.1, length, "image.nii", LIMITS)?;
        let mut piece = Vec::new();
        while planes.next_planes(step(planes.remaining(), bytes), &mut piece)? > 0 {
            if let Ok(whole) = &whole {
                let expected = &whole.data[compared..compared + piece.len()];
                assert!(piece.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
            compared += piece.len();
        }
        if let Ok(whole) = &whole {
            // As text, in which NaN is equal to itself.
            assert_eq!(format!("{:?}", planes.warnings()), format!("{:?}", whole.warnings));
        }
        Ok(())
    });
    if let Ok(whole) = &whole {
        assert_eq!(compared, whole.data.len());
    }
    agree(&whole, &streamed);
    whole
}

/// Reads labels narrow and wide, whole and by planes.
pub(crate) fn labels(bytes: &[u8]) -> Result<LabelImage> {
    let narrow = labels_of::<u32>(bytes);
    match (&narrow, labels_of::<u64>(bytes)) {
        (Ok(narrow), Ok(wide)) => {
            assert!(narrow.data.iter().zip(&wide.data).all(|(a, b)| u64::from(*a) == *b));
        }
        (Ok(_), Err(VolumeError::LabelInexact { .. } | VolumeError::ReadLimit { .. })) | (Err(_), _) => {}
        (Ok(_), Err(error)) => panic!("only the wide reader refuses: {error}"),
    }
    narrow
}

fn labels_of<T: LabelType + PartialEq>(bytes: &[u8]) -> Result<LabelImage<T>> {
    let input = (Cursor::new(bytes.to_vec()), Cursor::new(bytes.to_vec()));
    let length = bytes.len() as u64;
    let whole =
        within_limit(|| LabelPlanes::from_reader(input.0, length, "label.nii", LIMITS)?.into_labels());
    let mut compared = 0;
    let streamed = within_limit(|| -> Result<()> {
        let mut planes = LabelPlanes::<T>::from_reader(input.1, length, "label.nii", LIMITS)?;
        let mut piece = Vec::new();
        while planes.next_planes(step(planes.remaining(), bytes), &mut piece)? > 0 {
            if let Ok(whole) = &whole {
                assert_eq!(piece, whole.data[compared..compared + piece.len()]);
            }
            compared += piece.len();
        }
        Ok(())
    });
    if let Ok(whole) = &whole {
        assert_eq!(compared, whole.data.len());
    }
    agree(&whole, &streamed);
    whole
}

/// Reads bytes as they are, and again as the content of several gzip members: the first byte says how many and how long.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Image> {
    let raw = image(bytes);
    let Some((control, content)) = bytes.split_first() else { return raw };
    if content.starts_with(&[0x1f, 0x8b]) {
        return raw;
    }
    let members = usize::from(control & 3) + 1;
    let mut packed = Vec::new();
    for part in content.chunks((content.len() / members).clamp(1, 60_000)) {
        member(part, &mut packed);
    }
    packed.resize(packed.len() + usize::from(control >> 4), 0);
    match (image(content), image(&packed)) {
        (Ok(plain), Ok(packed)) => {
            assert!(plain.data.iter().zip(&packed.data).all(|(a, b)| a.to_bits() == b.to_bits()));
            let said = |image: &Image| format!("{:?} {:?}", image.stored, image.warnings);
            assert_eq!(said(&plain), said(&packed));
        }
        (Err(_), Err(_)) => {}
        // only NIfTI is packed as a whole
        (Ok(plain), Err(_)) if matches!(plain.stored.format, Format::MetaImage | Format::Nrrd) => {}
        (plain, packed) => {
            panic!("only one is refused: {:?}, {:?}", plain.map(|i| i.grid), packed.map(|i| i.grid));
        }
    }
    raw
}

/// Appends a gzip member with `part` in a stored block: compressing would take most of a target's time.
fn member(part: &[u8], packed: &mut Vec<u8>) {
    let length = part.len() as u16;
    packed.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1]);
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(part);
    let mut sum = Crc::new();
    sum.update(part);
    packed.extend(sum.sum().to_le_bytes());
    packed.extend(sum.amount().to_le_bytes());
}

/// Planes fail where the whole does, and with the same words; only the limit of memory is the whole's alone.
fn agree<T>(whole: &Result<T>, streamed: &Result<()>) {
    match (whole, streamed) {
        (Ok(_), Ok(())) | (Err(VolumeError::ReadLimit { .. }), _) => {}
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        (Ok(_), Err(error)) => panic!("only planes are refused: {error}"),
        (Err(error), Ok(())) => panic!("only the whole is refused: {error}"),
    }
}
