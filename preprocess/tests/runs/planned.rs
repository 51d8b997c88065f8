//! `preprocess plan`, and runs by a plan.

use crate::support::{Task, classes, flaws, said, tree};
use data_manifests::Manifest;
use data_manifests::descriptor::{Intensity, Resampling};
use data_manifests::plan::Plan;
use patches::Region;
use serde_json::json;
use stage::ExitStatus;
use volume::Grid;

/// Three CT cases of other sizes and spacings, class 1 with known intensities.
fn task() -> (Task, Vec<f64>) {
    let mut task = Task::new();
    task.describe(|d| classes(&mut d.labels, &["background", "a"]));
    let mut foreground = Vec::new();
    for (i, z_mm) in [2.0, 2.5, 4.0].into_iter().enumerate() {
        let shape_zyx = [16 + i, 30, 28];
        let grid = Grid::from_spacing(shape_zyx, [z_mm, 1.0, 0.8], [0.0; 3]).unwrap();
        let (mut image, mut labels) = (Vec::new(), Vec::new());
        for z in 0..shape_zyx[0] {
            for y in 0..30 {
                for x in 0..28 {
                    let inside = z > 3 && (8..20).contains(&y) && x > 9;
                    let value = ((x * 31 + y * 17 + z * 7 + i) % 97) as f32;
                    // two rows of zeros are what the crop takes
                    image.push(if y < 2 {
                        0.0
                    } else if inside {
                        value
                    } else {
                        value - 1000.0
                    });
                    labels.push(u32::from(inside));
                    if inside {
                        foreground.push(f64::from(value));
                    }
                }
            }
        }
        task.case(&format!("c{i}"), &grid, 1, &image, &labels);
    }
    foreground.sort_by(f64::total_cmp);
    (task, foreground)
}

#[test]
fn a_plan_follows_from_the_cases() {
    let (task, foreground) = task();
    let words = ["plan", "--dataset", "dataset.toml", "--raw", "raw", "--out", "plan.json"];
    let (code, text, said) = task.ask(&words);
    assert_eq!(code, 0, "{said}");
    assert!(text.contains("spacing     2.5x1x0.8 mm\n") && text.contains("\ntime        "), "{text}");
    let plan = Plan::load(&task.file("plan.json")).unwrap();
    // the header keeps 32 bits
    let spacing = plan.spacing_zyx_mm.map(|mm| (mm * 1e6).round() / 1e6);
    assert_eq!((plan.dataset.as_str(), spacing), ("test", [2.5, 1.0, 0.8]));
    assert_eq!(plan.resampling, Resampling::Linear);
    let found = plan.fingerprint.as_ref().unwrap();
    let sizes: Vec<_> = found.cases.iter().map(|c| (c.id.as_str(), c.shape_zyx)).collect();
    assert_eq!(sizes, [("c0", [16, 28, 28]), ("c1", [17, 28, 28]), ("c2", [18, 28, 28])]);
    assert!((found.median_share_after_crop - 28.0 / 30.0).abs() < 1e-12);
    // fewer foreground voxels than the sample: all of them
    let mean = foreground.iter().sum::<f64>() / foreground.len() as f64;
    let [one] = found.channels.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.min, one.max), (foreground[0], *foreground.last().unwrap()));
    assert!((one.mean - mean).abs() < 1e-9);
    let rule = plan.intensity.channel(0).unwrap();
    assert!(matches!(rule, Intensity::CtPercentile { low, .. } if *low == one.percentile_00_5));
    let predicted = plan.predicted.unwrap();
    assert!(predicted.bytes > 0 && predicted.peak_memory_bytes > 0 && predicted.seconds.unwrap() > 0.0);

    // the same again, but for the time; a smaller sample is another one, by the seed
    let again = |more: &[&str]| {
        let (code, _, said) = task.ask(&[&words[..], &["--no-timing"], more].concat());
        assert_eq!(code, 0, "{said}");
        fs_err::read_to_string(task.file("plan.json")).unwrap()
    };
    let whole = again(&[]);
    assert_eq!(again(&["--max-ram", "0.5"]), whole);
    // one case is read whole, whatever it needs, and that is said
    let (code, _, said) = task.ask(&[&words[..], &["--no-timing", "--max-ram", "0.00001"]].concat());
    assert!(code == 0 && said.contains("W160 the largest case needs about "), "{said}");
    assert_eq!(fs_err::read_to_string(task.file("plan.json")).unwrap(), whole);
    let small = again(&["--sample", "50"]);
    assert_eq!(again(&["--sample", "50", "--seed", "0"]), small);
    assert!(again(&["--sample", "50", "--seed", "1"]) != small && small != whole);
}

