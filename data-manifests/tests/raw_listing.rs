//! Finding cases in raw folders.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::descriptor::{PartRole, Raw, SectionPart, TableCase};
use data_manifests::phantom::{Kind, Size};
use data_manifests::raw::{self, Listing, Source};
use data_manifests::{CaseSplit, Descriptor};
use serde_json::{Value, json};
use std::path::Path;

fn msd(root: &Path, ids: &[&str], tests: &[&str]) {
    for folder in ["imagesTr", "labelsTr", "imagesTs"] {
        fs_err::create_dir_all(root.join(folder)).unwrap();
    }
    let file = |folder: &str, id: &str| {
        let path = format!("{folder}/{id}.nii.gz");
        fs_err::write(root.join(&path), "").unwrap();
        format!("./{path}")
    };
    let training: Vec<_> =
        ids.iter().map(|id| json!({"image": file("imagesTr", id), "label": file("labelsTr", id)})).collect();
    let test: Vec<_> = tests.iter().map(|id| file("imagesTs", id)).collect();
    let json =
        json!({"name": "T", "modality": {"0": "CT"}, "relase": "typo", "training": training, "test": test});
    fs_err::write(root.join("dataset.json"), json.to_string()).unwrap();
}

fn descriptor() -> Descriptor {
    let mut descriptor = Descriptor::find("msd09-spleen").unwrap();
    (descriptor.train_cases, descriptor.test_cases) = (None, None);
    descriptor
}

fn change(root: &Path, edit: impl Fn(&mut Value)) {
    let path = root.join("dataset.json");
    let mut json: Value = serde_json::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
    edit(&mut json);
    fs_err::write(path, json.to_string()).unwrap();
}

fn problems(listing: &Listing, root: &Path) -> String {
    let lines: Vec<_> =
        listing.problems.iter().map(|p| p.to_string().replace(root.to_str().unwrap(), "[RAW]")).collect();
    lines.join("\n")
}

#[test]
fn cases_come_sorted_with_their_roles() {
    let directory = tempfile::tempdir().unwrap();
    msd(directory.path(), &["b", "a ü"], &["c"]);
    let listing = raw::list(&descriptor(), directory.path()).unwrap();
    let found: Vec<_> = listing.cases.iter().map(|c| (c.id.as_str(), c.label.is_some(), c.split)).collect();
    assert_eq!(
        found,
        [("a ü", true, CaseSplit::Train), ("b", true, CaseSplit::Train), ("c", false, CaseSplit::Test)]
    );
    assert_eq!(listing.cases[0].image.portable(directory.path()), "$RAW/imagesTr/a ü.nii.gz");
    assert!(listing.problems.is_empty(), "{}", problems(&listing, directory.path()));
}

