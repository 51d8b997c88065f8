//! Whole volumes against what they must be, and boxes against whole volumes.

use super::region::Kernel;
use super::*;
use crate::crop;
use crate::voxels::InMemory;
use proptest::prelude::*;

fn grid(shape: [usize; 3], spacing: [f64; 3]) -> Grid {
    Grid::from_spacing(shape, spacing, [1.0, 2.0, 3.0]).unwrap()
}

fn noise(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i ^ seed).wrapping_mul(2_654_435_761).rotate_left(11).wrapping_mul(40_503) >> 16)
        .map(|v| v as f32 / 64.0 - 300.0)
        .collect()
}

#[test]
fn a_ramp_stays_a_ramp() {
    let from = grid([4, 5, 6], [2.0, 1.0, 1.0]);
    let data: Vec<f32> = (0..120).map(|i| (i / 30) as f32 * 2.0 + (i % 6) as f32).collect();
    let (out, to) = trilinear(&data, 1, &from, [1.0, 0.5, 2.0]).unwrap();
    // 3.5 steps of 2 mm round to the even 4; the last voxel lies outside and repeats the border.
    assert_eq!(to.shape_zyx, [7, 9, 4]);
    assert_eq!(to.spacing_zyx_mm(), [1.0, 0.5, 2.0]);
    for (i, value) in out.iter().enumerate() {
        let expected = (i / 36) as f32 + ((i % 4) as f32 * 2.0).min(5.0);
        assert!((value - expected).abs() < 1e-5, "{i}: {value} {expected}");
    }
}

#[test]
fn the_same_spacing_changes_nothing() {
    let from = grid([3, 4, 5], [2.5, 0.7, 0.7]);
    let data: Vec<f32> = (0..120).map(|i| (i as f32).sin()).collect();
    let labels: Vec<u64> = (0..60).collect();
    for resampling in [Resampling::Linear, Resampling::Nnunet] {
        let (out, to) = resampling.image(&data, 2, &from, [2.5, 0.7, 0.7 + 1e-7]).unwrap();
        assert_eq!(out, data);
        assert_eq!(to, from);
        assert_eq!(resampling.labels(&labels, &from, [2.5, 0.7, 0.7]).unwrap(), (labels.clone(), from));
    }
}

#[test]
fn one_slice_can_be_resampled() {
    let from = grid([1, 2, 2], [5.0, 1.0, 1.0]);
    let (out, to) = trilinear(&[1.0, 2.0, 3.0, 4.0], 1, &from, [1.0, 1.0, 1.0]).unwrap();
    assert_eq!((out, to.shape_zyx), (vec![1.0, 2.0, 3.0, 4.0], [1, 2, 2]));
    let (out, to) = spline(&[1.0, 2.0, 3.0, 4.0], 1, &from, [2.5, 1.0, 1.0]).unwrap();
    assert_eq!((out, to.shape_zyx), ([1.0, 2.0, 3.0, 4.0].repeat(2), [2, 2, 2]));
    let (out, to) = vote(&[7_u64], &grid([1; 3], [1.0; 3]), [0.4; 3]).unwrap();
    assert_eq!((out, to.shape_zyx), (vec![7; 8], [2; 3]));
}

#[test]
fn turned_grids_and_bad_spacings_are_refused() {
    let from = grid([3, 3, 3], [1.0; 3]);
    let mut to = from;
    to.affine[0] = [0.8, -0.6, 0.0, 1.0];
    to.affine[1] = [0.6, 0.8, 0.0, 2.0];
    assert_eq!(trilinear_to_grid(&[0.0; 27], 1, &from, &to).unwrap_err().code(), "E120");
    for bad in [0.0, -1.0, f64::NAN] {
        for resampling in [Resampling::Linear, Resampling::Nnunet] {
            assert!(resampling.target_grid(&from, [1.0, bad, 1.0]).is_err());
        }
    }
    assert!(spline(&[0.0; 26], 1, &from, [0.5; 3]).is_err());
    assert!(vote(&[0_u8; 26], &from, [0.5; 3]).is_err());
}

#[test]
fn conventions_are_stored_by_name() {
    assert_eq!(Resampling::default(), Resampling::Linear);
    for resampling in [Resampling::Linear, Resampling::Nnunet] {
        let json = serde_json::to_string(&resampling).unwrap();
        assert_eq!(json, format!("\"{}\"", resampling.name()));
        assert_eq!(serde_json::from_str::<Resampling>(&json).unwrap(), resampling);
    }
}

