//! Runs that are repeated, interrupted or meet another one; killed ones are in the endurance tests.

use crate::support::Task;
use rustix::process::{Pid, Signal, kill_process};
use stage::lock::OutputLock;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SHAPE: [usize; 3] = [40, 48, 44];

fn finished_cases(task: &Task) -> usize {
    let Ok(entries) = fs_err::read_dir(task.out().join("cases")) else { return 0 };
    entries.filter(|e| !e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
}

/// Starts a run and waits until some cases are there.
fn started(task: &Task, cases: usize) -> Child {
    let mut child =
        task.command(&["--workers", "1"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while finished_cases(task) < cases {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {cases} cases were there");
        assert!(start.elapsed() < Duration::from_secs(60), "no {cases} cases in a minute");
        std::thread::sleep(Duration::from_micros(200));
    }
    child
}

#[test]
fn the_same_command_twice_gives_the_same_bytes() {
    let task = Task::noise(3, SHAPE);
    task.run_cleanly(&[]);
    let first = task.tree();
    let (code, text) = task.process(&[]);
    assert_eq!(code, 0);
    assert!(text.starts_with("Nothing to do"), "{text}");
    assert_eq!(task.tree(), first);
    fs_err::remove_dir_all(task.out()).unwrap();
    task.run_cleanly(&["--workers", "3"]);
    assert_eq!(task.tree(), first, "other workers, other bytes");
}

#[test]
fn a_file_that_cannot_be_read_for_now_costs_no_shards() {
    let task = Task::noise(3, SHAPE);
    task.run_cleanly(&[]);
    let whole = task.tree();
    let path = task.raw().join("imagesTr/c01.nii.gz");
    let aside = task.file("aside");
    fs_err::rename(&path, &aside).unwrap();
    // a file whose first byte is an input/output error, for root too
    fs_err::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
    let error = task.run(&[]).0.unwrap_err().to_string();
    assert!(error.starts_with("E167 raw files of 1 finished case cannot be read now. c01: "), "{error}");
    assert!(error.contains("rerun the same command"), "{error}");
    assert_eq!(task.tree(), whole);
    fs_err::remove_file(&path).unwrap();
    fs_err::rename(&aside, &path).unwrap();
    assert!(task.process(&[]).1.starts_with("Nothing to do"));
    // without shards it costs its case only
    fs_err::remove_dir_all(task.out()).unwrap();
    fs_err::remove_file(&path).unwrap();
    fs_err::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), stage::ExitStatus::Partial);
    assert!(messages.iter().any(|m| m.code == "E100" && m.case.as_deref() == Some("c01")));
}

#[test]
fn a_file_beyond_the_limit_is_an_error_with_a_message() {
    let task = Task::noise(1, SHAPE);
    let run = task.command(&[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("File too large"), "{said}");
}

#[test]
fn a_signal_stops_after_the_case_and_says_how_to_go_on() {
    let task = Task::noise(10, SHAPE);
    task.run_cleanly(&[]);
    let whole = task.tree();
    fs_err::remove_dir_all(task.out()).unwrap();
    let child = started(&task, 2);
    // as at the soft limit of a job's processor time
    kill_process(Pid::from_child(&child), Signal::XCPU).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains("I164 interrupted: ") && text.contains("of 10 cases are done"), "{text}");
    assert_eq!(task.report()["status"], "interrupted");
    assert!(task.counts()[0] >= 2 && !task.out().join("manifest.json").exists());
    assert_eq!(task.process(&[]).0, 0);
    assert_eq!(task.tree(), whole);
}

#[test]
fn leftovers_and_torn_cases_are_made_good() {
    let task = Task::noise(5, SHAPE);
    task.run_cleanly(&[]);
    let whole = task.tree();
    let cases = task.out().join("cases");
    // an unfinished run with leftovers of a killed one: no manifest, temporaries, a case without its shard, one with a
    // flipped byte, one with another attribute, one that is an empty folder
    fs_err::remove_file(task.out().join("manifest.json")).unwrap();
    fs_err::create_dir_all(cases.join(".c00.x7Kq.tmp/image")).unwrap();
    fs_err::write(task.out().join(".cases.csv.9aBc.tmp"), "half").unwrap();
    fs_err::remove_file(cases.join("c00/labels/label/0/c.0.0.0")).unwrap();
    let shard = cases.join("c01/image/c.0.0.0.0");
    let mut bytes = fs_err::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&shard, bytes).unwrap();
    let group = cases.join("c02/zarr.json");
    let text = fs_err::read_to_string(&group).unwrap();
    fs_err::write(&group, text.replace("\"subject\": \"c02\"", "\"subject\": \"c03\"")).unwrap();
    assert_ne!(fs_err::read_to_string(&group).unwrap(), text);
    fs_err::remove_dir_all(cases.join("c03")).unwrap();
    fs_err::create_dir(cases.join("c03")).unwrap();
    let (code, text) = task.process(&[]);
    assert_eq!((code, task.counts()), (0, [4, 1, 0]), "{text}");
    assert!(text.contains("I170 1 case reused, 4 recomputed (damaged, or made by other rules)."), "{text}");
    assert_eq!(task.tree(), whole);

    // below a manifest: a byte that leaves the size, a file cut short, and a file that nobody listed
    let metadata = cases.join("c04/labels/label/0/zarr.json");
    let text = fs_err::read_to_string(&metadata).unwrap();
    let damages = [(text.replacen('z', "Z", 1), [1, 4, 0], true), (String::new(), [1, 4, 0], false)];
    for (damaged, counts, same_size) in damages {
        fs_err::write(&metadata, damaged).unwrap();
        let (code, text) = task.process(&[]);
        assert_eq!((code, task.counts()), (0, counts), "{text}");
        assert_eq!(text.contains("I172"), same_size, "{text}");
        assert_eq!(task.tree(), whole);
    }
    fs_err::write(cases.join("stray"), "").unwrap();
    let (code, text) = task.process(&[]);
    assert_eq!((code, task.counts()), (0, [0, 5, 0]), "{text}");
    assert!(text.contains("I171") && text.contains("stray"), "{text}");
    assert_eq!(task.tree(), whole);
}

