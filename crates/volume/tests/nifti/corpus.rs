//! Seeds and findings of the fuzz targets, replayed. A file's name begins with `ok` or the code of the error that reading
//! it as an image gives.

use crate::survives;

#[test]
fn every_case_ever_found_is_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/nifti");
    let mut cases: Vec<_> = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 10, "the corpus is missing");
    for path in cases {
        let bytes = fs_err::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (expected, _) = name.split_once('_').unwrap();
        let found = survives::image(&bytes).map_or_else(|error| error.code(), |_| "ok");
        assert_eq!(found, expected, "{name}");
        // Whatever these say, they may neither panic nor contradict themselves.
        let _checked_inside = (survives::labels(&bytes), survives::gzip(&bytes));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2000))]

    /// Text headers have many ways to be wrong.
    #[test]
    fn changed_files_are_survived(
        case in proptest::prelude::any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>(), 0..3), 1..6),
    ) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/nifti");
        let mut cases: Vec<_> = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        cases.retain(|path| ["meta", "nrrd"].iter().any(|kind| path.to_string_lossy().contains(kind)));
        cases.sort();
        let mut bytes = fs_err::read(case.get(&cases)).unwrap();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, b"0123456789 ()-.,=:\n"[usize::from(byte) % 19]),
            }
        }
        let _checked_inside = (survives::image(&bytes), survives::labels(&bytes));
    }
}
