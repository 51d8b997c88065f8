//! Labels on another grid than their image: refused, or brought onto it when that is asked for.

use crate::support::{Task, classes, flaws, said, tree};
use data_manifests::descriptor::{LabelKind, Resampling};
use patches::{Region, ShardStore};
use stage::ExitStatus;
use std::collections::BTreeMap;
use std::path::Path;
use volume::nifti::{self, ImageType};
use volume::{Grid, Orientation};

const ALIGN: &str = "--align-labels=nearest";

/// An oblique image grid.
fn image_grid() -> Grid {
    let (sin, cos) = 0.15_f64.sin_cos();
    let affine =
        [[-cos, sin, 0.0, 20.0], [-sin, -cos, 0.0, 30.0], [0.0, 0.0, 1.0, -7.0], [0.0, 0.0, 0.0, 1.0]];
    Grid::new([20, 24, 22], affine).unwrap()
}

/// A label grid with other axes, spacing and shape that covers most of it.
fn label_grid() -> Grid {
    Grid::from_spacing([14, 26, 22], [1.3, 1.1, 1.2], [-5.0, 1.5, -5.5]).unwrap()
}

fn voxels(grid: &Grid) -> usize {
    grid.shape_zyx.iter().product()
}

/// Noise within three voxels of air, so that the crop is the same whatever the noise.
fn image(grid: &Grid) -> Vec<f32> {
    let [depth, height, width] = grid.shape_zyx;
    let value = |i: usize| {
        let at = [i / (height * width), i / width % height, i % width];
        let inside = at.iter().zip([depth, height, width]).all(|(v, n)| (3..n - 3).contains(v));
        if inside { (i as u32).wrapping_mul(2_654_435_761) as f32 / 4e6 } else { -1000.0 }
    };
    (0..voxels(grid)).map(value).collect()
}

/// The label voxel at each voxel of the image, found in the world.
fn expected(label: &Grid, data: &[u64], image: &Grid) -> Vec<u64> {
    let [depth, height, width] = image.shape_zyx;
    let spacing = label.spacing_zyx_mm();
    let mut out = Vec::new();
    for z in 0..depth {
        for y in 0..height {
            for x in 0..width {
                let place = image.world([x as f64, y as f64, z as f64]);
                // the label's axes are those of the world
                let index: Vec<f64> = (0..3)
                    .map(|axis| ((place[2 - axis] - label.affine[2 - axis][3]) / spacing[axis]).round())
                    .collect();
                let inside = index.iter().zip(label.shape_zyx).all(|(i, n)| *i >= 0.0 && *i < n as f64);
                out.push(if inside {
                    let [z, y, x] = [0, 1, 2].map(|axis| index[axis] as usize);
                    data[(z * label.shape_zyx[1] + y) * label.shape_zyx[2] + x]
                } else {
                    0
                });
            }
        }
    }
    out
}

fn write_image(path: &Path, grid: &Grid) {
    nifti::write_image(path, &image(grid), 1, grid, ImageType::F32).unwrap();
}

fn class_labels(grid: &Grid) -> Vec<u32> {
    (0..voxels(grid) as u32).map(|i| i / 5 % 3).collect()
}

/// One case with classes on a grid of their own, and one that is as it should be.
fn task() -> Task {
    let mut task = Task::new();
    let (path, label) = task.pair("other");
    write_image(&path, &image_grid());
    nifti::write_labels(label, &class_labels(&label_grid()), &label_grid()).unwrap();
    let (path, label) = task.pair("same");
    let mut image = image(&image_grid());
    image[0] += 1.0;
    nifti::write_image(path, &image, 1, &image_grid(), ImageType::F32).unwrap();
    nifti::write_labels(label, &class_labels(&image_grid()), &image_grid()).unwrap();
    task
}

/// The shards' labels of a case against those expected on the image's stored grid.
fn assert_labels(task: &Task, id: &str, stored: &[u64], image: &Grid) {
    let case = task.open(id);
    let steps = &case.record().source.steps;
    let (canonical, shape) = steps.orientation.apply(stored, image.shape_zyx).unwrap();
    assert_eq!(steps.orientation, Orientation::to_canonical(image));
    let kept = volume::crop::crop(&canonical, 1, shape, &steps.bounds).unwrap();
    let found = case.read_label_wide(&Region::whole(case.record().shape_zyx)).unwrap();
    assert_eq!(found, kept);
    assert!(found.iter().any(|v| *v != 0));
}

