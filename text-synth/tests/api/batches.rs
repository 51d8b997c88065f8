//! T13: the batch API of a server.

use crate::batch_server::{BatchServer, Fate, Hold, Script};
use crate::bench::{Bench, KEY, completion, ends};
use crate::common::{everything, text_synth};
use data_manifests::records;
use serde_json::{Value, json};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use wiremock::matchers::path_regex;
use wiremock::{Mock, Request, ResponseTemplate};

/// A bench whose server has batches, too.
fn bench(captions: usize, script: Script) -> (Bench, BatchServer) {
    let bench = Bench::new(captions, Vec::new());
    let server = BatchServer::new(script);
    let mock = Mock::given(path_regex("^/v1/(files|batches)")).respond_with(server.clone());
    bench.runtime.block_on(mock.mount(&bench.server));
    (bench, server)
}

fn chats(bench: &Bench) -> usize {
    bench.requests().iter().filter(|request| request.url.path() == "/v1/chat/completions").count()
}

fn read(bench: &Bench, file: &str) -> String {
    fs_err::read_to_string(bench.out().join(file)).unwrap()
}

/// Two batches, of which one has an empty reply and one is late; a third one gets the rest.
const TROUBLED: Script = Script {
    status: |batch| if batch == 1 { "expired" } else { "completed" },
    looks: 0,
    fate: |batch, request| match (batch, request) {
        (0, 0) => Fate::Says(""),
        (1, 1) => Fate::Expired,
        _ => Fate::Answered,
    },
};

