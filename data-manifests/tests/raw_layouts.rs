//! Raw folders of nnU-Net, CSV tables and stacks; descriptors derived from folders.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::descriptor::{Intensities, Intensity, Modality, Raw};
use data_manifests::raw::{self, Listing, Source, open};
use data_manifests::{CaseSplit, Descriptor};
use serde_json::{Value, json};
use std::path::Path;
use volume::Grid;
use volume::nifti::{ImageType, write_image, write_labels};

const SHAPE: [usize; 3] = [10, 12, 14];

fn grid(origin: f64) -> Grid {
    Grid::from_spacing(SHAPE, [2.0, 1.0, 1.0], [origin, 0.0, 0.0]).unwrap()
}

fn image(path: &Path, value: f32, grid: &Grid) {
    let data: Vec<f32> = (0..grid.shape_zyx.iter().product()).map(|i| value + (i % 7) as f32).collect();
    write_image(path, &data, 1, grid, ImageType::F32).unwrap();
}

/// The same with keys sorted: whether a map keeps its order depends on how serde_json was built, and the tests expect lines.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            pairs.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// A folder of nnU-Net v2 with two channels, cases a and b, test case c.
fn nnunet(root: &Path) -> Value {
    for folder in ["imagesTr", "labelsTr", "imagesTs"] {
        fs_err::create_dir_all(root.join(folder)).unwrap();
    }
    for (folder, id) in [("imagesTr", "a"), ("imagesTr", "b"), ("imagesTs", "c")] {
        for channel in 0..2 {
            let path = root.join(format!("{folder}/{id}_000{channel}.nii.gz"));
            image(&path, 100.0 * channel as f32, &grid(0.0));
        }
        if folder == "imagesTr" {
            let labels = vec![1_u8; SHAPE.iter().product()];
            write_labels(root.join(format!("labelsTr/{id}.nii.gz")), &labels, &grid(0.0)).unwrap();
        }
    }
    let json = json!({
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "tumour": 1, "ignore": 2},
        "numTraining": 2, "file_ending": ".nii.gz", "licence": "CC0", "overwrite_image_reader_writer": "SimpleITKIO",
    });
    write(root, &json);
    json
}

fn write(root: &Path, json: &Value) {
    fs_err::write(root.join("dataset.json"), serde_json::to_string_pretty(&sorted(json)).unwrap()).unwrap();
}

fn said(listing: &Listing) -> String {
    listing.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn refused(descriptor: &Descriptor, root: &Path) -> String {
    raw::list(descriptor, root).unwrap_err().to_string().replace(root.to_str().unwrap(), "[RAW]")
}

#[test]
fn a_folder_of_nnunet_describes_itself() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("Dataset007_My Tumour");
    nnunet(&root);
    let descriptor = Descriptor::find(root.to_str().unwrap()).unwrap();
    assert_eq!((descriptor.name.as_str(), descriptor.modality), ("dataset007-my-tumour", Modality::Mri));
    assert_eq!(descriptor.channels, ["T1", "T2"]);
    assert_eq!(descriptor.licence, "CC0");
    assert_eq!(descriptor.raw, Raw::Nnunet { folder: "Dataset007_My Tumour".into() });
    let labels = descriptor.labels.as_ref().unwrap();
    assert_eq!((labels.classes.len(), labels.ignore), (2, Some(2)));
    assert_eq!(descriptor.grid.spacing_zyx, [2.0, 1.0, 1.0]);
    assert_eq!(descriptor.tolerance.as_ref().unwrap().nsd_mm, 2.0);

    let listing = raw::list(&descriptor, &root).unwrap();
    assert_eq!(said(&listing), "");
    let found: Vec<_> = listing.cases.iter().map(|c| (c.id.as_str(), c.label.is_some(), c.split)).collect();
    assert_eq!(
        found,
        [("a", true, CaseSplit::Train), ("b", true, CaseSplit::Train), ("c", false, CaseSplit::Test)]
    );
    let case = &listing.cases[0];
    assert_eq!(case.image.portable(&root), "$RAW/imagesTr/a_0000.nii.gz;$RAW/imagesTr/a_0001.nii.gz");
    assert_eq!(case.image.artefacts("raw", &root).unwrap().len(), 2);
    assert_eq!(open::header(&case.image).unwrap(), (2, grid(0.0)));
    let read = open::image(&case.image).unwrap();
    assert_eq!((read.channels, read.data.len()), (2, 2 * SHAPE.iter().product::<usize>()));
    assert_eq!((read.data[1], read.data[SHAPE.iter().product::<usize>()]), (1.0, 100.0));
    assert_eq!(raw::check(&descriptor, &root).len(), 0);
}

