//! Whatever happens to a file of a case is noticed, and the file is named.

use crate::support::{image, record};
use patches::{Case, Error, LabelType, LabelVoxels, Region, write_case};
use std::path::{Path, PathBuf};

/// A case in the place that it has in a shard directory.
fn written(root: &Path, shape: [usize; 3]) -> PathBuf {
    let directory = root.join("shards/cases/case_7");
    fs_err::create_dir_all(&directory).unwrap();
    // one label everywhere: the label's shard is a file all the same
    let labels = vec![0; shape.iter().product()];
    let label = Some((LabelType::U8, LabelVoxels::Narrow(&labels)));
    write_case(&directory, &record(1, shape), &image(1, shape), label, &[[1, 0, 0, 0]]).unwrap();
    directory
}

#[test]
fn every_change_of_a_file_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let directory = written(root.path(), [9, 10, 11]);
    Case::open(&directory).unwrap().check().unwrap();
    let files = data_manifests::digest::files_below(&directory).unwrap();
    for expected in ["image/c.0.0.0.0", "labels/label/0/c.0.0.0", "labels/zarr.json", "foreground/c.0.0"] {
        assert!(files.contains(&expected.to_owned()), "{files:?}");
    }
    for file in &files {
        let path = directory.join(file);
        let good = fs_err::read(&path).unwrap();
        for at in (0..good.len()).step_by(good.len() / 40 + 1).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs_err::write(&path, &bad).unwrap();
            let flaws = Case::flaws(&directory).unwrap();
            let [damage] = flaws.as_slice() else { unreachable!("byte {at} of {file}: {flaws:?}") };
            assert_eq!((&damage.file, damage.case().as_str()), (file, "case_7"));
            assert!(Case::open(&directory).and_then(|case| case.check()).is_err(), "byte {at} of {file}");
        }
        fs_err::remove_file(&path).unwrap();
        let opened = Case::open(&directory).and_then(|case| case.check()).unwrap_err().to_string();
        for said in [Case::flaws(&directory).unwrap()[0].facts(), opened] {
            assert!(said.contains(&format!("{} is missing", path.display())), "{file}: {said}");
        }
        fs_err::write(&path, &good).unwrap();
    }
    fs_err::write(directory.join("labels/more"), "x").unwrap();
    let error = Case::open(&directory).unwrap().check().unwrap_err().to_string();
    assert!(error.contains("labels/more does not belong to the case"), "{error}");
}

#[test]
fn a_patch_of_a_damaged_shard_is_an_error_that_names_case_file_and_remedy() {
    let root = tempfile::tempdir().unwrap();
    let shape = [33, 65, 66];
    let directory = written(root.path(), shape);
    let shard = directory.join("image/c.0.0.0.0");
    let good = fs_err::read(&shard).unwrap();
    let read = |bytes: &[u8]| {
        fs_err::write(&shard, bytes).unwrap();
        let case = Case::open(&directory).unwrap();
        let error = case.read_image(&Region::whole(shape)).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
        (error.to_string(), error.message("case_7").to_string())
    };
    for at in [0, 10, good.len() / 2, good.len() - 10, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let (said, message) = read(&bad);
        assert!(said.contains("case case_7: ") && said.contains("image/c.0.0.0.0"), "{said}");
        let remedy = format!("preprocess verify {} --repair case_7", root.path().join("shards").display());
        assert!(said.contains(&remedy) && message.contains(&remedy), "{said} {message}");
        assert!(message.contains("E301"), "{message}");
    }
    for length in [0, 3, good.len() / 2, good.len() - 1] {
        read(&good[..length]);
    }
    // a torn shard that ends in a whole index all the same
    let (said, _) = read(&good[good.len() / 2..]);
    assert!(said.contains("cut short"), "{said}");
}

#[test]
fn a_shard_that_vanishes_after_opening_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let directory = written(root.path(), [9, 10, 11]);
    let case = Case::open(&directory).unwrap();
    fs_err::remove_file(directory.join("image/c.0.0.0.0")).unwrap();
    let error = case.read_image(&Region::whole([9, 10, 11])).unwrap_err().to_string();
    assert!(error.contains("image/c.0.0.0.0 is missing"), "{error}");
}

#[test]
fn too_many_open_files_are_no_damage() {
    let error = Error::from(std::io::Error::from_raw_os_error(24));
    let message = error.message("a").to_string();
    assert!(message.contains("ulimit -n") && !message.contains("damaged"), "{message}");
}
