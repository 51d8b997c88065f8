//! Flaws of a volume as messages.

use stage::Message;
use std::path::Path;
use volume::{VolumeError, Warning};

/// The message of an error in a case; paths are shown as below `raw`, where the user knows them.
pub(crate) fn of_error(case: &str, error: &anyhow::Error, raw: &Path) -> Message {
    if let Some(message) = error.downcast_ref::<Message>() {
        return message.clone().case(case);
    }
    let shorten = |text: String| text.replace(&format!("{}/", raw.display()), "");
    match error.downcast_ref::<VolumeError>() {
        Some(volume) => {
            let message = Message::error(volume.code(), shorten(volume.to_string())).case(case);
            match volume.hint() {
                Some(hint) => message.fix(shorten(hint)),
                None => message,
            }
        }
        None => Message::error("E199", shorten(format!("{error:#}"))).case(case),
    }
}

/// The message of a flaw that does not stop the case.
pub(crate) fn of_warning(case: &str, warning: &Warning) -> Message {
    Message::warning(warning.code(), warning.to_string()).case(case)
}