/// CT, uptake and a mask: each channel has a rule and numbers of its own.
#[test]
fn a_plan_measures_each_channel_by_its_own_rule() {
    let mut task = Task::new();
    let rules = [
        Intensity::CtWindow { low: -1000.0, high: 1000.0 },
        Intensity::MriZscore { nonzero: true },
        Intensity::Window { low: 0.0, high: 8.0 },
        Intensity::None {},
    ];
    task.describe(|d| {
        classes(&mut d.labels, &["background", "a"]);
        d.channels = ["CT", "PET", "SUV", "prior"].map(String::from).to_vec();
        d.intensity = rules.to_vec().into();
    });
    let grid = Grid::from_spacing([8, 10, 12], [1.0; 3], [0.0; 3]).unwrap();
    let place = |i: usize| [i / 120, i / 12 % 10, i % 12];
    let inside = |i: usize| (2..6).contains(&place(i)[0]) && place(i)[1] > 4;
    let ct: Vec<f32> = (0..960).map(|i| if inside(i) { (i % 50) as f32 } else { -1000.0 }).collect();
    let pet: Vec<f32> = (0..960).map(|i| if inside(i) { 3.0 + (i % 7) as f32 } else { 0.0 }).collect();
    let suv: Vec<f32> = pet.iter().map(|v| v * 4.0).collect();
    let labels: Vec<u32> = (0..960).map(|i| u32::from(inside(i))).collect();
    for (id, prior) in [("a", 1.0), ("empty", 0.0)] {
        let mask: Vec<f32> = labels.iter().map(|label| *label as f32 * prior).collect();
        task.case(id, &grid, 4, &[&ct[..], &pet, &suv, &mask].concat(), &labels);
    }
    let words = ["plan", "--dataset", "dataset.toml", "--raw", "raw", "--out", "plan.json", "--no-timing"];
    let (code, text, said) = task.ask(&words);
    assert_eq!(code, 0, "{said}");
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("intensity")).take(4).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    intensity   CT: ct-percentile: clip 0 to 49, mean 24.08, deviation 14.57
                PET: mri-z-score
                SUV: window
                prior: none
    ");
    let (status, messages) = task.run(&["--plan", task.file("plan.json").to_str().unwrap()]);
    assert_eq!(status.unwrap(), ExitStatus::Done, "{}", crate::support::said(&messages));
    for id in ["a", "empty"] {
        let case = task.open(id);
        let shape = case.record().shape_zyx;
        assert_eq!(shape, [4, 5, 12]);
        let found = case.read_image(&Region::whole(shape)).unwrap();
        let kept: Vec<usize> = (0..960).filter(|i| inside(*i)).collect();
        let moments = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
        };
        // values from 0 to 49 in near-equal numbers: half a percent of them is one value, at either end
        let (ct_mean, ct_std) = moments(kept.iter().map(|i| f64::from(ct[*i])).collect());
        // no crop to what is not 0 takes any of a CT, so that zeros count
        let (pet_mean, pet_std) = moments(pet.iter().map(|v| f64::from(*v)).collect());
        for (at, i) in kept.iter().enumerate() {
            let expected = [
                (f64::from(ct[*i]) - ct_mean) / ct_std,
                (f64::from(pet[*i]) - pet_mean) / pet_std,
                (f64::from(suv[*i]) / 8.0).min(1.0),
                f64::from(u8::from(id == "a")),
            ];
            for (channel, expected) in expected.into_iter().enumerate() {
                let found = f64::from(found[channel * 240 + at]);
                assert!((found - expected).abs() < 1e-5, "{id} {channel} {i}: {found} {expected}");
            }
        }
    }
    // read from disk box by box: the same
    let (streamed, plan) = (task.file("streamed"), task.file("plan.json"));
    let [out, plan] = [&streamed, &plan].map(|path| path.to_str().unwrap());
    let (status, messages) = task.run(&["--plan", plan, "--out", out, "--max-ram", "0.0001"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(messages.iter().any(|m| m.code == "W160"));
    assert_eq!(tree(&streamed.join("cases")), tree(&task.out().join("cases")));
}

/// The channel whose values do not fit its rule is named, by a run as by `info`.
#[test]
fn the_channel_that_does_not_fit_its_rule_is_named() {
    let mut task = Task::new();
    task.describe(|d| {
        classes(&mut d.labels, &["background", "a"]);
        d.channels = ["CT", "photograph"].map(String::from).to_vec();
        d.intensity = vec![Intensity::CtWindow { low: -1000.0, high: 1000.0 }, Intensity::EmScale {}].into();
    });
    let grid = Grid::from_spacing([4, 5, 6], [1.0; 3], [0.0; 3]).unwrap();
    let image: Vec<f32> = (0..240).map(|i| i as f32 * 4.0 - if i < 120 { 500.0 } else { 0.0 }).collect();
    task.case("a", &grid, 2, &image, &(0..120).map(|i| i % 2).collect::<Vec<_>>());
    let (status, messages) = task.run(&[]);
    assert!(status.is_err());
    let run = crate::support::said(&messages);
    insta::assert_snapshot!(run, @"E131 case a: imagesTr/a.nii.gz: channel 1 (photograph): intensities span [480, 956]; the rule em-scale expects [0, 255]. Check the modality, rescale it to 8 bits before, or give it another intensity rule.");
    let (code, _, said) = task.ask(&["info", "raw/imagesTr/a.nii.gz", "--dataset", "dataset.toml"]);
    assert!(code == 1 && said.contains("channel 1 (photograph): intensities span [480, 956]"), "{said}");
}

/// What a run would refuse, fill in or map is refused, filled in or mapped while its foreground is sampled, too.
#[test]
fn a_plan_treats_cases_as_a_run_does() {
    let mut task = Task::new();
    task.describe(|d| classes(&mut d.labels, &["background", "a"]));
    let shape_zyx = [16, 20, 20];
    let grid = Grid::from_spacing(shape_zyx, [2.0, 1.0, 1.0], [0.0; 3]).unwrap();
    let voxels: usize = shape_zyx.iter().product();
    // 255 marks what was not annotated: bright, and no foreground
    let labels: Vec<u32> = (0..voxels).map(|i| [0, 0, 1, 255][i % 4]).collect();
    let image = |nan: bool| -> Vec<f32> {
        let value = |i: usize| [-900.0, 0.0, (i % 50) as f32, 2000.0][i % 4];
        (0..voxels).map(|i| if nan && i == 2 { f32::NAN } else { value(i) }).collect()
    };
    task.case("c0", &grid, 1, &image(false), &labels);
    task.case("c1", &grid, 1, &image(true), &labels);
    let words = ["plan", "--dataset", "dataset.toml", "--raw", "raw", "--out", "plan.json", "--no-timing"];
    let planned = |more: &[&str]| {
        let (code, text, said) = task.ask(&[&words[..], more].concat());
        let plan = Plan::load(&task.file("plan.json")).unwrap();
        let found = plan.fingerprint.unwrap();
        (code, text, said, found.cases.len(), found.channels[0].clone(), plan.notes)
    };
    let (code, _, said) = task.ask(&words);
    assert!(code == 1 && said.contains("E130 case c1") && said.contains("E110 case c0"), "{said}");
    assert!(said.contains("E023 no plan without cases"), "{said}");
    let (code, _, said, cases, channel, _) = planned(&["--label-map", "255=1"]);
    assert!(code == 3 && said.contains("E130 case c1") && cases == 1, "{said}");
    assert_eq!(channel.max, 2000.0);
    let (code, text, said, cases, channel, notes) = planned(&["--label-map", "255=0", "--nan", "fill=min"]);
    assert_eq!((code, cases), (0, 2), "{said}");
    assert!(channel.max < 50.0, "{channel:?}");
    assert_eq!(channel.min, -900.0, "the voxel that was filled in belongs to the foreground");
    let note = "the foreground was sampled with --label-map 255=0";
    assert!(notes.iter().any(|found| found == note) && text.contains(note), "{text}");
    let (code, _, said) = task.ask(&[&words[..], &["--label-map", "255=7"]].concat());
    assert!(code != 0 && said.contains("E168 --label-map cannot be used. 255 becomes 7"), "{said}");
    let (code, _, said) = task.ask(&[&words[..], &["--compression", "zstd"]].concat());
    assert!(code == 2 && said.contains("--compression") && said.contains("--no-timing"), "{said}");
}

/// What a run refuses neither counts as a case nor lends its intensities.
#[test]
fn a_plan_does_not_measure_what_a_run_refuses() {
    let (mut task, foreground) = task();
    let shape_zyx = [16, 20, 20];
    let voxels: usize = shape_zyx.iter().product();
    let grid = |mm: f64| Grid::from_spacing(shape_zyx, [mm; 3], [0.0; 3]).unwrap();
    let image: Vec<f32> = (0..voxels).map(|i| 2000.0 + (i % 900) as f32 - (i % 2) as f32 * 2900.0).collect();
    let labels = vec![1_u32; voxels];
    let with = |value| (0..voxels).map(|i| if i == 5 { value } else { 1_u32 }).collect::<Vec<_>>();
    task.case("undeclared", &grid(1.0), 1, &image, &with(7));
    task.case("constant", &grid(1.0), 1, &vec![3000.0; voxels], &labels);
    task.case("metres", &grid(1000.0), 1, &image, &labels);
    let words = ["plan", "--dataset", "dataset.toml", "--raw", "raw", "--out", "plan.json", "--no-timing"];
    let (code, _, said) = task.ask(&words);
    assert_eq!(code, 3, "{said}");
    for refused in ["E110 case undeclared", "E132 case constant", "E150 case metres"] {
        assert_eq!(said.matches(refused).count(), 1, "{refused}: {said}");
    }
    let found = Plan::load(&task.file("plan.json")).unwrap().fingerprint.unwrap();
    let ids: Vec<_> = found.cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids, ["c0", "c1", "c2"]);
    assert_eq!(found.channels[0].max, *foreground.last().unwrap());
}

