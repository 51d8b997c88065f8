//! What readers find odd about files is told, though they are scored.

use crate::world::{World, grid, labels, put_labels, run};
use stage::{Context, ExitStatus, Severity};
use std::path::Path;

/// Places of the NIfTI-1 header.
const QFORM_CODE: usize = 252;
const SFORM_CODE: usize = 254;
const QOFFSET_X: usize = 268;
const SROW_X: usize = 280;

/// A label map whose header says another thing at a place.
fn put(path: &Path, changes: &[(usize, &[u8])]) {
    put_labels(path, &labels(5), &grid());
    let mut bytes = fs_err::read(path).unwrap();
    for (place, new) in changes {
        bytes[*place..*place + new.len()].copy_from_slice(new);
    }
    fs_err::write(path, bytes).unwrap();
}

fn warnings(world: &World, context: &Context) -> Vec<String> {
    let told = context.messages();
    let warnings = told.iter().filter(|m| m.severity == Severity::Warning && m.code.starts_with("W12"));
    warnings.map(|m| world.portable(&m.to_string())).collect()
}

#[test]
fn odd_headers_of_references_and_predictions_are_told() {
    let world = World::new();
    let map = |name: &str| world.path(&format!("odd/{name}.nii"));
    put(&map("plain"), &[]);
    // 2.5 mm from where the sform has it
    put(&map("moved"), &[(QOFFSET_X, &(-2.5_f32).to_le_bytes())]);
    put(&map("sheared"), &[(SROW_X + 4, &0.01_f32.to_le_bytes()), (QFORM_CODE, &[0, 0])]);
    put(&map("neither"), &[(QFORM_CODE, &[0, 0]), (SFORM_CODE, &[0, 0])]);
    let table = world.path("odd/pairs.csv");
    let mut rows = "case,reference,prediction\na,moved.nii,plain.nii\nb,plain.nii,sheared.nii\n".to_owned();
    rows.push_str("c,neither.nii,neither.nii\nd,moved.nii,plain.nii\n");
    fs_err::write(&table, &rows).unwrap();
    let [table, out] = [table, world.path("scores")].map(|p| p.display().to_string());
    let words = ["score", "--pairs", &table, "--dataset", "msd04-hippocampus", "--out", &out];
    let (status, context) = run(&words);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(warnings(&world, &context).join("\n"), @r"
    W120 case a: sform and qform differ by 2.500 mm at a corner. Using sform; if qform is right, set sform_code to 0. DIR/odd/moved.nii.
    W121 case b: sform is not orthonormal (shear 0.57 deg). Using sform, direction snapped by polar decomposition; largest corner shift 0.099 mm. DIR/odd/sheared.nii.
    W123 case c: neither sform nor qform is set: orientation unknown, taken as RAS+ with the voxel size of pixdim. Left and right may be swapped. DIR/odd/neither.nii.
    ");
    // objects, too
    let [reference, prediction, out] =
        [map("plain"), map("moved"), world.path("objects")].map(|p| p.display().to_string());
    let words = ["instances", "--references", &reference, "--predictions", &prediction, "--out", &out];
    let (status, context) = run(&words);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let told = warnings(&world, &context);
    assert!(
        told.len() == 1 && told[0].starts_with("W120 case plain: sform and qform differ by 2.500 mm"),
        "{told:?}"
    );
}

#[test]
fn many_of_a_kind_are_counted() {
    let world = World::new();
    let mut table = "case,reference,prediction\n".to_owned();
    for i in 0..13 {
        put(&world.path(&format!("odd/{i}.nii")), &[(QOFFSET_X, &(-2.5_f32).to_le_bytes())]);
        table.push_str(&format!("c{i:02},{i}.nii,{i}.nii\n"));
    }
    let path = world.path("odd/pairs.csv");
    fs_err::write(&path, table).unwrap();
    let [table, out] = [path, world.path("scores")].map(|p| p.display().to_string());
    let words = ["score", "--pairs", &table, "--dataset", "msd04-hippocampus", "--out", &out];
    let (status, context) = run(&words);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let told = warnings(&world, &context);
    assert_eq!(told.len(), 11, "{told:?}");
    assert!(told[9].starts_with("W120 case c09:"), "{told:?}");
    assert_eq!(told[10], "W120 3 more files have this warning.");
}
