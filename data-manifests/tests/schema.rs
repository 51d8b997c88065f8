//! The committed JSON Schemas agree with the types, and real files with the schemas.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use data_manifests::phantom::{Kind, Size};
use data_manifests::splits::{Member, Split};
use data_manifests::{Artefact, CaseRow, CaseSplit, CaseStatus, Manifest, schema};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let update = std::env::var_os("UPDATE_SCHEMA").is_some();
    for (name, schema) in schema::all() {
        jsonschema::meta::validate(&schema).unwrap();
        let path = folder.join(name);
        if update {
            let mut text = serde_json::to_string_pretty(&sorted(&schema)).unwrap();
            text.push('\n');
            stage::atomic::write(&path, text.as_bytes()).unwrap();
        }
        let committed: Value = serde_json::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(
            committed, schema,
            "{name} is stale: UPDATE_SCHEMA=1 cargo test -p data-manifests --test schema"
        );
    }
    assert_eq!(fs_err::read_dir(folder).unwrap().count(), schema::all().len(), "a schema file too many");
}

/// Keys in one order, whatever serde_json's own is in this build: a file that is written again changes where its type did.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut keys: Vec<_> = members.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_str());
            keys.into_iter().map(|(key, member)| (key.clone(), sorted(member))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn validator(name: &str) -> jsonschema::Validator {
    let schema = schema::all().into_iter().find(|(n, _)| *n == name).unwrap().1;
    jsonschema::validator_for(&schema).unwrap()
}

fn expect_valid(name: &str, value: &Value) {
    if let Err(error) = validator(name).validate(value) {
        panic!("{name}: {error}");
    }
}

#[test]
fn a_real_manifest_is_valid_and_a_changed_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    Kind::Em.write(Size::Small, 1, directory.path()).unwrap();
    let input = directory.path().join("descriptor.toml");
    let inputs = vec![Artefact::of_rooted("raw", &input, "RAW", directory.path()).unwrap()];
    let manifest = Manifest::new("phantom", "0.1.0", "data-manifests", &json!({"seed": 1}), inputs).unwrap();
    manifest.finish(directory.path(), |_| "raw").unwrap();
    let read =
        |path: &Path| -> Value { serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap() };
    let good = read(&directory.path().join("manifest.json"));
    expect_valid("manifest.json", &good);
    let wrong: [(&str, Value); 5] = [
        ("/schema", json!("gtgm/manifest/0")),
        ("/stage", json!("cooking")),
        ("/outputs/0/sha256", json!("ABC")),
        ("/outputs/0/bytes", json!(-1)),
        ("/seal", json!(null)),
    ];
    for (pointer, value) in wrong {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(!validator("manifest.json").is_valid(&bad), "{pointer}");
    }
    let mut bad = good;
    bad["more"] = json!(1);
    assert!(!validator("manifest.json").is_valid(&bad));
}

#[test]
fn records_are_valid() {
    let members: Vec<_> =
        ["a", "b", "c"].map(|id| Member { id: id.into(), subject: id.into(), classes: [1].into() }).to_vec();
    let split = serde_json::to_value(Split::new(&members, 0.3, 0).unwrap()).unwrap();
    expect_valid("split.json", &split);
    let row = CaseRow {
        id: "a".into(),
        subject: "a".into(),
        image: "$RAW/a.nii.gz".into(),
        label: String::new(),
        split: CaseSplit::Train,
        shape: "4x5x6".into(),
        spacing: "1x1x1".into(),
        status: CaseStatus::Done,
        digest: "00".into(),
        label_voxels: "0:120;1:0".into(),
    };
    expect_valid("case.json", &serde_json::to_value(row).unwrap());
    let record = json!({
        "id": "a:axial:3:0", "case": "a", "dataset": "d", "plane": "axial", "index": 3, "box_zyx": [3, 0, 0, 4, 8, 8],
    });
    let mut caption = record.clone();
    caption["caption"] = json!("A slice.");
    caption["captioner"] = json!("measure 1");
    caption["facts"] = json!({"mean": 0.5, "side": "left"});
    expect_valid("caption.json", &caption);
    let _typed: data_manifests::records::Caption = serde_json::from_value(caption).unwrap();
    let mut report = record;
    report["text"] = json!("A slice.");
    report["writer"] = json!("template 1");
    report["model"] = json!(null);
    report["request"] = json!("00");
    report["sentences"] = json!([{
        "text": "A slice.", "verdict": "supported", "sources": ["fact:plane"], "reasons": [], "origin": "template",
        "replaces": {"text": "A liver.", "reasons": ["not here"]},
    }]);
    expect_valid("report.json", &report);
    let mut volume = report.clone();
    let _typed: data_manifests::records::Report = serde_json::from_value(report).unwrap();
    for name in ["id", "plane", "index", "box_zyx"] {
        volume.as_object_mut().unwrap().remove(name);
    }
    volume["slices"] = json!(["a:axial:3:0"]);
    volume["facts"] = json!({"slices": 1});
    expect_valid("volume-report.json", &volume);
    let _typed: data_manifests::records::VolumeReport = serde_json::from_value(volume).unwrap();
}
