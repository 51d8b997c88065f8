//! What the metadata of an OME-Zarr image say of its levels, axes and labels (versions 0.4 and 0.5, <https://ngff.openmicroscopy.org/>).

use crate::error::{Result, VolumeError};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Folders above a level's array that may be its image's: levels are mostly named `0` or `scale0/image`.
const CLIMB: usize = 4;
/// What is read.
pub(super) const EXPECTED: &str = "Expected an OME-Zarr image of version 0.4 or 0.5: a group whose 'multiscales' name its arrays, with axes \
    c, z, y, x or fewer";

/// One level of an image.
#[derive(Debug)]
pub(super) struct Level {
    /// The image's group.
    pub(super) group: PathBuf,
    /// Path of the level's array below it.
    pub(super) array: String,
    /// Its entry of `multiscales`.
    pub(super) image: Value,
    /// The level's entry of `datasets`.
    pub(super) dataset: Value,
    /// Whether the group is marked as a label image.
    pub(super) is_label: bool,
}

/// An axis of the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Time,
    Channel,
    Z,
    Y,
    X,
}

pub(super) fn flaw(path: &Path, found: impl Into<String>) -> VolumeError {
    VolumeError::OmeZarr { path: path.into(), found: found.into(), fix: EXPECTED }
}

impl Level {
    /// The finest level of the image in the group `path`, or the level whose array `path` is.
    ///
    /// # Errors
    /// [`VolumeError::OmeZarr`] for a group or an array that belongs to no image.
    pub(super) fn find(path: &Path) -> Result<Self> {
        if is_array(path)? {
            return Self::of_array(path);
        }
        let Some(attributes) = attributes(path)? else {
            return Err(flaw(path, "it has neither zarr.json nor .zattrs"));
        };
        match image_of(&attributes) {
            Some(image) => {
                let dataset = image["datasets"][0].clone();
                let array =
                    dataset["path"].as_str().ok_or_else(|| flaw(path, "its multiscales name no array"))?;
                let (array, is_label) = (array.to_owned(), is_label(&attributes));
                Ok(Self { group: path.into(), array, image, dataset, is_label })
            }
            None => Err(no_image(path, &attributes)),
        }
    }

    fn of_array(path: &Path) -> Result<Self> {
        for group in path.ancestors().skip(1).take(CLIMB).filter(|group| group.is_dir()) {
            let Some(attributes) = attributes(group)? else { continue };
            let Some(image) = image_of(&attributes) else { continue };
            let below = path.strip_prefix(group).unwrap_or(path);
            let named =
                |dataset: &&Value| dataset["path"].as_str().is_some_and(|named| Path::new(named) == below);
            let Some(dataset) = image["datasets"].as_array().and_then(|all| all.iter().find(named)).cloned()
            else {
                continue;
            };
            let array = dataset["path"].as_str().unwrap_or_default().to_owned();
            return Ok(Self { group: group.into(), array, image, dataset, is_label: is_label(&attributes) });
        }
        Err(flaw(path, "it is an array that no image above it names as a level of its own"))
    }

    /// The axes of the array, in its order: at most one of time and of channels, then z (where there is one), y and x.
    ///
    /// # Errors
    /// [`VolumeError::OmeZarr`] for others.
    pub(super) fn axes(&self) -> Result<Vec<Axis>> {
        let wrong = |found: String| flaw(&self.group, found);
        let described =
            self.image["axes"].as_array().ok_or_else(|| wrong("its multiscales name no axes".into()))?;
        let names: Vec<&str> = described.iter().map(|axis| axis["name"].as_str().unwrap_or("?")).collect();
        let axes: Option<Vec<Axis>> = names
            .iter()
            .map(|name| match name.to_lowercase().as_str() {
                "t" => Some(Axis::Time),
                "c" => Some(Axis::Channel),
                "z" => Some(Axis::Z),
                "y" => Some(Axis::Y),
                "x" => Some(Axis::X),
                _ => None,
            })
            .collect();
        let ordered = axes.filter(|axes| {
            let rank = |axis: &Axis| match axis {
                Axis::Time | Axis::Channel => 0,
                Axis::Z => 1,
                Axis::Y => 2,
                Axis::X => 3,
            };
            let distinct = (0..axes.len()).all(|i| !axes[..i].contains(&axes[i]));
            distinct && axes.iter().is_sorted_by_key(rank) && axes.ends_with(&[Axis::Y, Axis::X])
        });
        ordered.ok_or_else(|| wrong(format!("axes {}", names.join(", "))))
    }
}

