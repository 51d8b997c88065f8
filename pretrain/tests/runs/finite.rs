//! Patches of which an encoder makes no numbers.

use crate::support::Study;
use data_manifests::Descriptor;
use data_manifests::descriptor::Intensity;
use data_manifests::phantom::Kind;
use std::path::Path;
use test_peers::run_ranks;

fn without_rule(descriptor: &mut Descriptor) {
    descriptor.intensity = Intensity::None {}.into();
}

/// Gives an image intensities that 32 bits hold and sums of which they do not.
fn spoil(file: &Path) {
    let mut image = volume::scan::read_image(file).unwrap();
    let largest = image.data.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    image.data.iter_mut().for_each(|value| *value *= 3e38 / largest);
    let kind = volume::nifti::ImageType::F32;
    volume::nifti::write_image(file, &image.data, image.channels, &image.grid, kind).unwrap();
}

/// A held-out case of which the encoder makes no numbers is named, and the others are asked about.
#[test]
fn features_that_are_not_finite_are_named_and_left_out() {
    let settings = [
        "--steps",
        "2",
        "--batch",
        "4",
        "--patch-zyx",
        "8,16,16",
        "--holdout",
        "0.4",
        "--validate-every",
        "2",
    ];
    let study = Study::new();
    study.preprocess(Kind::Ct, without_rule);
    let reports = study.text(Kind::Ct, 5, 1);
    study.pretrain(&[Kind::Ct], &[&reports], "encoder", &settings).expect(0);
    let held_out = study.json("encoder/plan.json")["datasets"][0]["held_out"].clone();
    let held_out: Vec<&str> = held_out.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert!(held_out.len() > 1, "{held_out:?}");

    let study = Study::new();
    study.preprocess(Kind::Ct, |d| {
        without_rule(d);
        spoil(&study.path("raw-ct").join(d.raw.folder()).join(format!("imagesTr/{}.nii.gz", held_out[0])));
    });
    let reports = study.text(Kind::Ct, 5, 1);
    let said = study.pretrain(&[Kind::Ct], &[&reports], "encoder", &settings).expect(0);
    let line =
        said.lines().find(|line| line.starts_with("W302 features of")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(&format!("{} at ", held_out[0])) && !line.contains(held_out[1]), "{line}");
    assert!(study.recorded("encoder", "effective_rank").iter().all(|rank| rank.is_finite()));
    assert!(!study.recorded("encoder", "recall_5").is_empty());
}

/// Every process knows whose patches the batch has, those that others compute too.
#[test]
fn a_step_without_a_number_names_the_patches_of_all_processes() {
    let study = Study::new();
    study.preprocess(Kind::Ct, |d| {
        without_rule(d);
        for entry in fs_err::read_dir(study.path("raw-ct").join(d.raw.folder()).join("imagesTr")).unwrap() {
            spoil(&entry.unwrap().path());
        }
    });
    let settings = ["--steps", "1", "--batch", "2", "--patch-zyx", "8,16,16", "--holdout", "0"];
    let said = run_ranks(2, 1, || study.command(&[Kind::Ct], &[], "encoder", &settings));
    let line = said[0].lines().find(|line| line.starts_with("W302")).unwrap_or_else(|| panic!("{said:#?}"));
    assert!(line.contains("Batch: ") && line.matches('@').count() == 4, "{line}");
}
