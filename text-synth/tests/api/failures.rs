//! What a server may do instead of replying.

use crate::bench::{Bench, KEY, ends, report};
use crate::common::{caption_directory, everything, text_synth};
use crate::server::{Act, Server};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tempfile::tempdir;
use wiremock::ResponseTemplate;

/// T1
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

/// What a server did not ask for is not said to be its wish.
#[test]
fn a_wait_of_our_own_is_not_said_to_be_asked_for() {
    let hidden =
        ResponseTemplate::new(200).set_body_json(json!({"error": {"message": "overloaded", "code": 503}}));
    let negative = ResponseTemplate::new(429).insert_header("retry-after", "-5");
    for answer in [hidden, negative] {
        let text = ends(&Bench::new(1, vec![answer]).run(&[]), 0);
        assert!(text.contains("I201 waiting 0.1 s, as the server is busy. HTTP "), "{text}");
        assert!(!text.contains("asks"), "{text}");
    }
}

#[test]
fn a_server_that_asks_for_an_hour_ends_the_run() {
    let bench = Bench::new(1, vec![ResponseTemplate::new(503).insert_header("retry-after", "3600")]);
    let text = ends(&bench.run(&[]), 1);
    assert!(text.contains("E201 the server asks to wait 3600 s"), "{text}");
    assert_eq!(bench.requests().len(), 1);
}

/// What another run sends again is not done, whatever this one counts.
#[test]
fn progress_counts_what_is_answered_or_refused_for_good() {
    let refusal = ResponseTemplate::new(400).set_body_json(json!({"error": {"message": "too long"}}));
    let bench = Bench::new(3, vec![refusal, ResponseTemplate::new(500)]);
    // the refusal is written down once the server has replied to another request
    let text = ends(&bench.run(&["--retries", "0"]), 3);
    assert!(text.contains("E202 case patient_0") && text.contains("E203 case patient_1"), "{text}");
    assert!(!text.contains("report 3/3"), "{text}");
    let text = ends(&bench.run(&["--retries", "0"]), 3);
    assert!(text.contains("I207 resumed: 2 requests answered before, 1 to do"), "{text}");
    assert!(text.contains("report 3/3"), "{text}");
}

/// T2
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
    // it is not sent again, and nothing is lost
    let text = ends(&bench.run(&[]), 3);
    assert!(text.contains("Nothing to do"), "{text}");
    assert_eq!((bench.reports().len(), bench.requests().len()), (2, 3));
    // unless that is asked for: the missing one only
    ends(&bench.run(&["--retry-rejected"]), 0);
    assert_eq!((bench.reports().len(), bench.requests().len()), (3, 4));
}

/// T3
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
    assert!(bench.requests().len() < 8);
    // what ended all of them is said once, and so is what to do
    let detail = format!(
        "{}/v1: HTTP 500: no text. Check the server, then run the same command again; what was answered is kept.",
        bench.server.uri()
    );
    let each = format!("E203 case patient_0:axial:0:0: no reply after 1 attempts (and so 3 more). {detail}");
    let end = format!("E201 4 requests in a row got no reply. The last: no reply after 1 attempts; {detail}");
    assert!(text.contains(&each) && text.contains(&end), "{text}");
    assert_eq!((text.matches("E203").count(), text.matches("Check the server").count()), (1, 2), "{text}");
}

/// T1: the date form of Retry-After.
#[test]
fn a_wait_until_a_date_is_kept() {
    let until = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    let limited = ResponseTemplate::new(503)
        .insert_header("retry-after", until.as_str())
        .set_body_json(json!({"error": {"message": "overloaded"}}));
    let bench = Bench::new(2, vec![limited]);
    let start = Instant::now();
    let text = ends(&bench.run(&[]), 0);
    // the date has whole seconds
    assert!(start.elapsed() >= Duration::from_millis(1500), "{text}");
    assert!(text.contains("as the server asks. HTTP 503: overloaded; 0 of 2 done"), "{text}");
    assert_eq!((bench.reports().len(), bench.requests().len()), (2, 3));
}

/// T1: a pause holds for all that are not in flight yet.
#[test]
fn nothing_is_sent_during_a_pause() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&times);
    let server = Server::start(move |n, _| {
        kept.lock().unwrap().push(Instant::now());
        if n == 4 {
            Act::error(429, "retry-after: 1\r\n")
        } else {
            Act::reply(Duration::from_millis(5), reply())
        }
    });
    let directory = tempdir().unwrap();
    caption_directory(&directory.path().join("captions"), 40);
    let mut command = text_synth();
    command.args(report(directory.path(), &server.base(), &["--concurrency", "4"]));
    let text = ends(&command.output().unwrap(), 0);
    assert_eq!(text.matches("I201 waiting").count(), 1, "{text}");
    let times = times.lock().unwrap();
    let within = times.iter().filter(|t| (100..900).contains(&(**t - times[4]).as_millis())).count();
    assert_eq!((times.len(), within), (41, 0), "{text}");
}

