//! The voxel size of a stack: who may state it, and who wins.

use super::tags::{Tags, Writer};
use crate::error::{Result, VolumeError};
use crate::warning::Warning;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Name of the sidecar inside a directory of slices.
pub(super) const INSIDE: &str = "spacing.json";
/// Sources that differ by more than this share of the voxel size are worth a warning.
const DISAGREEMENT: f64 = 1e-3;
/// Keys of a sidecar with the millimetres of their unit; the last is nnU-Net's, whose spacings are in mm.
const KEYS: [(&str, f64); 4] =
    [("spacing_zyx_nm", 1e-6), ("spacing_zyx_um", 1e-3), ("spacing_zyx_mm", 1.0), ("spacing", 1.0)];

/// Who stated the voxel size of a stack, strongest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpacingSource {
    /// The caller (`--spacing-zyx`, a data set's description).
    Argument,
    /// A JSON file beside or in the stack.
    Sidecar(PathBuf),
    /// ImageJ's description and the resolution tags.
    ImageJ,
    /// The OME-XML description.
    Ome,
}

impl fmt::Display for SpacingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument => write!(f, "--spacing-zyx"),
            Self::Sidecar(path) => write!(f, "{}", path.display()),
            Self::ImageJ => write!(f, "the ImageJ tags"),
            Self::Ome => write!(f, "the OME tags"),
        }
    }
}

/// The voxel size in mm (z, y, x) by the strongest source, and warnings where weaker ones disagree.
pub(crate) fn choose(
    argument: Option<[f64; 3]>,
    sidecars: Vec<(PathBuf, [f64; 3])>,
    tags: &Tags,
) -> (Option<(SpacingSource, [f64; 3])>, Vec<Warning>) {
    let mut stated: Vec<(SpacingSource, [f64; 3])> = Vec::new();
    stated.extend(argument.map(|spacing| (SpacingSource::Argument, spacing)));
    stated.extend(sidecars.into_iter().map(|(path, spacing)| (SpacingSource::Sidecar(path), spacing)));
    stated.extend(tags.spacing.map(|(writer, spacing)| match writer {
        Writer::ImageJ => (SpacingSource::ImageJ, spacing),
        Writer::Ome => (SpacingSource::Ome, spacing),
    }));
    let mut stated = stated.into_iter();
    let Some((used, used_zyx_mm)) = stated.next() else { return (None, Vec::new()) };
    let warnings = stated
        .filter(|(_, other)| {
            other.iter().zip(used_zyx_mm).any(|(other, mm)| (other - mm).abs() > DISAGREEMENT * mm)
        })
        .map(|(ignored, ignored_zyx_mm)| Warning::SpacingSourcesDiffer {
            used: used.to_string(),
            used_zyx_mm,
            ignored: ignored.to_string(),
            ignored_zyx_mm,
        })
        .collect();
    (Some((used, used_zyx_mm)), warnings)
}

/// Sidecars of a stack that exist: `NAME.json` beside it, then `spacing.json` in it.
pub(super) fn sidecars(stack: &Path, is_directory: bool) -> Result<Vec<(PathBuf, [f64; 3])>> {
    let mut candidates = vec![beside(stack, is_directory)];
    if is_directory {
        candidates.push(stack.join(INSIDE));
    }
    existing(candidates)
}

