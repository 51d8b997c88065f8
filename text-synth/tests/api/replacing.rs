//! What is finished is replaced by other options only where that is asked for, and no answer is lost.

use crate::bench::{Bench, completion, ends, good, lines};
use crate::common::{caption_directory, text_synth};
use data_manifests::{Manifest, digest, records, verify};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use wiremock::{Request, ResponseTemplate};

/// `report --writer template` for the same directories.
fn template(bench: &Bench, extra: &[&str]) -> Output {
    let mut command = text_synth();
    command.args(["report", "--writer", "template", "--no-volumes", "--grounding", "off", "--captions"]);
    command.arg(bench.directory.path().join("captions")).arg("--out").arg(bench.out()).args(extra);
    command.output().unwrap()
}

/// Every file of the reports with its bytes.
fn files(bench: &Bench) -> BTreeMap<String, Vec<u8>> {
    let names = digest::files_below(&bench.out()).unwrap();
    names.into_iter().map(|name| (name.clone(), fs_err::read(bench.out().join(name)).unwrap())).collect()
}

fn aside(bench: &Bench) -> Vec<String> {
    let is_aside = |name: &String| name.starts_with("ledger.") && name.len() == "ledger.jsonl".len() + 13;
    files(bench).into_keys().filter(is_aside).collect()
}

fn only(names: &[String]) -> &str {
    assert_eq!(names.len(), 1, "{names:?}");
    &names[0]
}

