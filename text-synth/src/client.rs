//! A client for OpenAI-compatible chat completions: one request at a time per caller, with retries and a pause that all callers share.

pub mod classify;
pub mod retry;

use classify::{Answer, Reply, Verdict};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Url, redirect};
use retry::{Backoff, Pace};
use serde_json::Value;
use stage::Message;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::UnboundedSender;

/// Where chat completions live below the base URL.
const PATH: &str = "chat/completions";
/// Largest reply that is read.
const LARGEST_REPLY: usize = 8 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that may be talked to.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    base: String,
    key: Option<String>,
    local: bool,
}

// the key must not come out through a debug print
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("base", &self.base)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Checks that captions may be sent to `base_url` (such as `http://127.0.0.1:8000/v1`).
    ///
    /// # Errors
    /// `E210` for a host that is neither this machine nor among `allow_remote`, and for a key that would travel unencrypted;
    /// `E216` for what is no usable URL.
    pub fn new(base_url: &str, allow_remote: &[String], key: Option<String>) -> Result<Self, Message> {
        let wrong = |detail: &str| {
            Message::error("E216", "the base URL cannot be used")
                .detail(detail)
                .fix("Give --base-url or $OPENAI_BASE_URL the form http://127.0.0.1:8000/v1")
        };
        let text = base_url.trim().trim_matches(['"', '\'']).trim_end_matches('/');
        let base = Url::parse(text).map_err(|e| wrong(&format!("'{text}': {e}")))?;
        // a password in a URL would end in manifests and messages
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("it holds a user name or password; keys belong into $OPENAI_API_KEY"));
        }
        if !matches!(base.scheme(), "http" | "https") || base.query().is_some() || base.fragment().is_some() {
            return Err(wrong(&format!("'{text}' is not a plain http or https address")));
        }
        let host = base.host_str().map(str::to_owned).ok_or_else(|| wrong("it names no host"))?;
        let bare = host.trim_matches(['[', ']']);
        let local = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !local && !allow_remote.iter().any(|allowed| allowed.eq_ignore_ascii_case(bare)) {
            return Err(Message::error("E210", "the base URL is not on this machine")
                .detail(format!("{text}; captions describe patients' images"))
                .fix(format!("Pass --allow-remote {bare} to send captions there")));
        }
        if !local && base.scheme() == "http" && key.is_some() {
            return Err(Message::error("E210", "the key would travel unencrypted")
                .detail(format!("{text} is a remote http address and $OPENAI_API_KEY is set"))
                .fix("Use https, or unset the key"));
        }
        let url = Url::parse(&format!("{text}/{PATH}")).map_err(|e| wrong(&format!("'{text}': {e}")))?;
        let key = key.map(|k| k.trim().to_owned()).filter(|k| !k.is_empty());
        Ok(Self { url, base: text.to_owned(), key, local })
    }

    /// The base URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }
}

/// How to send.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest time for one request and its reply.
    pub timeout: Duration,
    /// How often a request is sent again after an error that may pass.
    pub retries: u32,
    /// Waiting between.
    pub backoff: Backoff,
}

/// What happens while requests are sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The server asked all to wait.
    Paused {
        /// How long.
        wait: Duration,
        /// What it said.
        reason: String,
    },
    /// One request is sent again.
    Retrying {
        /// What went wrong.
        reason: String,
        /// Which retry this is, from 1.
        retry: u32,
    },
}

/// Why a request got no reply.
#[derive(Debug)]
pub enum Failure {
    /// Only this request is concerned.
    Item(Message),
    /// No request can succeed.
    Run(Message),
}

/// A client; share it behind an `Arc`.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    options: Options,
    pace: Pace,
    events: UnboundedSender<Event>,
}

impl Client {
    /// A client for `endpoint`; `events` hears of pauses and retries.
    ///
    /// # Errors
    /// When TLS cannot be set up or the key cannot be a header.
    pub fn new(endpoint: Endpoint, options: Options, events: UnboundedSender<Event>) -> anyhow::Result<Self> {
        // fails only where a provider is installed already, which serves as well
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(key) = &endpoint.key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
                Message::error("E216", "$OPENAI_API_KEY cannot be sent")
                    .detail("it holds characters that an HTTP header cannot")
                    .fix("Set it again, without line breaks")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .timeout(options.timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .default_headers(headers)
            .user_agent(concat!("text-synth/", env!("CARGO_PKG_VERSION")))
            // a redirect could lead to a host that was not allowed
            .redirect(redirect::Policy::none());
        if endpoint.local {
            // what is meant for this machine must not go through a proxy
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, endpoint, options, pace: Pace::default(), events })
    }

