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

#[test]
fn a_server_that_asks_for_an_hour_ends_the_run() {
    let bench = Bench::new(1, vec![ResponseTemplate::new(503).insert_header("retry-after", "3600")]);
    let text = ends(&bench.run(&[]), 1);
    assert!(text.contains("E201 the server asks to wait 3600 s"), "{text}");
    assert_eq!(bench.requests().len(), 1);
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
    // the next run asks for the missing one only
    ends(&bench.run(&[]), 0);
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
    assert!(text.contains("E201") && text.contains("E203"), "{text}");
    assert!(bench.requests().len() < 8);
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
        "E202 the server refused the request. {}/v1: HTTP 404: The model `tiny` does not exist. Check --base-url, --model and $OPENAI_API_KEY; such a request is not sent again.",
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
