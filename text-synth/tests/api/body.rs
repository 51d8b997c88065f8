//! Members of requests beside model and messages.

use crate::bench::{Bench, KEY, completion, ends, good, report_for};
use crate::common::{everything, text_synth};
use data_manifests::{Manifest, digest, records};
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

fn bodies(bench: &Bench) -> Vec<Value> {
    bench.requests().iter().map(|r| serde_json::from_slice(&r.body).unwrap()).collect()
}

fn ledger(bench: &Bench) -> Vec<Value> {
    records::read_lines(&bench.out().join("ledger.jsonl")).unwrap()
}

fn parameters(bench: &Bench) -> Value {
    Manifest::load(&bench.out(), "report").unwrap().parameters
}

const THINKING: &str = r#"{"chat_template_kwargs": {"enable_thinking": false}}"#;

#[test]
fn what_is_given_is_sent_and_kept() {
    let bench = Bench::new(2, Vec::new());
    let options = ["--top-p", "0.9", "--request-seed", "7", "--extra-body", THINKING];
    ends(&bench.run(&options), 0);
    for body in bodies(&bench) {
        assert_eq!(
            (&body["top_p"], &body["seed"], &body["chat_template_kwargs"]),
            (&json!(0.9), &json!(7), &json!({"enable_thinking": false}))
        );
        assert_eq!((&body["max_tokens"], &body["stream"]), (&json!(256), &json!(false)));
    }
    let extra: Value = serde_json::from_str(THINKING).unwrap();
    let kept =
        json!({"max_tokens": 256, "temperature": 0.2, "top_p": 0.9, "request_seed": 7, "extra_body": extra});
    assert_eq!(ledger(&bench)[0]["parameters"], kept);
    for (name, value) in kept.as_object().unwrap() {
        assert_eq!(&parameters(&bench)[name], value);
    }
    // from a file it is the same work
    let file = bench.directory.path().join("extra.json");
    fs_err::write(&file, THINKING).unwrap();
    let file = format!("@{}", file.display());
    let again = ["--top-p", "0.9", "--request-seed", "7", "--extra-body", &file];
    assert!(ends(&bench.run(&again), 0).contains("Nothing to do"));

    // in batch files, too
    let lines = bench.directory.path().join("requests.jsonl");
    let more = ["--overwrite", "--extra-body", r#"{"min_p": 0.1}"#, "--batch-out", lines.to_str().unwrap()];
    ends(&bench.run(&more), 0);
    let lines: Vec<Value> = records::read_lines(&lines).unwrap();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["body"]["min_p"] == 0.1 && line["body"]["top_p"].is_null()));
}

/// Answers that were paid for before these options existed are found: digests and headers are those of then.
#[test]
fn without_them_requests_have_the_digests_of_before() {
    let bench = Bench::new(1, Vec::new());
    ends(&bench.run(&[]), 0);
    let body = json!({
        "model": "tiny",
        "messages": bodies(&bench)[0]["messages"],
        "max_tokens": 256,
        "temperature": 0.2,
        "stream": false,
    });
    let prompt = digest::sha256_hex(include_bytes!("../../prompts/report.txt"));
    let ledger = ledger(&bench);
    assert_eq!(ledger[1]["request"], digest::digest_of(&(prompt, body)).unwrap());
    assert_eq!(ledger[0]["parameters"], json!({"max_tokens": 256, "temperature": 0.2}));
    let parameters = parameters(&bench);
    assert!(["top_p", "request_seed", "extra_body"].iter().all(|name| parameters.get(*name).is_none()));
}

#[test]
fn hosts_with_another_name_for_the_longest_reply_are_asked_in_it() {
    let newer = r#"{"max_tokens": null, "max_completion_tokens": 300}"#;
    let bench =
        Bench::new(1, vec![completion(Some("The axial"), "length"), completion(Some("The"), "length")]);
    let text = ends(&bench.run(&["--extra-body", newer]), 1);
    let bodies = bodies(&bench);
    assert!(bodies.iter().all(|body| body.get("max_tokens").is_none()));
    // a reply that was cut gets twice the room
    assert_eq!(bodies.iter().map(|body| &body["max_completion_tokens"]).collect::<Vec<_>>(), [300, 600]);
    assert!(
        text.contains(
            "Set \"max_completion_tokens\": 1200 in --extra-body or disable thinking, with --overwrite"
        ),
        "{text}"
    );
    let printed = bench.run(&["--extra-body", newer, "--retry-rejected", "--dry-run"]);
    assert!(
        String::from_utf8(printed.stdout).unwrap().contains(" of prompts, 300 of replies if every first")
    );

    let refusing = Bench::with(2, |request: &Request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        if body.get("max_tokens").is_some() {
            let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
            return ResponseTemplate::new(400).set_body_json(json!({"error": {"message": message}}));
        }
        good(request)
    });
    let text = ends(&refusing.run(&[]), 1);
    assert!(
        text.contains(r#"Give --extra-body '{"max_tokens": null, "max_completion_tokens": 512}'."#),
        "{text}"
    );
    // nothing was answered, so that nothing is in the way
    ends(&refusing.run(&["--extra-body", newer]), 0);
    assert_eq!(refusing.reports().len(), 2);
}

