//! The server: which addresses captions may be sent to.

use super::secret::Secret;
use reqwest::Url;
use reqwest::header::HeaderValue;
use stage::Message;
use std::net::IpAddr;

/// Where chat completions live below the base URL.
const PATH: &str = "chat/completions";

/// A server that may be talked to.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) url: Url,
    pub(super) base: String,
    pub(super) secret: Secret,
    /// The header with the key.
    pub(super) authorization: Option<HeaderValue>,
    pub(super) local: bool,
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
    /// `E216` for what is no usable URL or key.
    pub fn new(base_url: &str, allow_remote: &[String], key: Option<String>) -> Result<Self, Message> {
        let wrong = |detail: &str| {
            Message::error("E216", "the base URL cannot be used")
                .detail(detail)
                .fix("Give --base-url or $OPENAI_BASE_URL the form http://127.0.0.1:8000/v1")
        };
        let text = base_url.trim().trim_matches(['"', '\'']).trim_end_matches('/');
        let said = masked(text);
        let base = Url::parse(text).map_err(|e| wrong(&format!("'{said}': {e}")))?;
        // a password in a URL would end in manifests and messages
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("it holds a user name or password; keys belong into $OPENAI_API_KEY"));
        }
        if !matches!(base.scheme(), "http" | "https") || base.query().is_some() || base.fragment().is_some() {
            return Err(wrong(&format!(
                "'{said}' is not a plain http or https address; keys belong into $OPENAI_API_KEY"
            )));
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
        let authorization = key.as_deref().map(authorization).transpose()?;
        let secret = key.as_deref().map(Secret::new).unwrap_or_default();
        Ok(Self { url, base: text.to_owned(), secret, authorization, local })
    }

    /// An address below the base URL; segments are taken as they are, so that an id with a slash in it stays one.
    pub(super) fn below(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        // fails only for addresses without a host, which `new` refuses
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop().pop().extend(segments);
        }
        url
    }

    /// What must neither be told nor stored.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The base URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }
}

/// Refuses a base URL that holds a user name, a password or a key, before anything is written: arguments are kept in `report.json`.
///
/// # Errors
/// `E216`.
pub fn refuse_secrets(base_url: &str) -> Result<(), Message> {
    if masked(base_url) == base_url {
        return Ok(());
    }
    Err(Message::error("E216", "the base URL cannot be used")
        .detail(format!(
            "'{}' held a user name, a password or a key, which would be stored",
            masked(base_url)
        ))
        .fix("Give --base-url the form http://127.0.0.1:8000/v1, and the key in $OPENAI_API_KEY"))
}

/// An address without what may be secret in it: user name, password, query and fragment. Also of what is no URL.
#[must_use]
pub fn masked(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let start = url[..end].find("://").map_or(0, |at| at + 3);
    let authority = url[start..end].find('/').map_or(end, |at| start + at);
    // of what is no URL a password may reach further: it may hold a slash
    let within = if Url::parse(url).is_ok() { authority } else { end };
    let host = url[start..within].rfind('@').map_or(start, |at| start + at);
    let instead = if host > start { "…" } else { "" };
    let query = url[end..].chars().next().map_or_else(String::new, |mark| format!("{mark}…"));
    format!("{}{instead}{}{query}", &url[..start], &url[host..end])
}

fn authorization(key: &str) -> Result<HeaderValue, Message> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
        Message::error("E216", "$OPENAI_API_KEY cannot be sent")
            .detail("it holds characters that an HTTP header cannot")
            .fix("Set it again, without line breaks")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(base: &str, allow: &[&str], key: Option<&str>) -> &'static str {
        let allow: Vec<_> = allow.iter().map(|a| (*a).to_owned()).collect();
        Endpoint::new(base, &allow, key.map(str::to_owned)).map_or_else(|m| m.code, |_| "ok")
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_refused_before_anything_is_begun() {
        assert_eq!(code("http://127.0.0.1:1/v1", &[], Some("sk-1\nsk-2")), "E216");
        // a line break at its end is what a file of it has
        assert_eq!(code("http://127.0.0.1:1/v1", &[], Some("sk-1\n")), "ok");
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
    fn what_may_be_secret_is_not_said() {
        for (url, expected) in [
            ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
            ("http://user:hunter@127.0.0.1:99999/v1", "http://…@127.0.0.1:99999/v1"),
            ("http://user:p@/ss@host/v1", "http://…@host/v1"),
            ("user:hunter@host:1/v1", "…@host:1/v1"),
            ("http://127.0.0.1/v1?api-key=abc", "http://127.0.0.1/v1?…"),
            ("http://u:p@h/v1?k=a#b", "http://…@h/v1?…"),
            ("http://h/v1#key", "http://h/v1#…"),
        ] {
            assert_eq!(masked(url), expected);
            assert_eq!(refuse_secrets(url).is_err(), url != expected);
            if url != expected {
                let said = Endpoint::new(url, &[], None).unwrap_err().to_string();
                assert!(
                    !said.contains("hunter") && !said.contains("abc") && !said.contains("#key"),
                    "{said}"
                );
            }
        }
    }

    #[test]
    fn ids_of_a_server_stay_in_their_place() {
        let endpoint = Endpoint::new("http://127.0.0.1/v1/", &[], None).unwrap();
        for (segments, expected) in [
            (&["batches"][..], "http://127.0.0.1/v1/batches"),
            (&["files", "file-1", "content"], "http://127.0.0.1/v1/files/file-1/content"),
            (&["batches", "a/../b?c#d"], "http://127.0.0.1/v1/batches/a%2F..%2Fb%3Fc%23d"),
        ] {
            assert_eq!(endpoint.below(segments).as_str(), expected);
        }
    }

    #[test]
    fn the_key_is_in_no_debug_print() {
        let endpoint = Endpoint::new("http://127.0.0.1/v1", &[], Some("sk-secret".into())).unwrap();
        assert!(!format!("{endpoint:?}").contains("secret"));
    }
}
