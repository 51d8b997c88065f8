//! T6: replies as JSON objects, where a server gives them.

use crate::bench::{Bench, completion, ends, report_for};
use data_manifests::records;
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

fn bodies(bench: &Bench) -> Vec<Value> {
    bench.requests().iter().map(|r| serde_json::from_slice(&r.body).unwrap()).collect()
}

fn asks(body: &Value) -> bool {
    body["response_format"]["type"] == "json_schema"
}

fn knows(request: &Request) -> ResponseTemplate {
    completion(Some(&json!({"report": report_for(request)}).to_string()), "stop")
}

#[test]
fn a_server_that_knows_objects_is_asked_for_them() {
    let bench = Bench::with(3, knows);
    let text = ends(&bench.run(&[]), 0);
    assert!(!text.contains("I215"), "{text}");
    assert!(bodies(&bench).iter().all(asks));
    let schema = &bodies(&bench)[0]["response_format"]["json_schema"]["schema"];
    assert_eq!((&schema["required"], &schema["additionalProperties"]), (&json!(["report"]), &json!(false)));
    assert!(bench.reports()[1].text.ends_with("structures, 1 in number."));

    // reports and ledger are those of a server that does not
    let plain = Bench::new(3, Vec::new());
    ends(&plain.run(&[]), 0);
    for file in [records::REPORTS, "ledger.jsonl"] {
        let read = |bench: &Bench| fs_err::read_to_string(bench.out().join(file)).unwrap();
        assert_eq!(read(&bench), read(&plain), "{file}");
    }
}

#[test]
fn a_server_that_refuses_them_is_asked_for_text() {
    for (status, complaint) in [
        (400, json!({"error": {"message": "Unexpected keys in the request: {'response_format'}"}})),
        (
            422,
            json!({"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]}),
        ),
    ] {
        let bench = Bench::with(4, move |request: &Request| {
            if asks(&serde_json::from_slice(&request.body).unwrap()) {
                ResponseTemplate::new(status).set_body_json(&complaint)
            } else {
                completion(Some(&report_for(request)), "stop")
            }
        });
        let text = ends(&bench.run(&[]), 0);
        let said = format!(
            "I215 the server does not give replies as JSON objects; asking for plain text. HTTP {status}: "
        );
        assert_eq!(text.matches(&said).count(), 1, "{text}");
        assert_eq!(bodies(&bench).iter().map(asks).collect::<Vec<_>>(), [true, false, false, false, false]);
        assert_eq!(bench.reports().len(), 4);
    }
}

#[test]
fn a_server_that_ignores_them_is_asked_for_text() {
    let bench = Bench::new(3, Vec::new());
    let text = ends(&bench.run(&[]), 0);
    assert_eq!(text.matches("I215 the server does not give replies as JSON objects; asking for plain text. it answered in plain text.").count(), 1, "{text}");
    assert_eq!(bodies(&bench).iter().map(asks).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn a_broken_object_is_repaired_once_or_fails_alone() {
    let bench = Bench::with(3, |request: &Request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let good = knows(request);
        let broken = completion(Some(r#"{"report": "The axial slice"#), "stop");
        match report_for(request) {
            first if first.ends_with("0 in number.") => broken,
            second if second.ends_with("1 in number.") && body["messages"].as_array().unwrap().len() == 2 => {
                broken
            }
            _ => good,
        }
    });
    let text = ends(&bench.run(&[]), 3);
    assert!(
        text.contains(
            "E206 case patient_0:axial:0:0: the reply is broken JSON, also after one request to repair it."
        ),
        "{text}"
    );
    assert_eq!((text.matches("E206").count(), text.matches("E205").count()), (1, 0), "{text}");
    assert!(text.contains("W205 3 replies were rejected: 3 broken JSON"), "{text}");
    assert_eq!(
        bench.reports().iter().map(|r| r.case.as_str()).collect::<Vec<_>>(),
        ["patient_1", "patient_2"]
    );
    // three requests and two to repair, which hold the broken text
    let bodies = bodies(&bench);
    assert_eq!(bodies.len(), 5);
    for repair in &bodies[3..] {
        let messages = repair["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 4);
        assert_eq!(
            (&messages[2]["role"], &messages[2]["content"]),
            (&json!("assistant"), &json!(r#"{"report": "The axial slice"#))
        );
        assert!(messages[3]["content"].as_str().unwrap().starts_with("That is not valid JSON."));
    }
    assert_eq!(bench.rejected()[0]["text"], r#"{"report": "The axial slice"#);
}

/// A run that ends between a broken object and its repair goes on with the repair.
#[test]
fn the_repair_is_not_forgotten() {
    let broken = completion(Some(r#"{"report": "#), "stop");
    let bench = Bench::new(1, vec![broken]);
    ends(&bench.run(&["--max-requests", "1"]), 1);
    ends(&bench.run(&[]), 0);
    let bodies = bodies(&bench);
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[1]["messages"][2]["content"], r#"{"report": "#);
}
