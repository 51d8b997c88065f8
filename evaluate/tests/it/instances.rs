//! `evaluate instances` over the formats that hold objects.

use crate::world::{World, errors, put_shards, run};
use data_manifests::descriptor::LabelKind;
use data_manifests::{Manifest, verify};
use evaluate::summary::SummaryFile;
use patches::stack::{Numbers, StackArray, label_group};
use patches::{LabelType, LabelVoxels};
use stage::{Context, ExitStatus};
use volume::Grid;
use volume::hdf5::{LabelFile, LabelStack, StackInfo, write_cremi};
use volume::nifti::write_labels;

const SHAPE: [usize; 3] = [4, 12, 15];
const RESOLUTION_NM: [f64; 3] = [40.0, 4.0, 4.0];

/// Two neurons side by side along x from `at`, 0 in the last two columns.
fn ids(at: usize) -> Vec<u64> {
    (0..SHAPE.iter().product())
        .map(|i: usize| match i % SHAPE[2] {
            x if x < at => 1 << 40,
            x if x < 13 => 7,
            _ => 0,
        })
        .collect()
}

fn info(name: &str) -> StackInfo {
    StackInfo {
        name: name.into(),
        shape_zyx: SHAPE,
        resolution_zyx_nm: RESOLUTION_NM,
        offset_zyx_nm: [0.0; 3],
    }
}

fn put(world: &World, file: &str, data: Vec<u64>) -> String {
    let path = world.path(file);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let raw = vec![9; data.len()];
    let stack = LabelStack { info: info("neuron_ids"), data };
    write_cremi(&path, &raw, &info("raw"), &[stack]).unwrap();
    format!("{}#neuron_ids", path.display())
}

fn score(
    world: &World,
    reference: &str,
    prediction: &str,
    extra: &[&str],
) -> (anyhow::Result<ExitStatus>, Context) {
    let out = world.path("em").display().to_string();
    let mut words = vec!["instances", "--references", reference, "--predictions", prediction, "--out", &out];
    words.extend(extra);
    run(&words)
}

fn rows(world: &World) -> Vec<String> {
    let table = fs_err::read_to_string(world.path("em/metrics.csv")).unwrap();
    table.lines().map(str::to_owned).collect()
}

fn value(world: &World, id: &str) -> f64 {
    let row = rows(world).into_iter().find(|row| row.split(',').nth(3) == Some(id)).unwrap();
    row.rsplit(',').next().unwrap().parse().unwrap()
}

