//! What replies become: reports, or rejected with a reason.

use crate::bench::{Bench, KEY, completion, ends};
use crate::common::everything;
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

#[test]
fn every_caption_gets_a_report_and_nothing_is_told_of_patients_or_key() {
    let bench = Bench::new(12, Vec::new());
    let text = ends(&bench.run(&["--concurrency", "4"]), 0);
    let reports = bench.reports();
    assert_eq!(reports.len(), 12);
    for (i, report) in reports.iter().enumerate() {
        assert_eq!(report.id, format!("patient_{i}:axial:0:0"));
        assert!(report.text.contains(&format!("{i} in number")), "{}", report.text);
        assert_eq!(report.model.as_deref(), Some("tiny"));
    }
    for request in bench.requests() {
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(!body.contains("patient_") && !body.contains(KEY), "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["model"], &body["stream"], &body["max_tokens"]),
            (&json!("tiny"), &json!(false), &json!(256))
        );
    }
    assert!(!everything(&bench.out()).contains(KEY) && !text.contains(KEY));
    data_manifests::verify::verify(&bench.out()).unwrap();
    let again = ends(&bench.run(&[]), 0);
    assert!(again.contains("Nothing to do"), "{again}");
    assert_eq!(bench.requests().len(), 12);
}

#[test]
fn an_own_prompt_decides_the_request() {
    let bench = Bench::with(1, |_: &Request| {
        completion(Some("A report of eight words is just long enough."), "stop")
    });
    let prompt = bench.directory.path().join("prompt.txt");
    fs_err::write(&prompt, "name: mine\nversion: 2\n--- system\nBe brief.\n--- user\n{{anatomy}}: {{caption}} ({{vocabulary}})\n").unwrap();
    ends(&bench.run(&["--prompt", prompt.to_str().unwrap()]), 0);
    let body: Value = serde_json::from_slice(&bench.requests()[0].body).unwrap();
    assert_eq!(body["messages"][0]["content"], "Be brief.");
    let user = body["messages"][1]["content"].as_str().unwrap();
    assert!(user.starts_with("abdomen: Axial CT slice") && user.contains("liver, "), "{user}");
    assert!(everything(&bench.out()).contains("mine/2"));
}

/// T4 and T5
#[test]
fn cut_empty_and_refusing_replies_are_rejected_with_reasons() {
    let script = vec![
        completion(Some("The axial slice"), "length"),
        completion(None, "stop"),
        completion(Some("I'm sorry, but I can't help with that request about images."), "stop"),
        // second attempts: the first is answered well, the others are not
        completion(Some("The slice of the abdomen shows dense structures on the left side."), "stop"),
        completion(Some(""), "stop"),
        completion(Some("I cannot do this."), "stop"),
    ];
    let bench = Bench::new(3, script);
    let text = ends(&bench.run(&[]), 3);
    assert!(text.contains("E205 case patient_1:axial:0:0: all replies were rejected: empty"), "{text}");
    assert!(text.contains("E205 case patient_2:axial:0:0:") && text.contains("W205 5 replies"), "{text}");
    assert_eq!(bench.reports().iter().map(|r| r.case.as_str()).collect::<Vec<_>>(), ["patient_0"]);
    let rejected = bench.rejected();
    assert_eq!(rejected.len(), 5);
    assert_eq!(rejected[0]["reasons"], json!(["cut at max_tokens=256"]));
    assert_eq!((&rejected[0]["replaced"], &rejected[1]["replaced"]), (&json!(true), &json!(false)));
    // a cut reply gets more room the second time
    let bodies: Vec<Value> =
        bench.requests().iter().map(|r| serde_json::from_slice(&r.body).unwrap()).collect();
    assert_eq!(bodies[3]["max_tokens"], 512);
    // paid for and refused: not asked again, unless told
    let again = ends(&bench.run(&[]), 3);
    assert!(again.contains("Nothing to do") && again.contains("--retry-rejected"), "{again}");
    assert_eq!(bench.requests().len(), 6);
    ends(&bench.run(&["--retry-rejected"]), 0);
    assert_eq!((bench.reports().len(), bench.requests().len()), (3, 8));
}

/// T4
#[test]
fn all_tokens_spent_on_reasoning_is_said() {
    let thinking = || {
        ResponseTemplate::new(200).set_body_json(json!({"choices": [{
            "finish_reason": "length", "message": {"content": null, "reasoning_content": "first I look"}
        }]}))
    };
    let bench = Bench::new(
        2,
        vec![
            thinking(),
            completion(Some("The slice of the abdomen shows dense structures on the left."), "stop"),
            thinking(),
        ],
    );
    let text = ends(&bench.run(&[]), 3);
    assert!(
        text.contains("E204 case patient_0:axial:0:0: reply cut at max_tokens=512, all spent on reasoning"),
        "{text}"
    );
}

