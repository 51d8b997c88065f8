//! Measured facts: names with numbers or words, from which every phrase is made.

use serde_json::Value;
use std::collections::BTreeMap;

/// Named numbers and words, sorted by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts(BTreeMap<String, Value>);

impl Facts {
    /// Facts as they stand in a record.
    #[must_use]
    pub fn from_record(record: &BTreeMap<String, Value>) -> Self {
        Self(record.clone())
    }

    /// Facts as a record has them.
    #[must_use]
    pub fn record(&self) -> &BTreeMap<String, Value> {
        &self.0
    }

    /// Facts as a record keeps them.
    #[must_use]
    pub fn into_record(self) -> BTreeMap<String, Value> {
        self.0
    }

    /// States a number, kept to four significant digits; a number that is not finite states nothing.
    pub fn number(&mut self, name: impl Into<String>, value: f64) {
        let short = format!("{value:.3e}").parse().ok().and_then(serde_json::Number::from_f64);
        if let Some(number) = short {
            self.0.insert(name.into(), Value::Number(number));
        }
    }

    /// States a count.
    pub fn count(&mut self, name: impl Into<String>, value: usize) {
        self.0.insert(name.into(), Value::from(value));
    }

    /// States a word.
    pub fn word(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), Value::String(value.into()));
    }

    /// A number or count by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// A count by name.
    #[must_use]
    pub fn get_count(&self, name: &str) -> Option<usize> {
        self.0.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
    }

    /// A word by name.
    #[must_use]
    pub fn get_word(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Whether something is stated under a name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// A channel's name as the beginning of fact names: lower case, other characters than letters and digits become `_`.
#[must_use]
pub fn key(channel: &str) -> String {
    channel.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits_and_counts_all() {
        let mut facts = Facts::default();
        facts.number("a", 0.123_456);
        facts.number("b", 123_456.0);
        facts.number("c", f64::NAN);
        facts.count("n", 123_456);
        assert_eq!(facts.get("a"), Some(0.1235));
        assert_eq!(facts.get("b"), Some(123_500.0));
        assert!(!facts.has("c"));
        assert_eq!(facts.get_count("n"), Some(123_456));
        assert_eq!(key("T1w-Gd"), "t1w_gd");
    }
}
