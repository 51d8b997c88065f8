//! Folders of images without labels, and of formats beside NIfTI.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::descriptor::{Modality, Raw, SubjectOf};
use data_manifests::raw::{self, Listing, Source, open};
use data_manifests::{CaseSplit, Descriptor};
use std::path::Path;
use volume::Grid;
use volume::nifti::{ImageType, write_image};

const SHAPE: [usize; 3] = [4, 5, 6];

fn image(root: &Path, name: &str) {
    let path = root.join(name);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let grid = Grid::from_spacing(SHAPE, [3.0, 1.0, 1.0], [0.0; 3]).unwrap();
    let data: Vec<f32> = (0..SHAPE.iter().product()).map(|i| (i % 7) as f32).collect();
    write_image(&path, &data, 1, &grid, ImageType::I16).unwrap();
}

/// The same scan as NRRD, whose voxels lie beside it where `detached`.
fn nrrd(root: &Path, name: &str, detached: bool) {
    let path = root.join(name);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let voxels: Vec<u8> = (0..SHAPE.iter().product::<usize>()).map(|i| (i % 7) as u8).collect();
    let data = if detached { "data file: voxels.raw\n" } else { "" };
    let header = format!(
        "NRRD0004\ntype: uchar\ndimension: 3\nspace: RAS\nsizes: 6 5 4\nencoding: raw\n{data}\
         space directions: (1,0,0) (0,1,0) (0,0,3)\nspace origin: (0,0,0)\n\n"
    );
    if detached {
        fs_err::write(path.parent().unwrap().join("voxels.raw"), voxels).unwrap();
        fs_err::write(path, header).unwrap();
    } else {
        fs_err::write(path, [header.as_bytes(), &voxels].concat()).unwrap();
    }
}

fn described(images: &[&str], exclude: &[&str], subject: Option<SubjectOf>) -> Descriptor {
    let mut descriptor = Descriptor::find("msd04-hippocampus").unwrap();
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    descriptor.raw =
        Raw::Images { folder: "scans".into(), images: owned(images), exclude: owned(exclude), subject };
    (descriptor.labels, descriptor.tolerance) = (None, None);
    (descriptor.train_cases, descriptor.test_cases) = (None, None);
    Descriptor::parse(&toml::to_string(&descriptor).unwrap(), "test").unwrap()
}

fn found(listing: &Listing) -> Vec<String> {
    listing.cases.iter().map(|case| format!("{} of {}", case.id, case.subject)).collect()
}

fn said(listing: &Listing, root: &Path) -> String {
    let lines: Vec<String> =
        listing.problems.iter().map(|p| p.to_string().replace(root.to_str().unwrap(), "[RAW]")).collect();
    lines.join("\n")
}

/// A data set in BIDS, with masks among the derivatives.
fn bids() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in [
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "derivatives/masks/sub-02_mask.nii.gz",
        ".hidden/sub-09_T1w.nii.gz",
    ] {
        image(root.path(), name);
    }
    for name in ["dataset_description.json", "participants.tsv", "sub-02/anat/sub-02_T1w.json"] {
        fs_err::write(root.path().join(name), "{}").unwrap();
    }
    root
}