#[test]
fn a_changed_file_or_rule_redoes_what_depends_on_it() {
    let task = Task::noise(4, SHAPE);
    task.run_cleanly(&[]);
    let before = task.tree();
    let [a, b] = ["c01", "c03"].map(|id| task.raw().join(format!("imagesTr/{id}.nii.gz")));
    fs_err::copy(&b, &a).unwrap();
    let (code, text) = task.process(&[]);
    assert_eq!((code, task.counts()), (0, [1, 3, 0]));
    let said = "I170 3 cases reused, 1 recomputed (raw files changed: imagesTr/c01.nii.gz).";
    assert!(text.contains(said), "{text}");
    let after = task.tree();
    let changed: Vec<_> = after.keys().filter(|file| before[*file] != after[*file]).cloned().collect();
    assert!(
        changed.iter().all(|file| file.starts_with("cases/c01/") || !file.starts_with("cases/")),
        "{changed:?}"
    );
    // a file renamed keeps its bytes, and yet it is another case
    let dataset = task.raw().join("dataset.json");
    let text = fs_err::read_to_string(&dataset).unwrap();
    for folder in ["imagesTr", "labelsTr"] {
        let path = |id: &str| task.raw().join(folder).join(format!("{id}.nii.gz"));
        fs_err::rename(path("c03"), path("c04")).unwrap();
    }
    fs_err::write(&dataset, text.replace("c03", "c04")).unwrap();
    let (code, text) = task.process(&[]);
    assert_eq!((code, task.counts()), (0, [1, 3, 0]), "{text}");
    assert!(text.contains("I171 removed cases") && text.contains("c03"), "{text}");
    assert!(task.tree().keys().all(|file| !file.contains("c03")));

    task.describe(|d| {
        d.grid.spacing_zyx = [2.0; 3];
        d.intensity = data_manifests::descriptor::Intensity::CtWindow { low: -1000.0, high: 3000.0 }.into();
    });
    let (code, text) = task.process(&[]);
    assert_eq!((code, task.counts()), (0, [4, 0, 0]));
    assert!(text.contains("I170 0 cases reused, 4 recomputed (plan changed: target_spacing)."), "{text}");
    // what does not touch voxels redoes none
    task.describe(|d| {
        d.grid.spacing_zyx = [2.0; 3];
        d.text.stride = 9;
    });
    assert_eq!(task.process(&[]).0, 0);
    assert_eq!(task.counts(), [0, 4, 0]);
}