#[test]
fn neurons_in_hdf5_and_a_report_of_them() {
    let world = World::new();
    let reference = put(&world, "sample_A.hdf", ids(6));
    let prediction = put(&world, "guess.h5", ids(7));
    let (status, context) = score(&world, &reference, &prediction, &["--dataset", "cremi-a"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let told: Vec<String> = context.messages().iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|m| m.starts_with("I507 case sample_A: contingency 0.0 M pairs")), "{told:?}");
    let table = rows(&world);
    assert_eq!(table[0], "case,class,metric,definition,value");
    assert!(table[1].starts_with("sample_A,objects,VOI,voi:cremi,"), "{table:?}");
    // of 13 columns one goes to the wrong neuron: 6 | 1 + 6 against 7 | 6
    let h = |parts: &[f64], whole: f64| parts.iter().map(|p| p * (whole / p).log2()).sum::<f64>();
    let split = h(&[1.0, 6.0], 7.0) / 13.0;
    assert!((value(&world, "voi-split:cremi") - split).abs() < 1e-12);
    assert!((value(&world, "voi:cremi") - 2.0 * split).abs() < 1e-12);
    assert!((value(&world, "ap:mean") - 1.0 * 8.0 / 10.0).abs() < 0.11, "{}", value(&world, "ap:mean"));
    assert_eq!((value(&world, "splits:1voxels"), value(&world, "merges:1voxels")), (1.0, 1.0));
    let summary: SummaryFile =
        serde_json::from_slice(&fs_err::read(world.path("em/summary.json")).unwrap()).unwrap();
    assert_eq!((summary.gtgm.dataset.name.as_str(), summary.gtgm.cases.scored), ("cremi-a", 1));
    assert_eq!(summary.metric_per_case[0].metrics["objects"]["voxels_evaluated"], 4 * 12 * 13);
    assert!(verify::verify(&world.path("em")).unwrap().is_empty());
    let (status, context) = score(&world, &reference, &prediction, &["--dataset", "cremi-a"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(context.messages().iter().any(|m| m.code == "I500"));
    // a lock that is a folder stands for a directory that nobody may write to
    fs_err::remove_file(world.path("em/.lock")).unwrap();
    fs_err::create_dir(world.path("em/.lock")).unwrap();
    let (status, context) = score(&world, &reference, &prediction, &["--dataset", "cremi-a"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(context.messages().iter().any(|m| m.code == "I500"));
    let refused = score(&world, &reference, &prediction, &["--dataset", "cremi-a", "--min-part", "2"]);
    assert!(refused.0.unwrap_err().to_string().starts_with("E163"));
    fs_err::remove_dir(world.path("em/.lock")).unwrap();
    // the only label map of a file needs no name
    let bare = |named: &str| named.split('#').next().unwrap().to_owned();
    let (status, _) = score(&world, &bare(&reference), &bare(&prediction), &["--dataset", "cremi-a"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert_eq!(rows(&world), table);
    let [scores, out] = ["em", "report"].map(|p| world.path(p).display().to_string());
    assert_eq!(run(&["report", "--runs", &scores, "--out", &out]).0.unwrap(), ExitStatus::Done);
    let html = fs_err::read_to_string(world.path("report/report.html")).unwrap();
    for part in ["voi:cremi", "ARAND", "0 in the reference is not evaluated"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("NaN") && !html.contains("Policy for empty masks"));
    let tables = fs_err::read_to_string(world.path("report/tables.md")).unwrap();
    assert!(tables.contains("## EM: VOI by share of the labels used, less is better"), "{tables}");
}

#[test]
fn objects_in_ome_zarr_score_as_those_in_hdf5() {
    let world = World::new();
    let reference = put(&world, "sample_A.hdf", ids(6));
    let directory = world.path("guess.zarr");
    fs_err::create_dir(&directory).unwrap();
    let array = StackArray::create_labels(&directory, &info("neuron_ids"), Numbers::U64).unwrap();
    array.write_ids([0; 3], SHAPE, &ids(7)).unwrap();
    let expected = {
        let prediction = put(&world, "guess.h5", ids(7));
        assert_eq!(score(&world, &reference, &prediction, &[]).0.unwrap(), ExitStatus::Done);
        rows(&world)
    };
    // the group with one label map, or that of the map
    for named in [directory.clone(), label_group(&directory, "neuron_ids")] {
        let named = named.display().to_string();
        assert_eq!(score(&world, &reference, &named, &[]).0.unwrap(), ExitStatus::Done);
        assert_eq!(rows(&world), expected);
    }
    fs_err::remove_file(label_group(&directory, "neuron_ids").join("zarr.json")).unwrap();
    let named = label_group(&directory, "neuron_ids").display().to_string();
    let (status, context) = score(&world, &reference, &named, &[]);
    assert!(status.is_err() || !errors(&context).is_empty());
}

#[test]
fn a_reference_that_is_one_object_is_said_to_be() {
    let world = World::new();
    // nine small objects of one voxel each, and one that is all the rest
    let leaking = (0..SHAPE.iter().product()).map(|i| if i < 9 { i as u64 + 2 } else { 1 }).collect();
    let reference = put(&world, "sample_A.hdf", leaking);
    let prediction = put(&world, "guess.h5", ids(7));
    let (status, context) = score(&world, &reference, &prediction, &["--dataset", "cremi-a"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let warning = context.messages().iter().find(|m| m.code == "W506").unwrap().to_string();
    assert!(warning.contains("one of the reference's 10 objects is 98."), "{warning}");
    assert!(warning.contains("sample_A.hdf"), "{warning}");
    // the page has it beside the numbers, without the place of the file
    let [scores, out] = ["em", "report"].map(|p| world.path(p).display().to_string());
    assert_eq!(run(&["report", "--runs", &scores, "--out", &out]).0.unwrap(), ExitStatus::Done);
    let html = fs_err::read_to_string(world.path("report/report.html")).unwrap();
    let qualified =
        html.split_once("What qualifies these numbers").unwrap().1.split_once("</section>").unwrap().0;
    assert!(qualified.contains("<li>W506 case sample_A: one of the reference"), "{qualified}");
    assert!(!qualified.contains("sample_A.hdf"), "{qualified}");
    assert!(html.contains("mean VOI, 1 case<"), "one is no plural");
    // two large ones are not
    let two = put(&world, "sample_B.hdf", ids(6));
    let (_, context) = score(&world, &two, &prediction, &["--dataset", "cremi-a"]);
    assert!(context.messages().iter().all(|m| m.code != "W506"));
}

#[test]
fn the_border_and_its_zero_are_those_of_cremi() {
    let world = World::new();
    let (reference, prediction) = (put(&world, "a.h5", ids(6)), put(&world, "b.h5", ids(7)));
    // columns 5, 6 and 12, 13 are borders; 4 nm are one pixel: 4 to 7 and 11 to 14 are left out, all mistakes with them
    assert_eq!(score(&world, &reference, &prediction, &["--border-nm", "4"]).0.unwrap(), ExitStatus::Done);
    assert_eq!((value(&world, "voi:cremi"), value(&world, "arand:cremi") < 1e-6), (0.0, true));
    let summary: SummaryFile =
        serde_json::from_slice(&fs_err::read(world.path("em/summary.json")).unwrap()).unwrap();
    let evaluated = summary.metric_per_case[0].metrics["objects"]["voxels_evaluated"].clone();
    assert_eq!(evaluated, 4 * 12 * 7);
    assert!(summary.gtgm.missing_rule.contains("0 in the reference is an object; voxels within 4 nm"));
    // without a border, 0 is an object only on request
    for (extra, columns) in [(vec![], 13), (vec!["--zero", "score"], 15)] {
        assert_eq!(score(&world, &reference, &prediction, &extra).0.unwrap(), ExitStatus::Done);
        let summary: SummaryFile =
            serde_json::from_slice(&fs_err::read(world.path("em/summary.json")).unwrap()).unwrap();
        assert_eq!(summary.metric_per_case[0].metrics["objects"]["voxels_evaluated"], 4 * 12 * columns);
    }
}

#[test]
fn nifti_and_hdf5_hold_the_same_objects() {
    let world = World::new();
    let narrow = |ids: Vec<u64>| -> Vec<u32> { ids.into_iter().map(|id| (id % 1000) as u32).collect() };
    let grid: Grid = info("raw").grid().unwrap();
    let reference = world.path("a.nii.gz");
    write_labels(&reference, &narrow(ids(6)), &grid).unwrap();
    let prediction = put(&world, "b.h5", ids(7));
    let reference = reference.display().to_string();
    assert_eq!(score(&world, &reference, &prediction, &[]).0.unwrap(), ExitStatus::Done);
    let mixed = value(&world, "cremi-score");
    let reference = put(&world, "a.h5", ids(6));
    assert_eq!(score(&world, &reference, &prediction, &[]).0.unwrap(), ExitStatus::Done);
    assert_eq!(value(&world, "cremi-score"), mixed);
}

#[test]
fn cases_of_shards_hold_the_same_objects() {
    let world = World::new();
    let case = world.path("shards/cases/a");
    let grid = info("raw").grid().unwrap();
    let labels = ids(6);
    put_shards(&case, &grid, Some((LabelKind::Instances, LabelType::U64, LabelVoxels::Wide(&labels))));
    let prediction = put(&world, "b.h5", ids(7));
    let reference = put(&world, "a.h5", ids(6));
    assert_eq!(score(&world, &reference, &prediction, &[]).0.unwrap(), ExitStatus::Done);
    let of_hdf5 = rows(&world);
    let (status, context) = score(&world, &case.display().to_string(), &prediction, &[]);
    assert_eq!(status.unwrap(), ExitStatus::Done, "{:?}", errors(&context));
    assert_eq!(rows(&world), of_hdf5);
}

#[test]
fn a_directory_of_objects_names_its_references_and_their_sections() {
    let world = World::new();
    // the reference is the last two of the raw stack's sections
    put(&world, "raw/sample.hdf", ids(6));
    let directory = world.path("neurons");
    let last = StackInfo { shape_zyx: [2, 12, 15], offset_zyx_nm: [80.0, 0.0, 0.0], ..info("neuron_ids") };
    let make = |table: &str| {
        fs_err::create_dir_all(&directory).unwrap();
        LabelFile::create(
            &directory.join("sample_val.h5"),
            "neuron_ids",
            &last,
            |file| -> volume::Result<()> { file.write([0; 3], last.shape_zyx, &ids(7)[..2 * 12 * 15]) },
        )
        .unwrap();
        fs_err::write(directory.join("instances.csv"), table).unwrap();
        let manifest = Manifest::new("instances", "1", "finetune", &(), Vec::new()).unwrap();
        manifest.finish(&directory, |_| "instances").unwrap();
    };
    let [raw, neurons] = ["raw", "neurons"].map(|name| world.path(name).display().to_string());
    make(
        "id,split,file,image,label,objects\nsample_val,val,sample_val.h5#neuron_ids,$RAW/sample.hdf[2:4],$RAW/sample.hdf#neuron_ids[2:4],2\n",
    );
    let (status, context) = score(&world, &raw, &neurons, &["--dataset", "cremi-a"]);
    assert_eq!(status.unwrap(), ExitStatus::Done, "{:?}", errors(&context));
    assert!(rows(&world)[1].starts_with("sample_val,objects,VOI,voi:cremi,"), "{:?}", rows(&world));
    assert!(value(&world, "voi:cremi") > 0.0);
    let summary: SummaryFile =
        serde_json::from_slice(&fs_err::read(world.path("em/summary.json")).unwrap()).unwrap();
    assert_eq!(summary.metric_per_case[0].metrics["objects"]["voxels"], 2 * 12 * 15);
    // its one reference may be named as such
    let (whole, made) = (format!("{raw}/sample.hdf#neuron_ids[2:4]"), value(&world, "voi:cremi"));
    score(&world, &whole, &neurons, &["--dataset", "cremi-a"]).0.unwrap();
    assert_eq!(value(&world, "voi:cremi"), made);
    let error = score(&world, &whole, &neurons, &["--split", "test"]).0.unwrap_err().to_string();
    assert!(error.starts_with("E501 the only case of these objects is one of the split val"), "{error}");
    make(
        "id,split,file,image,label,objects\na,val,sample_val.h5#neuron_ids,,$RAW/a#neuron_ids,2\nb,val,sample_val.h5#neuron_ids,,$RAW/b#neuron_ids,2\n",
    );
    let error = score(&world, &whole, &neurons, &[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E501 1 reference and 2 predictions"), "{error}");
    // what another command wrote
    let affinities = world.path("affinities");
    fs_err::create_dir(&affinities).unwrap();
    let manifest = Manifest::new("predict", "1", "finetune", &(), Vec::new()).unwrap();
    manifest.finish(&affinities, |_| "affinities").unwrap();
    let error = score(&world, &raw, &affinities.display().to_string(), &[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E010 this directory comes from another stage"), "{error}");
    // a folder of slices is a volume
    let slices = world.path("slices");
    fs_err::create_dir(&slices).unwrap();
    fs_err::write(slices.join("0.png"), "no picture").unwrap();
    let (status, context) = score(&world, &whole, &slices.display().to_string(), &[]);
    let said = errors(&context).join("\n");
    assert!(status.is_err() && said.contains("0.png") && !said.contains("E010"), "{said}");
    // other sections lie elsewhere
    make(
        "id,split,file,image,label,objects\nsample_val,val,sample_val.h5#neuron_ids,$RAW/sample.hdf[0:2],$RAW/sample.hdf#neuron_ids[0:2],2\n",
    );
    assert!(score(&world, &raw, &neurons, &[]).0.is_err());
    make("id,split,file,image,label,objects\nsample_val,given,sample_val.h5#neuron_ids,$RAW/sample.hdf,,2\n");
    let error = score(&world, &raw, &neurons, &[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E501 none of these objects has a reference"), "{error}");
}

/// Affinities of cases a, b, d and e, where b is a case for training, d's objects could not be made, and e's affinities.
fn four_volumes(world: &World) -> [String; 2] {
    for id in ["a", "b", "c", "d", "e"] {
        put(world, &format!("raw/{id}.h5"), ids(6));
        put(world, &format!("neurons/{id}.h5"), ids(7));
    }
    let row = |id: &str, split: &str| {
        format!("{id},{split},{id}.h5#neuron_ids,$RAW/{id}.h5,$RAW/{id}.h5#neuron_ids,2\n")
    };
    let head = "id,split,file,image,label,objects\n";
    let affinities = world.path("affinities");
    fs_err::create_dir(&affinities).unwrap();
    let table = [head, &row("a", "val"), &row("b", "train"), &row("d", "val")].concat();
    fs_err::write(affinities.join("predictions.csv"), table).unwrap();
    let cases = serde_json::json!({"cases": [["a", "val"], ["b", "train"], ["d", "val"], ["e", "test"]]});
    let manifest = Manifest::new("predict", "1", "finetune", &cases, Vec::new()).unwrap();
    manifest.finish(&affinities, |_| "affinities").unwrap();
    let directory = world.path("neurons");
    fs_err::write(directory.join("instances.csv"), [head, &row("a", "val"), &row("b", "train")].concat())
        .unwrap();
    let inputs = vec![Manifest::as_input("affinities", &affinities, &directory).unwrap()];
    let mut manifest = Manifest::new("instances", "1", "finetune", &(), inputs).unwrap();
    manifest.counts.insert("failed".to_owned(), 1);
    manifest.finish(&directory, |_| "instances").unwrap();
    ["raw", "neurons"].map(|name| world.path(name).display().to_string())
}

fn scored(world: &World) -> (Vec<String>, Vec<String>, [u64; 4]) {
    let bytes = fs_err::read(world.path("em/summary.json")).unwrap();
    let SummaryFile { metric_per_case, gtgm, .. } = serde_json::from_slice(&bytes).unwrap();
    let counts = gtgm.cases;
    (
        metric_per_case.into_iter().map(|case| case.case).collect(),
        gtgm.splits,
        [counts.listed, counts.scored, counts.failed, counts.missing],
    )
}

#[test]
fn cases_for_training_are_left_out_and_lost_ones_are_not_forgotten() {
    let world = World::new();
    let [raw, neurons] = four_volumes(&world);
    let error = score(&world, &raw, &neurons, &[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E501 1 of 3 references have no prediction (first: d)"), "{error}");
    // what cannot be read is told along with it
    let whole = fs_err::read(world.path("neurons/a.h5")).unwrap();
    fs_err::write(world.path("neurons/a.h5"), "no HDF5").unwrap();
    let told = errors(&score(&world, &raw, &neurons, &[]).1).join("\n");
    assert!(told.contains("E180 case a: ") && told.contains("E506 case e: "), "{told}");
    fs_err::write(world.path("neurons/a.h5"), whole).unwrap();
    // where the reference of e is, without affinities, only a data set tells
    let (status, context) = score(&world, &raw, &neurons, &["--missing", "skip"]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    assert!(
        errors(&context)[0].starts_with("E506 case e: no objects were made of this case"),
        "{:?}",
        errors(&context)
    );
    assert_eq!(scored(&world), (vec!["a".to_owned()], vec!["val".to_owned()], [3, 1, 1, 1]));
    let descriptor = world.path("stacks.toml");
    let text = fs_err::read_to_string("../data-manifests/datasets/cremi-a.toml").unwrap();
    let files = r#"files = ["a.h5", "b.h5", "c.h5", "d.h5", "e.h5"]"#;
    let (head, rest) = text.split_once("# The published split").unwrap();
    let labels = &rest[rest.find("[labels]").unwrap()..];
    let lines = head.lines().filter(|line| !line.starts_with("train_cases"));
    let lines = lines.map(|line| if line.starts_with("files = ") { files } else { line });
    let whole = [&lines.collect::<Vec<_>>().join("\n"), "\n", labels].concat();
    fs_err::write(&descriptor, whole).unwrap();
    let named = ["--dataset", descriptor.to_str().unwrap(), "--missing", "worst"];
    let (status, context) = score(&world, &raw, &neurons, &named);
    assert_eq!(status.unwrap(), ExitStatus::Done, "{:?}", errors(&context));
    let both = vec!["test".to_owned(), "val".to_owned()];
    assert_eq!(scored(&world), (["a", "d", "e"].map(str::to_owned).to_vec(), both, [3, 3, 0, 2]));
    // of nothing but zeros all objects are merged into one
    let row = |case: &str, id: &str| {
        let found = rows(&world).into_iter().find(|r| r.starts_with(&format!("{case},")) && r.contains(id));
        found.unwrap().rsplit(',').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!((row("d", ",voi-split:cremi,"), row("e", ",ap:mean,")), (0.0, 0.0));
    let part = |voxels: f64| -voxels / 13.0 * (voxels / 13.0).log2();
    assert!((row("d", ",voi-merge:cremi,") - part(6.0) - part(7.0)).abs() < 1e-12);
    // a score on what was trained on must be asked for
    score(&world, &raw, &neurons, &["--split", "train"]).0.unwrap();
    assert_eq!(scored(&world), (vec!["b".to_owned()], vec!["train".to_owned()], [1, 1, 0, 0]));
    let [scores, out] = ["em", "report"].map(|p| world.path(p).display().to_string());
    run(&["report", "--runs", &scores, "--out", &out]).0.unwrap();
    let html = fs_err::read_to_string(world.path("report/report.html")).unwrap();
    assert!(html.contains("train") && !html.contains("not stated by these predictions"));
    // without the affinities nobody knows who was lost
    fs_err::remove_dir_all(world.path("affinities")).unwrap();
    let error = score(&world, &raw, &neurons, &[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E501 objects of 1 case could not be made"), "{error}");
    let error =
        score(&world, &format!("{raw}/a.h5#neuron_ids"), &format!("{neurons}/a.h5"), &["--split", "val"]);
    assert!(
        error
            .0
            .unwrap_err()
            .to_string()
            .starts_with("E501 label maps that are named one by one have no splits")
    );
}

#[test]
fn what_cannot_be_evaluated_is_said() {
    let world = World::new();
    let text = |context: &Context| world.portable(&errors(context).join("\n"));
    let prediction = put(&world, "b.h5", ids(7));
    let nothing = put(&world, "none.h5", vec![0; SHAPE.iter().product()]);
    let (status, context) = score(&world, &nothing, &prediction, &[]);
    assert!(status.unwrap_err().to_string().starts_with("E507"));
    insta::assert_snapshot!(text(&context), @"E508 case none: no evaluable voxel: every reference voxel is background or not annotated. DIR/none.h5. Give the reference's object ids; lower --border-nm if it covers everything.");
    let reference = put(&world, "a.h5", ids(6));
    let (status, context) =
        score(&world, &reference, &prediction, &["--border-nm", "400", "--zero", "ignore"]);
    assert!(status.is_err());
    assert!(
        text(&context)
            .contains("every reference voxel is background or not annotated or within 400 nm of a border")
    );
    // one pair of two fails, the other is scored
    let out = world.path("em").display().to_string();
    let words = [
        "instances",
        "--references",
        &nothing,
        &reference,
        "--predictions",
        &prediction,
        &prediction,
        "--out",
        &out,
    ];
    assert_eq!(run(&words).0.unwrap(), ExitStatus::Partial);
    let error = run(&[
        "instances",
        "--references",
        &reference,
        &nothing,
        "--predictions",
        &prediction,
        "--out",
        &out,
    ]);
    assert!(error.0.unwrap_err().to_string().starts_with("E501 2 references and 1 prediction"));
    let error = score(&world, &reference, &prediction, &["--dataset", "msd04-hippocampus"]).0.unwrap_err();
    assert!(error.to_string().starts_with("E508 'msd04-hippocampus' has classes, not objects"), "{error}");
    let (_, context) =
        score(&world, &world.path("absent.h5#neuron_ids").display().to_string(), &prediction, &[]);
    assert!(text(&context).starts_with("E506 case absent: a label map is not there"), "{}", text(&context));
    // another grid: half the sections, or shifted by a voxel
    let mut shifted = info("neuron_ids");
    shifted.offset_zyx_nm = [0.0, 4.0, 0.0];
    let raw = StackInfo { offset_zyx_nm: shifted.offset_zyx_nm, ..info("raw") };
    let path = world.path("shifted.h5");
    write_cremi(&path, &vec![1; SHAPE.iter().product()], &raw, &[LabelStack { info: shifted, data: ids(6) }])
        .unwrap();
    let (_, context) = score(&world, &reference, &format!("{}#neuron_ids", path.display()), &[]);
    assert!(
        text(&context).starts_with(
            "E503 case a: grids differ by 4.0 nm at a corner (z, y, x): prediction 4x12x15 @40,4,4 nm"
        ),
        "{}",
        text(&context)
    );
}
