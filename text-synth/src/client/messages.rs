//! What is said of requests that fail.

use super::{Client, classify};
use stage::Message;
use std::time::Duration;

/// What to do where the options are to be others: the directory keeps to those that it was begun with.
pub(crate) const OF_OTHER_OPTIONS: &str =
    "with --overwrite, which keeps the answers so far, or with another --out";

/// What is said where all wait; without a wish of the server's it is for how long this side thinks right.
#[must_use]
pub(crate) fn paused(wait: Duration, is_asked: bool) -> Message {
    let why = if is_asked { "asks" } else { "is busy" };
    Message::info("I201", format!("waiting {:.1} s, as the server {why}", wait.as_secs_f64()))
}

/// What is said of one request that cannot succeed where others may.
#[must_use]
pub(crate) fn refused_alone(reason: &str) -> Message {
    let again = "It is not sent again unless --retry-rejected asks for it";
    Message::error("E202", "the request was refused").detail(reason).fix(match other_members(reason) {
        Some(advice) => format!("{advice}, {OF_OTHER_OPTIONS}"),
        None => again.to_owned(),
    })
}

/// What to give where a server refuses a member of requests that it knows by another name or does not bear, as newer hosted models do.
#[must_use]
pub(super) fn other_members(reason: &str) -> Option<&'static str> {
    let reason = reason.to_lowercase();
    let is_unknown = ["unsupported", "not support", "unrecognized", "unknown", "not permitted", "deprecated"]
        .iter()
        .any(|words| reason.contains(words));
    let names = |member: &str| reason.contains(member);
    if names("max_completion_tokens") || (names("max_tokens") && is_unknown) {
        return Some(r#"Give --extra-body '{"max_tokens": null, "max_completion_tokens": 512}'"#);
    }
    (names("temperature") && is_unknown).then_some(r#"Give --extra-body '{"temperature": null}'"#)
}

impl Client {
    pub(super) fn asks_too_much(&self, after: Duration, reason: &str) -> Message {
        Message::error("E201", format!("the server asks to wait {} s", after.as_secs()))
            .detail(format!("{}: {reason}", self.endpoint.base()))
            .fix("Run the same command later; what was answered is kept")
    }

    pub(super) fn unreached(&self, reason: &str) -> Message {
        Message::error("E203", format!("no reply after {} attempts", self.options.retries + 1))
            .detail(format!("{}: {reason}", self.endpoint.base()))
            .fix("Check the server, then run the same command again; what was answered is kept")
    }

    pub(super) fn unreadable(&self, reason: &str) -> Message {
        Message::error("E203", "the server's answers to it cannot be read")
            .detail(format!("{}: {reason}", self.endpoint.base()))
            .fix("Check that --base-url is of a server of chat completions, then run the same command again; what was answered is kept")
    }

    /// What is said where no request can succeed.
    #[must_use]
    pub fn refused(&self, reason: &str) -> Message {
        let key = if self.endpoint.authorization.is_some() {
            "$OPENAI_API_KEY"
        } else {
            "$OPENAI_API_KEY (not set)"
        };
        if reason == classify::too_large() {
            return Message::error("E202", "the server's reply cannot be used")
                .detail(format!("{}: {reason}", self.endpoint.base()))
                .cause("A server that keeps to --max-tokens sends no such reply")
                .fix("Check that it is one of chat completions and what it does with --max-tokens, then run the same command again");
        }
        let fix = other_members(reason).map_or_else(
            || format!("Check --base-url, --model and {key}, then run the same command again"),
            str::to_owned,
        );
        Message::error("E202", "the server refused the request")
            .detail(format!("{}: {reason}", self.endpoint.base()))
            .fix(fix)
    }

    pub(super) fn insecure(&self, reason: &str) -> Message {
        Message::error("E220", "no secure connection to the server")
            .detail(format!("{}: {reason}", self.endpoint.base()))
            .cause("The port speaks plain http, or this machine does not trust its certificate")
            .fix("Give --base-url with http:// for a server on this machine without TLS, or install its authority's certificate")
    }

    /// What is said where no more requests may be sent.
    #[must_use]
    pub fn too_many(&self) -> Message {
        let most = self.options.most_requests.unwrap_or_default();
        Message::error(
            "E209",
            format!("stopping: {} requests sent, the limit is reached", self.shared.sent()),
        )
        .detail(format!("--max-requests {most} counts those of this run, retries included"))
        .fix("Run the same command again, or with a higher limit; what was answered is kept")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wants_other_members_is_understood() {
        let tokens = Some(r#"Give --extra-body '{"max_tokens": null, "max_completion_tokens": 512}'"#);
        for (reason, expected) in [
            (
                "HTTP 400: Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                tokens,
            ),
            ("HTTP 422: max_tokens: Extra inputs are not permitted", tokens),
            (
                "HTTP 400: Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
                Some(r#"Give --extra-body '{"temperature": null}'"#),
            ),
            (
                "HTTP 400: max_tokens is too large: 300000. This model supports at most 4096 completion tokens",
                None,
            ),
            ("HTTP 400: temperature must be at most 1", None),
            ("HTTP 400: content policy", None),
        ] {
            assert_eq!(other_members(reason), expected, "{reason}");
        }
        insta::assert_snapshot!(refused_alone("HTTP 400: 'max_tokens' is not supported").to_string(), @r#"E202 the request was refused. HTTP 400: 'max_tokens' is not supported. Give --extra-body '{"max_tokens": null, "max_completion_tokens": 512}', with --overwrite, which keeps the answers so far, or with another --out."#);
    }
}