#[test]
fn a_run_by_a_plan_records_it() {
    let (task, _) = task();
    task.run_cleanly(&[]);
    let words = ["plan", "--dataset", "dataset.toml", "--raw", "raw", "--out", "plan.json", "--no-timing"];
    assert_eq!(task.ask(&words).0, 0);
    let plan = task.file("plan.json");
    let by_plan = ["--plan", plan.to_str().unwrap()];
    let (code, text) = task.process(&by_plan);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("I170 0 cases reused, 3 recomputed (plan changed: "), "{text}");
    assert!(text.contains("target_spacing"), "{text}");
    let manifest = Manifest::load(&task.out(), "preprocess").unwrap();
    assert_eq!(manifest.input("plan").unwrap().path, "../plan.json");
    let record = task.open("c0");
    assert_eq!(record.record().spacing_zyx_mm.map(|s| (s * 1e6).round() / 1e6), [2.5, 1.0, 0.8]);
    assert!(record.record().channels[0].normalisation.clip.is_some());
    assert!(task.process(&by_plan).1.contains("Nothing to do"));
    // a repair needs no plan: the manifest has its rules
    let whole = task.tree();
    fs_err::remove_dir_all(task.out().join("cases/c1")).unwrap();
    assert_eq!(task.ask(&["verify", "shards", "--repair", "all", "--raw", "raw"]).0, 0);
    assert_eq!(task.tree(), whole);
}

