//! CREMI's HDF5 layout.

use crate::support::Task;
use data_manifests::Descriptor;
use data_manifests::cases::{self, CaseRow};
use data_manifests::descriptor::{LabelKind, Raw};
use patches::Region;
use stage::ExitStatus;
use volume::hdf5::{self, LabelStack, NOT_ANNOTATED, StackInfo};

const RAW_ZYX: [usize; 3] = [6, 40, 48];
const LABELS_ZYX: [usize; 3] = [4, 20, 30];
/// First voxel of the labels in the raw stack.
const AT_ZYX: [usize; 3] = [1, 8, 10];

fn stack(name: &str, shape_zyx: [usize; 3], at_zyx: [usize; 3]) -> StackInfo {
    let resolution_zyx_nm = [40.0, 4.0, 4.0];
    let offset_zyx_nm = std::array::from_fn(|a| at_zyx[a] as f64 * resolution_zyx_nm[a]);
    StackInfo { name: name.into(), shape_zyx, resolution_zyx_nm, offset_zyx_nm }
}

/// Ids that a double cannot tell apart, and the mark of voxels that nobody annotated.
fn ids() -> Vec<u64> {
    let base = (1_u64 << 53) + 1;
    (0..LABELS_ZYX.iter().product::<usize>() as u64)
        .map(|i| if i % 11 == 0 { NOT_ANNOTATED } else { base + i % 7 })
        .collect()
}

fn task(resolution: impl FnOnce(&mut StackInfo)) -> (Task, Vec<u8>) {
    task_of(ids(), resolution)
}

fn task_of(ids: Vec<u64>, resolution: impl FnOnce(&mut StackInfo)) -> (Task, Vec<u8>) {
    let task = Task::new();
    let descriptor = Descriptor::find("cremi-a").unwrap();
    let mut descriptor =
        Descriptor { name: "test".into(), train_cases: None, test_cases: None, ..descriptor };
    descriptor.raw = Raw::Cremi {
        folder: "x".into(),
        files: vec!["s.hdf".into()],
        labels: Some("neuron_ids".into()),
        parts: Vec::new(),
    };
    descriptor.grid.spacing_zyx = [40.0, 4.0, 4.0];
    fs_err::write(task.file("dataset.toml"), toml::to_string(&descriptor).unwrap()).unwrap();
    let raw: Vec<u8> = (0..RAW_ZYX.iter().product::<usize>()).map(|i| (1 + i * 37 % 255) as u8).collect();
    let mut info = stack("neuron_ids", LABELS_ZYX, AT_ZYX);
    resolution(&mut info);
    let labels = LabelStack { info, data: ids };
    hdf5::write_cremi(task.raw().join("s.hdf"), &raw, &stack("raw", RAW_ZYX, [0; 3]), &[labels]).unwrap();
    (task, raw)
}

