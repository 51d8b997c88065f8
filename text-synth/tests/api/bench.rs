//! A scripted server, a directory of captions, and runs of the executable against them.

use crate::common::{caption_directory, text_synth};
use data_manifests::records::{self, Report};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Output};
use std::sync::Mutex;
use tempfile::{TempDir, tempdir};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// What makes `report` send one request per caption and nothing else.
const ALONE: [&str; 3] = ["--no-volumes", "--grounding", "off"];

pub(crate) const KEY: &str = "sk-test-do-not-store-a91f";

/// A report that depends on the caption in the request only.
pub(crate) fn report_for(request: &Request) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let user = body["messages"][1]["content"].as_str().unwrap();
    let n: String =
        user.split("abdomen with ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    format!("The axial computed tomography slice of the abdomen shows dense structures, {n} in number.")
}

pub(crate) fn completion(content: Option<&str>, finish: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "id": "x", "object": "chat.completion", "model": "served-1",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    }))
}

pub(crate) fn good(request: &Request) -> ResponseTemplate {
    completion(Some(&report_for(request)), "stop")
}

/// Answers the first requests by a script and all others well.
pub(crate) struct Script(pub(crate) Mutex<Vec<ResponseTemplate>>);

impl Respond for Script {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        self.0.lock().unwrap().pop().unwrap_or_else(|| good(request))
    }
}

/// The command line of `report` for captions and reports below a directory; one request at a time unless told otherwise.
pub(crate) fn report(directory: &Path, base_url: &str, extra: &[&str]) -> Vec<String> {
    let place = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let mut line = vec!["report", "--writer", "api", "--base-url", base_url];
    for default in [["--model", "tiny"], ["--concurrency", "1"]] {
        if !extra.contains(&default[0]) {
            line.extend(default);
        }
    }
    line.extend(ALONE);
    line.extend(extra);
    let mut line: Vec<_> = line.into_iter().map(str::to_owned).collect();
    line.extend(["--captions".to_owned(), place("captions"), "--out".to_owned(), place("reports")]);
    line
}

pub(crate) fn spawn(arguments: &[String]) -> Child {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("text-synth"))
        .args(arguments)
        .env_remove("OPENAI_API_KEY")
        .env_remove("OPENAI_BASE_URL")
        .spawn()
        .unwrap()
}

pub(crate) struct Bench {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) server: MockServer,
    pub(crate) directory: TempDir,
}

impl Bench {
    pub(crate) fn new(captions: usize, mut script: Vec<ResponseTemplate>) -> Self {
        script.reverse();
        Self::with(captions, Script(Mutex::new(script)))
    }

    pub(crate) fn with(captions: usize, respond: impl Respond + 'static) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(MockServer::start());
        let mock = Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(respond);
        runtime.block_on(mock.mount(&server));
        let directory = tempdir().unwrap();
        caption_directory(&directory.path().join("captions"), captions);
        Self { runtime, server, directory }
    }

    pub(crate) fn out(&self) -> std::path::PathBuf {
        self.directory.path().join("reports")
    }

    /// The command line of `report` against this server.
    pub(crate) fn arguments(&self, extra: &[&str]) -> Vec<String> {
        report(self.directory.path(), &format!("{}/v1", self.server.uri()), extra)
    }

    pub(crate) fn command(&self, extra: &[&str]) -> assert_cmd::Command {
        let mut command = text_synth();
        command.args(self.arguments(extra)).env("OPENAI_API_KEY", KEY);
        command
    }

    /// A process that can be ended from outside.
    pub(crate) fn spawn(&self, extra: &[&str]) -> Child {
        spawn(&self.arguments(extra))
    }

    pub(crate) fn run(&self, extra: &[&str]) -> Output {
        self.command(extra).output().unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.runtime.block_on(self.server.received_requests()).unwrap()
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        records::read_lines(&self.out().join(records::REPORTS)).unwrap()
    }

    pub(crate) fn rejected(&self) -> Vec<Value> {
        records::read_lines(&self.out().join("rejected.jsonl")).unwrap()
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn ends(output: &Output, code: i32) -> String {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// Whole lines of a file; none without it.
pub(crate) fn lines(file: &Path) -> usize {
    fs_err::read(file).map_or(0, |b| b.iter().filter(|c| **c == b'\n').count())
}
