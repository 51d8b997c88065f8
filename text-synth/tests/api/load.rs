//! Many requests through errors: nothing lost, nothing doubled, no slower than the server; and runs that are killed.

use crate::bench::{ends, lines, report, spawn};
use crate::common::{caption_directory, text_synth};
use crate::server::{Act, Server};
use data_manifests::records::{self, Report};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::tempdir;

const LATENCY: Duration = Duration::from_millis(20);
const IN_FLIGHT: u32 = 64;

/// The number of structures in a request's caption.
fn number(body: &[u8]) -> usize {
    let text = String::from_utf8_lossy(body);
    let digits = text.split("abdomen with ").nth(1).unwrap();
    digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

fn answer(n: usize) -> String {
    json!({
        "model": "served-1",
        "choices": [{"finish_reason": "stop", "message": {
            "content": format!("The axial computed tomography slice of the abdomen shows dense structures, {n} in number."),
        }}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    })
    .to_string()
}

/// What happened at the server.
#[derive(Default)]
struct Seen {
    /// How often each caption got a whole reply.
    answered: Vec<u32>,
    first: Option<Instant>,
    /// When requests came that got one.
    times: Vec<Instant>,
}

/// A server that answers in [`LATENCY`] and, where told to, does 9 things of 100 wrong.
fn server(n: usize, errors: bool) -> (Server, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen { answered: vec![0; n], ..Seen::default() }));
    let kept = Arc::clone(&seen);
    let server = Server::start(move |request, body| {
        let n = number(body);
        let now = Instant::now();
        let mut seen = kept.lock().unwrap();
        seen.first.get_or_insert(now);
        match request % 100 {
            // not one after another, as an overloaded server would
            3 | 23 | 43 | 63 | 83 if errors => Act::error(429, "retry-after: 0\r\n"),
            10 | 60 if errors => Act::error(500, ""),
            31 if errors => Act::Cut,
            71 if errors => Act::Half(answer(n)),
            _ => {
                seen.answered[n] += 1;
                seen.times.push(now);
                Act::reply(LATENCY, answer(n))
            }
        }
    });
    (server, seen)
}

fn read_ledger(out: &Path) -> Vec<String> {
    let entries: Vec<Value> = fs_err::read_to_string(out.join("ledger.jsonl"))
        .unwrap()
        .lines()
        .skip(1)
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    entries.iter().map(|e| e["request"].as_str().unwrap().to_owned()).collect()
}

/// Runs `n` requests; gives the share of the server's rate that was reached and the peak memory in bytes.
fn run(n: usize, errors: bool) -> (f64, u64) {
    let directory = tempdir().unwrap();
    caption_directory(&directory.path().join("captions"), n);
    let (server, seen) = server(n, errors);
    let mut command = text_synth();
    command.args(report(directory.path(), &server.base(), &["--concurrency", &IN_FLIGHT.to_string()]));
    let text = ends(&command.output().unwrap(), 0);
    let out = directory.path().join("reports");
    let requests = read_ledger(&out);
    assert_eq!(requests.len(), n);
    assert_eq!(requests.iter().collect::<HashSet<_>>().len(), n, "each request once");
    let reports: Vec<Report> = records::read_lines(&out.join(records::REPORTS)).unwrap();
    assert_eq!(reports.len(), n);
    for (i, report) in reports.iter().enumerate() {
        assert!(report.text.ends_with(&format!("structures, {i} in number.")), "{}", report.text);
    }
    let seen = seen.lock().unwrap();
    assert!(seen.answered.iter().all(|times| *times == 1), "no answer is paid for twice");
    if errors {
        assert!(text.contains("W203 HTTP 500: injected, retry 1/8"), "{text}");
        assert!(text.contains("connection cut") && text.contains("I201 waiting 0.0 s"), "{text}");
    }
    let run: Value = serde_json::from_slice(&fs_err::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(run["counts"]["requests_sent"], server.requests());
    let rate = |latency: Duration| {
        let seconds = (seen.times[n - 1] - seen.first.unwrap() + latency).as_secs_f64();
        n as f64 / seconds / (f64::from(IN_FLIGHT) / latency.as_secs_f64())
    };
    // what the server could have answered in the time that it really took
    let latency = server.latency();
    let share = rate(latency);
    let peak = run["peak_resident_bytes"].as_u64().unwrap();
    println!(
        "{n} requests, errors {errors}: server takes {:.1} ms, {:.1} % of its rate; {:.1} % for {} ms; peak {} MiB, {:.2} s",
        latency.as_secs_f64() * 1e3,
        share * 100.0,
        rate(LATENCY) * 100.0,
        LATENCY.as_millis(),
        peak >> 20,
        run["seconds"].as_f64().unwrap()
    );
    (share, peak)
}

#[test]
fn nothing_is_lost_or_doubled_through_errors() {
    run(400, true);
}

#[test]
#[ignore = "measures: run it in release on a quiet machine (make test-long)"]
fn ten_thousand_requests_at_full_rate() {
    // for its memory: so few requests are half start-up
    let (_, small) = run(2_000, false);
    let (share, large) = run(10_000, false);
    assert!(share >= 0.9, "{share}");
    let (share, with_errors) = run(10_000, true);
    assert!(share >= 0.9, "{share}");
    // what stays is the text of captions and answers: below 8 KiB a request
    for peak in [large, with_errors] {
        assert!(peak < small + 8_000 * 8192, "{small} bytes for 2,000 requests, {peak} for 10,000");
    }
}

#[test]
fn twenty_kills_lose_nothing_and_change_nothing() {
    const N: usize = 400;
    let whole = tempdir().unwrap();
    caption_directory(&whole.path().join("captions"), N);
    let (quick, _) = server(N, true);
    let mut command = text_synth();
    command.args(report(whole.path(), &quick.base(), &["--concurrency", "16"]));
    ends(&command.output().unwrap(), 0);

    let directory = tempdir().unwrap();
    caption_directory(&directory.path().join("captions"), N);
    let out = directory.path().join("reports");
    let (server, _) = server(N, true);
    let arguments = report(directory.path(), &server.base(), &["--quiet", "--concurrency", "8"]);
    let mut kept = Vec::new();
    for kill in 0..20 {
        let mut child = spawn(&arguments);
        // somewhere between the start of the process and some answers more than before
        let after = rand::random_range(0..=N / 25);
        let (before, started) = (lines(&out.join("ledger.jsonl")), Instant::now());
        while lines(&out.join("ledger.jsonl")) < before + after && started.elapsed() < Duration::from_secs(20)
        {
            assert!(child.try_wait().unwrap().is_none(), "ended before kill {kill}");
            std::thread::sleep(Duration::from_micros(rand::random_range(0..3000)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!out.join("manifest.json").exists());
        let bytes = fs_err::read(out.join("ledger.jsonl")).unwrap_or_default();
        let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        // what was on disk stays, in the same place
        assert!(bytes.starts_with(&kept), "kill {kill}");
        kept = bytes[..end].to_vec();
    }
    let mut command = text_synth();
    let text = ends(&command.args(&arguments[..]).output().unwrap(), 0);
    let requests = read_ledger(&out);
    assert_eq!(requests.len(), N, "{text}");
    assert_eq!(requests.iter().collect::<HashSet<_>>().len(), N, "each request once");
    for file in [records::REPORTS, "rejected.jsonl", "ledger.jsonl"] {
        let read = |directory: &Path| fs_err::read(directory.join("reports").join(file)).unwrap();
        assert!(read(directory.path()) == read(whole.path()), "{file}");
    }
}
