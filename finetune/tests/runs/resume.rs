//! Training that is stopped and goes on.

use crate::support::{Study, text};
use data_manifests::phantom::Kind;
use std::process::Stdio;
use std::time::Duration;

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
fn kills_at_any_moment_change_no_byte() {
    let study = Study::new(Kind::Ct);
    let settings =
        "--from-scratch --validate-every 4 --log-every 2 --checkpoint-every 1 --ema 0.9 --steps 12";
    let settings: Vec<&str> = settings.split(' ').collect();
    assert!(study.train_command("whole", &settings).output().unwrap().status.success());
    let latest = study.path("killed/checkpoint_latest.safetensors");
    let written = || fs_err::metadata(&latest).and_then(|file| file.modified()).ok();
    let mut kills = 0;
    for wait in [0, 3, 11] {
        let before = written();
        let mut command = study.train_command("killed", &settings);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // a step further than before, and then some milliseconds into the next or into what is written of it
        while written() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "no run was there to kill");
    assert!(study.train_command("killed", &settings).output().unwrap().status.success());
    study.verified("killed");
    for name in
        ["model.safetensors", "metrics.jsonl", "checkpoint_final.safetensors", "checkpoint_best.safetensors"]
    {
        let [whole, killed] = ["whole", "killed"].map(|out| study.bytes(&format!("{out}/{name}")));
        assert!(whole == killed, "{name} differs");
    }
}

#[test]
fn resuming_needs_something_to_resume() {
    let study = Study::new(Kind::Ct);
    let said = study.train("model", 2, &["--from-scratch", "--resume"]).expect(1);
    assert!(said.contains("E308 nothing to resume") && said.contains("Omit --resume"), "{said}");
}
