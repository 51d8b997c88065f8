//! Writing box by box: the same bytes as whole arrays, errors as they are, nothing half-written passes.

use crate::support::{cut, image, record};
use data_manifests::descriptor::LabelKind;
use data_manifests::digest;
use patches::{Case, CaseWriter, Error, LabelCount, LabelRecord, LabelType, LabelVoxels, Layout, write_case};
use std::path::Path;

const SHAPE: [usize; 3] = [70, 45, 50];

fn labels() -> Vec<u32> {
    (0..SHAPE.iter().product::<usize>() as u32).map(|i| i / 1000 % 7).collect()
}

fn streamed(directory: &Path) {
    let (data, labels) = (image(2, SHAPE), labels());
    let voxels: usize = SHAPE.iter().product();
    let mut writer = CaseWriter::create(directory).unwrap();
    // the order of arrays does not matter
    writer.foreground(&[[1, 0, 0, 1]]).unwrap();
    let narrow: Vec<u8> = labels.iter().map(|v| *v as u8).collect();
    writer.label(LabelType::U16, SHAPE, |lo, part| Ok::<_, Error>(cut(&narrow, SHAPE, lo, part))).unwrap();
    writer
        .image(2, SHAPE, |c, lo, part| {
            Ok::<_, Error>(cut(&data[c * voxels..(c + 1) * voxels], SHAPE, lo, part))
        })
        .unwrap();
    writer.finish(&record(2, SHAPE)).unwrap();
}

#[test]
fn streamed_and_whole_writing_give_the_same_bytes() {
    let [first, second, whole] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    streamed(first.path());
    streamed(second.path());
    let label = Some((LabelType::U16, LabelVoxels::Narrow(&labels())));
    write_case(whole.path(), &record(2, SHAPE), &image(2, SHAPE), label, &[[1, 0, 0, 1]]).unwrap();
    let expected = digest::tree(whole.path()).unwrap();
    assert_eq!(digest::tree(first.path()).unwrap(), expected);
    assert_eq!(digest::tree(second.path()).unwrap(), expected);
}

#[test]
fn boxes_cover_the_volume_once_and_none_is_larger_than_a_shard() {
    let directory = tempfile::tempdir().unwrap();
    let shape = [40, 70, 33];
    let mut seen = vec![0; 40 * 70 * 33];
    let layout = Layout { inner_zyx: [8, 16, 16], shard_zyx: [16, 32, 40], ..Layout::default() };
    let mut writer = CaseWriter::create(directory.path()).unwrap().with_layout(layout);
    writer
        .image(1, shape, |channel, lo, part| {
            assert!(channel == 0 && (0..3).all(|a| part[a] <= layout.shard_zyx[a]), "{part:?}");
            for z in lo[0]..lo[0] + part[0] {
                for y in lo[1]..lo[1] + part[1] {
                    for x in lo[2]..lo[2] + part[2] {
                        seen[(z * 70 + y) * 33 + x] += 1;
                    }
                }
            }
            Ok::<_, Error>(vec![0.5; part.iter().product()])
        })
        .unwrap();
    assert!(seen.iter().all(|n| *n == 1));
}

/// An error of a caller.
#[derive(Debug, thiserror::Error)]
enum Own {
    #[error("slice {0} is torn")]
    Torn(usize),
    #[error(transparent)]
    Store(#[from] Error),
}

#[test]
fn errors_of_the_caller_pass_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = CaseWriter::create(directory.path()).unwrap();
    let found = writer.image(1, SHAPE, |_, lo, _| Err(Own::Torn(lo[0] + 3)));
    assert!(matches!(found, Err(Own::Torn(3))));
    let found =
        writer.label(LabelType::U8, SHAPE, |lo, _| -> Result<Vec<u64>, Own> { Err(Own::Torn(lo[0])) });
    assert!(matches!(found, Err(Own::Torn(0))));
    let short = writer.image(1, SHAPE, |_, _, _| Ok::<_, Own>(vec![1.0; 5]));
    let Err(Own::Store(Error::Mismatch { found, .. })) = short else { unreachable!("{short:?}") };
    assert!(found.starts_with("5 voxels for the box [70, 45, 50] at [0, 0, 0]"), "{found}");
    // what was begun and not finished is no case
    assert!(Case::open(directory.path()).is_err());
}

#[test]
fn a_label_beyond_the_declared_maximum_is_an_error() {
    let types = [LabelType::U8, LabelType::U16, LabelType::U32, LabelType::U64];
    for (maximum, expected) in [(0, 0), (255, 0), (256, 1), (65_536, 2), (1 << 32, 3), (u64::MAX, 3)] {
        assert_eq!(LabelType::for_maximum(maximum), types[expected]);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut writer = CaseWriter::create(directory.path()).unwrap();
    let error = writer
        .label(LabelType::U8, [1, 1, 2], |_, _| Ok::<_, Error>(vec![255u32, 256]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("label value 256 does not fit into u8"), "{error}");
}

#[test]
fn a_record_must_describe_what_was_written() {
    let refused = |change: &dyn Fn(&mut patches::CaseRecord), expected: &str| {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = CaseWriter::create(directory.path()).unwrap();
        writer.image(1, [2, 3, 4], |_, _, _| Ok::<_, Error>(vec![1.0; 24])).unwrap();
        writer.label(LabelType::U8, [2, 3, 4], |_, _| Ok::<_, Error>(vec![1u8; 24])).unwrap();
        let mut record = record(1, [2, 3, 4]);
        change(&mut record);
        let error = writer.finish(&record).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(Case::open(directory.path()).is_err());
    };
    refused(&|r| r.shape_zyx = [3, 2, 4], "found image of (channels, shape) (1, [2, 3, 4])");
    refused(&|r| r.channels.clear(), "expected image of (channels, shape) (0, [2, 3, 4]) by the record");
    refused(&|r| r.label = None, "expected no labels of shape by the record");
    let counted = LabelRecord {
        kind: LabelKind::Semantic,
        distinct: 1,
        voxels: vec![LabelCount { value: 1, voxels: 24 }],
    };
    refused(&|r| r.label = Some(counted.clone()), "found no foreground rows");
}

#[test]
fn arrays_are_written_once_into_an_empty_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = CaseWriter::create(directory.path()).unwrap();
    let mut once = || writer.image(1, [1, 1, 1], |_, _, _| Ok::<_, Error>(vec![1.0]));
    once().unwrap();
    assert!(once().unwrap_err().to_string().contains("a second writing"));
    let error = CaseWriter::create(directory.path()).unwrap_err().to_string();
    assert!(error.contains("found image, expected an empty directory"), "{error}");
    assert!(CaseWriter::create(&directory.path().join("none")).is_err());
    let empty = tempfile::tempdir().unwrap();
    let mut writer = CaseWriter::create(empty.path()).unwrap();
    assert!(writer.image(1, [1, 0, 1], |_, _, _| Ok::<_, Error>(Vec::new())).is_err());
}
