//! Files that are cut, changed or announce absurd sizes.

use crate::made::*;
use tiff::encoder::colortype::Gray16;
use tiff::encoder::{Compression, DeflateLevel};
use volume::stack::Stack;

#[test]
fn damaged_tiffs_are_errors_wherever_they_are_cut() {
    let whole = tiff::<Gray16>(&slices(|i| i as u16 * 1000), 5, Compression::Deflate(DeflateLevel::Fast), "");
    for end in 0..whole.len() {
        let error = refused(whole[..end].to_vec());
        assert!(["E101", "E102", "E143"].contains(&error.code()), "{end}: {error}");
        assert!(error.to_string().contains("made.tif") && error.hint().is_some(), "{end}: {error}");
    }
    for at in 0..whole.len() {
        for bit in [1, 128] {
            let mut bad = whole.clone();
            bad[at] ^= bit;
            // Either an error or values; never a panic, never a huge allocation.
            let _ = opened(bad).and_then(|stack| stack.read_slab(0..stack.shape_zyx()[0]));
        }
    }
    assert!(refused(b"II*\0\0\0\0\0".to_vec()).to_string().contains("no pages"));
    assert!(refused(b"<html>".to_vec()).to_string().contains("begins with \"<html>\""));
    assert!(refused(grey_png(0)).to_string().contains("a PNG signature"));
    assert_eq!(refused(Vec::new()).code(), "E143");
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_asked_for() {
    let mut huge = by_hand(false, 8, 1, 1, &[1, 2]);
    // Entries 0, 1 and 7 (width, height, rows per strip), after the header, two pixels and the number of tags.
    for value in [u32::MAX, 60_000] {
        for entry in [0, 1, 7] {
            let at = 8 + 2 + 2 + 12 * entry + 8;
            huge[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let error = refused(huge.clone());
        assert_eq!(error.code(), "E106", "{error}");
    }
    let folder = png_directory();
    let mut bytes = grey_png(0);
    bytes[16..20].copy_from_slice(&0x7fff_0000_u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&0x7fff_0000_u32.to_be_bytes());
    let crc = {
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        crc.sum()
    };
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    saved(&folder, "s1.png", &bytes);
    let error = Stack::open(folder.path(), SPACING).unwrap_err();
    assert_eq!(error.code(), "E106");
    assert!(error.to_string().contains("s1.png"), "{error}");
}

#[test]
fn damaged_pngs_are_errors_wherever_they_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let read = |bytes: &[u8]| {
        saved(&folder, "s1.png", bytes);
        Stack::open(folder.path(), SPACING).and_then(|stack| stack.read_slab(0..1))
    };
    let whole = grey_png(7);
    for end in 0..whole.len() {
        let error = read(&whole[..end]).unwrap_err();
        assert!(["E101", "E102", "E143"].contains(&error.code()), "{end}: {error}");
        assert!(error.to_string().contains("s1.png") && error.hint().is_some(), "{end}: {error}");
    }
    let mut bad = whole.clone();
    bad[45] ^= 4;
    assert_eq!(read(&bad).unwrap_err().code(), "E102");
}