#[test]
fn batches_go_out_and_what_they_leave_goes_into_the_next() {
    let (bench, server) = bench(5, Script { looks: 1, ..TROUBLED });
    let text = ends(&bench.run(&["--batch", "--batch-requests", "3"]), 0);
    assert_eq!(chats(&bench), 0);
    for said in [
        "I213 3 requests sent as batch batch_0. Interrupt at any time: the same command goes on.",
        "I213 2 requests sent as batch batch_1.",
        "I213 3 new answers from batch batch_0 (completed), 0 requests without one.",
        "W213 a request of the batch failed. batch batch_1, error file, line 2: custom_id ",
        "batch_expired",
        "I213 1 new answers from batch batch_1 (expired), 1 requests without one.",
        "I213 2 requests sent as batch batch_2.",
        "W205 1 replies were rejected: 1 empty",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    {
        let seen = server.seen();
        let of = |batch: usize, name: &str| {
            seen.batches[batch].iter().map(|r| r["body"][name].clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(2, "max_tokens"), [512, 256]);
        assert_eq!(of(0, "model"), ["tiny"; 3]);
        let digest = seen.made[0]["metadata"]["text_synth_input"].as_str().unwrap();
        assert_eq!(digest.len(), 64);
        assert!(seen.batches.iter().flatten().all(|request| !request.to_string().contains("patient_")));
    }
    assert!(!text.contains(KEY) && !everything(&bench.out()).contains(KEY));

    // the same answers, one by one
    let alone = Bench::new(5, vec![completion(Some(""), "stop")]);
    ends(&alone.run(&[]), 0);
    for file in [records::REPORTS, "rejected.jsonl", "ledger.jsonl"] {
        assert_eq!(read(&bench, file), read(&alone, file), "{file}");
    }
    let manifest: Value = serde_json::from_str(&read(&bench, "manifest.json")).unwrap();
    assert!(!manifest.to_string().contains("batches.json") && !bench.out().join("batches.json").exists());
    let report: Value = serde_json::from_str(&read(&bench, "report.json")).unwrap();
    assert_eq!((&report["counts"]["batches"], &report["counts"]["requests_sent"]), (&json!(3), &json!(7)));
}

/// Whatever step a kill falls on, before or after the server did it: no request is paid for twice.
#[test]
fn kills_between_any_steps_make_no_batch_twice() {
    const FLAGS: [&str; 3] = ["--batch", "--batch-requests", "3"];
    let (whole, server) = bench(5, TROUBLED);
    ends(&whole.run(&FLAGS), 0);
    let steps = server.seen().calls.len();
    assert!(steps >= 14, "{steps}");
    let expected = [read(&whole, records::REPORTS), read(&whole, "ledger.jsonl")];
    let holds: Vec<Hold> = (0..steps).flat_map(|step| [Hold::Before(step), Hold::After(step)]).collect();
    std::thread::scope(|scope| {
        for part in holds.chunks(holds.len().div_ceil(4)) {
            let expected = &expected;
            scope.spawn(move || {
                for hold in part {
                    let (bench, server) = bench(5, TROUBLED);
                    kill_at(&bench, &server, *hold, &FLAGS);
                    server.seen().strangers = 130;
                    let text = ends(&bench.run(&FLAGS), 0);
                    assert_eq!(server.seen().batches.len(), 3, "{hold:?}: {text}");
                    assert_eq!(server.times(), [1, 1, 1, 2, 2], "{hold:?}: {text}");
                    let found = [read(&bench, records::REPORTS), read(&bench, "ledger.jsonl")];
                    assert_eq!(&found, expected, "{hold:?}");
                    assert!(!bench.out().join("batches.json").exists(), "{hold:?}");
                }
            });
        }
    });
}

/// Starts a run and kills it while the server holds a reply back.
fn kill_at(bench: &Bench, server: &BatchServer, hold: Hold, flags: &[&str]) {
    let (Hold::Before(step) | Hold::After(step)) = hold;
    server.seen().hold = Some(hold);
    let mut child = bench.spawn(&[flags, &["--quiet"]].concat());
    while server.seen().calls.len() <= step {
        assert!(child.try_wait().unwrap().is_none(), "{hold:?}: ended before it could be killed");
        std::thread::sleep(Duration::from_millis(3));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.out().join("manifest.json").exists());
    server.seen().hold = None;
}

/// A batch that was made although the reply says otherwise, or never came.
#[test]
fn a_batch_that_was_made_in_spite_of_an_error_is_found() {
    for failure in
        [ResponseTemplate::new(500), ResponseTemplate::new(200).set_body_raw("<html>", "text/html")]
    {
        let (bench, server) = bench(2, Script::default());
        server.seen().strangers = 230;
        server.seen().instead.push(("POST /batches", failure, true));
        let text = ends(&bench.run(&["--batch"]), 0);
        assert!(text.contains("W203 ") && text.contains("retry 1/8"), "{text}");
        assert_eq!((server.calls("POST /batches"), server.seen().batches.len()), (1, 1), "{text}");
        // three pages of a list, after the first question
        assert_eq!(server.calls("GET /batches") - server.calls("GET /batches/"), 4);
    }
}

#[test]
fn a_file_that_the_server_has_lost_is_sent_again() {
    let (bench, server) = bench(2, Script::default());
    // probe, upload, create
    kill_at(&bench, &server, Hold::Before(2), &["--batch"]);
    assert!(read(&bench, "batches.json").contains("file-in-0"));
    server.lose_files();
    ends(&bench.run(&["--batch"]), 0);
    assert_eq!((server.calls("POST /files"), server.seen().batches.len()), (2, 1));
}

#[test]
fn a_server_without_batches_gets_single_requests() {
    let missing = |status: u16| ResponseTemplate::new(status).set_body_json(json!({"detail": "Not Found"}));
    let knows_no_path = ResponseTemplate::new(200).set_body_json(json!({"error": "Unexpected endpoint"}));
    for (call, reply) in [
        ("GET /batches", missing(404)),
        ("GET /batches", missing(405)),
        ("GET /batches", missing(501)),
        ("GET /batches", knows_no_path),
        ("POST /files", missing(404)),
        ("POST /batches", missing(405)),
    ] {
        let (bench, server) = bench(4, Script::default());
        server.seen().instead.push((call, reply, false));
        let text = ends(&bench.run(&["--batch", "--concurrency", "16"]), 0);
        assert!(
            text.contains("I213 server has no batch API; using 16 concurrent requests.\n"),
            "{call}: {text}"
        );
        assert_eq!((chats(&bench), server.seen().batches.len(), bench.reports().len()), (4, 0, 4));
        assert!(!bench.out().join("batches.json").exists());
    }
    // a server that has no other address either says so in its own words
    let bench = Bench::with(2, |_: &Request| {
        ResponseTemplate::new(404)
            .set_body_json(json!({"error": {"message": "The model `tiny` does not exist"}}))
    });
    let text = ends(&bench.run(&["--batch"]), 1);
    assert!(text.contains("I213 server has no batch API; using 1 concurrent requests."), "{text}");
    assert!(
        text.contains("E202 the server refused the request.") && text.contains("does not exist"),
        "{text}"
    );
}

#[test]
fn refused_keys_and_models_end_the_run() {
    let refusal = ResponseTemplate::new(401)
        .set_body_json(json!({"error": {"message": format!("Incorrect API key: {KEY}")}}));
    for call in ["GET /batches", "POST /files", "POST /batches", "GET /batches/", "GET /files"] {
        let (bench, server) = bench(3, Script::default());
        server.seen().instead.push((call, refusal.clone(), false));
        let text = ends(&bench.run(&["--batch"]), 1);
        assert!(text.contains("E202") && text.contains("HTTP 401: Incorrect API key: [key]"), "{text}");
        assert!(!text.contains(KEY) && !everything(&bench.out()).contains(KEY), "{text}");
        assert_eq!(chats(&bench), 0);
        // with the right key it goes on, and no batch is made anew
        ends(&bench.run(&["--batch"]), 0);
        assert_eq!((server.seen().batches.len(), bench.reports().len()), (1, 3), "{call}");
    }
    // a 404 is about the model where it stands in every line
    let (bench, server) = bench(3, Script { fate: |_, _| Fate::Fails(404), ..Script::default() });
    let text = ends(&bench.run(&["--batch"]), 1);
    assert!(
        text.contains("E202 the server refused the request.") && text.contains("HTTP 404: injected"),
        "{text}"
    );
    assert_eq!((server.seen().batches.len(), chats(&bench)), (1, 0));
}

fn terminate(child: &mut std::process::Child) -> ExitStatus {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    child.wait().unwrap()
}

#[test]
fn a_signal_while_a_batch_runs_ends_the_run_with_75() {
    let (bench, server) = bench(3, Script { looks: 2, ..Script::default() });
    let mut child = bench.spawn(&["--batch"]);
    while server.calls("GET /batches/") < 1 {
        assert!(child.try_wait().unwrap().is_none(), "ended before the signal");
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = Instant::now();
    assert_eq!(terminate(&mut child).code(), Some(75));
    assert!(asked.elapsed() < Duration::from_secs(5));
    // who forgets the flag does not pay twice
    let text = ends(&bench.run(&[]), 1);
    assert!(
        text.contains("E228 3 of the requests are in batches at the server.") && text.contains("Add --batch"),
        "{text}"
    );
    let text = ends(&bench.run(&["--batch-out", bench.directory.path().join("f").to_str().unwrap()]), 1);
    assert!(text.contains("E228"), "{text}");
    let printed = String::from_utf8(bench.run(&["--batch", "--dry-run"]).stdout).unwrap();
    assert!(
        printed.contains("requests to do: 3 (") && printed.contains("of these in batches at the server: 3\n"),
        "{printed}"
    );
    // nor who names another server
    let mut other = text_synth();
    other.args(crate::bench::report(bench.directory.path(), "http://127.0.0.1:9/v1", &["--batch"]));
    let text = ends(&other.output().unwrap(), 1);
    assert!(text.contains("E228 another server or model has batches of these requests."), "{text}");

    let text = ends(&bench.run(&["--batch"]), 0);
    assert!(text.contains("I213 3 requests are in batch batch_0 already."), "{text}");
    assert_eq!((server.seen().batches.len(), chats(&bench), bench.reports().len()), (1, 0, 3));
}

#[test]
fn a_server_that_wants_to_be_left_alone_is() {
    let (bench, server) = bench(1, Script::default());
    let later = ResponseTemplate::new(200)
        .insert_header("retry-after", "3")
        .set_body_json(json!({"id": "batch_0", "status": "in_progress"}));
    let limited =
        ResponseTemplate::new(429).insert_header("retry-after", "2").set_body_json(json!({"error": "slow"}));
    server.seen().instead.extend([("GET /batches/", later, false), ("GET /batches/", limited, false)]);
    let text = ends(&bench.run(&["--batch"]), 0);
    assert!(text.contains("I201 waiting 2."), "{text}");
    let seen = server.seen();
    let looks: Vec<Instant> =
        seen.calls.iter().filter(|(call, _)| call.starts_with("GET /batches/")).map(|(_, at)| *at).collect();
    assert_eq!(looks.len(), 3);
    assert!(looks[1] - looks[0] >= Duration::from_secs(3) && looks[2] - looks[1] >= Duration::from_secs(2));
}

/// No request goes into batches without end.
#[test]
fn what_no_batch_answers_is_given_up() {
    let fate = |_: usize, request: usize| match request {
        0 => Fate::Forgotten,
        _ => Fate::Answered,
    };
    let (bench, server) = bench(3, Script { fate, ..Script::default() });
    let text = ends(&bench.run(&["--batch"]), 3);
    assert!(text.contains("E203 case patient_0:axial:0:0: no reply in 2 batches. batch batch_1 (completed) has no answer to it."), "{text}");
    assert_eq!(server.times(), [1, 1, 2]);
    // another run tries again
    ends(&bench.run(&["--batch"]), 3);
    assert_eq!(server.times(), [1, 1, 4]);

    // what is wrong in itself is sent once
    let fate = |_: usize, request: usize| if request == 1 { Fate::Fails(400) } else { Fate::Answered };
    let (bench, server) = self::bench(3, Script { fate, ..Script::default() });
    let text = ends(&bench.run(&["--batch"]), 3);
    assert!(text.contains("E202 case patient_1:axial:0:0: the request was refused."), "{text}");
    assert_eq!(server.times(), [1, 1, 1]);

    // replies that are rejected have a second attempt, and two more where that is asked for
    let (bench, server) = self::bench(
        2,
        Script {
            fate: |batch, request| if request == 0 && batch < 9 { Fate::Says("no") } else { Fate::Answered },
            ..Script::default()
        },
    );
    let text = ends(&bench.run(&["--batch"]), 3);
    assert!(text.contains("E205 case patient_0:axial:0:0: all replies were rejected"), "{text}");
    assert_eq!(server.times(), [1, 2]);
    ends(&bench.run(&["--batch", "--retry-rejected"]), 3);
    assert_eq!(server.times(), [1, 4]);
}

#[test]
fn batches_that_fail_as_a_whole() {
    // twice: the run ends
    let (bench, server) = bench(2, Script { status: |_| "failed", ..Script::default() });
    let text = ends(&bench.run(&["--batch"]), 1);
    assert!(
        text.contains(
            "W213 the server refused batch batch_0; its requests go into another one. invalid: bad line."
        ),
        "{text}"
    );
    assert!(
        text.contains("E202 the server refused the request.")
            && text.contains("batch batch_1: invalid: bad line"),
        "{text}"
    );
    assert_eq!(server.seen().batches.len(), 2);

    // too much at once: each waits for others
    let status = |batch| if batch < 2 || batch == 3 { "too much" } else { "completed" };
    let (bench, server) = self::bench(3, Script { status, ..Script::default() });
    ends(&bench.run(&["--batch", "--batch-requests", "1"]), 0);
    assert_eq!(bench.reports().len(), 3);
    assert!(server.seen().batches.len() >= 6);

    // somebody stopped it
    let (bench, server) = self::bench(
        2,
        Script {
            status: |batch| if batch == 0 { "cancelled" } else { "completed" },
            fate: |batch, request| if batch == 0 && request == 1 { Fate::Forgotten } else { Fate::Answered },
            ..Script::default()
        },
    );
    let text = ends(&bench.run(&["--batch"]), 1);
    assert!(
        text.contains("E227 batch batch_0 was cancelled at the server. 1 of its requests have no answer."),
        "{text}"
    );
    ends(&bench.run(&["--batch"]), 0);
    assert_eq!(server.times(), [1, 2]);
}

#[test]
fn a_batch_that_the_server_has_forgotten_is_not_paid_for_again_unasked() {
    let (bench, server) = bench(2, Script::default());
    let gone = ResponseTemplate::new(404).set_body_json(json!({"error": {"message": "No batch found"}}));
    server.seen().instead.push(("GET /batches/", gone, false));
    let text = ends(&bench.run(&["--batch"]), 1);
    assert!(
        text.contains("E227 the server does not know batch batch_0.") && text.contains("batches.json"),
        "{text}"
    );
    fs_err::remove_file(bench.out().join("batches.json")).unwrap();
    ends(&bench.run(&["--batch"]), 0);
    assert_eq!(server.times(), [2, 2]);
}

#[test]
fn limits_cut_batches() {
    let (bench, server) = bench(5, Script::default());
    let text = ends(&bench.run(&["--batch", "--max-requests", "3"]), 1);
    assert!(text.contains("E209 stopping: 3 requests sent, the limit is reached."), "{text}");
    let sizes = || server.seen().batches.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes(), [3]);
    ends(&bench.run(&["--batch", "--max-requests", "3"]), 0);
    assert_eq!(sizes(), [3, 2]);

    // estimates make room for what answers did not use
    let (bench, server) = self::bench(8, Script::default());
    let text = ends(&bench.run(&["--batch", "--max-tokens", "64", "--max-total-tokens", "800"]), 1);
    assert!(text.contains("E209 stopping: ") && text.contains("--max-total-tokens is 800"), "{text}");
    let sent: usize = server.seen().batches.iter().map(Vec::len).sum();
    assert!((2..8).contains(&sent) && sent * 120 <= 800, "{sent}");
    let prices = ["--price-prompt", "1000", "--price-completion", "10000", "--max-cost", "0.1"];
    let (bench, server) = self::bench(2, Script::default());
    let text = ends(&bench.run(&[&prices[..], &["--batch"]].concat()), 1);
    assert!(
        text.contains("E209 stopping: 0.000000 spent, the limit is reached. --max-cost is 0.1"),
        "{text}"
    );
    assert_eq!((server.calls("POST /files"), server.seen().batches.len()), (0, 0));
}

#[test]
fn rewrites_and_volumes_go_in_batches_too() {
    let (bench, server) = bench(
        3,
        Script {
            fate: |batch, _| {
                if batch == 0 {
                    Fate::Answered
                } else {
                    Fate::Says("The liver of the patient holds dense structures that are bright and round.")
                }
            },
            ..Script::default()
        },
    );
    let mut command = text_synth();
    let captions = bench.directory.path().join("captions");
    command.args(["report", "--writer", "api", "--model", "tiny", "--batch", "--base-url"]);
    command
        .arg(format!("{}/v1", bench.server.uri()))
        .arg("--captions")
        .arg(captions)
        .arg("--out")
        .arg(bench.out());
    let text = ends(&command.output().unwrap(), 0);
    assert!(server.seen().batches.len() >= 2 && chats(&bench) == 0, "{text}");
    assert_eq!(records::read_lines::<Value>(&bench.out().join(records::VOLUMES)).unwrap().len(), 3);
    assert!(!bench.out().join("batches.json").exists());
}

#[test]
fn flags_that_do_not_go_together() {
    let (bench, server) = bench(1, Script::default());
    for other in [["--batch-in", "f"], ["--batch-out", "f"]] {
        let text = ends(&bench.run(&[&other[..], &["--batch"]].concat()), 2);
        assert!(text.contains("cannot be used with"), "{text}");
    }
    let text = ends(&bench.run(&["--batch-requests", "3"]), 2);
    assert!(text.contains("--batch"), "{text}");
    assert!(server.seen().calls.is_empty());
}
