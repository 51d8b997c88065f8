//! Scores and reports of whole runs.

use crate::world::{SHAPE, World, errors, grid, labels, put_labels, run};
use data_manifests::{Manifest, verify};
use evaluate::summary::SummaryFile;
use serde_json::json;
use stage::{Context, ExitStatus, Severity};
use volume::Grid;
use volume::hdf5::{LabelStack, StackInfo, write_cremi};
use volume::nifti::{ImageType, write_image};

#[test]
fn scores_and_report_through_manifests() {
    let world = World::new();
    world.seal();
    let (status, _) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let table = fs_err::read_to_string(world.path("scores/metrics.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "case,class,metric,definition,value");
    assert_eq!(lines.len(), 1 + 3 * 2 * 4);
    for row in [
        "a,1,Dice,dice,1",
        "b,1,Dice,dice,0.75",
        "b,1,IoU,iou,0.6",
        "b,2,HD95,hd95:surfel,1",
        "a,2,NSD,nsd:surfel@1mm,1",
        "c,2,Dice,dice,0",
        "c,2,HD95,hd95:surfel,inf",
    ] {
        assert!(lines.contains(&row), "{row} is not in\n{table}");
    }
    let summary = world.summary();
    assert_eq!(summary.mean["1"]["Dice"], Some((1.0 + 0.75 + 1.0) / 3.0));
    assert_eq!(summary.metric_per_case[0].reference_file, "$RAW/labelsTr/a.nii.gz");
    let class = &summary.gtgm.classes[1];
    assert_eq!(
        (class.name.as_str(), class.presence.missed, class.metrics[2].infinite),
        ("posterior hippocampus", 1, 1)
    );
    let ranks: Vec<_> = summary.gtgm.overlays.iter().map(|o| (o.rank.as_str(), o.case.as_str())).collect();
    assert_eq!(ranks, [("best", "a"), ("median", "b"), ("worst", "c")]);
    assert!(verify::verify(&world.path("scores")).unwrap().is_empty());

    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(context.messages().iter().any(|m| m.code == "I500"), "a second run has nothing to do");

    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    let (status, context) = run(&["report", "--runs", &scores, "--out", &out]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert_eq!(context.told(Severity::Warning), 0);
    let html = fs_err::read_to_string(world.path("report/report.html")).unwrap();
    for part in [
        "resenc, pretrained, 10 % of labels, seed 3",
        "<td>anterior hippocampus</td>",
        "0.917<small>SD 0.",
        "n = 3",
        "1 infinite",
        "<h3>Volume of anterior hippocampus (Bland–Altman): predicted less reference, ml</h3>",
        "<h3>Volume of posterior hippocampus (Bland–Altman): predicted less reference, ml</h3>",
        // beside the mean over classes
        "cases&#39; own means: SD 0.",
        "data:image/png;base64,",
        "Fine-tuning: loss",
        "Fine-tuning: Dice on validation cases",
        "Pretraining: image-text loss by view",
        "within 1.00 mm",
        "nsd:surfel@1mm",
        "../encoder/manifest.json",
        "GTGM",
        ">unchanged<",
    ] {
        assert!(html.contains(part), "{part} is not in the report");
    }
    assert!(
        !html.contains("src=\"http") && !html.contains("<script") && !html.contains("<link"),
        "self-contained"
    );
    assert!(!html.contains("<small>["), "three cases have no interval");
    let tolerance =
        "tolerance unconfirmed: attributed to Antonelli et al. 2022, not compared with the publication";
    assert!(html.contains(&format!("1.00 mm ({tolerance})")) && !html.contains("from memory"));
    // letters of pictures mean nothing
    let words: String =
        html.split("base64,").map(|part| part.split_once('"').map_or(part, |p| p.1)).collect();
    assert!(!words.contains("NaN"));
    assert!(verify::verify(&world.path("report")).unwrap().is_empty());
    let again = run(&["report", "--runs", &scores, "--out", &out]).0;
    assert_eq!(again.unwrap(), ExitStatus::Done);
    assert_eq!(html, fs_err::read_to_string(world.path("report/report.html")).unwrap());
    assert_eq!(run(&["show", "--report", &out, "--classes"]).0.unwrap(), ExitStatus::Done);
}

#[test]
fn a_stage_that_ran_again_is_seen() {
    let world = World::new();
    world.seal();
    world.score(&[]).0.unwrap();
    let train =
        Manifest::new("train", "0.1.0", "finetune", &json!({"network": "resenc", "seed": 4}), Vec::new())
            .unwrap();
    train.finish(&world.path("model"), |_| "record").unwrap();
    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    let (status, context) = run(&["report", "--runs", &scores, "--out", &out]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let told = context.messages();
    let mut changed = told.iter().filter(|m| m.code == "W511");
    let message = changed.next().unwrap().to_string();
    assert!(changed.next().is_none());
    insta::assert_snapshot!(message, @"W511 a stage behind these scores was written again after it was used. ../model/manifest.json (model). Run the stages after it again for a report that fits.");
    let html = fs_err::read_to_string(world.path("report/report.html")).unwrap();
    assert!(html.contains("changed since"));
    assert!(html.contains("<li>a stage behind these scores was written again since: train (model)</li>"));
    // said once of a stage that two runs share
    let again = world.path("again").display().to_string();
    let [raw, predictions] = ["raw", "predictions"].map(|p| world.path(p).display().to_string());
    let words = ["score", "--references", &raw, "--predictions", &predictions, "--out", &again];
    run(&[&words[..], &["--dataset", "msd04-hippocampus", "--metrics", "dice"]].concat()).0.unwrap();
    let (status, context) = run(&["report", "--runs", &scores, &again, "--out", &out]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert_eq!(context.messages().iter().filter(|m| m.code == "W511").count(), 1);
}

#[test]
fn a_missing_prediction_is_never_skipped_silently() {
    let world = World::new();
    world.seal();
    fs_err::remove_file(world.path("predictions/b.nii.gz")).unwrap();
    let error = world.score(&[]).0.unwrap_err();
    insta::assert_snapshot!(world.portable(&error.to_string()), @"E501 1 of 3 references have no prediction (first: b). DIR/predictions. Predict them, or use --missing worst to count them as empty or --missing skip to leave them out.");
    assert!(!world.path("scores/manifest.json").exists());

    assert_eq!(world.score(&["--missing", "worst"]).0.unwrap(), ExitStatus::Done);
    let summary = world.summary();
    assert_eq!(summary.mean["1"]["Dice"], Some(2.0 / 3.0));
    assert_eq!((summary.gtgm.cases.missing, summary.metric_per_case[1].prediction_file.clone()), (1, None));

    assert_eq!(world.score(&["--missing", "skip"]).0.unwrap(), ExitStatus::Done);
    let summary = world.summary();
    assert_eq!((summary.mean["1"]["Dice"], summary.gtgm.cases.scored), (Some(1.0), 2));
}

#[test]
fn flaws_of_other_files_are_told_beside_a_missing_prediction() {
    let world = World::new();
    fs_err::remove_file(world.path("predictions/b.nii.gz")).unwrap();
    let mut moved = grid();
    moved.affine[0][3] += 4.0;
    put_labels(&world.path("predictions/a.nii.gz"), &labels(5), &moved);
    let reference = world.path("raw/labelsTr/b.nii.gz");
    let whole = fs_err::read(&reference).unwrap();
    fs_err::write(&reference, &whole[..whole.len() / 2]).unwrap();
    let mut strange = labels(5);
    strange[0] = 7;
    put_labels(&world.path("predictions/c.nii.gz"), &strange, &grid());
    let (status, context) = world.score(&[]);
    assert!(status.unwrap_err().to_string().starts_with("E501 1 of 3 references"));
    let told = errors(&context);
    let starts: Vec<&str> = told.iter().map(|text| text.split(':').next().unwrap()).collect();
    assert_eq!(starts, ["E503 case a", "E101 case b", "E110 case c"], "{told:?}");
    assert!(!world.path("scores").exists());
}

#[test]
fn finished_work_that_cannot_be_written_to_is_found_and_other_work_refused() {
    let world = World::new();
    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    let report = || run(&["report", "--runs", &scores, "--out", &out]);
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
    assert_eq!(report().0.unwrap(), ExitStatus::Done);
    let before = fs_err::read(world.path("report/report.html")).unwrap();
    // rights mean nothing to root: a lock that is a folder stands for a directory that nobody may write to
    for directory in ["scores", "report"] {
        fs_err::remove_file(world.path(directory).join(".lock")).unwrap();
        fs_err::create_dir(world.path(directory).join(".lock")).unwrap();
    }
    for (status, context) in [world.score(&[]), report()] {
        assert_eq!(status.unwrap(), ExitStatus::Done);
        assert!(context.messages().iter().any(|m| m.code == "I500"));
    }
    let refused = world.score(&["--policy", "nnunet"]).0.unwrap_err().to_string();
    assert!(refused.starts_with("E163"), "{refused}");
    // a report that is not as it was written is made again
    fs_err::write(world.path("report/results.json"), "{}").unwrap();
    let refused = report().0.unwrap_err().to_string();
    assert!(refused.starts_with("E163"), "{refused}");
    fs_err::remove_dir(world.path("report/.lock")).unwrap();
    assert_eq!(report().0.unwrap(), ExitStatus::Done);
    assert_eq!(fs_err::read(world.path("report/report.html")).unwrap(), before);
    assert!(verify::verify(&world.path("report")).unwrap().is_empty());
}

#[test]
fn a_failed_prediction_is_missing_though_the_table_does_not_list_it() {
    let world = World::new();
    fs_err::remove_file(world.path("predictions/b.nii.gz")).unwrap();
    world.seal();
    let error = world.score(&[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E501 1 of 3 references have no prediction (first: b)"), "{error}");
}

#[test]
fn a_bad_case_is_reported_and_the_others_go_on() {
    let world = World::new();
    let mut moved = grid();
    moved.affine[0][3] += 4.0;
    put_labels(&world.path("predictions/a.nii.gz"), &labels(5), &moved);
    let cropped = Grid::from_spacing([12, 14, 15], [2.0, 1.0, 1.0], [-5.0, 3.0, 8.0]).unwrap();
    put_labels(&world.path("predictions/b.nii.gz"), &[0; 12 * 14 * 15], &cropped);
    world.seal();
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    let messages: Vec<String> = errors(&context).iter().map(|m| world.portable(m)).collect();
    insta::assert_snapshot!(messages.join("\n"), @r"
    E503 case a: grids differ by 4.000 mm at a corner (z, y, x): prediction 12x14x16 @2,1,1 mm, reference 12x14x16 @2,1,1 mm. DIR/predictions/a.nii.gz and DIR/raw/labelsTr/a.nii.gz. The prediction lost or changed the image's affine. Write the prediction on the grid of the image that the reference was drawn on.
    E503 case b: shapes differ (z, y, x): prediction 12x14x15 @2,1,1 mm, reference 12x14x16 @2,1,1 mm. DIR/predictions/b.nii.gz and DIR/raw/labelsTr/b.nii.gz. The prediction was made on a cropped or resampled image. Write the prediction on the grid of the image that the reference was drawn on.
    ");
    let manifest = Manifest::load(&world.path("scores"), "score").unwrap();
    assert_eq!((manifest.counts["scored"], manifest.counts["failed"]), (1, 2));
    // the failed cases are named again by the next run
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Partial);
}

#[test]
fn changed_predictions_and_undeclared_values_are_refused() {
    let world = World::new();
    world.seal();
    put_labels(&world.path("predictions/a.nii.gz"), &labels(6), &grid());
    let mut odd = labels(5);
    odd[0] = 9;
    put_labels(&world.path("raw/labelsTr/b.nii.gz"), &odd, &grid());
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    let messages = errors(&context);
    assert!(
        messages[0].starts_with("E505 case a: the prediction was changed after it was written"),
        "{messages:?}"
    );
    assert!(messages[1].starts_with("E110 case b:") && messages[1].contains("9 (1 voxel)"), "{messages:?}");
}

#[test]
fn probabilities_beside_label_maps_are_no_predictions() {
    let world = World::new();
    let channels = |value: f32| vec![value; 3 * SHAPE.iter().product::<usize>()];
    for id in ["a", "b", "c"] {
        let path = world.path(&format!("predictions/{id}.probabilities.nii.gz"));
        write_image(path, &channels(0.3), 3, &grid(), ImageType::F32).unwrap();
    }
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(context.messages().iter().all(|m| m.code != "W502"), "{:?}", context.messages());
    assert_eq!(world.summary().gtgm.cases.scored, 3);
    // nor are they where the table names the maps
    world.seal();
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
    assert_eq!(world.summary().gtgm.cases.scored, 3);
    // a case of that name has its own
    fs_err::remove_file(world.path("predictions/manifest.json")).unwrap();
    fs_err::remove_file(world.path("predictions/predictions.csv")).unwrap();
    fs_err::remove_file(world.path("predictions/a.nii.gz")).unwrap();
    let error = world.score(&[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E501 1 of 3 references have no prediction (first: a)"), "{error}");
}

#[test]
fn any_folder_of_label_maps_will_do() {
    let world = World::new();
    fs_err::write(world.path("predictions/._a.nii.gz"), b"resource fork").unwrap();
    put_labels(&world.path("predictions/z.nii.gz"), &labels(5), &grid());
    let codes = |context: &Context| context.messages().iter().map(|m| m.code).collect::<Vec<_>>();
    // with images beside the references
    let (status, context) = world.score(&["--tolerance-mm", "0.5"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(codes(&context).contains(&"W102") && codes(&context).contains(&"W502"), "{:?}", codes(&context));
    let summary = world.summary();
    assert_eq!((summary.gtgm.dataset.tolerance_mm, summary.gtgm.overlays.len()), (0.5, 3));
    assert!(summary.gtgm.definitions.iter().any(|d| d.id == "nsd:surfel@0.5mm"));
    // labels only
    fs_err::rename(world.path("raw/labelsTr"), world.path("labels")).unwrap();
    fs_err::remove_dir_all(world.path("raw")).unwrap();
    fs_err::rename(world.path("labels"), world.path("raw")).unwrap();
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(codes(&context).contains(&"I505"));
    assert!(world.summary().gtgm.overlays.is_empty() && !world.path("scores/overlays").exists());
    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    assert_eq!(run(&["report", "--runs", &scores, "--out", &out]).0.unwrap(), ExitStatus::Done);
}

#[test]
fn classes_in_cremi_files_are_scored_on_the_nanometre_grid() {
    let world = World::new();
    let info = |name: &str| StackInfo {
        name: name.to_owned(),
        shape_zyx: SHAPE,
        resolution_zyx_nm: [50.0, 4.6, 4.6],
        offset_zyx_nm: [0.0; 3],
    };
    let mitochondria: Vec<u64> = labels(5).iter().map(|v| u64::from(*v == 1)).collect();
    let raw: Vec<u8> = (0..mitochondria.len()).map(|i| (i % 251) as u8).collect();
    let stack = LabelStack { info: info("mitochondria"), data: mitochondria };
    write_cremi(world.path("raw/sample_vnc.h5"), &raw, &info("raw"), &[stack]).unwrap();
    let grid = info("raw").grid().unwrap();
    for id in ["a", "b", "c"] {
        fs_err::remove_file(world.path(&format!("predictions/{id}.nii.gz"))).unwrap();
    }
    let guess: Vec<u8> = labels(6).iter().map(|v| u8::from(*v == 1)).collect();
    put_labels(&world.path("predictions/sample_vnc.nii.gz"), &guess, &grid);
    let descriptor =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../data-manifests/datasets/examples/em-sstem.toml");
    let [raw, predictions, out] = ["raw", "predictions", "em"].map(|p| world.path(p).display().to_string());
    let score = |raw: &str| {
        let words = ["score", "--references", raw, "--predictions", &predictions];
        let words = [&words[..], &["--dataset", descriptor, "--out", &out]].concat();
        assert_eq!(run(&words).0.unwrap(), ExitStatus::Done);
    };
    score(&raw);
    let summary: SummaryFile =
        serde_json::from_slice(&fs_err::read(world.path("em/summary.json")).unwrap()).unwrap();
    let metrics = &summary.gtgm.classes[0].metrics;
    assert_eq!(metrics[0].mean, Some(0.75));
    assert!((metrics[2].mean.unwrap() - 4.6e-6).abs() < 1e-11, "{:?}", metrics[2]);
    assert_eq!(summary.gtgm.overlays.len(), 1);
    // EM references that are plain label maps
    fs_err::create_dir_all(world.path("plain")).unwrap();
    fs_err::rename(world.path("predictions/sample_vnc.nii.gz"), world.path("plain/sample_vnc.nii.gz"))
        .unwrap();
    fs_err::copy(world.path("plain/sample_vnc.nii.gz"), world.path("predictions/sample_vnc.nii.gz")).unwrap();
    score(&world.path("plain").display().to_string());
}

#[test]
fn the_command_line_answers() {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("evaluate");
    command.args(["score", "--help"]).assert().success();
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("evaluate");
    command.args(["score", "--missing", "never"]).assert().code(2);
    let directory = tempfile::tempdir().unwrap();
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("evaluate");
    let output = command.arg("show").arg("--report").arg(directory.path()).assert().code(1);
    let text = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(text.starts_with("E010 no finished stage here."), "{text}");
}
