//! TIFF and PNG stacks: what is read, where the voxel size comes from, what is refused.
#![expect(clippy::unwrap_used, reason = "test code")]

mod corpus;
#[path = "../counting/mod.rs"]
mod counting;
mod damaged;
mod made;
mod survives;

use made::*;
use std::path::Path;
use tempfile::TempDir;
use tiff::encoder::colortype::{Gray8, Gray16, Gray32, Gray32Float, Gray64, RGB8};
use tiff::encoder::{Compression, DeflateLevel};
use volume::Warning;
use volume::stack::{SpacingSource, Stack};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

#[test]
fn every_number_type_and_compression_is_read() {
    let values: Vec<f32> = (0..60).map(|i| i as f32).collect();
    for compression in [
        Compression::Uncompressed,
        Compression::Lzw,
        Compression::Deflate(DeflateLevel::Fast),
        Compression::Packbits,
    ] {
        let files = [
            tiff::<Gray8>(&slices(|i| i as u8), 5, compression, ""),
            tiff::<Gray16>(&slices(|i| i as u16), 5, compression, ""),
            tiff::<Gray32>(&slices(|i| i as u32), 5, compression, ""),
            tiff::<Gray32Float>(&slices(|i| i as f32), 5, compression, ""),
            tiff::<Gray64>(&slices(|i| i), 5, compression, ""),
        ];
        for bytes in files {
            let stack = opened(bytes).unwrap();
            assert_eq!(stack.shape_zyx(), [3, 4, 5]);
            assert_eq!(stack.read_slab(0..3).unwrap(), values);
            // Backwards and again: pages are found wherever the last read ended.
            assert_eq!(stack.read_slab(2..3).unwrap(), values[40..]);
            assert_eq!(stack.read_slab(1..2).unwrap(), values[20..40]);
            assert_eq!(stack.read_label_slab(0..2).unwrap(), (0..40).collect::<Vec<u64>>());
            assert_eq!(stack.read_slab(2..4).unwrap_err().code(), "E199");
            assert_eq!(stack.read_slab(1..1).unwrap_err().code(), "E199");
            assert!(stack.warnings().is_empty());
        }
    }
}

#[test]
fn ids_never_pass_through_a_float() {
    let big = slices(|i| u64::MAX - i);
    let stack = opened(tiff::<Gray64>(&big, 5, Compression::Lzw, "")).unwrap();
    assert_eq!(stack.read_label_slab(0..3).unwrap(), big.concat());
    let wide = slices(|i| u32::MAX - i as u32);
    let stack = opened(tiff::<Gray32>(&wide, 5, Compression::Uncompressed, "")).unwrap();
    assert!(
        stack.read_label_slab(0..3).unwrap().iter().eq(wide
            .concat()
            .iter()
            .map(|x| u64::from(*x))
            .collect::<Vec<_>>()
            .iter())
    );
    for bad in [0.5, -1.0, f32::NAN, 16_777_218.0] {
        let stack = opened(tiff::<Gray32Float>(
            &slices(|i| if i == 25 { bad } else { 1.0 }),
            5,
            Compression::Uncompressed,
            "",
        ))
        .unwrap();
        assert_eq!(stack.read_label_slab(0..1).unwrap(), [1; 20]);
        let error = stack.read_label_slab(0..3).unwrap_err();
        assert_eq!(error.code(), "E143");
        assert!(error.to_string().contains(&format!("page 2 holds the label value {bad}")), "{error}");
    }
}

#[test]
fn byte_orders_signs_and_inverted_files() {
    for (big, pixels) in [(true, [1, 2, 255, 254]), (false, [2, 1, 254, 255])] {
        let stack = opened(by_hand(big, 16, 1, 1, &pixels)).unwrap();
        assert_eq!(stack.read_slab(0..1).unwrap(), [258.0, 65534.0]);
        let stack = opened(by_hand(big, 16, 2, 1, &pixels)).unwrap();
        assert_eq!(stack.read_slab(0..1).unwrap(), [258.0, -2.0]);
        let error = stack.read_label_slab(0..1).unwrap_err();
        assert!(error.to_string().contains("label value -2"), "{error}");
        // White is zero: the stored values count, as in ImageJ and tifffile.
        let stack = opened(by_hand(big, 16, 1, 0, &pixels)).unwrap();
        assert_eq!(stack.read_label_slab(0..1).unwrap(), [258, 65534]);
    }
    assert_eq!(opened(by_hand(false, 16, 1, 1, &[0; 4])).unwrap().warnings()[0].code(), "W105");
}

