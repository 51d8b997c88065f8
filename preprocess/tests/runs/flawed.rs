//! Files with one flaw each, among good cases: every flaw is named, the good cases are finished.

use crate::support::{Task, classes, flaws, said, shared};
use data_manifests::cases::{self, CaseRow, CaseStatus};
use stage::{ExitStatus, Severity};
use std::path::Path;
use volume::nifti;
use volume::scan;

/// File without ending, and the code that it must get.
const FLAWS: [(&str, &str); 13] = [
    ("bitflip", "E102"),
    ("constant", "E132"),
    ("image_without_label", "E192"),
    ("label_not_integer", "E111"),
    ("label_other_affine", "E120"),
    ("label_other_shape", "E121"),
    ("label_value_unknown", "E110"),
    ("label_without_image", "E193"),
    ("nan_inf", "E130"),
    ("not_nifti", "E103"),
    ("one_slice", "W105"),
    ("truncated", "E101"),
    ("zero_spacing", "E140"),
];

/// Two good cases and the files of some flaws, each with the other half of its pair where that is not the flaw.
fn with_flaws(data: &Path, flaws: &[(&str, &str)]) -> Task {
    let good = |folder: &str, number: &str| {
        data.join("Task04_Hippocampus").join(folder).join(format!("hippocampus_{number}.nii.gz"))
    };
    let mut task = Task::new();
    task.describe(|d| {
        let own = data_manifests::Descriptor::find("msd04-hippocampus").unwrap();
        (d.modality, d.intensity) = (own.modality, own.intensity);
    });
    for number in ["004", "006"] {
        let (image, label) = task.pair(&format!("good_{number}"));
        fs_err::copy(good("imagesTr", number), image).unwrap();
        fs_err::copy(good("labelsTr", number), label).unwrap();
    }
    for (flaw, _) in flaws {
        let file = data.join("flawed").join(format!("{flaw}.nii.gz"));
        let (image, label) = task.pair(flaw);
        // the flawed files were made from the first case
        match *flaw {
            "image_without_label" => drop(fs_err::copy(file, image).unwrap()),
            "label_without_image" => drop(fs_err::copy(file, label).unwrap()),
            "one_slice" => {
                let voxels = nifti::read_header(&file).unwrap().1.shape_zyx.iter().product::<usize>();
                let labels: Vec<u32> = (0..voxels as u32).map(|i| i % 3).collect();
                nifti::write_labels_like(label, &labels, &file).unwrap();
                fs_err::copy(file, image).unwrap();
            }
            name if name.starts_with("label") => {
                fs_err::copy(good("imagesTr", "001"), image).unwrap();
                fs_err::copy(file, label).unwrap();
            }
            _ => {
                fs_err::copy(file, image).unwrap();
                fs_err::copy(good("labelsTr", "001"), label).unwrap();
            }
        }
    }
    task
}

#[test]
fn all_flaws_are_named_in_one_run() {
    let (Some(flawed), Some(_)) = (shared("flawed"), shared("Task04_Hippocampus")) else { return };
    let data = flawed.parent().unwrap();
    let mut here: Vec<_> = fs_err::read_dir(&flawed)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().replace(".nii.gz", ""))
        .collect();
    here.sort();
    assert_eq!(here, FLAWS.map(|(flaw, _)| flaw), "a flaw that this test does not know");

    let task = with_flaws(data, &FLAWS);
    let (code, text) = task.process(&[]);
    assert_eq!(code, 3, "{text}");
    let mut lines: Vec<&str> = text.lines().filter(|line| line.starts_with(['E', 'W'])).collect();
    lines.sort_unstable();
    insta::with_settings!({filters => [(task.file("").to_str().unwrap(), "[DIR]/")]}, {
        insta::assert_snapshot!("all_flaws", lines.join("\n"));
    });
    // the report lists the same
    let report = task.report();
    assert_eq!((report["exit_code"].as_u64(), report["status"].as_str()), (Some(3), Some("partial")));
    let mut reported: Vec<(&str, &str)> = report["messages"]
        .as_array()
        .unwrap()
        .iter()
        // what several cases share has no case
        .filter(|m| m["severity"] != "info" && m["code"] != "W106")
        .map(|m| (m["case"].as_str().unwrap(), m["code"].as_str().unwrap()))
        .collect();
    reported.sort_unstable();
    assert_eq!(reported, FLAWS);
    assert_eq!(task.counts(), [3, 0, 12]);

    let rows: Vec<CaseRow> = cases::from_csv(&task.out().join("cases.csv")).unwrap();
    let done: Vec<_> = rows.iter().filter(|r| r.status == CaseStatus::Done).map(|r| r.id.as_str()).collect();
    assert_eq!(done, ["good_004", "good_006", "one_slice"]);
    assert_eq!(data_manifests::verify::verify(&task.out()).unwrap(), [""; 0]);
}

