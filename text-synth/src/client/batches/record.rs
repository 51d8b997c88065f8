//! A batch as a server describes it.

use crate::client::secret::Secret;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A batch, as the server describes it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Batch {
    /// Its name.
    pub id: String,
    #[serde(default)]
    status: String,
    /// File of requests.
    #[serde(default)]
    pub input_file_id: Option<String>,
    #[serde(default)]
    output_file_id: Option<String>,
    #[serde(default)]
    error_file_id: Option<String>,
    #[serde(default)]
    errors: Value,
    #[serde(default)]
    metadata: Option<BTreeMap<String, Value>>,
    /// What its errors must not tell.
    #[serde(skip)]
    pub(super) secret: Secret,
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not at its end, as far as is known.
    Going,
    /// Worked off.
    Completed,
    /// Refused as a whole.
    Failed,
    /// Not worked off in time.
    Expired,
    /// Somebody stopped it.
    Cancelled,
}

impl Batch {
    /// How far it is.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.status.to_lowercase().as_str() {
            "completed" => Status::Completed,
            "failed" => Status::Failed,
            "expired" => Status::Expired,
            "cancelled" | "canceled" => Status::Cancelled,
            _ => Status::Going,
        }
    }

    /// The same in the server's word.
    #[must_use]
    pub fn status_word(&self) -> &str {
        &self.status
    }

    /// Files of answers that there are, and what each is.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let files = [("output", &self.output_file_id), ("error", &self.error_file_id)];
        files.into_iter().filter_map(|(kind, id)| Some((kind, id.as_deref().filter(|id| !id.is_empty())?)))
    }

    /// What was said of it when it was made.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.get(key)?.as_str()
    }

    /// Why it was refused.
    #[must_use]
    pub fn errors(&self) -> String {
        self.secret.hide(self.listed())
    }

    fn listed(&self) -> String {
        let listed = self.errors.get("data").and_then(Value::as_array);
        let said = |error: &Value| {
            let of = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            format!("{}: {}", of("code"), of("message"))
        };
        match listed {
            Some(errors) if !errors.is_empty() => {
                errors.iter().take(3).map(said).collect::<Vec<_>>().join("; ")
            }
            _ if self.errors.is_null() => "no reason is given".to_owned(),
            _ => self.errors.to_string(),
        }
    }

    /// Whether it was refused only because too much is waiting at the server.
    #[must_use]
    pub fn waits_for_others(&self) -> bool {
        let listed = self.errors.get("data").and_then(Value::as_array);
        let is_limit = |error: &Value| {
            error.get("code").and_then(Value::as_str).is_some_and(|code| code.contains("limit_exceeded"))
        };
        self.status() == Status::Failed
            && listed.is_some_and(|errors| !errors.is_empty() && errors.iter().all(is_limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &str) -> Batch {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn batches_are_read_as_servers_write_them() {
        let done = batch(
            r#"{"id": "batch_1", "object": "batch", "status": "COMPLETED", "input_file_id": "f", "output_file_id": "o",
                "error_file_id": "", "errors": null, "metadata": {"input": "ab", "n": 3}, "request_counts": {"total": 1}}"#,
        );
        assert_eq!(done.status(), Status::Completed);
        assert_eq!(done.files().collect::<Vec<_>>(), [("output", "o")]);
        assert_eq!(
            (done.metadata("input"), done.metadata("n"), done.metadata("x")),
            (Some("ab"), None, None)
        );
        assert_eq!(batch(r#"{"id": "b"}"#).status(), Status::Going);
        assert_eq!(batch(r#"{"id": "b", "status": "canceled"}"#).status(), Status::Cancelled);
        let failed = |code: &str| {
            batch(&format!(
                r#"{{"id": "b", "status": "failed", "errors": {{"object": "list", "data": [{{"code": "{code}", "message": "no"}}]}}}}"#
            ))
        };
        assert_eq!(failed("invalid_json_line").errors(), "invalid_json_line: no");
        let keyed = Batch { secret: Secret::new("sk-12345"), ..failed("sk-12345") };
        assert_eq!(keyed.errors(), "[key]: no");
        assert!(!failed("invalid_json_line").waits_for_others());
        assert!(failed("token_limit_exceeded").waits_for_others());
        assert_eq!(batch(r#"{"id": "b", "status": "failed"}"#).errors(), "no reason is given");
    }
}
