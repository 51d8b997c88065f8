//! From a reply to an entry of the ledger: why it cannot be used, or the cleaned caption.

use super::Work;
use crate::captioner::clean;
use crate::client::classify::Reply;
use crate::client::finish;
use crate::client::schema::Content;
use crate::ledger::Entry;
use crate::writer::api::budget::estimated_tokens;
use crate::writer::judge;

/// What the ledger keeps of a reply that could have `most` tokens.
pub(super) fn entry(work: &Work, reply: Reply, most: u32) -> Entry {
    let content = reply.content.unwrap_or_default();
    let mut text = String::new();
    let is_all_reasoning = content.is_empty() && reply.reasoning;
    let reasons = match finish::objection(reply.finish_reason.as_deref(), most, is_all_reasoning) {
        Some(objection) => vec![objection],
        None if reply.refused => vec!["refusal".to_owned()],
        None => match Content::of(&content) {
            Content::Broken(reason) => vec![format!("broken JSON: {reason}")],
            Content::Plain(said) | Content::Report(said) => {
                text = clean::clean(&judge::clean(&said));
                judge::reasons(&text, "", &format!("{}\n{}", work.prompt.system, work.prompt.user))
            }
        },
    };
    let counted = |tokens: u64, estimated: u64| if tokens == 0 { estimated } else { tokens };
    Entry {
        request: work.request.clone(),
        prompt_tokens: counted(reply.prompt_tokens, work.prompt_tokens()),
        completion_tokens: counted(reply.completion_tokens, estimated_tokens(content.len())),
        text: if reasons.is_empty() { text } else { content },
        reasons,
        finish_reason: reply.finish_reason,
        served_model: reply.model,
    }
}
