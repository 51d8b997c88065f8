//! Flaws of a volume as messages.

use crate::convert::Finished;
use patches::WarningRecord;
use stage::Message;
use stage::message::counted;
use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use volume::{VolumeError, Warning};

/// The message of an error in a case; paths are shown as below `raw`, where the user knows them.
pub(crate) fn of_error(case: &str, error: &anyhow::Error, raw: &Path) -> Message {
    let shorten = |text: String| below(raw, text);
    if let Some(message) = error.downcast_ref::<Message>() {
        let mut message = message.clone().case(case);
        message.detail = message.detail.map(shorten);
        return message;
    }
    match error.downcast_ref::<VolumeError>() {
        Some(volume) => of_volume(volume, raw).case(case),
        None => Message::error("E199", shorten(format!("{error:#}"))).case(case),
    }
}

/// The message of what makes a volume unusable.
pub(crate) fn of_volume(error: &VolumeError, raw: &Path) -> Message {
    let message = Message::error(error.code(), below(raw, error.to_string()));
    match error.hint() {
        Some(hint) => message.fix(below(raw, hint)),
        None => message,
    }
}

/// A text with paths as below `raw`; without a folder they stay as they are.
fn below(raw: &Path, text: String) -> String {
    let folder = format!("{}/", raw.display());
    if folder == "/" { text } else { text.replace(&folder, "") }
}

/// The message of a failed case with what becomes of the `done` others.
pub(crate) fn with_kept(mut message: Message, done: usize) -> Message {
    if let Some(fix) = message.fix.take_if(|fix| done > 0 && fix.ends_with("rerun the same command")) {
        let cases = counted(done, "finished case");
        let verb = if done == 1 { "is" } else { "are" };
        message.fix = Some(format!("{fix}; the {cases} {verb} kept"));
    }
    message
}

/// The message of a panic, which is a defect of ours; it costs the case, not the run.
pub(crate) fn of_panic(case: &str, payload: &(dyn Any + Send)) -> Message {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    Message::error("E999", "internal error")
        .case(case)
        .detail(text.lines().next().unwrap_or(text))
        .fix("This is a defect of the program: please report it with the command and the case's files")
}

/// A few names of many.
pub(crate) fn some_names(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The message of a flaw in `file` that does not stop the case.
pub(crate) fn of_warning(case: &str, file: &Path, warning: &Warning, raw: &Path) -> Message {
    let file = file.strip_prefix(raw).unwrap_or(file);
    Message::warning(warning.code(), format!("{}: {warning}", file.display())).case(case)
}

/// Warnings as a case's record keeps them.
pub(crate) fn recorded(warnings: &[Message]) -> Vec<WarningRecord> {
    warnings.iter().map(|m| WarningRecord { code: m.code.to_owned(), text: m.what.clone() }).collect()
}

/// What was said of kept cases when they were made, counted by code.
pub(crate) fn of_kept<'a>(cases: impl Iterator<Item = &'a Finished>) -> Option<Message> {
    let mut by_code: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut warned = 0;
    for case in cases {
        warned += usize::from(!case.warnings.is_empty());
        for warning in &case.warnings {
            let ids = by_code.entry(&warning.code).or_default();
            if ids.last() != Some(&case.id) {
                ids.push(case.id.clone());
            }
        }
    }
    let verb = if warned == 1 { "has" } else { "have" };
    let list: Vec<_> = by_code.iter().map(|(code, ids)| format!("{code} ({})", some_names(ids))).collect();
    (warned > 0).then(|| {
        Message::warning(
            "W170",
            format!("{} {verb} warnings: {}", counted(warned, "kept case"), list.join(", ")),
        )
        .fix("Their text is in each case's zarr.json, and in the report of the run that made them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use std::io;

    #[test]
    fn a_panic_costs_its_case_and_is_called_a_defect() {
        let payload = std::panic::catch_unwind(|| Vec::<u8>::new()[3]).unwrap_err();
        let message = of_panic("a", payload.as_ref()).to_string();
        assert!(message.starts_with("E999 case a: internal error. index out of bounds"), "{message}");
    }

    #[test]
    fn paths_are_shown_below_the_raw_folder() {
        let error =
            VolumeError::Truncated { path: "data/raw/imagesTr/a.nii".into(), decoded: 1, expected: 2 };
        let message = of_error("a", &error.into(), Path::new("data/raw")).to_string();
        assert!(
            message.starts_with("E101 case a: the file is truncated. imagesTr/a.nii decodes"),
            "{message}"
        );
        let plain = Err::<(), _>(io::Error::other("odd")).context("data/raw/b").unwrap_err();
        assert_eq!(of_error("b", &plain, Path::new("data/raw")).code, "E199");
        let names = ["a", "b", "c", "d", "e", "f", "g"].map(String::from);
        assert_eq!(some_names(&names), "a, b, c, d, e and 2 more");
    }
}
