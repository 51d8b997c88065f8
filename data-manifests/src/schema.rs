//! JSON Schema (2020-12) of everything that the stages write as JSON or as tables, generated from the types.

use crate::cases::CaseRow;
use crate::descriptor::Descriptor;
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::records::{Caption, EmbeddingRow, Report, VolumeReport};
use crate::splits::Split;
use schemars::schema_for;
use serde_json::{Value, json};
use stage::sealed;

/// File names below `schema/` and their schemas.
#[must_use]
pub fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("manifest.json", sealed_schema(schema_for!(Manifest).to_value())),
        ("descriptor.json", schema_for!(Descriptor).to_value()),
        ("plan.json", schema_for!(Plan).to_value()),
        ("case.json", schema_for!(CaseRow).to_value()),
        ("split.json", schema_for!(Split).to_value()),
        ("caption.json", schema_for!(Caption).to_value()),
        ("report.json", schema_for!(Report).to_value()),
        ("volume-report.json", schema_for!(VolumeReport).to_value()),
        ("embedding-row.json", schema_for!(EmbeddingRow).to_value()),
    ]
}

/// Adds the seal that sealed files carry besides their type's members.
fn sealed_schema(mut schema: Value) -> Value {
    schema["properties"][sealed::SEAL] = json!({
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256 of the canonical JSON of all other members",
    });
    if let Some(required) = schema["required"].as_array_mut() {
        required.push(json!(sealed::SEAL));
    }
    schema
}
