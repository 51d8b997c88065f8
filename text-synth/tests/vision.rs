//! The captioner `api` against a scripted server.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Volume, ct, everything, read_png, shards, text_synth};
use data_manifests::records::{self, Caption};
use data_manifests::{Manifest, digest, rules, verify};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::time::Duration;
use tempfile::{TempDir, tempdir};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const KEY: &str = "sk-test-do-not-store-a91f";

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// The PNG file in a request.
fn picture(request: &Request) -> Vec<u8> {
    let body = body(request);
    let part = &body["messages"][1]["content"][1];
    assert_eq!(part["type"], "image_url");
    let uri = part["image_url"]["url"].as_str().unwrap();
    STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap()
}

fn completion(content: Option<&str>, finish: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "id": "x", "object": "chat.completion", "model": "served-1",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 700, "completion_tokens": 20},
    }))
}

/// A caption that depends on the picture only, with what papers leave behind.
fn good(request: &Request) -> ResponseTemplate {
    let word = &digest::sha256_hex(&picture(request))[..8];
    let text = format!("Figure 3. A round body of soft tissue with a bright spine in it, pattern p{word}.");
    completion(Some(&text), "stop")
}

struct Script(Mutex<Vec<ResponseTemplate>>);

impl Respond for Script {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        self.0.lock().unwrap().pop().unwrap_or_else(|| good(request))
    }
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    server: MockServer,
    directory: TempDir,
}

impl Bench {
    fn new(mut script: Vec<ResponseTemplate>) -> Self {
        script.reverse();
        Self::with(Script(Mutex::new(script)))
    }

    fn with(respond: impl Respond + 'static) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(MockServer::start());
        let mock = Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(respond);
        runtime.block_on(mock.mount(&server));
        let directory = tempdir().unwrap();
        shards(&directory.path().join("shards"), &[ct("zebra_17"), Volume { id: "zebra_18", ..wavy() }]);
        Self { runtime, server, directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn arguments(&self, extra: &[&str]) -> Vec<String> {
        let (shards, out) = (self.at("shards"), self.at("captions"));
        let base = format!("{}/v1", self.server.uri());
        let fixed =
            ["caption", "--captioner", "api", "--model", "tiny", "--base-url", &base, "--stride", "1"];
        let places = ["--shards", shards.to_str().unwrap(), "--out", out.to_str().unwrap()];
        fixed.iter().chain(&places).chain(extra).map(|a| (*a).to_owned()).collect()
    }

    fn run(&self, extra: &[&str]) -> Output {
        text_synth().args(self.arguments(extra)).env("OPENAI_API_KEY", KEY).output().unwrap()
    }

    fn requests(&self) -> Vec<Request> {
        self.runtime.block_on(self.server.received_requests()).unwrap()
    }

    fn captions(&self) -> Vec<Caption> {
        records::read_lines(&self.at("captions").join(records::CAPTIONS)).unwrap()
    }

    fn rejected(&self) -> Vec<Value> {
        records::read_lines(&self.at("captions").join("rejected.jsonl")).unwrap()
    }
}

/// Another body than that of [`ct`].
fn wavy() -> Volume {
    let mut volume = ct("x");
    for (i, value) in volume.raw.iter_mut().enumerate() {
        *value += ((i / 80 % 60) as f32 * 0.7).sin() * 20.0;
    }
    volume
}

fn ends(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn pictures_travel_without_names_and_captions_come_back_clean() {
    let bench = Bench::new(Vec::new());
    ends(&bench.run(&["--concurrency", "4"]), 0);
    let (captions, requests) = (bench.captions(), bench.requests());
    assert_eq!((captions.len(), requests.len()), (24, 24));
    for request in &requests {
        assert_eq!(read_png(&picture(request)).0, [60, 80]);
        let body = body(request);
        assert_eq!((&body["model"], &body["max_tokens"]), (&json!("tiny"), &json!(256)));
        let text = body["messages"][1]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("abdomen") && text.contains("liver, ") && text.contains("axial"), "{text}");
        assert!(!body.to_string().contains("zebra"));
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    }
    for caption in &captions {
        assert!(caption.caption.starts_with("A round body of soft tissue"), "{}", caption.caption);
        assert_eq!(caption.captioner, "api/1");
        assert_eq!(caption.facts["window"], "soft tissue");
    }
    // each its own picture's
    let mut words: Vec<_> = captions.iter().map(|c| c.caption.clone()).collect();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), 24);
    assert!(!everything(&bench.at("captions")).contains(KEY));
    let manifest = Manifest::load(&bench.at("captions"), "caption").unwrap();
    assert_eq!(manifest.parameters["model"]["model"], "tiny");
    verify::verify(&bench.at("captions")).unwrap();
    assert_eq!(rules::check_directory(&bench.at("captions")).unwrap(), Vec::<String>::new());
    assert!(ends(&bench.run(&[]), 0).contains("Nothing to do"));
    assert_eq!(bench.requests().len(), 24);
    // other sampling does not mix
    let text = ends(&bench.run(&["--temperature", "0.9"]), 1);
    assert!(
        text.contains("E212 captions of other options are here. ")
            && text.contains(": --temperature 0.2 → 0.9."),
        "{text}"
    );
    verify::verify(&bench.at("captions")).unwrap();
    // pictures of patients stay here unless told
    let mut remote = text_synth();
    remote.args([
        "caption",
        "--captioner",
        "api",
        "--model",
        "m",
        "--base-url",
        "https://api.example.org/v1",
    ]);
    remote.arg("--shards").arg(bench.at("shards")).arg("--out").arg(bench.at("other"));
    let text = ends(&remote.output().unwrap(), 1);
    assert!(text.contains("E210") && text.contains("--allow-remote api.example.org"), "{text}");
}

