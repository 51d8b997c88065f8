//! What an HTTP answer means: a reply, try again, this request is wrong, or no request can succeed.

use super::secret::Secret;
use super::{LARGEST_REPLY, completion};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

/// Longest piece of a server's text in a message.
const LONGEST_QUOTE: usize = 200;

/// An HTTP answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header `Content-Type`, empty without one.
    pub content_type: String,
    /// Header `Retry-After`.
    pub retry_after: Option<String>,
    /// Body.
    pub body: Vec<u8>,
    /// Where a redirect leads, without what may be secret in it.
    pub location: Option<String>,
    /// Whether the body was longer than what is read of one.
    pub is_too_large: bool,
    /// What must not be quoted from it.
    pub secret: Secret,
}

/// A chat completion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Why the server stopped; look at it before the content.
    pub finish_reason: Option<String>,
    /// The text.
    pub content: Option<String>,
    /// Whether the server says that the model refused.
    pub refused: bool,
    /// Whether there is reasoning beside the text.
    pub reasoning: bool,
    /// Model as the server names it.
    pub model: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the reply.
    pub completion_tokens: u64,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A completion.
    Reply(Reply),
    /// May succeed later.
    Again {
        /// What went wrong.
        reason: String,
        /// How long the server asked to wait.
        after: Option<Duration>,
        /// Whether others have to wait too.
        pause: bool,
    },
    /// A good status with what is no reply: it may have been paid for, and is worth one more try.
    Unreadable(String),
    /// This request cannot succeed; others may.
    Item(String),
    /// The server does not know the wish for an object; the same request without it may succeed.
    NoSchema(String),
    /// No request can succeed.
    Run(String),
    /// No request can succeed: the connection cannot be made secure.
    Insecure(String),
}

/// Classifies the answer to a chat completion; `now` is needed for dates in `Retry-After`.
#[must_use]
pub fn classify(answer: &Answer, now: SystemTime) -> Verdict {
    let hidden = hidden_status(answer).map(|status| Answer { status, ..answer.clone() });
    refusal(hidden.as_ref().unwrap_or(answer), now).unwrap_or_else(|| completion::read(answer))
}

/// The status of an error that some proxies send with status 200: the code inside it, or what its kind stands for.
fn hidden_status(answer: &Answer) -> Option<u16> {
    if !(200..300).contains(&answer.status) {
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let error = body.get("error").filter(|error| error.is_object() && body.get("choices").is_none())?;
    let codes = ["code", "status", "status_code"].into_iter().filter_map(|name| error.get(name));
    let number = |code: &Value| code.as_u64().or_else(|| code.as_str()?.parse().ok());
    let numbers = codes.filter_map(number).filter_map(|code| u16::try_from(code).ok());
    let kind = error.get("type").and_then(Value::as_str).unwrap_or_default();
    let of_kind = if kind.starts_with("rate_limit") || kind == "overloaded_error" { Some(429) } else { None };
    numbers.into_iter().find(|code| (400..600).contains(code)).or(of_kind)
}

/// What it means that the server did not do what was asked, whatever that was; none where it did.
#[must_use]
pub fn refusal(answer: &Answer, now: SystemTime) -> Option<Verdict> {
    let after = answer.retry_after.as_deref().and_then(|text| retry_after(text, now));
    let said = quote(answer);
    let reason = format!("HTTP {}: {said}", answer.status);
    Some(match answer.status {
        200..=299 => return None,
        300..=399 => {
            let to =
                answer.location.as_deref().map_or_else(String::new, |location| format!(" to {location}"));
            Verdict::Run(format!("HTTP {}: redirects{to} are not followed", answer.status))
        }
        429 | 503 | 529 => Verdict::Again { reason, after, pause: true },
        408 | 409 | 425 | 500..=599 => Verdict::Again { reason, after, pause: after.is_some() },
        401 | 403 | 404 | 405 | 407 => Verdict::Run(reason),
        400 | 422 if complains_of_schema(&answer.body) => Verdict::NoSchema(reason),
        _ => Verdict::Item(reason),
    })
}

/// Whether an error is about the form of reply that was asked for, as servers put it.
fn complains_of_schema(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_lowercase();
    ["response_format", "json_schema", "json schema", "structured output", "guided", "grammar"]
        .iter()
        .any(|words| text.contains(words))
}

/// What it means that no answer came, without the URL that reqwest adds.
#[must_use]
pub fn failed(error: &reqwest::Error) -> Verdict {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "connection cut"
    };
    let mut cause: &dyn Error = error;
    while let Some(deeper) = inner(cause) {
        if deeper.is::<rustls::Error>() {
            return Verdict::Insecure(format!("no TLS ({deeper})"));
        }
        cause = deeper;
    }
    let reason = if std::ptr::addr_eq(cause, error) { kind.to_owned() } else { format!("{kind} ({cause})") };
    Verdict::Again { reason, after: None, pause: false }
}

