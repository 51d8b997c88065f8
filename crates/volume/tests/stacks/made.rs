//! Stacks made for the tests.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tiff::encoder::colortype::{ColorType, Gray8};
use tiff::encoder::{Compression, Rational, TiffEncoder, TiffValue};
use tiff::tags::{ResolutionUnit, Tag};
use volume::VolumeError;
use volume::stack::Stack;

pub(crate) const SPACING: Option<[f64; 3]> = Some([5e-5, 4e-6, 4e-6]);
pub(crate) const IMAGEJ: &str = "ImageJ=1.54f\nimages=3\nslices=3\nunit=micron\nspacing=0.05\nloop=false\n";

/// A TIFF of one page per slice, `width` pixels wide; description and pixels per unit on the first page.
pub(crate) fn tiff<C: ColorType>(
    slices: &[Vec<C::Inner>],
    width: u32,
    compression: Compression,
    text: &str,
) -> Vec<u8>
where
    [C::Inner]: TiffValue,
{
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap().with_compression(compression);
    for (i, slice) in slices.iter().enumerate() {
        let samples = C::BITS_PER_SAMPLE.len();
        let height = (slice.len() / samples) as u32 / width;
        let mut image = encoder.new_image::<C>(width, height).unwrap();
        if i == 0 && !text.is_empty() {
            image.encoder().write_tag(Tag::ImageDescription, text).unwrap();
            image.resolution(ResolutionUnit::None, Rational { n: 250, d: 1 });
        }
        image.write_data(slice).unwrap();
    }
    bytes.into_inner()
}

pub(crate) fn slices<T>(convert: impl Fn(u64) -> T) -> Vec<Vec<T>> {
    (0..3).map(|z| (0..20).map(|i| convert(z * 20 + i)).collect()).collect()
}

pub(crate) fn grey8(text: &str) -> Vec<u8> {
    tiff::<Gray8>(&slices(|i| i as u8), 5, Compression::Uncompressed, text)
}

pub(crate) fn saved(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs_err::write(&path, bytes).unwrap();
    path
}

pub(crate) fn opened(bytes: Vec<u8>) -> Result<Stack, VolumeError> {
    Stack::from_tiff_bytes(Path::new("made.tif"), bytes, SPACING)
}

pub(crate) fn refused(bytes: Vec<u8>) -> VolumeError {
    match opened(bytes).and_then(|stack| stack.read_slab(0..stack.shape_zyx()[0])) {
        Ok(_) => unreachable!("was read"),
        Err(error) => error,
    }
}

/// A PNG of a 4×5 slice.
pub(crate) fn png(color: png::ColorType, depth: png::BitDepth, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 5, 4);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette((0..60_u8).collect::<Vec<u8>>());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(bytes).unwrap();
    writer.finish().unwrap();
    out
}

pub(crate) fn grey_png(base: u8) -> Vec<u8> {
    png(png::ColorType::Grayscale, png::BitDepth::Eight, &(base..base + 20).collect::<Vec<u8>>())
}

/// A directory of three PNG slices whose names sort as numbers only.
pub(crate) fn png_directory() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, base) in [("s2.png", 20), ("s1.png", 0), ("s3.PNG", 40)] {
        saved(&folder, name, &grey_png(base));
    }
    saved(&folder, "._s1.png", b"resource");
    folder
}

/// A classic TIFF of one uncompressed 1×2 page, byte by byte, in either order of bytes.
pub(crate) fn by_hand(big: bool, bits: u16, format: u16, photometric: u16, pixels: &[u8]) -> Vec<u8> {
    let short = |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
    let long = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
    let mut out = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
    out.extend(long(8 + pixels.len() as u32));
    out.extend(pixels);
    let tags = [
        (256, 4, 2),
        (257, 4, 1),
        (258, 3, u32::from(bits)),
        (259, 3, 1),
        (262, 3, u32::from(photometric)),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 1),
        (279, 4, pixels.len() as u32),
        (339, 3, u32::from(format)),
    ];
    out.extend(short(tags.len() as u16));
    for (tag, kind, value) in tags {
        out.extend(short(tag));
        out.extend(short(kind));
        out.extend(long(1));
        if kind == 3 {
            out.extend(short(value as u16));
            out.extend([0, 0]);
        } else {
            out.extend(long(value));
        }
    }
    out.extend(long(0));
    out
}