/// T4: the limit in the message is the one that was reached, the advice is beyond it.
#[test]
fn a_reply_that_is_cut_twice_is_said_with_the_limit() {
    let bench = Bench::with(1, |_: &Request| completion(Some("The axial slice"), "length"));
    let text = ends(&bench.run(&["--max-tokens", "50"]), 1);
    assert!(
        text.contains("E204 case patient_0:axial:0:0: reply cut at max_tokens=100. Not used. Set --max-tokens 200 or disable thinking, with --overwrite"),
        "{text}"
    );
    assert_eq!(bench.rejected().len(), 2);
}

/// T5: each kind of reply that is none, with its reason; the raw text stays.
#[test]
fn replies_that_are_no_reports_are_told_apart() {
    let prompt =
        "Write one report of the image in plain words and add no finding that the facts do not hold.";
    let say = |text: &str| completion(Some(text), "stop");
    let message = |message: Value| {
        ResponseTemplate::new(200)
            .set_body_json(json!({"choices": [{"finish_reason": "stop", "message": message}]}))
    };
    let cases = [
        ("echo of the caption", say("Axial CT slice of the abdomen with 0 dense structures.")),
        ("echo of the prompt", say(&format!("Of course. {prompt}"))),
        ("loop: the same 6 words three times", say(&"a bright area on the left ".repeat(4))),
        ("empty", say(" \n ")),
        (
            "empty; reasoning without an answer",
            message(json!({"content": "", "reasoning_content": "first I look"})),
        ),
        ("reasoning without an answer", say("<think>the user wants a report so I look at all facts")),
        (
            "a mark of the model's chat template: <|eot_id|>",
            say("Axial CT of the abdomen with soft tissue in the middle.<|eot_id|>assistant Done."),
        ),
        ("refusal", message(json!({"content": null, "refusal": "I will not."}))),
        ("refusal (content filter)", completion(None, "content_filter")),
        ("not in Latin script", say("腹部 的 轴 位 切片 显示 高 密度 结构")),
    ];
    for (reason, answer) in cases {
        let bench = Bench::with(1, move |_: &Request| answer.clone());
        let file = bench.directory.path().join("prompt.txt");
        let text = format!("name: p\nversion: 1\n--- system\n{prompt}\n--- user\n{{{{caption}}}}\n");
        fs_err::write(&file, text).unwrap();
        let text = ends(&bench.run(&["--prompt", file.to_str().unwrap()]), 1);
        assert!(
            text.contains(&format!("E205 case patient_0:axial:0:0: all replies were rejected: {reason}.")),
            "{reason}: {text}"
        );
        assert!(text.contains("W205 2 replies were rejected: 2 "), "{text}");
        let rejected = bench.rejected();
        assert_eq!(
            rejected[0]["reasons"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r.as_str().unwrap())
                .collect::<Vec<_>>()
                .join("; "),
            reason
        );
        assert_eq!(bench.requests().len(), 2);
    }
}

/// Reasoning before an answer is taken off.
#[test]
fn the_answer_behind_the_reasoning_is_the_report() {
    let bench = Bench::with(1, |_: &Request| {
        completion(
            Some(
                "<think>\nI look.\n</think>\n\nThe slice of the abdomen shows dense structures on the left.",
            ),
            "stop",
        )
    });
    ends(&bench.run(&[]), 0);
    assert_eq!(bench.reports()[0].text, "The slice of the abdomen shows dense structures on the left.");
}

/// A key that is a common word is a placeholder; what is said with its letters is kept, and errors with it end.
#[test]
fn a_placeholder_for_a_key_changes_nothing() {
    let said = "The axial slice of the abdomen shows a localized dense structure.";
    let usage = json!({"prompt_tokens": 10, "completion_tokens": null});
    let bench = Bench::with(1, move |_: &Request| {
        ResponseTemplate::new(200).set_body_json(json!({
            "choices": [{"finish_reason": "stop", "message": {"content": said}}], "usage": usage,
        }))
    });
    ends(&bench.command(&[]).env("OPENAI_API_KEY", "local").output().unwrap(), 0);
    assert_eq!(bench.reports()[0].text, said);
    assert_eq!(bench.requests().len(), 1);
    for key in ["key", "k", "e", "y"] {
        let refused =
            ResponseTemplate::new(401).set_body_json(json!({"error": "Incorrect API key provided"}));
        let bench = Bench::new(1, vec![refused]);
        let mut command = bench.command(&[]);
        let run = command.env("OPENAI_API_KEY", key).timeout(std::time::Duration::from_secs(60));
        let text = ends(&run.output().unwrap(), 1);
        assert!(text.contains("HTTP 401: Incorrect API key provided"), "{text}");
    }
}

#[test]
fn a_key_in_a_reply_is_stored_nowhere() {
    let bench = Bench::with(1, |_: &Request| {
        let said = format!("The axial slice of the abdomen shows dense structures near {KEY} there.");
        completion(Some(&said), "stop")
    });
    ends(&bench.run(&[]), 0);
    assert!(bench.reports()[0].text.contains("near [key] there"), "{}", bench.reports()[0].text);
    assert!(!everything(&bench.out()).contains(KEY));
}
