//! Reports of a language model that contradict what was measured: written again once, then replaced.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{captions, ct, shards, text_synth};
use data_manifests::records::{self, Origin, Report, Verdict, VolumeReport};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tempfile::{TempDir, tempdir};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const RIGHT: &str = "Axial CT of the abdomen. Fat and soft tissue make up a part of the slice.";
const MENDED: &str = "This axial CT slice of the abdomen shows fat and soft tissue, as was measured.";
const BRAIN: &str =
    "Axial CT of the abdomen with fat. The cerebellum is unremarkable on this image of the day.";
const STUBBORN: &str =
    "Axial CT of the abdomen with fat. T2-weighted images show the same region rather well today.";
const NOISE: &str =
    "Purple monkeys quietly paint seventeen wooden bridges before breakfast on a windy Tuesday in spring.";

/// Replies by what is asked and, for slices, by the number of the section.
struct Model;

impl Respond for Model {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let user = &asked(request);
        let section: usize =
            user.split("\nsection: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        let text = if let Some((_, draft)) = user.split_once("Report to correct:\n") {
            assert!(draft.contains("What is wrong with it:\n"));
            if draft.contains("cerebellum") {
                assert!(draft.contains("belongs to the head"), "{draft}");
                MENDED
            } else if draft.contains("T2-weighted") {
                STUBBORN
            } else {
                assert!(draft.contains("none of its sentences"), "{draft}");
                NOISE
            }
        } else if user.contains("Slice reports, in order:\n") {
            assert!(!user.contains("cerebellum") && !user.contains("monkeys"), "{user}");
            RIGHT
        } else {
            [RIGHT, BRAIN, STUBBORN, NOISE][section / 2 % 4]
        };
        says(text)
    }
}

/// What is asked of the model for one text.
fn asked(request: &Request) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["messages"][1]["content"].as_str().unwrap().to_owned()
}

fn says(text: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "model": "served-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }))
}

struct Setting {
    runtime: tokio::runtime::Runtime,
    server: MockServer,
    directory: TempDir,
}

impl Setting {
    fn new() -> Self {
        Self::with(Model)
    }

    fn with(respond: impl Respond + 'static) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(MockServer::start());
        let mock = Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(respond);
        runtime.block_on(mock.mount(&server));
        let directory = tempdir().unwrap();
        shards(&directory.path().join("shards"), &[ct("patient_one"), ct("patient_two")]);
        captions(&directory.path().join("shards"), &directory.path().join("captions"), &["--stride", "2"]);
        Self { runtime, server, directory }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, out: &str, extra: &[&str]) -> Output {
        let mut command = text_synth();
        command.args(["report", "--writer", "api", "--model", "tiny", "--base-url"]);
        command.arg(format!("{}/v1", self.server.uri())).arg("--captions").arg(self.at("captions"));
        command.arg("--out").arg(self.at(out)).args(extra).output().unwrap()
    }

    fn requests(&self) -> Vec<Request> {
        self.runtime.block_on(self.server.received_requests()).unwrap()
    }
}

fn reports(directory: &Path) -> Vec<Report> {
    records::read_lines(&directory.join(records::REPORTS)).unwrap()
}

