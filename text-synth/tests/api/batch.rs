//! T13: batch files in place of a server.

use crate::bench::{Bench, ends};
use data_manifests::records;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn file(bench: &Bench, name: &str) -> PathBuf {
    bench.directory.path().join(name)
}

fn write(bench: &Bench, name: &str) -> (Vec<Value>, String) {
    let path = file(bench, name);
    let text = ends(&bench.run(&["--batch-out", path.to_str().unwrap()]), 0);
    (records::read_lines(&path).unwrap(), text)
}

/// A line that answers, as OpenAI and vLLM write it; the report depends on the request only.
fn answer(request: &Value) -> Value {
    let user = request["body"]["messages"][1]["content"].as_str().unwrap();
    let n: String =
        user.split("abdomen with ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    let text =
        format!("The axial computed tomography slice of the abdomen shows dense structures, {n} in number.");
    json!({"id": "b", "custom_id": request["custom_id"], "error": null, "response": {
        "status_code": 200, "request_id": "r", "body": {
            "model": "served-1",
            "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20},
        },
    }})
}

fn save(path: &Path, lines: &[String]) {
    fs_err::write(path, lines.join("\n")).unwrap();
}

#[test]
fn requests_go_out_and_answers_come_in_any_order() {
    let bench = Bench::new(4, Vec::new());
    let (requests, text) = write(&bench, "requests.jsonl");
    assert!(
        text.contains("I213 4 requests written to ")
            && text.contains("--batch-in")
            && text.contains("/v1/batches gives 404"),
        "{text}"
    );
    assert_eq!(requests.len(), 4);
    assert_eq!(requests.iter().map(|r| r["custom_id"].as_str().unwrap()).collect::<HashSet<_>>().len(), 4);
    for request in &requests {
        assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!("/v1/chat/completions")));
        assert_eq!((&request["body"]["model"], &request["body"]["stream"]), (&json!("tiny"), &json!(false)));
        assert!(!request.to_string().contains("patient_") && request["body"]["response_format"].is_null());
    }
    assert!(!bench.out().join("manifest.json").exists());

    let mut lines = vec![String::new()];
    for request in requests.iter().rev() {
        lines.extend([answer(request).to_string(), "  ".to_owned()]);
    }
    let answers = file(&bench, "answers.jsonl");
    save(&answers, &lines);
    let text = ends(&bench.run(&["--batch-in", answers.to_str().unwrap()]), 0);
    assert!(text.contains("I213 4 new answers from ") && !text.contains("W213"), "{text}");
    assert!(bench.requests().is_empty(), "no server was contacted");

    let sent = Bench::new(4, Vec::new());
    ends(&sent.run(&[]), 0);
    for file in [records::REPORTS, "ledger.jsonl", "rejected.jsonl"] {
        let read = |bench: &Bench| fs_err::read_to_string(bench.out().join(file)).unwrap();
        assert_eq!(read(&bench), read(&sent), "{file}");
    }
    // a server that was needed for neither needs no name
    let again = ends(&bench.run(&["--batch-in", answers.to_str().unwrap()]), 0);
    assert!(again.contains("Nothing to do"), "{again}");
}

