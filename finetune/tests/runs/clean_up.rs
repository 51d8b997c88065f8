//! `finetune clean-up`: chosen on validation cases, applied by `predict`.

use crate::support::{Study, run, text};
use data_manifests::phantom::Kind;
use label_maps::{Connectivity, label_components};
use volume::scan;

/// Components of the foreground in a label map.
fn components(study: &Study, file: &str) -> usize {
    let labels = scan::read_labels(study.path(file)).unwrap();
    let mask: Vec<bool> = labels.data.iter().map(|label| *label != 0).collect();
    label_components(&mask, labels.grid.shape_zyx, Connectivity::Corners).unwrap().sizes.len()
}

#[test]
fn a_choice_on_validation_cases_is_applied_to_its_model_only() {
    let study = Study::new(Kind::Mri);
    study.train("model", 12, &["--from-scratch", "--validate-every", "0", "--lr", "3e-3"]).expect(0);
    let raw = study.raw();
    let [model, choice] = ["model", "choice.json"].map(|name| study.path(name));
    study.predict("val", &[&raw], &["--cases", "val"]).expect(0);
    let clean_up = |predictions: &str| {
        let predictions = study.path(predictions);
        let words = ["clean-up", "--model", text(&model), "--predictions", text(&predictions)];
        run(&[&words[..], &["--references", text(&raw), "--out", text(&choice)]].concat())
    };
    let said = clean_up("val").expect(0);
    assert!(said.contains("Clean-up for 'finetune predict --clean-up'"), "{said}");
    let mut found = study.json("choice.json");
    assert_eq!((found["cases"].as_u64(), found["models"].as_array().unwrap().len()), (Some(1), 1));
    assert!(found["tried"].as_array().unwrap().len() > 1, "{found}");

    // a few steps of training leave many components, of which a choice leaves one
    let file = format!("{}.nii.gz", study.json("model/split.json")["val"][0].as_str().unwrap());
    let before = components(&study, &format!("val/{file}"));
    assert!(before > 1, "{before} components");
    found["foreground"] = true.into();
    found["classes"] = serde_json::json!([]);
    fs_err::write(&choice, found.to_string()).unwrap();
    let more = ["--cases", "val", "--clean-up", text(&choice)];
    study.predict("clean", &[&raw], &more).expect(0);
    study.verified("clean");
    assert_eq!(components(&study, &format!("clean/{file}")), 1);
    // the same model by its file, and by a copy of it alone
    let copy = study.path("copy.safetensors");
    fs_err::copy(model.join("model.safetensors"), &copy).unwrap();
    for (file_of_model, out) in [(model.join("model.safetensors"), "by-file"), (copy, "by-copy")] {
        let out_path = study.path(out);
        let words = ["predict", "--model", text(&file_of_model), "--input", text(&raw), "--overlap", "0.25"];
        run(&[&words[..], &["--out", text(&out_path)], &more].concat()).expect(0);
        assert!(study.bytes(&format!("{out}/{file}")) == study.bytes(&format!("clean/{file}")));
    }
    // the last checkpoint has the same weights and is another file
    let refused = study.path("refused");
    let words = ["predict", "--input", text(&raw), "--out", text(&refused), "--model"];
    let checkpoint = model.join("checkpoint_final.safetensors");
    let said = run(&[&words[..], &[text(&checkpoint)], &more].concat()).expect(1);
    assert!(said.contains("E423 this choice was made for other models"), "{said}");
    // another choice is other work
    found["foreground"] = false.into();
    fs_err::write(&choice, found.to_string()).unwrap();
    study.predict("clean", &[&raw], &more).expect(0);
    assert!(study.bytes(&format!("clean/{file}")) == study.bytes(&format!("val/{file}")));

    fs_err::copy(study.path(&format!("clean/{file}")), study.path(&format!("val/{file}"))).unwrap();
    clean_up("val").expect(0);
    fs_err::write(study.path(&format!("val/{file}")), "half a label map").unwrap();
    let said = clean_up("val").expect(1);
    assert!(said.contains("E423") && said.contains("changed after it was written"), "{said}");

    let said = clean_up("clean").expect(1);
    assert!(said.contains("E423 these predictions are cleaned already"), "{said}");
    study.predict("test", &[&raw], &["--cases", "test"]).expect(0);
    let said = clean_up("test").expect(1);
    assert!(said.contains("E423 no validation case"), "{said}");
    found["models"] = serde_json::json!(["0123"]);
    found["weights"] = serde_json::json!(["4567"]);
    fs_err::write(&choice, found.to_string()).unwrap();
    let said = study.predict("other", &[&raw], &more).expect(1);
    assert!(said.contains("E423 this choice was made for other models"), "{said}");
}