#[test]
fn ids_beyond_doubles_reach_the_shards_unchanged() {
    let (task, raw) = task(|_| {});
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(crate::support::said(&messages), @r#"
    W147 case s: s.hdf: labels cover 20.8 % of the raw stack. The rest counts as not annotated (18446744073709551615).
    I191 1 case is smaller than the patch of 18x160x160. s (6x40x48). Training pads each channel with its smallest value, half on either side.
    "#);
    let case = task.open("s");
    assert_eq!(case.record().shape_zyx, RAW_ZYX);
    let image = case.read_image(&Region::whole(RAW_ZYX)).unwrap();
    assert!(image.iter().zip(&raw).all(|(found, raw)| (found - f32::from(*raw) / 255.0).abs() < 1e-6));
    let metadata = fs_err::read_to_string(case.path().join("labels/label/0/zarr.json")).unwrap();
    assert!(metadata.contains("\"uint64\""), "{metadata}");
    let found = case.read_label_wide(&Region::whole(RAW_ZYX)).unwrap();
    let ids = ids();
    let mut i = 0;
    for z in 0..RAW_ZYX[0] {
        for y in 0..RAW_ZYX[1] {
            for x in 0..RAW_ZYX[2] {
                let at = [z, y, x];
                let inside = (0..3).all(|a| (AT_ZYX[a]..AT_ZYX[a] + LABELS_ZYX[a]).contains(&at[a]));
                let [dz, dy, dx] = std::array::from_fn(|a| at[a].wrapping_sub(AT_ZYX[a]));
                let expected =
                    if inside { ids[(dz * LABELS_ZYX[1] + dy) * LABELS_ZYX[2] + dx] } else { NOT_ANNOTATED };
                assert_eq!(found[i], expected, "{at:?}");
                i += 1;
            }
        }
    }
    let label = case.record().label.as_ref().unwrap();
    assert_eq!((label.distinct, label.voxels.len()), (7, 0));
    let rows: Vec<CaseRow> = cases::from_csv(&task.out().join("cases.csv")).unwrap();
    assert_eq!(rows[0].spacing, "0.00004x0.000004x0.000004");
    assert_eq!(rows[0].label, "$RAW/s.hdf#neuron_ids");
    // one file is one input
    let manifest = data_manifests::Manifest::load(&task.out(), "preprocess").unwrap();
    assert_eq!(manifest.inputs.iter().filter(|input| input.role == "raw").count(), 1);
}

#[test]
fn one_id_can_become_another() {
    let (task, _) = task(|_| {});
    task.run(&["--label-map", &format!("{NOT_ANNOTATED}=0")]).0.unwrap();
    let case = task.open("s");
    let found = case.read_label_wide(&Region::whole(RAW_ZYX)).unwrap();
    assert!(!found.contains(&NOT_ANNOTATED) && found.contains(&((1 << 53) + 1)));
}

#[test]
fn an_object_that_is_nearly_all_is_pointed_at() {
    let voxels = LABELS_ZYX.iter().product::<usize>() as u64;
    // nine small objects, voxels that nobody annotated and one object that is the rest
    let ids = |i| match i {
        0..9 => i + 2,
        9..90 => NOT_ANNOTATED,
        _ => 1,
    };
    let (task, _) = task_of((0..voxels).map(ids).collect(), |_| {});
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let warnings: Vec<_> = messages.iter().filter(|message| message.code == "W144").collect();
    assert_eq!(warnings.len(), 1);
    insta::assert_snapshot!(warnings[0].to_string(), @"W144 case s: s.hdf: one of 10 objects is 99.6 % of all that is labelled. Objects made by connecting what lies between membranes leak from section to section: connect within sections, or training and scores say little.");
    // two large ones are not
    let (task, _) = task_of((0..voxels).map(|i| if i < 9 { i + 3 } else { 1 + i % 2 }).collect(), |_| {});
    assert!(task.run(&[]).1.iter().all(|message| message.code != "W144"));
}

#[test]
fn labels_off_the_raster_are_refused() {
    let (task, _) = task(|info| info.resolution_zyx_nm[1] = 8.0);
    let (status, messages) = task.run(&[]);
    assert!(status.unwrap_err().to_string().starts_with("E197"));
    insta::assert_snapshot!(messages[0].to_string(), @"E183 case s: s.hdf: neuron_ids is not on the raster of the raw stack along y: resolution 8 against 4 nm, offset 8 voxels. Resample the labels to the raw stack's resolution first.");
}

/// The same file with classes in place of objects, for half of each axis.
fn semantic(ignore: Option<u32>) -> Task {
    let voxels = LABELS_ZYX.iter().product::<usize>() as u64;
    let (task, _) = task_of((0..voxels).map(|i| i % 2).collect(), |_| {});
    let text = fs_err::read_to_string(task.file("dataset.toml")).unwrap();
    let mut descriptor: Descriptor = toml::from_str(&text).unwrap();
    let labels = descriptor.labels.as_mut().unwrap();
    (labels.kind, labels.ignore) = (LabelKind::Semantic, ignore);
    labels.classes = vec!["background".into(), "membrane".into()];
    descriptor.tolerance = Descriptor::find("msd04-hippocampus").unwrap().tolerance;
    fs_err::write(task.file("dataset.toml"), toml::to_string(&descriptor).unwrap()).unwrap();
    task
}

#[test]
fn what_classes_do_not_cover_is_no_background() {
    let task_without = semantic(None);
    let (status, messages) = task_without.run(&[]);
    assert!(status.unwrap_err().to_string().starts_with("E197"));
    insta::assert_snapshot!(messages[0].to_string(), @"E185 case s: s.hdf: labels neuron_ids cover 20.8 % of the raw stack, and the data set has no value for what nobody annotated. Add ignore = 2 below [labels] of the data set's descriptor: the rest then counts as not annotated.");
    // said before a run too
    assert_eq!(raw_check(&task_without), messages[0].to_string());

    let task = semantic(Some(2));
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(crate::support::said(&messages), @r#"
    W147 case s: s.hdf: labels cover 20.8 % of the raw stack. The rest counts as not annotated (2).
    I191 1 case is smaller than the patch of 18x160x160. s (6x40x48). Training pads each channel with its smallest value, half on either side.
    "#);
    let found = task.open("s").read_label_wide(&Region::whole(RAW_ZYX)).unwrap();
    let outside = (RAW_ZYX.iter().product::<usize>() - LABELS_ZYX.iter().product::<usize>()) as u64;
    assert_eq!(found.iter().filter(|value| **value == 2).count() as u64, outside);
    let in_memory = task.tree();
    fs_err::remove_dir_all(task.out()).unwrap();
    task.run(&["--max-ram", "0.0001"]).0.unwrap();
    let differing: Vec<_> =
        in_memory.into_iter().filter(|(name, bytes)| task.tree()[name] != *bytes).collect();
    assert!(differing.is_empty(), "{differing:?}");
}

/// What `data-manifests validate` says of the raw folder.
fn raw_check(task: &Task) -> String {
    let text = fs_err::read_to_string(task.file("dataset.toml")).unwrap();
    let descriptor: Descriptor = toml::from_str(&text).unwrap();
    crate::support::said(&data_manifests::raw::check(&descriptor, &task.raw()))
}

#[test]
fn the_real_stack_and_the_real_torso_go_through() {
    let names = [("EM_ssTEM", "em-sstem"), ("CT_torso", "ct-torso")];
    for (folder, name) in names {
        let Some(raw) = crate::support::shared(folder) else { return };
        let task = Task::new();
        let example =
            format!("{}/../data-manifests/datasets/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        fs_err::copy(example, task.file("dataset.toml")).unwrap();
        let (status, messages) = task.run(&["--raw", raw.to_str().unwrap()]);
        assert_eq!(status.unwrap(), ExitStatus::Done);
        assert!(messages.iter().all(|m| m.code == "W111"), "{}", crate::support::said(&messages));
        assert!(messages.len() < 2);
        assert_eq!(data_manifests::verify::verify(&task.out()).unwrap(), [""; 0]);
    }
}
