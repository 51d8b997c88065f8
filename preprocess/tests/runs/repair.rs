//! `preprocess verify` and `--repair`.

use crate::support::Task;
use std::path::Path;

const SHAPE: [usize; 3] = [20, 24, 22];

fn flip(path: &Path) {
    let mut bytes = fs_err::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs_err::write(path, bytes).unwrap();
}

fn shown(task: &Task, text: &str) -> String {
    let text = text.replace(task.file("").to_str().unwrap(), "[DIR]/");
    // digests change with the program's version
    text.split(' ')
        .map(|word| {
            let hex = word.trim_end_matches([',', '.', '\n']);
            if hex.len() == 64 { word.replace(hex, "[SHA]") } else { word.to_owned() }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn damaged_cases_are_listed_and_made_anew_to_the_same_bytes() {
    let task = Task::noise(4, SHAPE);
    task.run_cleanly(&[]);
    let whole = task.tree();
    let (code, out, text) = task.ask(&["verify", "shards"]);
    assert_eq!((code, out.as_str()), (0, ""), "{text}");
    assert_eq!(text, "shards: every byte of 4 cases is as written.\n");

    let cases = task.out().join("cases");
    flip(&cases.join("c01/image/c.0.0.0.0"));
    fs_err::write(cases.join("c01/extra"), "x").unwrap();
    fs_err::remove_dir_all(cases.join("c03")).unwrap();
    fs_err::remove_file(task.out().join("cases.csv")).unwrap();
    let (code, out, text) = task.ask(&["verify", "shards"]);
    assert_eq!(code, 1);
    assert!(out.contains("case c01: cases/c01/extra: does not belong to the case\n"), "{out}");
    assert!(out.contains("case c01: cases/c01/image/c.0.0.0.0: has other bytes than were written"), "{out}");
    assert!(out.contains("case c03: cases/c03/zarr.json: is missing\n"), "{out}");
    assert!(out.contains("\ncases.csv: missing\n"), "{out}");
    insta::assert_snapshot!(text, @"E173 2 of 4 cases and 1 other file are not as they were written. shards: c01, c03. They were changed, added or lost since. Run: preprocess verify shards --repair c01,c03 --raw RAW.");

    // one of them
    let (code, out, text) = task.ask(&["verify", "shards", "--repair", "c03", "--raw", "raw"]);
    assert_eq!(code, 1, "{text}");
    assert!(out.contains("case c01") && !out.contains("case c03"), "{out}");
    let (code, out, text) = task.ask(&["verify", "shards", "--repair", "all", "--raw", "raw/"]);
    assert_eq!((code, out.as_str()), (0, ""), "{text}");
    assert!(text.contains("1 case made anew"), "{text}");
    assert_eq!(task.tree(), whole);
    assert_eq!(task.report()["counts"]["repaired"], 1);
    assert_eq!(task.ask(&["verify", "shards"]).0, 0);
    // a whole one, too
    assert_eq!(task.ask(&["verify", "shards", "--repair", "c00", "--raw", "raw"]).0, 0);
    assert_eq!(task.tree(), whole);
    // the run agrees that nothing is to be done
    let (code, text) = task.process(&[]);
    assert!(code == 0 && text.contains("Nothing to do"), "{text}");
}

#[test]
fn a_repair_follows_the_rules_of_the_run() {
    let task = Task::noise(2, SHAPE);
    let path = task.raw().join("labelsTr/c00.nii.gz");
    let mut labels = volume::scan::read_labels(&path).unwrap();
    labels.data.iter_mut().filter(|v| **v == 2).for_each(|v| *v = 255);
    volume::nifti::write_labels(&path, &labels.data, &labels.grid).unwrap();
    task.run_cleanly(&["--label-map", "255=2", "--only", "c00"]);
    let whole = task.tree();
    flip(&task.out().join("cases/c00/labels/label/0/c.0.0.0"));
    fs_err::write(task.out().join("dataset.toml"), "name = 1").unwrap();
    fs_err::remove_file(task.out().join("cases.csv")).unwrap();
    let (code, out, text) = task.ask(&["verify", "shards", "--repair", "all", "--raw", "raw"]);
    assert_eq!((code, out.as_str()), (0, ""), "{text}");
    assert_eq!(task.tree(), whole);
}

#[test]
fn other_raw_files_are_refused() {
    let task = Task::noise(3, SHAPE);
    task.run_cleanly(&[]);
    let whole = task.tree();
    for id in ["c00", "c01"] {
        flip(&task.out().join(format!("cases/{id}/image/c.0.0.0.0")));
    }
    let damaged = task.tree();
    fs_err::copy(task.raw().join("imagesTr/c02.nii.gz"), task.raw().join("imagesTr/c00.nii.gz")).unwrap();
    fs_err::remove_file(task.raw().join("labelsTr/c01.nii.gz")).unwrap();
    let (code, _, text) = task.ask(&["verify", "shards", "--repair", "all", "--raw", "raw"]);
    assert_eq!(code, 1);
    let text: String =
        text.lines().filter(|line| line.starts_with('E')).fold(String::new(), |all, line| all + line + "\n");
    insta::assert_snapshot!(shown(&task, &text), @r#"
E175 case c00: the raw file is not the one that the case was made from. imagesTr/c00.nii.gz: found SHA-256 [SHA], recorded [SHA]. Fetch the original again; to take the new file, rerun the preprocess command.
E192 case c01: the image has no label. imagesTr/c01.nii.gz is there, labelsTr/c01.nii.gz is not. Fetch the missing file, or take the case off the data set's list.
E173 2 of 3 cases are not as they were written. shards: c00, c01. They were changed, added or lost since. Run: preprocess verify shards --repair c00,c01 --raw RAW.
"#);
    assert_eq!(task.tree(), damaged, "nothing was touched");
    assert_ne!(damaged, whole);
    let (code, _, text) = task.ask(&["verify", "shards", "--repair", "c9", "--raw", "raw"]);
    assert!(code == 1 && text.contains("E196 no such case: c9. shards holds 3 cases"), "{text}");
}

#[test]
fn an_unfinished_directory_is_checked_by_the_seals() {
    let task = Task::noise(3, SHAPE);
    task.run_cleanly(&[]);
    let manifest = task.out().join("manifest.json");
    let written = fs_err::read_to_string(&manifest).unwrap();
    fs_err::remove_file(&manifest).unwrap();
    fs_err::create_dir(task.out().join("cases/.c07.ab.tmp")).unwrap();
    let (code, out, text) = task.ask(&["verify", "shards"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(text.contains("every byte of 3 cases is as written (not finished: rerun"), "{text}");
    flip(&task.out().join("cases/c01/labels/label/0/c.0.0.0"));
    fs_err::write(task.out().join("notes.txt"), "").unwrap();
    let (code, out, text) = task.ask(&["verify", "shards"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("case c01: cases/c01/labels/label/0/c.0.0.0: ")
            && out.contains("notes.txt: not a file of the shards"),
        "{out}"
    );
    assert!(text.contains("E173 1 of 3 cases and 1 other file") && text.contains("Rerun the"), "{text}");
    let (code, _, text) = task.ask(&["verify", "shards", "--repair", "c01", "--raw", "raw"]);
    assert!(code == 1 && text.contains("E174 only finished shards can be repaired"), "{text}");
    // a manifest that was edited is no reference either
    fs_err::write(&manifest, written.replacen("converted", "konverted", 1).replacen('1', "2", 1)).unwrap();
    let (code, out, _) = task.ask(&["verify", "shards"]);
    assert_eq!(code, 1);
    assert!(out.contains("case c01") && out.contains("manifest.json was changed"), "{out}");
    let (code, _, text) = task.ask(&["verify", "nowhere"]);
    assert!(code == 1 && text.contains("E010 no shards here"), "{text}");
}
