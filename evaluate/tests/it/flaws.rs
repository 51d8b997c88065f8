//! Flaws of the input: each is a message that names file and remedy, and the others go on.

use crate::world::{SHAPE, World, errors, grid, labels, put_labels, run, turned};
use stage::{Context, ExitStatus, Severity};
use volume::nifti::{ImageType, write_image, write_labels};
use volume::scan::{read_image, read_labels};

fn warnings(world: &World, context: &Context) -> Vec<String> {
    let told = context.messages();
    told.iter().filter(|m| m.severity == Severity::Warning).map(|m| world.portable(&m.to_string())).collect()
}

fn infos(context: &Context, code: &str) -> Vec<String> {
    context.messages().iter().filter(|m| m.code == code).map(ToString::to_string).collect()
}

#[test]
fn predictions_without_a_reference_are_listed() {
    let world = World::new();
    put_labels(&world.path("predictions/z.nii.gz"), &labels(5), &grid());
    put_labels(&world.path("predictions/liver.nii.gz"), &labels(5), &grid());
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(warnings(&world, &context).join("\n"), @"W502 2 predictions without a reference (first: liver). DIR/raw. Check the ids when they should have one: a prediction is named as its reference.");
}

#[test]
fn numbers_that_are_none_are_not_laid_to_interpolation() {
    let world = World::new();
    let mut values: Vec<f32> = labels(5).iter().map(|value| f32::from(*value)).collect();
    values[7] = f32::NAN;
    write_image(world.path("predictions/a.nii.gz"), &values, 1, &grid(), ImageType::F32).unwrap();
    values[7] = 0.5;
    write_image(world.path("predictions/b.nii.gz"), &values, 1, &grid(), ImageType::F32).unwrap();
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    let told = errors(&context);
    assert!(told[0].starts_with("E111 case a") && told[0].contains("a network that diverged"), "{told:?}");
    assert!(!told[0].contains("interpolat"), "{told:?}");
    assert!(told[1].starts_with("E111 case b") && told[1].contains("interpolat"), "{told:?}");
}

#[test]
fn files_of_other_formats_are_counted_where_predictions_are_missing() {
    let world = World::new();
    for id in ["a", "b"] {
        fs_err::remove_file(world.path(&format!("predictions/{id}.nii.gz"))).unwrap();
        fs_err::write(world.path(&format!("predictions/{id}.mgz")), "").unwrap();
    }
    let error = world.portable(&world.score(&[]).0.unwrap_err().to_string());
    assert!(error.starts_with("E501 2 of 3 references have no prediction (first: a)"), "{error}");
    assert!(error.contains("2 files there, .mgz, a format that is not read"), "{error}");
}

#[test]
fn a_small_displacement_is_a_warning_and_a_larger_one_an_error() {
    let world = World::new();
    // grids are compared by their corners: 0.05 mm is less than a tenth of the smallest edge, 1 mm
    let mut near = grid();
    near.affine[1][3] += 0.05;
    put_labels(&world.path("predictions/a.nii.gz"), &labels(5), &near);
    // a stretched grid whose first voxel stays: only its far corner moves
    let mut stretched = grid();
    stretched.affine[2][2] *= 1.02;
    put_labels(&world.path("predictions/b.nii.gz"), &labels(6), &stretched);
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    insta::assert_snapshot!(warnings(&world, &context).join("\n"), @"W503 case a: prediction and reference differ by 0.050 mm at a corner. Less than a tenth of a voxel: scored on the reference's grid.");
    insta::assert_snapshot!(world.portable(&errors(&context).join("\n")), @"E503 case b: grids differ by 0.440 mm at a corner (z, y, x): prediction 12x14x16 @2.04,1,1 mm, reference 12x14x16 @2,1,1 mm. DIR/predictions/b.nii.gz and DIR/raw/labelsTr/b.nii.gz. The prediction lost or changed the image's affine. Write the prediction on the grid of the image that the reference was drawn on.");
}