#[test]
fn a_missing_file_costs_its_case_only() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    msd(root, &["a", "b", "c"], &["d"]);
    fs_err::remove_file(root.join("labelsTr/b.nii.gz")).unwrap();
    fs_err::remove_file(root.join("imagesTs/d.nii.gz")).unwrap();
    let listing = raw::list(&descriptor(), root).unwrap();
    assert_eq!(listing.cases.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    insta::assert_snapshot!(problems(&listing, root), @r#"
        E192 case b: the image has no label. imagesTr/b.nii.gz is there, labelsTr/b.nii.gz is not. Fetch the missing file, or take the case off the data set's list.
        E194 case d: the image is missing. imagesTs/d.nii.gz does not exist. Fetch the missing file, or take the case off the data set's list.
    "#);
    let unusable: Vec<_> = listing.unusable.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(unusable, ["b", "d"]);
    // git-annex and datalad leave links where the content was not fetched
    std::os::unix::fs::symlink("../.git/annex/b", root.join("labelsTr/b.nii.gz")).unwrap();
    let told = problems(&raw::list(&descriptor(), root).unwrap(), root);
    insta::assert_snapshot!(told.lines().next().unwrap(), @"E192 case b: the image has no label. imagesTr/b.nii.gz is there, labelsTr/b.nii.gz is not. It is a link to ../.git/annex/b, where nothing is. With git-annex or datalad, fetch the content ('datalad get FILE'); else restore what the link names.");
}

#[test]
fn an_image_is_not_its_own_label() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    msd(root, &["a", "b"], &[]);
    change(root, |json| {
        json["training"][1]["label"] = json["training"][1]["image"].clone();
    });
    let listing = raw::list(&descriptor(), root).unwrap();
    assert_eq!(listing.cases.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["a"]);
    insta::assert_snapshot!(problems(&listing, root), @r#"
        E189 case b: image and label are one file. imagesTr/b.nii.gz. Name the file with the labels, or none, in the data set's list.
        W103 1 volume is not listed in dataset.json and left out. labelsTr/b.nii.gz. List them under 'training' (with their labels) or 'test' to use them.
    "#);
}

#[test]
fn resource_forks_unlisted_volumes_and_wrong_counts_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    msd(root, &["a", "b"], &[]);
    fs_err::write(root.join("imagesTr/._a.nii.gz"), "").unwrap();
    fs_err::write(root.join("imagesTr/extra.nii.gz"), "").unwrap();
    change(root, |json| {
        json["training"].as_array_mut().unwrap().push(json!({
            "image": "./imagesTr/._a.nii.gz", "label": "./labelsTr/._a.nii.gz"
        }));
    });
    let mut descriptor = descriptor();
    descriptor.train_cases = Some(41);
    let listing = raw::list(&descriptor, root).unwrap();
    assert_eq!(listing.cases.len(), 2);
    insta::assert_snapshot!(problems(&listing, root), @r#"
        W102 ignored 1 macOS resource files (._*).
        E192 case extra: the image has no label. imagesTr/extra.nii.gz is there, labelsTr holds no label of this name, dataset.json lists neither. Fetch the missing file and list the pair under 'training', or move this file away.
        W104 found 2 training cases, the published data set has 41.
    "#);
}

#[test]
fn what_is_no_task_folder_is_refused_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let said = |at: &Path| {
        raw::list(&descriptor(), at).unwrap_err().to_string().replace(root.to_str().unwrap(), "[RAW]")
    };
    insta::assert_snapshot!(said(&root.join("none")), @"E191 the raw directory does not exist. [RAW]/none. Give the folder of Medical Segmentation Decathlon, Task 09: Spleen (Task09_Spleen).");
    insta::assert_snapshot!(said(root), @"E191 this is not a Medical Segmentation Decathlon folder. [RAW]/dataset.json is missing. Give the folder TaskXX_Name that holds dataset.json.");
    let inner = root.join("Task09_Spleen");
    msd(&inner, &["a", "A"], &[]);
    insta::assert_snapshot!(said(root), @"E191 this is not a Medical Segmentation Decathlon folder. [RAW]/dataset.json is missing. Give its folder [RAW]/Task09_Spleen.");
    insta::assert_snapshot!(said(&inner), @"E190 'A' and 'a' collide. [RAW]/Task09_Spleen/imagesTr/A.nii.gz and [RAW]/Task09_Spleen/imagesTr/a.nii.gz. Ids that differ in case only are one file on some disks. Rename one of them.");
    change(&inner, |json| {
        json["channel_names"] = json["modality"].take();
        json.as_object_mut().unwrap().remove("modality");
    });
    insta::assert_snapshot!(said(&inner), @r#"E191 this is not a Medical Segmentation Decathlon folder. [RAW]/Task09_Spleen/dataset.json has 'channel_names' and no 'modality'. This is nnU-Net's raw layout. Give the folder itself as --dataset, or write layout = "nnunet" below [raw] in the descriptor."#);
    fs_err::write(inner.join("dataset.json"), "{\"training\": [,]}").unwrap();
    insta::assert_snapshot!(said(&inner), @"E191 this is not a Medical Segmentation Decathlon folder. [RAW]/Task09_Spleen/dataset.json: expected value at line 1 column 15. Correct the line.");
}

#[test]
fn tables_and_stacks_are_listed_too() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs_err::write(root.join("i.nii.gz"), "").unwrap();
    let case =
        |id: &str, image: &str| TableCase { id: id.into(), subject: None, image: image.into(), label: None };
    let mut table = descriptor();
    table.raw = Raw::Table {
        folder: "x".into(),
        file: None,
        cases: vec![case("a", "i.nii.gz"), case("b", "none.nii.gz")],
    };
    let listing = raw::list(&table, root).unwrap();
    assert_eq!(listing.cases.len(), 1);
    assert_eq!(listing.problems.len(), 1);

    Kind::Em.write(Size::Small, 0, root).unwrap();
    let descriptor = Kind::Em.descriptor(Size::Small);
    let stacks = root.join(descriptor.raw.folder());
    let listing = raw::list(&descriptor, &stacks).unwrap();
    assert!(listing.problems.is_empty());
    assert_eq!(
        listing.cases.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(),
        ["sample_1", "sample_2", "sample_3"]
    );
    let label = listing.cases[0].label.clone().unwrap();
    assert!(matches!(&label, Source::CremiLabels(_, name, None) if name == "mitochondria"));
    assert_eq!(label.portable(&stacks), "$RAW/sample_1.hdf#mitochondria");

    // sections of one stack
    let mut cut = descriptor;
    let Raw::Cremi { files, parts, .. } = &mut cut.raw else { panic!("another layout") };
    files.truncate(1);
    let part = |name: &str, sections, role| SectionPart { name: name.into(), sections, role };
    *parts = vec![part("a", [0, 5], PartRole::Train), part("b", [5, 8], PartRole::Val)];
    let listing = raw::list(&cut, &stacks).unwrap();
    let found: Vec<(&str, &str, String)> = listing
        .cases
        .iter()
        .map(|c| (c.id.as_str(), c.subject.as_str(), c.image.portable(&stacks)))
        .collect();
    let expected = |part: &str| format!("$RAW/sample_1.hdf{part}");
    assert_eq!(
        found,
        [("sample_1_a", "sample_1", expected("[0:5]")), ("sample_1_b", "sample_1", expected("[5:8]"))]
    );
    let [whole, a, b] =
        [&Source::image(stacks.join("sample_1.hdf")), &listing.cases[0].image, &listing.cases[1].image]
            .map(|source| raw::open::image(source).unwrap());
    assert_eq!([a.data, b.data].concat(), whole.data);
    let step = whole.grid.spacing_zyx_mm()[0];
    assert!((b.grid.affine[2][3] - whole.grid.affine[2][3] - 5.0 * step).abs() < 1e-12);
    let said = |edit: &dyn Fn(&mut Vec<SectionPart>)| {
        let mut wrong = cut.clone();
        let Raw::Cremi { parts, .. } = &mut wrong.raw else { panic!("another layout") };
        edit(parts);
        let file = root.join("wrong.toml");
        fs_err::write(&file, toml::to_string(&wrong).unwrap()).unwrap();
        format!("{:#}", Descriptor::find(file.to_str().unwrap()).unwrap_err())
    };
    assert!(said(&|parts| parts[1].sections = [4, 8]).contains("'a' and 'b' share sections"));
    assert!(said(&|parts| parts[1].sections = [5, 5]).contains("'b' needs sections"));
    assert!(said(&|parts| parts[1].role = PartRole::Train).contains("one of role \"val\""));
    assert!(said(&|parts| parts[1].name = "a".into()).contains("'a' occurs twice"));
}