#[test]
fn fused_argmax_equals_interpolation_then_argmax() {
    let from = grid([3, 4, 5], [2.0, 1.5, 1.0]);
    let to = grid([6, 6, 5], [1.0, 1.0, 1.0]);
    let scores: Vec<f32> = (0..180).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
    let dense = trilinear_to_grid(&scores, 3, &from, &to).unwrap();
    let expected: Vec<u16> = (0..180)
        .map(|voxel| {
            (0..3_u16)
                .rev()
                .max_by(|a, b| {
                    dense[usize::from(*a) * 180 + voxel].total_cmp(&dense[usize::from(*b) * 180 + voxel])
                })
                .unwrap()
        })
        .collect();
    let lines = axis_lines(&from, &to).unwrap();
    let rule = LabelRule::Highest(3);
    let mut labeller = Labeller::new(rule, &lines, from.shape_zyx, to.shape_zyx, None).unwrap();
    labeller.push(&scores).unwrap();
    assert_eq!(labeller.finish().unwrap(), expected);
}

#[test]
fn regions_are_painted_where_interpolated_scores_are_above_zero_the_later_over_the_earlier() {
    let from = grid([3, 4, 5], [2.0, 1.5, 1.0]);
    let to = grid([6, 6, 5], [1.0, 1.0, 1.0]);
    let scores: Vec<f32> = (0..120).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
    let dense = trilinear_to_grid(&scores, 2, &from, &to).unwrap();
    let expected: Vec<u16> = (0..180)
        .map(|voxel| match [dense[voxel] > 0.0, dense[180 + voxel] > 0.0] {
            [_, true] => 1,
            [true, false] => 4,
            [false, false] => 0,
        })
        .collect();
    assert!([0, 1, 4].iter().all(|value| expected.contains(value)));
    let lines = axis_lines(&from, &to).unwrap();
    let rule = LabelRule::Paint(vec![4, 1]);
    let mut labeller = Labeller::new(rule, &lines, from.shape_zyx, to.shape_zyx, None).unwrap();
    for section in 0..3 {
        let slab: Vec<f32> = scores.chunks(60).flat_map(|c| c[section * 20..][..20].to_vec()).collect();
        labeller.push(&slab).unwrap();
    }
    assert_eq!(labeller.finish().unwrap(), expected);
}

/// Cubic interpolation the other way: B-spline coefficients by recursion over the signal with its border repeated, then
/// four B-splines.
fn spline_of_line(line: &[f64], at: f64) -> f64 {
    const BORDER: usize = 40;
    let n = line.len() + 2 * BORDER;
    let sample = |i: usize| line[i.saturating_sub(BORDER).min(line.len() - 1)];
    let pole = 3.0_f64.sqrt() - 2.0;
    let mut c: Vec<f64> = (0..n).map(|i| 6.0 * sample(i)).collect();
    for i in 1..n {
        c[i] += pole * c[i - 1];
    }
    c[n - 1] *= -pole / (1.0 - pole);
    for i in (0..n - 1).rev() {
        c[i] = pole * (c[i + 1] - c[i]);
    }
    let at = at + BORDER as f64;
    let low = at.floor() as usize;
    let b = |d: f64| match d.abs() {
        d if d < 1.0 => 2.0 / 3.0 - d * d * (2.0 - d) / 2.0,
        d if d < 2.0 => (2.0 - d).powi(3) / 6.0,
        _ => 0.0,
    };
    (low - 1..low + 3).map(|i| c[i] * b(at - i as f64)).sum()
}

#[test]
fn splines_go_through_their_samples_along_each_axis() {
    for (n, new) in [(50, 77), (50, 31), (7, 20), (30, 3), (2, 5)] {
        let line = noise(n, n as u32);
        let signal: Vec<f64> = line.iter().map(|v| f64::from(*v)).collect();
        let (low, high) = signal.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        for axis in 0..3 {
            let mut shape = [1; 3];
            shape[axis] = n;
            let mut spacing = [1.0; 3];
            spacing[axis] = n as f64 / new as f64;
            // so that no axis is apart, the others have a spacing between
            let others = spacing[axis].sqrt();
            let from = grid(shape, std::array::from_fn(|k| if k == axis { 1.0 } else { others }));
            let to = std::array::from_fn(|k| if k == axis { spacing[k] } else { others });
            let (out, target) = spline(&line, 1, &from, to).unwrap();
            assert_eq!(target.shape_zyx[axis], new);
            for (i, value) in out.iter().enumerate() {
                let at = (i as f64 + 0.5) * n as f64 / new as f64 - 0.5;
                let expected = spline_of_line(&signal, at).clamp(low, high);
                let error = (f64::from(*value) - expected).abs() / (high - low);
                assert!(error < 2e-6, "{n} to {new} along {axis}, voxel {i}: {error}");
            }
        }
    }
}