/// The next cause; that of an I/O error is what it wraps, which its `source` skips.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The body of an answer, whatever its media type says unless that is of a page or a stream; a page of a proxy and half an object may be right
/// the next time.
///
/// # Errors
/// [`Verdict::Unreadable`] where it is no `what`, [`Verdict::Item`] where it is too large.
pub fn parse<T: DeserializeOwned>(answer: &Answer, what: &str) -> Result<T, Verdict> {
    if answer.is_too_large {
        return Err(Verdict::Item(too_large()));
    }
    let is_other = ["html", "event-stream"].iter().any(|kind| answer.content_type.contains(kind));
    let parsed = if is_other {
        Err(format!("got {} ({}) instead of JSON", media_type(&answer.content_type), answer.status))
    } else {
        serde_json::from_slice(&answer.body)
            .map_err(|error| format!("HTTP {}: no {what} ({error}): {}", answer.status, quote(answer)))
    };
    // an error of the parser quotes what it found
    parsed.map_err(|reason| Verdict::Unreadable(answer.secret.hide(reason)))
}

/// What is wrong with a reply that is too large to be read.
#[must_use]
pub(super) fn too_large() -> String {
    format!("the reply is larger than {} MiB", LARGEST_REPLY >> 20)
}

/// Seconds or an HTTP date; none for what is neither. A date in the past is no wait.
#[must_use]
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or(content_type).trim()
}