#[test]
fn missing_channels_and_lonely_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    nnunet(root);
    let descriptor = Descriptor::from_folder(root).unwrap();
    fs_err::remove_file(root.join("imagesTr/a_0001.nii.gz")).unwrap();
    fs_err::remove_file(root.join("labelsTr/b.nii.gz")).unwrap();
    fs_err::copy(root.join("imagesTs/c_0000.nii.gz"), root.join("imagesTs/c_0002.nii.gz")).unwrap();
    fs_err::write(root.join("labelsTr/d.nii.gz"), "").unwrap();
    fs_err::write(root.join("imagesTr/e.nii.gz"), "").unwrap();
    fs_err::write(root.join("imagesTr/._a_0000.nii.gz"), "").unwrap();
    let listing = raw::list(&descriptor, root).unwrap();
    assert!(listing.cases.is_empty());
    insta::assert_snapshot!(said(&listing).replace(root.to_str().unwrap(), "[RAW]"), @r#"
    E194 case a: a channel is missing. imagesTr/a_0001.nii.gz (T2) is not there; found a_0000.nii.gz. Fetch the missing file, or move the others of this case away.
    E192 case b: the image has no label. imagesTr/b_0000.nii.gz is there, labelsTr/b.nii.gz is not. Fetch the missing file, or take the case off the data set's list.
    E193 case d: the label has no image. labelsTr/d.nii.gz is there, imagesTr/d_0000.nii.gz is not. Fetch the missing file, or move this one away.
    E141 case c: found 3 channels, expected 2. imagesTs/c_0002.nii.gz: 'channel_names' goes to 1. Declare the channel in 'channel_names', or move the file away.
    W102 ignored 1 macOS resource files (._*).
    W103 1 of imagesTr have no channel number and are left out. e.nii.gz. Name the channels' files e_0000, e_0001 and so on.
    W104 found 3 training cases, dataset.json says numTraining 2. [RAW]/dataset.json:13:3.
    "#);
}

#[test]
fn a_folder_that_cannot_be_described_says_why_of_each_case() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut json = nnunet(root);
    json["channel_names"] = json!({"0": "T1"});
    write(root, &json);
    let error = Descriptor::from_folder(root).unwrap_err().to_string();
    assert!(error.starts_with("E022 ") && !error.contains("data-manifests validate"), "{error}");
    assert!(error.contains("E141 case a: found 2 channels, expected 1"), "{error}");
    assert!(error.contains("E141 case b: "), "{error}");
}

#[test]
fn channel_names_choose_rules_as_in_nnunet() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut json = nnunet(root);
    let z_score = Intensity::MriZscore { nonzero: false };
    let ct = Intensity::CtWindow { low: -1000.0, high: 1000.0 };
    for (names, modality, rules, imaging) in [
        (["T1", "FLAIR"], Modality::Mri, z_score.clone().into(), "magnetic resonance imaging (T1, FLAIR)"),
        (["T1", "zscore"], Modality::Mri, z_score.clone().into(), "magnetic resonance imaging (T1)"),
        (["CT", "ct"], Modality::Ct, ct.clone().into(), "computed tomography"),
        (["CT", "PET"], Modality::Ct, vec![ct, z_score.clone()].into(), "computed tomography (CT, PET)"),
        (
            ["T1", "noNorm"],
            Modality::Mri,
            vec![z_score, Intensity::None {}].into(),
            "magnetic resonance imaging (T1)",
        ),
        (
            ["rescale_to_0_1", "rgb_to_0_1"],
            Modality::Mri,
            Intensities::Each(vec![Intensity::MinMax {}, Intensity::EmScale {}]),
            "magnetic resonance imaging",
        ),
    ] {
        json["channel_names"] = json!({"0": names[0], "1": names[1]});
        write(root, &json);
        let found = Descriptor::from_folder(root).unwrap();
        assert_eq!((found.modality, &found.intensity), (modality, &rules), "{names:?}");
        assert_eq!(found.text.imaging, imaging);
        assert_eq!(Descriptor::parse(&toml::to_string(&found).unwrap(), "again").unwrap(), found);
    }
}