#[test]
fn each_flaw_alone_costs_its_case_only() {
    let (Some(flawed), Some(_)) = (shared("flawed"), shared("Task04_Hippocampus")) else { return };
    let data = flawed.parent().unwrap();
    let mut good: Option<Vec<u8>> = None;
    for flaw in FLAWS {
        let task = with_flaws(data, &[flaw]);
        let (status, messages) = task.run(&[]);
        let usable = flaw.1.starts_with('W');
        assert_eq!(status.unwrap(), if usable { ExitStatus::Done } else { ExitStatus::Partial }, "{flaw:?}");
        // which classes occur is another matter
        let messages: Vec<_> = flaws(messages).into_iter().filter(|m| m.code != "W111").collect();
        assert_eq!(messages.len(), 1, "{}", said(&messages));
        assert_eq!((messages[0].case.as_deref(), messages[0].code), (Some(flaw.0), flaw.1));
        assert!(messages[0].severity == Severity::Warning || messages[0].fix.is_some(), "{}", messages[0]);
        // the neighbours do not change with the company they keep
        let case = task.tree()["cases/good_004/image/c.0.0.0.0"].clone();
        assert!(good.replace(case.clone()).is_none_or(|before| before == case), "{flaw:?}");
    }
}

#[test]
fn what_the_messages_advise_helps() {
    let (Some(flawed), Some(_)) = (shared("flawed"), shared("Task04_Hippocampus")) else { return };
    let data = flawed.parent().unwrap();
    let cases = [
        ("label_value_unknown", "--label-map=7=0"),
        ("label_other_affine", "--trust-voxel-grid"),
        ("label_other_affine", "--align-labels=nearest"),
        ("label_other_shape", "--align-labels=nearest"),
        ("nan_inf", "--nan=fill=min"),
    ];
    for (flaw, flag) in cases {
        let task = with_flaws(data, &[(flaw, "")]);
        let (status, messages) = task.run(&[]);
        assert_eq!(status.unwrap(), ExitStatus::Partial);
        let messages = flaws(messages);
        let advice = messages[0].fix.clone().unwrap().replace(' ', "=");
        assert!(advice.contains(flag), "{advice}");
        let (status, messages) = task.run(&[flag]);
        assert_eq!(status.unwrap(), ExitStatus::Done, "{flaw}: {}", said(&messages));
    }
    let task = with_flaws(data, &[]);
    let error = task.run(&["--label-map", "7=3"]).0.unwrap_err().to_string();
    let twice = task.run(&["--label-map", "7=1,7=0"]).0.unwrap_err().to_string();
    insta::assert_snapshot!(twice, @"E168 --label-map cannot be used. 7 becomes 1 and 0. Name each value once.");
    // as labels.map of a descriptor, it may say that nobody annotated a value
    task.describe(|d| {
        let own = data_manifests::Descriptor::find("msd04-hippocampus").unwrap();
        (d.modality, d.intensity) = (own.modality, own.intensity);
        d.labels.as_mut().unwrap().ignore = Some(3);
    });
    assert_eq!(task.run(&["--label-map", "255=3"]).0.unwrap(), ExitStatus::Done);
    let other = task.run(&["--label-map", "255=4"]).0.unwrap_err().to_string();
    assert!(other.contains("from 0 to 2 or 3 (not annotated)"), "{other}");
    insta::assert_snapshot!(error, @"E168 --label-map cannot be used. 7 becomes 3, expected a class from 0 to 2. Map to a declared class, or to 0 for the background.");
}

#[test]
fn a_mask_of_0_and_255_is_recognised_and_its_advice_helps() {
    let task = Task::noise(2, [20; 3]);
    task.describe(|d| classes(&mut d.labels, &["background", "vessel"]));
    for (id, value) in [("c00", 1), ("c01", 255)] {
        let path = task.raw().join(format!("labelsTr/{id}.nii.gz"));
        let mut labels = scan::read_labels(&path).unwrap();
        labels.data.iter_mut().filter(|v| **v > 0).for_each(|v| *v = value);
        nifti::write_labels(&path, &labels.data, &labels.grid).unwrap();
    }
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    insta::assert_snapshot!(said(&flaws(messages)), @r#"E110 case c01: labelsTr/c01.nii.gz: label values outside the declared {0,1}: 255 (2,735 voxels). A 0/255 mask. Pass --label-map 255=1 or add map = {"255" = 1} below [labels] of the data set's descriptor, or declare the value."#);
    task.run_cleanly(&["--label-map", "255=1"]);
    // or by the descriptor, in the words of the message
    let text = fs_err::read_to_string(task.file("dataset.toml")).unwrap();
    let text = text.replace("[labels]\n", "[labels]\nmap = {\"255\" = 1}\n");
    let text = text.replace("[labels.map]\n", "");
    fs_err::write(task.file("dataset.toml"), text).unwrap();
    task.run_cleanly(&[]);
}
