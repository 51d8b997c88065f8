//! Captions and template reports of synthetic volumes of the three modalities.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod common;

use common::{Volume, captions, ct, em, everything, mri, shards, text_synth};
use data_manifests::records::{self, Caption, Report};
use data_manifests::verify;
use std::path::Path;
use tempfile::tempdir;

/// Captions of a volume named so that its name would be noticed in any text.
fn of(make: fn(&'static str) -> Volume, extra: &[&str]) -> Vec<Caption> {
    let directory = tempdir().unwrap();
    shards(&directory.path().join("shards"), &[make("zebra_17")]);
    captions(&directory.path().join("shards"), &directory.path().join("captions"), extra)
}

fn number(caption: &Caption, name: &str) -> f64 {
    caption
        .facts
        .get(name)
        .unwrap_or_else(|| panic!("no fact {name} in {:?}", caption.facts))
        .as_f64()
        .unwrap()
}

#[test]
fn ct_is_described_in_hounsfield_units() {
    let all = of(ct, &["--stride", "4"]);
    assert_eq!(all.len(), 3);
    let first = &all[0];
    // the ellipse of 26 by 36 voxels fills this share of 60 by 80
    let body = std::f64::consts::PI * 26.0 * 36.0 / 4800.0;
    let inside = number(first, "soft_tissue_fraction")
        + number(first, "fat_fraction")
        + number(first, "bone_fraction");
    assert!((inside - body).abs() < 0.02, "{inside} {body}");
    assert!((number(first, "body_width_mm") - 216.0).abs() <= 6.0);
    assert_eq!(number(first, "dense_structures_count"), 1.0);
    assert!((number(first, "dense_structures_largest_length_mm") - 27.0).abs() <= 3.0);
    assert_eq!(first.facts["dense_structures_largest_place"], "posterior");
    assert_eq!(first.facts["gas_structures_largest_place"], "left anterior");
    let bubble = |c: &Caption| number(c, "gas_structures_largest_area_mm2");
    assert!(bubble(&all[2]) > bubble(&all[0]));
    insta::assert_snapshot!(first.caption);
}

/// A patient of 50 HU and, apart from them, a smaller table of 240 HU: what is said of the largest region is of one of them only.
#[test]
fn the_largest_region_is_measured_alone() {
    fn apart(id: &'static str) -> Volume {
        let at = |i: usize| (i / 80 % 60, i % 80);
        let raw = (0..12 * 60 * 80).map(at).map(|(y, x)| match (y, x) {
            (10..40, 10..70) => 50.0,
            (50..55, 10..70) => 240.0,
            _ => -1000.0,
        });
        Volume { raw: raw.collect(), ..ct(id) }
    }
    let first = of(apart, &[]).remove(0);
    assert!((number(&first, "body_mean_hu") - 50.0).abs() < 0.5, "{}", number(&first, "body_mean_hu"));
    assert!(number(&first, "body_sd_hu") < 0.5, "{}", number(&first, "body_sd_hu"));
    assert_eq!(number(&first, "body_height_mm"), 90.0);
    assert!(first.caption.contains("with a mean of 50 HU"), "{}", first.caption);
}

#[test]
fn nothing_is_said_of_what_the_window_hides() {
    fn narrow(id: &'static str) -> Volume {
        Volume { normalisation: common::window(-175.0, 250.0), ..ct(id) }
    }
    let first = of(narrow, &[]).remove(0);
    for hidden in ["air_fraction", "bone_fraction", "dense_fraction", "gas_structures_count"] {
        assert!(!first.facts.contains_key(hidden), "{hidden}");
    }
    assert!(first.facts.contains_key("fat_fraction"));
    for word in ["gas", "lung", "bone"] {
        assert!(!first.caption.contains(word), "{word}: {}", first.caption);
    }
    assert!(first.caption.contains("window's end of -175 HU"), "{}", first.caption);
}

#[test]
fn mri_is_described_relative_to_the_volume() {
    let all = of(mri, &["--stride", "4"]);
    let last = all.last().unwrap();
    let brain = std::f64::consts::PI * 18.0 * 15.0 / 1440.0;
    assert!((number(last, "tissue_fraction") - brain).abs() < 0.02);
    assert_eq!(number(last, "flair_bright_structures_count"), 1.0);
    assert_eq!(last.facts["flair_bright_structures_largest_place"], "right anterior");
    let lesion = |c: &Caption| number(c, "flair_bright_structures_largest_length_mm");
    assert!(lesion(last) > lesion(&all[0]));
    insta::assert_snapshot!(last.caption);
}

#[test]
fn em_is_described_in_nanometres() {
    let all = of(em, &["--stride", "3"]);
    // 460 columns make two tiles of 230
    assert_eq!(all[0].facts["tile_columns"], 2);
    let first = all.iter().find(|c| number(c, "tile_column") == 1.0).unwrap();
    assert_eq!(number(first, "dense_count"), 1.0);
    assert!((number(first, "dense_largest_nm") - 96.0).abs() < 25.0, "{}", number(first, "dense_largest_nm"));
    let membranes = 1.0 - (46.0 / 50.0) * (66.0 / 70.0);
    assert!(
        (number(first, "membrane_fraction") - membranes).abs() < 0.08,
        "{}",
        number(first, "membrane_fraction")
    );
    assert!(!first.caption.contains(" mm"), "{}", first.caption);
    insta::assert_snapshot!(first.caption);
}

#[test]
fn every_plane_is_described() {
    let all = of(ct, &["--plane", "sagittal,axial,coronal", "--stride", "30"]);
    let planes: Vec<_> = all.iter().map(plane_of).collect();
    for plane in ["axial", "coronal", "sagittal"] {
        assert!(planes.contains(&plane.to_owned()), "{planes:?}");
    }
    // left and right cannot be told on a sagittal slice
    let sagittal = all.iter().find(|c| plane_of(c) == "sagittal").unwrap();
    assert!(!sagittal.facts.contains_key("symmetry"));
    let places = sagittal
        .facts
        .values()
        .filter_map(|v| v.as_str())
        .filter(|v| v.contains("superior") || v.contains("inferior"));
    assert!(places.count() <= 4);
}

fn plane_of(caption: &Caption) -> String {
    caption.facts["plane"].as_str().unwrap().to_owned()
}

fn reports(captions: &Path, out: &Path, seed: &str) -> Vec<Report> {
    let mut command = text_synth();
    command.args(["report", "--quiet", "--seed", seed, "--captions"]).arg(captions).arg("--out").arg(out);
    command.assert().success();
    records::read_lines(&out.join(records::REPORTS)).unwrap()
}

#[test]
fn reports_are_short_varied_and_name_no_case() {
    for make in [ct as fn(&'static str) -> Volume, mri, em] {
        let directory = tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        shards(&at("shards"), &[make("zebra_17"), make("zebra_18")]);
        let described = captions(&at("shards"), &at("captions"), &["--stride", "1"]);
        let written = reports(&at("captions"), &at("reports"), "0");
        assert_eq!(written.len(), described.len());
        for (report, caption) in written.iter().zip(&described) {
            assert_eq!((&report.id, report.box_zyx), (&caption.id, caption.box_zyx));
            let sentences = report.text.split(". ").count();
            assert!((2..=4).contains(&sentences), "{}", report.text);
            for text in [&report.text, &caption.caption] {
                assert!(
                    !text.to_lowercase().contains("zebra") && !text.contains("NaN") && !text.contains("  "),
                    "{text}"
                );
            }
            let facts = &caption.facts;
            assert!(report.text.to_lowercase().contains(&facts["anatomy"].as_str().unwrap().to_lowercase()));
        }
        let starts: std::collections::BTreeSet<_> =
            written.iter().map(|r| r.text.split_whitespace().next()).collect();
        assert!(starts.len() > 1, "{starts:?}");
        let other = reports(&at("captions"), &at("other"), "1");
        assert!(written.iter().zip(&other).any(|(a, b)| a.text != b.text));
        let again = reports(&at("captions"), &at("again"), "0");
        assert_eq!(written, again);
    }
}

#[test]
fn captions_do_not_depend_on_the_number_of_workers() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a"), ct("b"), ct("c")]);
    for (workers, out) in [("1", "one"), ("3", "three")] {
        captions(&at("shards"), &at(out), &["--workers", workers, "--stride", "2"]);
    }
    for file in [records::CAPTIONS, "slices.jsonl", "manifest.json"] {
        assert_eq!(
            fs_err::read(at("one").join(file)).unwrap(),
            fs_err::read(at("three").join(file)).unwrap(),
            "{file}"
        );
    }
    verify::verify(&at("one")).unwrap();
    assert!(everything(&at("one")).contains("CC-BY-SA"));
}

#[test]
fn finished_work_is_not_done_again_and_stale_input_is_refused() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a")]);
    captions(&at("shards"), &at("captions"), &[]);
    let mut again = text_synth();
    again.args(["caption", "--shards"]).arg(at("shards")).arg("--out").arg(at("captions"));
    let output = again.assert().success().get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&output).contains("Nothing to do"));
    reports(&at("captions"), &at("reports"), "0");

    // other shards below captions and reports
    fs_err::remove_dir_all(at("shards")).unwrap();
    shards(&at("shards"), &[ct("a"), ct("b")]);
    for (command, flag, input) in [("report", "--captions", "captions"), ("embed", "--reports", "reports")] {
        let mut stale = text_synth();
        stale.current_dir(directory.path()).args([command, flag, input, "--out", "new"]);
        let output = stale.assert().code(1).get_output().stderr.clone();
        let text = String::from_utf8_lossy(&output).into_owned();
        assert!(text.contains("E214") && text.contains("made from other shards"), "{text}");
        // without the way from manifest to manifest
        assert!(text.contains("'caption' again with --out captions.") && !text.contains("/../"), "{text}");
    }
}

