//! There and back, and in memory against box by box.

use super::*;
use crate::crop::BoundingBox;
use crate::intensity::IntensityRule;
use crate::resample::{LabelRule, ProbabilityNumbers};
use crate::spool::{Element, Spool, SpoolWriter};
use crate::voxels::Voxels;
use proptest::prelude::*;

fn method(rules: impl Into<Rules>) -> Method {
    Method { spacing_zyx_mm: [1.0; 3], rules: rules.into(), resampling: Resampling::Linear }
}

fn ball(shape: [usize; 3], centre: [f64; 3], radius: f64) -> Vec<u16> {
    let mut labels = Vec::new();
    for z in 0..shape[0] {
        for y in 0..shape[1] {
            for x in 0..shape[2] {
                let d: f64 = [z, y, x].iter().zip(&centre).map(|(v, c)| (*v as f64 - c).powi(2)).sum::<f64>();
                labels.push(u16::from(d.sqrt() < radius));
            }
        }
    }
    labels
}

/// The mean place of what is labelled, in voxels along z, y, x.
fn centre_of(labels: &[u16], [_, height, width]: [usize; 3]) -> [f64; 3] {
    let mut sum = [0.0; 4];
    for (i, _) in labels.iter().enumerate().filter(|(_, label)| **label == 1) {
        let place = [i / (height * width), i / width % height, i % width];
        for (sum, along) in sum.iter_mut().zip(place.iter().chain(&[1])) {
            *sum += *along as f64;
        }
    }
    [0, 1, 2].map(|axis| sum[axis] / sum[3])
}

/// The higher of two classes on the stored grid, of scores that come all at once.
fn highest_of_two(steps: &Steps, scores: &[f32]) -> Vec<u16> {
    let mut slabs = steps.labels_in_slabs(LabelRule::Highest(2)).unwrap();
    slabs.push(scores).unwrap();
    slabs.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Labels that go to the network's grid and back as scores come back on the stored grid where they were.
    #[test]
    fn scores_come_back_where_the_labels_were(
        permutation in prop::sample::select(vec![[0usize, 1, 2], [2, 0, 1], [1, 0, 2], [0, 2, 1]]),
        flips in prop::array::uniform3(any::<bool>()),
        spacing in prop::array::uniform3(0.7f64..1.5),
        centre in prop::array::uniform3(11.0f64..17.0),
        nnunet in any::<bool>(),
        slab in 1_usize..9,
    ) {
        let resampling = if nnunet { Resampling::Nnunet } else { Resampling::Linear };
        let shape = [28, 30, 26];
        let mut affine = [[0.0; 4]; 4];
        for column in 0..3 {
            affine[permutation[column]][column] = if flips[column] { -spacing[column] } else { spacing[column] };
        }
        affine[3][3] = 1.0;
        let grid = Grid::new(shape, affine).unwrap();
        let labels = ball(shape, centre, 8.0);
        let body = ball(shape, centre, 10.5);
        let data: Vec<f32> = body.iter().zip(&labels).map(|(b, l)| f32::from(*b) * 50.0 + f32::from(*l) * 7.0).collect();
        let rule = IntensityRule::MriZScore { nonzero: false };
        let prepared = image(&data, 1, &grid, &Method { resampling, ..method(rule) }).unwrap();
        prop_assert!(prepared.grid.shape_zyx.iter().product::<usize>() < data.len() * 3);
        let here = prepared.steps.labels(&labels).unwrap();
        let scores: Vec<f32> = [0u16, 1].iter().flat_map(|c| here.iter().map(move |l| f32::from(u16::from(l == c)))).collect();
        let back = highest_of_two(&prepared.steps, &scores);
        // slabs of any depth give the same
        let [depth, height, width] = prepared.grid.shape_zyx;
        let mut slabs = prepared.steps.labels_in_slabs(LabelRule::Highest(2)).unwrap();
        for first in (0..depth).step_by(slab) {
            let sections = first * height * width..depth.min(first + slab) * height * width;
            let piece: Vec<f32> = scores.chunks(depth * height * width).flat_map(|c| c[sections.clone()].to_vec()).collect();
            slabs.push(&piece).unwrap();
        }
        prop_assert!(slabs.push(&scores).is_err(), "more sections than there are");
        prop_assert_eq!(&slabs.finish().unwrap(), &back);
        let half = prepared.steps.labels_in_slabs(LabelRule::Highest(2)).unwrap();
        prop_assert!(half.finish().is_err(), "sections that never came");
        // probabilities on the stored grid, of any slabs, have the labels as their arg max
        let folder = tempfile::tempdir().unwrap();
        let new = || {
            let slabs = prepared.steps.labels_in_slabs(LabelRule::Highest(2)).unwrap();
            ProbabilitySlabs::new(slabs, ProbabilityNumbers::Float32, folder.path()).unwrap()
        };
        let mut slabs = new();
        for first in (0..depth).step_by(slab) {
            let sections = first * height * width..depth.min(first + slab) * height * width;
            let piece: Vec<f32> = scores.chunks(depth * height * width).flat_map(|c| c[sections.clone()].to_vec()).collect();
            slabs.push(&piece).unwrap();
        }
        let (same, probabilities) = slabs.finish().unwrap();
        prop_assert_eq!(&same, &back);
        prop_assert_eq!((probabilities.channels(), probabilities.shape_zyx()), (2, shape));
        let whole = BoundingBox::whole(shape);
        let [none, some] = [0, 1].map(|channel| probabilities.read(channel, &whole).unwrap());
        let (least, most) = (0.0, 1.0_f32.exp() / (1.0 + 1.0_f32.exp()) + 1e-6);
        for ((none, some), label) in none.iter().zip(&some).zip(&back) {
            prop_assert_eq!(some > none, *label == 1);
            prop_assert!((none + some - 1.0).abs() < 1e-6 && (least..=most).contains(some));
        }
        prop_assert!(new().finish().is_err(), "sections that never came");
        let both = labels.iter().zip(&back).filter(|(a, b)| **a == 1 && **b == 1).count() as f64;
        let sum = labels.iter().chain(&back).filter(|v| **v == 1).count() as f64;
        // where the linear interpolation of two classes is a tie, the lower one wins: at some voxel sizes a seventh of all voxels
        prop_assert!(2.0 * both / sum > 0.88, "Dice {}", 2.0 * both / sum);
        for (axis, (there, back)) in centre_of(&labels, shape).into_iter().zip(centre_of(&back, shape)).enumerate() {
            prop_assert!((there - back).abs() < 0.5, "axis {axis}: centre {there} and {back}");
        }
        if spacing.iter().all(|s| (*s - 1.0).abs() < 1e-9) {
            prop_assert_eq!(&labels, &back);
        }
    }
}

