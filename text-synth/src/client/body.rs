//! What decides a reply beside model and messages, and the body of a request made of it.

use super::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stage::Message;
use std::path::Path;

/// Members that are made of options and captions, and cannot be others.
const FIXED: [&str; 3] = ["messages", "model", "stream"];
/// Members under which a longest reply may stand; the first that is given holds.
const LONGEST: [&str; 2] = ["max_completion_tokens", "max_tokens"];
/// Member for the form of replies.
const FORM: &str = "response_format";

/// Sampling parameters. Those that are not given are in no request, no ledger and no manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sampling {
    /// Longest reply, in tokens.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Share of the probability from which tokens are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Seed of the server's sampling: the member `seed` of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_seed: Option<i64>,
    /// Members as the user wishes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_body: Option<ExtraBody>,
}

/// Members of requests that are put in, in place of others of the same name; null takes a member out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExtraBody(Map<String, Value>);

impl Sampling {
    /// As a ledger keeps them.
    ///
    /// # Errors
    /// Never in practice: numbers and objects are JSON.
    pub fn parameters(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    fn extra(&self, member: &str) -> Option<&Value> {
        self.extra_body.as_ref().and_then(|extra| extra.0.get(member))
    }

    /// Under which name the longest reply stands, and how long it may be: as [`ExtraBody`] says, else as the options do. Where a request holds none, it
    /// is what is reckoned with.
    fn longest(&self) -> (&'static str, u32) {
        let given =
            |name: &&str| self.extra(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let found = LONGEST.iter().find_map(|name| Some((*name, given(name)?)));
        found.unwrap_or(("max_tokens", self.max_tokens))
    }

    /// Tokens of the longest reply. One that was cut gets twice the room the second time.
    #[must_use]
    pub fn max_tokens(&self, attempt: usize) -> u32 {
        let (_, base) = self.longest();
        if attempt > 1 { base.saturating_mul(2) } else { base }
    }

    /// How to make room for longer replies, for messages.
    #[must_use]
    pub fn more_room(&self) -> String {
        let (name, base) = self.longest();
        let more = base.saturating_mul(4);
        if self.extra(name).is_some_and(|given| !given.is_null()) {
            format!("\"{name}\": {more} in --extra-body")
        } else {
            format!("--max-tokens {more}")
        }
    }

    /// Whether the user decides the form of replies.
    #[must_use]
    pub fn has_form(&self) -> bool {
        self.extra(FORM).is_some()
    }

    /// The body of a chat completion; `attempt` counts from 1.
    #[must_use]
    pub fn body(&self, model: &str, messages: Value, attempt: usize) -> Value {
        let mut body = Map::new();
        body.insert("model".to_owned(), model.into());
        body.insert("messages".to_owned(), messages);
        body.insert("max_tokens".to_owned(), self.max_tokens.into());
        body.insert("temperature".to_owned(), json!(self.temperature));
        body.insert("stream".to_owned(), false.into());
        if let Some(top_p) = self.top_p {
            body.insert("top_p".to_owned(), json!(top_p));
        }
        if let Some(seed) = self.request_seed {
            body.insert("seed".to_owned(), seed.into());
        }
        for (name, value) in self.extra_body.iter().flat_map(|extra| &extra.0) {
            if value.is_null() {
                body.remove(name);
            } else {
                body.insert(name.clone(), value.clone());
            }
        }
        let (name, _) = self.longest();
        if let Some(longest) = body.get_mut(name) {
            *longest = self.max_tokens(attempt).into();
        }
        Value::Object(body)
    }

    /// Refuses members that two options give.
    ///
    /// # Errors
    /// `E231` names both.
    pub fn check(&self) -> Result<(), Message> {
        for (is_given, member, flag) in [
            (self.top_p.is_some(), "top_p", "--top-p"),
            (self.request_seed.is_some(), "seed", "--request-seed"),
        ] {
            if is_given && self.extra(member).is_some() {
                let detail = format!("the member \"{member}\" is also given by {flag}");
                return Err(refused(&detail, "Give it once"));
            }
        }
        Ok(())
    }
}

impl ExtraBody {
    /// Reads `{…}`, or a file that holds it, given as `@FILE`; `secret` is the key, which must not be stored.
    ///
    /// # Errors
    /// `E231` for what is no object, for members that are made of other options, and for what looks like a credential: manifest and ledger keep it.
    pub fn parse(given: &str, secret: &Secret) -> anyhow::Result<Self> {
        let form = "Give --extra-body an object, such as '{\"chat_template_kwargs\": {\"enable_thinking\": false}}', or @FILE";
        let text = match given.strip_prefix('@') {
            None => given.to_owned(),
            Some(file) => fs_err::read_to_string(Path::new(file))
                .map_err(|error| refused(&error.to_string(), "Name a file that holds a JSON object"))?,
        };
        // what a parser says may quote a key
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            refused(&format!("it is no JSON: line {}, column {}", error.line(), error.column()), form)
        })?;
        let Value::Object(members) = value else { return Err(refused("it is no JSON object", form).into()) };
        if let Some(fixed) = FIXED.iter().find(|name| members.contains_key(**name)) {
            let detail = format!("it holds \"{fixed}\", which captions, prompt and options decide");
            return Err(refused(&detail, "Leave that member out").into());
        }
        if let Some(path) = members.iter().find_map(|(name, value)| credential(name, name, value, secret)) {
            let detail =
                format!("\"{path}\" looks like a credential, and manifest and ledger would store it");
            return Err(refused(&detail, "Leave it out; the key belongs into $OPENAI_API_KEY").into());
        }
        Ok(Self(members))
    }
}

