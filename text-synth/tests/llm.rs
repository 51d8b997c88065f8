//! The writer `api` against a real server: `transformers serve` with a tiny model of random weights. Its text is noise made of anatomical words: what
//! counts is that the run ends by itself, that nothing is lost, that no word of the noise reaches a report, and that the run says so.
#![expect(clippy::unwrap_used, reason = "test code")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// The interpreter that has the packages of requirements-llm.txt.
const PYTHON: &str = "GTGM_LLM_PYTHON";
/// Loading the libraries takes most of it.
const STARTS_WITHIN: Duration = Duration::from_secs(240);

/// A server that ends with the test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// An executable of the workspace, beside this package's own.
fn executable(name: &str) -> PathBuf {
    let path = Path::new(assert_cmd::cargo::cargo_bin!("text-synth")).with_file_name(name);
    assert!(path.exists(), "{} is missing: build it first (make test-llm does)", path.display());
    path
}

fn run(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(executable(name));
    command.args(arguments).env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").output().unwrap()
}

fn succeeds(name: &str, arguments: &[&str]) {
    let output = run(name, arguments);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

fn serve(python: &str, model: &Path, port: u16, log: &Path) -> Server {
    let log = fs_err::File::create(log).unwrap().into_parts().0;
    let child = Command::new(python)
        .args(["-m", "transformers.cli.transformers", "serve", model.to_str().unwrap()])
        .args(["--host", "127.0.0.1", "--device", "cpu", "--port", &port.to_string()])
        .env("HF_HUB_OFFLINE", "1")
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Server(child)
}

#[test]
#[ignore = "needs a Python with transformers: make test-llm"]
fn a_real_server_is_worked_with_to_the_end() {
    let python = std::env::var(PYTHON).map_err(|_| format!("set {PYTHON}, or run make test-llm")).unwrap();
    let directory = tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/llm/tiny_model.py");
    let made = Command::new(&python).arg(script).arg(place("model")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = directory.path().join("server.log");
    let mut server = serve(&python, &directory.path().join("model"), port, &log);
    let said = || fs_err::read_to_string(&log).unwrap();

    succeeds("data-manifests", &["phantom", "--size", "small", "--only", "ct", "--out", &place("phantom")]);
    let data = directory.path().join("phantom/phantom-ct");
    let (descriptor, raw) = (data.join("descriptor.toml"), data.join("PhantomCT"));
    let (descriptor, raw) = (descriptor.to_str().unwrap(), raw.to_str().unwrap());
    succeeds("preprocess", &["--dataset", descriptor, "--raw", raw, "--out", &place("shards")]);
    succeeds(
        "text-synth",
        &["caption", "--shards", &place("shards"), "--out", &place("captions"), "--stride", "2"],
    );
    let captions =
        fs_err::read_to_string(directory.path().join("captions/captions.jsonl")).unwrap().lines().count();
    assert!(captions > 0);

    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(server.0.try_wait().unwrap().is_none(), "the server ended: {}", said());
        assert!(started.elapsed() < STARTS_WITHIN, "the server does not answer: {}", said());
        std::thread::sleep(Duration::from_millis(200));
    }
    let (base, model) = (format!("http://127.0.0.1:{port}/v1"), place("model"));
    let (captions_at, out) = (place("captions"), place("reports"));
    let line = [
        "report",
        "--writer",
        "api",
        "--base-url",
        &base,
        "--model",
        &model,
        "--captions",
        &captions_at,
        "--out",
        &out,
        "--max-tokens",
        "600",
        "--concurrency",
        "2",
        "--temperature",
        "1",
    ];
    let output = run("text-synth", &line);
    let text = String::from_utf8_lossy(&output.stderr);
    // noise that ended by chance was answered by the template (0); some may have been cut or too short twice (3)
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}: {text}\n{}", output.status, said());
    assert!(text.contains("W215 ") && text.contains("texts contradicted what is known"), "{text}");
    assert!(!text.contains("E203") && !text.contains("E000"), "{text}");

    let out = directory.path().join("reports");
    let lines = |name: &str| -> Vec<Value> {
        let text = fs_err::read_to_string(out.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let answers = &lines("ledger.jsonl")[1..];
    let accepted = answers.iter().filter(|answer| answer["reasons"].as_array().unwrap().is_empty()).count();
    let rejected = lines("rejected.jsonl");
    assert!(rejected.iter().all(|reply| !reply["reasons"].as_array().unwrap().is_empty()));
    assert!(!answers.is_empty());
    assert!(answers.len() - accepted <= rejected.len());
    for answer in answers {
        assert!(
            answer["prompt_tokens"].as_u64() > Some(0) && answer["completion_tokens"].as_u64() > Some(0),
            "{answer}"
        );
    }

    let reports = lines("reports.jsonl");
    assert!(!reports.is_empty());
    let replaced = |sentence: &Value| sentence.get("replaces").is_some();
    for report in &reports {
        let sentences = report["sentences"].as_array().unwrap();
        assert!(sentences.iter().any(replaced), "noise was kept: {report}");
        assert!(sentences.iter().all(|sentence| sentence["verdict"] == "supported"), "{report}");
    }

    // a second run asks for nothing again
    let output = run("text-synth", &line);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Nothing to do") || text.contains(" 0 to do"), "{text}");
    assert_eq!(lines("ledger.jsonl").len() - 1, answers.len());
}
