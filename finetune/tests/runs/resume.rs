//! Training that is stopped and goes on.

use crate::support::{Study, text};
use data_manifests::phantom::Kind;

const SETTINGS: [&str; 11] = [
    "--from-scratch",
    "--validate-every",
    "2",
    "--log-every",
    "2",
    "--checkpoint-every",
    "3",
    "--augmentation",
    "strong",
    "--ema",
    "0.9",
];

#[test]
fn an_interrupted_run_gives_the_same_bytes() {
    let study = Study::new(Kind::Ct);
    study.train("whole", 5, &SETTINGS).expect(0);

    // one step a time
    let limited = [&SETTINGS[..], &["--wall-minutes", "0"]].concat();
    let said = study.train("parts", 5, &limited).expect(75);
    assert!(said.contains("I306") && said.contains("saved step 1"), "{said}");
    assert_eq!(study.json("parts/report.json")["status"], "interrupted");
    assert!(!study.path("parts/manifest.json").exists());
    let said = study.train("parts", 5, &limited).expect(75);
    assert!(said.contains("resuming after step 1") && said.contains("saved step 2"), "{said}");
    // a stop file, and --resume said aloud
    let stop = study.path("stop");
    fs_err::write(&stop, "").unwrap();
    let said = study.train("parts", 5, &[&SETTINGS[..], &["--resume", "--stop-file", text(&stop)]].concat());
    assert!(said.expect(75).contains("saved step 3"));
    // what a kill leaves: a record ahead of the checkpoint and a temporary
    let metrics = study.path("parts/metrics.jsonl");
    let mut record = fs_err::read_to_string(&metrics).unwrap();
    record.push_str("{\"step\":4,\"kind\":\"step\",\"loss\":1.0}\n{\"step\":5,\"ki");
    fs_err::write(&metrics, record).unwrap();
    fs_err::write(study.path("parts/.plan.json.aB3x.tmp"), "half").unwrap();
    study.train("parts", 5, &SETTINGS).expect(0);
    study.verified("parts");
    let names = ["model.safetensors", "metrics.jsonl", "checkpoint_final.safetensors", "split.json"];
    for name in names.into_iter().chain(["validation.png"]) {
        let [whole, parts] = ["whole", "parts"].map(|out| study.bytes(&format!("{out}/{name}")));
        assert!(whole == parts, "{name} differs");
    }
}

#[test]
fn resuming_needs_something_to_resume() {
    let study = Study::new(Kind::Ct);
    let said = study.train("model", 2, &["--from-scratch", "--resume"]).expect(1);
    assert!(said.contains("E308 nothing to resume") && said.contains("Omit --resume"), "{said}");
}