#[test]
fn other_pixels_are_refused_with_a_reason() {
    let rgb = tiff::<RGB8>(&[vec![0; 60]], 5, Compression::Uncompressed, "");
    let error = refused(rgb);
    assert_eq!(error.code(), "E143");
    assert!(error.hint().unwrap().contains("Colours are no ids"), "{error}");
    assert!(refused(by_hand(false, 1, 1, 1, &[0xC0])).to_string().contains("1 bits per pixel"));
    assert!(refused(by_hand(false, 8, 1, 3, &[1, 2])).to_string().contains("colour table"));
    assert!(refused(by_hand(false, 32, 3, 0, &[0; 8])).to_string().contains("white-is-zero"));
}

#[test]
fn without_a_voxel_size_there_is_no_grid() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::open(&saved(&folder, "cell6.tif", &grey8("")), None).unwrap();
    assert_eq!(stack.spacing_source(), None);
    assert_eq!(stack.read_slab(0..1).unwrap().len(), 20);
    let error = stack.grid().unwrap_err();
    assert_eq!(error.code(), "E140");
    assert!(error.to_string().starts_with("stack cell6.tif has no voxel size"), "{error}");
    let hint = error.hint().unwrap();
    assert_eq!(
        hint,
        "Give cell6.json {\"spacing_zyx_um\":[0.08,0.0076,0.0076]} or --spacing-zyx. Order is z,y,x"
    );
    let pngs = png_directory();
    let error = Stack::open(pngs.path(), None).unwrap().grid().unwrap_err();
    assert!(error.to_string().contains("z is missing"), "{error}");
}

#[test]
fn argument_then_sidecar_then_tags() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(&folder, "cell6.tif", &grey8(IMAGEJ));
    let near = |stack: &Stack, expected: [f64; 3]| {
        let found = stack.grid().unwrap().spacing_zyx_mm();
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-9),
            "{found:?} {expected:?}"
        );
    };
    let stack = Stack::open(&path, None).unwrap();
    assert_eq!(stack.spacing_source(), Some(&SpacingSource::ImageJ));
    near(&stack, [5e-5, 4e-6, 4e-6]);
    assert_eq!(stack.grid().unwrap().world([0.0; 3]), [0.0; 3]);
    assert_eq!(stack.grid().unwrap().axis_codes(), "RAS");
    let json = saved(&folder, "cell6.json", b"{\"spacing_zyx_nm\": [50, 4, 4.003]}");
    let stack = Stack::open(&path, None).unwrap();
    assert_eq!(stack.spacing_source(), Some(&SpacingSource::Sidecar(json.clone())));
    near(&stack, [5e-5, 4e-6, 4.003e-6]);
    assert!(stack.warnings().is_empty(), "{:?}", stack.warnings());
    let stack = Stack::open(&path, Some([1.0, 2.0, 3.0])).unwrap();
    assert_eq!(stack.spacing_source(), Some(&SpacingSource::Argument));
    near(&stack, [1.0, 2.0, 3.0]);
    let codes: Vec<&str> = stack.warnings().iter().map(Warning::code).collect();
    assert_eq!(codes, ["W140", "W140"]);
    assert!(stack.warnings()[0].to_string().contains("Using --spacing-zyx"), "{}", stack.warnings()[0]);
    assert_eq!(Stack::open(&path, Some([1.0, 0.0, 1.0])).unwrap_err().code(), "E140");
    saved(&folder, "cell6.json", b"{\"voxel\": [1, 1, 1]}");
    let error = Stack::open(&path, Some([1.0; 3])).unwrap_err();
    assert_eq!(error.code(), "E145");
    assert!(
        error.to_string().contains("cell6.json") && error.to_string().contains("unknown keys"),
        "{error}"
    );
}

#[test]
fn other_axes_are_refused() {
    let error = refused(grey8("ImageJ=1.54f\nimages=3\nchannels=3\nunit=micron\nspacing=0.05\n"));
    assert_eq!(error.code(), "E144");
    assert!(error.to_string().contains("made.tif") && error.to_string().contains("channels=3"), "{error}");
    let ome = "<?xml version=\"1.0\"?><OME><Image><Pixels DimensionOrder=\"XYTZC\" SizeZ=\"1\" SizeC=\"1\" SizeT=\"3\"/></Image></OME>";
    assert!(refused(grey8(ome)).to_string().contains("SizeT=3"));
}

#[test]
fn pages_of_other_size_or_type_are_named() {
    let mut other = slices(|i| i as u8);
    other[2].truncate(15);
    let error = refused(tiff::<Gray8>(&other, 5, Compression::Uncompressed, ""));
    assert_eq!(error.code(), "E142");
    let text = error.to_string();
    assert!(text.contains("page 3 is 3×5 (y×x) u8; expected 4×5 (y×x) u8 as in page 1"), "{text}");
}