fn lines(file: &Path) -> usize {
    fs_err::read(file).map_or(0, |b| b.iter().filter(|c| **c == b'\n').count())
}

#[test]
fn a_killed_run_asks_nothing_twice_and_gives_the_same_bytes() {
    let whole = Bench::new(Vec::new());
    ends(&whole.run(&["--concurrency", "4"]), 0);

    let bench = Bench::with(|r: &Request| good(r).set_delay(Duration::from_millis(60)));
    let mut killed = std::process::Command::new(assert_cmd::cargo::cargo_bin!("text-synth"));
    killed.args(bench.arguments(&["--concurrency", "2", "--quiet"])).env_remove("OPENAI_API_KEY");
    let mut child = killed.spawn().unwrap();
    let ledger = bench.at("captions").join("ledger.jsonl");
    while lines(&ledger) < 6 {
        assert!(child.try_wait().unwrap().is_none(), "ended before it could be killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.at("captions").join("manifest.json").exists());
    let (kept, before) = (lines(&ledger) - 1, bench.requests().len());
    ends(&bench.run(&["--concurrency", "3"]), 0);
    assert_eq!(bench.requests().len() - before, 24 - kept);
    for file in [records::CAPTIONS, "rejected.jsonl", "ledger.jsonl", "slices.jsonl"] {
        let read = |bench: &Bench| fs_err::read_to_string(bench.at("captions").join(file)).unwrap();
        assert_eq!(read(&bench), read(&whole), "{file}");
    }
}

#[test]
fn replies_that_are_no_captions_are_listed() {
    let script = vec![
        completion(Some("I'm sorry, but I cannot help with medical images of patients."), "stop"),
        completion(Some("Cut in the mid"), "length"),
        completion(Some("Figure 2."), "stop"),
    ];
    // one batch of 16: the three are asked again after the others
    let bench = Bench::new(script);
    let text = ends(&bench.run(&["--concurrency", "1"]), 0);
    assert!(text.contains("W205 3 texts of the model were rejected; 0 slices have no caption"), "{text}");
    let rejected = bench.rejected();
    let reasons: Vec<_> = rejected.iter().map(|r| r["reasons"][0].as_str().unwrap()).collect();
    assert_eq!(reasons, ["refusal", "cut at max_tokens=256", "empty"]);
    assert!(rejected.iter().all(|r| r["replaced"] == true));
    assert_eq!((bench.captions().len(), bench.requests().len()), (24, 27));
    let room: Vec<_> = bench.requests().iter().map(|r| body(r)["max_tokens"].clone()).collect();
    assert_eq!(room.iter().filter(|m| **m == 512).count(), 3);

    // a picture that is never described has no caption; the others have
    let refuse = Mutex::new(None::<Vec<u8>>);
    let bench = Bench::with(move |r: &Request| {
        let mut first = refuse.lock().unwrap();
        let seen = picture(r);
        if *first.get_or_insert_with(|| seen.clone()) == seen {
            completion(Some(""), "stop")
        } else {
            good(r)
        }
    });
    let text = ends(&bench.run(&["--concurrency", "1"]), 3);
    assert!(text.contains("E205 case zebra_17:axial:0:0: all replies were rejected: empty"), "{text}");
    assert_eq!((bench.captions().len(), bench.rejected().len(), bench.requests().len()), (23, 2, 25));
    assert_eq!(lines(&bench.at("captions").join("slices.jsonl")), 24);
    ends(&bench.run(&["--concurrency", "1"]), 3);
    assert_eq!(bench.requests().len(), 25);
    ends(&bench.run(&["--concurrency", "1", "--retry-rejected"]), 3);
    assert_eq!(bench.requests().len(), 27);
}

#[test]
fn a_server_that_is_gone_ends_the_run() {
    let bench = Bench::with(|_: &Request| ResponseTemplate::new(503));
    let text = ends(&bench.run(&["--retries", "0", "--concurrency", "2"]), 1);
    assert!(text.contains("E201 4 requests in a row got no reply"), "{text}");
    assert!(bench.requests().len() < 10);
}

#[test]
fn a_signal_ends_the_run_with_75_and_keeps_what_was_answered() {
    let bench = Bench::with(|r: &Request| good(r).set_delay(Duration::from_millis(150)));
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("text-synth"));
    command.args(bench.arguments(&["--concurrency", "2", "--quiet"])).env_remove("OPENAI_API_KEY");
    let mut child = command.spawn().unwrap();
    let ledger = bench.at("captions").join("ledger.jsonl");
    while lines(&ledger) < 4 {
        assert!(child.try_wait().unwrap().is_none(), "ended before the signal");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(75));
    // what was in flight was waited for and kept
    assert_eq!(lines(&ledger) - 1, bench.requests().len());
    ends(&bench.run(&["--concurrency", "16"]), 0);
    assert_eq!((bench.requests().len(), bench.captions().len()), (24, 24));
}

#[test]
fn refused_pictures_neither_end_the_run_nor_lose_a_finished_one() {
    let seen = Mutex::new(Vec::<Vec<u8>>::new());
    // pictures 6 to 9 are refused, four in a row
    let bench = Bench::with(move |r: &Request| {
        let mut seen = seen.lock().unwrap();
        let picture = picture(r);
        let place = seen.iter().position(|known| *known == picture).unwrap_or_else(|| {
            seen.push(picture);
            seen.len() - 1
        });
        if (6..10).contains(&place) {
            ResponseTemplate::new(400).set_body_json(json!({"error": {"message": "content policy"}}))
        } else {
            good(r)
        }
    });
    let text = ends(&bench.run(&["--concurrency", "1"]), 3);
    assert!(text.contains("the request was refused. HTTP 400: content policy."), "{text}");
    assert_eq!((bench.captions().len(), bench.requests().len()), (20, 24));
    for (extra, requests) in [(&[][..], 24), (&["--retry-rejected"], 28)] {
        ends(&bench.run(&[&["--concurrency", "1"], extra].concat()), 3);
        assert_eq!(
            (bench.captions().len(), bench.rejected().len() >= 4, bench.requests().len()),
            (20, true, requests)
        );
        verify::verify(&bench.at("captions")).unwrap();
    }
    let mut gone = bench.arguments(&["--retry-rejected", "--retries", "0"]);
    let base = gone.iter().position(|word| word == "--base-url").unwrap() + 1;
    gone[base] = "http://127.0.0.1:9/v1".to_owned();
    let before = fs_err::read(bench.at("captions").join("manifest.json")).unwrap();
    text_synth().args(&gone).assert().code(3);
    verify::verify(&bench.at("captions")).unwrap();
    assert!(!before.is_empty() && bench.captions().len() == 20);
}

/// Captions that were paid for outlast those of another captioner.
#[test]
fn another_captioner_replaces_captions_and_keeps_the_answers() {
    let bench = Bench::new(Vec::new());
    ends(&bench.run(&["--concurrency", "4"]), 0);
    let read = |name: &str| fs_err::read(bench.at("captions").join(name)).unwrap();
    let before = [records::CAPTIONS, "ledger.jsonl"].map(read);
    let measure = |extra: &[&str]| {
        let mut measure = text_synth();
        measure.args(["caption", "--stride", "1", "--shards"]).arg(bench.at("shards"));
        measure.arg("--out").arg(bench.at("captions")).args(extra).output().unwrap()
    };
    let text = ends(&measure(&[]), 1);
    assert!(
        text.contains("E212 captions of other options are here. ")
            && text.contains(": --captioner api → measure."),
        "{text}"
    );
    assert!(before == [records::CAPTIONS, "ledger.jsonl"].map(read));
    let text = ends(&measure(&["--overwrite"]), 0);
    assert!(text.contains("I230 answers of other options are kept in ledger."), "{text}");
    assert!(!bench.at("captions").join("rejected.jsonl").exists());
    assert_eq!(verify::verify(&bench.at("captions")).unwrap(), [""; 0]);
    assert!(bench.captions().iter().all(|caption| caption.captioner == "measure/3"));
    ends(&bench.run(&[]), 1);
    ends(&bench.run(&["--overwrite"]), 0);
    assert!(before == [records::CAPTIONS, "ledger.jsonl"].map(read));
    assert_eq!(bench.requests().len(), 24, "nothing was asked twice");
    assert_eq!(verify::verify(&bench.at("captions")).unwrap(), [""; 0]);
}

fn counts(bench: &Bench) -> Value {
    let run = fs_err::read(bench.at("captions").join("report.json")).unwrap();
    serde_json::from_slice::<Value>(&run).unwrap()["counts"].clone()
}

#[test]
fn limits_hold_for_pictures_and_keep_what_came() {
    let bench = Bench::new(Vec::new());
    let text = ends(&bench.run(&["--max-requests", "5"]), 1);
    assert!(text.contains("E209 stopping: 5 requests sent, the limit is reached."), "{text}");
    let ledger = bench.at("captions").join("ledger.jsonl");
    assert_eq!((bench.requests().len(), lines(&ledger), &counts(&bench)["requests_sent"]), (5, 6, &json!(5)));
    assert!(!bench.at("captions").join("manifest.json").exists());

    // 720 tokens an answer, over all that the ledger holds; before it is known, what a picture and its prompt are estimated at, and 64
    let limit = ["--concurrency", "2", "--max-tokens", "64", "--max-total-tokens", "6000"];
    let bench = Bench::new(Vec::new());
    let text = ends(&bench.run(&limit), 1);
    assert!(
        text.contains(" tokens used, the limit is reached. --max-total-tokens is 6000, the next of "),
        "{text}"
    );
    let sent = bench.requests().len();
    assert!((5..=8).contains(&sent), "{sent}");
    ends(&bench.run(&limit), 1);
    assert_eq!(bench.requests().len(), sent);
    let prices = ["--price-prompt", "1000", "--price-completion", "10000"];
    let cheap = [&prices[..], &["--max-tokens", "64", "--max-cost", "1"]].concat();
    assert!(ends(&bench.run(&cheap), 1).contains(" spent, the limit is reached. --max-cost is 1, "));
    let start = std::time::Instant::now();
    let rest = [&prices[..], &["--max-tokens", "64", "--requests-per-minute", "600"]].concat();
    let text = ends(&bench.run(&rest), 0);
    assert!(start.elapsed() >= Duration::from_millis(100 * (23 - sent as u64)));
    assert!(text.contains("Tokens of all answers: 16800 of prompts, 480 of replies, cost 21.60;"), "{text}");
    assert_eq!((bench.requests().len(), &counts(&bench)["cost_millionths"]), (24, &json!(21_600_000)));
}

#[test]
fn a_dry_run_looks_at_all_pictures_and_sends_none() {
    let bench = Bench::new(Vec::new());
    let dry = ["--dry-run", "--price-prompt", "1000", "--price-completion", "10000"];
    let print = || String::from_utf8(bench.run(&dry).stdout).unwrap();
    let text = print();
    assert!(
        text.starts_with("requests answered before: 0\nrequests to do: 24 (")
            && text.contains("requests in all: 24 if every first reply is used, at most 48\n")
            && text.contains(" of prompts, 6144 of replies if every first reply is used\n")
            && text.contains(&format!(" of prompts, {} of replies\n", 24 * (256 + 512)))
            && text.ends_with("tokens of pictures are estimated: servers count them by rules of their own\n"),
        "{text}"
    );
    let prompts: u64 = text.split("estimated: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let words = bench.directory.path().join("captions");
    assert!(prompts > 24 * 255 && prompts < 24 * 700, "{prompts}");
    assert!(!words.exists() && bench.requests().is_empty());
    ends(&bench.run(&["--max-requests", "5"]), 1);
    let before = everything(&words);
    assert!(print().starts_with("requests answered before: 5\nrequests to do: 19 ("));
    assert_eq!((everything(&words), bench.requests().len()), (before, 5));
    let mut measure = text_synth();
    measure
        .args(["caption", "--dry-run", "--shards"])
        .arg(bench.at("shards"))
        .arg("--out")
        .arg(bench.at("new"));
    assert!(String::from_utf8(measure.output().unwrap().stdout).unwrap().starts_with("requests to do: 0 "));
    assert!(!bench.at("new").exists());
}

#[test]
fn further_members_reach_the_vision_model() {
    let bench = Bench::new(Vec::new());
    let newer = r#"{"max_tokens": null, "max_completion_tokens": 300, "detail": "low"}"#;
    let options = ["--top-p", "0.5", "--request-seed", "3", "--extra-body", newer];
    ends(&bench.run(&options), 0);
    let extra: Value = serde_json::from_str(newer).unwrap();
    for request in bench.requests() {
        let body = body(&request);
        assert_eq!(
            (&body["max_completion_tokens"], &body["top_p"], &body["seed"], &body["detail"]),
            (&json!(300), &json!(0.5), &json!(3), &json!("low"))
        );
        assert!(body.get("max_tokens").is_none());
    }
    let parameters = Manifest::load(&bench.at("captions"), "caption").unwrap().parameters;
    let model = &parameters["model"];
    assert_eq!(
        (&model["top_p"], &model["request_seed"], &model["extra_body"]),
        (&json!(0.5), &json!(3), &extra)
    );
    assert_eq!(rules::check_directory(&bench.at("captions")).unwrap(), Vec::<String>::new());
    assert!(ends(&bench.run(&["--extra-body", r#"{"api_key": "abc"}"#]), 1).contains("E231"));
}