#[test]
fn a_mended_file_is_taken_up_and_a_broken_one_leaves_no_old_shards() {
    let task = Task::noise(3, SHAPE);
    task.run_cleanly(&[]);
    let whole = task.tree();
    let path = task.raw().join("imagesTr/c01.nii.gz");
    let good = fs_err::read(&path).unwrap();
    fs_err::write(&path, &good[..good.len() / 2]).unwrap();
    for _ in 0..2 {
        let (code, text) = task.process(&[]);
        assert_eq!((code, task.counts()), (3, [0, 2, 1]), "{text}");
        assert!(text.contains("E101 case c01"), "{text}");
        assert!(!task.out().join("cases/c01").exists());
    }
    fs_err::write(&path, &good).unwrap();
    assert_eq!((task.process(&[]).0, task.counts()), (0, [1, 2, 0]));
    assert_eq!(task.tree(), whole);
}

#[test]
fn a_second_run_on_one_output_is_refused() {
    let task = Task::noise(1, SHAPE);
    let lock = OutputLock::acquire(&task.out(), "preprocess").unwrap();
    let (code, text) = task.process(&[]);
    assert_eq!(code, 1);
    let place = task.out();
    let text = text.replace(place.to_str().unwrap(), "[OUT]");
    let line = text.split(" on ").next().unwrap().replace(&std::process::id().to_string(), "[PID]");
    insta::assert_snapshot!(line, @"E162 output is being written by preprocess process [PID]");
    assert!(text.contains("[OUT]. Wait for it, or use another --out."), "{text}");
    // the other run's report stays what it is
    assert!(!task.out().join("report.json").exists());
    drop(lock);
    assert_eq!(task.process(&[]).0, 0);
}

#[test]
fn another_compression_gives_the_same_voxels() {
    let task = Task::noise(3, SHAPE);
    task.run_cleanly(&[]);
    let fast = task.tree();
    let region = patches::Region::whole(task.open("c01").record().shape_zyx);
    let voxels = task.open("c01").read_image(&region).unwrap();
    let zstd = ["--compression", "zstd"];
    let (code, text) = task.process(&zstd);
    assert_eq!((code, task.counts()), (0, [3, 0, 0]), "{text}");
    assert!(text.contains("I170 0 cases reused, 3 recomputed (plan changed: compression)."), "{text}");
    assert_eq!(task.open("c01").read_image(&region).unwrap(), voxels);
    let small = task.tree();
    let codecs = |tree: &std::collections::BTreeMap<String, Vec<u8>>| {
        String::from_utf8(tree["cases/c01/image/zarr.json"].clone()).unwrap()
    };
    assert!(codecs(&small).contains("\"zstd\"") && !codecs(&small).contains("blosc"), "{}", codecs(&small));
    assert!(codecs(&fast).contains("blosc"));
    assert_eq!(small["cases/c01/labels/label/0/c.0.0.0"], fast["cases/c01/labels/label/0/c.0.0.0"]);
    // a repair takes the codec from the manifest
    fs_err::remove_dir_all(task.out().join("cases/c01")).unwrap();
    assert_eq!(task.ask(&["verify", "shards", "--repair", "all", "--raw", "raw"]).0, 0);
    assert_eq!(task.tree(), small);
    task.run_cleanly(&[]);
    assert_eq!(task.tree(), fast);
}