#[test]
fn an_empty_object_is_no_other_option() {
    let bench = Bench::new(1, Vec::new());
    ends(&bench.run(&[]), 0);
    assert!(ends(&bench.run(&["--extra-body", "{}"]), 0).contains("Nothing to do"));
    assert_eq!(bench.requests().len(), 1);
}

/// A form of replies that the user decides is not asked for in another way.
#[test]
fn the_form_of_replies_may_be_decided() {
    for (extra, expected) in [
        (r#"{"response_format": null}"#, Value::Null),
        (r#"{"response_format": {"type": "json_object"}}"#, json!({"type": "json_object"})),
    ] {
        let bench = Bench::with(2, |request: &Request| {
            completion(Some(&json!({"report": report_for(request)}).to_string()), "stop")
        });
        let text = ends(&bench.run(&["--extra-body", extra]), 0);
        assert!(!text.contains("I215"), "{text}");
        assert!(bodies(&bench).iter().all(|body| body["response_format"] == expected));
    }
}

#[test]
fn what_must_not_be_sent_or_stored_is_refused_before_anything_is_written() {
    let bench = Bench::new(1, Vec::new());
    for extra in [
        r#"{"messages": []}"#,
        r#"{"model": "b"}"#,
        r#"{"stream": true}"#,
        "[]",
        "max_tokens",
        "@missing.json",
        r#"{"headers": {"Authorization": "Bearer abcdefgh"}}"#,
        &format!(r#"{{"user": "{KEY}"}}"#),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let text = ends(&bench.run(&[&["--extra-body", extra][..], dry].concat()), 1);
            assert!(text.contains("E231 --extra-body cannot be used."), "{text}");
            assert!(!text.contains(KEY) && !text.contains("abcdefgh"), "{text}");
        }
    }
    let twice = ["--extra-body", r#"{"seed": 3}"#, "--request-seed", "4"];
    assert!(ends(&bench.run(&twice), 1).contains("also given by --request-seed"));
    for (extra, flag) in [
        (r#"{"max_tokens": 9}"#, ["--max-tokens", "256"]),
        (r#"{"max_completion_tokens": 9}"#, ["--max-tokens", "9"]),
        (r#"{"temperature": 0.2}"#, ["--temperature", "0.2"]),
    ] {
        let text = ends(&bench.run(&["--extra-body", extra, flag[0], flag[1]]), 1);
        assert!(text.contains("E231") && text.contains(&format!("also given by {}", flag[0])), "{text}");
    }
    let config = bench.directory.path().join("config.toml");
    fs_err::write(&config, "[report]\nmax-tokens = 64\n").unwrap();
    let mut own = bench.command(&["--extra-body", r#"{"max_tokens": 9}"#]);
    let text = ends(&own.arg("--config").arg(&config).output().unwrap(), 1);
    assert!(text.contains("also given by --max-tokens"), "{text}");
    ends(&bench.run(&["--top-p", "0"]), 2);
    assert!(!bench.out().exists() && bench.requests().is_empty());
    assert!(!everything(bench.directory.path()).contains(KEY));
}

#[test]
fn a_model_has_to_be_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for words in
        [&["report", "--writer", "api", "--captions"][..], &["caption", "--captioner", "api", "--shards"]]
    {
        for dry in [&[][..], &["--dry-run"]] {
            let mut command = text_synth();
            command.args(words).arg(at("input")).arg("--out").arg(at("out")).args(dry);
            let text = ends(&command.output().unwrap(), 2);
            assert!(text.contains("E216 no model is named. Give --model."), "{text}");
        }
    }
    assert!(!at("out").exists());
}
