//! Where `score` finds label maps: folders of several formats, and tables of pairs.

use crate::world::{SHAPE, World, errors, grid, labels, put_shards, run};
use data_manifests::descriptor::{LabelKind, Raw};
use data_manifests::{Descriptor, verify};
use patches::{LabelType, LabelVoxels};
use stage::{Context, ExitStatus};
use std::process::Command;
use test_peers::{python, run_script};
use volume::hdf5::{LabelStack, StackInfo, write_cremi};
use volume::scan::read_labels;

/// Label maps in CREMI's layout, with the spacing of the raw data.
fn put_hdf5(world: &World, file: &str, names: &[&str], values: &[u8]) {
    let info = |name: &str| StackInfo {
        name: name.into(),
        shape_zyx: SHAPE,
        resolution_zyx_nm: [2e6, 1e6, 1e6],
        offset_zyx_nm: [0.0; 3],
    };
    let stack =
        |name: &&str| LabelStack { info: info(name), data: values.iter().map(|v| u64::from(*v)).collect() };
    let path = world.path(file);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let stacks: Vec<LabelStack> = names.iter().map(stack).collect();
    write_cremi(&path, &vec![9; values.len()], &info("raw"), &stacks).unwrap();
}

/// Scores two folders.
fn folders(world: &World, references: &str, predictions: &str) -> (anyhow::Result<ExitStatus>, Context) {
    let [references, predictions, out] =
        [references, predictions, "scores"].map(|p| world.path(p).display().to_string());
    let words = ["score", "--references", &references, "--predictions", &predictions];
    run(&[&words[..], &["--dataset", "msd04-hippocampus", "--out", &out]].concat())
}

/// Scores a table that lies beside the folders.
fn table(world: &World, rows: &str, extra: &[&str]) -> (anyhow::Result<ExitStatus>, Context) {
    fs_err::write(world.path("pairs.csv"), rows).unwrap();
    let [pairs, out] = ["pairs.csv", "scores"].map(|p| world.path(p).display().to_string());
    let words = ["score", "--pairs", &pairs, "--dataset", "msd04-hippocampus", "--out", &out];
    run(&[&words[..], extra].concat())
}

fn metrics(world: &World) -> String {
    fs_err::read_to_string(world.path("scores/metrics.csv")).unwrap()
}

/// The rows of the raw NIfTI files.
fn expected(world: &World) -> String {
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
    metrics(world)
}

/// A label map as NRRD with its voxels in a file beside the header.
fn put_nhdr(world: &World, folder: &str, id: &str, values: &[u32]) {
    let folder = world.path(folder);
    fs_err::create_dir_all(&folder).unwrap();
    let [z, y, x] = SHAPE;
    let affine = grid().affine;
    let column = |i: usize| format!("({},{},{})", affine[0][i], affine[1][i], affine[2][i]);
    let header = format!(
        "NRRD0004\ntype: uchar\ndimension: 3\nspace: RAS\nsizes: {x} {y} {z}\nencoding: raw\nspace directions: {} {} {}\n\
         space origin: {}\ndata file: {id}.raw\n",
        column(0),
        column(1),
        column(2),
        column(3)
    );
    fs_err::write(folder.join(format!("{id}.nhdr")), header).unwrap();
    let bytes: Vec<u8> = values.iter().map(|value| *value as u8).collect();
    fs_err::write(folder.join(format!("{id}.raw")), bytes).unwrap();
}

#[test]
fn files_of_voxels_beside_headers_are_inputs() {
    let world = World::new();
    let nifti = expected(&world);
    for (from, to) in [("predictions", "new"), ("raw/labelsTr", "references")] {
        for id in ["a", "b", "c"] {
            let map = read_labels(world.path(&format!("{from}/{id}.nii.gz"))).unwrap();
            put_nhdr(&world, to, id, &map.data);
        }
    }
    fs_err::remove_dir_all(world.path("scores")).unwrap();
    assert_eq!(folders(&world, "references", "new").0.unwrap(), ExitStatus::Done);
    assert_eq!(metrics(&world), nifti);
    assert!(verify::verify(&world.path("scores")).unwrap().is_empty());
    // other voxels below the same header are another input, of either side
    for part in ["new/a.raw", "references/b.raw"] {
        let before = metrics(&world);
        fs_err::write(world.path(part), vec![0; SHAPE.iter().product()]).unwrap();
        assert_eq!(folders(&world, "references", "new").0.unwrap(), ExitStatus::Done);
        assert_ne!(metrics(&world), before, "{part}");
    }
}

