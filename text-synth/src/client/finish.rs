//! Why a server says that a reply ended. There is one vocabulary of OpenAI's and several of others.

use stage::Message;
use std::collections::BTreeSet;

/// Unknown reasons that are told.
const FEW: usize = 5;

/// What a reason means for the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model was at its end, or nobody says.
    Whole,
    /// The longest reply was reached.
    Cut,
    /// What was said is withheld.
    Filtered,
    /// A tool was to be called.
    Tool,
    /// The server gave up.
    Failed,
    /// A word that is not known here.
    Unknown,
}

impl Finish {
    /// Of a `finish_reason`, whatever its case.
    #[must_use]
    pub fn of(reason: Option<&str>) -> Self {
        match reason.unwrap_or_default().trim().to_lowercase().as_str() {
            "" | "stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token" | "complete" | "completed" => {
                Self::Whole
            }
            "length"
            | "max_tokens"
            | "max_length"
            | "max_output_tokens"
            | "model_length"
            | "model_context_window_exceeded" => Self::Cut,
            "content_filter" | "safety" | "recitation" | "prohibited_content" | "blocklist" | "refusal" => {
                Self::Filtered
            }
            "tool_calls" | "function_call" | "tool_use" => Self::Tool,
            "error"
            | "abort"
            | "aborted"
            | "cancelled"
            | "canceled"
            | "failed"
            | "timeout"
            | "incomplete"
            | "insufficient_system_resource" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// Why a reply that ended for this reason cannot be used, where that is so; `most` is the longest reply in tokens.
#[must_use]
pub fn objection(reason: Option<&str>, most: u32, is_all_reasoning: bool) -> Option<String> {
    match Finish::of(reason) {
        Finish::Cut => {
            let spent = if is_all_reasoning { ", all spent on reasoning" } else { "" };
            Some(format!("cut at max_tokens={most}{spent}"))
        }
        Finish::Filtered => Some("refusal (content filter)".to_owned()),
        Finish::Tool => Some("a tool call instead of text".to_owned()),
        Finish::Failed => {
            Some(format!("the server did not finish the reply: {}", reason.unwrap_or_default()))
        }
        Finish::Whole | Finish::Unknown => None,
    }
}

/// What is said once where replies that were taken ended for reasons that are not known here.
#[must_use]
pub fn unknown<'a>(reasons: impl Iterator<Item = Option<&'a str>>) -> Option<Message> {
    let unknown: BTreeSet<&str> =
        reasons.filter(|reason| Finish::of(*reason) == Finish::Unknown).flatten().collect();
    let words: Vec<&str> = unknown.into_iter().take(FEW).collect();
    (!words.is_empty()).then(|| {
        Message::warning(
            "W229",
            "the server ends replies for reasons that are not known; they are taken as whole",
        )
        .detail(format!("finish_reason {}", words.join(", ")))
        .fix("Look at the ends of some of its texts in ledger.jsonl")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_known_under_all_their_names() {
        for reason in ["length", "max_tokens", "MAX_TOKENS", "Length"] {
            assert_eq!(objection(Some(reason), 9, false).as_deref(), Some("cut at max_tokens=9"));
        }
        for reason in ["error", "abort", "cancelled", "ABORT"] {
            let said = objection(Some(reason), 9, false).unwrap();
            assert_eq!(said, format!("the server did not finish the reply: {reason}"));
        }
        for reason in [None, Some(""), Some("STOP"), Some("eos_token"), Some("odd")] {
            assert_eq!(objection(reason, 9, false), None);
        }
        assert_eq!(Finish::of(Some("odd")), Finish::Unknown);
        let said = unknown([Some("stop"), Some("odd"), None, Some("odd")].into_iter()).unwrap().to_string();
        assert!(said.starts_with("W229") && said.contains("finish_reason odd."), "{said}");
        assert!(unknown([Some("stop"), None].into_iter()).is_none());
        assert_eq!(Finish::of(Some("SAFETY")), Finish::Filtered);
    }
}