/// What those of the files state that exist.
pub(crate) fn existing(candidates: Vec<PathBuf>) -> Result<Vec<(PathBuf, [f64; 3])>> {
    let mut found = Vec::new();
    for path in candidates {
        match fs_err::read_to_string(&path) {
            Ok(text) => {
                let spacing =
                    sidecar(&text).map_err(|reason| VolumeError::Sidecar { path: path.clone(), reason })?;
                found.push((path, spacing));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(VolumeError::Sidecar { path, reason: "it is no UTF-8 text".into() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// `cell6.json` for `cell6.tif`, `cell6.ome.tif` and the directory `cell6`; a directory's dots belong to its name.
pub(crate) fn beside(stack: &Path, is_directory: bool) -> PathBuf {
    let name = stack.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = if is_directory {
        name.as_str()
    } else {
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        stem.strip_suffix(".ome").unwrap_or(stem)
    };
    stack.with_file_name(format!("{stem}.json"))
}

fn sidecar(text: &str) -> Result<[f64; 3], String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let Some(object) = value.as_object() else { return Err("it holds no JSON object".into()) };
    let unknown: Vec<&str> =
        object.keys().map(String::as_str).filter(|key| KEYS.iter().all(|(known, _)| known != key)).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "unknown keys {unknown:?}; expected one of spacing_zyx_nm, spacing_zyx_um, spacing_zyx_mm"
        ));
    }
    let mut given = KEYS.iter().filter_map(|(key, mm)| object.get(*key).map(|value| (*key, *mm, value)));
    let (Some((key, mm, value)), None) = (given.next(), given.next()) else {
        return Err(format!(
            "{} of the keys spacing_zyx_nm, spacing_zyx_um, spacing_zyx_mm are given; expected one",
            object.len()
        ));
    };
    let numbers: Option<Vec<f64>> =
        value.as_array().and_then(|list| list.iter().map(serde_json::Value::as_f64).collect());
    match numbers.as_deref() {
        Some(&[z, y, x]) if usable([z, y, x]) => Ok([z * mm, y * mm, x * mm]),
        _ => Err(format!("{key} is {value}; expected three positive numbers, z,y,x")),
    }
}

/// Whether all three are positive and finite.
pub(crate) fn usable(spacing_zyx_mm: [f64; 3]) -> bool {
    spacing_zyx_mm.iter().all(|mm| *mm > 0.0 && mm.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_take_one_key_and_three_numbers() {
        assert_eq!(sidecar("{\"spacing_zyx_mm\": [3, 2, 1.5]}").unwrap(), [3.0, 2.0, 1.5]);
        let nm = sidecar("{\"spacing_zyx_nm\": [50, 4.6, 4.6]}").unwrap();
        let um = sidecar("{\"spacing_zyx_um\": [0.05, 0.0046, 0.0046]}").unwrap();
        // as nnU-Net has it, in mm
        assert_eq!(sidecar("{\"spacing\": [2, 1, 1]}").unwrap(), [2.0, 1.0, 1.0]);
        assert!(nm.iter().zip(um).all(|(a, b)| (a / b - 1.0).abs() < 1e-12));
        for (text, words) in [
            ("{", "no JSON"),
            ("[1,2,3]", "no JSON object"),
            ("{}", "0 of the keys"),
            ("{\"voxel\": [1,1,1]}", "unknown keys [\"voxel\"]"),
            ("{\"spacing_zyx_mm\": [1,1]}", "three positive numbers"),
            ("{\"spacing_zyx_mm\": [1,0,1]}", "three positive numbers"),
            ("{\"spacing_zyx_mm\": [1,\"2\",1]}", "three positive numbers"),
            ("{\"spacing_zyx_mm\": [1,1,1], \"spacing_zyx_um\": [1,1,1]}", "2 of the keys"),
        ] {
            let reason = sidecar(text).unwrap_err();
            assert!(reason.contains(words), "{text}: {reason}");
        }
    }

    #[test]
    fn the_strongest_source_wins_and_others_are_named() {
        let tags = Tags { spacing: Some((Writer::Ome, [2.0, 1.0, 1.0])), missing: String::new() };
        let json = || vec![(PathBuf::from("a.json"), [2.001, 1.0, 1.0])];
        let (used, warnings) = choose(None, json(), &tags);
        assert_eq!(used.unwrap(), (SpacingSource::Sidecar("a.json".into()), [2.001, 1.0, 1.0]));
        assert!(warnings.is_empty());
        let (used, warnings) = choose(Some([3.0, 1.0, 1.0]), json(), &tags);
        assert_eq!(used.unwrap().0, SpacingSource::Argument);
        assert_eq!(warnings.len(), 2);
        assert!(
            warnings[0].to_string().ends_with("by a.json (z,y,x). Using --spacing-zyx"),
            "{}",
            warnings[0]
        );
        assert_eq!(choose(None, Vec::new(), &tags).0.unwrap().0, SpacingSource::Ome);
    }

    #[test]
    fn names_of_sidecars() {
        assert_eq!(beside(Path::new("d/cell6.tif"), false), Path::new("d/cell6.json"));
        assert_eq!(beside(Path::new("cell6.ome.tif"), false), Path::new("cell6.json"));
        assert_eq!(beside(Path::new("d/cell.6"), true), Path::new("d/cell.6.json"));
    }
}