#[test]
fn without_resampling_the_way_back_is_exact() {
    for resampling in [Resampling::Linear, Resampling::Nnunet] {
        the_way_back_is_exact(resampling);
    }
}

fn the_way_back_is_exact(resampling: Resampling) {
    let shape = [20, 22, 24];
    let affine = [[-1.0, 0.0, 0.0, 3.0], [0.0, 0.0, 1.0, 5.0], [0.0, -1.0, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]];
    let grid = Grid::new(shape, affine).unwrap();
    let labels = ball(shape, [9.0, 12.0, 10.0], 6.0);
    let data: Vec<f32> =
        ball(shape, [9.0, 12.0, 10.0], 8.0).iter().zip(&labels).map(|(b, l)| f32::from(b * 3 + l)).collect();
    let prepared =
        image(&data, 1, &grid, &Method { resampling, ..method(IntensityRule::MriZScore { nonzero: true }) })
            .unwrap();
    assert!(prepared.grid.shape_zyx.iter().all(|n| *n < 20));
    let here = prepared.steps.labels(&labels).unwrap();
    let scores: Vec<f32> =
        [0, 1].iter().flat_map(|c| here.iter().map(move |l| f32::from(u8::from(l == c)))).collect();
    assert_eq!(highest_of_two(&prepared.steps, &scores), labels);
}

fn spooled<T: Element>(data: &[T], channels: usize, grid: &Grid) -> Spool<T> {
    let orientation = Orientation::to_canonical(grid);
    let mut writer = SpoolWriter::new(&std::env::temp_dir(), channels, grid.shape_zyx, orientation).unwrap();
    writer.write(data).unwrap();
    writer.finish().unwrap()
}