    /// Sends one chat completion until it is answered or given up.
    ///
    /// # Errors
    /// [`Failure`] says whether others may succeed.
    pub async fn chat(&self, body: &Value) -> Result<Reply, Failure> {
        let mut retry = 0;
        loop {
            self.pace.wait().await;
            let (reason, after, pause) = match self.once(body).await {
                Verdict::Reply(reply) => return Ok(reply),
                Verdict::Item(reason) => return Err(Failure::Item(self.refused(&reason))),
                Verdict::Run(reason) => return Err(Failure::Run(self.refused(&reason))),
                Verdict::Again { reason, after, pause } => (reason, after, pause),
            };
            if let Some(after) = after
                && after > self.options.backoff.longest
            {
                let wait = after.as_secs();
                return Err(Failure::Run(
                    Message::error("E201", format!("the server asks to wait {wait} s"))
                        .detail(format!("{}: {reason}", self.endpoint.base))
                        .fix("Run the same command later; what was answered is kept"),
                ));
            }
            retry += 1;
            if retry > self.options.retries {
                return Err(Failure::Item(
                    Message::error("E203", format!("no reply after {} attempts", self.options.retries + 1))
                        .detail(format!("{}: {reason}", self.endpoint.base))
                        .fix("Check the server, then run the same command again; what was answered is kept"),
                ));
            }
            let wait = self.options.backoff.delay(retry, after, rand::random());
            // nobody listens any more only when the run is ending
            if pause {
                self.pace.pause(wait);
                let _run_is_ending = self.events.send(Event::Paused { wait, reason });
            } else {
                let _run_is_ending = self.events.send(Event::Retrying { reason, retry });
                tokio::time::sleep(wait).await;
            }
        }
    }

    async fn once(&self, body: &Value) -> Verdict {
        match self.exchange(body).await {
            Ok(answer) => classify::classify(&answer, SystemTime::now()),
            Err(error) => Verdict::Again { reason: describe(&error), after: None, pause: false },
        }
    }

    async fn exchange(&self, body: &Value) -> Result<Answer, reqwest::Error> {
        let mut response = self.http.post(self.endpoint.url.clone()).json(body).send().await?;
        let header = |name| {
            response.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok()).map(str::to_owned)
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            content_type: header(CONTENT_TYPE).unwrap_or_default(),
            retry_after: header(RETRY_AFTER),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await? {
            if answer.body.len() + chunk.len() > LARGEST_REPLY {
                break;
            }
            answer.body.extend_from_slice(&chunk);
        }
        // some servers repeat the key in what they say about it
        if let Some(key) = &self.endpoint.key {
            answer.body = redact(answer.body, key.as_bytes());
        }
        Ok(answer)
    }

    fn refused(&self, reason: &str) -> Message {
        let key = if self.endpoint.key.is_some() { "$OPENAI_API_KEY" } else { "$OPENAI_API_KEY (not set)" };
        Message::error("E202", "the server refused the request")
            .detail(format!("{}: {reason}", self.endpoint.base))
            .fix(format!("Check --base-url, --model and {key}; such a request is not sent again"))
    }
}

/// What went wrong on the way, without the URL that reqwest adds.
fn describe(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "connection cut"
    };
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if std::ptr::eq(cause, error as &dyn std::error::Error) {
        kind.to_owned()
    } else {
        format!("{kind} ({cause})")
    }
}

fn redact(mut body: Vec<u8>, key: &[u8]) -> Vec<u8> {
    while let Some(at) = body.windows(key.len()).position(|w| w == key) {
        body.splice(at..at + key.len(), *b"[key]");
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(base: &str, allow: &[&str], key: Option<&str>) -> &'static str {
        let allow: Vec<_> = allow.iter().map(|a| (*a).to_owned()).collect();
        Endpoint::new(base, &allow, key.map(str::to_owned)).map_or_else(|m| m.code, |_| "ok")
    }

    #[test]
    fn only_this_machine_without_leave() {
        for local in [
            "http://127.0.0.1:1/v1",
            "http://localhost/v1/",
            "http://[::1]:8000/v1",
            "\"https://127.1.2.3/v1\"",
        ] {
            assert_eq!(code(local, &[], Some("k")), "ok", "{local}");
        }
        for remote in [
            "https://api.example.org/v1",
            "http://10.0.0.1/v1",
            "http://localhost.example.org/v1",
            "http://0.0.0.0/v1",
        ] {
            assert_eq!(code(remote, &["other.org"], None), "E210", "{remote}");
        }
        assert_eq!(code("https://api.example.org/v1", &["API.example.org"], Some("k")), "ok");
        assert_eq!(code("http://node7:8000/v1", &["node7"], None), "ok");
        assert_eq!(code("http://node7:8000/v1", &["node7"], Some("k")), "E210");
        for broken in
            ["127.0.0.1:8000", "ftp://127.0.0.1/", "http://a:b@127.0.0.1/v1", "http://127.0.0.1/v1?key=1", ""]
        {
            assert_eq!(code(broken, &[], None), "E216", "{broken}");
        }
    }

    #[test]
    fn the_key_is_in_no_debug_print() {
        let endpoint = Endpoint::new("http://127.0.0.1/v1", &[], Some("sk-secret".into())).unwrap();
        assert!(!format!("{endpoint:?}").contains("secret"));
        assert_eq!(redact(b"a sk-1 b sk-1".to_vec(), b"sk-1"), b"a [key] b [key]");
    }
}
