//! Real volumes and volumes with one flaw each; skipped where the shared data is absent.
#![expect(clippy::print_stderr, reason = "test code")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use volume::intensity::{IntensityRule, NonFinite, Rules, check_finite};
use volume::scan;
use volume::{Orientation, Result, VolumeError, check_same_grid, hdf5, labels, nifti, resample};

fn shared(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GTGM_SHARED")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").into(), PathBuf::from);
    let path = root.join("data").join(part);
    if path.exists() {
        Some(path)
    } else {
        eprintln!("skipped: {} is absent (set GTGM_SHARED)", path.display());
        None
    }
}

/// What a preprocessing run asks of an image.
fn usable_image(path: &Path) -> Result<scan::Image> {
    let mut image = scan::read_image(path)?;
    check_finite(&mut image.data, image.channels, NonFinite::Error).map_err(|e| e.in_file(path))?;
    let rules = Rules::from(IntensityRule::MriZScore { nonzero: false });
    rules.check_all_vary(&image.data, image.channels).map_err(|e| e.in_file(path))?;
    Ok(image)
}

/// What it asks of a label that belongs to an image.
fn usable_label(path: &Path, image_path: &Path, declared: &BTreeSet<u64>) -> Result<scan::LabelImage> {
    let image = nifti::read_header(image_path)?.1;
    let label = scan::read_labels(path)?;
    check_same_grid(image_path, &image, path, &label.grid)?;
    labels::check(labels::counts(&label.data), declared).map_err(|e| e.in_file(path))?;
    Ok(label)
}

#[test]
fn each_flaw_has_its_own_words() {
    let (Some(flawed), Some(task)) = (shared("flawed"), shared("Task04_Hippocampus")) else { return };
    // The flawed files were made from the first hippocampus case.
    let image_path = task.join("imagesTr/hippocampus_001.nii.gz");
    let declared: BTreeSet<u64> = [0, 1, 2].into();
    let label_error =
        |name: &str| usable_label(&flawed.join(name), &image_path, &declared).map(|_| ()).unwrap_err();
    let image_error = |name: &str| usable_image(&flawed.join(name)).map(|_| ()).unwrap_err();
    let expected = [
        (image_error("truncated.nii.gz"), "E101", "of 62,475 voxel bytes"),
        (image_error("bitflip.nii.gz"), "E102", "corrupt"),
        (image_error("not_nifti.nii.gz"), "E103", "begins with \"this is not a volume"),
        (image_error("nan_inf.nii.gz"), "E130", "27 NaN and 1 infinite voxels in channel 0"),
        (image_error("constant.nii.gz"), "E132", "every voxel is 3"),
        (image_error("zero_spacing.nii.gz"), "E140", "pixdim is 0 along x"),
        (label_error("label_not_integer.nii.gz"), "E111", "1.5 ("),
        (label_error("label_value_unknown.nii.gz"), "E110", "outside the declared {0,1,2}: 7 ("),
        (label_error("label_other_shape.nii.gz"), "E121", "35×51×34"),
        (label_error("label_other_affine.nii.gz"), "E120", "17.321 mm"),
    ];
    let mut wordings = BTreeSet::new();
    for (error, code, part) in &expected {
        eprintln!("{} {error}. {}", error.code(), error.hint().unwrap_or_default());
        assert_eq!(error.code(), *code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains(".nii.gz"), "no file named: {error}");
        assert!(error.hint().is_some(), "no hint: {error}");
        wordings.insert(error.code());
    }
    assert_eq!(wordings.len(), expected.len(), "two flaws share a code");

    let slice = usable_image(&flawed.join("one_slice.nii.gz")).unwrap();
    assert_eq!(slice.warnings.iter().map(volume::Warning::code).collect::<Vec<_>>(), ["W105"]);
    // These two are whole files; what is missing is their partner, which the caller sees.
    usable_image(&flawed.join("image_without_label.nii.gz")).unwrap();
    scan::read_labels(flawed.join("label_without_image.nii.gz")).unwrap();
}

#[test]
fn hippocampus_cases_are_clean() {
    let Some(task) = shared("Task04_Hippocampus") else { return };
    let mut cases: Vec<PathBuf> =
        fs_err::read_dir(task.join("labelsTr")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for label_path in cases.iter().step_by(10) {
        let image_path = task.join("imagesTr").join(label_path.file_name().unwrap());
        let image = usable_image(&image_path).unwrap();
        assert!(image.warnings.is_empty(), "{image_path:?}: {:?}", image.warnings);
        let label = usable_label(label_path, &image_path, &[0, 1, 2].into()).unwrap();
        assert_eq!(label.data.len(), image.data.len());
    }
}

#[test]
fn predictions_land_on_the_original_grid() {
    let Some(torso) = shared("CT_torso") else { return };
    let path = torso.join("label.nii.gz");
    let label = scan::read_labels(&path).unwrap();
    let turn = Orientation::to_canonical(&label.grid);
    let (data, _) = turn.apply(&label.data, label.grid.shape_zyx).unwrap();
    let canonical = turn.apply_to_grid(&label.grid);
    let (fine, grid) = resample::nearest(&data, &canonical, [1.5, 1.5, 1.5]).unwrap();
    let back = resample::nearest_to_grid(&fine, &grid, &canonical).unwrap();
    let (back, _) = turn.invert().apply(&back, canonical.shape_zyx).unwrap();
    assert_eq!(back, label.data);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("torso.seg.nii.gz");
    nifti::write_labels_like(&out, &back, &path).unwrap();
    let again = scan::read_labels(&out).unwrap();
    assert_eq!((again.grid, again.data), (label.grid, label.data));
    let [again, own] = [&out, &path].map(|path| nifti::read_header(path).unwrap().0);
    assert_eq!((again.pixdim, again.sform_code), (own.pixdim, own.sform_code));
}

#[test]
fn electron_microscopy_keeps_its_ids() {
    let Some(path) = shared("EM_ssTEM/sample_vnc.h5") else { return };
    let stack = hdf5::read_cremi(&path).unwrap();
    assert_eq!(stack.info.shape_zyx, [20, 1024, 1024]);
    assert_eq!(stack.info.resolution_zyx_nm, [50.0, 4.6, 4.6]);
    assert_eq!(stack.other_labels, ["mitochondria"]);
    let neurons = stack.neuron_ids.unwrap();
    assert_eq!(neurons.on_raw_grid(&stack.info, hdf5::NOT_ANNOTATED).unwrap(), neurons.data);
    assert!(neurons.counts().len() > 2);
    let file = hdf5::CremiFile::open(&path).unwrap();
    assert_eq!(file.read_raw_slab(7..9).unwrap(), stack.raw[7 << 20..9 << 20]);
    let mut raw: Vec<f32> = stack.raw.iter().map(|v| f32::from(*v)).collect();
    volume::intensity::normalise(&IntensityRule::EmScale, &mut raw, 1).unwrap();
    assert!(raw.iter().all(|v| (0.0..=1.0).contains(v)));
}

#[test]
fn missing_files_are_named() {
    let error = scan::read_image("no/such/volume.nii.gz").unwrap_err();
    assert!(matches!(error, VolumeError::Io(_)));
    assert!(error.to_string().contains("no/such/volume.nii.gz"), "{error}");
}
