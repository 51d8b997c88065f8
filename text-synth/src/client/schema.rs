//! Replies as JSON objects `{"report": "…"}`: asked for until a server turns out not to know how, and taken apart.

use super::classify::Reply;
use super::finish::Finish;
use crate::writer::judge;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU8, Ordering};

/// What is known of a server.
#[derive(Debug, Default)]
pub struct Schema(AtomicU8);

const UNKNOWN: u8 = 0;
const KEPT: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Schema {
    /// Whether requests ask for an object.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed) != GIVEN_UP
    }

    /// Asks for plain text from now on; tells whether that is new.
    #[must_use]
    pub fn give_up(&self) -> bool {
        self.0.swap(GIVEN_UP, Ordering::Relaxed) != GIVEN_UP
    }

    /// Learns from the reply to a request that asked for an object; gives a reason when that is why objects are given up.
    #[must_use]
    pub fn judge(&self, reply: &Reply) -> Option<String> {
        let content = reply.content.as_deref().unwrap_or_default();
        match Content::of(content) {
            Content::Report(_) => {
                // given up stays given up
                let _known_already =
                    self.0.compare_exchange(UNKNOWN, KEPT, Ordering::Relaxed, Ordering::Relaxed);
                None
            }
            // nothing to judge by: no text, or only the beginning of one
            Content::Plain(text) if text.is_empty() || !is_at_its_end(reply) => None,
            Content::Plain(_) => {
                // one plain text of a server that has answered with an object is that reply's fault, not the server's
                let first = self.0.compare_exchange(UNKNOWN, GIVEN_UP, Ordering::Relaxed, Ordering::Relaxed);
                first.is_ok().then(|| "it answered in plain text".to_owned())
            }
            Content::Broken(_) => None,
        }
    }
}

/// Whether the server says that the model was at its end.
fn is_at_its_end(reply: &Reply) -> bool {
    reply.finish_reason.is_some() && Finish::of(reply.finish_reason.as_deref()) == Finish::Whole
}

/// The request with the wish for an object. It decides nothing else, so that a request has one digest whatever the server knows.
#[must_use]
pub fn asking(body: &Value) -> Value {
    let mut body = body.clone();
    body["response_format"] = json!({
        "type": "json_schema",
        "json_schema": {
            "name": "report",
            "strict": true,
            "schema": {
                "type": "object",
                "properties": {"report": {"type": "string"}},
                "required": ["report"],
                "additionalProperties": false,
            },
        },
    });
    body
}

/// What a reply holds. Its beginning decides, not whether an object was asked for: the same reply means the same in every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Plain(String),
    /// The report of an object.
    Report(String),
    /// What begins like an object and is none, with the reason.
    Broken(String),
}

#[derive(Deserialize)]
struct Object {
    report: String,
}

impl Content {
    /// Takes a reply apart.
    #[must_use]
    pub fn of(content: &str) -> Self {
        let bare = unfenced(judge::answer(content).trim());
        if !bare.starts_with('{') {
            return Self::Plain(content.to_owned());
        }
        match serde_json::from_str::<Object>(bare) {
            Ok(object) => Self::Report(object.report),
            Err(error) => Self::Broken(error.to_string()),
        }
    }
}

/// What stands between the fences of a code block, where the whole is one.
fn unfenced(text: &str) -> &str {
    let Some((_language, inside)) = text.strip_prefix("```").and_then(|rest| rest.split_once('\n')) else {
        return text;
    };
    inside.trim_end().trim_end_matches("```").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(content: &str, finish: &str) -> Reply {
        Reply { content: Some(content.into()), finish_reason: Some(finish.into()), ..Reply::default() }
    }

    #[test]
    fn replies_are_objects_or_text() {
        let report = Content::Report("A liver.".into());
        let object = r#"{"report": "A liver."}"#;
        for text in [
            object.to_owned(),
            format!("<think>{{hm}}</think>\n {object}"),
            format!("```json\n{object}\n```"),
            format!("```\n{object}```\n"),
            format!("{object}<|im_end|>"),
        ] {
            assert_eq!(Content::of(&text), report, "{text}");
        }
        for text in ["A liver.", "", "<think>{", "``` A liver."] {
            assert_eq!(Content::of(text), Content::Plain(text.into()));
        }
        for text in ["{", r#"{"report": "A li"#, r#"{"text": "A liver."}"#, r#"{"report": 3}"#, "{} {}"] {
            assert!(matches!(Content::of(text), Content::Broken(_)), "{text}");
        }
    }

    #[test]
    fn a_server_that_ignores_the_wish_is_asked_for_text() {
        let schema = Schema::default();
        for says_nothing in [reply("", "stop"), reply("The li", "length"), reply("{", "stop")] {
            assert_eq!(schema.judge(&says_nothing), None);
            assert!(schema.is_asked_for());
        }
        assert_eq!(schema.judge(&reply("A liver.", "stop")).as_deref(), Some("it answered in plain text"));
        assert!(!schema.is_asked_for());
        assert_eq!(schema.judge(&reply("A liver.", "stop")), None, "told once");
        assert!(!schema.give_up());

        let knows = Schema::default();
        assert_eq!(knows.judge(&reply(r#"{"report": "A liver."}"#, "stop")), None);
        assert_eq!(knows.judge(&reply("A liver.", "stop")), None);
        assert!(knows.is_asked_for());
        assert!(knows.give_up() && !knows.is_asked_for());
    }
}
