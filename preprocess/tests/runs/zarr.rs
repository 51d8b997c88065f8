//! Images and labels in OME-Zarr, written by zarr-python.

use crate::support::{Task, said, tree};
use data_manifests::Descriptor;
use data_manifests::cases::{self, CaseRow};
use data_manifests::descriptor::Raw;
use patches::Region;
use stage::ExitStatus;
use std::path::Path;
use std::process::Command;
use test_peers::{python, run_script};

const SHAPE: [usize; 3] = [6, 40, 48];
/// Voxel i is 1 + i * 37 % 255; labels are its remainder by 5 beyond 2^53.
const SCRIPT: &str = "
import sys, numpy as np, zarr
def put(group, axes, scale, version, unit='nanometer'):
    axes = [{'name': a, 'type': 'channel'} if a == 'c' else {'name': a, 'type': 'space', 'unit': unit} for a in axes]
    image = [{'version': version, 'axes': axes, 'datasets': [{'path': '0', 'coordinateTransformations': [{'type': 'scale', 'scale': scale}]}]}]
    if version == '0.4': group.attrs['multiscales'] = image
    else: group.attrs['ome'] = {'version': version, 'multiscales': image}
shape = (6, 40, 48)
a = (1 + np.arange(np.prod(shape)) * 37 % 255).reshape(shape).astype('u1')
ids = (a.astype('u8') % 5) + np.uint64(2**53)
for name, version, zarr_format in [('one.zarr', '0.4', 2), ('two.ome.zarr', '0.5', 3)]:
    group = zarr.open_group(sys.argv[1] + '/' + name, mode='w', zarr_format=zarr_format)
    put(group, 'czyx', [1, 40, 4, 4], version)
    group.create_array('0', data=a[None], chunks=(1, 4, 16, 16), chunk_key_encoding={'name': 'v2', 'separator': '/'} if zarr_format == 2 else None)
    labels = group.create_group('labels').create_group('cells')
    put(labels, 'zyx', [40, 4, 4], version)
    if version == '0.4': labels.attrs['image-label'] = {}
    else: labels.attrs['ome'] = {**labels.attrs['ome'], 'image-label': {}}
    labels.create_array('0', data=ids, chunks=(2, 20, 20))
";

fn task(edit: impl FnOnce(&mut Descriptor)) -> Option<Task> {
    let python = python("zarr, numpy")?;
    let task = Task::new();
    fs_err::create_dir(task.raw().join("em")).unwrap();
    let folder = task.raw().join("em");
    run_script(Command::new(python).args(["-W", "ignore", "-c", SCRIPT]).arg(folder))?;
    let descriptor = Descriptor::find("cremi-a").unwrap();
    let mut descriptor =
        Descriptor { name: "test".into(), train_cases: None, test_cases: None, ..descriptor };
    descriptor.raw = Raw::Stack {
        folder: "x".into(),
        images: Some("em".into()),
        labels: Some("#cells".into()),
        spacing_zyx: None,
        unit: None,
    };
    descriptor.grid.spacing_zyx = [40.0, 4.0, 4.0];
    edit(&mut descriptor);
    fs_err::write(task.file("dataset.toml"), toml::to_string(&descriptor).unwrap()).unwrap();
    Some(task)
}

fn value(i: usize) -> u64 {
    1 + (i as u64 * 37) % 255
}

fn check(task: &Task, id: &str, first: usize, shape_zyx: [usize; 3]) {
    let case = task.open(id);
    assert_eq!(case.record().shape_zyx, shape_zyx);
    let begin = first * SHAPE[1] * SHAPE[2];
    let image = case.read_image(&Region::whole(shape_zyx)).unwrap();
    assert_eq!(image.len(), shape_zyx.iter().product::<usize>());
    let near = |(i, found): (usize, &f32)| (found - value(begin + i) as f32 / 255.0).abs() < 1e-6;
    assert!(image.iter().enumerate().all(near));
    let ids = case.read_label_wide(&Region::whole(shape_zyx)).unwrap();
    assert!(ids.iter().enumerate().all(|(i, id)| *id == value(begin + i) % 5 + (1 << 53)));
}

