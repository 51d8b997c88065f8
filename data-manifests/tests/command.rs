//! The command as a process: output, messages and exit codes.
#![expect(clippy::unwrap_used, reason = "test code")]

use assert_cmd::Command;
use data_manifests::cases::{self, CaseRow};
use data_manifests::{CaseSplit, CaseStatus, Manifest};
use std::path::Path;

/// Exit code, standard output and standard error, with the directory's name taken out.
fn run(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::cargo_bin("data-manifests")
        .unwrap()
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap();
    format!(
        "exit {}\n--- out\n{}--- err\n{}",
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    )
}

#[test]
fn help_shows_examples() {
    let directory = tempfile::tempdir().unwrap();
    let help = run(directory.path(), &["--help"]);
    assert!(
        help.starts_with("exit 0") && help.contains("Examples:") && help.contains("data-manifests split"),
        "{help}"
    );
    assert!(run(directory.path(), &["nonsense"]).starts_with("exit 2"));
    assert!(run(directory.path(), &["--completions", "bash"]).contains("complete"));
}

#[test]
fn data_sets_are_listed_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(run(directory.path(), &["list"]));
    let shown = run(directory.path(), &["show", "msd04-hippocampus"]);
    assert!(shown.contains("anterior hippocampus") && shown.contains("# Left and right"), "{shown}");
    insta::assert_snapshot!(run(directory.path(), &["show", "liver"]), @r#"
        exit 1
        --- out
        --- err
        E020 no dataset 'liver'. It is neither a built-in name nor a file. Use one of msd03-liver, or the path of a descriptor in TOML.
    "#);
}