/// What the server said, shortened and without the key: the message of a JSON error, the media type of anything but text.
fn quote(answer: &Answer) -> String {
    if answer.content_type.contains("html") {
        return format!("got {} instead of JSON", media_type(&answer.content_type));
    }
    let text = String::from_utf8_lossy(&answer.body);
    let json: Option<Value> = serde_json::from_str(&text).ok();
    let message = json.as_ref().and_then(|v| {
        [v.pointer("/error/message"), v.get("error"), v.get("message"), v.get("detail")]
            .into_iter()
            .flatten()
            .find_map(Value::as_str)
    });
    // before it is shortened: half a key is too much
    let said = answer.secret.hide(message.unwrap_or(&text).to_owned());
    let words: Vec<_> = said.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None if line.is_empty() => "no text".to_owned(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        Answer {
            status,
            content_type: content_type.into(),
            retry_after: None,
            body: body.into(),
            ..Answer::default()
        }
    }

    fn of(answer: &Answer) -> Verdict {
        classify(answer, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn statuses() {
        let kind = |status| match of(&answer(status, "application/json", r#"{"error":{"message":"no"}}"#)) {
            Verdict::Reply(_) => "reply",
            Verdict::Again { pause: true, .. } => "pause",
            Verdict::Again { .. } => "again",
            Verdict::Unreadable(_) => "unreadable",
            Verdict::Item(_) => "item",
            Verdict::NoSchema(_) => "schema",
            Verdict::Run(_) => "run",
            Verdict::Insecure(_) => "insecure",
        };
        let expected = [
            (302, "run"),
            (400, "item"),
            (401, "run"),
            (403, "run"),
            (404, "run"),
            (408, "again"),
            (413, "item"),
            (422, "item"),
            (429, "pause"),
            (500, "again"),
            (502, "again"),
            (503, "pause"),
            (504, "again"),
        ];
        for (status, verdict) in expected {
            assert_eq!(kind(status), verdict, "{status}");
        }
        assert_eq!(
            of(&answer(401, "application/json", r#"{"error":{"message":"bad key"}}"#)),
            Verdict::Run("HTTP 401: bad key".into())
        );
    }

    #[test]
    fn complaints_of_the_schema_are_told_from_others() {
        for (status, body, expected) in [
            (400, r#"{"error":{"message":"Unknown parameter: 'response_format'"}}"#, true),
            (
                422,
                r#"{"detail":[{"loc":["body","response_format"],"msg":"Extra inputs are not permitted"}]}"#,
                true,
            ),
            (400, r#"{"error":"Grammar compilation failed"}"#, true),
            (400, r#"{"error":{"message":"context too long"}}"#, false),
            (413, r#"{"error":{"message":"response_format"}}"#, false),
        ] {
            let verdict = of(&answer(status, "application/json", body));
            assert_eq!(matches!(verdict, Verdict::NoSchema(_)), expected, "{body}");
        }
    }

    #[test]
    fn a_page_is_no_reply() {
        let Verdict::Again { reason, .. } = of(&answer(502, "text/html; charset=utf-8", "<html>")) else {
            panic!("accepted")
        };
        assert_eq!(reason, "HTTP 502: got text/html instead of JSON");
        for (kind, body) in [("text/html", "<html>"), ("text/event-stream", "data: {}")] {
            let expected = format!("got {kind} (200) instead of JSON");
            assert_eq!(of(&answer(200, kind, body)), Verdict::Unreadable(expected));
        }
        for half in ["", "{", r#"{"choices":[]}"#, r#"{"choices":[{"mess"#] {
            assert!(matches!(of(&answer(200, "application/json", half)), Verdict::Unreadable(_)), "{half}");
        }
    }

    #[test]
    fn a_completion_is_one_whatever_its_media_type() {
        let body = r#"{"choices":[{"finish_reason":"stop","message":{"content":"text"}}]}"#;
        for kind in ["text/plain; charset=utf-8", "application/octet-stream", "", "application/json"] {
            assert!(matches!(of(&answer(200, kind, body)), Verdict::Reply(_)), "{kind}");
        }
        let large = Answer { is_too_large: true, ..answer(200, "application/json", "{") };
        assert_eq!(of(&large), Verdict::Item("the reply is larger than 8 MiB".into()));
    }

    #[test]
    fn an_error_with_a_good_status_is_what_its_code_says() {
        let kind = |error: Value| of(&answer(200, "application/json", &json!({"error": error}).to_string()));
        for code in [json!(429), json!("429")] {
            let verdict = kind(json!({"code": code, "message": "slow down"}));
            let Verdict::Again { reason, pause: true, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(reason, "HTTP 429: slow down");
        }
        assert!(matches!(kind(json!({"code": 400, "message": "no"})), Verdict::Item(_)));
        assert!(matches!(kind(json!({"code": 401, "message": "no"})), Verdict::Run(_)));
        assert!(matches!(kind(json!({"type": "rate_limit_error"})), Verdict::Again { pause: true, .. }));
        assert!(matches!(kind(json!({"code": "odd", "message": "no"})), Verdict::Unreadable(_)));
    }

    #[test]
    fn a_redirect_is_said_with_its_place() {
        let location = Some("https://example.org/v1/chat/completions".to_owned());
        let Verdict::Run(reason) = of(&Answer { location, ..answer(307, "", "") }) else {
            panic!("followed")
        };
        let expected = "HTTP 307: redirects to https://example.org/v1/chat/completions are not followed";
        assert_eq!(reason, expected);
    }

    #[test]
    fn the_key_is_not_quoted() {
        let secret = Secret::new("sk-SECRET123456");
        let reason = |status, content_type: &str, body: &str| {
            let answer = Answer { secret: secret.clone(), ..answer(status, content_type, body) };
            match of(&answer) {
                Verdict::Run(reason)
                | Verdict::Item(reason)
                | Verdict::Unreadable(reason)
                | Verdict::Again { reason, .. } => reason,
                other => panic!("{other:?}"),
            }
        };
        let json = "application/json";
        let message = |text: &str| json!({"error": {"message": text}}).to_string();
        assert_eq!(
            reason(401, json, &message("Incorrect key: sk-SECRET123456")),
            "HTTP 401: Incorrect key: [key]"
        );
        // escaped in JSON, cut at the longest quote, and in what a parser says
        assert_eq!(reason(400, json, r#"{"error":"sk\u002dSECRET123456"}"#), "HTTP 400: [key]");
        let long = reason(500, json, &message(&format!("{} sk-SECRET123456", "x".repeat(LONGEST_QUOTE - 5))));
        assert!(!long.contains("sk-S"), "{long}");
        for body in [r#"{"choices":"sk-SECRET123456"}"#, "sk-SECRET123456"] {
            let said = reason(200, json, body);
            assert!(said.contains("[key]") && !said.contains("SECRET"), "{said}");
        }
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(retry_after("17", now), Some(Duration::from_secs(17)));
        assert_eq!(retry_after(" 0.5 ", now), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:07 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-3", now), None);
    }
}