fn rule() -> impl Strategy<Value = IntensityRule> {
    prop_oneof![
        any::<bool>().prop_map(|nonzero| IntensityRule::MriZScore { nonzero }),
        Just(IntensityRule::CtWindow { low: -20.3, high: 77.7 }),
        Just(IntensityRule::CtPercentile { low: -11.1, high: 60.0, mean: 20.0, std: 13.0 }),
        Just(IntensityRule::EmScale),
        Just(IntensityRule::Window { low: 1.7, high: 88.8 }),
        Just(IntensityRule::MinMax),
        Just(IntensityRule::None),
    ]
}

/// For two channels.
fn rules() -> impl Strategy<Value = Rules> {
    let each = prop::collection::vec(rule(), 2).prop_map(Rules::Each);
    prop_oneof![rule().prop_map(Rules::All), each]
}

/// Two channels with air of one value around a body.
fn body(shape: [usize; 3], air: f32, seed: u32, low: f32) -> Vec<f32> {
    let mut data = Vec::new();
    for channel in 0..2_u32 {
        for i in 0..shape.iter().product::<usize>() {
            let at = [i / (shape[1] * shape[2]), i / shape[2] % shape[1], i % shape[2]];
            let inside =
                (0..3).all(|k| at[k] * 5 >= shape[k] && (at[k] + channel as usize) * 6 < shape[k] * 5);
            let hash = (i as u32 ^ seed ^ channel << 20).wrapping_mul(2_654_435_761) >> 20;
            data.push(if inside { (hash as f32 / 17.0 + low).max(low) } else { air });
        }
    }
    data
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// What is read from a file box by box is, bit for bit, what is made in memory at once.
    #[test]
    fn streamed_and_in_memory_are_the_same_bits(
        o in crate::orientation::tests::orientations(),
        shape in [3..90_usize, 3..40_usize, 3..70_usize],
        spacing in prop::array::uniform3(0.5_f64..2.5),
        thick in prop::option::of(0..3_usize),
        rules in rules(),
        resampling in prop::sample::select(vec![Resampling::Linear, Resampling::Nnunet]),
        seed in any::<u32>(),
        picks in prop::array::uniform6(0.0_f64..1.0),
    ) {
        let mut spacing = spacing;
        if let Some(axis) = thick {
            spacing[axis] = 8.0;
        }
        let grid = o.invert().apply_to_grid(&Grid::from_spacing(shape, spacing, [3.0, 2.0, 1.0]).unwrap());
        let any = |test: fn(&IntensityRule) -> bool| rules.of(2).unwrap().iter().any(test);
        let low = if any(|rule| *rule == IntensityRule::EmScale) { 0.0 } else { -60.0 };
        let zeros = resampling == Resampling::Nnunet || any(IntensityRule::keeps_zeros);
        let air = if zeros { 0.0 } else { low };
        let data = body(grid.shape_zyx, air, seed, low);
        let method = Method { spacing_zyx_mm: [1.25, 1.0, 1.5], rules, resampling };
        let whole = image(&data, 2, &grid, &method).unwrap();

        let spool = spooled(&data, 2, &grid);
        let survey = survey(&spool, &grid, &method).unwrap();
        prop_assert_eq!(&survey.steps, &whole.steps);
        prop_assert_eq!(&survey.transforms, &whole.transforms);
        prop_assert_eq!(&survey.ranges, &whole.ranges);
        let shape = whole.grid.shape_zyx;
        let voxels = shape.iter().product::<usize>();
        for (channel, range) in whole.data.chunks_exact(voxels).zip(&whole.ranges) {
            let low = channel.iter().copied().fold(f32::INFINITY, f32::min);
            let high = channel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            match resampling {
                Resampling::Linear => prop_assert_eq!([low, high], *range),
                Resampling::Nnunet => prop_assert!(low >= range[0] && high <= range[1]),
            }
        }
        let labels: Vec<u32> = data[..data.len() / 2].iter().map(|v| (v + 60.0) as u32 / 50).collect();
        let whole_labels = whole.steps.labels(&labels).unwrap();
        let label_spool = spooled(&labels, 1, &grid);
        let start_zyx: [usize; 3] = std::array::from_fn(|k| (picks[k] * shape[k] as f64) as usize);
        let end_zyx = std::array::from_fn(|k| {
            (start_zyx[k] + 1 + (picks[k + 3] * 1.5 * shape[k] as f64) as usize).min(shape[k])
        });
        for bounds in [BoundingBox { start_zyx, end_zyx }, BoundingBox::whole(shape)] {
            for channel in 0..2 {
                let found = survey.image_region(&spool, channel, &bounds).unwrap();
                let expected = &whole.data[channel * voxels..][..voxels];
                let expected = crop::crop(expected, 1, shape, &bounds).unwrap();
                prop_assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
            let found = survey.label_region(&label_spool, &bounds).unwrap();
            prop_assert_eq!(found, crop::crop(&whole_labels, 1, shape, &bounds).unwrap());
        }
        prop_assert!(survey.image_region(&spool, 2, &BoundingBox::whole(shape)).is_err());
    }
}

/// Voxels in a box of air, by hand.
fn box_of(data: &[f32], channels: usize, shape: [usize; 3], rules: impl Into<Rules>) -> Result<BoundingBox> {
    let grid = Grid::from_spacing(shape, [1.0; 3], [0.0; 3]).unwrap();
    image(data, channels, &grid, &method(rules)).map(|prepared| prepared.steps.bounds)
}

#[test]
fn each_channel_has_its_own_rule_and_foreground() {
    let shape = [4, 5, 6];
    let at = |c: usize, z: usize, y: usize, x: usize| ((c * 4 + z) * 5 + y) * 6 + x;
    // a CT in air, uptake in zeros, and a mask
    let mut data = vec![-1024.0_f32; 4 * 5 * 6];
    data.resize(3 * 4 * 5 * 6, 0.0);
    (data[at(0, 1, 2, 3)], data[at(0, 1, 2, 4)]) = (40.0, 700.0);
    (data[at(1, 2, 1, 4)], data[at(1, 1, 2, 3)]) = (8.0, 2.0);
    data[at(2, 1, 2, 3)] = 1.0;
    let rules = Rules::Each(vec![
        IntensityRule::CtWindow { low: -160.0, high: 240.0 },
        IntensityRule::Window { low: 0.0, high: 4.0 },
        IntensityRule::None,
    ]);
    let grid = Grid::from_spacing(shape, [1.0; 3], [0.0; 3]).unwrap();
    let found = image(&data, 3, &grid, &method(rules.clone())).unwrap();
    assert_eq!(found.steps.bounds, BoundingBox { start_zyx: [1, 1, 3], end_zyx: [3, 3, 5] });
    let expected = [
        [0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ];
    assert_eq!(found.data, expected.concat());
    assert_eq!(found.ranges, [[0.0, 1.0]; 3]);
    // an empty mask stays one and says nothing
    data[at(2, 1, 2, 3)] = 0.0;
    let found = image(&data, 3, &grid, &method(rules.clone())).unwrap();
    assert!(found.data[16..].iter().all(|value| *value == 0.0) && !found.transforms[2].constant);
    // a full one too
    data[2 * 120..].fill(1.0);
    let found = image(&data, 3, &grid, &method(rules.clone())).unwrap();
    assert!(found.data[16..].iter().all(|value| *value == 1.0));
    assert_eq!(found.ranges[2], [1.0; 2]);
    // what does not fit is named
    let em = Rules::Each(vec![IntensityRule::MinMax, IntensityRule::EmScale, IntensityRule::None]);
    data[at(1, 0, 0, 0)] = 300.0;
    let error = image(&data, 3, &grid, &method(em.clone())).unwrap_err();
    let text = "channel 1: intensities span [0, 300]; the rule em-scale expects [0, 255]";
    assert_eq!(error.to_string(), text);
    let statistics: Vec<_> =
        data.chunks(120).map(|channel| IntensityRule::None.fit(channel).unwrap().statistics).collect();
    assert_eq!(check(&statistics, &grid, &method(em)).unwrap_err().to_string(), text);
    // and so are rules for another number of channels
    let error = image(&data[..240], 2, &grid, &method(rules)).unwrap_err();
    assert_eq!(error.to_string(), "list of intensity rules has 3 elements; its shape needs 2");
}

#[test]
fn the_box_is_tight_over_all_channels() {
    let mut data = vec![0.0_f32; 2 * 4 * 5 * 6];
    let at = |c: usize, z: usize, y: usize, x: usize| ((c * 4 + z) * 5 + y) * 6 + x;
    (data[at(0, 1, 2, 3)], data[at(0, 1, 2, 4)]) = (1.0, 2.0);
    (data[at(1, 2, 1, 4)], data[at(1, 2, 1, 3)]) = (-1.0, 3.0);
    let expected = BoundingBox { start_zyx: [1, 1, 3], end_zyx: [3, 3, 5] };
    let found = box_of(&data, 2, [4, 5, 6], IntensityRule::MriZScore { nonzero: true }).unwrap();
    assert_eq!(found, expected);
    // a channel without contrast becomes zeros, and no foreground
    data[..4 * 5 * 6].fill(7.0);
    let found = box_of(&data, 2, [4, 5, 6], IntensityRule::MriZScore { nonzero: true }).unwrap();
    assert_eq!(found, BoundingBox { start_zyx: [2, 1, 3], end_zyx: [3, 2, 5] });
}

#[test]
fn air_is_background_and_nothing_is_an_error() {
    let mut data = vec![-1024.0_f32; 27];
    let rule = IntensityRule::CtWindow { low: -900.0, high: 200.0 };
    assert_eq!(box_of(&data, 1, [3; 3], rule).unwrap_err().code(), "E133");
    // clipped to what air is clipped to
    data[12] = -950.0;
    let error = box_of(&data, 1, [3; 3], rule).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no foreground: intensities span [-1024, -950], outside of the window [-900, 200]"
    );
    data[13] = 40.0;
    let one = BoundingBox { start_zyx: [1; 3], end_zyx: [2; 3] };
    assert_eq!(box_of(&data, 1, [3; 3], rule).unwrap(), one);
    let grid = Grid::from_spacing([3; 3], [1.0; 3], [0.0; 3]).unwrap();
    let nnunet = Method { resampling: Resampling::Nnunet, ..method(rule) };
    assert_eq!(image(&data, 1, &grid, &nnunet).unwrap().grid.shape_zyx, [3; 3]);
    let error = image(&[0.0; 27], 1, &grid, &nnunet).unwrap_err();
    assert_eq!(error.to_string(), "no foreground: no voxel of 3×3×3 is other than 0");
    assert_eq!(error.code(), "E133");
    // one voxel, or a mask in place of an image
    let mut data = [0.0_f32; 27];
    data[13] = 5.0;
    let zeros = IntensityRule::MriZScore { nonzero: true };
    let error = image(&data, 1, &grid, &method(zeros)).unwrap_err();
    assert_eq!(error.to_string(), "no foreground: every voxel other than 0 is 5");
    assert!(error.hint().unwrap().contains("mask"), "{error}");
    // centimetres in place of millimetres, or worse
    let grid = Grid::from_spacing([3; 3], [0.01; 3], [0.0; 3]).unwrap();
    data[12] = 9.0;
    let error = image(&data, 1, &grid, &method(zeros)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no foreground: resampling 3×3×3 voxels of 0.01×0.01×0.01 mm to 1×1×1 mm leaves 1×1×1 (z×y×x), which do not differ"
    );
    assert!(error.hint().unwrap().contains("unit"), "{error}");
}

#[test]
fn statistics_alone_tell_what_preparing_refuses() {
    let grid = Grid::from_spacing([3; 3], [1.0; 3], [0.0; 3]).unwrap();
    let mut one = [0.0_f32; 27];
    one[13] = 5.0;
    let mut two = one;
    two[12] = 300.0;
    let rules = [
        IntensityRule::CtWindow { low: -100.0, high: 200.0 },
        IntensityRule::CtWindow { low: 400.0, high: 500.0 },
        IntensityRule::CtPercentile { low: -100.0, high: 0.0, mean: 1.0, std: 1.0 },
        IntensityRule::MriZScore { nonzero: true },
        IntensityRule::MriZScore { nonzero: false },
        IntensityRule::EmScale,
        IntensityRule::Window { low: 400.0, high: 500.0 },
        IntensityRule::MinMax,
        IntensityRule::None,
    ];
    for (data, rule) in [one, two, [0.0; 27]].iter().flat_map(|data| rules.map(|rule| (data, rule))) {
        for resampling in [Resampling::Linear, Resampling::Nnunet] {
            let method = Method { resampling, ..method(rule) };
            let Ok(transform) = rule.fit(data) else {
                assert!(image(data, 1, &grid, &method).is_err());
                continue;
            };
            let by_statistics = check(&[transform.statistics], &grid, &method).map_err(|e| e.to_string());
            let by_voxels = image(data, 1, &grid, &method).map(drop).map_err(|e| e.to_string());
            assert_eq!(by_statistics, by_voxels, "{method:?}");
        }
    }
}

#[test]
fn little_that_resampling_leaves_is_doubted() {
    let grid = |shape, mm| Grid::from_spacing(shape, mm, [0.0; 3]).unwrap();
    let found = shrinkage(&grid([30, 64, 64], [0.1; 3]), &grid([4, 7, 7], [1.0; 3])).unwrap();
    assert_eq!(found.code(), "W150");
    assert!(
        found
            .to_string()
            .starts_with("resampling 30×64×64 voxels of 0.1×0.1×0.1 mm to 1×1×1 mm leaves 4×7×7"),
        "{found}"
    );
    assert!(shrinkage(&grid([2, 64, 64], [0.1, 1.0, 1.0]), &grid([1, 64, 64], [1.0; 3])).is_some());
    assert_eq!(shrinkage(&grid([1, 64, 64], [1.0; 3]), &grid([1, 32, 32], [2.0; 3])), None);
    assert_eq!(shrinkage(&grid([30, 64, 64], [1.0; 3]), &grid([15, 16, 16], [2.0, 4.0, 4.0])), None);
}

#[test]
fn the_other_convention_crops_normalises_and_resamples_in_this_order() {
    let shape = [6, 8, 8];
    let grid = Grid::from_spacing(shape, [4.0, 1.0, 1.0], [0.0; 3]).unwrap();
    let mut data = vec![0.0_f32; 6 * 8 * 8];
    let mut inside = Vec::new();
    for z in 1..5 {
        for y in 2..8 {
            for x in 0..6 {
                let value = (10 * z + y * x) as f32;
                data[(z * 8 + y) * 8 + x] = value;
                inside.push(f64::from(value));
            }
        }
    }
    let rule = IntensityRule::MriZScore { nonzero: false };
    let method =
        Method { spacing_zyx_mm: [2.0, 1.0, 1.0], rules: rule.into(), resampling: Resampling::Nnunet };
    let prepared = image(&data, 1, &grid, &method).unwrap();
    assert_eq!(prepared.steps.part, BoundingBox { start_zyx: [1, 2, 0], end_zyx: [5, 8, 6] });
    assert_eq!(prepared.grid.shape_zyx, [8, 6, 6]);
    // a slice apart is halved: its centre lies a quarter of it before the old one's
    assert_eq!(prepared.grid.world([0.0; 3]), [0.0, 2.0, 3.0]);
    let n = inside.len() as f64;
    let mean = inside.iter().sum::<f64>() / n;
    let std = (inside.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    for (i, value) in prepared.data.iter().enumerate() {
        let expected = (inside[i / 72 * 36 + i % 36] - mean) / std;
        assert!((f64::from(*value) - expected).abs() < 1e-5, "{i}");
    }
    // the way back leaves zeros outside of the crop
    let scores: Vec<f32> = [0.0, 1.0].iter().flat_map(|v| [*v; 8 * 36]).collect();
    let classes = highest_of_two(&prepared.steps, &scores);
    assert!(classes.iter().zip(&data).all(|(class, value)| (*class == 1) == (*value != 0.0)));
}

#[test]
fn voxels_that_are_not_finite_are_counted_in_the_source() {
    let grid = Grid::from_spacing([4; 3], [2.0; 3], [0.0; 3]).unwrap();
    let mut data: Vec<f32> = (0..128).map(|v| v as f32).collect();
    (data[70], data[90]) = (f32::NAN, f32::INFINITY);
    for resampling in [Resampling::Linear, Resampling::Nnunet] {
        let method = Method { resampling, ..method(IntensityRule::MriZScore { nonzero: false }) };
        let error = image(&data, 2, &grid, &method).unwrap_err();
        let expected = "1 NaN and 1 infinite voxels in channel 1";
        assert!(error.to_string().contains(expected), "{error}");
    }
    let method = method(IntensityRule::MriZScore { nonzero: false });
    let turned = InMemory::new(&data, 1, [4, 4, 8]).unwrap();
    assert_eq!(survey(&turned, &grid, &method).unwrap_err().code(), "E199");
    assert_eq!(turned.channels(), 1);
}