#[test]
fn channels_on_other_grids_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    nnunet(root);
    let descriptor = Descriptor::from_folder(root).unwrap();
    image(&root.join("imagesTr/a_0001.nii.gz"), 0.0, &grid(3.0));
    write_labels(
        root.join("labelsTr/b.nii.gz"),
        &[0_u8; 8],
        &Grid::from_spacing([2; 3], [1.0; 3], [0.0; 3]).unwrap(),
    )
    .unwrap();
    let checked: Vec<String> = raw::check(&descriptor, root).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(checked.join("\n"), @r#"
    E146 case a: channels differ in place by 3.000 mm at the far corner, allowed 0.100 mm. imagesTr/a_0001.nii.gz against imagesTr/a_0000.nii.gz. Resample all channels of the case onto one grid first; a channel of another case may be among them.
    E121 case b: image and label differ in shape. imagesTr/b_0000.nii.gz has 10×12×14 voxels, labelsTr/b.nii.gz has 2×2×2 (z×y×x). Probably the label of another case or of a resampled image. Check the pair; to resample the label, --align-labels nearest.
    "#);
}

#[test]
fn the_list_of_cases_in_dataset_json_counts() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut json = nnunet(root);
    json["dataset"] = json!({
        "x": {"images": ["imagesTr/a_0000.nii.gz", "./imagesTr/b_0001.nii.gz"], "label": "labelsTr/a.nii.gz"},
        "y": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"},
        "z": {"images": ["../a_0000.nii.gz", "imagesTr/b_0001.nii.gz"], "label": "labelsTr/a.nii.gz"},
    });
    write(root, &json);
    let descriptor = Descriptor::from_folder(root).unwrap();
    let listing = raw::list(&descriptor, root).unwrap();
    assert_eq!(listing.cases.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["c", "x"]);
    let text = said(&listing).replace(root.to_str().unwrap(), "[RAW]");
    assert!(
        text.contains(
            "E198 '../a_0000.nii.gz' leads out of the folder; expected a path below it. [RAW]/dataset.json:"
        ),
        "{text}"
    );
    assert!(text.contains("E141 case y: found 1 channels, expected 2"), "{text}");
}