#[test]
fn other_options_are_refused_by_name_and_change_nothing() {
    let bench = Bench::new(2, Vec::new());
    ends(&bench.run(&[]), 0);
    let before = files(&bench);
    let prompt = bench.directory.path().join("prompt.txt");
    fs_err::write(&prompt, "name: own\nversion: 1\n--- system\nWrite.\n--- user\n{{facts}}\n").unwrap();
    for (options, said) in [
        (&["--model", "huge"][..], "--model tiny → huge. "),
        (
            &["--temperature", "0.9", "--max-tokens", "100"],
            "--max-tokens 256 → 100; --temperature 0.2 → 0.9. ",
        ),
        (&["--top-p", "0.5"], "--top-p none → 0.5. "),
        (&["--request-seed", "-7"], "--request-seed none → -7. "),
        (&["--extra-body", r#"{"a": {"b": true}}"#], "--extra-body none → {\"a\":{\"b\":true}}. "),
        (&["--prompt", prompt.to_str().unwrap()], "--prompt "),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let text = ends(&bench.run(&[options, dry].concat()), 1);
            assert!(
                text.contains("E212 reports of other options are here. ") && text.contains(said),
                "{text}"
            );
            assert!(
                text.contains("Repeat the options that they were made with, use another --out, or replace them with --overwrite, which keeps the answers in its ledger."),
                "{text}"
            );
        }
    }
    let text = ends(&template(&bench, &[]), 1);
    assert!(text.contains(": --writer api → template. "), "{text}");
    assert!(files(&bench) == before && bench.requests().len() == 2);

    // what decides no byte is no option
    let pace = ["--concurrency", "3", "--retries", "2", "--timeout", "9", "--requests-per-minute", "600"];
    let limits = [
        "--max-requests",
        "9",
        "--max-total-tokens",
        "99999",
        "--price-prompt",
        "1",
        "--price-completion",
        "1",
    ];
    assert!(ends(&bench.run(&[&pace[..], &limits].concat()), 0).contains("Nothing to do"));
    assert!(ends(&bench.run(&["--overwrite"]), 0).contains("Nothing to do"));
}

#[test]
fn answers_survive_the_template_and_other_models() {
    let bench = Bench::new(3, Vec::new());
    ends(&bench.run(&[]), 0);
    let [reports, ledger] = [records::REPORTS, "ledger.jsonl"].map(|name| files(&bench)[name].clone());

    let text = ends(&template(&bench, &["--overwrite"]), 0);
    let names = aside(&bench);
    let kept = only(&names);
    assert!(text.contains(&format!("I230 answers of other options are kept in {kept}.")), "{text}");
    assert!(files(&bench)[kept] == ledger && !files(&bench).contains_key("ledger.jsonl"));
    let manifest = Manifest::load(&bench.out(), "report").unwrap();
    assert!(manifest.outputs.iter().any(|output| output.path == kept && output.role == "ledger"));
    assert_eq!(verify::verify(&bench.out()).unwrap(), [""; 0]);
    assert!(ends(&template(&bench, &[]), 0).contains("Nothing to do"));

    // another model, while the first one's answers wait
    ends(&bench.run(&["--model", "huge"]), 1);
    ends(&bench.run(&["--model", "huge", "--overwrite"]), 0);
    assert_eq!((bench.requests().len(), aside(&bench).len()), (6, 1));
    assert_eq!(verify::verify(&bench.out()).unwrap(), [""; 0]);

    // and back: nothing is asked, and the bytes are those of before
    let text = ends(&bench.run(&["--overwrite"]), 0);
    assert!(text.contains("I207 resumed: 3 requests answered before, 0 to do"), "{text}");
    assert_eq!(bench.requests().len(), 6);
    let now = files(&bench);
    assert!(now[records::REPORTS] == reports && now["ledger.jsonl"] == ledger);
    let names = aside(&bench);
    let huge = only(&names);
    assert!(
        String::from_utf8_lossy(&now[huge]).starts_with("{\"ledger\":\"gtgm/ledger/1\",\"model\":\"huge\"")
    );
    assert_eq!(verify::verify(&bench.out()).unwrap(), [""; 0]);
}

/// What is finished stays finished while its successor is made, and the successor's answers wait for it.
#[test]
fn a_replacement_that_fails_leaves_what_was_finished() {
    // the second model replies once, then its server fails as long as it may
    let (asked, failures) = (AtomicUsize::new(0), 4);
    let bench = Bench::with(5, move |request: &Request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let n = if body["model"] == "huge" { asked.fetch_add(1, Ordering::Relaxed) } else { 0 };
        if (1..=failures).contains(&n) { ResponseTemplate::new(500) } else { good(request) }
    });
    ends(&bench.run(&[]), 0);
    let before = files(&bench);
    ends(&bench.run(&["--model", "huge", "--overwrite", "--retries", "0"]), 1);
    let mut now = files(&bench);
    let next = now.remove("ledger.next.jsonl").unwrap();
    assert!(
        String::from_utf8_lossy(&next).contains("huge") && next.iter().filter(|b| **b == b'\n').count() == 2
    );
    // the report of the run is the only other file that it wrote
    let differ: Vec<_> = now.iter().filter(|(name, bytes)| before.get(*name) != Some(*bytes)).collect();
    assert!(differ.iter().all(|(name, _)| *name == "report.json"), "{:?}", differ.iter().map(|d| d.0));
    assert!(ends(&bench.run(&[]), 0).contains("Nothing to do"));
    let sent = bench.requests().len();
    ends(&bench.run(&["--model", "huge", "--overwrite"]), 0);
    assert_eq!(bench.requests().len(), sent + 4);
}

#[test]
fn captions_made_anew_are_worded_anew_and_the_ledger_is_kept() {
    let bench = Bench::new(2, Vec::new());
    ends(&bench.run(&[]), 0);
    ends(&template(&bench, &["--overwrite"]), 0);
    caption_directory(&bench.directory.path().join("captions"), 3);
    ends(&template(&bench, &[]), 0);
    assert_eq!((bench.reports().len(), aside(&bench).len()), (3, 1));
    ends(&bench.run(&["--overwrite"]), 0);
    caption_directory(&bench.directory.path().join("captions"), 4);
    ends(&bench.run(&[]), 0);
    assert_eq!((bench.reports().len(), bench.requests().len(), aside(&bench).len()), (4, 4, 0));
    assert_eq!(lines(&bench.out().join("ledger.jsonl")), 5);
}