#[test]
fn labels_on_another_grid_are_refused_or_aligned() {
    let task = task();
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    insta::assert_snapshot!(said(&flaws(messages)), @"E121 case other: image and label differ in shape. imagesTr/other.nii.gz has 20×24×22 voxels, labelsTr/other.nii.gz has 14×26×22 (z×y×x). Probably the label of another case or of a resampled image. Check the pair; to resample the label, --align-labels nearest.");
    let same = case_files(&task, "same");

    let (status, messages) = task.run(&[ALIGN]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    insta::assert_snapshot!(said(&flaws(messages)), @"W128 case other: labelsTr/other.nii.gz: label of 14×26×22 voxels resampled onto the image's grid of 20×24×22 (z×y×x), nearest voxel: off by 8.245 mm at the far corner (rotation 8.6 deg). 1,898 of 5,338 labelled voxels lie outside of the image.");
    let wide = |labels: Vec<u32>| labels.into_iter().map(u64::from).collect::<Vec<_>>();
    let labels = expected(&label_grid(), &wide(class_labels(&label_grid())), &image_grid());
    assert_labels(&task, "other", &labels, &image_grid());
    let counted = &task.open("other").record().label.clone().unwrap().voxels;
    assert!(counted.iter().all(|count| count.voxels > 0), "{counted:?}");

    // where the grids agree not a byte of an array is another; the record holds the rule
    assert_eq!(case_files(&task, "same"), same);
    // again: kept, and the warning is not lost
    let whole = task.tree();
    let (status, messages) = task.run(&[ALIGN]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(task.tree() == whole);
    assert!(said(&messages).contains("W128 (other)"), "{}", said(&messages));
}

/// The arrays of a case.
fn case_files(task: &Task, id: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = tree(&ShardStore::case_directory(&task.out(), id));
    assert!(files.remove("zarr.json").is_some());
    files
}

#[test]
fn memory_and_temporary_files_give_the_same_bytes() {
    for (resampling, kind) in [
        (Resampling::Linear, LabelKind::Semantic),
        (Resampling::Nnunet, LabelKind::Semantic),
        (Resampling::Linear, LabelKind::Instances),
    ] {
        let mut task = task();
        task.describe(|d| {
            d.grid.resampling = resampling;
            if let Some(labels) = &mut d.labels {
                labels.kind = kind;
            }
            if kind == LabelKind::Instances {
                classes(&mut d.labels, &[]);
            }
        });
        if kind == LabelKind::Instances {
            // ids that no floating point number holds
            let ids: Vec<u64> = (0..voxels(&label_grid()) as u64).map(|i| u64::MAX - 1 - i / 7).collect();
            let (image, label) = task.pair("wide");
            write_image(&image, &image_grid());
            write_ids(&label, &ids, &label_grid());
            let (status, messages) = task.run(&[ALIGN]);
            assert_eq!(status.unwrap(), ExitStatus::Done, "{}", said(&messages));
            assert_labels(&task, "wide", &expected(&label_grid(), &ids, &image_grid()), &image_grid());
        } else {
            assert_eq!(task.run(&[ALIGN]).0.unwrap(), ExitStatus::Done);
        }
        let in_memory = task.tree();
        fs_err::remove_dir_all(task.out()).unwrap();
        let (status, messages) = task.run(&[ALIGN, "--max-ram=0.001"]);
        assert_eq!(status.unwrap(), ExitStatus::Done);
        assert!(said(&messages).contains("through temporary files"), "{}", said(&messages));
        let on_disk = task.tree();
        assert!(on_disk == in_memory, "{resampling:?} {kind:?}");
    }
}

/// Writes a NIfTI-1 file of 64-bit ids.
fn write_ids(path: &Path, ids: &[u64], grid: &Grid) {
    let mut header = [0_u8; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348_i32.to_le_bytes());
    let [depth, height, width] = grid.shape_zyx.map(|n| n as i16);
    // dim, datatype (1280: u64), bitpix, pixdim, vox_offset, xyzt_units (2: mm), sform_code (1: scanner)
    for (i, n) in [3, width, height, depth, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &n.to_le_bytes());
    }
    put(70, &1280_i16.to_le_bytes());
    put(72, &64_i16.to_le_bytes());
    let [z, y, x] = grid.spacing_zyx_mm();
    for (i, mm) in [1.0, x, y, z].into_iter().enumerate() {
        put(76 + 4 * i, &(mm as f32).to_le_bytes());
    }
    put(108, &352_f32.to_le_bytes());
    put(123, &[2]);
    put(254, &1_i16.to_le_bytes());
    for (i, value) in grid.affine[..3].iter().flatten().enumerate() {
        put(280 + 4 * i, &(*value as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    let bytes: Vec<u8> = header.into_iter().chain(ids.iter().flat_map(|id| id.to_le_bytes())).collect();
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn a_label_beside_its_image_is_an_error_of_its_own() {
    let mut task = task();
    let (image, label) = task.pair("beside");
    write_image(&image, &image_grid());
    let far = Grid { affine: shifted(label_grid().affine, 100.0), ..label_grid() };
    nifti::write_labels(label, &class_labels(&far), &far).unwrap();
    for room in [&[ALIGN][..], &[ALIGN, "--max-ram=0.001"]] {
        let (status, messages) = task.run(room);
        assert_eq!(status.unwrap(), ExitStatus::Partial);
        let failed: Vec<_> =
            messages.into_iter().filter(|message| message.case.as_deref() == Some("beside")).collect();
        let text = said(&failed);
        let start =
            "E123 case beside: image and label do not overlap. labelsTr/beside.nii.gz lies within 95.0…120.2";
        assert!(text.starts_with(start) && text.contains("--trust-voxel-grid"), "{text}");
    }
}

fn shifted(mut affine: [[f64; 4]; 4], mm: f64) -> [[f64; 4]; 4] {
    affine[0][3] += mm;
    affine
}

#[test]
fn aligned_cases_are_repaired_and_drawn_by_the_recorded_rule() {
    let task = task();
    assert_eq!(task.run(&[ALIGN]).0.unwrap(), ExitStatus::Done);
    let whole = task.tree();
    let damaged = ShardStore::case_directory(&task.out(), "other").join("image/c.0.0.0.0");
    assert!(damaged.is_file());
    fs_err::write(&damaged, b"damaged").unwrap();
    let (code, _, said) = task.ask(&["verify", "shards", "--repair", "other", "--raw", "raw"]);
    assert_eq!(code, 0, "{said}");
    assert!(task.tree() == whole);
    let (code, _, said) = task.ask(&["preview", "--shards", "shards", "--raw", "raw", "--out", "preview"]);
    assert_eq!(code, 0, "{said}");
    assert!(task.file("preview/other.png").is_file());
}

#[test]
fn the_two_ways_of_taking_labels_exclude_each_other() {
    let (code, said) = Task::noise(1, [12; 3]).process(&[ALIGN, "--trust-voxel-grid"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--trust-voxel-grid") && said.contains("--align-labels"), "{said}");
}

#[test]
fn a_plan_measures_what_a_run_aligns() {
    let task = task();
    let words = ["plan", "--dataset", "dataset.toml", "--raw", "raw", "--out", "plan.json", "--no-timing"];
    let (code, _, said) = task.ask(&words);
    assert!(code == 3 && said.contains("E121 case other"), "{said}");
    let (code, _, said) = task.ask(&[&words[..], &[ALIGN]].concat());
    assert_eq!(code, 0, "{said}");
    let plan = data_manifests::plan::Plan::load(&task.file("plan.json")).unwrap();
    // every labelled voxel of both cases is sampled: those of the aligned case lie where a run puts them
    let wide = |labels: Vec<u32>| labels.into_iter().map(u64::from).collect::<Vec<_>>();
    let aligned = expected(&label_grid(), &wide(class_labels(&label_grid())), &image_grid());
    let own = wide(class_labels(&image_grid()));
    let values = image(&image_grid());
    let mut foreground: Vec<f64> = [aligned, own]
        .iter()
        .flat_map(|labels| labels.iter().zip(&values).filter(|(label, _)| **label != 0))
        .map(|(_, value)| f64::from(*value))
        .collect();
    assert!(foreground.len() < 20_000);
    foreground.sort_by(f64::total_cmp);
    let found = plan.fingerprint.unwrap();
    let mean = foreground.iter().sum::<f64>() / foreground.len() as f64;
    assert!((found.channels[0].mean - mean).abs() < 1e-6 * mean.abs(), "{found:?}, {mean}");
    assert_eq!(found.channels[0].min, foreground[0]);
}