#[test]
fn other_layouts_and_versions_are_called_by_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let root = &directory.path().join("Task007_Tumour");
    let mut json = nnunet(root);
    let descriptor = Descriptor::from_folder(root).unwrap();
    json["file_ending"] = json!(".gipl");
    write(root, &json);
    insta::assert_snapshot!(refused(&descriptor, root), @"E191 volumes ending in '.gipl' cannot be read. [RAW]/dataset.json:6:3: expected one of .nii.gz, .nii, .nrrd, .nhdr, .mha, .mhd, .tif, .tiff. There is no reader for '.gipl'. Convert the files to .nii.gz (SimpleITK and nibabel do) and change 'file_ending'.");
    json["modality"] = json["channel_names"].take();
    json.as_object_mut().unwrap().remove("channel_names");
    json["training"] = json!([{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]);
    write(root, &json);
    insta::assert_snapshot!(refused(&descriptor, root), @"E191 this is a raw folder of nnU-Net's first version. [RAW]/dataset.json has 'modality', and the files are numbered by channel (imagesTr/a_0000.nii.gz). Convert it with 'nnUNetv2_convert_old_nnUNet_dataset [RAW] Dataset007_Tumour', then use $nnUNet_raw/Dataset007_Tumour.");
    fs_err::rename(root.join("imagesTr/a_0000.nii.gz"), root.join("imagesTr/a.nii.gz")).unwrap();
    insta::assert_snapshot!(refused(&descriptor, root), @r#"E191 this is not an nnU-Net raw folder. [RAW]/dataset.json has no 'channel_names'. This is a folder of the Medical Segmentation Decathlon. Give the folder itself as --dataset, or write layout = "msd" below [raw] in the descriptor."#);
}

#[test]
fn everything_wrong_in_dataset_json_is_said_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut json = nnunet(root);
    json["channel_names"] = json!({"0": "T1", "2": "T2"});
    json["labels"] = json!({"background": 0, "a": -1});
    json["file_ending"] = json!(7);
    write(root, &json);
    let text =
        Descriptor::from_folder(root).unwrap_err().to_string().replace(root.to_str().unwrap(), "[RAW]");
    insta::assert_snapshot!(text, @r#"
    E198 dataset.json cannot be used. [RAW]/dataset.json:2:3: 'channel_names' is an object. Write {"0": "CT"} with numbers from 0 as "channel_names"
      [RAW]/dataset.json:6:3: 'file_ending' is 7. Write it with its dot, such as ".nii.gz"
      [RAW]/dataset.json:8:5: label 'a' is -1. Write "NAME": 1 (nnU-Net) or "1": "NAME" (Decathlon).
    "#);
}

#[test]
fn labels_that_a_descriptor_renumbers_are_no_error_of_the_folder() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut json = nnunet(root);
    let mut descriptor = Descriptor::from_folder(root).unwrap();
    json["labels"] = json!({"background": 0, "a": 255});
    write(root, &json);
    let advice = Descriptor::from_folder(root).unwrap_err().to_string();
    assert!(advice.contains("describe the data set by a descriptor whose labels.map does it"), "{advice}");
    descriptor.labels.as_mut().unwrap().map.insert("255".into(), 1);
    let found = raw::check(&descriptor, root);
    let text: Vec<String> =
        found.iter().map(|m| m.to_string().replace(root.to_str().unwrap(), "[RAW]")).collect();
    insta::assert_snapshot!(text.join("\n"), @"W107 dataset.json's labels cannot be used, the descriptor's are: label values are 0, 255; expected 0 to 1 without a gap. [RAW]/dataset.json:7:3.");
}

#[test]
fn a_table_lists_cases_and_their_channels() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    nnunet(root);
    let mut descriptor = Descriptor::from_folder(root).unwrap();
    descriptor.raw = Raw::Table { folder: "x".into(), file: Some("cases.csv".into()), cases: Vec::new() };
    let table = "id,image_0,image_1,label,subject,split\n\
                 p,imagesTr/a_0000.nii.gz,imagesTr/a_0001.nii.gz,labelsTr/a.nii.gz,s,train\n\
                 q,imagesTs/c_0000.nii.gz,imagesTs/c_0001.nii.gz,,s,test\n\
                 r,imagesTr/b_0000.nii.gz,imagesTr/none.nii.gz,labelsTr/b.nii.gz,,\n";
    fs_err::write(root.join("cases.csv"), table).unwrap();
    let listing = raw::list(&descriptor, root).unwrap();
    let found: Vec<_> = listing.cases.iter().map(|c| (c.id.as_str(), c.subject.as_str(), c.split)).collect();
    assert_eq!(found, [("p", "s", CaseSplit::Train), ("q", "s", CaseSplit::Test)]);
    assert!(matches!(&listing.cases[0].image, Source::Channels(channels) if channels.len() == 2));
    insta::assert_snapshot!(said(&listing), @"E193 case r: the label has no image. labelsTr/b.nii.gz is there, imagesTr/none.nii.gz is not. Fetch the missing file, or take the case off the data set's list.");
    fs_err::write(root.join("cases.csv"), "id,picture\na,x.nii\n").unwrap();
    insta::assert_snapshot!(refused(&descriptor, root), @r#"
    E198 the case table has errors. [RAW]/cases.csv
      cases.csv:1:2: unknown column 'picture'; expected id, image (or image_0, image_1, …), label, subject or split
      cases.csv:1:1: column 'image' is missing. Correct the lines (line:column).
    "#);
    let again = Descriptor::parse(&toml::to_string(&descriptor).unwrap(), "written").unwrap();
    assert_eq!(again, descriptor);
}

