use super::*;

fn sampling(extra: Option<&str>) -> Sampling {
    let extra_body = extra.map(|text| ExtraBody::parse(text, &Secret::default()).unwrap().unwrap());
    Sampling { max_tokens: 256, temperature: 0.2, top_p: None, request_seed: None, extra_body }
}

/// Ledgers that were made before there were more options keep their answers: requests and headers have the bytes of then.
#[test]
fn what_is_not_given_is_in_no_request_and_no_header() {
    let plain = sampling(None);
    assert_eq!(
        plain.body("m", json!(["hi"]), 1),
        json!({"model": "m", "messages": ["hi"], "max_tokens": 256, "temperature": 0.2, "stream": false})
    );
    assert_eq!(plain.parameters().unwrap(), json!({"max_tokens": 256, "temperature": 0.2}));
    let all = Sampling { top_p: Some(0.9), request_seed: Some(-3), ..sampling(Some(r#"{"a": {"b": 1}}"#)) };
    let body = all.body("m", json!([]), 2);
    assert_eq!(
        (&body["top_p"], &body["seed"], &body["a"], &body["max_tokens"]),
        (&json!(0.9), &json!(-3), &json!({"b": 1}), &json!(512))
    );
    assert_eq!(
        all.parameters().unwrap(),
        json!({"max_tokens": 256, "temperature": 0.2, "top_p": 0.9, "request_seed": -3, "extra_body": {"a": {"b": 1}}})
    );
}

#[test]
fn null_takes_a_member_out_and_the_longest_reply_may_have_another_name() {
    let newer = sampling(Some(r#"{"max_tokens": null, "max_completion_tokens": 500, "temperature": null}"#));
    let body = |attempt| newer.body("m", json!([]), attempt);
    assert_eq!(body(1), json!({"model": "m", "messages": [], "max_completion_tokens": 500, "stream": false}));
    assert_eq!(body(2)["max_completion_tokens"], 1000);
    assert_eq!((newer.max_tokens(1), newer.max_tokens(2)), (500, 1000));
    assert_eq!(newer.more_room(), "\"max_completion_tokens\": 2000 in --extra-body");
    // no limit at all: reckoned with what the option says
    let none = sampling(Some(r#"{"max_tokens": null}"#));
    assert!(none.body("m", json!([]), 2).get("max_tokens").is_none());
    assert_eq!((none.max_tokens(2), none.more_room().as_str()), (512, "--max-tokens 1024"));
}

#[test]
fn one_limit_has_one_name_unless_both_are_given() {
    let body = |extra: &str, attempt| sampling(Some(extra)).body("m", json!([]), attempt);
    let longer = body(r#"{"max_completion_tokens": 100}"#, 1);
    assert_eq!(
        longer,
        json!({"model": "m", "messages": [], "max_completion_tokens": 100, "temperature": 0.2, "stream": false})
    );
    let both = body(r#"{"max_completion_tokens": 100, "max_tokens": 50}"#, 1);
    assert_eq!((&both["max_completion_tokens"], &both["max_tokens"]), (&json!(100), &json!(50)));
    // taken out under a name that it does not have
    assert_eq!(body(r#"{"max_completion_tokens": null}"#, 2)["max_tokens"], 512);
}

#[test]
fn a_longest_reply_is_a_whole_number_in_range() {
    let said = |text: &str| ExtraBody::parse(text, &Secret::default()).map_err(|error| error.to_string());
    for name in LONGEST {
        for value in ["-1", "0", "5000000000", "512.0", "\"512\"", "true", "[5]"] {
            let said = said(&format!(r#"{{"{name}": {value}}}"#)).unwrap_err();
            assert_eq!(
                said,
                format!(
                    "E231 --extra-body cannot be used. \"{name}\" is no number of tokens. Give a whole number from 1 to 4294967295, or null for no such member."
                )
            );
        }
        for value in ["1", "4294967295", "null"] {
            said(&format!(r#"{{"{name}": {value}}}"#)).unwrap();
        }
    }
}

#[test]
fn no_member_is_no_option() {
    assert!(ExtraBody::parse(" { } ", &Secret::default()).unwrap().is_none());
}

#[test]
fn a_member_that_a_flag_gives_too_is_refused() {
    let refused = |extra: &str, given| sampling(Some(extra)).check(given).map_err(|error| error.to_string());
    for (extra, given, flag) in [
        (r#"{"max_tokens": 9}"#, [true, false], "--max-tokens"),
        (r#"{"max_completion_tokens": 9}"#, [true, false], "--max-tokens"),
        (r#"{"temperature": 0.5}"#, [false, true], "--temperature"),
        (r#"{"temperature": null}"#, [false, true], "--temperature"),
    ] {
        assert!(refused(extra, given).unwrap_err().contains(&format!("also given by {flag}")), "{extra}");
        // a default is given by nobody
        refused(extra, given.map(|given| !given)).unwrap();
    }
    // reckoned with what the flag says
    refused(r#"{"max_tokens": null}"#, [true, true]).unwrap();
}

#[test]
fn what_cannot_be_used_is_refused_without_being_repeated() {
    let secret = Secret::new("my-own-key-123");
    let said = |text: &str| ExtraBody::parse(text, &secret).map_err(|error| error.to_string());
    for (text, reason) in [
        ("[1]", "it is no JSON object"),
        ("{", "it is no JSON: line 1, column 1"),
        (r#"{"messages": []}"#, "it holds \"messages\""),
        (r#"{"model": "b"}"#, "it holds \"model\""),
        (r#"{"stream": null}"#, "it holds \"stream\""),
        ("@no/such/file", "no/such/file"),
        (r#"{"api_key": "abc"}"#, "\"api_key\" looks like a credential"),
        (r#"{"headers": {"Authorization": "abc"}}"#, "\"headers.Authorization\" looks"),
        (r#"{"a": [{"b": "sk-abcdefgh"}]}"#, "\"a.0.b\" looks"),
        (r#"{"a": "x my-own-key-123"}"#, "\"a\" looks"),
        (r#"{"a": {"my-own-key-123": 1}}"#, "\"a member\" looks"),
    ] {
        let said = said(text).unwrap_err();
        assert!(said.starts_with("E231 --extra-body cannot be used.") && said.contains(reason), "{said}");
        for key in ["abc", "sk-abcdefgh", "my-own-key-123"] {
            assert!(!said.contains(key), "{said}");
        }
    }
    for text in [
        r#"{"stop_token_ids": [1, 2], "ignore_eos": false}"#,
        r#"{"chat_template_kwargs": {"enable_thinking": false}}"#,
        r#"{"stop": ["key"], "logit_bias": {"7": -100}, "min_tokens": 3}"#,
    ] {
        said(text).unwrap();
    }
    let twice = Sampling { top_p: Some(0.5), ..sampling(Some(r#"{"top_p": 0.9}"#)) };
    assert!(twice.check([false, false]).unwrap_err().to_string().contains("also given by --top-p"));
}
