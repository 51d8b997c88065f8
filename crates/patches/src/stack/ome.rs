//! OME-Zarr 0.5 metadata of images of stacks, <https://ngff.openmicroscopy.org/0.5/>.

pub(super) use crate::ome::VERSION;

use crate::ome::Place;
use serde_json::{Value, json};
use volume::hdf5::StackInfo;

/// Attributes of the group `labels` with one label map.
pub(super) fn labels(name: &str) -> Value {
    json!({ "ome": { "version": VERSION, "labels": [name] } })
}

/// Attributes of a label map's group.
pub(super) fn label(info: &StackInfo) -> Value {
    json!({ "ome": { "version": VERSION, "multiscales": [multiscale(info, false)], "image-label": {} } })
}

/// Attributes of the group of affinities.
pub(super) fn affinities(info: &StackInfo, offsets_zyx: &[[isize; 3]]) -> Value {
    json!({ "ome": { "version": VERSION, "multiscales": [multiscale(info, true)] }, "offsets": offsets_zyx })
}

/// Attributes of the group of probabilities.
pub(super) fn probabilities(info: &StackInfo, names: &Value) -> Value {
    json!({ "ome": { "version": VERSION, "multiscales": [multiscale(info, true)] }, "channels": names })
}

fn multiscale(info: &StackInfo, channels: bool) -> Value {
    let place =
        Place { unit: "nanometer", scale_zyx: info.resolution_zyx_nm, translation_zyx: info.offset_zyx_nm };
    place.image(&info.name, "0", channels)
}

/// The offsets of affinities, where there are such.
pub(super) fn offsets(attributes: &Value) -> Option<Vec<[isize; 3]>> {
    serde_json::from_value(attributes.get("offsets")?.clone()).ok()
}

/// Where the first image of the metadata lies; none where units or scales are not told.
pub(super) fn info(attributes: &Value, name: String, shape_zyx: [usize; 3]) -> Option<StackInfo> {
    let image = attributes.pointer("/ome/multiscales/0")?;
    let axes = image["axes"].as_array()?;
    let per_nm = |unit: &str| match unit {
        "nanometer" => Some(1.0),
        "micrometer" => Some(1e3),
        "millimeter" => Some(1e6),
        "angstrom" => Some(0.1),
        _ => None,
    };
    let transforms = image.pointer("/datasets/0/coordinateTransformations")?.as_array()?;
    let numbers = |kind: &str| -> Option<Vec<f64>> {
        let transform = transforms.iter().find(|transform| transform["type"] == kind)?;
        serde_json::from_value(transform[kind].clone()).ok()
    };
    let scale = numbers("scale").filter(|scale| scale.len() == axes.len())?;
    let translation = numbers("translation").unwrap_or_else(|| vec![0.0; axes.len()]);
    let lead = axes.len().checked_sub(3)?;
    let (mut resolution_zyx_nm, mut offset_zyx_nm) = ([0.0; 3], [0.0; 3]);
    for (axis, wanted) in ["z", "y", "x"].into_iter().enumerate() {
        let described = &axes[lead + axis];
        if described["name"] != wanted {
            return None;
        }
        let unit = per_nm(described["unit"].as_str()?)?;
        resolution_zyx_nm[axis] = scale[lead + axis] * unit;
        offset_zyx_nm[axis] = translation.get(lead + axis)? * unit;
    }
    Some(StackInfo { name, shape_zyx, resolution_zyx_nm, offset_zyx_nm })
}
