//! MetaImage, NRRD and folders of images without labels.

use crate::support::{Task, noise, said, tree};
use data_manifests::cases::{self, CaseRow, CaseStatus};
use data_manifests::descriptor::{Raw, TableCase};
use patches::Region;
use stage::ExitStatus;
use std::path::Path;

const SHAPE: [usize; 3] = [20, 24, 28];

/// The scan as MetaImage: voxels behind the header.
fn mha(path: &Path, kind: &str, voxels: &[u8]) {
    let [z, y, x] = SHAPE;
    let header = format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n\
         TransformMatrix = -1 0 0 0 -1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = {x} {y} {z}\n\
         ElementType = {kind}\nElementDataFile = LOCAL\n"
    );
    fs_err::write(path, [header.as_bytes(), voxels].concat()).unwrap();
}

/// The scan as NRRD: voxels in a file beside the header.
fn nhdr(path: &Path, kind: &str, voxels: &[u8]) {
    let [z, y, x] = SHAPE;
    let data = path.with_extension("raw");
    fs_err::write(&data, voxels).unwrap();
    let data = data.file_name().unwrap().to_string_lossy().into_owned();
    let header = format!(
        "NRRD0004\ntype: {kind}\ndimension: 3\nspace: right-anterior-superior\nsizes: {x} {y} {z}\nendian: little\n\
         encoding: raw\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\ndata file: {data}\n"
    );
    fs_err::write(path, header).unwrap();
}

/// One scan three times: NIfTI, MetaImage and NRRD.
fn task() -> Task {
    let mut task = Task::new();
    let (image, labels) = noise(3, SHAPE);
    let grid = volume::Grid::from_spacing(SHAPE, [1.0; 3], [0.0; 3]).unwrap();
    task.case("nifti", &grid, 1, &image, &labels);
    let floats: Vec<u8> = image.iter().flat_map(|v| v.to_le_bytes()).collect();
    let bytes: Vec<u8> = labels.iter().map(|v| *v as u8).collect();
    mha(&task.raw().join("imagesTr/meta.mha"), "MET_FLOAT", &floats);
    mha(&task.raw().join("labelsTr/meta.mha"), "MET_UCHAR", &bytes);
    nhdr(&task.raw().join("imagesTr/nrrd.nhdr"), "float", &floats);
    nhdr(&task.raw().join("labelsTr/nrrd.nhdr"), "uchar", &bytes);
    task.describe(|descriptor| {
        let case = |id: &str, file: &str| TableCase {
            id: id.into(),
            subject: None,
            image: format!("imagesTr/{file}"),
            label: Some(format!("labelsTr/{file}")),
        };
        descriptor.raw = Raw::Table {
            folder: "x".into(),
            file: None,
            cases: vec![case("nifti", "nifti.nii.gz"), case("meta", "meta.mha"), case("nrrd", "nrrd.nhdr")],
        };
    });
    task
}

#[test]
fn every_format_gives_the_same_shards() {
    let task = task();
    task.run_cleanly(&[]);
    let read = |id: &str| {
        let case = task.open(id);
        let shape_zyx = case.record().shape_zyx;
        let labels = case.read_label(&Region::whole(shape_zyx)).unwrap();
        (case.record().affine, case.read_image(&Region::whole(shape_zyx)).unwrap(), labels)
    };
    let expected = read("nifti");
    for id in ["meta", "nrrd"] {
        assert!(read(id) == expected, "{id}");
    }
    // through temporary files the same bytes
    let streamed = task.file("streamed");
    let (status, messages) = task.run(&["--out", streamed.to_str().unwrap(), "--max-ram", "0.0001"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(messages.iter().any(|m| m.code == "W160"), "{}", said(&messages));
    assert_eq!(tree(&streamed.join("cases")), tree(&task.out().join("cases")));

    // the file beside a header is an input: another one makes its case anew
    let voxels = task.raw().join("imagesTr/nrrd.raw");
    let mut bytes = fs_err::read(&voxels).unwrap();
    let middle = (SHAPE[0] / 2 * SHAPE[1] * SHAPE[2] + SHAPE[1] / 2 * SHAPE[2] + SHAPE[2] / 2) * 4;
    bytes[middle..middle + 4].copy_from_slice(&77.0_f32.to_le_bytes());
    fs_err::write(&voxels, &bytes).unwrap();
    let (code, said) = task.process(&[]);
    assert_eq!((code, task.counts()), (0, [1, 2, 0]), "{said}");

    // where it is gone, finished shards stay, and a new run names the case
    fs_err::remove_file(&voxels).unwrap();
    let (code, text) = task.process(&[]);
    assert!(code == 1 && text.contains("E167 1 finished cases lack raw files now"), "{text}");
    let (code, text) = task.process(&["--out", task.file("new").to_str().unwrap()]);
    assert_eq!(code, 3, "{text}");
    let text = text.replace(task.raw().to_str().unwrap(), "[RAW]");
    let line = text.lines().find(|line| line.starts_with("E1")).unwrap();
    insta::assert_snapshot!(line, @"E193 case nrrd: the label has no image. labelsTr/nrrd.nhdr is there, imagesTr/nrrd.raw is not. Fetch the missing file, or take the case off the data set's list.");
}

#[test]
fn info_tells_the_format() {
    let task = task();
    for (file, format, geometry) in
        [("meta.mha", "MetaImage", "TransformMatrix"), ("nrrd.nhdr", "NRRD", "space directions")]
    {
        let (code, out, _) = task.ask(&["info", &format!("raw/imagesTr/{file}"), "--json"]);
        assert_eq!(code, 0);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        let volume = &json["volumes"][0];
        assert_eq!(
            (volume["format"].as_str(), volume["geometry"]["source"].as_str()),
            (Some(format), Some(geometry))
        );
        assert_eq!(
            (volume["stored_type"].as_str(), volume["axis_codes"].as_str()),
            (Some("float32 little-endian"), Some("RAS"))
        );
        let (code, out, _) = task.ask(&["info", &format!("raw/imagesTr/{file}")]);
        assert!(code == 0 && out.contains(geometry), "{out}");
    }
}

#[test]
fn images_without_labels_become_shards() {
    let task = task();
    fs_err::create_dir_all(task.raw().join("labelsTr/hidden")).unwrap();
    task.describe(|descriptor| {
        descriptor.raw = Raw::Images {
            folder: "x".into(),
            images: vec!["imagesTr/*".into()],
            exclude: Vec::new(),
            subject: None,
        };
        (descriptor.labels, descriptor.tolerance) = (None, None);
    });
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done, "{}", said(&messages));
    let rows: Vec<CaseRow> = cases::from_csv(&task.out().join("cases.csv")).unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.label.as_str(), row.status)).collect();
    assert_eq!(
        found,
        ["imagesTr_meta", "imagesTr_nifti", "imagesTr_nrrd"].map(|id| (id, "", CaseStatus::Done))
    );
}
