//! The files that the loop writes into a run's directory.

use crate::record::{METRICS, TIMING, VALIDATION, events, progress::PROGRESS};

/// Role in a manifest of a file that the loop wrote: `record` or `checkpoint`; none for others. `path` is relative to the
/// run's directory.
#[must_use]
pub fn role_of(path: &str) -> Option<&'static str> {
    let top = path.split('/').next().unwrap_or(path);
    match top {
        METRICS | TIMING | PROGRESS | VALIDATION | events::FOLDER => Some("record"),
        _ if top.starts_with("checkpoint_") && top.ends_with(".safetensors") => Some("checkpoint"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loops_own_files_are_known() {
        assert_eq!(role_of("tensorboard/events.out.tfevents.0.run"), Some("record"));
        assert_eq!((role_of("tensorboard"), role_of("timing.jsonl")), (Some("record"), Some("record")));
        assert_eq!((role_of("progress.png"), role_of("validation.png")), (Some("record"), Some("record")));
        assert_eq!(role_of("checkpoint_best.safetensors"), Some("checkpoint"));
        assert_eq!((role_of("encoder.safetensors"), role_of("checkpoint_x.txt")), (None, None));
    }
}