/// Shards made again are described again by the same options; other options are refused.
#[test]
fn other_options_do_not_replace_finished_captions_and_reports() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let run = |command: &str, from: &str, extra: &[&str], code: i32| {
        let (flag, out) = match command {
            "caption" => ("--shards", "captions"),
            _ => ("--captions", "reports"),
        };
        let mut synth = text_synth();
        synth.args([command, flag]).arg(at(from)).arg("--out").arg(at(out)).args(extra);
        let output = synth.assert().code(code).get_output().stderr.clone();
        String::from_utf8_lossy(&output).into_owned()
    };
    shards(&at("shards"), &[ct("a")]);
    run("caption", "shards", &["--stride", "5"], 0);
    run("report", "captions", &[], 0);
    for (extra, said) in [
        (&["--stride", "2"][..], "--stride 5 → 2."),
        (&[], "--stride 5 → the data set's."),
        (&["--stride", "5", "--plane", "axial,coronal"], "--plane axial → axial,coronal."),
        (&["--stride", "5", "--seed", "1"], "--seed 0 → 1."),
    ] {
        let text = run("caption", "shards", extra, 1);
        assert!(text.contains("E212 captions of other options are here. ") && text.contains(said), "{text}");
    }
    for (extra, said) in [
        (&["--seed", "1"][..], "--seed 0 → 1."),
        (&["--no-volumes", "--grounding", "off"], "--grounding rewrite → off; --no-volumes false → true."),
    ] {
        let text = run("report", "captions", extra, 1);
        assert!(text.contains("E212 reports of other options are here. ") && text.contains(said), "{text}");
    }
    assert!(run("caption", "shards", &["--stride", "5", "--workers", "1"], 0).contains("Nothing to do"));

    fs_err::remove_dir_all(at("shards")).unwrap();
    shards(&at("shards"), &[ct("a"), ct("b")]);
    run("caption", "shards", &["--stride", "5"], 0);
    run("report", "captions", &[], 0);
    assert!(run("caption", "shards", &["--stride", "2"], 1).contains("--stride 5 → 2."));
    run("caption", "shards", &["--stride", "2", "--overwrite"], 0);
    run("report", "captions", &["--seed", "1", "--overwrite"], 0);
    verify::verify(&at("reports")).unwrap();
}

#[test]
fn a_broken_case_is_named_and_the_others_are_described() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("good"), ct("broken")]);
    let image = at("shards").join("cases/broken/image");
    let chunk = data_manifests::digest::files_below(&image)
        .unwrap()
        .into_iter()
        .find(|f| f.starts_with("c."))
        .unwrap();
    fs_err::write(image.join(chunk), b"not a shard").unwrap();
    let mut command = text_synth();
    command.args(["caption", "--shards"]).arg(at("shards")).arg("--out").arg(at("captions"));
    let output = command.assert().code(3).get_output().stderr.clone();
    let text = String::from_utf8_lossy(&output).into_owned();
    assert!(text.contains("E217 case broken:"), "{text}");
    let written: Vec<Caption> = records::read_lines(&at("captions").join(records::CAPTIONS)).unwrap();
    assert!(!written.is_empty() && written.iter().all(|c| c.case == "good"));
}
