//! Messages for people: what happened, where, found against expected, likely cause, the edit or command that fixes it.

use serde::Serialize;
use std::fmt;

/// How serious a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// The run goes on, but the result may not be what was meant.
    Warning,
    /// A case or the run failed.
    Error,
}

/// One message with a stable code.
///
/// Displayed as `E101 case liver_12: the file is truncated. <detail>. <cause>. <fix>.`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Stable code: `E`, `W` or `I` and three digits.
    pub code: &'static str,
    /// Severity, in agreement with the code's first letter.
    pub severity: Severity,
    /// The case concerned, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// What happened.
    pub what: String,
    /// File, and what was found against what was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The likely cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The command or edit that fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Message {
    fn new(severity: Severity, code: &'static str, what: impl Into<String>) -> Self {
        Self { code, severity, case: None, what: what.into(), detail: None, cause: None, fix: None }
    }

    /// An error; `code` begins with `E`.
    pub fn error(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, what)
    }

    /// A warning; `code` begins with `W`.
    pub fn warning(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, what)
    }

    /// An information; `code` begins with `I`.
    pub fn info(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, what)
    }

    /// Names the case.
    #[must_use]
    pub fn case(mut self, case: impl Into<String>) -> Self {
        self.case = Some(case.into());
        self
    }

    /// States file, found and expected.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// States the likely cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// States the command or edit that fixes it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(case) = &self.case {
            write!(f, " case {case}:")?;
        }
        for part in [Some(&self.what), self.detail.as_ref(), self.cause.as_ref(), self.fix.as_ref()]
            .into_iter()
            .flatten()
        {
            let part = part.trim();
            write!(f, " {part}")?;
            if !part.ends_with(['.', '!', '?', ':']) {
                write!(f, ".")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Message {}

/// A number with its noun: `1 case`, `2 cases`.
#[must_use]
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_sentences() {
        let message = Message::error("E101", "the file is truncated")
            .case("liver_12")
            .detail("imagesTr/liver_12.nii.gz decodes to 41,943,040 of 134,217,728 voxel bytes")
            .cause("Usually an interrupted download.")
            .fix("Re-fetch it, then rerun the same command");
        insta::assert_snapshot!(message.to_string(), @"E101 case liver_12: the file is truncated. imagesTr/liver_12.nii.gz decodes to 41,943,040 of 134,217,728 voxel bytes. Usually an interrupted download. Re-fetch it, then rerun the same command.");
    }
}