#[test]
fn directories_are_read_in_the_order_of_their_numbers() {
    let folder = png_directory();
    for (name, base) in [("s10.png", 80), ("s4.png", 60)] {
        saved(&folder, name, &grey_png(base));
    }
    saved(&folder, "notes.txt", b"text");
    saved(&folder, "spacing.json", b"{\"spacing_zyx_um\": [0.05, 0.004, 0.004]}");
    let stack = Stack::open(folder.path(), None).unwrap();
    assert_eq!(stack.shape_zyx(), [5, 4, 5]);
    let all = stack.read_slab(0..5).unwrap();
    assert!(all.iter().enumerate().all(|(i, value)| *value == i as f32));
    assert_eq!(stack.read_label_slab(3..5).unwrap(), (60..100).collect::<Vec<u64>>());
    assert!(
        matches!(stack.spacing_source(), Some(SpacingSource::Sidecar(path)) if path.ends_with("spacing.json"))
    );
    let codes: Vec<&str> = stack.warnings().iter().map(Warning::code).collect();
    assert_eq!(codes, ["W142", "W143"]);
    assert!(stack.warnings()[1].to_string().contains("from s4.png to s10.png"));

    let tiffs = tempfile::tempdir().unwrap();
    let pages = slices(|i| i as u16);
    for (i, page) in pages.iter().enumerate() {
        saved(
            &tiffs,
            &format!("{}.tif", i + 9),
            &tiff::<Gray16>(std::slice::from_ref(page), 5, Compression::Lzw, ""),
        );
    }
    let stack = Stack::open(tiffs.path(), SPACING).unwrap();
    assert_eq!(stack.read_slab(0..3).unwrap(), (0..60).map(|i| i as f32).collect::<Vec<_>>());
    saved(&tiffs, "12.tif", &tiff::<Gray16>(&pages, 5, Compression::Lzw, ""));
    let error = Stack::open(tiffs.path(), SPACING).unwrap_err();
    assert!(error.to_string().contains("12.tif: 3 pages"), "{error}");
}

#[test]
fn directories_that_are_no_stack_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |folder: &TempDir| Stack::open(folder.path(), SPACING).unwrap_err();
    assert!(fails(&folder).to_string().contains("the directory is empty"));
    saved(&folder, "notes.txt", b"text");
    assert!(fails(&folder).to_string().contains("no .tif, .tiff or .png among 1 files"));
    let folder = png_directory();
    saved(&folder, "s4.tif", &grey8(""));
    assert!(fails(&folder).to_string().contains("mixed: s1.png and s4.tif"));
    let folder = png_directory();
    saved(&folder, "s4.png", &png(png::ColorType::Grayscale, png::BitDepth::Sixteen, &[0; 40]));
    let error = fails(&folder);
    assert_eq!(error.code(), "E142");
    assert!(
        error.to_string().contains("s4.png is 4×5 (y×x) u16; expected 4×5 (y×x) u8 as in s1.png"),
        "{error}"
    );
    let single = saved(&folder, "s4.png", &grey_png(0));
    assert!(Stack::open(&single, SPACING).unwrap_err().to_string().contains("a single PNG"));
    let missing = Stack::open(Path::new("nowhere.tif"), SPACING).unwrap_err();
    assert!(missing.to_string().contains("nowhere.tif"), "{missing}");
}

#[test]
fn kinds_of_png() {
    let folder = tempfile::tempdir().unwrap();
    let only = |bytes: &[u8]| {
        saved(&folder, "s.png", bytes);
        Stack::open(folder.path(), SPACING)
    };
    let bytes: Vec<u8> = (0..20_u16).flat_map(|i| (i * 3000).to_be_bytes()).collect();
    let stack = only(&png(png::ColorType::Grayscale, png::BitDepth::Sixteen, &bytes)).unwrap();
    assert_eq!(stack.read_label_slab(0..1).unwrap(), (0..20).map(|i| i * 3000).collect::<Vec<u64>>());
    // Five pixels of one bit in each row.
    let stack =
        only(&png(png::ColorType::Grayscale, png::BitDepth::One, &[0b1010_1000, 0, 0xF8, 0x80])).unwrap();
    let expected = [1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0];
    assert_eq!(stack.read_label_slab(0..1).unwrap(), expected);
    let indices: Vec<u8> = (0..20).collect();
    let stack = only(&png(png::ColorType::Indexed, png::BitDepth::Eight, &indices)).unwrap();
    assert_eq!(stack.read_label_slab(0..1).unwrap(), (0..20).collect::<Vec<u64>>());
    assert!(stack.read_slab(0..1).unwrap_err().to_string().contains("table of colours"));
    let error = only(&png(png::ColorType::Rgb, png::BitDepth::Eight, &[0; 60])).unwrap_err();
    assert!(
        error.to_string().contains("s.png") && error.hint().unwrap().contains("Colours are no ids"),
        "{error}"
    );
    assert!(only(&png(png::ColorType::GrayscaleAlpha, png::BitDepth::Eight, &[0; 40])).is_err());
}
