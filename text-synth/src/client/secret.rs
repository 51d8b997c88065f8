//! The key, which some servers repeat in what they say: neither messages nor stored texts hold it.

use std::sync::Arc;

/// Characters of the shortest key that is a secret. Shorter ones are placeholders of servers that ask for none (`local`), and
/// would be found in common words.
const SHORTEST: usize = 8;
const INSTEAD: &str = "[key]";

/// A key, or none that is worth hiding.
#[derive(Clone, Default)]
pub struct Secret(Option<Arc<str>>);

// the key must not come out through a debug print
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Secret(hidden)" } else { "Secret(none)" })
    }
}

impl Secret {
    /// Of a key as it is sent.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self((key.chars().count() >= SHORTEST).then(|| key.into()))
    }

    /// Whether a text holds the key.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|key| text.contains(&**key))
    }

    /// The text without the key, in one pass: what stands in its place is not looked at again.
    #[must_use]
    pub fn hide(&self, text: String) -> String {
        match &self.0 {
            Some(key) if self.is_in(&text) => text.replace(&**key, INSTEAD),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn hidden(key: &str, text: &str) -> String {
        Secret::new(key).hide(text.to_owned())
    }

    #[test]
    fn the_key_is_taken_out_wherever_it_stands() {
        assert_eq!(hidden("sk-12345", "a sk-12345 b sk-12345"), "a [key] b [key]");
        assert_eq!(hidden("sk-12345", "sk-12345sk-12345sk-1234"), "[key][key]sk-1234");
        assert_eq!(hidden("sk-12345", "nothing"), "nothing");
        assert_eq!(format!("{:?}", Secret::new("sk-12345")), "Secret(hidden)");
    }

    #[test]
    fn placeholders_are_no_secrets() {
        for key in ["local", "key", "k", "e", "y", "EMPTY", ""] {
            let text = "a localized key, EMPTY";
            assert_eq!(hidden(key, text), text, "{key}");
        }
    }

    #[test]
    fn what_stands_in_its_place_is_not_looked_at_again() {
        let started = Instant::now();
        // each pass over these would leave the key where it was
        let long = "aaaaaaaa".repeat(1 << 17);
        assert_eq!(hidden("aaaaaaaa", &long).len(), 5 << 17);
        assert_eq!(hidden("xx[key]xx", "xxxx[key]xxxx"), "xx[key]xx");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