#[test]
fn a_phantom_is_made_once_verified_and_validated() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let make = ["phantom", "--out", "p", "--size", "small", "--only", "em,mri", "--seed", "4"];
    let first = run(at, &make);
    assert!(first.starts_with("exit 0"), "{first}");
    insta::assert_snapshot!(run(at, &make), @r#"
        exit 0
        --- out
        --- err
        I170 8 cases reused, nothing to do.
    "#);
    insta::assert_snapshot!(run(at, &["verify", "p"]), @r#"
        exit 0
        --- out
        --- err
        p: every byte is as written.
    "#);
    insta::assert_snapshot!(run(at, &["validate", "p"]), @r#"
        exit 0
        --- out
        --- err
        p is valid.
    "#);
    insta::assert_snapshot!(run(at, &["validate", "p/phantom-em/descriptor.toml"]), @r#"
        exit 0
        --- out
        --- err
        p/phantom-em/descriptor.toml is a valid descriptor.
    "#);
    let manifest = Manifest::load(&at.join("p"), "phantom").unwrap();
    assert_eq!(manifest.datasets, ["phantom-mri", "phantom-em"]);
    assert_eq!(manifest.counts["cases"], 8);

    // a flipped byte deep below
    let file = at.join("p/phantom-mri/PhantomMRI/labelsTr/mri_002.nii.gz");
    let mut bytes = fs_err::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs_err::write(&file, &bytes).unwrap();
    let said = run(at, &["verify", "p"]);
    assert!(said.starts_with("exit 1") && said.contains("mri_002.nii.gz: found SHA-256"), "{said}");
    assert!(said.contains("E015 1 files are not as they were written"), "{said}");

    // other parameters: what is no longer wanted goes
    assert!(run(at, &["phantom", "--out", "p", "--size", "small", "--only", "em"]).starts_with("exit 0"));
    assert!(!at.join("p/phantom-mri").exists());
    insta::assert_snapshot!(run(at, &["verify", "p"]), @r#"
        exit 0
        --- out
        --- err
        p: every byte is as written.
    "#);
    fs_err::write(at.join("p/notes.txt"), "mine").unwrap();
    insta::assert_snapshot!(run(at, &["phantom", "--out", "p", "--size", "small"]), @r#"
        exit 1
        --- out
        --- err
        E017 the directory holds other files. p/notes.txt. Give --out a new directory.
    "#);
    insta::assert_snapshot!(run(at, &["verify", "p"]), @r#"
        exit 1
        --- out
        notes.txt: not in the manifest
        --- err
        E015 1 files are not as they were written. p. They were changed, added or lost since the stage finished. Remove the directory and run the stage again.
    "#);
}

/// Answers that were paid for are never told to be removed.
#[test]
fn the_files_of_an_unfinished_rerun_are_told_from_damage() {
    let directory = tempfile::tempdir().unwrap();
    let (at, out) = (directory.path(), directory.path().join("r"));
    let write = |name: &str, text: &str| fs_err::write(out.join(name), text).unwrap();
    fs_err::create_dir(&out).unwrap();
    write("ledger.jsonl", "{}\n");
    let manifest = Manifest::new("report", "0.1.0", "text-synth", &"p", Vec::new()).unwrap();
    manifest.finish(&out, |_| "ledger").unwrap();
    for name in ["ledger.next.jsonl", "ledger.next.3f2c91aa0b1c.jsonl", "retry.json"] {
        write(name, "{}\n");
    }
    insta::assert_snapshot!(run(at, &["verify", "r"]), @r#"
        exit 1
        --- out
        ledger.next.3f2c91aa0b1c.jsonl: not in the manifest
        ledger.next.jsonl: not in the manifest
        retry.json: not in the manifest
        --- err
        E015 3 files are not as they were written. r. 'text-synth report' was run again here and is not finished; what it had made before is whole. Repeat that command with the same options: it goes on. Remove nothing: these files hold what it has so far, and answers were paid for.
    "#);
    write("notes.txt", "mine");
    insta::assert_snapshot!(run(at, &["verify", "r"]), @r#"
        exit 1
        --- out
        ledger.next.3f2c91aa0b1c.jsonl: not in the manifest
        ledger.next.jsonl: not in the manifest
        notes.txt: not in the manifest
        retry.json: not in the manifest
        --- err
        E015 4 files are not as they were written. r. They were changed, added or lost since the stage finished. Keep ledger*.jsonl, whose answers were paid for, remove manifest.json and files that are none of the stage's, and repeat 'text-synth report' with the same options: it asks for nothing twice.
    "#);
}

#[test]
fn a_split_is_written_from_shards() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let row = |i: usize| CaseRow {
        id: format!("c{i}"),
        subject: format!("s{}", i / 2),
        image: format!("$RAW/c{i}.nii.gz"),
        label: if i == 9 { String::new() } else { "$RAW/l.nii.gz".into() },
        split: CaseSplit::Train,
        shape: if i == 8 { String::new() } else { "2x2x2".into() },
        spacing: if i == 8 { String::new() } else { "1x1x1".into() },
        status: if i == 8 { CaseStatus::Failed } else { CaseStatus::Done },
        digest: if i == 8 { String::new() } else { "00".into() },
        label_voxels: String::new(),
    };
    let rows: Vec<_> = (0..10).map(row).collect();
    let shards = at.join("shards");
    stage::atomic::write(&shards.join(cases::FILE_NAME), &cases::to_csv(&rows).unwrap()).unwrap();
    let descriptor = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/msd04-hippocampus.toml");
    fs_err::copy(descriptor, shards.join("dataset.toml")).unwrap();
    insta::assert_snapshot!(run(at, &["split", "--shards", "shards", "--out", "s.json"]), @r#"
        exit 1
        --- out
        --- err
        E010 no finished stage here. shards/manifest.json is missing. The stage that writes it has not finished. Run that stage (again); it continues where it stopped.
    "#);
    let manifest =
        Manifest::new("preprocess", "0.1.0", "preprocess", &serde_json::json!({}), Vec::new()).unwrap();
    manifest.finish(&shards, |_| "cases").unwrap();
    insta::assert_snapshot!(run(at, &["validate", "shards"]), @r#"
        exit 0
        --- out
        --- err
        shards is valid.
    "#);
    insta::assert_snapshot!(run(at, &["split", "--shards", "shards", "--out", "split.json", "--val-share", "0.25"]), @r#"
        exit 0
        --- out
        --- err
        split.json: 6 training and 2 validation cases.
    "#);
    insta::assert_snapshot!(run(at, &["validate", "split.json"]), @r#"
        exit 0
        --- out
        --- err
        split.json is a valid split.
    "#);
    let split = data_manifests::splits::Split::load(&at.join("split.json")).unwrap();
    assert_eq!((split.train.len(), split.val.len()), (6, 2));
    // eight cases of four subjects, as nnU-Net parts them
    insta::assert_snapshot!(run(at, &["split", "--shards", "shards", "--out", "splits_final.json", "--nnunet"]), @r#"
        exit 0
        --- out
        --- err
        W108 4 subjects are in training and validation of a fold, as nnU-Net draws them. Scores on cases of a subject that was trained on flatter a model. Draw folds with --folds 5, which keeps subjects together.
        splits_final.json: nnU-Net's 5 folds of 8 cases.
    "#);
    let folds: serde_json::Value =
        serde_json::from_slice(&fs_err::read(at.join("splits_final.json")).unwrap()).unwrap();
    let validated: Vec<usize> =
        folds.as_array().unwrap().iter().map(|fold| fold["val"].as_array().unwrap().len()).collect();
    assert_eq!(validated, [2, 2, 2, 1, 1]);
    insta::assert_snapshot!(run(at, &["split", "--shards", "shards", "--out", "x.json", "--val-share", "1.5"]), @r#"
        exit 1
        --- out
        --- err
        E018 the cases cannot be split. shards/cases.csv: the validation share must lie between 0 and 1, found 1.5. Use a --val-share between 0 and 1, and shards with at least 2 labelled subjects.
    "#);
    fs_err::write(
        at.join("split.json"),
        fs_err::read_to_string(at.join("split.json")).unwrap().replace("c1", "c0"),
    )
    .unwrap();
    insta::assert_snapshot!(run(at, &["validate", "split.json"]), @r#"
        exit 1
        --- out
        --- err
        E014 the file breaks a rule. split.json: case 'c0' is in the split twice. Correct it, or run the stage again that wrote it.
    "#);
    fs_err::write(
        at.join("splits_final.json"),
        r#"[{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["b"]}]"#,
    )
    .unwrap();
    insta::assert_snapshot!(run(at, &["validate", "splits_final.json"]), @r"
    exit 1
    --- out
    --- err
    E014 the file breaks a rule. splits_final.json: fold 1: case 'b' is in the split twice. Correct it, or run the stage again that wrote it.
    ");
    fs_err::write(at.join("splits_final.json"), r#"[{"train": ["a"], "val": ["b"]}]"#).unwrap();
    let valid = run(at, &["validate", "splits_final.json"]);
    assert!(valid.contains("splits_final.json is a valid list of folds."), "{valid}");
    fs_err::write(at.join("my-plan.json"), r#"{"schema": 3}"#).unwrap();
    insta::assert_snapshot!(run(at, &["validate", "my-plan.json"]), @r"
    exit 1
    --- out
    --- err
    E024 the plan cannot be used. my-plan.json: invalid type: integer `3`, expected a string at line 1 column 12. Correct it, or make a new one with 'preprocess plan'.
    ");
    fs_err::create_dir(at.join("raw")).unwrap();
    let raw = run(at, &["validate", "raw"]);
    assert!(raw.contains("E016") && raw.contains("--dataset"), "{raw}");
    fs_err::write(
        at.join("cases.csv"),
        fs_err::read_to_string(at.join("shards/cases.csv")).unwrap().lines().next().unwrap(),
    )
    .unwrap();
    let empty = run(at, &["validate", "cases.csv"]);
    assert!(empty.contains("the table has no cases"), "{empty}");
    insta::assert_snapshot!(run(at, &["validate", "shards/other.bin"]), @r#"
        exit 1
        --- out
        --- err
        E010 no finished stage here. shards/other.bin does not exist. The path is mistyped, or the stage that writes it was not run. Correct the path, or run that stage.
    "#);
}
