//! OME-Zarr 0.5 metadata of a case, <https://ngff.openmicroscopy.org/0.5/>.
//!
//! OME's transforms map the index of a voxel to the place of its centre by a scale and a translation, in the axes' unit. They
//! know no rotation: of an oblique grid they give spacing and the first voxel's place, and the attribute `gtgm` has the true
//! affine.

use crate::names;
use crate::record::CaseRecord;
use data_manifests::descriptor::Modality;
use serde_json::{Map, Value, json};

/// Version of the specification.
pub(crate) const VERSION: &str = "0.5";

/// Colours of label values, in turn (Okabe and Ito, distinct for the colour-blind).
const COLOURS: [[u8; 4]; 7] = [
    [230, 159, 0, 255],
    [86, 180, 233, 255],
    [0, 158, 115, 255],
    [240, 228, 66, 255],
    [0, 114, 178, 255],
    [213, 94, 0, 255],
    [204, 121, 167, 255],
];

/// Attribute that says what the specification leaves open.
const GRID: &str = "gtgm_grid";

/// Attributes of the case's group, but for the seal.
pub(crate) fn case(record: &CaseRecord, gtgm: Value) -> Map<String, Value> {
    let ome = json!({ "version": VERSION, "multiscales": [multiscale(record, names::IMAGE, true)] });
    let mut attributes = Map::new();
    attributes.insert("ome".to_owned(), ome);
    attributes.insert(GRID.to_owned(), grid(record));
    attributes.insert("gtgm".to_owned(), gtgm);
    attributes
}

/// Attributes of the group `labels`.
pub(crate) fn labels() -> Value {
    json!({ "ome": { "version": VERSION, "labels": [names::LABEL] } })
}

/// Attributes of the label image's group.
pub(crate) fn label(record: &CaseRecord) -> Value {
    let mut image_label = json!({ "source": { "image": "../../" } });
    let values = record.label.iter().flat_map(|label| &label.voxels).map(|count| count.value);
    let colours: Vec<Value> = values
        .filter(|value| *value != 0)
        .map(|value| {
            let colour = COLOURS[(value as usize - 1) % COLOURS.len()];
            json!({ "label-value": value, "rgba": colour })
        })
        .collect();
    if !colours.is_empty() {
        image_label["colors"] = colours.into();
    }
    json!({ "ome": {
        "version": VERSION, "multiscales": [multiscale(record, "0", false)], "image-label": image_label,
    } })
}

fn multiscale(record: &CaseRecord, path: &str, channels: bool) -> Value {
    // electron microscopy counts in nanometres
    let (unit, per_mm) = match record.modality {
        Modality::Em => ("nanometer", 1e6),
        _ => ("millimeter", 1.0),
    };
    let place = Place {
        unit,
        scale_zyx: record.spacing_zyx_mm.map(|mm| mm * per_mm),
        translation_zyx: [2, 1, 0].map(|row: usize| record.affine[row][3] * per_mm),
    };
    place.image(&record.id, path, channels)
}

/// Where an image with one resolution lies.
pub(crate) struct Place {
    pub(crate) unit: &'static str,
    pub(crate) scale_zyx: [f64; 3],
    pub(crate) translation_zyx: [f64; 3],
}

impl Place {
    /// The entry of `multiscales`; with `channels` axis c comes first.
    pub(crate) fn image(&self, name: &str, path: &str, channels: bool) -> Value {
        let mut axes = Vec::new();
        let (mut scale, mut translation) = (Vec::new(), Vec::new());
        if channels {
            axes.push(json!({ "name": "c", "type": "channel" }));
            scale.push(1.0);
            translation.push(0.0);
        }
        axes.extend(["z", "y", "x"].map(|name| json!({ "name": name, "type": "space", "unit": self.unit })));
        scale.extend(self.scale_zyx);
        translation.extend(self.translation_zyx);
        json!({
            "name": name,
            "axes": axes,
            "datasets": [{ "path": path, "coordinateTransformations": [
                { "type": "scale", "scale": scale },
                { "type": "translation", "translation": translation },
            ] }],
        })
    }
}

/// What the specification does not say: where in a voxel its coordinates lie, what the world is, and whether OME's transforms
/// tell the whole geometry.
fn grid(record: &CaseRecord) -> Value {
    let rotated = (0..3).any(|row| {
        (0..3).any(|column| {
            let value = record.affine[row][column];
            let expected = if row == column { record.spacing_zyx_mm[2 - row] } else { 0.0 };
            (value - expected).abs() > 1e-6 * record.spacing_zyx_mm[2 - column]
        })
    });
    json!({
        "coordinates_of": "pixel-centre",
        "world": "RAS+",
        "oblique": rotated,
        "affine": "attribute gtgm, field affine: voxel (x, y, z) to RAS+ world in mm",
    })
}
