//! A disk or a quota that is full, and files that may not become larger.

use crate::{Message, limits};
use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;

/// What keeps a write from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Space,
    Quota,
    FileSize,
}

/// The shard library, and errors that name the file, hand on text only.
fn bound(error: &(dyn Error + 'static)) -> Option<Bound> {
    causes(error).find_map(|cause| {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let text = cause.to_string();
        let says = |words: &str| text.contains(words);
        match kind {
            Some(ErrorKind::StorageFull) => Some(Bound::Space),
            Some(ErrorKind::QuotaExceeded) => Some(Bound::Quota),
            Some(ErrorKind::FileTooLarge) => Some(Bound::FileSize),
            _ if says("No space left on device") => Some(Bound::Space),
            _ if says("Disk quota exceeded") => Some(Bound::Quota),
            _ if says("File too large") => Some(Bound::FileSize),
            _ => None,
        }
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| error.source())
}

/// Whether a write failed because the disk or the quota is full, or the file reached the largest size that it may have.
#[must_use]
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    bound(error).is_some()
}

/// The message of an error for which that is the reason (E161). `out` is the directory that was written to: not every error names its file.
#[must_use]
pub fn full(error: &(dyn Error + 'static), out: Option<&Path>) -> Option<Message> {
    let bound = bound(error)?;
    let mut said: Vec<String> = Vec::new();
    for text in causes(error).map(ToString::to_string) {
        // some errors repeat what is below them
        if !said.last().is_some_and(|above| above.contains(&text)) {
            said.push(text);
        }
    }
    let mut detail = said.join(": ");
    if let Some(out) = out.filter(|out| !detail.contains(&out.display().to_string())) {
        detail = format!("{}: {detail}", out.display());
    }
    Some(match bound {
        Bound::Space => {
            if let Some(free) = out.and_then(|out| limits::free_disk_bytes(out).ok()) {
                detail.push_str(&format!("; {} free there", limits::size(free)));
            }
            Message::error("E161", "the disk is full")
                .detail(detail)
                .fix("Free space, then rerun the same command; what is finished is kept")
        }
        // what is free on the disk is no help, and how much the quota leaves only its own program knows
        Bound::Quota => Message::error("E161", "the quota is used up")
            .detail(detail)
            .fix("Free space or ask for more ('quota -s', on Lustre 'lfs quota -h'), then rerun the same command; what is finished is kept"),
        Bound::FileSize => Message::error("E161", "a file may not become so large")
            .detail(detail)
            .cause("The limit of file sizes (ulimit -f), or that of the file system")
            .fix("Raise it with 'ulimit -f unlimited' or use another file system, then rerun the same command; what is finished is kept"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn told(error: &anyhow::Error, out: Option<&Path>) -> Option<String> {
        full(error.as_ref(), out).map(|message| message.to_string())
    }

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        let error = |kind: io::ErrorKind| anyhow::Error::from(io::Error::from(kind));
        assert!(is_full(error(io::ErrorKind::StorageFull).as_ref()));
        let message =
            told(&error(io::ErrorKind::QuotaExceeded).context("cannot write a.nii.gz"), None).unwrap();
        assert!(message.starts_with("E161 the quota is used up. cannot write a.nii.gz: "), "{message}");
        assert_eq!(told(&error(io::ErrorKind::PermissionDenied), None), None);
        // as the shard library hands it on
        let text = io::Error::from_raw_os_error(28).to_string();
        assert!(is_full(anyhow::anyhow!("cases/a/image: IO error occurred: {text}").as_ref()));
    }

    #[test]
    fn the_directory_is_named_where_the_error_names_no_file() {
        let out = tempfile::tempdir().unwrap();
        let portable = |error: anyhow::Error| {
            let text = told(&error, Some(out.path())).unwrap().replace(out.path().to_str().unwrap(), "OUT");
            let (before, free) = text.split_once("(os error 28)").unwrap();
            (before.to_owned(), free.split_once(" free there. ").unwrap().1.to_owned())
        };
        let bare = || io::Error::from_raw_os_error(28);
        let (text, fix) = portable(bare().into());
        assert_eq!(text, "E161 the disk is full. OUT: No space left on device ");
        assert_eq!(fix, "Free space, then rerun the same command; what is finished is kept.");
        let named = crate::atomic::write_with(&out.path().join("a"), |_| Err(bare())).unwrap_err();
        let (text, _) = portable(named.into());
        assert_eq!(text, "E161 the disk is full. cannot write OUT/a: No space left on device ");
    }

    #[test]
    fn a_limit_of_file_sizes_is_told_with_its_name() {
        let error = anyhow::Error::from(io::Error::from_raw_os_error(27)).context("cannot write a");
        insta::assert_snapshot!(told(&error, None).unwrap(), @"E161 a file may not become so large. cannot write a: File too large (os error 27). The limit of file sizes (ulimit -f), or that of the file system. Raise it with 'ulimit -f unlimited' or use another file system, then rerun the same command; what is finished is kept.");
        assert!(is_full(anyhow::anyhow!("IO error occurred: File too large (os error 27)").as_ref()));
    }
}
