//! Where raw files are when --raw does not say so.

use crate::support::{Task, tree};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the program in `folder` with these variables and no others of ours; exit code and standard error.
fn program(folder: &Path, variables: &[(&str, &str)], words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_preprocess"));
    command.current_dir(folder).args(words).env_remove("GTGM_RAW").env_remove("nnUNet_raw");
    let Output { status, stderr, .. } = command.envs(variables.iter().copied()).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// A raw folder that describes itself, below `roots`; the folder that holds these.
fn self_describing() -> (Task, PathBuf) {
    let task = Task::noise(2, [20; 3]);
    let index = task.raw().join("dataset.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs_err::read(&index).unwrap()).unwrap();
    json["labels"] = serde_json::json!({"0": "background", "1": "a", "2": "b"});
    fs_err::write(&index, json.to_string()).unwrap();
    let work = task.file("");
    fs_err::create_dir(work.join("roots")).unwrap();
    fs_err::rename(task.raw(), work.join("roots/Task77_Noise")).unwrap();
    (task, work)
}

#[test]
fn a_raw_folder_stands_for_its_data_set() {
    let (_task, work) = self_describing();
    let (code, said) = program(&work, &[], &["--dataset", "roots/Task77_Noise", "--out", "a"]);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("I152"), "{said}");
    // the same as by both flags, and as people type it
    let both = ["--dataset", "roots/Task77_Noise", "--raw", "'roots/Task77_Noise/'", "--out", "b"];
    assert_eq!(program(&work, &[], &both).0, 0);
    assert_eq!(program(&work, &[], &["--dataset", " \"roots/Task77_Noise/\"", "--out", "c"]).0, 0);
    let trees = ["a", "b", "c"].map(|out| tree(&work.join(out)));
    assert!(trees[0].contains_key("manifest.json") && trees[0] == trees[1] && trees[0] == trees[2]);
}

#[test]
fn roots_of_the_environment_take_the_place_of_raw() {
    let (_task, work) = self_describing();
    let given = ["--dataset", "roots/Task77_Noise", "--out", "by-folder"];
    assert_eq!(program(&work, &[], &given).0, 0);
    // the recorded descriptor names its folder, and is a file without one
    fs_err::copy(work.join("by-folder/dataset.toml"), work.join("noise.toml")).unwrap();
    let words = |out: &'static str| ["--dataset", "noise.toml", "--out", out];
    let root = work.join("roots");
    let quoted = format!("'{}/'", root.display());
    for (name, out) in [("GTGM_RAW", "ours"), ("nnUNet_raw", "theirs")] {
        let (code, said) = program(&work, &[(name, &quoted)], &words(out));
        assert_eq!(code, 0, "{said}");
        let place = root.join("Task77_Noise");
        let told = format!("I152 raw files are read from {}. It lies below ${name}.", place.display());
        assert!(said.contains(&told), "{said}");
    }
    assert!(tree(&work.join("ours")) == tree(&work.join("theirs")));
    let home = [("HOME", work.to_str().unwrap()), ("nnUNet_raw", "~/roots")];
    let (code, said) = program(&work, &home, &[&words("ours")[..], &["--dry-run"]].concat());
    assert_eq!(code, 0, "{said}");

    // the commands around a run find them too
    let raw = [("nnUNet_raw", root.to_str().unwrap())];
    let preview = ["preview", "--shards", "ours", "--out", "preview"];
    assert_eq!(program(&work, &raw, &preview).0, 0);
    fs_err::remove_file(work.join("ours/cases/c00/image/c.0.0.0.0")).unwrap();
    let (code, said) = program(&work, &raw, &["verify", "ours", "--repair", "c00"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn without_a_folder_all_roots_and_the_nearest_names_are_told() {
    let (task, work) = self_describing();
    task.describe(|d| d.raw = data_manifests::descriptor::Raw::Msd { folder: "Task078_noise".into() });
    let root = work.join("roots");
    let variables = [("GTGM_RAW", "/no/such/root"), ("nnUNet_raw", root.to_str().unwrap())];
    let (code, said) = program(&work, &variables, &["--dataset", "dataset.toml", "--out", "out"]);
    assert_eq!(code, 1, "{said}");
    let said = said.replace(root.to_str().unwrap(), "[ROOT]");
    let error = said.lines().find(|line| line.starts_with("E191")).unwrap();
    insta::assert_snapshot!(error, @"E191 no raw files of 'test'. looked for a folder Task078_noise: GTGM_RAW=/no/such/root does not exist; nnUNet_raw=[ROOT] exists; nearest there: Task77_Noise. Give --raw the data set's own folder, or set GTGM_RAW to the one that holds it.");
}
