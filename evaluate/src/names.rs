//! Names that tell directories apart.

use std::path::{Path, PathBuf};

/// Folder names, with as many parents as tell them apart.
pub(crate) fn names(runs: &[PathBuf]) -> Vec<String> {
    let tail = |path: &Path, parts: usize| -> String {
        let all: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let longest = runs.iter().map(|r| r.components().count()).max().unwrap_or(1);
    let named = |parts: usize| -> Vec<String> { runs.iter().map(|r| tail(r, parts)).collect() };
    let distinct = |names: &[String]| (1..names.len()).all(|i| !names[..i].contains(&names[i]));
    (1..=longest).map(named).find(|names| distinct(names)).unwrap_or_else(|| {
        // the same directory twice
        named(1).iter().enumerate().map(|(i, name)| format!("{name} ({})", i + 1)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_they_must_be() {
        let of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["runs/a", "runs/b"]), ["a", "b"]);
        assert_eq!(of(&["x/scores", "y/scores"]), ["x/scores", "y/scores"]);
        assert_eq!(of(&["x", "x"]), ["x (1)", "x (2)"]);
    }
}
