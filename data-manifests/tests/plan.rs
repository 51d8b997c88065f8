//! Plans: our own, nnU-Net's, and what they do to a descriptor.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::descriptor::{Intensities, Intensity, Resampling};
use data_manifests::plan::{CaseSize, ChannelStatistics, Fingerprint, Plan, Prediction};
use data_manifests::{Descriptor, schema};
use serde_json::{Value, json};

fn fingerprint() -> Fingerprint {
    let cases = (0..5)
        .map(|i| CaseSize {
            id: format!("c{i}"),
            shape_zyx: [187, 512, 512],
            spacing_zyx_mm: [1.6, 0.793, 0.793],
        })
        .collect();
    let samples: Vec<f32> = (0..1000).map(|v| v as f32 / 5.0).collect();
    Fingerprint::new(cases, &[1.0; 5], vec![ChannelStatistics::of(&samples).unwrap()])
}

#[test]
fn a_plan_follows_from_a_fingerprint_and_survives_the_disk() {
    let spleen = Descriptor::find("msd09-spleen").unwrap();
    let mut plan = Plan::from_fingerprint(&spleen, fingerprint(), Resampling::Nnunet, 8.0).unwrap();
    assert_eq!((plan.spacing_zyx_mm, plan.patch_zyx), ([1.6, 0.793, 0.793], [64, 192, 160]));
    assert!(matches!(plan.intensity, Intensities::All(Intensity::CtPercentile { .. })));
    plan.predicted =
        Some(Prediction { bytes: 7, peak_memory_bytes: 8, seconds: Some(1.5), measured_on: None });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plan.json");
    plan.save(&path).unwrap();
    assert_eq!(Plan::load(&path).unwrap(), plan);
    let schema = schema::all().into_iter().find(|(name, _)| *name == "plan.json").unwrap().1;
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&serde_json::to_value(&plan).unwrap()));

    let planned = spleen.clone().with_plan(&plan).unwrap();
    assert_eq!(planned.grid.patch_zyx, [64, 192, 160]);
    assert_eq!(planned.grid.resampling, Resampling::Nnunet);
    assert_eq!(planned.intensity, plan.intensity);
    assert_eq!(planned.method().resampling, volume::resample::Resampling::Nnunet);
    let said = Descriptor::find("msd02-heart").unwrap().with_plan(&plan).unwrap_err().to_string();
    insta::assert_snapshot!(said, @"E024 the plan is for another modality. the plan of 'msd09-spleen' is for CT, data set 'msd02-heart' is MRI. Make a plan of this data set with 'preprocess plan'.");
}

#[test]
fn mri_takes_nonzero_voxels_where_much_is_cropped_away() {
    let heart = Descriptor::find("msd02-heart").unwrap();
    let mut found = fingerprint();
    let rule = |found: &Fingerprint| {
        Plan::from_fingerprint(&heart, found.clone(), Resampling::Linear, 8.0).unwrap().intensity
    };
    assert_eq!(rule(&found), Intensity::MriZscore { nonzero: false }.into());
    found.median_share_after_crop = 0.7;
    assert_eq!(rule(&found), Intensity::MriZscore { nonzero: true }.into());
    found.cases.clear();
    assert!(Plan::from_fingerprint(&heart, found, Resampling::Linear, 8.0).is_err());
}

fn nnunet_plans() -> Value {
    json!({
        "dataset_name": "Dataset009_Spleen", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2],
        "foreground_intensity_properties_per_channel": {"0": {
            "max": 1000.0, "mean": 100.0, "median": 105.0, "min": -300.0,
            "percentile_00_5": -40.0, "percentile_99_5": 200.0, "std": 40.0,
        }},
        "configurations": {
            "2d": {},
            "base": {"normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [false]},
            "3d_fullres": {
                "inherits_from": "base", "batch_size": 2, "patch_size": [64, 192, 160], "spacing": [1.6, 0.8, 0.7],
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": {"is_seg": false, "order": 3, "order_z": 0, "force_separate_z": null},
            },
        },
    })
}