#[test]
fn label_maps_of_zarr_python_are_scored_as_those_of_nifti() {
    let Some(python) = python("zarr, numpy") else { return };
    let world = World::new();
    let nifti = expected(&world);
    let folder = world.path("zarr");
    fs_err::create_dir_all(&folder).unwrap();
    for id in ["a", "b", "c"] {
        let map = read_labels(world.path(&format!("predictions/{id}.nii.gz"))).unwrap().data;
        let bytes: Vec<u8> = map.iter().map(|value| u8::try_from(*value).unwrap()).collect();
        fs_err::write(folder.join(format!("{id}.raw")), bytes).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/label_zarr.py");
    let place = |place: [f64; 3]| format!("{place:?}");
    let [x, y, z] = grid().world([0.0; 3]);
    let mut command = Command::new(python);
    command.args(["-W", "ignore", script]).arg(&folder);
    command.args([place(grid().spacing_zyx_mm()), place([z, y, x]), format!("{SHAPE:?}")]);
    run_script(command.args(["a", "b", "c"])).unwrap();
    assert!(folder.join("a.zarr/labels/classes/0/.zarray").is_file());
    let (status, context) = folders(&world, "raw", "zarr");
    assert_eq!(status.unwrap(), ExitStatus::Done, "{:?}", errors(&context));
    assert_eq!(metrics(&world), nifti);
    // one of them by its name, in a table
    let rows = "case,reference,prediction\na,raw/labelsTr/a.nii.gz,zarr/a.zarr#classes\n";
    assert_eq!(table(&world, rows, &[]).0.unwrap(), ExitStatus::Done);
    let of_a = |text: &str| {
        text.lines().filter(|line| line.starts_with("a,")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of_a(&metrics(&world)), of_a(&nifti));
}

#[test]
fn a_plain_folder_is_scored_for_a_data_set_of_any_layout() {
    let world = World::new();
    let nifti = expected(&world);
    fs_err::create_dir_all(world.path("plain")).unwrap();
    for id in ["a", "b", "c"] {
        let file = format!("{id}.nii.gz");
        fs_err::copy(world.path(&format!("raw/labelsTr/{file}")), world.path(&format!("plain/{file}")))
            .unwrap();
    }
    let mut descriptor = Descriptor::find("msd04-hippocampus").unwrap();
    for raw in [Raw::Msd { folder: "x".into() }, Raw::Nnunet { folder: "x".into() }] {
        descriptor.raw = raw;
        fs_err::write(world.path("own.toml"), toml::to_string(&descriptor).unwrap()).unwrap();
        let [references, predictions, dataset, out] =
            ["plain", "predictions", "own.toml", "scores"].map(|p| world.path(p).display().to_string());
        let words = ["score", "--references", &references, "--predictions", &predictions];
        let (status, context) = run(&[&words[..], &["--dataset", &dataset, "--out", &out]].concat());
        assert_eq!(status.unwrap(), ExitStatus::Done, "{:?}", errors(&context));
        assert_eq!(metrics(&world), nifti);
    }
}

#[test]
fn folders_of_hdf5_and_of_shards_are_scored_as_those_of_nifti() {
    let world = World::new();
    let nifti = expected(&world);
    let guess = |id: &str| {
        let mut guess = labels(if id == "b" { 6 } else { 5 });
        if id == "c" {
            guess.iter_mut().filter(|v| **v == 2).for_each(|v| *v = 0);
        }
        guess
    };
    for id in ["a", "b", "c"] {
        put_hdf5(&world, &format!("hdf5/references/{id}.h5"), &["organs"], &labels(5));
        put_hdf5(&world, &format!("hdf5/predictions/{id}.hdf"), &["mine"], &guess(id));
        for (folder, values) in [("references", labels(5)), ("predictions", guess(id))] {
            let wide: Vec<u32> = values.iter().map(|v| u32::from(*v)).collect();
            let case = world.path(&format!("shards/{folder}/{id}"));
            let labels = (LabelKind::Semantic, LabelType::U8, LabelVoxels::Narrow(&wide));
            put_shards(&case, &grid(), Some(labels));
        }
    }
    for format in ["hdf5", "shards"] {
        let (status, context) =
            folders(&world, &format!("{format}/references"), &format!("{format}/predictions"));
        assert_eq!(status.unwrap(), ExitStatus::Done, "{format}: {:?}", errors(&context));
        assert_eq!(metrics(&world), nifti, "{format}");
        assert!(verify::verify(&world.path("scores")).unwrap().is_empty());
        let (_, context) = folders(&world, &format!("{format}/references"), &format!("{format}/predictions"));
        assert!(context.messages().iter().any(|m| m.code == "I500"), "{format} was scored twice");
    }
    // a case without labels among those with some
    put_shards(&world.path("shards/references/a2"), &grid(), None);
    fs_err::rename(world.path("shards/predictions/b"), world.path("shards/predictions/a2")).unwrap();
    fs_err::remove_dir_all(world.path("shards/references/b")).unwrap();
    let (status, context) = folders(&world, "shards/references", "shards/predictions");
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    let said = world.portable(&errors(&context).join("\n"));
    insta::assert_snapshot!(said, @"E506 case a2: a case in shards has no labels. DIR/shards/references/a2. Leave it out, or give the folder of a labelled case.");
}

#[test]
fn a_table_pairs_maps_of_any_format_and_draws_those_with_images() {
    let world = World::new();
    let nifti = expected(&world);
    put_hdf5(&world, "maps.h5", &["organs", "mine"], &labels(5));
    let rows = "case,reference,prediction,image\n\
        b,raw/labelsTr/b.nii.gz,predictions/b.nii.gz,raw/imagesTr/b.nii.gz\n\
        a,maps.h5#organs,maps.h5#mine,\n\
        c,raw/labelsTr/c.nii.gz,predictions/c.nii.gz,raw/imagesTr/c.nii.gz\n";
    let (status, context) = table(&world, rows, &[]);
    assert_eq!(status.unwrap(), ExitStatus::Done, "{:?}", errors(&context));
    assert_eq!(metrics(&world), nifti);
    let summary = world.summary();
    let names: Vec<_> = summary
        .metric_per_case
        .iter()
        .map(|case| (case.reference_file.as_str(), case.prediction_file.as_deref().unwrap()))
        .collect();
    assert_eq!(names[0], ("$RAW/maps.h5#organs", "maps.h5#mine"));
    assert_eq!(names[1], ("$RAW/raw/labelsTr/b.nii.gz", "predictions/b.nii.gz"));
    let drawn: Vec<_> = summary.gtgm.overlays.iter().map(|o| o.case.as_str()).collect();
    assert_eq!(drawn, ["b", "c"]);
    // another table is another input
    let fewer: String = rows.lines().take(2).map(|line| format!("{line}\n")).collect();
    let (status, context) = table(&world, &fewer, &[]);
    assert_eq!(status.unwrap(), ExitStatus::Done, "{:?}", errors(&context));
    assert_eq!(metrics(&world).lines().count(), 1 + 2 * 4);
}

#[test]
fn what_a_table_lacks_is_named() {
    let world = World::new();
    let head = "case,reference,prediction\n";
    let whole = "a,raw/labelsTr/a.nii.gz,predictions/a.nii.gz\n";
    let (status, context) =
        table(&world, &format!("{head}{whole}z,raw/z.nii.gz,predictions/a.nii.gz\n"), &[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    let said = world.portable(&errors(&context).join("\n"));
    assert!(
        said.starts_with("E506 case z: the reference of this case is missing")
            && said.contains("DIR/raw/z.nii.gz"),
        "{said}"
    );
    // a prediction that is not there, or not named
    let missing = format!("{head}{whole}b,raw/labelsTr/b.nii.gz,none.nii.gz\nc,raw/labelsTr/c.nii.gz,\n");
    let error = table(&world, &missing, &[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E501 2 of 3 references have no prediction (first: b)"), "{error}");
    assert!(error.contains("none.nii.gz, which is not there"), "{error}");
    assert_eq!(table(&world, &missing, &["--missing", "worst"]).0.unwrap(), ExitStatus::Done);
    assert_eq!(world.summary().gtgm.cases.missing, 2);
    for (rows, what) in [
        (format!("{head}{whole}{whole}"), "the case a is listed twice"),
        (head.to_owned(), "this table lists no case"),
        ("id,truth\na,b\n".to_owned(), "missing field `case`"),
    ] {
        let error = table(&world, &rows, &[]).0.unwrap_err().to_string();
        assert!(
            error.starts_with("E506") && error.contains(what) && error.contains("case,reference,prediction"),
            "{error}"
        );
    }
}

#[test]
fn ambiguous_maps_are_refused() {
    let world = World::new();
    put_hdf5(&world, "references/a.h5", &["organs", "other"], &labels(5));
    put_hdf5(&world, "guesses/a.h5", &["organs"], &labels(5));
    let (status, context) = folders(&world, "references", "guesses");
    assert!(status.unwrap_err().to_string().starts_with("E507"));
    let said = errors(&context).join("\n");
    assert!(
        said.starts_with("E508 case a: this HDF5 file holds several label maps: organs, other"),
        "{said}"
    );
    assert!(said.contains("FILE.h5#NAME"), "{said}");
    put_hdf5(&world, "guesses/a.hdf", &["organs"], &labels(5));
    let error = folders(&world, "references", "guesses").0.unwrap_err().to_string();
    assert!(error.starts_with("E506 two label maps are of the case a"), "{error}");
}

#[test]
fn a_case_of_a_table_cannot_lead_out_of_the_output() {
    let world = World::new();
    let rows = "case,reference,prediction\n../c,raw/labelsTr/a.nii.gz,predictions/a.nii.gz\n";
    let error = table(&world, rows, &[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E506 '../c' cannot be the name of a case"), "{error}");
}