#[test]
fn lines_that_are_no_answers_are_told_and_the_rest_is_taken() {
    let bench = Bench::new(6, Vec::new());
    let (requests, _) = write(&bench, "requests.jsonl");
    let failed = json!({"custom_id": requests[0]["custom_id"], "response": null, "error": {"code": "batch_expired", "message": "too late"}});
    let missing = json!({"custom_id": requests[1]["custom_id"], "error": null, "response": {
        "status_code": 404, "body": {"error": {"message": "no such model"}},
    }});
    let unknown = json!({"custom_id": "somebody-else", "response": {"status_code": 200, "body": {}}});
    let mut second = answer(&requests[3]);
    second["response"]["body"]["choices"][0]["message"]["content"] =
        json!("Another text of the same request, which comes too late to count.");
    let mut empty = answer(&requests[4]);
    empty["response"]["body"]["choices"][0]["message"]["content"] = json!("");
    let lines = [&failed, &missing, &unknown, &answer(&requests[2]), &answer(&requests[3]), &second, &empty]
        .map(Value::to_string);
    let answers = file(&bench, "answers.jsonl");
    save(&answers, &[&lines[..], &["{\"custom_id\": ".to_owned()]].concat());
    let run = || ends(&bench.run(&["--batch-in", answers.to_str().unwrap()]), 1);
    let text = run();
    for said in [
        "W213 a request of the batch failed. ",
        "answers.jsonl line 1: custom_id ",
        "batch_expired",
        "HTTP 404: no such model",
        "W213 the batch file answers what was not asked. ",
        "answers.jsonl line 3: custom_id somebody-else.",
        "W213 the batch file answers a request twice; the first answer counts. ",
        "answers.jsonl line 6: custom_id ",
        "W213 a line of the batch file is no answer. ",
        "answers.jsonl line 8: EOF",
        "I213 3 new answers from ",
        "E219 4 of 6 requests have no answer that can be used yet. Write them with --batch-out FILE, or leave --batch-in off to send them; what was answered is kept.",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let ledger = fs_err::read(bench.out().join("ledger.jsonl")).unwrap();
    // the same file again changes nothing, not even for the reply that was rejected
    let text = run();
    assert!(text.contains("I213 0 new answers"), "{text}");
    assert_eq!(fs_err::read(bench.out().join("ledger.jsonl")).unwrap(), ledger);

    // what is left goes out and comes back, with more room for the reply that was rejected
    let rest = file(&bench, "rest.jsonl");
    ends(&bench.run(&["--batch-in", answers.to_str().unwrap(), "--batch-out", rest.to_str().unwrap()]), 0);
    let left: Vec<Value> = records::read_lines(&rest).unwrap();
    assert_eq!(left.len(), 4);
    assert_eq!(
        left.iter().map(|r| r["body"]["max_tokens"].as_u64().unwrap()).collect::<Vec<_>>(),
        [256, 256, 512, 256]
    );
    let lines: Vec<_> = left.iter().map(|r| answer(r).to_string()).collect();
    save(&answers, &lines);
    ends(&bench.run(&["--batch-in", answers.to_str().unwrap()]), 0);
    assert_eq!((bench.reports().len(), bench.rejected().len(), bench.requests().len()), (6, 1, 0));
    assert!(bench.reports()[3].text.ends_with("structures, 3 in number."));
}

/// What a batch left can be sent to a server.
#[test]
fn a_server_answers_what_the_batch_did_not() {
    let bench = Bench::new(3, Vec::new());
    let (requests, _) = write(&bench, "requests.jsonl");
    let answers = file(&bench, "answers.jsonl");
    save(&answers, &[answer(&requests[1]).to_string()]);
    ends(&bench.run(&["--batch-in", answers.to_str().unwrap()]), 1);
    let text = ends(&bench.run(&[]), 0);
    assert!(text.contains("I207 resumed: 1 requests answered before, 2 to do, estimated "), "{text}");
    assert_eq!((bench.requests().len(), bench.reports().len()), (2, 3));
}

#[test]
fn the_template_writer_takes_no_batches() {
    let bench = Bench::new(1, Vec::new());
    let captions = bench.out().parent().unwrap().join("captions");
    for flag in [&["--batch-out", "requests.jsonl"][..], &["--batch-in", "requests.jsonl"], &["--batch"]] {
        let mut command = crate::common::text_synth();
        command.args(["report", "--captions", captions.to_str().unwrap()]);
        command.args(["--out", bench.out().to_str().unwrap()]).args(flag);
        let text = ends(&command.output().unwrap(), 2);
        assert!(text.contains(&format!("E226 {} is for requests to a language model", flag[0])), "{text}");
        assert!(text.contains("--writer api") && !bench.out().exists(), "{text}");
    }
}

/// Requests are not written over what was paid for, nor over what is no file of requests.
#[test]
fn requests_are_not_written_over_other_files() {
    let bench = Bench::new(2, Vec::new());
    ends(&bench.run(&[]), 0);
    let mine = bench.directory.path().join("notes.txt");
    fs_err::write(&mine, "notes").unwrap();
    let inside = bench.out().join("ledger.jsonl");
    let captions = bench.directory.path().join("captions/new.jsonl");
    let paid = fs_err::read(&inside).unwrap();
    for file in [&inside, &captions, &mine] {
        let text = ends(&bench.run(&["--retry-rejected", "--batch-out", file.to_str().unwrap()]), 1);
        assert!(text.contains("E229 the requests cannot be written there"), "{text}");
    }
    assert!(fs_err::read(&inside).unwrap() == paid && fs_err::read(&mine).unwrap() == b"notes");
    assert!(bench.out().join("manifest.json").exists() && !captions.exists());
}

/// Requests of a directory with unanswered captions are handed over, and what was finished stays so.
#[test]
fn handing_requests_over_loses_no_finished_stage() {
    let bench = Bench::new(3, vec![wiremock::ResponseTemplate::new(500)]);
    ends(&bench.run(&["--retries", "0"]), 3);
    let file = bench.directory.path().join("requests.jsonl");
    // twice: a file of requests may be replaced
    for _ in 0..2 {
        ends(&bench.run(&["--batch-out", file.to_str().unwrap()]), 0);
        assert_eq!(crate::bench::lines(&file), 1);
        data_manifests::verify::verify(&bench.out()).unwrap();
    }
}
