//! Descriptors: the built-in ones, the examples, and what is said about wrong ones.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::Descriptor;
use data_manifests::descriptor::{LabelKind, Modality};
use std::path::Path;

fn files(folder: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs_err::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_is_valid_named_after_itself_and_survives_writing() {
    let schema =
        data_manifests::schema::all().into_iter().find(|(name, _)| *name == "descriptor.json").unwrap().1;
    let validator = jsonschema::validator_for(&schema).unwrap();
    let built_in = files("datasets");
    assert_eq!(built_in.len(), Descriptor::built_in().unwrap().len());
    for path in [built_in, files("datasets/examples")].concat() {
        let descriptor = Descriptor::find(path.to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(descriptor.name, path.file_stem().unwrap().to_str().unwrap());
        let again = Descriptor::parse(&toml::to_string(&descriptor).unwrap(), "written").unwrap();
        assert_eq!(again, descriptor);
        let json = serde_json::to_value(&descriptor).unwrap();
        if let Err(error) = validator.validate(&json) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn the_thirteen_are_complete() {
    let all = Descriptor::built_in().unwrap();
    assert_eq!(all.len(), 13);
    for d in &all {
        assert!(!d.citation.is_empty() && !d.licence.is_empty() && !d.source.is_empty(), "{}", d.name);
        assert!(!d.text.vocabulary.is_empty() && !d.text.anatomy.is_empty(), "{}", d.name);
        let semantic = d.labels.as_ref().is_some_and(|l| l.kind == LabelKind::Semantic);
        assert_eq!(semantic, d.modality != Modality::Em, "{}", d.name);
        assert_eq!(semantic, d.tolerance.is_some(), "{}", d.name);
        // a method is published for all shares of a table, and both methods of the paper are there or none
        let methods: std::collections::BTreeSet<_> = d.published.iter().map(|p| p.method.as_str()).collect();
        let shares: std::collections::BTreeSet<_> =
            d.published.iter().map(|p| p.fraction.to_string()).collect();
        assert_eq!(d.published.len(), methods.len() * shares.len(), "{}", d.name);
        assert!(
            d.published.is_empty() || methods.contains("GTGM") && methods.contains("GTGM+"),
            "{}",
            d.name
        );
    }
    let published: usize = all.iter().map(|d| d.published.len()).sum();
    // three CT tasks with five methods, four MRI tasks with two, at three shares; three EM samples with two at two
    assert_eq!(published, 3 * 5 * 3 + 4 * 2 * 3 + 3 * 2 * 2);
}

#[test]
fn an_unknown_name_gets_the_nearest_ones() {
    let said = |name: &str| Descriptor::find(name).unwrap_err().to_string();
    insta::assert_snapshot!(said("hippocampus"), @"E020 no dataset 'hippocampus'. It is neither a built-in name nor a file. Use one of msd04-hippocampus, or the path of a descriptor in TOML.");
    insta::assert_snapshot!(said("Task03_Liver"), @"E020 no dataset 'Task03_Liver'. It is neither a built-in name nor a file. Use one of msd03-liver, or the path of a descriptor in TOML.");
    insta::assert_snapshot!(said("nowhere/mine.toml"), @"E020 no dataset 'nowhere/mine.toml'. The folder nowhere does not exist. Correct the path, or use a built-in name, which 'data-manifests list' prints.");
    insta::assert_snapshot!(said("hipocampus"), @"E020 no dataset 'hipocampus'. It is neither a built-in name nor a file. Use one of msd04-hippocampus, or the path of a descriptor in TOML.");
    let root = tempfile::tempdir().unwrap();
    let at = root.path().to_str().unwrap();
    fs_err::create_dir(root.path().join("Dataset001_Tiny")).unwrap();
    let near = || said(&format!("{at}/Dataset001_Tin")).replace(at, "DIR");
    assert!(near().contains("DIR holds no such file or folder"), "{}", near());
    fs_err::write(root.path().join("Dataset001_Tiny/dataset.json"), "{}").unwrap();
    insta::assert_snapshot!(near(), @"E020 no dataset 'DIR/Dataset001_Tin'. Nearest in DIR: Dataset001_Tiny. Correct the path, or use a built-in name, which 'data-manifests list' prints.");
}

#[test]
fn wrong_descriptors_are_explained() {
    let good = Descriptor::built_in_text("msd09-spleen").unwrap();
    Descriptor::parse(good, "good").unwrap();
    let said = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        Descriptor::parse(&good.replace(from, to), "mine.toml").unwrap_err().to_string()
    };
    insta::assert_snapshot!(said("name = \"msd09-spleen\"", "name = \"My Spleen\""), @"E021 the dataset descriptor is not valid. mine.toml: name 'My Spleen' may hold lower-case letters, digits and hyphens only. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("spacing_zyx = [1.6,", "spacing_zyx = [0.0,"), @"E021 the dataset descriptor is not valid. mine.toml: grid.spacing_zyx must be positive, found [0.0, 0.793, 0.793]. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("patch_zyx = [64,", "patch_zyx = [0,"), @"E021 the dataset descriptor is not valid. mine.toml: grid.patch_zyx must be positive, found [0, 192, 160]. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("low = -175.0", "low = 900.0"), @"E021 the dataset descriptor is not valid. mine.toml: intensity.low must lie below intensity.high, found 900 and 250. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("mirror_axes = []", "mirror_axes = [\"x\", \"w\"]"), @r#"E021 the dataset descriptor is not valid. mine.toml: mirror_axes may hold z, y and x once each, found ["x", "w"]. Compare it with the output of 'data-manifests show msd04-hippocampus'."#);
    insta::assert_snapshot!(said("nsd_mm = 3.0", "nsd_mm = -3.0"), @"E021 the dataset descriptor is not valid. mine.toml: semantic labels need a positive tolerance.nsd_mm. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("classes = [\"background\", \"spleen\"]", "classes = [\"background\"]"), @"E021 the dataset descriptor is not valid. mine.toml: labels.classes needs the background and at least one class. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("classes = [\"background\", \"spleen\"]", "classes = [\"background\", \"spleen\", \"spleen\"]"), @"E021 the dataset descriptor is not valid. mine.toml: labels.classes: 'spleen' occurs twice. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("classes = [\"background\", \"spleen\"]", "classes = [\"background\", \" \"]"), @"E021 the dataset descriptor is not valid. mine.toml: labels.classes: a name is empty. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("layout = \"msd\"", "layout = \"table\"\ncases = [{ id = \"a\", image = \"1\" }, { id = \"A\", image = \"2\" }]"), @"E021 the dataset descriptor is not valid. mine.toml: raw.cases: 'a' occurs twice. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    for (image, label) in
        [("../a.nii.gz", ""), ("/abs/a.nii.gz", ""), ("", ""), ("a.nii.gz", "b/../../c.h5#ids[0:4]")]
    {
        let label = if label.is_empty() { String::new() } else { format!(", label = \"{label}\"") };
        let cases = format!("cases = [{{ id = \"first\", image = \"{image}\"{label} }}]");
        let text = said("layout = \"msd\"", &format!("layout = \"table\"\n{cases}"));
        assert!(text.starts_with("E021 ") && text.contains("of 'first' "), "{text}");
    }
    let table =
        "layout = \"table\"\ncases = [{ id = \"a\", image = \"b/a.h5[0:75]\", label = \"a.zarr#ids[2:9]\" }]";
    Descriptor::parse(&good.replace("layout = \"msd\"", table), "mine.toml").unwrap();
    insta::assert_snapshot!(said("kind = \"semantic\"", "kind = \"semantic\"\nmap = { \"255\" = 7 }"), @"E021 the dataset descriptor is not valid. mine.toml: labels.map: 255 becomes 7, but there are 2 classes. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
    insta::assert_snapshot!(said("licence = ", "license = "), @r#"
        E021 the dataset descriptor is not valid. mine.toml: TOML parse error at line 5, column 1
          |
        5 | license = "CC-BY-SA-4.0"
          | ^^^^^^^
        unknown field `license`, expected one of `name`, `title`, `source`, `citation`, `licence`, `modality`, `channels`, `train_cases`, `test_cases`, `raw`, `labels`, `grid`, `intensity`, `text`, `mirror_axes`, `tolerance`, `published`. Compare it with the output of 'data-manifests show msd04-hippocampus'.
    "#);
    insta::assert_snapshot!(said("stride = 10", "stride = 0"), @"E021 the dataset descriptor is not valid. mine.toml: text.stride and text.tile_yx must be positive. Compare it with the output of 'data-manifests show msd04-hippocampus'.");
}
