//! Where the voxels of an OME-Zarr image lie: scales and translations in units of length, and orientations of axes by its RFC-4.

use super::metadata::{Axis, Level, flaw};
use crate::error::Result;

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

impl Level {
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
    use super::super::metadata::tests::{axes, level};
    use serde_json::{Value, json};

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