#[test]
fn an_unfinished_directory_of_other_options_keeps_its_answers() {
    let bench = Bench::new(3, Vec::new());
    ends(&bench.run(&["--max-requests", "2"]), 1);
    for output in [bench.run(&["--model", "huge"]), template(&bench, &[])] {
        let text = ends(&output, 1);
        assert!(text.contains("E212 answers of another model, prompt or parameters are here. "), "{text}");
        assert!(text.contains("holds model tiny, prompt report/"), "{text}");
        assert!(text.contains("or give --overwrite, which keeps these answers."), "{text}");
    }
    ends(&bench.run(&["--model", "huge", "--overwrite", "--max-requests", "1"]), 1);
    ends(&template(&bench, &["--overwrite"]), 0);
    assert_eq!(aside(&bench).len(), 2);
    ends(&bench.run(&["--overwrite"]), 0);
    ends(&bench.run(&["--model", "huge", "--overwrite"]), 0);
    assert_eq!(bench.requests().len(), 6, "no request was sent twice");
}

/// What is advised after replies that were rejected works as it stands, whether some came to a report or none did.
#[test]
fn the_ways_out_of_rejected_replies_lead_out() {
    let other = "with --overwrite, which keeps the answers so far, or with another --out.";
    // the first caption, or all of them, need room
    for (all, code) in [(false, 3), (true, 1)] {
        let bench = || {
            Bench::with(2, move |request: &Request| {
                let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                let fits = body["max_tokens"].as_u64() >= Some(1024);
                let is_long = all || String::from_utf8_lossy(&request.body).contains("abdomen with 0 dense");
                if is_long && !fits { completion(Some("The axial slice"), "length") } else { good(request) }
            })
        };
        let more = ["--max-tokens", "1024"];
        for place in ["--overwrite", "--out"] {
            let bench = bench();
            let text = ends(&bench.run(&[]), code);
            let advice = format!("Set --max-tokens 1024 or disable thinking, {other}");
            assert!(text.contains("E204 case patient_0") && text.contains(&advice), "{text}");
            let advice = format!("or change --max-tokens, --prompt or --model {other}");
            assert_eq!(text.contains(&advice), all, "{text}");
            ends(&bench.run(&more), 1);
            if place == "--out" {
                let mut elsewhere = bench.arguments(&more);
                *elsewhere.last_mut().unwrap() += "-b";
                let mut command = text_synth();
                ends(&command.args(elsewhere).output().unwrap(), 0);
                continue;
            }
            let ledger = files(&bench)["ledger.jsonl"].clone();
            ends(&bench.run(&[&more[..], &[place]].concat()), 0);
            assert_eq!(bench.reports().len(), 2);
            assert!(files(&bench)[only(&aside(&bench))] == ledger);
        }
    }
    // the same options, and a server that does better
    let asked = AtomicUsize::new(0);
    let bench = Bench::with(2, move |request: &Request| {
        let is_empty = asked.fetch_add(1, Ordering::Relaxed) < 4;
        if is_empty { completion(Some(""), "stop") } else { good(request) }
    });
    let text = ends(&bench.run(&[]), 1);
    assert!(text.contains("ask again with the same options and --retry-rejected"), "{text}");
    ends(&bench.run(&["--retry-rejected"]), 0);
    assert_eq!(bench.reports().len(), 2);
}

/// Batches that a server works on are paid for, too.
#[test]
fn open_batches_are_not_given_up() {
    let bench = Bench::new(1, Vec::new());
    ends(&bench.run(&[]), 0);
    let state = json!({
        "batches": "gtgm/batches/1", "base": "http://127.0.0.1:9/v1", "model": "tiny", "past": {},
        "open": [{"input": "d", "key": "k", "requests": {"r": 0, "s": 0}, "file": "f", "batch": "b"}],
    });
    let path = bench.out().join("batches.json");
    fs_err::write(&path, state.to_string()).unwrap();
    for output in [template(&bench, &["--overwrite"]), bench.run(&["--model", "huge", "--overwrite"])] {
        let text = ends(&output, 1);
        assert!(
            text.contains("E228 2 requests of other options are in batches at the server.")
                && text.contains("http://127.0.0.1:9/v1, model tiny"),
            "{text}"
        );
    }
    assert!(path.is_file() && bench.requests().len() == 1);
}