/// The vote as nnU-Net's authors write it: each class interpolated on its own, the largest wins.
fn vote_by_class(labels: &[u64], from: [usize; 3], to: [usize; 3], apart: Option<usize>) -> Vec<Vec<f64>> {
    let coordinate = |axis: usize, i: usize| {
        let at = (i as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5;
        let at = if apart == Some(axis) { (at + 0.5).floor() } else { at };
        at.clamp(0.0, (from[axis] - 1) as f64)
    };
    let mut found = Vec::new();
    for z in 0..to[0] {
        for y in 0..to[1] {
            for x in 0..to[2] {
                let at = [coordinate(0, z), coordinate(1, y), coordinate(2, x)];
                let mut classes = vec![0.0; 4];
                for corner in 0..8 {
                    let (mut index, mut weight) = (0, 1.0);
                    for axis in 0..3 {
                        let low = at[axis] as usize;
                        let share = at[axis] - low as f64;
                        let high = corner >> axis & 1 == 1;
                        weight *= if high { share } else { 1.0 - share };
                        let voxel = if high { (low + 1).min(from[axis] - 1) } else { low };
                        index = index * from[axis] + voxel;
                    }
                    classes[labels[index] as usize] += weight;
                }
                found.push(classes);
            }
        }
    }
    found
}

fn boxes_equal_the_whole<K: Kernel>(kernel: &K, data: &[K::In], from: [usize; 3], picks: [f64; 6])
where
    K::Out: PartialEq + std::fmt::Debug,
{
    let to = kernel.target_zyx();
    let source = InMemory::new(data, 1, from).unwrap();
    let whole = region(kernel, &source, 0, &BoundingBox::whole(to)).unwrap();
    let start_zyx: [usize; 3] = std::array::from_fn(|k| (picks[k] * to[k] as f64) as usize);
    let end_zyx: [usize; 3] =
        std::array::from_fn(|k| start_zyx[k] + 1 + (picks[k + 3] * (to[k] - start_zyx[k]) as f64) as usize);
    let bounds = BoundingBox { start_zyx, end_zyx: std::array::from_fn(|k| to[k].min(end_zyx[k])) };
    let found = region(kernel, &source, 0, &bounds).unwrap();
    assert_eq!(found, crop::crop(&whole, 1, to, &bounds).unwrap());
    // cut into the smallest pieces
    let mut out = vec![K::Out::default(); bounds.voxels()];
    super::region::tests::in_pieces(kernel, &source, &bounds, &mut out);
    assert_eq!(found, out);
    let outside = BoundingBox { start_zyx, end_zyx: to.map(|n| n + 1) };
    assert!(region(kernel, &source, 0, &outside).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_box_is_that_of_the_whole(
        shape in [1..40_usize, 1..40_usize, 1..40_usize],
        to in [1..50_usize, 1..50_usize, 1..50_usize],
        picks in prop::array::uniform6(0.0_f64..1.0),
        seed in any::<u32>(),
        apart in prop::option::of(0..3_usize),
    ) {
        let voxels = shape.iter().product();
        let data = noise(voxels, seed);
        let labels: Vec<u64> = data.iter().map(|v| (v.abs() / 60.0) as u64).collect();
        let lines = half_pixel_lines(shape, to);
        boxes_equal_the_whole(&Linear::new(&lines, shape, to), &data, shape, picks);
        boxes_equal_the_whole(&Nearest::new(&lines, shape, to), &labels, shape, picks);
        boxes_equal_the_whole(&Vote::new(&lines, shape, to, apart), &labels, shape, picks);
        let clip = Clip::of(&data, shape, apart);
        boxes_equal_the_whole(&Spline::new(shape, to, apart).clipped(&clip), &data, shape, picks);
    }

    #[test]
    fn votes_are_the_largest_of_linear_interpolations(
        shape in [1..7_usize, 1..7_usize, 1..7_usize],
        to in [1..9_usize, 1..9_usize, 1..9_usize],
        seed in any::<u32>(),
        apart in prop::option::of(0..3_usize),
    ) {
        let labels: Vec<u64> =
            noise(shape.iter().product(), seed).iter().map(|v| v.to_bits() as u64 >> 9 & 3).collect();
        let kernel = Vote::new(&half_pixel_lines(shape, to), shape, to, apart);
        let source = InMemory::new(&labels, 1, shape).unwrap();
        let found = region(&kernel, &source, 0, &BoundingBox::whole(to)).unwrap();
        for (label, classes) in found.iter().zip(vote_by_class(&labels, shape, to, apart)) {
            let most = classes.iter().copied().fold(0.0, f64::max);
            prop_assert!(classes[*label as usize] > most - 1e-5, "{label} {classes:?}");
            let lower = &classes[..*label as usize];
            prop_assert!(lower.iter().all(|weight| *weight < most + 1e-5));
        }
    }

    #[test]
    fn nearest_there_and_back_keeps_labels_when_refined(
        z in 1..5_usize, y in 1..6_usize, x in 1..6_usize, factor in 2..4_usize, seed in any::<u32>()
    ) {
        let from = grid([z, y, x], [3.0, 2.0, 1.0]);
        let labels: Vec<u8> =
            (0..z * y * x).map(|i| (seed.wrapping_mul(2_654_435_761).wrapping_add(i as u32 * 97) >> 7) as u8).collect();
        let fine = [3.0, 2.0, 1.0].map(|mm| mm / factor as f64);
        let (there, to) = nearest(&labels, &from, fine).unwrap();
        prop_assert_eq!(nearest_to_grid(&there, &to, &from).unwrap(), labels);
    }
}
