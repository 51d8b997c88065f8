//! A file appears whole or not at all.

use crate::error::VolumeError;
use std::path::Path;

/// Lets `write` fill a temporary file beside `path` (its name ends in `suffix`, so that writers that look at the
/// extension behave), makes it durable and renames it.
pub(crate) fn replace<E: From<VolumeError>>(
    path: &Path,
    suffix: &str,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let io = |error: std::io::Error| E::from(VolumeError::from(error));
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".volume-").suffix(suffix);
    // The default is readable by the owner only; the umask applies to this.
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt;
        std::fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    builder.permissions(permissions);
    let temporary = builder.tempfile_in(directory).map_err(|error| {
        io(std::io::Error::new(error.kind(), format!("cannot write beside {}: {error}", path.display())))
    })?;
    write(temporary.path())?;
    fs_err::File::open(temporary.path()).and_then(|file| file.sync_all()).map_err(io)?;
    temporary.persist(path).map_err(|error| {
        io(std::io::Error::new(
            error.error.kind(),
            format!("cannot rename the finished file to {}: {}", path.display(), error.error),
        ))
    })?;
    #[cfg(unix)]
    stage::atomic::sync_directory(directory).map_err(io)?;
    Ok(())
}
