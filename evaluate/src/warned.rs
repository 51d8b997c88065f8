//! What was warned of while cases were scored, kept beside the numbers that it qualifies.

use serde::{Deserialize, Serialize};
use stage::{Context, Severity};

/// A warning of a score.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Warned {
    /// Stable code.
    pub code: String,
    /// The case concerned, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// What was found, and what follows from it.
    pub text: String,
}

/// Warnings that say nothing of the numbers: a copy's leftovers, a picture that was not drawn, fewer cases at a time.
const OTHERS: [&str; 3] = ["W102", "W505", "W160"];

/// What was warned of so far: each once, in an order that does not depend on timing. Files are left out, as they may lie elsewhere later.
pub(crate) fn so_far(context: &Context) -> Vec<Warned> {
    let mut warned: Vec<Warned> = context
        .messages()
        .into_iter()
        .filter(|message| message.severity == Severity::Warning && !OTHERS.contains(&message.code))
        .map(|message| Warned {
            code: message.code.to_owned(),
            case: message.case,
            text: match message.cause {
                Some(cause) => format!("{}. {cause}", message.what),
                None => message.what,
            },
        })
        .collect();
    warned.sort();
    warned.dedup();
    warned
}

/// Lines that the page shows of a run; `summary.json` has all.
const SHOWN: usize = 12;

/// Lines for people.
pub(crate) fn lines(warned: &[Warned]) -> Vec<String> {
    let line = |Warned { code, case, text }: &Warned| match case {
        Some(case) => format!("{code} case {case}: {text}"),
        None => format!("{code} {text}"),
    };
    let mut lines: Vec<String> = warned.iter().take(SHOWN).map(line).collect();
    if warned.len() > SHOWN {
        lines.push(format!("and {} more, in summary.json", warned.len() - SHOWN));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use stage::Message;

    #[test]
    fn what_qualifies_numbers_is_kept_once_and_without_files() {
        let context = Context::new("evaluate", true);
        for case in ["b", "a", "a"] {
            let message =
                Message::warning("W506", "one object is 90 %").cause("It leaks").detail("some/file");
            context.tell(message.case(case));
        }
        context.tell(Message::warning("W505", "no picture of this case"));
        context.tell(Message::info("I504", "counts"));
        context.tell(Message::warning("W501", "2 of 3 references have no prediction"));
        let warned = so_far(&context);
        assert_eq!(
            lines(&warned),
            [
                "W501 2 of 3 references have no prediction",
                "W506 case a: one object is 90 %. It leaks",
                "W506 case b: one object is 90 %. It leaks"
            ]
        );
        let many: Vec<Warned> = (0..14).map(|_| warned[0].clone()).collect();
        assert_eq!(lines(&many)[12..], ["and 2 more, in summary.json"]);
    }
}
