//! Reading by planes gives what reading at once gives.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::Descriptor;
use data_manifests::phantom::{Kind, Size};
use data_manifests::raw::open::{self, RawVoxels};
use data_manifests::raw::{self, Source, planes};
use volume::ReadLimits;
use volume::hdf5::{LabelStack, StackInfo, write_cremi};

fn agree(source: &Source, label: Option<&Source>, descriptor: &Descriptor) {
    for step in [1, 3, 1000] {
        let whole = open::image(source).unwrap();
        let mut image = planes::image(source, ReadLimits::UNLIMITED).unwrap();
        assert_eq!((image.channels(), *image.grid()), (whole.channels, whole.grid));
        assert_eq!(image.remaining(), whole.channels * whole.grid.shape_zyx[0]);
        let (mut out, mut data) = (Vec::new(), Vec::new());
        while image.next_planes(step, &mut out).unwrap() > 0 {
            data.extend_from_slice(&out);
        }
        assert_eq!((data, image.warnings()), (whole.data, whole.warnings));

        let Some(label) = label else { continue };
        let whole = open::labels(label, descriptor).unwrap();
        let expected: Vec<u64> = match whole.voxels {
            RawVoxels::Narrow(v) => v.into_iter().map(u64::from).collect(),
            RawVoxels::Wide(v) => v,
        };
        let mut labels = planes::labels(label, descriptor, ReadLimits::UNLIMITED).unwrap();
        assert_eq!(*labels.grid(), whole.grid);
        let (mut out, mut data) = (Vec::new(), Vec::new());
        while labels.next_planes(step, &mut out).unwrap() > 0 {
            data.extend_from_slice(&out);
        }
        assert_eq!((data, labels.remaining()), (expected, 0));
        assert_eq!(labels.warnings(), whole.warnings);
    }
}

#[test]
fn phantoms_read_the_same_by_planes() {
    let directory = tempfile::tempdir().unwrap();
    for kind in [Kind::Mri, Kind::Em] {
        let root = directory.path().join(kind.dataset());
        kind.write(Size::Small, 0, &root).unwrap();
        let mut descriptor = kind.descriptor(Size::Small);
        descriptor.labels.as_mut().unwrap().map.insert("1".into(), 0);
        let raw = root.join(descriptor.raw.folder());
        for case in raw::list(&descriptor, &raw).unwrap().cases.iter().take(2) {
            agree(&case.image, case.label.as_ref(), &descriptor);
        }
    }
    let mri = directory.path().join(Kind::Mri.dataset());
    let one =
        raw::list(&Kind::Mri.descriptor(Size::Small), &mri.join("PhantomMRI")).unwrap().cases.remove(0).image;
    if open::header(&one).unwrap().0 == 1 {
        agree(&Source::Channels(vec![one.clone(), one]), None, &Kind::Mri.descriptor(Size::Small));
    }
}

#[test]
fn labels_that_cover_a_part_and_ids_beyond_32_bits_are_mapped_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.hdf");
    let info = |name: &str, shape_zyx, offset_zyx_nm| StackInfo {
        name: name.into(),
        shape_zyx,
        resolution_zyx_nm: [40.0, 4.0, 4.0],
        offset_zyx_nm,
    };
    let labels = LabelStack {
        info: info("neuron_ids", [2, 3, 2], [80.0, 4.0, 8.0]),
        data: vec![u64::MAX, 5, 1, 1, 0, 0, 5, 5, u64::MAX, 1, 1, 0],
    };
    write_cremi(&path, &vec![7_u8; 5 * 6 * 7], &info("raw", [5, 6, 7], [0.0; 3]), &[labels]).unwrap();
    let image = Source::CremiRaw(path.clone(), None);
    let label = Source::CremiLabels(path, "neuron_ids".into(), None);
    let mut descriptor = Kind::Em.descriptor(Size::Small);
    descriptor.labels.as_mut().unwrap().map = [("5".to_owned(), 1), (u64::MAX.to_string(), 0)].into();
    // 0 around them would be background that nobody drew
    let refused = |error: volume::VolumeError| (error.code(), error.hint());
    let error = refused(open::labels(&label, &descriptor).unwrap_err());
    assert_eq!(error, refused(planes::labels(&label, &descriptor, ReadLimits::UNLIMITED).unwrap_err()));
    let classes = descriptor.labels.as_ref().unwrap().classes.len() as u32;
    assert_eq!(error.0, "E185");
    assert!(error.1.unwrap().contains(&format!("ignore = {classes} below [labels]")));
    let labels = descriptor.labels.as_mut().unwrap();
    labels.ignore = Some(classes);
    // the map is for what the file holds: the value around its labels stays
    labels.map.insert(classes.to_string(), 0);
    agree(&image, Some(&label), &descriptor);
    let open::RawLabels { voxels, warnings, .. } = open::labels(&label, &descriptor).unwrap();
    let RawVoxels::Narrow(values) = voxels else { panic!("mapped before 32 bits") };
    assert_eq!(values.iter().filter(|value| **value == classes).count(), 5 * 6 * 7 - 12);
    assert_eq!(values.iter().filter(|value| **value == 1).count(), 7);
    let expected = volume::Warning::PartlyLabelled { covered: 12.0 / 210.0, value: classes.into() };
    assert_eq!(warnings, [expected]);
    descriptor.labels.as_mut().unwrap().map.clear();
    let error = open::labels(&label, &descriptor).unwrap_err();
    assert_eq!(error.code(), "E110");
}