/// Names of an image's label images.
///
/// # Errors
/// Metadata that cannot be read.
pub(super) fn labels(group: &Path) -> Result<Vec<String>> {
    let folder = group.join("labels");
    let Some(attributes) = attributes(&folder)? else { return Ok(Vec::new()) };
    let list = attributes.pointer("/ome/labels").or_else(|| attributes.get("labels"));
    let names = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    Ok(names.map(str::to_owned).collect())
}

/// Whether `path` is a Zarr array, of version 2 or 3.
///
/// # Errors
/// Metadata that cannot be read.
pub(super) fn is_array(path: &Path) -> Result<bool> {
    if path.join(".zarray").is_file() {
        return Ok(true);
    }
    Ok(json(&path.join("zarr.json"))?.is_some_and(|metadata| metadata["node_type"] == "array"))
}

/// The attributes of a group, of version 3 or 2; none where there is no group.
fn attributes(group: &Path) -> Result<Option<Value>> {
    if let Some(mut metadata) = json(&group.join("zarr.json"))? {
        return Ok(Some(metadata["attributes"].take()));
    }
    match json(&group.join(".zattrs"))? {
        Some(attributes) => Ok(Some(attributes)),
        None if group.join(".zgroup").is_file() => Ok(Some(Value::Null)),
        None => Ok(None),
    }
}

fn json(path: &Path) -> Result<Option<Value>> {
    let text = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(e)
            if e.kind() == std::io::ErrorKind::NotFound || e.kind() == std::io::ErrorKind::NotADirectory =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e.into()),
    };
    serde_json::from_str(&text).map(Some).map_err(|e| flaw(path, format!("it is no JSON: {e}")))
}

/// The first image of a group: below `ome` since version 0.5.
fn image_of(attributes: &Value) -> Option<Value> {
    let images = attributes.pointer("/ome/multiscales").or_else(|| attributes.get("multiscales"))?;
    images.get(0).cloned()
}

fn is_label(attributes: &Value) -> bool {
    attributes.pointer("/ome/image-label").or_else(|| attributes.get("image-label")).is_some()
}

/// Says what a group is that is no image.
fn no_image(path: &Path, attributes: &Value) -> VolumeError {
    let has = |key: &str| attributes.get(key).or_else(|| attributes.get("ome")?.get(key)).is_some();
    let (found, fix) = if has("bioformats2raw.layout") {
        (
            "it is a collection of images (bioformats2raw)",
            "Name the image in it, usually its folder 0: NAME.zarr/0",
        )
    } else if has("plate") || has("well") {
        ("it is a plate or a well of images", "Name one image in it: PLATE.zarr/A/1/0")
    } else if has("labels") {
        ("it is the group of label images", "Name one of them: IMAGE.zarr#NAME")
    } else {
        ("its metadata have no multiscales", EXPECTED)
    };
    VolumeError::OmeZarr { path: path.into(), found: found.to_owned(), fix }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn level(image: Value) -> Level {
        let dataset = image["datasets"][0].clone();
        Level { group: "a.zarr".into(), array: "0".into(), image, dataset, is_label: false }
    }

    pub(crate) fn axes(names: &[&str]) -> Value {
        names.iter().map(|name| json!({ "name": name, "type": "space", "unit": "nanometer" })).collect()
    }

    #[test]
    fn axes_are_ordered() {
        let of = |names: &[&str]| level(json!({ "axes": axes(names) })).axes();
        assert_eq!(of(&["t", "c", "z", "y", "x"]).unwrap().len(), 5);
        assert_eq!(of(&["c", "t", "y", "x"]).unwrap(), [Axis::Channel, Axis::Time, Axis::Y, Axis::X]);
        for wrong in [
            &["x", "y", "z"][..],
            &["z", "y", "x", "c"],
            &["z", "z", "y", "x"],
            &["a", "y", "x"],
            &["z", "x"],
        ] {
            let error = of(wrong).unwrap_err();
            assert_eq!(error.code(), "E147", "{wrong:?}");
            assert!(error.to_string().contains(&wrong.join(", ")), "{error}");
        }
    }
}
