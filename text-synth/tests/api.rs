//! The writer `api` against a scripted server.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{caption_directory, everything, text_synth};
use data_manifests::records::{self, Report};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const KEY: &str = "sk-test-do-not-store-a91f";

/// A report that depends on the caption in the request only.
fn report_for(request: &Request) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let user = body["messages"][1]["content"].as_str().unwrap();
    let n: String =
        user.split("abdomen with ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    format!("The axial computed tomography slice of the abdomen shows dense structures, {n} in number.")
}

fn completion(content: Option<&str>, finish: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "id": "x", "object": "chat.completion", "model": "served-1",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    }))
}

fn good(request: &Request) -> ResponseTemplate {
    completion(Some(&report_for(request)), "stop")
}

/// Answers the first requests by a script and all others well.
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
    fn new(captions: usize, mut script: Vec<ResponseTemplate>) -> Self {
        script.reverse();
        Self::with(captions, Script(Mutex::new(script)))
    }

    fn with(captions: usize, respond: impl Respond + 'static) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(MockServer::start());
        let mock = Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(respond);
        runtime.block_on(mock.mount(&server));
        let directory = tempdir().unwrap();
        caption_directory(&directory.path().join("captions"), captions);
        Self { runtime, server, directory }
    }

    fn out(&self) -> std::path::PathBuf {
        self.directory.path().join("reports")
    }

    fn command(&self, extra: &[&str]) -> assert_cmd::Command {
        let mut command = text_synth();
        command.args(["report", "--writer", "api", "--model", "tiny"]);
        if !extra.contains(&"--concurrency") {
            command.args(["--concurrency", "1"]);
        }
        command.arg("--captions").arg(self.directory.path().join("captions")).arg("--out").arg(self.out());
        command
            .args(["--base-url", &format!("{}/v1", self.server.uri())])
            .args(extra)
            .env("OPENAI_API_KEY", KEY);
        command
    }

    fn run(&self, extra: &[&str]) -> Output {
        self.command(extra).output().unwrap()
    }

    fn requests(&self) -> Vec<Request> {
        self.runtime.block_on(self.server.received_requests()).unwrap()
    }

    fn reports(&self) -> Vec<Report> {
        records::read_lines(&self.out().join(records::REPORTS)).unwrap()
    }

    fn rejected(&self) -> Vec<Value> {
        records::read_lines(&self.out().join("rejected.jsonl")).unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ends(output: &Output, code: i32) -> String {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn every_caption_gets_a_report_and_nothing_is_told_of_patients_or_key() {
    let bench = Bench::new(12, Vec::new());
    let text = ends(&bench.run(&["--concurrency", "4"]), 0);
    let reports = bench.reports();
    assert_eq!(reports.len(), 12);
    for (i, report) in reports.iter().enumerate() {
        assert_eq!(report.id, format!("patient_{i}:axial:0:0"));
        assert!(report.text.contains(&format!("{i} in number")), "{}", report.text);
        assert_eq!(report.model.as_deref(), Some("tiny"));
    }
    for request in bench.requests() {
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(!body.contains("patient_") && !body.contains(KEY), "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["model"], &body["stream"], &body["max_tokens"]),
            (&json!("tiny"), &json!(false), &json!(256))
        );
    }
    assert!(!everything(&bench.out()).contains(KEY) && !text.contains(KEY));
    data_manifests::verify::verify(&bench.out()).unwrap();
    let again = ends(&bench.run(&[]), 0);
    assert!(again.contains("Nothing to do"), "{again}");
    assert_eq!(bench.requests().len(), 12);
}

#[test]
fn a_rate_limit_is_waited_for_by_all() {
    let limited = ResponseTemplate::new(429)
        .insert_header("retry-after", "1")
        .set_body_json(json!({"error": {"message": "slow down"}}));
    let bench = Bench::new(2, vec![limited]);
    let start = Instant::now();
    let text = ends(&bench.run(&[]), 0);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(text.contains("I201 waiting 1.") && text.contains("slow down"), "{text}");
    assert_eq!(bench.reports().len(), 2);
    assert_eq!(bench.requests().len(), 3);
}

#[test]
fn a_server_that_asks_for_an_hour_ends_the_run() {
    let bench = Bench::new(1, vec![ResponseTemplate::new(503).insert_header("retry-after", "3600")]);
    let text = ends(&bench.run(&[]), 1);
    assert!(text.contains("E201 the server asks to wait 3600 s"), "{text}");
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn refused_keys_and_models_are_not_tried_again() {
    for (status, message) in
        [(401, format!("Incorrect API key provided: {KEY}")), (404, "no such model".to_owned())]
    {
        let answer = || ResponseTemplate::new(status).set_body_json(json!({"error": {"message": message}}));
        let bench = Bench::new(5, vec![answer(), answer(), answer()]);
        let text = ends(&bench.run(&[]), 1);
        assert!(text.contains("E202") && text.contains(&format!("HTTP {status}")), "{text}");
        assert!(!text.contains(KEY) && !everything(&bench.out()).contains(KEY), "{text}");
        assert_eq!(bench.requests().len(), 1);
        assert!(!bench.out().join("manifest.json").exists());
    }
}

#[test]
fn a_wrong_request_fails_alone() {
    let bench =
        Bench::new(3, vec![ResponseTemplate::new(400).set_body_json(json!({"message": "context too long"}))]);
    let text = ends(&bench.run(&[]), 3);
    assert!(text.contains("E202 case patient_0:axial:0:0:") && text.contains("context too long"), "{text}");
    assert_eq!((bench.reports().len(), bench.requests().len()), (2, 3));
    // the next run asks for the missing one only
    ends(&bench.run(&[]), 0);
    assert_eq!((bench.reports().len(), bench.requests().len()), (3, 4));
}

#[test]
fn a_page_of_a_proxy_and_half_a_reply_are_tried_again() {
    let page = ResponseTemplate::new(502).set_body_raw("<html>Bad Gateway</html>", "text/html");
    let half = ResponseTemplate::new(200).set_body_raw(r#"{"choices":[{"#, "application/json");
    let bench = Bench::new(2, vec![page, half]);
    let text = ends(&bench.run(&[]), 0);
    assert!(
        text.contains("W203") && text.contains("502") && text.contains("text/html instead of JSON"),
        "{text}"
    );
    assert_eq!((bench.reports().len(), bench.requests().len()), (2, 4));
}

#[test]
fn a_dead_server_ends_the_run_after_a_few_captions() {
    let bench = Bench::new(40, vec![ResponseTemplate::new(500); 100]);
    let text = ends(&bench.run(&["--retries", "0"]), 1);
    assert!(text.contains("E201") && text.contains("E203"), "{text}");
    assert!(bench.requests().len() < 8);
}

#[test]
fn cut_empty_and_refusing_replies_are_rejected_with_reasons() {
    let script = vec![
        completion(Some("The axial slice"), "length"),
        completion(None, "stop"),
        completion(Some("I'm sorry, but I can't help with that request about images."), "stop"),
        // second attempts: the first is answered well, the others are not
        completion(Some("The slice of the abdomen shows dense structures on the left side."), "stop"),
        completion(Some(""), "stop"),
        completion(Some("I cannot do this."), "stop"),
    ];
    let bench = Bench::new(3, script);
    let text = ends(&bench.run(&[]), 3);
    assert!(text.contains("E205 case patient_1:axial:0:0: all replies were rejected: empty"), "{text}");
    assert!(text.contains("E205 case patient_2:axial:0:0:") && text.contains("W205 5 replies"), "{text}");
    assert_eq!(bench.reports().iter().map(|r| r.case.as_str()).collect::<Vec<_>>(), ["patient_0"]);
    let rejected = bench.rejected();
    assert_eq!(rejected.len(), 5);
    assert_eq!(rejected[0]["reasons"], json!(["cut at max_tokens=256"]));
    assert_eq!((&rejected[0]["replaced"], &rejected[1]["replaced"]), (&json!(true), &json!(false)));
    // a cut reply gets more room the second time
    let bodies: Vec<Value> =
        bench.requests().iter().map(|r| serde_json::from_slice(&r.body).unwrap()).collect();
    assert_eq!(bodies[3]["max_tokens"], 512);
    // paid for and refused: not asked again, unless told
    let again = ends(&bench.run(&[]), 3);
    assert!(again.contains("Nothing to do") && again.contains("--retry-rejected"), "{again}");
    assert_eq!(bench.requests().len(), 6);
    ends(&bench.run(&["--retry-rejected"]), 0);
    assert_eq!((bench.reports().len(), bench.requests().len()), (3, 8));
}

#[test]
fn all_tokens_spent_on_reasoning_is_said() {
    let thinking = || {
        ResponseTemplate::new(200).set_body_json(json!({"choices": [{
            "finish_reason": "length", "message": {"content": null, "reasoning_content": "first I look"}
        }]}))
    };
    let bench = Bench::new(
        2,
        vec![
            thinking(),
            completion(Some("The slice of the abdomen shows dense structures on the left."), "stop"),
            thinking(),
        ],
    );
    let text = ends(&bench.run(&[]), 3);
    assert!(
        text.contains("E204 case patient_0:axial:0:0: reply cut at max_tokens=512, all spent on reasoning"),
        "{text}"
    );
}

#[test]
fn a_killed_run_goes_on_and_gives_the_same_bytes() {
    let whole = Bench::new(20, Vec::new());
    ends(&whole.run(&["--concurrency", "4"]), 0);

    let bench = Bench::with(20, |r: &Request| good(r).set_delay(Duration::from_millis(60)));
    let mut killed = std::process::Command::new(assert_cmd::cargo::cargo_bin!("text-synth"));
    killed.args([
        "report",
        "--quiet",
        "--writer",
        "api",
        "--model",
        "tiny",
        "--concurrency",
        "2",
        "--captions",
    ]);
    killed.arg(bench.directory.path().join("captions")).arg("--out").arg(bench.out());
    killed.args(["--base-url", &format!("{}/v1", bench.server.uri())]);
    let mut child = killed.spawn().unwrap();
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

fn lines(file: &Path) -> usize {
    fs_err::read(file).map_or(0, |b| b.iter().filter(|c| **c == b'\n').count())
}

#[test]
fn a_signal_ends_the_run_with_75() {
    let bench = Bench::with(200, |r: &Request| good(r).set_delay(Duration::from_millis(40)));
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("text-synth"));
    command.args(["report", "--writer", "api", "--model", "tiny", "--concurrency", "2", "--captions"]);
    command.arg(bench.directory.path().join("captions")).arg("--out").arg(bench.out());
    command.args(["--base-url", &format!("{}/v1", bench.server.uri())]);
    let mut child = command.spawn().unwrap();
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

#[test]
fn an_own_prompt_decides_the_request() {
    let bench = Bench::with(1, |_: &Request| {
        completion(Some("A report of eight words is just long enough."), "stop")
    });
    let prompt = bench.directory.path().join("prompt.txt");
    fs_err::write(&prompt, "name: mine\nversion: 2\n--- system\nBe brief.\n--- user\n{{anatomy}}: {{caption}} ({{vocabulary}})\n").unwrap();
    ends(&bench.run(&["--prompt", prompt.to_str().unwrap()]), 0);
    let body: Value = serde_json::from_slice(&bench.requests()[0].body).unwrap();
    assert_eq!(body["messages"][0]["content"], "Be brief.");
    let user = body["messages"][1]["content"].as_str().unwrap();
    assert!(user.starts_with("abdomen: Axial CT slice") && user.contains("liver, "), "{user}");
    assert!(everything(&bench.out()).contains("mine/2"));
}
