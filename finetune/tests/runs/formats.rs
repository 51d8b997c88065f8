//! `finetune predict` from and to formats beside NIfTI.

use crate::predict::images;
use crate::support::{Study, run, text};
use data_manifests::phantom::Kind;
use patches::stack::{Numbers, StackArray, label_group};
use std::path::Path;
use volume::hdf5::CremiFile;
use volume::nifti::{self, ImageType};
use volume::{Grid, scan};

#[test]
fn an_image_in_nrrd_is_predicted_as_in_nifti() {
    let study = Study::new(Kind::Ct);
    study.model();
    let file = &images(&study, "imagesTs")[0];
    let scan::Image { grid, data, .. } = scan::read_image(file).unwrap();
    let [z, y, x] = grid.shape_zyx;
    let column = |i: usize| format!("({},{},{})", grid.affine[0][i], grid.affine[1][i], grid.affine[2][i]);
    let header = format!(
        "NRRD0004\ntype: float\ndimension: 3\nspace: RAS\nsizes: {x} {y} {z}\nendian: little\nencoding: raw\n\
         space directions: {} {} {}\nspace origin: {}\ndata file: scan.raw\n",
        column(0),
        column(1),
        column(2),
        column(3)
    );
    let folder = study.path("scans");
    fs_err::create_dir(&folder).unwrap();
    let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs_err::write(folder.join("scan.raw"), bytes).unwrap();
    fs_err::write(folder.join("scan.nhdr"), header).unwrap();
    study.predict("of-nifti", &[file], &[]).expect(0);
    study.predict("of-nrrd", &[&folder], &[]).expect(0);
    study.verified("of-nrrd");
    let name = file.file_name().unwrap().to_str().unwrap();
    let [a, b] = [format!("of-nifti/{name}"), "of-nrrd/scan.nii.gz".to_owned()]
        .map(|map| scan::read_labels(study.path(&map)).unwrap());
    assert!(volume::same_geometry(&a.grid, &b.grid) < 1e-3);
    assert!(a.data == b.data && a.data.iter().any(|label| *label != a.data[0]));
    // both files are inputs, and other voxels another input
    let inputs = study.json("of-nrrd/manifest.json")["inputs"].to_string();
    assert!(inputs.contains("$RAW/scan.nhdr") && inputs.contains("$RAW/scan.raw"), "{inputs}");
}

#[test]
fn stacks_in_hdf5_become_nifti() {
    let study = Study::new(Kind::Em);
    study.model();
    let raw = study.raw();
    study.predict("predictions", &[&raw], &[]).expect(0);
    study.verified("predictions");
    let table = study.table("predictions");
    assert_eq!(table.len(), 1);
    let [part, file, image, label] = table.values().next().unwrap();
    assert_eq!(part, "val");
    assert_eq!(*label, format!("{image}#mitochondria"));
    let (header, grid, _) = nifti::read_header(study.path("predictions").join(file)).unwrap();
    let stack = raw.join(image.strip_prefix("$RAW/").unwrap());
    let expected = volume::hdf5::CremiFile::open(&stack).unwrap().raw().grid().unwrap();
    assert_eq!((grid.shape_zyx, header.dims.len()), (expected.shape_zyx, 3));
    assert!(volume::same_geometry(&grid, &expected) < 1e-6);
    study.predict("given", &[&stack], &[]).expect(0);
    let [a, b] = ["predictions", "given"].map(|out| study.bytes(&format!("{out}/{file}")));
    assert!(a == b);
}

/// An image in OME-Zarr 0.4: Zarr 2, one chunk without compression.
fn write_zarr(path: &Path, voxels: &[u8], grid: &Grid) {
    let [z, y, x] = grid.spacing_zyx_nm();
    let space = |name: &str| serde_json::json!({"name": name, "type": "space", "unit": "nanometer"});
    let attributes = serde_json::json!({"multiscales": [{
        "version": "0.4",
        "axes": [space("z"), space("y"), space("x")],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [z, y, x]}]}],
    }]});
    let array = serde_json::json!({
        "zarr_format": 2, "shape": grid.shape_zyx, "chunks": grid.shape_zyx, "dtype": "|u1", "compressor": null,
        "fill_value": 0, "order": "C", "filters": null, "dimension_separator": "/",
    });
    fs_err::create_dir_all(path.join("0/0/0")).unwrap();
    fs_err::write(path.join(".zgroup"), "{\"zarr_format\": 2}").unwrap();
    fs_err::write(path.join(".zattrs"), attributes.to_string()).unwrap();
    fs_err::write(path.join("0/.zarray"), array.to_string()).unwrap();
    fs_err::write(path.join("0/0/0/0"), voxels).unwrap();
}

