//! What the metadata of an OME-Zarr image say: axes, levels, and where voxels lie (versions 0.4 and 0.5,
//! <https://ngff.openmicroscopy.org/>; orientation of axes by its RFC-4).

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
    image: Value,
    /// The level's entry of `datasets`.
    dataset: Value,
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

/// Where voxels lie, as far as it is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// Edge of a voxel and place of the first one's centre, z, y, x, in mm; none where units lack.
    pub(super) mm: Option<[[f64; 2]; 3]>,
    /// What lacks, where something does.
    pub(super) missing: String,
    /// World axis (0 is x) of each array axis z, y, x, and whether indices count against it (RAS+).
    pub(super) world: [(usize, bool); 3],
    /// An orientation that is not understood.
    pub(super) unknown: Option<String>,
}

fn flaw(path: &Path, found: impl Into<String>) -> VolumeError {
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

    /// Where the voxels lie.
    ///
    /// # Errors
    /// [`VolumeError::OmeZarr`] for transforms that are no scale or translation of all axes.
    pub(super) fn place(&self, axes: &[Axis]) -> Result<Place> {
        let (scale, translation) = self.transforms(axes.len())?;
        let mut place = Place {
            mm: None,
            missing: String::new(),
            world: [(2, false), (1, false), (0, false)],
            unknown: None,
        };
        let mut mm = [[1.0, 0.0]; 3];
        let mut complete = true;
        let mut told = Vec::new();
        for (space, axis) in [Axis::Z, Axis::Y, Axis::X].into_iter().enumerate() {
            let Some(index) = axes.iter().position(|found| *found == axis) else {
                complete = false;
                place.missing = "an image without axis z has no voxel size along it".to_owned();
                continue;
            };
            let described = &self.image["axes"][index];
            match described["unit"].as_str().map(|unit| (unit, millimetres(unit))) {
                Some((_, Some(each))) => mm[space] = [scale[index] * each, translation[index] * each],
                Some((unit, None)) => {
                    complete = false;
                    place.missing = format!("the unit of its axes is '{unit}', no length that is known");
                }
                None => {
                    complete = false;
                    place.missing = "its axes have no unit".to_owned();
                }
            }
            // as RFC-4 has it; without, indices count to the right, to the front and upwards, as those of all stacks
            if let Some(value) = described["orientation"]["value"].as_str() {
                told.push((space, value));
            }
        }
        place.mm = complete.then_some(mm);
        match world(&told) {
            Some(world) => place.world = world,
            None if told.is_empty() => {}
            None => {
                let words: Vec<&str> = told.iter().map(|(_, value)| *value).collect();
                place.unknown = Some(words.join(", "));
            }
        }
        Ok(place)
    }

    /// Scale and translation of each axis: those of the level, then those of all levels.
    fn transforms(&self, axes: usize) -> Result<(Vec<f64>, Vec<f64>)> {
        let wrong = |found: String| flaw(&self.group, found);
        let (mut scale, mut translation) = (vec![1.0; axes], vec![0.0; axes]);
        let mut any = false;
        for list in [&self.dataset["coordinateTransformations"], &self.image["coordinateTransformations"]] {
            for transform in list.as_array().into_iter().flatten() {
                let kind = transform["type"].as_str().unwrap_or("?");
                let numbers = || -> Result<Vec<f64>> {
                    let found: Option<Vec<f64>> = serde_json::from_value(transform[kind].clone()).ok();
                    found
                        .filter(|numbers| numbers.len() == axes && numbers.iter().all(|n| n.is_finite()))
                        .ok_or_else(|| {
                            wrong(format!("'{kind}' is {}, expected {axes} numbers", transform[kind]))
                        })
                };
                match kind {
                    "identity" => {}
                    "scale" => {
                        for (axis, by) in numbers()?.into_iter().enumerate() {
                            if by <= 0.0 {
                                return Err(wrong(format!("'scale' is {}", transform[kind])));
                            }
                            scale[axis] *= by;
                            translation[axis] *= by;
                        }
                        any = true;
                    }
                    "translation" => {
                        translation.iter_mut().zip(numbers()?).for_each(|(sum, by)| *sum += by);
                    }
                    other => return Err(wrong(format!("its coordinateTransformations have a '{other}'"))),
                }
            }
        }
        if any {
            Ok((scale, translation))
        } else {
            Err(wrong("its coordinateTransformations state no scale".into()))
        }
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

/// Millimetres of a unit of length: the specification's names, and abbreviations that are found in their place.
fn millimetres(unit: &str) -> Option<f64> {
    Some(match unit {
        "angstrom" => 1e-7,
        "picometer" | "pm" => 1e-9,
        "nanometer" | "nanometre" | "nm" => 1e-6,
        "micrometer" | "micrometre" | "micron" | "um" | "µm" | "μm" => 1e-3,
        "millimeter" | "millimetre" | "mm" => 1.0,
        "centimeter" | "centimetre" | "cm" => 10.0,
        "meter" | "metre" | "m" => 1e3,
        _ => return None,
    })
}

/// World axes of the array's axes z, y, x by anatomical orientations; none unless all three are told and differ.
fn world(told: &[(usize, &str)]) -> Option<[(usize, bool); 3]> {
    let mut found = [None; 3];
    for (space, value) in told {
        found[*space] = Some(match *value {
            "left-to-right" => (0, false),
            "right-to-left" => (0, true),
            "posterior-to-anterior" => (1, false),
            "anterior-to-posterior" => (1, true),
            "inferior-to-superior" => (2, false),
            "superior-to-inferior" => (2, true),
            _ => return None,
        });
    }
    let [z, y, x] = found;
    let world = [z?, y?, x?];
    let distinct = world[0].0 != world[1].0 && world[1].0 != world[2].0 && world[0].0 != world[2].0;
    distinct.then_some(world)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn level(image: Value) -> Level {
        let dataset = image["datasets"][0].clone();
        Level { group: "a.zarr".into(), array: "0".into(), image, dataset, is_label: false }
    }

    fn axes(names: &[&str]) -> Value {
        names.iter().map(|name| json!({ "name": name, "type": "space", "unit": "nanometer" })).collect()
    }

    #[test]
    fn transforms_of_a_level_come_before_those_of_all() {
        let level = level(json!({
            "axes": axes(&["z", "y", "x"]),
            "datasets": [{ "path": "0", "coordinateTransformations": [
                { "type": "scale", "scale": [2.0, 1.0, 1.0] }, { "type": "translation", "translation": [3.0, 0.0, 0.5] }
            ] }],
            "coordinateTransformations": [{ "type": "scale", "scale": [10.0, 4.0, 4.0] }],
        }));
        let axes = level.axes().unwrap();
        let mm = level.place(&axes).unwrap().mm.unwrap();
        let nm = mm.map(|pair| pair.map(|mm| (mm * 1e6 * 1e3).round() / 1e3));
        assert_eq!(nm, [[20.0, 30.0], [4.0, 0.0], [4.0, 2.0]]);
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

    #[test]
    fn orientations_are_told_by_all_axes_or_not_at_all() {
        let of = |values: [&str; 3]| {
            let axes: Vec<Value> = ["z", "y", "x"]
                .iter()
                .zip(values)
                .map(|(name, value)| json!({ "name": name, "unit": "millimeter", "orientation": { "type": "anatomical", "value": value } }))
                .collect();
            let transforms = json!([{ "type": "scale", "scale": [1.0, 1.0, 1.0] }]);
            let level = level(
                json!({ "axes": axes, "datasets": [{ "path": "0", "coordinateTransformations": transforms }] }),
            );
            level.place(&level.axes().unwrap()).unwrap()
        };
        // as ITK has it
        let lps = of(["inferior-to-superior", "anterior-to-posterior", "right-to-left"]);
        assert_eq!((lps.world, lps.unknown), ([(2, false), (1, true), (0, true)], None));
        let coronal = of(["posterior-to-anterior", "superior-to-inferior", "left-to-right"]);
        assert_eq!(coronal.world, [(1, false), (2, true), (0, false)]);
        for odd in [["dorsal-to-ventral"; 3], ["left-to-right", "right-to-left", "inferior-to-superior"]] {
            let place = of(odd);
            assert_eq!(place.world, [(2, false), (1, false), (0, false)]);
            assert!(place.unknown.unwrap().contains(odd[0]));
        }
    }
}