/// T2, and T13: a server that knows no chat completions, or no such model.
#[test]
fn what_is_not_there_is_said_with_the_servers_words() {
    let bench = Bench::new(
        3,
        vec![
            ResponseTemplate::new(404)
                .set_body_json(json!({"error": {"message": "The model `tiny` does not exist"}})),
        ],
    );
    let text = ends(&bench.run(&[]), 1);
    let expected = format!(
        "E202 the server refused the request. {}/v1: HTTP 404: The model `tiny` does not exist. Check --base-url, --model and $OPENAI_API_KEY, then run the same command again.",
        bench.server.uri()
    );
    assert!(text.contains(&expected), "{text}");
}

/// T3: a connection that is cut, before and within the reply.
#[test]
fn cut_connections_are_tried_again_within_bounds() {
    let server = Server::start(|n, _| match n {
        0 => Act::Cut,
        1 => Act::Half(reply()),
        _ => Act::reply(Duration::ZERO, reply()),
    });
    let directory = tempdir().unwrap();
    caption_directory(&directory.path().join("captions"), 1);
    let run = |extra: &[&str]| {
        let mut command = text_synth();
        command.args(report(directory.path(), &server.base(), extra)).output().unwrap()
    };
    let text = ends(&run(&[]), 0);
    assert!(text.contains("W203 connection cut (") && text.contains("), retry 1/8."), "{text}");
    assert!(text.contains("retry 2/8."), "{text}");

    let never = Server::start(|_, _| Act::Cut);
    let other = tempdir().unwrap();
    caption_directory(&other.path().join("captions"), 1);
    let mut command = text_synth();
    command.args(report(other.path(), &never.base(), &["--retries", "1"]));
    let text = ends(&command.output().unwrap(), 1);
    assert!(text.contains("E203 case patient_0:axial:0:0: no reply after 2 attempts."), "{text}");
    assert_eq!(never.requests(), 2);
}

/// T3: https spoken to a port that speaks plain http.
#[test]
fn a_server_without_tls_is_told_from_a_dead_one() {
    let server = Server::start(|_, _| Act::reply(Duration::ZERO, reply()));
    let directory = tempdir().unwrap();
    caption_directory(&directory.path().join("captions"), 3);
    let base = server.base().replace("http:", "https:");
    let mut command = text_synth();
    let text = ends(&command.args(report(directory.path(), &base, &[])).output().unwrap(), 1);
    assert!(text.contains(&format!("E220 no secure connection to the server. {base}: no TLS (")), "{text}");
    assert!(text.contains("Give --base-url with http://"), "{text}");
    assert!(!text.contains("retry"), "{text}");

    let nobody = format!("http://127.0.0.1:{}/v1", free_port());
    let mut command = text_synth();
    command.args(report(directory.path(), &nobody, &["--retries", "0"]));
    let text = ends(&command.output().unwrap(), 1);
    assert!(
        text.contains("E203 case patient_0:axial:0:0: no reply after 1 attempts.")
            && text.contains("cannot connect ("),
        "{text}"
    );
}

