//! Shards against what they must hold by hand.

use crate::support::{Task, classes, flaws, said};
use data_manifests::cases::{self, CaseRow};
use data_manifests::descriptor::{Intensity, Modality, Resampling};
use data_manifests::{CaseSplit, Manifest};
use patches::{Case, Region, ShardStore};
use stage::ExitStatus;
use volume::Grid;
use volume::resample::LabelRule;

/// Directions of the x, y and z index in the world, by name.
fn directions() -> Vec<(&'static str, [[f64; 3]; 3])> {
    let (sin, cos) = 0.2_f64.sin_cos();
    vec![
        ("ras", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        ("lps", [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]),
        // x runs down, y to the left, z to the front, all turned by 0.2 rad about the world's z axis
        ("oblique", [[0.0, 0.0, -1.0], [-cos, -sin, 0.0], [-sin, cos, 0.0]]),
    ]
}

fn grid(directions: [[f64; 3]; 3], shape_zyx: [usize; 3], spacing_xyz: [f64; 3]) -> Grid {
    let mut affine = [[0.0; 4]; 4];
    for column in 0..3 {
        for row in 0..3 {
            affine[row][column] = directions[column][row] * spacing_xyz[column];
        }
    }
    for (row, origin) in affine.iter_mut().zip([12.0, -30.0, 7.5, 1.0]) {
        row[3] = origin;
    }
    Grid::new(shape_zyx, affine).unwrap()
}

/// A ramp over the world: whatever happens to the grid, a voxel's place tells its value.
fn ramp([x, y, z]: [f64; 3]) -> f64 {
    500.0 + 7.0 * x + 5.0 * y + 3.0 * z
}

fn each_voxel(shape_zyx: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [depth, height, width] = shape_zyx;
    (0..depth).flat_map(move |z| (0..height).flat_map(move |y| (0..width).map(move |x| [z, y, x])))
}

fn centre(grid: &Grid, [z, y, x]: [usize; 3]) -> [f64; 3] {
    grid.world([x as f64, y as f64, z as f64])
}

/// The ramp within three voxels of air, and two classes in it.
fn body(grid: &Grid) -> (Vec<f32>, Vec<u32>) {
    let inside = |v: [usize; 3]| v.iter().zip(&grid.shape_zyx).all(|(v, n)| (3..n - 3).contains(v));
    each_voxel(grid.shape_zyx)
        .map(|v| {
            if inside(v) {
                (ramp(centre(grid, v)) as f32, 1 + (v[0] / 4 + v[2] / 3) as u32 % 2)
            } else {
                (-1000.0, 0)
            }
        })
        .unzip()
}

fn shard_grid(case: &Case) -> Grid {
    Grid::new(case.record().shape_zyx, case.record().affine).unwrap()
}

/// The stored values of a channel, as raw ones.
fn raw_values(case: &Case) -> Vec<f32> {
    let stored = case.read_image(&Region::whole(case.record().shape_zyx)).unwrap();
    stored.into_iter().map(|v| case.record().channels[0].normalisation.raw(v)).collect()
}

/// The way back that the record describes, for labels as a sure network would give them.
fn on_source_grid(case: &Case) -> Vec<u32> {
    let record = case.record();
    let labels = case.read_label(&Region::whole(record.shape_zyx)).unwrap();
    let classes = labels.iter().max().unwrap() + 1;
    let scores: Vec<f32> = (0..classes)
        .flat_map(|class| labels.iter().map(move |label| f32::from(u8::from(*label == class))))
        .collect();
    let mut slabs = record.source.steps.labels_in_slabs(LabelRule::Highest(classes as usize)).unwrap();
    slabs.push(&scores).unwrap();
    slabs.finish().unwrap().into_iter().map(u32::from).collect()
}

#[test]
fn voxels_keep_place_and_value_in_every_orientation() {
    let shape_zyx = [20, 24, 22];
    let mut task = Task::new();
    let mut drawn = Vec::new();
    for (name, directions) in directions() {
        let grid = grid(directions, shape_zyx, [1.0; 3]);
        let (image, labels) = body(&grid);
        task.case(name, &grid, 1, &image, &labels);
        drawn.push((name, grid, labels));
    }
    let (_, grid, _) = &drawn[1];
    let mut unseen = body(grid).0;
    let middle = unseen.len() / 2;
    unseen[middle] += 1.0;
    task.test_image("unseen", grid, 1, &unseen);
    task.run_cleanly(&[]);

    for (name, grid, labels) in drawn {
        let case = task.open(name);
        let record = case.record();
        let mut body_zyx = shape_zyx.map(|n| n - 6);
        if name == "oblique" {
            // the source's z, y and x run along y, x and z of the world
            body_zyx = [body_zyx[2], body_zyx[0], body_zyx[1]];
        }
        assert_eq!(record.shape_zyx, body_zyx, "{name}");
        assert_eq!(record.source.steps.bounds.start_zyx, [3; 3]);
        let spacing = record.spacing_zyx_mm;
        assert!(spacing.iter().all(|s| (s - 1.0).abs() < 1e-6), "{spacing:?}");
        let here = shard_grid(&case);
        assert_eq!(here.axis_codes(), "RAS");
        let found = raw_values(&case);
        let shard_labels = case.read_label(&Region::whole(body_zyx)).unwrap();
        for (i, v) in each_voxel(body_zyx).enumerate() {
            let place = centre(&here, v);
            assert!((f64::from(found[i]) - ramp(place)).abs() < 1e-2, "{name} {v:?}: {}", found[i]);
            // the label of the source's voxel at the same place
            let offset: [f64; 3] = std::array::from_fn(|a| place[a] - grid.affine[a][3]);
            let [x, y, z] = [0, 1, 2].map(|column: usize| {
                (0..3).map(|row| grid.affine[row][column] * offset[row]).sum::<f64>().round() as usize
            });
            assert_eq!(shard_labels[i], labels[(z * shape_zyx[1] + y) * shape_zyx[2] + x], "{name} {v:?}");
        }
        assert_eq!(on_source_grid(&case), labels, "{name}");
        let counted = &record.label.as_ref().unwrap().voxels;
        for class in 0..3 {
            let count = shard_labels.iter().filter(|l| **l == class).count() as u64;
            assert_eq!((counted[class as usize].value, counted[class as usize].voxels), (class, count));
        }
        for [class, z, y, x] in case.read_foreground().unwrap() {
            let i = (z as usize * body_zyx[1] + y as usize) * body_zyx[2] + x as usize;
            assert_eq!(shard_labels[i], class);
        }
        // window -1000…3000 onto 0…1
        assert_eq!(record.channels[0].normalisation.clip, Some([-1000.0, 3000.0]));
        let stored = case.read_image(&Region::at([0; 3], [1; 3])).unwrap()[0];
        assert!((stored - (found[0] + 1000.0) / 4000.0).abs() < 1e-6);
    }
    let unseen = task.open("unseen");
    assert!(unseen.record().label.is_none() && unseen.read_label(&Region::at([0; 3], [1; 3])).is_err());

    let rows: Vec<CaseRow> = cases::from_csv(&task.out().join("cases.csv")).unwrap();
    let ids: Vec<_> = rows.iter().map(|r| (r.id.as_str(), r.split, r.is_labelled())).collect();
    let train = CaseSplit::Train;
    let expected = [("lps", train, true), ("oblique", train, true), ("ras", train, true)];
    assert_eq!(ids[..3], expected);
    assert_eq!(ids[3], ("unseen", CaseSplit::Test, false));
    assert_eq!((rows[2].shape.as_str(), rows[2].spacing.as_str()), ("14x18x16", "1x1x1"));
    assert_eq!(rows[2].image, "$RAW/imagesTr/ras.nii.gz");
    let store = ShardStore::open(&task.out()).unwrap();
    assert_eq!(store.rows(), rows);
    assert_eq!(store.descriptor().name, "test");
    let manifest: &Manifest = store.manifest();
    assert_eq!((manifest.counts["cases"], manifest.counts["failed"]), (4, 0));
    assert_eq!(manifest.inputs.iter().filter(|input| input.role == "raw").count(), 7);
}

#[test]
fn resampling_follows_the_world() {
    let mut task = Task::new();
    task.describe(|d| d.modality = Modality::Mri);
    let (_, oblique) = directions().remove(2);
    for (name, directions) in [("ras", directions()[0].1), ("oblique", oblique)] {
        let grid = grid(directions, [15, 20, 31], [0.75, 1.5, 2.0]);
        let (image, labels): (Vec<f32>, Vec<u32>) = each_voxel(grid.shape_zyx)
            .map(|v| (ramp(centre(&grid, v)) as f32, 1 + u32::from(v[2] > 15)))
            .unzip();
        task.case(name, &grid, 1, &image, &labels);
    }
    task.run_cleanly(&[]);
    // (n - 1) · old spacing + 1: 14 · 2, 19 · 1.5 (rounded to the even voxel), 30 · 0.75
    for (name, shape_zyx) in [("ras", [29, 30, 24]), ("oblique", [24, 29, 30])] {
        let case = task.open(name);
        assert_eq!(case.record().shape_zyx, shape_zyx, "{name}");
        assert_eq!(case.record().spacing_zyx_mm.map(|s| (s * 1e6).round() / 1e6), [1.0; 3]);
        let here = shard_grid(&case);
        let found = raw_values(&case);
        for (i, v) in each_voxel(shape_zyx).enumerate() {
            // the last voxel may lie half a voxel outside the source, whose border it repeats
            if v.iter().zip(&shape_zyx).all(|(v, n)| v + 1 < *n) {
                let expected = ramp(centre(&here, v));
                assert!(
                    (f64::from(found[i]) - expected).abs() < 0.05,
                    "{name} {v:?}: {} {expected}",
                    found[i]
                );
            }
        }
    }
}

#[test]
fn nnunets_convention_follows_the_world_too() {
    let mut task = Task::new();
    task.describe(|d| (d.grid.resampling, d.modality) = (Resampling::Nnunet, Modality::Mri));
    let (_, oblique) = directions().remove(2);
    let spacing_xyz = [0.75, 1.5, 2.0];
    for (name, directions) in [("ras", directions()[0].1), ("oblique", oblique)] {
        let grid = grid(directions, [15, 20, 31], spacing_xyz);
        let (image, labels): (Vec<f32>, Vec<u32>) = each_voxel(grid.shape_zyx)
            .map(|v| (ramp(centre(&grid, v)) as f32, 1 + u32::from(v[2] > 15)))
            .unzip();
        task.case(name, &grid, 1, &image, &labels);
    }
    task.run_cleanly(&[]);
    // n · old spacing: 15 · 2, 20 · 1.5, 31 · 0.75 rounded
    for (name, directions, shape_zyx) in
        [("ras", directions()[0].1, [30, 30, 23]), ("oblique", oblique, [23, 30, 30])]
    {
        let case = task.open(name);
        assert_eq!(case.record().shape_zyx, shape_zyx, "{name}");
        let source = grid(directions, [15, 20, 31], spacing_xyz);
        let here = shard_grid(&case);
        let found = raw_values(&case);
        let labels = case.read_label(&Region::whole(shape_zyx)).unwrap();
        for (i, v) in each_voxel(shape_zyx).enumerate() {
            let place = centre(&here, v);
            // splines bend where the border begins to repeat
            if v.iter().zip(&shape_zyx).all(|(v, n)| (8..n - 8).contains(v)) {
                let expected = ramp(place);
                let error = (f64::from(found[i]) - expected).abs();
                assert!(error < 0.05, "{name} {v:?}: {} {expected}", found[i]);
            }
            let x: f64 = (0..3).map(|k| directions[0][k] * (place[k] - source.affine[k][3])).sum();
            let past = x / spacing_xyz[0] - 15.5;
            if past.abs() > 0.01 {
                assert_eq!(labels[i], 1 + u32::from(past > 0.0), "{name} {v:?}");
            }
        }
    }
}

#[test]
fn four_channels_are_normalised_one_by_one_without_their_zeros() {
    let mut task = Task::new();
    task.describe(|d| {
        d.modality = Modality::Mri;
        d.channels = ["FLAIR", "T1w", "T1gd", "T2w"].map(String::from).to_vec();
        d.intensity = Intensity::MriZscore { nonzero: true }.into();
        classes(&mut d.labels, &["background", "a"]);
    });
    let grid = grid(directions()[1].1, [10, 12, 14], [1.0; 3]);
    let voxels: Vec<[usize; 3]> = each_voxel(grid.shape_zyx).collect();
    let head = |v: &[usize; 3]| v[0] > 0 && (2..10).contains(&v[1]) && v[2] < 13;
    let value =
        |c: usize, v: &[usize; 3]| if head(v) { (100 * c + 10 + v[c % 3] * (c + 1)) as f32 } else { 0.0 };
    let image: Vec<f32> = (0..4).flat_map(|c| voxels.iter().map(move |v| value(c, v))).collect();
    let labels: Vec<u32> = voxels.iter().map(|v| u32::from(head(v) && v[1] == 5)).collect();
    task.case("four", &grid, 4, &image, &labels);
    task.case("three", &grid, 3, &image[..3 * voxels.len()], &labels);
    let (status, messages) = task.run(&[]);
    assert_eq!(status.unwrap(), ExitStatus::Partial);
    let messages = flaws(messages);
    insta::assert_snapshot!(said(&messages), @"E141 case three: found 3 channels, expected 4. imagesTr/three.nii.gz: the data set declares FLAIR, T1w, T1gd, T2w. 1 case has 4 channels, 1 case (three) has 3. Correct the file, or the descriptor's 'channels'.");

    let case = task.open("four");
    let shape_zyx = case.record().shape_zyx;
    assert_eq!(shape_zyx, [9, 8, 13]);
    let names: Vec<_> = case.record().channels.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["FLAIR", "T1w", "T1gd", "T2w"]);
    let found = case.read_image(&Region::whole(shape_zyx)).unwrap();
    for c in 0..4 {
        let inside: Vec<f64> = voxels.iter().filter(|v| head(v)).map(|v| f64::from(value(c, v))).collect();
        let mean = inside.iter().sum::<f64>() / inside.len() as f64;
        let sd = (inside.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / inside.len() as f64).sqrt();
        for (i, [z, y, x]) in each_voxel(shape_zyx).enumerate() {
            // LPS to RAS: y and x run backwards; the crop left away one section, two rows at either side and a column
            let source = [z + 1, 9 - y, 12 - x];
            let expected = (f64::from(value(c, &source)) - mean) / sd;
            let found = f64::from(found[c * inside.len() + i]);
            assert!((found - expected).abs() < 1e-4, "channel {c} {source:?}: {found} {expected}");
        }
    }
}