#[test]
fn patterns_find_images_at_any_depth_and_their_subjects() {
    let root = bids();
    let list = |images: &[&str], exclude: &[&str], subject| {
        raw::list(&described(images, exclude, subject), root.path()).unwrap()
    };
    let listing = list(&["**/*_T1w.nii.gz"], &[], None);
    assert_eq!(
        found(&listing),
        [
            "sub-01_ses-1_anat_sub-01_ses-1_T1w of sub-01",
            "sub-01_ses-2_anat_sub-01_ses-2_T1w of sub-01",
            "sub-02_anat_sub-02_T1w of sub-02"
        ]
    );
    assert!(listing.problems.is_empty(), "{}", said(&listing, root.path()));
    assert!(listing.cases.iter().all(|case| case.label.is_none() && case.split == CaseSplit::Train));
    // all volumes but what is left out; files of other kinds are no surprise
    let listing = list(&[], &["derivatives/**"], None);
    assert_eq!((listing.cases.len(), listing.problems.len()), (4, 0));
    assert_eq!(list(&[], &[], None).cases.len(), 5);
    // a pattern of one level stays there
    let listing = list(&["sub-02/anat/*", "*.nii.gz"], &[], Some(SubjectOf::Image));
    assert_eq!(
        found(&listing),
        [
            "sub-02_anat_sub-02_T1w of sub-02_anat_sub-02_T1w",
            "sub-02_anat_sub-02_T2w of sub-02_anat_sub-02_T2w"
        ]
    );
    insta::assert_snapshot!(said(&listing, root.path()), @r"
    W109 the pattern '*.nii.gz' of 'images' finds nothing. [RAW].
    W103 no volume, and left out: 1 file. sub-02/anat/sub-02_T1w.json.
    ");
    let listing = list(&["**/*.nii.gz"], &[], Some(SubjectOf::Folder));
    assert_eq!(found(&listing)[0], "derivatives_masks_sub-02_mask of derivatives");
}

#[test]
fn folders_are_left_out_however_they_are_written() {
    let root = bids();
    for exclude in ["derivatives", "derivatives/", "./derivatives/**", "derivatives/*", "**/*_mask.nii.gz"] {
        let listing = raw::list(&described(&[], &[exclude], None), root.path()).unwrap();
        assert_eq!((listing.cases.len(), listing.problems.len()), (4, 0), "{exclude}");
    }
    let listing = raw::list(&described(&["sub-02/**"], &["no/such"], None), root.path()).unwrap();
    assert_eq!(listing.cases.len(), 2);
    assert!(said(&listing, root.path()).contains("W109 the pattern 'no/such' of 'exclude' finds nothing"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_those_that_lead_nowhere_are_named() {
    use std::os::unix::fs::symlink;
    let root = bids();
    let [anat, other] = ["sub-02/anat", "sub-03/anat"].map(|folder| root.path().join(folder));
    fs_err::create_dir_all(&other).unwrap();
    // content that was not fetched, and content that two subjects share
    symlink("../../.git/annex/objects/gone", other.join("sub-03_T1w.nii.gz")).unwrap();
    symlink(anat.join("sub-02_T1w.nii.gz"), other.join("sub-03_T2w.nii.gz")).unwrap();
    symlink(root.path(), root.path().join("again")).unwrap();
    let listing = raw::list(&described(&[], &["derivatives"], None), root.path()).unwrap();
    assert_eq!(listing.cases.len(), 5, "{:?}", found(&listing));
    assert!(found(&listing).iter().all(|case| !case.contains("again")));
    let text = said(&listing, root.path());
    let line = "E194 case sub-03_anat_sub-03_T1w: the image is missing. sub-03/anat/sub-03_T1w.nii.gz does not exist.";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("W103 reached again through links to folders, and left out: "), "{text}");
}

#[test]
fn endings_may_be_capitals_and_equal_ids_are_told_with_their_files() {
    let root = tempfile::tempdir().unwrap();
    image(root.path(), "a.nii.gz");
    fs_err::rename(root.path().join("a.nii.gz"), root.path().join("A.NII.GZ")).unwrap();
    nrrd(root.path(), "b/c.NRRD", false);
    let listing = raw::list(&described(&[], &[], None), root.path()).unwrap();
    assert_eq!(found(&listing), ["A of A", "b_c of b_c"]);
    image(root.path(), "b_c.nii.gz");
    let error = raw::list(&described(&[], &[], None), root.path()).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(root.path().to_str().unwrap(), "[RAW]"), @"E190 'b_c' is listed twice. [RAW]/b/c.NRRD and [RAW]/b_c.nii.gz. Two files have names that give one case. Rename one of them.");
}

#[test]
fn what_patterns_do_not_find_is_told() {
    let root = bids();
    fs_err::create_dir(root.path().join("dicom")).unwrap();
    fs_err::write(root.path().join("dicom/1.dcm"), "").unwrap();
    let refused = |images: &[&str]| {
        let error = raw::list(&described(images, &[], None), root.path()).unwrap_err();
        error.to_string().replace(root.path().to_str().unwrap(), "[RAW]")
    };
    let said = [refused(&["**/*_FLAIR.nii.gz"]), refused(&["**/*.json"]), refused(&["dicom/*"])];
    insta::assert_snapshot!(said.join("\n"), @r"
    E191 no image below the folder is found by **/*_FLAIR.nii.gz. [RAW]. Correct 'raw.images' in the descriptor; volumes end in .nii.gz, .nii, .nrrd, .nhdr, .mha, .mhd, .hdf5, .hdf, .h5, .tif, .tiff, .ome.zarr, .zarr.
    E191 no image below the folder is found by **/*.json. [RAW] holds dataset_description.json, sub-02/anat/sub-02_T1w.json, of which none is a volume. Correct 'raw.images' in the descriptor; volumes end in .nii.gz, .nii, .nrrd, .nhdr, .mha, .mhd, .hdf5, .hdf, .h5, .tif, .tiff, .ome.zarr, .zarr.
    E191 no image below the folder is found by dicom/*. [RAW] holds dicom/1.dcm, of which none is a volume. Convert DICOM series to NIfTI first: dcm2niix does.
    ");
    let mut descriptor = described(&[], &[], None);
    for (bad, why) in [("../*.nii", "leads out of the folder"), ("a***", "is no pattern")] {
        let Raw::Images { images, .. } = &mut descriptor.raw else { panic!() };
        *images = vec![bad.to_owned()];
        let error =
            Descriptor::parse(&toml::to_string(&descriptor).unwrap(), "test").unwrap_err().to_string();
        assert!(error.contains(&format!("raw.images: '{bad}' {why}")), "{error}");
    }
}

#[test]
fn a_folder_of_images_is_described() {
    let root = bids();
    nrrd(root.path(), "sub-03/a.nrrd", false);
    let descriptor = Descriptor::of_images(root.path(), Modality::Mri).unwrap();
    assert_eq!(
        (descriptor.channels.as_slice(), descriptor.grid.spacing_zyx),
        (&["MRI".to_owned()][..], [3.0, 1.0, 1.0])
    );
    assert_eq!(raw::list(&descriptor, root.path()).unwrap().cases.len(), 6);
    assert!(descriptor.labels.is_none() && descriptor.tolerance.is_none());
    assert!(descriptor.doubtful_modality().is_none());
    let mut labelled = descriptor;
    labelled.labels = Descriptor::find("msd04-hippocampus").unwrap().labels;
    let error = Descriptor::parse(&toml::to_string(&labelled).unwrap(), "test").unwrap_err().to_string();
    assert!(error.contains("labels: the layout 'images' has none"), "{error}");
    let error = Descriptor::of_images(&root.path().join("none"), Modality::Ct).unwrap_err().to_string();
    assert!(error.starts_with("E191 there is no such folder"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = Descriptor::of_images(empty.path(), Modality::Ct).unwrap_err().to_string();
    assert!(error.starts_with("E191 no image below the folder is found by **/*"), "{error}");
}

#[test]
fn scans_of_other_formats_are_cases_too() {
    let root = tempfile::tempdir().unwrap();
    image(root.path(), "a.nii.gz");
    nrrd(root.path(), "b.nrrd", false);
    nrrd(root.path(), "c/c.nhdr", true);
    let descriptor = described(&[], &[], None);
    let listing = raw::list(&descriptor, root.path()).unwrap();
    assert_eq!(found(&listing), ["a of a", "b of b", "c_c of c_c"]);
    let images: Vec<_> = listing.cases.iter().map(|case| open::image(&case.image).unwrap()).collect();
    for image in &images {
        assert_eq!((image.grid, &image.data), (images[0].grid, &images[0].data));
    }
    // label maps take over a header of NIfTI only; both files of a pair are inputs
    let sources: Vec<&Source> = listing.cases.iter().map(|case| &case.image).collect();
    assert_eq!(
        sources.iter().map(|source| source.nifti().is_some()).collect::<Vec<_>>(),
        [true, false, false]
    );
    let files: Vec<String> =
        sources[2].artefacts("raw", root.path()).unwrap().into_iter().map(|artefact| artefact.path).collect();
    assert_eq!(files, ["$RAW/c/c.nhdr", "$RAW/c/voxels.raw"]);
}
