//! Chat completions as servers write them. Only what is needed has to be right: a completion was paid for, and an odd count of
//! tokens or an extra is no reason to ask for it again.

use super::classify::{Answer, Reply, Verdict, parse};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: Value,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Value,
    message: Said,
}

#[derive(Deserialize)]
struct Said {
    content: Option<Text>,
    #[serde(default)]
    refusal: Value,
    #[serde(default)]
    reasoning: Value,
    #[serde(default)]
    reasoning_content: Value,
}

/// The text of a message: whole, or in parts, as servers for several kinds of input give it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    /// Absent in parts that are no text.
    text: Option<String>,
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        match text {
            Text::Whole(text) => text,
            Text::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        }
    }
}

/// A count of tokens; 0, which stands for one that has to be estimated, for what is none.
fn count(usage: &Value, name: &str) -> u64 {
    let Some(value) = usage.get(name) else { return 0 };
    // some servers write whole numbers as 10.0
    let whole = |n: &f64| *n >= 0.0 && n.fract() == 0.0 && *n < 9e15;
    value.as_u64().or_else(|| value.as_f64().filter(whole).map(|n| n as u64)).unwrap_or(0)
}

/// The reply in an answer of good status, without the key of the request.
pub(super) fn read(answer: &Answer) -> Verdict {
    let completion: Completion = match parse(answer, "chat completion") {
        Ok(completion) => completion,
        Err(verdict) => return verdict,
    };
    let Some(choice) = completion.choices.into_iter().next() else {
        return Verdict::Unreadable("the completion has no choices".to_owned());
    };
    let text = |value: &Value| value.as_str().map(|text| answer.secret.hide(text.to_owned()));
    let given = |value: &Value| !matches!(value, Value::Null | Value::Bool(false)) && value != "";
    Verdict::Reply(Reply {
        finish_reason: text(&choice.finish_reason),
        refused: given(&choice.message.refusal),
        reasoning: given(&choice.message.reasoning) || given(&choice.message.reasoning_content),
        content: choice.message.content.map(|content| answer.secret.hide(content.into())),
        model: text(&completion.model),
        prompt_tokens: count(&completion.usage, "prompt_tokens"),
        completion_tokens: count(&completion.usage, "completion_tokens"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::*;
    use serde_json::json;

    fn answer(body: &Value) -> Answer {
        Answer { status: 200, body: body.to_string().into_bytes(), ..Answer::default() }
    }

    #[track_caller]
    fn reply(body: &Value) -> Reply {
        match read(&answer(body)) {
            Verdict::Reply(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_odd_usage_costs_no_completion() {
        let cases = [
            (json!({"prompt_tokens": 10, "completion_tokens": null}), (10, 0)),
            (json!({"prompt_tokens": 10.0, "completion_tokens": 5.0}), (10, 5)),
            (json!({"prompt_tokens": 10.5, "completion_tokens": -5}), (0, 0)),
            (json!({"prompt_tokens": "10", "completion_tokens": 1e300}), (0, 0)),
            (json!({"prompt_tokens": [1], "completion_tokens": u64::MAX}), (0, u64::MAX)),
            (json!({}), (0, 0)),
            (json!(null), (0, 0)),
            (json!("none"), (0, 0)),
            (json!([10, 5]), (0, 0)),
        ];
        for (usage, expected) in cases {
            let reply = reply(&json!({
                "choices": [{"finish_reason": "stop", "message": {"content": "text"}}], "usage": usage,
            }));
            assert_eq!((reply.prompt_tokens, reply.completion_tokens), expected, "{usage}");
            assert_eq!(reply.content.as_deref(), Some("text"), "{usage}");
        }
    }

    #[test]
    fn odd_extras_cost_no_completion() {
        let odd = [json!(null), json!(7), json!(1.5), json!({"a": 1}), json!([1]), json!("x"), json!(true)];
        for value in odd {
            let body = json!({
                "id": value, "object": value, "created": value, "model": value, "system_fingerprint": value,
                "service_tier": value,
                "choices": [{
                    "index": value, "logprobs": value, "finish_reason": value,
                    "message": {"role": value, "content": "text", "reasoning": value, "tool_calls": value},
                }],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": value,
                          "prompt_tokens_details": value},
            });
            let reply = reply(&body);
            assert_eq!((reply.content.as_deref(), reply.prompt_tokens), (Some("text"), 3), "{value}");
        }
        let refused = |refusal: Value| {
            reply(&json!({"choices": [{"message": {"content": "text", "refusal": refusal}}]})).refused
        };
        assert!([json!(null), json!(""), json!(false)].into_iter().all(|value| !refused(value)));
        assert!([json!("I cannot"), json!(true)].into_iter().all(refused));
    }

    #[test]
    fn a_key_in_a_reply_is_not_kept_and_its_words_are() {
        let said = |key: &str, content: &str| {
            let body = json!({"choices": [{"message": {"content": content}}]});
            match read(&Answer { secret: Secret::new(key), ..answer(&body) }) {
                Verdict::Reply(reply) => reply.content.unwrap_or_default(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(said("local", "a localized structure"), "a localized structure");
        assert_eq!(said("sk-SECRET123456", "mine is sk-SECRET123456."), "mine is [key].");
    }

    #[test]
    fn a_text_in_parts_is_one_text() {
        let said = |content: serde_json::Value| {
            let body = json!({"choices": [{"finish_reason": "stop", "message": {"content": content}}]});
            match read(&answer(&body)) {
                Verdict::Reply(reply) => reply.content,
                other => panic!("{other:?}"),
            }
        };
        let parts = json!([{"type": "text", "text": "A liver, "}, {"type": "image"}, {"type": "text", "text": "bright."}]);
        assert_eq!(said(parts).as_deref(), Some("A liver, bright."));
        assert_eq!(said(json!([])).as_deref(), Some(""));
        assert_eq!(said(json!("A liver.")).as_deref(), Some("A liver."));
        assert_eq!(said(json!(null)), None);
    }

    #[test]
    fn replies_are_taken_apart() {
        let body = json!({
            "model": "m-1", "choices": [{"finish_reason": "length", "message": {"content": null, "reasoning_content": "hm"}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        });
        let Verdict::Reply(reply) = read(&answer(&body)) else { panic!("refused") };
        let expected = Reply {
            finish_reason: Some("length".into()),
            reasoning: true,
            model: Some("m-1".into()),
            prompt_tokens: 7,
            completion_tokens: 5,
            ..Reply::default()
        };
        assert_eq!(reply, expected);
    }
}
