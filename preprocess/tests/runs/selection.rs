//! Which cases are worked on, what is said of the others, and what may be in the way.

use crate::support::{Task, classes, flaws, said};
use data_manifests::cases::{self, CaseRow, CaseStatus};
use stage::ExitStatus;
use volume::Grid;

const SHAPE: [usize; 3] = [12, 14, 16];

fn shown(task: &Task, text: &str) -> String {
    text.replace(task.file("").to_str().unwrap(), "[DIR]/")
}

#[test]
fn only_takes_some_and_never_removes_the_others() {
    let task = Task::noise(3, SHAPE);
    task.run_cleanly(&["--only", "c01,c00"]);
    assert!(task.tree().keys().all(|file| !file.contains("c02")));
    let some = task.tree();
    // the order of the names is no other work
    assert!(task.process(&["--only", "c00,c01"]).1.starts_with("Nothing to do"));
    task.run_cleanly(&[]);
    let all = task.tree();
    assert!(all.keys().any(|file| file.contains("c02")));
    let error = task.run(&["--only", "c00"]).0.unwrap_err().to_string();
    insta::assert_snapshot!(shown(&task, &error), @"E167 --only would remove 2 other cases. [DIR]/shards/cases holds c01, c02. Leave --only out (finished cases are kept), or use another --out.");
    assert_eq!(task.tree(), all, "a refused run changes nothing");
    let error = task.run(&["--only", "c00,c7,x"]).0.unwrap_err().to_string();
    insta::assert_snapshot!(error, @"E196 no such case: c7, x. 3 cases: c00, c01, c02. Name cases by their ids: file names without ending and channel, or what the data set's list calls them.");
    assert_eq!(some["cases/c00/zarr.json"], all["cases/c00/zarr.json"]);
}