fn refused(detail: &str, fix: &str) -> Message {
    Message::error("E231", "--extra-body cannot be used").detail(detail).fix(fix)
}

/// Where a member is, or holds, what looks like a credential.
fn credential(path: &str, name: &str, value: &Value, secret: &Secret) -> Option<String> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let is_word = ["key", "auth", "token", "pwd"].contains(&plain.as_str());
    let has_word = [
        "apikey",
        "accesskey",
        "secretkey",
        "privatekey",
        "authorization",
        "authtoken",
        "accesstoken",
        "bearer",
        "password",
        "passwd",
        "secret",
        "credential",
        "cookie",
    ]
    .iter()
    .any(|word| plain.contains(word));
    let is_named = (is_word || has_word) && !matches!(value, Value::Null | Value::Bool(_) | Value::Number(_));
    if is_named || secret.is_in(name) {
        return Some(if secret.is_in(path) { "a member".to_owned() } else { path.to_owned() });
    }
    match value {
        Value::String(text) => {
            let begins = ["sk-", "hf_", "ghp_", "xai-", "gsk_", "Bearer ", "Basic "];
            let is_key =
                begins.iter().any(|start| text.trim_start().starts_with(start)) || secret.is_in(text);
            is_key.then(|| path.to_owned())
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(i, item)| credential(&format!("{path}.{i}"), "", item, secret)),
        Value::Object(members) => members
            .iter()
            .find_map(|(name, value)| credential(&format!("{path}.{name}"), name, value, secret)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(extra: Option<&str>) -> Sampling {
        let extra_body = extra.map(|text| ExtraBody::parse(text, &Secret::default()).unwrap());
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
        let all =
            Sampling { top_p: Some(0.9), request_seed: Some(-3), ..sampling(Some(r#"{"a": {"b": 1}}"#)) };
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
        let newer =
            sampling(Some(r#"{"max_tokens": null, "max_completion_tokens": 500, "temperature": null}"#));
        let body = |attempt| newer.body("m", json!([]), attempt);
        assert_eq!(
            body(1),
            json!({"model": "m", "messages": [], "max_completion_tokens": 500, "stream": false})
        );
        assert_eq!(body(2)["max_completion_tokens"], 1000);
        assert_eq!((newer.max_tokens(1), newer.max_tokens(2)), (500, 1000));
        assert_eq!(newer.more_room(), "\"max_completion_tokens\": 2000 in --extra-body");
        // no limit at all: reckoned with what the option says
        let none = sampling(Some(r#"{"max_tokens": null}"#));
        assert!(none.body("m", json!([]), 2).get("max_tokens").is_none());
        assert_eq!((none.max_tokens(2), none.more_room().as_str()), (512, "--max-tokens 1024"));
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
        assert!(twice.check().unwrap_err().to_string().contains("also given by --top-p"));
    }
}