#[test]
fn stacks_are_listed_with_the_stated_spacing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs_err::create_dir_all(root.join("raw/s1")).unwrap();
    fs_err::create_dir_all(root.join("labels/s1")).unwrap();
    fs_err::create_dir_all(root.join("labels/s2")).unwrap();
    let text = Descriptor::built_in_text("cremi-a").unwrap();
    let a = text.find("[raw]").unwrap();
    let b = text.find("[labels]").unwrap();
    let stack = "[raw]\nlayout = \"stack\"\nfolder = \"x\"\nimages = \"raw\"\nlabels = \"labels\"\nspacing_zyx = [50, 4, 4]\nunit = \"nm\"\n\n";
    let text = format!("{}{stack}{}", &text[..a], &text[b..]).replace("train_cases = 1\n", "");
    let descriptor = Descriptor::parse(&text, "stacks").unwrap();
    let listing = raw::list(&descriptor, root).unwrap();
    let spacing = descriptor.raw.spacing_zyx_mm();
    let [z, y, x] = spacing.unwrap();
    assert!((z - 5e-5).abs() < 1e-15 && y == 4e-6 && x == 4e-6);
    let path = root.join("raw/s1");
    assert_eq!(
        listing.cases[0].image,
        Source::Stack { path: path.clone(), spacing_zyx_mm: spacing, like: None }
    );
    assert!(matches!(&listing.cases[0].label, Some(Source::Stack { like: Some(like), .. }) if *like == path));
    assert_eq!(
        said(&listing),
        "E193 case s2: the label has no image. labels/s2 is there, the folder of the images holds no 's2'. Fetch the missing stack, or move this one away."
    );
    let wrong =
        Descriptor::parse(&text.replace("unit = \"nm\"\n\n", "\n"), "stacks").unwrap_err().to_string();
    assert!(wrong.contains("raw.spacing_zyx needs raw.unit"), "{wrong}");
}

#[test]
fn a_ct_folder_of_the_decathlon_is_told_by_its_modality() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    nnunet(root);
    let json = json!({
        "name": "Liver", "license": "CC0", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"},
        "training": [{"image": "./imagesTr/a_0000.nii.gz", "label": "./labelsTr/a.nii.gz"}], "test": [],
    });
    write(root, &json);
    let descriptor = Descriptor::from_folder(root).unwrap();
    assert_eq!((descriptor.modality, descriptor.title.as_str()), (Modality::Ct, "Liver"));
    assert!(matches!(descriptor.intensity, Intensities::All(Intensity::CtWindow { .. })));
    assert_eq!(descriptor.text.vocabulary, ["liver"]);
}

#[test]
fn tables_of_another_encoding_and_ids_that_are_too_long_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let text =
        fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/msd09-spleen.toml")).unwrap();
    let text = text.replace("layout = \"msd\"", "layout = \"table\"\nfile = \"cases.csv\"");
    let descriptor = Descriptor::parse(&text, "mine.toml").unwrap();
    for bytes in [&b"\xff\xfei\x00d\x00"[..], b"id,image\n\xe4,a.nii\n"] {
        fs_err::write(root.join("cases.csv"), bytes).unwrap();
        let error = refused(&descriptor, root);
        assert!(
            error.starts_with("E198 the case table is no UTF-8 text") && error.contains("CSV UTF-8"),
            "{error}"
        );
    }
    image(&root.join("a.nii"), 0.0, &grid(0.0));
    fs_err::write(root.join("cases.csv"), format!("id,image\n{},a.nii\n", "ä".repeat(101))).unwrap();
    let error = refused(&descriptor, root);
    assert!(error.starts_with("E190 an id has 202 bytes, at most 200 can be"), "{error}");
}
