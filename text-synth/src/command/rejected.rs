//! What is said of requests whose replies were all rejected, by `caption` and `report`.

use crate::client::finish::Finish;
use crate::client::messages::{OF_OTHER_OPTIONS, refused_alone};
use crate::ledger;
use crate::writer::api::is_broken;
use crate::writer::{REJECTED, Rejected};
use stage::Message;
use std::path::Path;

/// What is said of one request, by its last reply; `more_room` is the option that allows longer ones, where there is one.
pub(super) fn last(rejected: &Rejected, more_room: Option<&str>) -> Message {
    let reasons = rejected.reasons.join("; ");
    if let Some(reason) = ledger::refusal(&rejected.reasons) {
        refused_alone(reason)
    } else if Finish::of(rejected.finish_reason.as_deref()) == Finish::Cut {
        let room = more_room.unwrap_or("a longer reply");
        Message::error("E204", format!("reply {reasons}"))
            .detail("Not used")
            .fix(format!("Set {room} or disable thinking, {OF_OTHER_OPTIONS}"))
    } else if is_broken(&rejected.reasons) {
        Message::error("E206", "the reply is broken JSON, also after one request to repair it")
            .cause("The model does not keep to the form, or its server cuts replies")
            .fix(format!("Pass --retry-rejected to ask again, or use another --model {OF_OTHER_OPTIONS}"))
    } else {
        Message::error("E205", format!("all replies were rejected: {reasons}"))
            .fix(format!("See {REJECTED}; pass --retry-rejected to ask again"))
    }
}

/// What to do where nothing at all came of a run that asked a model.
pub(super) fn way_out(out: &Path, rejected: usize) -> String {
    if rejected == 0 {
        return "Run the same command again; what was answered is kept".to_owned();
    }
    format!(
        "Look at {}; ask again with the same options and --retry-rejected, or change --max-tokens, --prompt or --model {OF_OTHER_OPTIONS}",
        out.join(REJECTED).display()
    )
}
