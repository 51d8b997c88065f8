//! T9: what may be spent and how fast, and what a run would spend.

use crate::bench::{Bench, ends, good, lines};
use crate::common::everything;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use wiremock::{Request, ResponseTemplate};

fn counts(bench: &Bench) -> Value {
    let run: Value = serde_json::from_slice(&fs_err::read(bench.out().join("report.json")).unwrap()).unwrap();
    run["counts"].clone()
}

#[test]
fn requests_are_sent_at_the_rate_that_was_asked_for() {
    let bench = Bench::new(6, Vec::new());
    let start = Instant::now();
    ends(&bench.run(&["--concurrency", "6", "--requests-per-minute", "240"]), 0);
    assert!(start.elapsed() >= Duration::from_millis(1250));
    assert_eq!(bench.requests().len(), 6);

    // a prompt has some 500 tokens: less than the first estimate with 4,000 for the reply, which the server's count corrects
    let bench = Bench::new(3, Vec::new());
    let start = Instant::now();
    ends(&bench.run(&["--tokens-per-minute", "60000", "--max-tokens", "4000"]), 0);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(bench.requests().len(), 3);
}

#[test]
fn a_limit_of_requests_ends_the_run_and_keeps_what_came() {
    let bench = Bench::new(5, Vec::new());
    let text = ends(&bench.run(&["--max-requests", "3"]), 1);
    assert!(
        text.contains("E209 stopping: 3 requests sent, the limit is reached. --max-requests 3 counts those of this run, retries included. Run the same command again, or with a higher limit; what was answered is kept."),
        "{text}"
    );
    assert_eq!((bench.requests().len(), lines(&bench.out().join("ledger.jsonl"))), (3, 4));
    assert!(!bench.out().join("manifest.json").exists());
    let text = ends(&bench.run(&["--max-requests", "3"]), 0);
    assert!(text.contains("I207 resumed: 3 requests answered before, 2 to do, estimated "), "{text}");
    assert_eq!((bench.requests().len(), bench.reports().len()), (5, 5));
}

/// At the limit nothing in flight is given up, however slow it is.
#[test]
fn a_limit_of_tokens_counts_the_ledger_and_waits_for_what_is_in_flight() {
    let bench = Bench::with(8, |r: &Request| good(r).set_delay(Duration::from_millis(300)));
    // 120 tokens an answer; before it is known, a quarter of the prompt's bytes and 64
    let limit = ["--concurrency", "3", "--max-tokens", "64", "--max-total-tokens", "1000"];
    let text = ends(&bench.run(&limit), 1);
    assert!(
        text.contains("E209 stopping: ")
            && text.contains(" tokens used, the limit is reached. --max-total-tokens is 1000, the next of "),
        "{text}"
    );
    let sent = bench.requests().len();
    assert_eq!(lines(&bench.out().join("ledger.jsonl")) - 1, sent);
    assert!((1..8).contains(&sent) && sent * 120 <= 1000, "{sent}");
    let counted = counts(&bench);
    assert_eq!(
        (&counted["prompt_tokens"], &counted["completion_tokens"]),
        (&(100 * sent).into(), &(20 * sent).into())
    );
    // answers that are there count: the same limit allows no more
    let text = ends(&bench.run(&limit), 1);
    assert!(
        text.contains("E209") && text.contains(&format!("stopping: {} tokens used", sent * 120)),
        "{text}"
    );
    assert_eq!(bench.requests().len(), sent);
    ends(&bench.run(&["--max-tokens", "64", "--max-total-tokens", "10000"]), 0);
    assert_eq!((bench.requests().len(), bench.reports().len()), (8, 8));
}

#[test]
fn cost_is_counted_and_limited() {
    let prices = ["--price-prompt", "1000", "--price-completion", "10000"];
    let bench = Bench::new(4, Vec::new());
    let text = ends(&bench.run(&[&prices[..], &["--max-tokens", "64", "--max-cost", "1.4"]].concat()), 1);
    assert!(
        text.contains("E209 stopping: ")
            && text.contains(" spent, the limit is reached. --max-cost is 1.4, the next of "),
        "{text}"
    );
    assert!(bench.requests().len() < 4);
    // 100 tokens at 0.001 and 20 at 0.01 an answer
    let text = ends(&bench.run(&[&prices[..], &["--max-tokens", "64"]].concat()), 0);
    assert!(text.contains("Tokens of 4 answers: 400 of prompts, 80 of replies, cost 1.20;"), "{text}");
    assert_eq!(counts(&bench)["cost_millionths"], 1_200_000);
    let text = ends(&bench.run(&["--max-cost", "1"]), 2);
    assert!(text.contains("--price-prompt"), "{text}");
}

#[test]
fn a_dry_run_sends_and_writes_nothing() {
    let bench = Bench::new(5, Vec::new());
    let dry = ["--dry-run", "--max-tokens", "100", "--price-prompt", "1", "--price-completion", "2"];
    let print = || String::from_utf8(bench.run(&dry).stdout).unwrap();
    let text = print();
    assert!(text.starts_with("requests answered before: 0\nrequests to do: 5 ("), "{text}");
    assert!(
        text.contains(" of prompts, 500 of replies if every first reply is used\n")
            && text.contains("requests in all: 5 if every first reply is used, at most 10\n")
            && text.contains(" of prompts, 1500 of replies\ncost so far: ")
            && text.contains("cost of what is to do: about 0.00"),
        "{text}"
    );
    assert!(!bench.out().exists() && bench.requests().is_empty());
    ends(&bench.run(&["--max-tokens", "100", "--max-requests", "2"]), 1);
    let before = everything(&bench.out());
    let text = print();
    assert!(text.starts_with("requests answered before: 2\nrequests to do: 3 ("), "{text}");
    assert!(
        text.contains("tokens so far: 200 of prompts, 40 of replies")
            && text.contains("cost so far: 0.000280"),
        "{text}"
    );
    assert_eq!((everything(&bench.out()), bench.requests().len()), (before, 2));
}

/// The upper bound holds where every reply but the last is rejected, volumes are written and every text is contradicted.
#[test]
fn a_dry_run_tells_the_most_that_a_run_may_cost() {
    let text = "Coronal MRI of the brain with a tumour in the left kidney and a fracture beside it.";
    let asked = Mutex::new(HashSet::new());
    let bench = Bench::with(3, move |r: &Request| {
        let first = asked.lock().unwrap().insert(r.body.len());
        let prompt_tokens = r.body.len().div_ceil(4);
        ResponseTemplate::new(200).set_body_json(json!({
            "choices": [{"finish_reason": if first { "length" } else { "stop" }, "message": {"content": text}}],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 100},
        }))
    });
    let prices = ["--max-tokens", "100", "--price-prompt", "1000", "--price-completion", "2000"];
    let whole = |extra: &[&str]| {
        let mut line = bench.arguments(&[&prices[..], extra].concat());
        line.retain(|word| !["--no-volumes", "--grounding", "off"].contains(&word.as_str()));
        crate::common::text_synth().args(line).output().unwrap()
    };
    let print = String::from_utf8(whole(&["--dry-run"]).stdout).unwrap();
    let most: f64 = print.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(print.contains("and one request for each of 3 volumes\nand one more for each text"), "{print}");
    ends(&whole(&[]), 0);
    let cost = counts(&bench)["cost_millionths"].as_f64().unwrap() / 1e6;
    assert!(bench.requests().len() > 6 && cost > 0.0 && cost <= most, "{cost} {print}");
}