/// What a kill or a full disk leaves of the file for new answers hides none that was paid for.
#[test]
fn a_next_ledger_that_was_cut_costs_nothing() {
    for cut in ["", "{\"ledger\":\"gt"] {
        let bench = Bench::new(3, Vec::new());
        ends(&bench.run(&[]), 0);
        let ledger = files(&bench)["ledger.jsonl"].clone();
        ends(&bench.run(&["--model", "huge", "--overwrite"]), 0);
        fs_err::write(bench.out().join("ledger.next.jsonl"), cut).unwrap();
        let text = ends(&bench.run(&["--overwrite"]), 0);
        assert!(text.contains("I207 resumed: 3 requests answered before, 0 to do"), "{text}");
        assert!(bench.requests().len() == 6 && files(&bench)["ledger.jsonl"] == ledger);
        assert_eq!(verify::verify(&bench.out()).unwrap(), [""; 0]);
    }
}

/// An interrupted round of other options does not keep this one from asking.
#[test]
fn a_round_of_other_options_is_not_this_one() {
    let asked = AtomicUsize::new(0);
    let bench = Bench::with(3, move |request: &Request| {
        if (1..=4).contains(&asked.fetch_add(1, Ordering::Relaxed)) {
            completion(Some("I cannot do this."), "stop")
        } else {
            good(request)
        }
    });
    ends(&bench.run(&[]), 3);
    ends(&bench.run(&["--model", "huge", "--overwrite", "--retry-rejected", "--max-requests", "1"]), 1);
    assert!(files(&bench).contains_key("retry.json") && bench.requests().len() == 6);
    ends(&bench.run(&["--retry-rejected"]), 0);
    assert_eq!((bench.reports().len(), bench.requests().len()), (3, 8));
    // the answer of the other one waits
    ends(&bench.run(&["--model", "huge", "--overwrite"]), 0);
    assert_eq!(bench.requests().len(), 10);
}

/// Reruns that end early change no file that the manifest lists, whichever options they are of.
#[test]
fn listed_ledgers_stay_until_the_rerun_is_finished() {
    let bench = Bench::new(2, Vec::new());
    ends(&bench.run(&[]), 0);
    ends(&bench.run(&["--model", "huge", "--overwrite"]), 0);
    caption_directory(&bench.directory.path().join("captions"), 5);
    for _ in 0..2 {
        ends(&bench.run(&["--overwrite", "--max-requests", "1"]), 1);
        ends(&bench.run(&["--model", "huge", "--max-requests", "1"]), 1);
        let wrong = verify::verify(&bench.out()).unwrap();
        assert!(wrong.len() == 2, "{wrong:?}");
        assert!(
            wrong
                .iter()
                .all(|line| line.starts_with("ledger.next.") && line.ends_with(": not in the manifest")),
            "{wrong:?}"
        );
    }
    ends(&bench.run(&["--overwrite"]), 0);
    ends(&bench.run(&["--model", "huge", "--overwrite"]), 0);
    assert_eq!(bench.requests().len(), 2 * 5, "no request was sent twice");
    assert_eq!(verify::verify(&bench.out()).unwrap(), [""; 0]);
}

#[test]
fn a_rerun_without_answers_is_cleared() {
    let bench = Bench::with(20, |request: &Request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        if body["model"] == "huge" { ResponseTemplate::new(404) } else { good(request) }
    });
    ends(&bench.run(&[]), 0);
    ends(&bench.run(&["--model", "huge", "--overwrite", "--retry-rejected"]), 1);
    assert_eq!(verify::verify(&bench.out()).unwrap().len(), 2);
    assert!(ends(&bench.run(&[]), 0).contains("Nothing to do"));
    assert_eq!(verify::verify(&bench.out()).unwrap(), [""; 0]);
}