#[test]
fn a_prediction_with_its_axes_in_another_order_is_told_so() {
    let world = World::new();
    let (values, turned) = turned(&labels(5), &grid());
    put_labels(&world.path("predictions/a.nii.gz"), &values, &turned);
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    insta::assert_snapshot!(world.portable(&errors(&context).join("\n")), @"E503 case a: shapes differ (z, y, x): prediction 16x14x12 @1,1,2 mm, reference 12x14x16 @2,1,1 mm. DIR/predictions/a.nii.gz and DIR/raw/labelsTr/a.nii.gz. It is the same grid with axes in another order: SAL and RAS. Reorient the prediction to the reference's axes; nothing needs resampling.");
}

#[test]
fn pictures_are_the_same_in_whatever_order_the_axes_are_stored() {
    let picture = |turn: bool| {
        let world = World::new();
        if turn {
            for case in ["a", "b", "c"] {
                let path = world.path(&format!("raw/imagesTr/{case}.nii.gz"));
                let image = read_image(&path).unwrap();
                let (values, grid) = turned(&image.data, &image.grid);
                write_image(&path, &values, 1, &grid, ImageType::F32).unwrap();
                for folder in ["raw/labelsTr", "predictions"] {
                    let path = world.path(&format!("{folder}/{case}.nii.gz"));
                    let map = read_labels(&path).unwrap();
                    let (values, grid) = turned(&map.data, &map.grid);
                    write_labels(&path, &values, &grid).unwrap();
                }
            }
        }
        assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
        fs_err::read(world.path("scores/overlays/b.png")).unwrap()
    };
    assert!(picture(true) == picture(false));
}

#[test]
fn what_is_not_of_a_score_is_never_written_over() {
    let world = World::new();
    world.seal();
    let before = fs_err::read(world.path("predictions/manifest.json")).unwrap();
    for folder in ["predictions", "model", "raw"] {
        let out = world.path(folder).display().to_string();
        let [raw, predictions] = ["raw", "predictions"].map(|p| world.path(p).display().to_string());
        let words = ["score", "--references", &raw, "--predictions", &predictions];
        let said = run(&[&words[..], &["--dataset", "msd04-hippocampus", "--out", &out]].concat()).0;
        assert!(said.unwrap_err().to_string().starts_with("E165"), "{folder}");
    }
    assert!(fs_err::read(world.path("predictions/manifest.json")).unwrap() == before);
    // nor is a score by a report of it
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
    let scores = world.path("scores").display().to_string();
    let said = run(&["report", "--runs", &scores, "--out", &scores]).0.unwrap_err().to_string();
    assert!(said.starts_with("E165"), "{said}");
    // nor does a report count a run twice
    let [twice, out] = ["scores/../scores", "report"].map(|p| world.path(p).display().to_string());
    let said = run(&["report", "--runs", &scores, &twice, "--out", &out]).0.unwrap_err().to_string();
    assert!(said.starts_with("E520 a run is given twice"), "{said}");
    // a score again is
    assert_eq!(world.score(&["--policy", "nnunet"]).0.unwrap(), ExitStatus::Done);
}