#[test]
fn nnunets_plans_are_followed_and_flawed_ones_named() {
    let (task, _) = task();
    let path = task.file("nnUNetPlans.json");
    let plans = json!({
        "dataset_name": "Dataset001_Test",
        "transpose_backward": [0, 1, 2],
        "transpose_forward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {
            "max": 96.0, "mean": 48.0, "median": 48.0, "min": 0.0, "percentile_00_5": 1.0, "percentile_99_5": 95.0, "std": 28.0,
        }},
        "configurations": {"3d_fullres": {
            "spacing": [3.0, 1.0, 1.0], "patch_size": [16, 32, 32], "normalization_schemes": ["CTNormalization"],
            "use_mask_for_norm": [false], "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": false, "order": 3, "order_z": 0, "force_separate_z": null},
        }},
    });
    fs_err::write(&path, plans.to_string()).unwrap();
    let (status, messages) = task.run(&["--plan", path.to_str().unwrap()]);
    assert_eq!((status.unwrap(), said(&flaws(messages))), (ExitStatus::Done, String::new()));
    let spacing = task.open("c0").record().spacing_zyx_mm.map(|s| s.round());
    assert_eq!(spacing, [3.0, 1.0, 1.0]);
    assert_eq!(task.open("c0").record().channels[0].normalisation.clip, Some([1.0, 95.0]));
    fs_err::write(&path, "{\"schema\": 3}").unwrap();
    let error = task.run(&["--plan", path.to_str().unwrap()]).0.unwrap_err().to_string();
    assert!(error.starts_with("E024 the plan cannot be used"), "{error}");
    // a file that cannot be read costs its case
    fs_err::write(task.raw().join("imagesTr/c1.nii.gz"), "<html>").unwrap();
    let words = ["plan", "--dataset", "dataset.toml", "--raw", "raw", "--out", "plan.json", "--no-timing"];
    let (code, _, text) = task.ask(&words);
    assert!(code == 3 && text.matches("E103 case c1").count() == 1, "{text}");
    assert_eq!(Plan::load(&task.file("plan.json")).unwrap().fingerprint.unwrap().cases.len(), 2);
    let (code, _, text) = task.ask(&["plan", "--out", "plan.json"]);
    assert!(code == 2 && text.contains("--dataset"), "{text}");
}
