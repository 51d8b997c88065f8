//! The output directory: what may be there, what is kept and what goes.

use crate::finish::DESCRIPTOR;
use crate::messages::some_names;
use data_manifests::{Descriptor, Manifest, cases};
use patches::{Case, ShardStore};
use stage::{Context, Message, atomic};
use std::collections::BTreeSet;
use std::path::Path;

/// Refuses a directory that holds files of somebody else: they would become a part of the data set.
pub(crate) fn refuse_foreign(out: &Path) -> anyhow::Result<()> {
    let folder = ShardStore::cases_directory(out);
    let folder = folder.file_name().unwrap_or_default();
    Manifest::refuse_foreign(out, |name| folder == name || [cases::FILE_NAME, DESCRIPTOR].contains(&name))
}

/// Removes leftovers and the cases that the data set does not have any more, never another data set's and never one that
/// `--only` just does not name.
pub(crate) fn tidy(
    out: &Path,
    descriptor: &Descriptor,
    wanted: &BTreeSet<&str>,
    (known, has_only): (&BTreeSet<String>, bool),
    context: &Context,
) -> anyhow::Result<()> {
    let folder = ShardStore::cases_directory(out);
    fs_err::create_dir_all(&folder)?;
    let mut gone = Vec::new();
    let mut unnamed = Vec::new();
    for entry in fs_err::read_dir(&folder)? {
        let name = entry?.file_name();
        if atomic::is_temporary(&name) || name.to_str().is_some_and(|name| wanted.contains(name)) {
            continue;
        }
        let path = folder.join(&name);
        let record = Case::open(&path).ok().map(|case| case.record().clone());
        if let Some(record) = record.filter(|record| record.dataset != descriptor.name) {
            return Err(Message::error("E166", "the output directory holds another data set")
                .detail(format!(
                    "{} is of '{}', expected '{}'",
                    path.display(),
                    record.dataset,
                    descriptor.name
                ))
                .fix(format!("Use another --out, or remove {}", out.display()))
                .into());
        }
        let name = name.to_string_lossy().into_owned();
        if known.contains(&name) { unnamed.push(name) } else { gone.push(name) }
    }
    if !unnamed.is_empty() {
        unnamed.sort();
        let found = format!("{} holds {}", folder.display(), some_names(&unnamed));
        let count = unnamed.len();
        return Err(match has_only {
            true => Message::error("E167", format!("--only would remove {count} other cases"))
                .detail(found)
                .fix("Leave --only out (finished cases are kept), or use another --out"),
            false => Message::error(
                "E167",
                format!("{count} finished cases lack raw files now, and would be removed"),
            )
            .detail(found)
            .fix("Put their files back, or move their shards away, or use another --out"),
        }
        .into());
    }
    Manifest::withdraw(out)?;
    atomic::sweep(out)?;
    atomic::sweep(&folder)?;
    if !gone.is_empty() {
        gone.sort();
        for name in &gone {
            remove(&folder.join(name))?;
        }
        let text = "removed cases that the data set does not have (any more)";
        context.tell(Message::info("I171", text).detail(some_names(&gone)));
    }
    Ok(())
}

/// Removes a file or a directory, if there is one.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => fs_err::remove_dir_all(path),
        Ok(_) => fs_err::remove_file(path),
    }
}
