//! A disk, or a quota on it, that is full.

use crate::Message;
use std::io;

/// Whether a write failed because the disk or the quota is full; the shard library hands on text only.
#[must_use]
pub fn is_full(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let text = cause.to_string();
        matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
            || text.contains("No space left on device")
            || text.contains("Disk quota exceeded")
    })
}

/// The message of an error for which that is the reason (E161).
#[must_use]
pub fn full(error: &anyhow::Error) -> Option<Message> {
    is_full(error).then(|| {
        Message::error("E161", "the disk is full")
            .detail(format!("{error:#}"))
            .fix("Free space, then rerun the same command; what is finished is kept")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        let error = |kind: io::ErrorKind| anyhow::Error::from(io::Error::from(kind));
        assert!(is_full(&error(io::ErrorKind::StorageFull)));
        let message = full(&error(io::ErrorKind::QuotaExceeded).context("cannot write a.nii.gz")).unwrap();
        assert!(message.code == "E161" && message.to_string().contains("a.nii.gz"), "{message}");
        assert!(full(&error(io::ErrorKind::PermissionDenied)).is_none());
        // as the shard library hands it on
        let text = io::Error::from_raw_os_error(28).to_string();
        assert!(is_full(&anyhow::anyhow!("cases/a/image: IO error occurred: {text}")));
    }
}
