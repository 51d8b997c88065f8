//! What is said of requests that fail.

use super::Client;
use stage::Message;
use std::time::Duration;

/// What is said of one request that cannot succeed where others may.
#[must_use]
pub(crate) fn refused_alone(reason: &str) -> Message {
    Message::error("E202", "the request was refused")
        .detail(reason)
        .fix("It is not sent again unless --retry-rejected asks for it")
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
        Message::error("E202", "the server refused the request")
            .detail(format!("{}: {reason}", self.endpoint.base()))
            .fix(format!("Check --base-url, --model and {key}, then run the same command again"))
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
