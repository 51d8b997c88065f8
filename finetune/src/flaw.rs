//! A flaw of a volume's file as a message.

use stage::Message;
use volume::VolumeError;

/// Code, text and remedy of an error; the caller adds the case.
pub(crate) fn message_of(error: &VolumeError) -> Message {
    let message = Message::error(error.code(), error.to_string());
    match error.hint() {
        Some(hint) => message.fix(hint),
        None => message,
    }
}