#[test]
fn both_versions_reach_the_shards_with_their_labels() {
    let Some(task) = task(|_| {}) else { return };
    task.run_cleanly(&[]);
    for id in ["one", "two"] {
        check(&task, id, 0, SHAPE);
    }
    let rows: Vec<CaseRow> = cases::from_csv(&task.out().join("cases.csv")).unwrap();
    assert_eq!(
        (rows[0].image.as_str(), rows[1].label.as_str()),
        ("$RAW/em/one.zarr", "$RAW/em/two.ome.zarr#cells")
    );
    assert_eq!(rows[0].spacing, "0.00004x0.000004x0.000004");
    // an array is one input, whatever number of files it has
    let manifest = data_manifests::Manifest::load(&task.out(), "preprocess").unwrap();
    let paths: Vec<&str> =
        manifest.inputs.iter().filter(|i| i.role == "raw").map(|i| i.path.as_str()).collect();
    for path in ["$RAW/em/one.zarr/.zattrs", "$RAW/em/one.zarr/0/", "$RAW/em/two.ome.zarr/labels/cells/0/"] {
        assert!(paths.contains(&path), "{paths:?}");
    }
    assert_eq!(paths.len(), 2 * (2 + 1) + 2 * (1 + 1), "{paths:?}");

    // in temporary files the same bytes
    let streamed = task.file("streamed");
    let (status, messages) = task.run(&["--out", streamed.to_str().unwrap(), "--max-ram", "0.0001"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(messages.iter().any(|m| m.code == "W160"), "{}", said(&messages));
    let cases = |out: &Path| tree(&out.join("cases"));
    assert_eq!(cases(&streamed), cases(&task.out()));

    // what is there is kept; what was read before and is another now is made anew
    let (status, messages) = task.run(&[]);
    assert_eq!((status.unwrap(), said(&messages)), (ExitStatus::Done, String::new()));
    fs_err::remove_file(task.raw().join("em/one.zarr/0/0/1/2/2")).unwrap();
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(said(&messages), @r"
        W145 case one: em/one.zarr: 1 of 18 chunks are not there and were read as 0. Right where the image is empty; else the copy is incomplete.
        I170 1 case reused, 1 recomputed (raw files changed: em/one.zarr/0/).
        I191 2 cases are smaller than the patch of 18x160x160. one (6x40x48), two (6x40x48). Training pads each channel with its smallest value, half on either side.
        ");
}

#[test]
fn tables_name_parts_and_levels() {
    let Some(task) = task(|descriptor| {
        descriptor.raw = Raw::Table { folder: "x".into(), file: Some("cases.csv".into()), cases: Vec::new() };
    }) else {
        return;
    };
    let table = "id,image,label\nlow,em/one.zarr[0:2],em/one.zarr#cells[0:2]\nhigh,em/two.ome.zarr/0[1:6],em/two.ome.zarr/labels/cells/0[1:6]\n";
    fs_err::write(task.raw().join("cases.csv"), table).unwrap();
    task.run_cleanly(&[]);
    check(&task, "low", 0, [2, 40, 48]);
    check(&task, "high", 1, [5, 40, 48]);
    assert!((task.open("high").record().affine[2][3] - 40e-6).abs() < 1e-12);
    let table = "id,image,label\na,em/one.zarr,em/one.zarr#nuclei\nb,em/one.zarr[4:9],em/one.zarr#cells\nc,em/none.zarr,em/one.zarr#cells\nd,em,em/one.zarr#cells\n";
    fs_err::write(task.raw().join("cases.csv"), table).unwrap();
    let (status, messages) = task.run(&["--out", task.file("other").to_str().unwrap()]);
    assert!(status.unwrap_err().to_string().starts_with("E197"));
    insta::assert_snapshot!(said(&messages), @r"
        E192 case a: the image has no label. em/one.zarr is there, em/one.zarr/labels/nuclei is not. Fetch the missing file, or take the case off the data set's list.
        E193 case c: the label has no image. em/one.zarr is there, em/none.zarr is not. Fetch the missing file, or take the case off the data set's list.
        E199 case b: em/one.zarr: box z,y,x [4, 0, 0]..[9, 40, 48] does not lie in a volume of 6×40×48.
        E143 case d: stack em: no .tif, .tiff or .png among 2 files, e.g. one.zarr; expected a directory of slices, all TIFF or all PNG. Check the path.
        ");
}

#[test]
fn info_tells_of_an_image_and_of_its_labels() {
    let Some(task) = task(|_| {}) else { return };
    let (code, out, error) = task.ask(&["info", "raw/em/one.zarr", "raw/em/two.ome.zarr/labels/cells"]);
    assert_eq!((code, error.as_str()), (0, ""));
    insta::assert_snapshot!(out, @r"
        raw/em/one.zarr
          file      OME-Zarr, uint8, voxel size by the OME tags, 1 channel, 10.1 KiB
          shape     6x40x48 voxels (z,y,x)
          spacing   40x4x4 nm (z,y,x)
          axes      x,y,z run to RAS, by resolution
          affine        0.000004           0           0           0
                               0    0.000004           0           0
                               0           0     0.00004           0
          values    1 to 255, mean 127.96, standard deviation 73.615, 0.0 % zeros
                    percentiles 0.5 %: 2, 25 %: 64, 50 %: 128, 75 %: 192, 99.5 %: 254
          labels    no: values change from voxel to voxel (0 % of neighbours are equal)
          run       axes z,y,x are canonical: RAS of 6x40x48
        raw/em/two.ome.zarr/labels/cells
          file      OME-Zarr, uint64, voxel size by the OME tags, 1 channel, 5.7 KiB
          shape     6x40x48 voxels (z,y,x)
          spacing   40x4x4 nm (z,y,x)
          axes      x,y,z run to RAS, by resolution
          affine        0.000004           0           0           0
                               0    0.000004           0           0
                               0           0     0.00004           0
          labels    likely: a label image
                    9007199254740992         2304 voxels  20.00 %
                    9007199254740992         2304 voxels  20.00 %
                    9007199254740994         2304 voxels  20.00 %
                    9007199254740996         2304 voxels  20.00 %
                    9007199254740996         2304 voxels  20.00 %
          run       axes z,y,x are canonical: RAS of 6x40x48
        ");
    fs_err::remove_file(task.raw().join("em/one.zarr/0/0/1/2/2")).unwrap();
    let (_, out, _) = task.ask(&["info", "raw/em/one.zarr"]);
    assert!(out.contains("W145") && out.contains("1 of 18 chunks are not there"), "{out}");
    let (code, _, error) = task.ask(&["info", "raw/em"]);
    assert!(code != 0 && error.contains("E103"), "{error}");
}