fn reply() -> String {
    json!({"choices": [{"finish_reason": "stop", "message": {
        "content": "The slice of the abdomen shows dense structures on the left."
    }}]})
    .to_string()
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Captions 1 to 4 (with one request in flight, four in a row) are refused, whatever is asked around them.
fn refuses_some(request: &wiremock::Request) -> ResponseTemplate {
    let body = String::from_utf8_lossy(&request.body);
    if (1..5).any(|n| body.contains(&format!("abdomen with {n} dense"))) {
        ResponseTemplate::new(400).set_body_json(json!({"error": {"message": "content policy"}}))
    } else {
        crate::bench::good(request)
    }
}

#[test]
fn refusals_in_a_row_neither_end_a_run_nor_lose_a_finished_one() {
    let bench = Bench::with(9, refuses_some);
    let text = ends(&bench.run(&[]), 3);
    assert_eq!(text.matches("E202 case patient_").count(), 4, "{text}");
    assert!(
        text.contains("HTTP 400: content policy. It is not sent again unless --retry-rejected"),
        "{text}"
    );
    assert_eq!((bench.reports().len(), bench.requests().len()), (5, 9));
    assert_eq!(bench.rejected()[0]["reasons"], json!(["refused: HTTP 400: content policy"]));
    for (extra, requests) in [(&[][..], 9), (&["--retry-rejected"], 13), (&[], 13)] {
        ends(&bench.run(extra), 3);
        assert_eq!((bench.reports().len(), bench.requests().len()), (5, requests));
        data_manifests::verify::verify(&bench.out()).unwrap();
    }
}

#[test]
fn a_server_that_refuses_everything_ends_the_run_early() {
    let bench = Bench::with(40, |_: &wiremock::Request| {
        ResponseTemplate::new(400).set_body_json(json!({"error": {"message": "no such model"}}))
    });
    let text = ends(&bench.run(&[]), 1);
    assert!(text.contains("E201 the server refused all of the first 16 requests"), "{text}");
    assert_eq!((bench.requests().len(), crate::bench::lines(&bench.out().join("ledger.jsonl"))), (16, 1));
}

/// A finished directory stays one while a rerun fails, and what the rerun paid for is kept.
#[test]
fn a_rerun_that_fails_loses_no_finished_stage() {
    let down = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let state = Arc::clone(&down);
    let bench = Bench::with(12, move |r: &wiremock::Request| {
        let n = state.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // the first run gets 6 answers, the second one 2, the third all
        if (6..12).contains(&n) || (14..18).contains(&n) {
            ResponseTemplate::new(500)
        } else {
            crate::bench::good(r)
        }
    });
    let first = ["--retries", "0", "--concurrency", "7"];
    ends(&bench.run(&first), 3);
    assert_eq!(bench.reports().len(), 6);
    let listed = ["manifest.json", "reports.jsonl", "ledger.jsonl", "rejected.jsonl"];
    let read = || listed.map(|name| fs_err::read(bench.out().join(name)).unwrap());
    let finished = read();
    let text = ends(&bench.run(&["--retries", "0"]), 1);
    assert!(text.contains("E201 4 requests in a row got no reply"), "{text}");
    assert!(read() == finished, "what was finished was changed");
    data_manifests::verify::verify(&bench.out()).unwrap();
    ends(&bench.run(&[]), 0);
    // the two answers of the run that failed were kept
    assert_eq!((bench.reports().len(), bench.requests().len()), (12, 22));
    data_manifests::verify::verify(&bench.out()).unwrap();
    assert!(!bench.out().join("ledger.next.jsonl").exists());
}

/// A wait that is shorter than the own one does not burn all attempts.
#[test]
fn a_wait_of_no_length_does_not_hurry() {
    let limited = || {
        ResponseTemplate::new(429)
            .insert_header("retry-after", "0")
            .set_body_json(json!({"error": {"message": "slow down"}}))
    };
    let start = Instant::now();
    let bench = Bench::with(3, move |r: &wiremock::Request| {
        if start.elapsed() < Duration::from_secs(3) { limited() } else { crate::bench::good(r) }
    });
    ends(&bench.run(&[]), 0);
    assert!(bench.reports().len() == 3 && bench.requests().len() < 30, "{}", bench.requests().len());
}

/// What is in flight when an answer ends the run is paid for: it is waited for and kept.
#[test]
fn what_is_in_flight_when_the_run_ends_is_kept() {
    let server = Server::start(move |n, _| match n {
        0 => Act::error(503, "retry-after: 700\r\n"),
        _ => Act::reply(Duration::from_secs(7), reply()),
    });
    let directory = tempdir().unwrap();
    caption_directory(&directory.path().join("captions"), 4);
    let mut command = text_synth();
    command.args(report(directory.path(), &server.base(), &["--concurrency", "4"]));
    let text = ends(&command.output().unwrap(), 1);
    assert!(text.contains("E201 the server asks to wait 700 s"), "{text}");
    let kept = crate::bench::lines(&directory.path().join("reports/ledger.jsonl")) - 1;
    assert_eq!(kept, server.requests() - 1, "{text}");
}

/// A completion is bought once, whatever its envelope.
#[test]
fn replies_in_odd_envelopes_are_not_bought_again() {
    let said = reply();
    let raw = |body: &str, kind: &str| ResponseTemplate::new(200).set_body_raw(body.to_owned(), kind);
    let hidden = json!({"error": {"code": 400, "message": "content policy"}}).to_string();
    let cases = [
        (raw(&said, "text/plain"), 0, 1),
        (raw("data: {}\n\n", "text/event-stream"), 1, 2),
        (raw(r#"{"choices": []}"#, "application/json"), 1, 2),
        (raw(&"x".repeat(9 << 20), "application/json"), 1, 1),
        (raw(&hidden, "application/json"), 1, 1),
    ];
    for (answer, code, requests) in cases {
        let bench = Bench::with(1, move |_: &wiremock::Request| answer.clone());
        let text = ends(&bench.run(&[]), code);
        assert_eq!(bench.requests().len(), requests, "{text}");
        assert!(!text.contains("larger than") || !text.contains("OPENAI_API_KEY"), "{text}");
    }
    let bench = Bench::new(2, vec![raw(&"x".repeat(9 << 20), "application/json")]);
    let text = ends(&bench.run(&[]), 3);
    assert!(
        text.contains(
            "E202 case patient_0:axial:0:0: the request was refused. the reply is larger than 8 MiB"
        ),
        "{text}"
    );
}

/// Neither messages nor files hold what a base URL must not.
#[test]
fn secrets_in_a_base_url_are_stored_nowhere() {
    let directory = tempdir().unwrap();
    caption_directory(&directory.path().join("captions"), 1);
    for base in [
        "http://user:hunter2pass@127.0.0.1:1/v1",
        "http://user:hunter2pass@127.0.0.1:99999/v1",
        "http://127.0.0.1:1/v1?api-key=hunter2pass",
    ] {
        let mut command = text_synth();
        let output = command.args(report(directory.path(), base, &[])).output().unwrap();
        let text = ends(&output, 1);
        assert!(text.contains("E216") && !text.contains("hunter2pass"), "{text}");
        let out = directory.path().join("reports");
        assert!(!out.exists() || !everything(&out).contains("hunter2pass"));
    }
}
