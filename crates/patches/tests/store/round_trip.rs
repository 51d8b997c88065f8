//! Any region of any case reads back.

use crate::support::{image, outside, record};
use patches::{
    Case, CaseRecord, CaseWriter, Compression, Error, LabelType, LabelVoxels, Layout, Region, write_case,
};
use proptest::prelude::*;

/// A volume read by a region, `fill` outside.
fn expected<T: Copy>(values: &[T], shape: [usize; 3], region: &Region, fill: T) -> Vec<T> {
    let mut out = Vec::new();
    for z in region.lo[0]..region.hi[0] {
        for y in region.lo[1]..region.hi[1] {
            for x in region.lo[2]..region.hi[2] {
                let inside = [z, y, x].iter().zip(&shape).all(|(v, n)| *v >= 0 && *v < *n as i64);
                let flat = (z * shape[1] as i64 + y) * shape[2] as i64 + x;
                out.push(if inside { values[flat as usize] } else { fill });
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_region_reads_back(
        channels in 1usize..4,
        shape in prop::array::uniform3(1usize..75),
        inner in prop::array::uniform3(4usize..40),
        shard in prop::array::uniform3(4usize..90),
        codec in prop::sample::select(vec![
            Compression::Zstd { level: 1 },
            Compression::ShuffledZstd { level: 1 },
            Compression::ShuffledLz4 { level: 5 },
            Compression::BitShuffledLz4 { level: 1 },
        ]),
        lo in prop::array::uniform3(-20i64..70),
        size in prop::array::uniform3(1usize..50),
        top in prop::sample::select(vec![3u64, 300, 70_000, (1 << 53) + 1, u64::MAX]),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let record = record(channels, shape);
        let data = image(channels, shape);
        let per: usize = shape.iter().product();
        // sections of background: chunks that take no bytes
        let labels: Vec<u64> =
            (0..per as u64).map(|i| if i > per as u64 / 2 { 0 } else if i % 5 == 0 { top } else { i % 3 }).collect();
        let layout = Layout { inner_zyx: inner, shard_zyx: shard, image: codec, label: codec };
        let mut writer = CaseWriter::create(directory.path()).unwrap().with_layout(layout);
        writer.image(channels, shape, |c, lo, part| {
            Ok::<_, Error>(crate::support::cut(&data[c * per..(c + 1) * per], shape, lo, part))
        }).unwrap();
        writer.label(LabelType::for_maximum(top), shape, |lo, part| {
            Ok::<_, Error>(crate::support::cut(&labels, shape, lo, part))
        }).unwrap();
        writer.foreground(&[[1, 0, 0, 0]]).unwrap();
        writer.finish(&record).unwrap();

        let case = Case::open(directory.path()).unwrap();
        case.check().unwrap();
        prop_assert_eq!(case.record(), &record);
        let region = Region::at(lo, size);
        let wanted: Vec<Vec<f32>> = (0..channels)
            .map(|c| expected(&data[c * per..(c + 1) * per], shape, &region, outside(c)))
            .collect();
        prop_assert_eq!(case.read_image(&region).unwrap(), wanted.concat());
        let backwards: Vec<usize> = (0..channels).rev().collect();
        let read = case.read_image_channels(&backwards, &region).unwrap();
        prop_assert_eq!(read, wanted.iter().rev().flatten().copied().collect::<Vec<_>>());
        let wide = expected(&labels, shape, &region, 0);
        prop_assert_eq!(case.read_label_wide(&region).unwrap(), wide.clone());
        match case.read_label(&region) {
            Ok(narrow) => prop_assert_eq!(narrow.into_iter().map(u64::from).collect::<Vec<_>>(), wide),
            Err(_) => prop_assert!(top > u64::from(u32::MAX)),
        }
        prop_assert_eq!(case.read_foreground().unwrap(), vec![[1, 0, 0, 0]]);
    }
}

#[test]
fn reads_from_several_threads_agree() {
    let directory = tempfile::tempdir().unwrap();
    let shape = [70, 80, 90];
    let data = image(1, shape);
    let mut unlabelled = record(1, shape);
    unlabelled.label = None;
    write_case(directory.path(), &unlabelled, &data, None, &[]).unwrap();
    let case = Case::open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (case, data) = (&case, &data);
            scope.spawn(move || {
                for i in 0..20 {
                    let region = Region::at([(i * 3 + thread) % 60, i, 40 - i], [30, 40, 45]);
                    assert_eq!(case.read_image(&region).unwrap(), expected(data, shape, &region, -1.0));
                }
            });
        }
    });
}

#[test]
fn only_what_a_case_has_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let shape = [5, 6, 7];
    let mut unlabelled = record(2, shape);
    unlabelled.label = None;
    write_case(directory.path(), &unlabelled, &image(2, shape), None, &[]).unwrap();
    let case = Case::open(directory.path()).unwrap();
    let region = Region::whole(shape);
    let error = case.read_image_channels(&[2], &region).unwrap_err().to_string();
    assert_eq!(error, "case case has no channel 2");
    assert_eq!(case.read_label(&region).unwrap_err().to_string(), "case case has no label");
    assert!(case.read_foreground().unwrap().is_empty());
    // far outside: all fill, nothing is read
    let far = Region::at([100, 0, 0], [2, 2, 2]);
    assert_eq!(case.read_image_channels(&[1, 0], &far).unwrap(), [[0.0; 8], [-1.0; 8]].concat());
}

#[test]
fn a_case_of_another_version_says_to_preprocess_again() {
    let directory = tempfile::tempdir().unwrap();
    let shape = [5, 6, 7];
    let label = Some((LabelType::U8, LabelVoxels::Narrow(&[1; 210])));
    write_case(directory.path(), &record(1, shape), &image(1, shape), label, &[]).unwrap();
    let path = directory.path().join("zarr.json");
    let text = fs_err::read_to_string(&path).unwrap().replace(CaseRecord::SCHEMA, "gtgm/case/1");
    fs_err::write(&path, text).unwrap();
    let error = Case::open(directory.path()).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, Error::Schema { .. }));
    assert!(said.contains("form gtgm/case/1, expected gtgm/case/2: run preprocess again"), "{said}");
    assert!(error.message("case").to_string().contains("E301"));
}