fn counts(directory: &Path) -> Value {
    let text = fs_err::read_to_string(directory.join("report.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["counts"].clone()
}

#[test]
fn what_contradicts_is_written_again_once_and_then_replaced() {
    let setting = Setting::new();
    let output = setting.run("reports", &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let out = setting.at("reports");
    let found = reports(&out);
    let of = |wanted: &str| -> Vec<&Report> {
        found
            .iter()
            .filter(|r| {
                r.sentences.iter().any(|s| s.replaces.as_ref().is_some_and(|p| p.text.contains(wanted)))
            })
            .collect()
    };
    assert!(
        found.iter().all(|r| r.sentences.iter().all(|s| s.verdict != Verdict::Contradicted)),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .all(|r| !r.text.contains("cerebellum") && !r.text.contains("T2") && !r.text.contains("monkeys"))
    );

    let mended: Vec<&Report> = found.iter().filter(|r| r.text == MENDED).collect();
    assert!(!mended.is_empty());
    assert!(mended.iter().all(|r| r.sentences.iter().all(|s| s.origin == Origin::Rewrite)));
    // the right sentence stays, the template's stands in for the other, and the trace is kept
    let stubborn = of("T2-weighted");
    assert!(!stubborn.is_empty());
    for report in stubborn {
        assert_eq!(report.sentences[0].text, "Axial CT of the abdomen with fat.");
        let own = &report.sentences[1];
        assert_eq!((own.origin, own.verdict), (Origin::Template, Verdict::Supported));
        let reasons = &own.replaces.as_ref().unwrap().reasons;
        assert!(
            reasons.join(" ").contains("'t2 weighted' does not belong to computed tomography"),
            "{reasons:?}"
        );
    }
    for report in of("monkeys") {
        assert!(report.sentences.iter().all(|s| s.origin == Origin::Template), "{report:#?}");
    }
    let rejected: Vec<Value> = records::read_lines(&out.join("rejected.jsonl")).unwrap();
    let because = |text: &str| rejected.iter().filter(|r| r["text"].as_str().unwrap().contains(text)).count();
    assert!(because("monkeys") > 0 && because("T2-weighted") > 0, "{rejected:#?}");

    let volumes: Vec<VolumeReport> = records::read_lines(&out.join(records::VOLUMES)).unwrap();
    assert_eq!(volumes.iter().map(|v| v.case.as_str()).collect::<Vec<_>>(), ["patient_one", "patient_two"]);
    assert!(volumes.iter().all(|v| v.text == RIGHT && v.slices.len() == found.len() / 2));

    let counts = counts(&out);
    let n = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!(n("texts_refused"), n("texts_rewritten") + n("texts_replaced") + n("sentences_replaced"));
    assert!(
        said.contains(&format!("W215 {} texts contradicted what is known", n("texts_refused"))),
        "{said}"
    );
    for request in setting.requests() {
        assert!(!String::from_utf8_lossy(&request.body).contains("patient_"));
    }

    // nothing is asked twice, and the bytes are the same
    let (sent, bytes) = (setting.requests().len(), fs_err::read(out.join(records::REPORTS)).unwrap());
    fs_err::remove_file(out.join("manifest.json")).unwrap();
    assert_eq!(setting.run("reports", &[]).status.code(), Some(0));
    assert_eq!((setting.requests().len(), fs_err::read(out.join(records::REPORTS)).unwrap()), (sent, bytes));
}

/// The model is asked to keep what is right, also of the sentences that are quoted as wrong.
#[test]
fn what_a_rewrite_keeps_of_a_wrong_sentence_is_no_echo() {
    let slice = "Axial CT of the abdomen with fat and soft tissue, which make up a part of the slice";
    let volume = "This volume is an axial CT of the abdomen with fat and soft tissue in many of its slices";
    let setting = Setting::with(move |request: &Request| {
        let user = asked(request);
        let right = if user.contains(volume) || user.contains("Slice reports") { volume } else { slice };
        let is_rewrite = user.contains("Report to correct:\n");
        says(&if is_rewrite { format!("{right}.") } else { format!("{right}, and the cerebellum.") })
    });
    let output = setting.run("reports", &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let out = setting.at("reports");
    let found = reports(&out);
    assert!(!found.is_empty() && found.iter().all(|r| r.text == format!("{slice}.")), "{found:#?}");
    let volumes: Vec<VolumeReport> = records::read_lines(&out.join(records::VOLUMES)).unwrap();
    assert!(volumes.len() == 2 && volumes.iter().all(|v| v.text == format!("{volume}.")), "{volumes:#?}");
    let rejected: Vec<Value> = records::read_lines(&out.join("rejected.jsonl")).unwrap();
    assert_eq!(rejected, [json!(null); 0], "{said}");
    let counts = counts(&out);
    assert_eq!(counts["texts_refused"], counts["texts_rewritten"]);
}

/// Instructions and reasons are the program's words, and stay echoes.
#[test]
fn echoes_of_a_rewrites_prompt_are_refused() {
    let instruction =
        "Write the whole report again: keep what is right, change or leave out what is wrong, add nothing.";
    let setting = Setting::with(move |request: &Request| match asked(request).split_once("What is wrong") {
        None => says(BRAIN),
        Some((_, reasons)) if asked(request).contains("\nsection: 1\n") => {
            says(&format!("Axial CT of the abdomen with fat. {}", reasons.trim()))
        }
        Some(_) => says(&format!("Axial CT of the abdomen with fat. {instruction}")),
    });
    let output = setting.run("reports", &["--no-volumes"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let out = setting.at("reports");
    let rejected: Vec<Value> = records::read_lines(&out.join("rejected.jsonl")).unwrap();
    let echoes = rejected.iter().filter(|r| r["reasons"] == json!(["echo of the prompt"])).count();
    assert!(echoes >= 2 * reports(&out).len(), "{rejected:#?}");
}

#[test]
fn checks_alone_keep_the_texts_and_off_gives_no_verdicts() {
    let setting = Setting::new();
    let output = setting.run("checked", &["--grounding", "check", "--no-volumes"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("W216 ") && said.contains("were kept"), "{said}");
    // the noise is borne by nothing, and of twelve texts four are different
    assert!(said.contains("W214 9 % of sentences state something that nothing measured"), "{said}");
    assert!(said.contains("W211 67 % of reports are identical to another after normalisation"), "{said}");
    let found = reports(&setting.at("checked"));
    let contradicted = found.iter().flat_map(|r| &r.sentences).filter(|s| s.verdict == Verdict::Contradicted);
    assert!(contradicted.count() > 0);
    assert!(found.iter().any(|r| r.text == BRAIN));
    assert_eq!(
        records::read_lines::<VolumeReport>(&setting.at("checked").join(records::VOLUMES)).unwrap(),
        []
    );

    assert_eq!(setting.run("off", &["--grounding", "off", "--no-volumes"]).status.code(), Some(0));
    assert!(reports(&setting.at("off")).iter().all(|r| r.sentences.is_empty()));
}

#[test]
fn a_vocabulary_of_another_form_is_refused() {
    let setting = Setting::new();
    let file = setting.at("words.txt");
    fs_err::write(&file, "liver\n").unwrap();
    let output = setting.run("reports", &["--vocabulary", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("E225 the vocabulary cannot be used")
            && said.contains("words.txt: its first line is 'liver'"),
        "{said}"
    );
    assert!(setting.requests().is_empty());
}
