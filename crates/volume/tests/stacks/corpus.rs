//! Seeds and findings of the fuzz targets, replayed. A file's name begins with `ok` or the code of the error that reading
//! it gives.

use crate::survives;
use fs_err as fs;
use volume::Result;

/// Reads every case of a folder of the corpus and compares the outcome with its name.
fn replay(kind: &str, read: impl Fn(&[u8]) -> Result<Vec<f32>>) {
    let folder = format!("{}/tests/corpus/{kind}", env!("CARGO_MANIFEST_DIR"));
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 10, "the corpus is missing");
    let mut differing = Vec::new();
    for path in cases {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (expected, _) = name.split_once('_').unwrap();
        let read = read(&fs::read(&path).unwrap());
        if read.as_ref().map_or_else(|error| error.code(), |_| "ok") != expected {
            differing.push((name, read));
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn every_tiff_ever_found_is_survived() {
    replay("tiff", survives::tiff);
}

#[test]
fn every_png_ever_found_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    replay("png", |bytes| survives::png(folder.path(), bytes));
}
