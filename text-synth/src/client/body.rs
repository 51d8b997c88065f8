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
        // two names for one limit are sent only where both are given
        let (longest_name, _) = self.longest();
        if longest_name != "max_tokens" && self.extra("max_tokens").is_none() {
            body.remove("max_tokens");
        }
        for (name, value) in self.extra_body.iter().flat_map(|extra| &extra.0) {
            if value.is_null() {
                body.remove(name);
            } else {
                body.insert(name.clone(), value.clone());
            }
        }
        if let Some(longest) = body.get_mut(longest_name) {
            *longest = self.max_tokens(attempt).into();
        }
        Value::Object(body)
    }

    /// Refuses members that two options give; `[max_tokens, temperature]` tells which of these was given, not left at its default.
    ///
    /// # Errors
    /// `E231` names both.
    pub fn check(&self, [max_tokens, temperature]: [bool; 2]) -> Result<(), Message> {
        for (is_given, member, flag) in [
            (max_tokens, LONGEST[0], "--max-tokens"),
            (max_tokens, LONGEST[1], "--max-tokens"),
            (temperature, "temperature", "--temperature"),
            (self.top_p.is_some(), "top_p", "--top-p"),
            (self.request_seed.is_some(), "seed", "--request-seed"),
        ] {
            // a request without a longest reply is reckoned with what the flag says
            let is_reckoned = |value: &Value| value.is_null() && LONGEST.contains(&member);
            if is_given && self.extra(member).is_some_and(|value| !is_reckoned(value)) {
                let detail = format!("the member \"{member}\" is also given by {flag}");
                return Err(refused(&detail, "Give it once"));
            }
        }
        Ok(())
    }
}

impl ExtraBody {
    /// Reads `{…}`, or a file that holds it, given as `@FILE`; `secret` is the key, which must not be stored. None where there is no member.
    ///
    /// # Errors
    /// `E231` for what is no object, for members that are made of other options, for longest replies that are no whole number in range, and for what looks like a credential: manifest and ledger keep it.
    pub fn parse(given: &str, secret: &Secret) -> anyhow::Result<Option<Self>> {
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
        let is_length =
            |value: &Value| value.as_u64().is_some_and(|n| (1..=u64::from(u32::MAX)).contains(&n));
        if let Some(wrong) = LONGEST
            .iter()
            .find(|name| members.get(**name).is_some_and(|value| !value.is_null() && !is_length(value)))
        {
            let detail = format!("\"{wrong}\" is no number of tokens");
            let fix = format!("Give a whole number from 1 to {}, or null for no such member", u32::MAX);
            return Err(refused(&detail, &fix).into());
        }
        if let Some(path) = members.iter().find_map(|(name, value)| credential(name, name, value, secret)) {
            let detail =
                format!("\"{path}\" looks like a credential, and manifest and ledger would store it");
            return Err(refused(&detail, "Leave it out; the key belongs into $OPENAI_API_KEY").into());
        }
        Ok((!members.is_empty()).then_some(Self(members)))
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
mod tests;
