//! `finetune predict --probabilities`.

use crate::support::{Study, text};
use crate::targets::with_regions;
use data_manifests::phantom::Kind;
use patches::stack::label_group;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_peers::{python, run_script};
use volume::nifti::{self, ImageType};
use volume::scan;
use volume::scan::Image;
use volume::{Grid, Orientation, crop};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/runs/probabilities.py");

/// nibabel, SimpleITK, h5py and zarr-python find the label map in the probabilities.
fn assert_read_back(out: &Path, id: &str, ending: &str) {
    let Some(python) = python("h5py, nibabel, SimpleITK, zarr") else { return };
    let files = [format!("{id}{ending}"), format!("{id}.probabilities{ending}"), "probabilities.json".into()];
    let _said = run_script(Command::new(python).arg(SCRIPT).args(files.map(|file| out.join(file))));
}

fn first_image(study: &Study) -> Image {
    let mut files: Vec<PathBuf> =
        fs_err::read_dir(study.raw().join("imagesTs")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    scan::read_image(&files[0]).unwrap()
}

/// The same anatomy with other voxels, axes and directions, in a frame of air that is cut off before prediction.
fn another_scan(study: &Study) -> PathBuf {
    let source = first_image(study);
    let upright = Orientation::to_canonical(&source.grid);
    let (data, shape) = upright.apply(&source.data, source.grid.shape_zyx).unwrap();
    let [z, y, x] = upright.apply_to_grid(&source.grid).spacing_zyx_mm();
    let framed = shape.map(|n| n + 7);
    let inside = crop::BoundingBox { start_zyx: [3; 3], end_zyx: shape.map(|n| n + 3) };
    let air = data.iter().copied().fold(f32::INFINITY, f32::min);
    let data = crop::uncrop(&data, 1, framed, &inside, air).unwrap();
    // stored x runs down, y to the right, z to the back; voxels a third larger or smaller
    let affine = [
        [0.0, 0.7 * x, 0.0, -31.0],
        [0.0, 0.0, -1.3 * y, 12.5],
        [-0.8 * z, 0.0, 0.0, 90.25],
        [0.0, 0.0, 0.0, 1.0],
    ];
    let grid = Grid::new([framed[1], framed[2], framed[0]], affine).unwrap();
    let (stored, stored_shape) = Orientation::to_canonical(&grid).invert().apply(&data, framed).unwrap();
    assert_eq!(stored_shape, grid.shape_zyx);
    let path = study.path("scan.nii.gz");
    nifti::write_image(&path, &stored, 1, &grid, ImageType::F32).unwrap();
    path
}

/// The first of the highest channels at each voxel.
fn arg_max(image: &Image) -> Vec<u32> {
    let voxels = image.data.len() / image.channels;
    (0..voxels)
        .map(|i| {
            let channels = image.data[i..].iter().step_by(voxels).zip(0..);
            channels.fold((f32::NEG_INFINITY, 0), |best, (v, c)| if *v > best.0 { (*v, c) } else { best }).1
        })
        .collect()
}

#[test]
fn the_label_map_is_the_arg_max_on_another_grid() {
    let study = Study::new(Kind::Ct);
    study.model();
    let scan = another_scan(&study);
    study.predict("plain", &[&scan], &[]).expect(0);
    let labels = study.bytes("plain/scan.nii.gz");
    for (out, more) in [("floats", &[][..]), ("bytes", &["--probability-kind", "uint8"])] {
        study.predict(out, &[&scan], &[&["--probabilities"], more].concat()).expect(0);
        study.verified(out);
        assert!(study.bytes(&format!("{out}/scan.nii.gz")) == labels, "{out}: another label map");
        let found = scan::read_image(study.path(out).join("scan.probabilities.nii.gz")).unwrap();
        let map = scan::read_labels(study.path(out).join("scan.nii.gz")).unwrap();
        assert_eq!((found.channels, found.grid), (3, map.grid));
        assert!(arg_max(&found) == map.data, "{out}");
        assert!(map.data.iter().any(|v| *v != map.data[0]), "one class everywhere says nothing");
        // the frame is no part of what the network saw: background for certain
        let voxels = map.data.len();
        assert_eq!([0, 1, 2].map(|c| found.data[c * voxels]), [1.0, 0.0, 0.0]);
        let [z, y, x] = map.grid.shape_zyx;
        let middle = (z / 2 * y + y / 2) * x + x / 2;
        assert!((0..3).all(|c| (0.001..0.999).contains(&found.data[c * voxels + middle])), "{out}");
        assert_read_back(&study.path(out), "scan", ".nii.gz");
        let manifest = study.json(&format!("{out}/manifest.json"));
        let role = |path: &str| {
            let outputs = manifest["outputs"].as_array().unwrap();
            outputs.iter().find(|output| output["path"] == path).unwrap()["role"].clone()
        };
        assert_eq!(role("scan.probabilities.nii.gz"), "probabilities");
        assert_eq!(
            (role("scan.nii.gz"), role("probabilities.json")),
            ("predictions".into(), "channels".into())
        );
        let table = fs_err::read_to_string(study.path(out).join("predictions.csv")).unwrap();
        assert!(
            table.contains("label,probabilities\n") && table.contains(",scan.probabilities.nii.gz\n"),
            "{table}"
        );
    }
    let [floats, bytes] =
        ["floats", "bytes"].map(|out| study.bytes(&format!("{out}/scan.probabilities.nii.gz")).len());
    assert!(3 * bytes < floats, "{bytes} and {floats} bytes");
    // both mirrored and of two models they are those of the averaged scores
    let two = study.path("two");
    let model = study.path("model");
    let words =
        ["predict", "--model", text(&model), text(&model), "--input", text(&scan), "--out", text(&two)];
    crate::support::run(&[&words[..], &["--mirror", "--probabilities"]].concat()).expect(0);
    assert_read_back(&two, "scan", ".nii.gz");
}

#[test]
fn regions_are_painted_where_they_are_above_a_half() {
    let study = with_regions();
    study.train("model", 20, &["--from-scratch", "--lr", "3e-3", "--validate-every", "0"]).expect(0);
    for (out, kind) in [("floats", "float32"), ("bytes", "uint8")] {
        let more = ["--cases", "val", "--probabilities", "--probability-kind", kind];
        study.predict(out, &[&study.raw()], &more).expect(0);
        let table = study.table(out);
        let (id, [_, file, ..]) = table.iter().next().unwrap();
        let map = scan::read_labels(study.path(out).join(file)).unwrap();
        let found = scan::read_image(study.path(out).join(format!("{id}.probabilities.nii.gz"))).unwrap();
        assert_eq!(found.channels, 2);
        let voxels = map.data.len();
        let painted = (0..voxels).map(|i| match [found.data[i] > 0.5, found.data[voxels + i] > 0.5] {
            [_, true] => 2,
            [true, false] => 1,
            [false, false] => 0,
        });
        assert!(painted.eq(map.data.iter().copied()), "{out}");
        assert_read_back(&study.path(out), id, ".nii.gz");
    }
    let described = study.json("bytes/probabilities.json");
    assert_eq!(described["function"], "sigmoid");
    assert_eq!(
        described["channels"],
        serde_json::json!([
            { "channel": 0, "name": "whole", "value": 1, "classes": [1, 2] },
            { "channel": 1, "name": "inner", "value": 2, "classes": [2] },
        ])
    );
}

#[test]
fn stacks_have_them_in_their_own_format() {
    let study = Study::new(Kind::Em);
    study.model();
    for (format, ending) in [("hdf5", ".h5"), ("zarr", ".zarr")] {
        for kind in ["float32", "uint8"] {
            let out = format!("{format}-{kind}");
            let more = ["--format", format, "--probabilities", "--probability-kind", kind];
            study.predict(&out, &[&study.raw()], &[&more[..], &["--cases", "val"]].concat()).expect(0);
            study.verified(&out);
            let table = study.table(&out);
            let (id, [_, file, ..]) = table.iter().next().unwrap();
            assert_eq!(*file, format!("{id}{ending}"));
            let beside = study.path(&out).join(format!("{id}.probabilities{ending}"));
            assert!(beside.exists() && !label_group(&beside, "classes").exists());
            assert_read_back(&study.path(&out), id, ending);
        }
    }
}

#[test]
fn a_run_that_goes_on_makes_what_is_missing() {
    let study = Study::new(Kind::Ct);
    study.model();
    let raw = study.raw();
    let settings = ["--probabilities"];
    study.predict("predictions", &[&raw], &settings).expect(0);
    let names = study.verified("predictions");
    let all = |names: &[String]| -> Vec<Vec<u8>> {
        let kept = names.iter().filter(|name| *name != "report.json");
        kept.map(|name| study.bytes(&format!("predictions/{name}"))).collect()
    };
    let before = all(&names);
    assert!(study.predict("predictions", &[&raw], &settings).expect(0).contains("Nothing to do"));
    let (first, second) = {
        let mut ids = study.table("predictions").into_keys();
        (ids.next().unwrap(), ids.next().unwrap())
    };
    let file = |name: String| study.path("predictions").join(name);
    let written = |name: String| fs_err::metadata(file(name)).unwrap().modified().unwrap();
    // interrupted before the probabilities of one case
    let kept = written(format!("{second}.probabilities.nii.gz"));
    fs_err::remove_file(file(format!("{first}.probabilities.nii.gz"))).unwrap();
    fs_err::remove_file(file("manifest.json".to_owned())).unwrap();
    study.predict("predictions", &[&raw], &settings).expect(0);
    assert_eq!(written(format!("{second}.probabilities.nii.gz")), kept);
    assert_eq!(study.verified("predictions"), names);
    assert!(all(&names) == before, "other bytes");

    // without them, and in other numbers, it is other work
    study.predict("predictions", &[&raw], &[]).expect(0);
    let left = study.verified("predictions");
    assert!(left.len() < names.len() && !left.iter().any(|name| name.contains("probabilities")), "{left:?}");
    study.predict("predictions", &[&raw], &["--probabilities", "--probability-kind", "uint8"]).expect(0);
    assert_eq!(study.verified("predictions"), names);
    assert!(all(&names) != before);

    let said = study.predict("other", &[&raw], &["--probability-kind", "uint8"]).expect(1);
    assert!(said.contains("E448 --probability-kind is of probabilities, and none are written"), "{said}");
}

#[test]
fn affinities_are_probabilities_already() {
    let study = Study::neurons();
    study.train("model", 1, &["--from-scratch", "--validate-every", "0", "--batch", "1"]).expect(0);
    let said = study.predict("out", &[&study.raw()], &["--probabilities"]).expect(1);
    assert!(said.contains("E448 a model of objects predicts affinities"), "{said}");
}