#[test]
fn empty_masks_are_counted_by_the_policy() {
    let world = World::new();
    // class 2: in both for a and b, missed in c; class 1 of b: invented
    let mut without = labels(5);
    without.iter_mut().filter(|v| **v == 1).for_each(|v| *v = 0);
    put_labels(&world.path("raw/labelsTr/b.nii.gz"), &without, &grid());
    let told = |policy: &str| {
        let (status, context) = world.score(&["--policy", policy]);
        assert_eq!(status.unwrap(), ExitStatus::Done);
        let summary = world.summary();
        let mean = |class: usize, metric: usize| summary.gtgm.classes[class].metrics[metric].mean;
        (infos(&context, "I504").join("\n"), [mean(0, 0), mean(1, 0), mean(1, 2)])
    };
    let (text, means) = told("clinical");
    insta::assert_snapshot!(text, @r"
    I504 class 1 (anterior hippocampus): 2 scored, 0 both empty, 0 missed, 1 invented (policy clinical).
    I504 class 2 (posterior hippocampus): 2 scored, 0 both empty, 1 missed, 0 invented (policy clinical).
    ");
    assert_eq!(means[0], Some(2.0 / 3.0));
    // the false positive is dropped there, and so is the missed distance
    let (text, means) = told("monai");
    assert!(text.contains("1 invented (policy monai)"), "{text}");
    assert_eq!(means[0], Some(1.0));
    let table = fs_err::read_to_string(world.path("scores/metrics.csv")).unwrap();
    assert!(table.contains("b,1,Dice,dice,n/a") && table.contains("c,2,HD95,hd95:surfel,n/a"), "{table}");
    let (_, means) = told("brats");
    let diagonal = ((12.0_f64 * 2.0).powi(2) + 14.0 * 14.0 + 16.0 * 16.0).sqrt();
    assert!((means[2].unwrap() - (1.0 + diagonal) / 3.0).abs() < 1e-9, "{means:?}");
}

#[test]
fn objects_at_the_border_close_and_single_voxels_count() {
    let world = World::new();
    let mut corner = vec![0; SHAPE.iter().product()];
    corner[0] = 1;
    let mut beside = corner.clone();
    beside[1] = 1;
    beside[0] = 0;
    put_labels(&world.path("raw/labelsTr/a.nii.gz"), &corner, &grid());
    put_labels(&world.path("predictions/a.nii.gz"), &beside, &grid());
    assert_eq!(world.score(&["--metrics", "hd:surfel,hd:edge,nsd:surfel"]).0.unwrap(), ExitStatus::Done);
    let table = fs_err::read_to_string(world.path("scores/metrics.csv")).unwrap();
    assert!(table.contains("a,1,HD,hd:surfel,1\n") && table.contains("a,1,HD,hd:edge,1\n"), "{table}");
    assert!(table.contains("a,1,NSD,nsd:surfel@1mm,1\n"), "{table}");
}

#[test]
fn tolerances_are_millimetres_and_printed() {
    let world = World::new();
    assert_eq!(world.score(&["--metrics", "nsd:surfel,nsd:surfel@0.5mm"]).0.unwrap(), ExitStatus::Done);
    let summary = world.summary();
    assert_eq!(summary.gtgm.dataset.tolerance_mm, 1.0);
    assert!(summary.gtgm.dataset.tolerance_source.contains("Antonelli"), "{:?}", summary.gtgm.dataset);
    let ids: Vec<_> = summary.gtgm.definitions.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(ids, ["nsd:surfel@1mm", "nsd:surfel@0.5mm"]);
    for (value, code) in [("0", "E510"), ("NaN", "E510")] {
        let error = world.score(&["--tolerance-mm", value]).0.unwrap_err().to_string();
        assert!(error.starts_with(code), "{error}");
    }
}

#[test]
fn an_ambiguous_metric_is_refused_with_the_list() {
    let world = World::new();
    let error = world.score(&["--metrics", "hd95"]).0.unwrap_err().to_string();
    assert!(
        error.starts_with("E513 no metric has the id 'hd95'. A name such as HD95 has several definitions"),
        "{error}"
    );
    assert!(error.contains("hd95:surfel, ") && error.contains("hd95:edge-max, hd95:edge-pooled"), "{error}");
}

#[test]
fn a_score_that_was_not_finished_is_none() {
    let world = World::new();
    world.score(&[]).0.unwrap();
    fs_err::remove_file(world.path("scores/manifest.json")).unwrap();
    // what another run may have left behind
    fs_err::write(world.path("scores/.metrics.csv.tmp"), b"half").unwrap();
    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    let error = run(&["report", "--runs", &scores, "--out", &out]).0.unwrap_err().to_string();
    assert!(error.starts_with("E010"), "{error}");
    assert!(!world.path("report/report.html").exists());
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
    assert_eq!(run(&["report", "--runs", &scores, "--out", &out]).0.unwrap(), ExitStatus::Done);
}

#[test]
fn a_damaged_prediction_fails_its_case_only() {
    let world = World::new();
    let whole = fs_err::read(world.path("predictions/b.nii.gz")).unwrap();
    fs_err::write(world.path("predictions/b.nii.gz"), &whole[..whole.len() / 2]).unwrap();
    let (status, context) = world.score(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    let messages = errors(&context);
    assert!(messages.len() == 1 && messages[0].starts_with("E101 case b:"), "{messages:?}");
    assert_eq!(world.summary().gtgm.cases.scored, 2);
}