#[test]
fn nnunets_plans_are_read_and_what_is_left_out_is_said() {
    let plan = Plan::parse(&nnunet_plans().to_string(), "x/nnUNetPlans.json").unwrap();
    assert_eq!((plan.spacing_zyx_mm, plan.patch_zyx), ([0.8, 1.6, 0.7], [192, 64, 160]));
    let percentiles = Intensity::CtPercentile { low: -40.0, high: 200.0, mean: 100.0, std: 40.0 };
    assert_eq!(plan.intensity, percentiles.into());
    assert_eq!((plan.resampling, plan.source.as_str()), (Resampling::Nnunet, "nnU-Net (nnUNetPlans.json)"));
    insta::assert_snapshot!(plan.notes.join("\n"), @r#"
    transpose_forward [1, 0, 2] undone: axes are z, y, x here
    nnU-Net's axes are those of the stored arrays, ours those of canonical volumes: check spacing_zyx_mm and patch_zyx where images were not stored axially
    other configurations ignored: 2d, base
    3d_fullres: ignored batch_size
    ignored image_reader_writer, plans_name, transpose_backward
    "#);
    Descriptor::find("msd09-spleen").unwrap().with_plan(&plan).unwrap();
}

#[test]
fn a_mask_that_is_another_one_here_is_said() {
    let notes = |masked: bool| {
        let mut plans = nnunet_plans();
        plans["configurations"]["base"] =
            json!({"normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [masked]});
        let plan = Plan::parse(&plans.to_string(), "nnUNetPlans.json").unwrap();
        assert_eq!(plan.intensity, Intensity::MriZscore { nonzero: masked }.into());
        plan.notes.into_iter().filter(|note| note.contains("use_mask_for_norm")).collect::<Vec<_>>()
    };
    insta::assert_snapshot!(notes(true).join("\n"), @"use_mask_for_norm followed as statistics of each channel over its own voxels other than 0, which stay 0; nnU-Net takes one mask for all channels, the voxels that are not 0 in any of them with holes filled, and normalises the zeros within it too");
    assert_eq!(notes(false), [""; 0]);
}

#[test]
fn each_channel_of_nnunets_plan_has_its_normalisation() {
    let mut plans = nnunet_plans();
    let names = [
        "CTNormalization",
        "ZScoreNormalization",
        "NoNormalization",
        "RescaleTo01Normalization",
        "RGBTo01Normalization",
    ];
    plans["configurations"]["base"] =
        json!({"normalization_schemes": names, "use_mask_for_norm": [false, true, false, false, false]});
    let plan = Plan::parse(&plans.to_string(), "nnUNetPlans.json").unwrap();
    let expected = vec![
        Intensity::CtPercentile { low: -40.0, high: 200.0, mean: 100.0, std: 40.0 },
        Intensity::MriZscore { nonzero: true },
        Intensity::None {},
        Intensity::MinMax {},
        Intensity::EmScale {},
    ];
    assert_eq!(plan.intensity, Intensities::Each(expected));
    assert!(plan.notes.iter().any(|note| note.contains("use_mask_for_norm")));
    assert_eq!(Plan::parse(&plan.to_json().unwrap(), "plan.json").unwrap(), plan);
    let schema = schema::all().into_iter().find(|(name, _)| *name == "plan.json").unwrap().1;
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&serde_json::to_value(&plan).unwrap()));
    let mut five = Descriptor::find("msd09-spleen").unwrap();
    let said = five.clone().with_plan(&plan).unwrap_err().to_string();
    insta::assert_snapshot!(said, @"E024 the plan is for another number of channels. the plan of 'Dataset009_Spleen' has intensity rules for 5, data set 'msd09-spleen' has 1 (CT). Make a plan of this data set with 'preprocess plan'.");
    five.channels = ["CT", "PET", "prior", "map", "photograph"].map(String::from).to_vec();
    let planned = five.with_plan(&plan).unwrap();
    assert_eq!(planned.intensity, plan.intensity);
    // what the descriptor says of a channel decides what is measured
    let two = ChannelStatistics::of(&[3.0, 4.0, 5.0]).unwrap();
    let mut found = fingerprint();
    found.channels.push(two.clone());
    let of = |rules: &Intensities, found: &Fingerprint| {
        let mut descriptor = Descriptor::find("msd09-spleen").unwrap();
        descriptor.channels = vec!["CT".to_owned(), "PET".to_owned()];
        descriptor.intensity = rules.clone();
        let plan = Plan::from_fingerprint(&descriptor, found.clone(), Resampling::Linear, 8.0).unwrap();
        (plan.intensity, plan.notes)
    };
    let ct = found.channels[0].ct_percentile();
    let window = Intensity::CtWindow { low: -160.0, high: 240.0 };
    let uptake = Intensity::Window { low: 0.0, high: 20.0 };
    let mixed = Intensities::Each(vec![window.clone(), uptake.clone()]);
    assert_eq!(of(&mixed, &found), (Intensities::Each(vec![ct.clone(), uptake]), Vec::new()));
    assert_eq!(
        of(&window.clone().into(), &found).0,
        Intensities::Each(vec![ct.clone(), two.ct_percentile()])
    );
    found.channels[1].std = 0.0;
    let (rules, notes) = of(&window.clone().into(), &found);
    assert_eq!(rules, Intensities::Each(vec![ct, window.clone()]));
    insta::assert_snapshot!(notes.join("\n"), @"channel PET: its foreground has no contrast: the descriptor's rule stays");
    found.channels.clear();
    let (rules, notes) = of(&window.clone().into(), &found);
    assert_eq!((rules, notes.len()), (window.into(), 1));
}

#[test]
fn lists_of_rules_are_read_and_their_flaws_named() {
    let text = toml::to_string(&Descriptor::find("msd09-spleen").unwrap()).unwrap();
    let start = text.find("[intensity]").unwrap();
    let end = start + text[start..].find("[text]").unwrap();
    let with = |rules: &str| Descriptor::parse(&[&text[..start], rules, &text[end..]].concat(), "d.toml");
    let list = "[[intensity]]\nrule = \"ct-window\"\nlow = 0.0\nhigh = 9.0\n";
    let one = with(list).unwrap();
    assert_eq!(one.intensity, Intensities::Each(vec![Intensity::CtWindow { low: 0.0, high: 9.0 }]));
    let said = |rules: &str| with(rules).unwrap_err().to_string();
    insta::assert_snapshot!(said(&[list, "[[intensity]]\nrule = \"min-max\"\n"].concat()), @"E021 the dataset descriptor is not valid. d.toml: intensity lists rules for 2 channels, but 1 are named (CT). Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("[[intensity]]\nrule = \"window\"\nlow = 3.0\nhigh = 3.0\n"), @"E021 the dataset descriptor is not valid. d.toml: channel 0: intensity.low must lie below intensity.high, found 3 and 3. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("[[intensity]]\nrule = \"percentile\"\n"), @r#"
    E021 the dataset descriptor is not valid. d.toml: TOML parse error at line 31, column 8
       |
    31 | rule = "percentile"
       |        ^^^^^^^^^^^^
    unknown variant `percentile`, expected one of `ct-window`, `ct-percentile`, `mri-zscore`, `em-scale`, `window`, `min-max`, `none`. Compare it with the output of 'data-manifests show msd04-hippocampus'.
    "#);
    insta::assert_snapshot!(said("[intensity]\nrule = \"none\"\nlow = 3.0\n"), @r"
    E021 the dataset descriptor is not valid. d.toml: TOML parse error at line 30, column 1
       |
    30 | [intensity]
       | ^^^^^^^^^^^
    unknown field `low`, there are no fields. Compare it with the output of 'data-manifests show msd04-hippocampus'.
    ");
    let number = ["intensity = 3\n", &text[..start], &text[end..]].concat();
    insta::assert_snapshot!(Descriptor::parse(&number, "d.toml").unwrap_err(), @r"
    E021 the dataset descriptor is not valid. d.toml: TOML parse error at line 1, column 13
      |
    1 | intensity = 3
      |             ^
    invalid type: integer `3`, expected an intensity rule, or a list with one for each channel. Compare it with the output of 'data-manifests show msd04-hippocampus'.
    ");
}

#[test]
fn plans_that_cannot_be_followed_are_explained() {
    let said = |edit: &dyn Fn(&mut Value)| {
        let mut plans = nnunet_plans();
        edit(&mut plans);
        Plan::parse(&plans.to_string(), "p.json").unwrap_err().to_string()
    };
    let full = |p: &mut Value, name: &str, value: Value| p["configurations"]["3d_fullres"][name] = value;
    insta::assert_snapshot!(said(&|p| full(p, "patch_size", json!([64, 64]))), @"E024 nnU-Net's plan cannot be used. p.json: configurations.3d_fullres.patch_size is [64,64], expected three numbers. Make a plan with 'preprocess plan', or correct this one.");
    insta::assert_snapshot!(said(&|p| full(p, "normalization_schemes", json!(["CTNormalization", "ZScoreNormalization"]))), @"E024 nnU-Net's plan cannot be used. p.json: use_mask_for_norm is [false], expected true or false for 2 channels. Make a plan with 'preprocess plan', or correct this one.");
    let unmeasured = said(&|p| {
        full(p, "use_mask_for_norm", json!([false, false]));
        full(p, "normalization_schemes", json!(["ZScoreNormalization", "CTNormalization"]));
    });
    insta::assert_snapshot!(unmeasured, @"E024 nnU-Net's plan cannot be used. p.json: foreground_intensity_properties_per_channel of channel 1 are missing. Make a plan with 'preprocess plan', or correct this one.");
    insta::assert_snapshot!(said(&|p| full(p, "normalization_schemes", json!(["MyNormalization"]))), @"E024 nnU-Net's plan cannot be used. p.json: normalization scheme 'MyNormalization'; expected CTNormalization, ZScoreNormalization, RescaleTo01Normalization, RGBTo01Normalization or NoNormalization. Make a plan with 'preprocess plan', or correct this one.");
    insta::assert_snapshot!(said(&|p| { p["configurations"].as_object_mut().unwrap().remove("3d_fullres"); }), @"E024 nnU-Net's plan cannot be used. p.json: there is no configuration '3d_fullres', only 2d, base. Make a plan with 'preprocess plan', or correct this one.");
    insta::assert_snapshot!(said(&|p| full(p, "inherits_from", json!("3d_fullres"))), @"E024 nnU-Net's plan cannot be used. p.json: configuration '3d_fullres' inherits from itself. Make a plan with 'preprocess plan', or correct this one.");
    let own = |text: &str| Plan::parse(text, "plan.json").unwrap_err().to_string();
    insta::assert_snapshot!(own("{\"schema\": }"), @"E024 the plan cannot be used. plan.json: expected value at line 1 column 12. Correct it, or make a new one with 'preprocess plan'.");
}
