//! From a reply to an entry of the ledger: why it cannot be used, or the cleaned text.

use super::budget::estimated_tokens;
use crate::client::classify::Reply;
use crate::client::finish;
use crate::client::schema::Content;
use crate::ledger::Entry;
use crate::prompts::Rendered;
use crate::writer::judge;

/// Beginning of the reason for what was to be an object and is none.
const BROKEN: &str = "broken JSON";

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) request: String,
    pub(super) caption: String,
    pub(super) prompt: Rendered,
    /// The prompt without the texts that it works on: most of a text to be corrected comes back, and that is no echo.
    pub(super) own: Rendered,
    pub(super) max_tokens: u32,
}

impl Asked {
    /// What becomes of the reply.
    pub(super) fn entry(&self, reply: Reply) -> Entry {
        let mut reasons = Vec::new();
        let content = reply.content.unwrap_or_default();
        let mut text = String::new();
        let is_all_reasoning = content.is_empty() && reply.reasoning;
        match finish::objection(reply.finish_reason.as_deref(), self.max_tokens, is_all_reasoning) {
            Some(objection) => reasons.push(objection),
            None if reply.refused => reasons.push("refusal".to_owned()),
            None => match Content::of(&content) {
                Content::Broken(reason) => reasons.push(format!("{BROKEN}: {reason}")),
                Content::Plain(said) | Content::Report(said) => {
                    text = judge::clean(&said);
                    let own = format!("{}\n{}", self.own.system, self.own.user);
                    reasons = judge::reasons(&text, &self.caption, &own);
                    if text.is_empty() && reply.reasoning {
                        reasons.push("reasoning without an answer".to_owned());
                    }
                }
            },
        }
        let prompt_bytes = self.prompt.system.len() + self.prompt.user.len();
        let counted = |tokens: u64, bytes: usize| if tokens == 0 { estimated_tokens(bytes) } else { tokens };
        Entry {
            request: self.request.clone(),
            prompt_tokens: counted(reply.prompt_tokens, prompt_bytes),
            completion_tokens: counted(reply.completion_tokens, content.len()),
            text: if reasons.is_empty() { text } else { content },
            reasons,
            finish_reason: reply.finish_reason,
            served_model: reply.model,
        }
    }
}

/// Whether one of the reasons is that an answer was to be an object and is none.
pub(crate) fn is_broken(reasons: &[String]) -> bool {
    reasons.iter().any(|reason| reason.starts_with(BROKEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &str, reasoning: bool) -> Entry {
        let prompt = Rendered { system: "Write.".into(), user: "Facts".into() };
        let own = prompt.clone();
        let asked = Asked { request: "r".into(), caption: "c".into(), own, prompt, max_tokens: 9 };
        asked.entry(Reply {
            content: Some(content.into()),
            reasoning,
            finish_reason: Some("stop".into()),
            ..Reply::default()
        })
    }

    #[test]
    fn objects_and_text_give_the_same() {
        let text = "The slice of the abdomen shows dense structures on the left.";
        let plain = entry(text, false);
        let object = entry(&format!(r#"{{"report": "{text}"}}"#), false);
        assert!(plain.accepted() && object.accepted());
        assert_eq!(plain.text, object.text);
        assert_eq!((plain.prompt_tokens, plain.completion_tokens), (3, 15), "estimated");
        let broken = entry(r#"{"report": "#, false);
        assert!(is_broken(&broken.reasons) && broken.text == r#"{"report": "#, "{broken:?}");
        assert_eq!(entry("", true).reasons, ["empty", "reasoning without an answer"]);
    }
}