#[test]
fn only_hears_of_its_own_cases() {
    let mut task = Task::noise(2, SHAPE);
    task.pair("gone");
    let (status, messages) = task.run(&["--only", "c00"]);
    assert_eq!((status.unwrap(), said(&flaws(messages))), (ExitStatus::Done, String::new()));
    fs_err::remove_dir_all(task.out()).unwrap();
    let (status, messages) = task.run(&["--only", "c00,gone"]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    insta::assert_snapshot!(said(&flaws(messages)), @"E194 case gone: image and label are missing. imagesTr/gone.nii.gz and labelsTr/gone.nii.gz do not exist. Fetch the missing file, or take the case off the data set's list.");
    let (status, _) = task.run(&["--only", "gone"]);
    assert!(status.unwrap_err().to_string().starts_with("E195"));
}

#[test]
fn a_dry_run_says_what_would_be_and_writes_nothing() {
    let mut task = Task::noise(2, SHAPE);
    task.describe(|d| d.grid.spacing_zyx = [0.5, 1.0, 1.0]);
    let output = task.command(&["--dry-run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @r#"
c00: 1 channel(s), 12x14x16 -> 23x14x16, 0.0 MiB
c01: 1 channel(s), 12x14x16 -> 23x14x16, 0.0 MiB
2 cases, at most 0.0 MiB before compression and crop
"#);
    assert!(!task.out().exists());
    task.pair("gone");
    let (image, label) = task.pair("page");
    fs_err::write(image, "<html>").unwrap();
    fs_err::write(label, "<html>").unwrap();
    let (code, text) = task.process(&["--dry-run"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("E194 case gone") && text.contains("E103 case page"), "{text}");
    assert!(!task.out().exists());
}

#[test]
fn many_of_a_kind_are_one_message() {
    let task = Task::noise(2, SHAPE);
    task.describe(|d| classes(&mut d.labels, &["background", "a", "b", "c", "d"]));
    let volume = fs_err::read(task.raw().join("imagesTr/c00.nii.gz")).unwrap();
    for i in 0..200 {
        for folder in ["imagesTr", "labelsTr"] {
            fs_err::write(task.raw().join(format!("{folder}/more_{i:03}.nii.gz")), &volume).unwrap();
        }
    }
    fs_err::write(task.raw().join("imagesTr/._c00.nii.gz"), "").unwrap();
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(said(&flaws(messages)), @r#"
W102 ignored 1 macOS resource files (._*).
W103 400 volumes are not listed in dataset.json and left out. imagesTr/more_000.nii.gz, imagesTr/more_001.nii.gz, imagesTr/more_002.nii.gz, imagesTr/more_003.nii.gz, imagesTr/more_004.nii.gz and 395 more. List them under 'training' (with their labels) or 'test' to use them.
W111 2 classes occur in 0 of 2 cases: 3 'c', 4 'd'. Their scores will be reported as n/a, not as 0.
"#);
    task.describe(|d| classes(&mut d.labels, &["background", "a", "b", "c"]));
    assert!(said(&flaws(task.run(&[]).1)).contains("W111 class 3 'c' occurs in 0 of 2 cases."));
    // half a pair is a case that somebody misses
    fs_err::write(task.raw().join("imagesTr/half.nii.gz"), &volume).unwrap();
    fs_err::write(task.raw().join("labelsTr/other.nii.gz"), &volume).unwrap();
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    let messages: Vec<_> = messages.into_iter().filter(|m| m.case.is_some()).collect();
    insta::assert_snapshot!(said(&flaws(messages)), @r#"
E192 case half: the image has no label. imagesTr/half.nii.gz is there, labelsTr holds no label of this name, dataset.json lists neither. Fetch the missing file and list the pair under 'training', or move this file away.
E193 case other: the label has no image. labelsTr/other.nii.gz is there, imagesTr holds no image of this name, dataset.json lists neither. Fetch the missing file and list the pair under 'training', or move this file away.
"#);
    // whoever fetches what is missing finds it in the table
    let rows: Vec<CaseRow> = cases::from_csv(&task.out().join("cases.csv")).unwrap();
    let failed = rows.iter().filter(|row| row.status == CaseStatus::Failed);
    let failed: Vec<_> = failed.map(|row| [&row.id, &row.image, &row.label].map(String::as_str)).collect();
    let both = |id| [format!("$RAW/imagesTr/{id}.nii.gz"), format!("$RAW/labelsTr/{id}.nii.gz")];
    let [half, other] = [both("half"), both("other")];
    assert_eq!(failed, [["half", &half[0], &half[1]], ["other", &other[0], &other[1]]]);
    assert_eq!((rows.len(), task.open("c00").record().id.as_str()), (4, "c00"));
    assert_eq!(data_manifests::verify::verify(&task.out()).unwrap(), [""; 0]);
    // a damaged table is made anew with them
    let table = fs_err::read(task.out().join("cases.csv")).unwrap();
    fs_err::write(task.out().join("cases.csv"), "").unwrap();
    let out = task.out().display().to_string();
    let (code, _, text) =
        task.ask(&["verify", &out, "--repair", "all", "--raw", task.raw().to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    assert!(fs_err::read(task.out().join("cases.csv")).unwrap() == table);
}

#[test]
fn ids_that_collide_hide_no_other_flaw() {
    let mut task = Task::noise(2, SHAPE);
    let (image, label) = task.pair("C00");
    fs_err::copy(task.raw().join("imagesTr/c01.nii.gz"), image).unwrap();
    fs_err::copy(task.raw().join("labelsTr/c01.nii.gz"), label).unwrap();
    task.pair("gone");
    let (page, _) = task.pair("page");
    fs_err::write(page, "<html>").unwrap();
    fs_err::copy(task.raw().join("labelsTr/c01.nii.gz"), task.raw().join("labelsTr/page.nii.gz")).unwrap();
    let (status, messages) = task.run(&[]);
    assert!(status.unwrap_err().to_string().starts_with("E190 'C00' and 'c00' collide"));
    let codes: Vec<_> = messages.iter().map(|m| (m.code, m.case.as_deref().unwrap_or_default())).collect();
    assert_eq!(codes, [("E194", "gone"), ("E103", "page")], "{}", said(&messages));
}

#[test]
fn other_peoples_files_are_left_alone() {
    let task = Task::noise(1, SHAPE);
    fs_err::create_dir_all(task.out().join("thesis")).unwrap();
    let error = task.run(&[]).0.unwrap_err().to_string();
    insta::assert_snapshot!(shown(&task, &error), @"E165 the output directory holds other files. [DIR]/shards: found thesis, expected none. Give --out a directory of its own, or move the files away.");
    assert_eq!(fs_err::read_dir(task.out()).unwrap().count(), 1, "nothing was written");
    fs_err::remove_dir(task.out().join("thesis")).unwrap();
    task.run_cleanly(&[]);
    // another data set's cases are not replaced either
    let mut other = Task::new();
    other.describe(|d| d.name = "other".into());
    let grid = Grid::from_spacing(SHAPE, [1.0; 3], [0.0; 3]).unwrap();
    let (image, labels) = crate::support::noise(5, SHAPE);
    other.case("d00", &grid, 1, &image, &labels);
    let before = task.tree();
    let out = task.out();
    let error = other.run(&["--out", out.to_str().unwrap()]).0;
    assert!(error.is_err());
    assert_eq!(task.tree(), before);
}

#[test]
fn nothing_usable_is_an_error_with_a_report() {
    let mut task = Task::new();
    let (image, label) = task.pair("page");
    fs_err::write(image, "<html>").unwrap();
    fs_err::write(label, "<html>").unwrap();
    let (code, text) = task.process(&[]);
    assert_eq!(code, 1, "{text}");
    let codes: Vec<_> =
        text.lines().filter_map(|line| line.split(' ').next()).filter(|w| w.starts_with('E')).collect();
    assert_eq!(codes, ["E103", "E197"], "{text}");
    assert_eq!(task.report()["status"], "failed");
    assert!(!task.out().join("manifest.json").exists());
    fs_err::remove_dir_all(task.raw()).unwrap();
    let (code, text) = task.process(&[]);
    assert_eq!(code, 1);
    assert!(text.starts_with("E191 the raw directory does not exist"), "{text}");
    assert_eq!(task.process(&["--max-ram", "-1"]).0, 2);
    assert_eq!(task.process(&["--label-map", "one=two"]).0, 2);
}

#[test]
fn memory_decides_how_many_cases_are_worked_on() {
    let task = Task::noise(3, [64, 64, 64]);
    task.run_cleanly(&[]);
    let in_memory = task.tree();
    let (status, messages) = task.run(&["--workers", "3", "--max-ram", "0.001"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(said(&flaws(messages)), @"");
    // nothing is kept: every case goes through files
    fs_err::remove_dir_all(task.out()).unwrap();
    let (status, messages) = task.run(&["--workers", "3", "--max-ram", "0.001"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(said(&flaws(messages)), @"W160 peak estimate 6.0 MiB of the largest case, --max-ram allows 1.0 MiB. 3 large cases go through temporary files. It needs about 36.0 MiB even so and may run out of memory.");
    assert_eq!(task.tree(), in_memory);
}

#[test]
fn a_command_under_which_every_case_fails_leaves_the_shards_of_before() {
    let task = Task::noise(2, SHAPE);
    task.run_cleanly(&[]);
    let before = task.tree();
    task.describe(|d| d.grid.spacing_zyx = [0.001, 1.0, 1.0]);
    let error = task.run(&[]).0.unwrap_err().to_string();
    insta::assert_snapshot!(error, @"E197 all 2 cases failed. Shards that were made before are still there. See the other messages; the command that made them completes them again.");
    assert!(!task.out().join("manifest.json").exists());
    task.describe(|_| {});
    assert_eq!(task.process(&[]).0, 0);
    assert_eq!(task.counts(), [0, 2, 0]);
    assert_eq!(task.tree(), before);
}

#[test]
fn a_wrong_voxel_size_is_found_before_it_fills_the_disk() {
    let task = Task::noise(2, SHAPE);
    // micrometres taken for millimetres
    task.describe(|d| d.grid.spacing_zyx = [0.001, 1.0, 1.0]);
    let (status, messages) = task.run(&[]);
    assert!(status.unwrap_err().to_string().starts_with("E197"));
    insta::assert_snapshot!(said(&flaws(messages)), @r#"
E150 case c00: resampling 12x14x16 voxels of 1x1x1 mm to 0.001x1x1 mm gives 11001x14x16 voxels (z,y,x). 11001 along z, allowed 4096. The file's voxel size or the target spacing is probably wrong, often by its unit. Correct it, or pass --allow-large if it is meant.
E150 case c01: resampling 12x14x16 voxels of 1x1x1 mm to 0.001x1x1 mm gives 11001x14x16 voxels (z,y,x). 11001 along z, allowed 4096. The file's voxel size or the target spacing is probably wrong, often by its unit. Correct it, or pass --allow-large if it is meant.
"#);
    let (code, text) = task.process(&["--dry-run"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("E150 case c00") && text.contains("E150 case c01"), "{text}");
    task.describe(|d| d.grid.spacing_zyx = [0.2; 3]);
    let (_, messages) = task.run(&[]);
    assert!(messages[0].to_string().contains("104 times as many, allowed 50"), "{}", messages[0]);
    task.run_cleanly(&["--allow-large"]);
    assert!(task.open("c00").record().shape_zyx[0] > 40);
    // who means it is asked for the space
    fs_err::remove_dir_all(task.out()).unwrap();
    task.describe(|d| d.grid.spacing_zyx = [1e-5; 3]);
    let error = task.run(&["--allow-large"]).0.unwrap_err().to_string();
    assert!(error.starts_with("E161 ") && error.contains(" free, this data set needs about "), "{error}");
}

#[test]
fn small_volumes_are_padded_and_kept_ones_repeat_their_warnings() {
    let mut task = Task::noise(1, [40, 64, 44]);
    let grid = Grid::from_spacing([1, 14, 16], [1.0; 3], [0.0; 3]).unwrap();
    let image: Vec<f32> = (0..14 * 16).map(|i| (i % 13) as f32 * 100.0 - 1000.0).collect();
    let labels: Vec<u32> = (0..14 * 16).map(|i| i % 3).collect();
    task.case("slice", &grid, 1, &image, &labels);
    task.describe(|d| d.grid.patch_zyx = [32, 56, 40]);
    let (_, messages) = task.run(&[]);
    insta::assert_snapshot!(said(&messages), @r#"
W105 case slice: imagesTr/slice.nii.gz: volume of 1×14×16 (z×y×x) is a single slice, which 3-D training pads to its patch. Leave it out if it is a localiser.
I191 1 case is smaller than the patch of 32x56x40. slice (1x14x16). Training pads each channel with its smallest value, half on either side.
"#);
    // kept while another case is made, and when nothing is to be done
    fs_err::remove_dir_all(task.out().join("cases/c00")).unwrap();
    for _ in 0..2 {
        let (code, text) = task.process(&[]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("W170 1 kept case has warnings: W105 (slice). Their text"), "{text}");
    }
}
