//! Runs that end early go on; answers of another model are not mixed in.

use crate::bench::{Bench, KEY, completion, ends, good, lines, report, report_for};
use crate::common::text_synth;
use data_manifests::records;
use std::time::Duration;
use wiremock::Request;

/// T7 and T8
#[test]
fn a_killed_run_goes_on_and_gives_the_same_bytes() {
    let whole = Bench::new(20, Vec::new());
    ends(&whole.run(&["--concurrency", "4"]), 0);

    let bench = Bench::with(20, |r: &Request| good(r).set_delay(Duration::from_millis(60)));
    let mut child = bench.spawn(&["--quiet", "--concurrency", "2"]);
    let ledger = bench.out().join("ledger.jsonl");
    while lines(&ledger) < 6 {
        assert!(child.try_wait().unwrap().is_none(), "ended before it could be killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.out().join("manifest.json").exists());
    // the kill left half a line
    let mut bytes = fs_err::read(&ledger).unwrap();
    bytes.extend_from_slice(br#"{"request":"3f2c"#);
    fs_err::write(&ledger, bytes).unwrap();
    let (kept, before) = (lines(&ledger) - 1, bench.requests().len());
    let text = ends(&bench.run(&["--concurrency", "3"]), 0);
    assert!(text.contains("W208 dropped 1 incomplete line"), "{text}");
    assert!(
        text.contains(&format!("I207 resumed: {kept} requests answered before, {} to do", 20 - kept)),
        "{text}"
    );
    assert_eq!(bench.requests().len() - before, 20 - kept);
    for file in [records::REPORTS, "rejected.jsonl", "ledger.jsonl"] {
        let read = |bench: &Bench| fs_err::read_to_string(bench.out().join(file)).unwrap();
        assert_eq!(read(&bench), read(&whole), "{file}");
    }
}

#[test]
fn a_signal_ends_the_run_with_75() {
    let bench = Bench::with(200, |r: &Request| good(r).set_delay(Duration::from_millis(40)));
    let mut child = bench.spawn(&["--concurrency", "2"]);
    while lines(&bench.out().join("ledger.jsonl")) < 4 {
        assert!(child.try_wait().unwrap().is_none(), "ended before the signal");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(75));
    // what was in flight was waited for and kept
    assert_eq!(lines(&bench.out().join("ledger.jsonl")) - 1, bench.requests().len());
    ends(&bench.run(&["--concurrency", "32"]), 0);
    assert_eq!(bench.requests().len(), 200);
}

/// T10 and T12
#[test]
fn another_model_does_not_mix_and_a_remote_host_needs_leave() {
    let bench = Bench::new(1, Vec::new());
    ends(&bench.run(&[]), 0);
    let text = ends(&bench.run(&["--temperature", "0.9"]), 1);
    assert!(text.contains("E212"), "{text}");
    let mut template = text_synth();
    template
        .args(["report", "--writer", "template", "--captions"])
        .arg(bench.directory.path().join("captions"));
    let text = ends(&template.arg("--out").arg(bench.out()).output().unwrap(), 1);
    assert!(text.contains("E212"), "{text}");
    let mut remote = text_synth();
    remote.args([
        "report",
        "--writer",
        "api",
        "--model",
        "m",
        "--base-url",
        "https://api.example.org/v1",
        "--captions",
    ]);
    remote
        .arg(bench.directory.path().join("captions"))
        .arg("--out")
        .arg(bench.directory.path().join("other"));
    let text = ends(&remote.output().unwrap(), 1);
    assert!(text.contains("E210") && text.contains("--allow-remote api.example.org"), "{text}");
}

/// T12: which model the answers are of, and which one is asked now.
#[test]
fn the_models_are_named_when_they_differ() {
    let bench = Bench::new(1, Vec::new());
    ends(&bench.run(&[]), 0);
    let finished = fs_err::read(bench.out().join("manifest.json")).unwrap();
    let text = ends(&bench.run(&["--model", "huge"]), 1);
    assert!(
        fs_err::read(bench.out().join("manifest.json")).unwrap() == finished,
        "reports are not finished any more"
    );
    assert!(
        text.contains("E212 reports of other options are here. ") && text.contains(": --model tiny → huge."),
        "{text}"
    );
    assert_eq!(bench.requests().len(), 1);
}

/// T10: hosts are compared whole, and a key does not travel in the clear.
#[test]
fn nothing_is_sent_to_a_host_that_was_not_named() {
    let bench = Bench::new(1, Vec::new());
    let run = |base: &str, extra: &[&str]| {
        let mut command = text_synth();
        command.args(report(bench.directory.path(), base, extra)).env("OPENAI_API_KEY", KEY);
        ends(&command.output().unwrap(), 1)
    };
    let text = run("https://api.example.org/v1", &["--allow-remote", "example.org"]);
    assert!(
        text.contains("E210 the base URL is not on this machine. https://api.example.org/v1; captions describe patients' images. Pass --allow-remote api.example.org to send captions there."),
        "{text}"
    );
    let text = run("http://api.example.org/v1", &["--allow-remote", "api.example.org"]);
    assert!(text.contains("E210 the key would travel unencrypted."), "{text}");
    assert!(!text.contains(KEY) && !bench.out().join("ledger.jsonl").exists());
}

/// A round of --retry-rejected that is killed goes on where it stopped, and ends with the bytes of one that was not.
#[test]
fn a_killed_round_of_retries_asks_for_nothing_twice() {
    let answer = |request: &Request| {
        let delay = Duration::from_millis(60);
        match report_for(request) {
            first if first.contains(" 0 in number") => completion(Some(&first), "stop").set_delay(delay),
            _ => completion(Some("I cannot do this."), "stop").set_delay(delay),
        }
    };
    let finished = || {
        let bench = Bench::with(6, answer);
        ends(&bench.run(&["--quiet"]), 3);
        bench
    };
    let whole = finished();
    ends(&whole.run(&["--retry-rejected"]), 3);
    assert_eq!(whole.requests().len(), 1 + 5 * 2 + 5 * 2);

    let bench = finished();
    let next = bench.out().join("ledger.next.jsonl");
    for until in [15, 18] {
        let mut child = bench.spawn(&["--quiet", "--retry-rejected"]);
        while lines(&next) < until {
            assert!(child.try_wait().unwrap().is_none(), "ended before it could be killed");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(bench.out().join("manifest.json").exists(), "the finished stage is lost");
    }
    ends(&bench.run(&["--retry-rejected"]), 3);
    for file in [records::REPORTS, "rejected.jsonl", "ledger.jsonl"] {
        let read = |bench: &Bench| fs_err::read_to_string(bench.out().join(file)).unwrap();
        assert_eq!(read(&bench), read(&whole), "{file}");
    }
    // what was in flight when the process was killed is asked again, nothing else
    assert!(bench.requests().len() <= whole.requests().len() + 2, "{}", bench.requests().len());
    assert!(!bench.out().join("retry.json").exists() && !next.exists());
}