#[test]
fn an_image_in_ome_zarr_is_predicted_as_in_nifti() {
    let study = Study::new(Kind::Em);
    study.model();
    let raw = study.raw();
    let mut stacks = fs_err::read_dir(&raw).unwrap().map(|entry| entry.unwrap().path());
    let stack = stacks.find(|path| CremiFile::open(path).is_ok()).unwrap();
    let stack = CremiFile::open(stack).unwrap();
    let grid = stack.raw().grid().unwrap();
    let voxels = stack.read_raw_slab(0..grid.shape_zyx[0]).unwrap();
    let [nifti, zarr] = ["nifti/scan.nii.gz", "zarr/scan.zarr"].map(|name| study.path(name));
    for file in [&nifti, &zarr] {
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    }
    let floats: Vec<f32> = voxels.iter().map(|value| f32::from(*value)).collect();
    nifti::write_image(&nifti, &floats, 1, &grid, ImageType::F32).unwrap();
    write_zarr(&zarr, &voxels, &grid);
    study.predict("of-nifti", &[&nifti], &[]).expect(0);
    study.predict("of-zarr", &[&zarr], &[]).expect(0);
    study.verified("of-zarr");
    let [a, b] =
        ["of-nifti", "of-zarr"].map(|out| scan::read_labels(study.path(out).join("scan.nii.gz")).unwrap());
    assert_eq!(a.grid.shape_zyx, b.grid.shape_zyx);
    assert!(volume::same_geometry(&a.grid, &b.grid) < 1e-6);
    assert!(a.data == b.data && a.data.iter().any(|label| *label != a.data[0]));
}

#[test]
fn stacks_become_hdf5_when_asked_and_scans_do_not() {
    let study = Study::new(Kind::Em);
    study.model();
    let raw = study.raw();
    study.predict("maps", &[&raw], &[]).expect(0);
    study.predict("stacks", &[&raw], &["--format", "hdf5"]).expect(0);
    study.verified("stacks");
    let (maps, stacks) = (study.table("maps"), study.table("stacks"));
    assert!(!stacks.is_empty() && maps.keys().eq(stacks.keys()));
    for (id, [_, file, ..]) in &stacks {
        assert!(file.ends_with(".h5"), "{file}");
        let stack = CremiFile::open(study.path("stacks").join(file)).unwrap().read_labels("classes").unwrap();
        let map = scan::read_labels(study.path("maps").join(&maps[id][1])).unwrap();
        assert_eq!(stack.info.shape_zyx, map.grid.shape_zyx);
        assert!(stack.data.iter().eq(map.data.iter().map(|v| u64::from(*v)).collect::<Vec<_>>().iter()));
        let spacing = map.grid.spacing_zyx_nm();
        assert!(stack.info.resolution_zyx_nm.iter().zip(spacing).all(|(a, b)| (a - b).abs() < 1e-2));
    }
    // and OME-Zarr has the same, each map as a directory that the manifest lists as one
    study.predict("zarr-maps", &[&raw], &["--format", "zarr"]).expect(0);
    for (id, [_, file, ..]) in &study.table("zarr-maps") {
        assert!(file.ends_with(".zarr"), "{file}");
        let group = label_group(&study.path("zarr-maps").join(file), "classes");
        let array = StackArray::open(&group).unwrap();
        let map = scan::read_labels(study.path("maps").join(&maps[id][1])).unwrap();
        let shape = array.info().shape_zyx;
        assert_eq!((shape, array.numbers()), (map.grid.shape_zyx, Numbers::U8));
        let found = array.read_ids([0; 3], shape).unwrap();
        assert!(found.iter().zip(&map.data).all(|(a, b)| *a == u64::from(*b)), "{id}");
    }
    assert_eq!(data_manifests::verify::verify(&study.path("zarr-maps")).unwrap(), Vec::<String>::new());
    let outputs = study.json("zarr-maps/manifest.json")["outputs"].clone();
    let listed = outputs.as_array().unwrap().iter();
    let listed =
        listed.filter(|o| o["role"] == "predictions").map(|o| o["path"].as_str().unwrap().to_owned());
    let listed: Vec<String> = listed.collect();
    assert!(listed.len() == stacks.len() && listed.iter().all(|path| path.ends_with(".zarr/")), "{listed:?}");
    // an interrupted run keeps what is whole, and makes the rest again
    let kept = study.path("zarr-maps").join(&listed[0]);
    let when = || fs_err::metadata(kept.join("labels/classes/0/zarr.json")).unwrap().modified().unwrap();
    let before = when();
    if let Some(other) = listed.get(1) {
        fs_err::remove_dir_all(study.path("zarr-maps").join(other)).unwrap();
    }
    let manifest = study.bytes("zarr-maps/predictions.csv");
    fs_err::remove_file(study.path("zarr-maps/manifest.json")).unwrap();
    study.predict("zarr-maps", &[&raw], &["--format", "zarr"]).expect(0);
    assert!(when() == before && study.bytes("zarr-maps/predictions.csv") == manifest);
    // a clean-up is chosen from either
    let model = study.path("model");
    let choice = |format: &str| {
        let (predictions, out) = (study.path(format), study.path(&format!("{format}.json")));
        study.predict(format, &[&raw], &["--cases", "val", "--format", format]).expect(0);
        let words = ["clean-up", "--model", text(&model), "--predictions", text(&predictions)];
        run(&[&words[..], &["--references", text(&raw), "--out", text(&out)]].concat()).expect(0);
        study.json(&format!("{format}.json"))["tried"].clone()
    };
    assert_eq!(choice("nifti"), choice("hdf5"));
    assert_eq!(choice("nifti"), choice("zarr"));
    // another format is other work
    study.predict("stacks", &[&raw], &[]).expect(0);
    assert!(study.verified("stacks").iter().all(|file| !file.ends_with(".h5")));

    let scans = Study::new(Kind::Ct);
    scans.model();
    let said = scans.predict("stacks", &[&scans.raw()], &["--format", "hdf5"]).expect(1);
    assert!(said.contains("E427") && said.contains("--format nifti"), "{said}");
}
