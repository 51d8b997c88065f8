//! Phantoms: the same seed gives the same bytes, the files are what their descriptors say, and no threshold solves them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use data_manifests::phantom::{DESCRIPTOR, Kind, Size};
use data_manifests::raw::open::{self, RawVoxels};
use data_manifests::{Descriptor, digest, raw};
use std::collections::BTreeSet;
use std::path::Path;
use volume::hdf5::CremiFile;

#[test]
fn a_seed_decides_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    for kind in Kind::ALL {
        let made = |name: &str, seed: u64| {
            let path = directory.path().join(name).join(kind.dataset());
            fs_err::create_dir_all(&path).unwrap();
            kind.write(Size::Small, seed, &path).unwrap();
            digest::tree(&path).unwrap().1
        };
        let first = made("a", 7);
        // HDF5 can store times, in whole seconds
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(first, made("b", 7), "{kind:?}");
        assert_ne!(first, made("c", 8), "{kind:?}");
    }
}

/// Calls `visit` with id, image and labels (as classes) of every labelled case.
fn each(kind: Kind, size: Size, seed: u64, mut visit: impl FnMut(&str, open::RawImage, Vec<u32>)) {
    let directory = tempfile::tempdir().unwrap();
    let cases = kind.write(size, seed, directory.path()).unwrap();
    let file = directory.path().join(DESCRIPTOR);
    let descriptor = Descriptor::find(file.to_str().unwrap()).unwrap();
    assert_eq!(descriptor, kind.descriptor(size));
    let listing = raw::list(&descriptor, &directory.path().join(descriptor.raw.folder())).unwrap();
    assert!(listing.problems.is_empty(), "{:?}", listing.problems);
    assert_eq!(listing.cases.len(), cases);
    for case in &listing.cases {
        let image = open::image(&case.image).unwrap();
        let (channels, grid) = open::header(&case.image).unwrap();
        assert_eq!((channels, grid), (image.channels, image.grid));
        assert_eq!(channels, descriptor.channels.len());
        assert!(image.warnings.is_empty(), "{}: {:?}", case.id, image.warnings);
        let Some(source) = &case.label else { continue };
        let labels = open::labels(source, &descriptor).unwrap();
        let near =
            volume::check_same_grid(Path::new("i"), &image.grid, Path::new("l"), &labels.grid).unwrap();
        assert_eq!((near, labels.warnings.len()), (None, 0));
        let RawVoxels::Narrow(values) = labels.voxels else { panic!("{}: class labels are wide", case.id) };
        visit(&case.id, image, values);
    }
}

#[test]
fn every_case_has_every_class_and_orientations_differ() {
    for kind in Kind::ALL {
        let descriptor = kind.descriptor(Size::Small);
        let classes: BTreeSet<u32> = (0..=descriptor.foreground_classes().len() as u32).collect();
        let mut orientations = BTreeSet::new();
        each(kind, Size::Small, 3, |id, image, labels| {
            assert_eq!(labels.iter().copied().collect::<BTreeSet<_>>(), classes, "{kind:?} {id}");
            orientations.insert(image.grid.axis_codes());
            for (found, wanted) in image.grid.spacing_zyx_mm().iter().zip([0; 3]) {
                assert!(*found > f64::from(wanted));
            }
        });
        let expected = if kind == Kind::Em { 1 } else { 4 };
        assert_eq!(orientations.len(), expected, "{kind:?}: {orientations:?}");
    }
}

#[test]
fn neuron_ids_need_64_bits() {
    let directory = tempfile::tempdir().unwrap();
    Kind::Em.write(Size::Small, 5, directory.path()).unwrap();
    let file = CremiFile::open(directory.path().join("PhantomEM/sample_1.hdf")).unwrap();
    assert_eq!(file.raw().resolution_zyx_nm, [40.0, 8.0, 8.0]);
    let counts = file.read_labels("neuron_ids").unwrap().counts();
    assert!(counts.keys().any(|id| *id > 1 << 53) && counts.keys().any(|id| *id < 1 << 53));
    assert!(counts.len() > 3, "{}", counts.len());
}

/// The best Dice that any interval of intensities gets, over 400 levels between the 0.1 and 99.9 percentiles.
fn best_interval(values: &[f32], inside: &[bool]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let level = |share: f64| f64::from(sorted[((sorted.len() - 1) as f64 * share) as usize]);
    let (low, high) = (level(0.001), level(0.999));
    let levels = 400;
    // voxels and wanted voxels below each level
    let (mut all, mut wanted) = (vec![0.0; levels + 1], vec![0.0; levels + 1]);
    for (value, inside) in values.iter().zip(inside) {
        let place = (f64::from(*value) - low) / (high - low) * levels as f64;
        if (0.0..levels as f64).contains(&place) {
            all[place as usize + 1] += 1.0;
            wanted[place as usize + 1] += f64::from(u8::from(*inside));
        }
    }
    for i in 0..levels {
        all[i + 1] += all[i];
        wanted[i + 1] += wanted[i];
    }
    let total = inside.iter().filter(|i| **i).count() as f64;
    let mut best: f64 = 0.0;
    for i in 0..levels {
        for j in i + 1..=levels {
            best = best.max(2.0 * (wanted[j] - wanted[i]) / (all[j] - all[i] + total));
        }
    }
    best
}

#[test]
fn no_intensity_interval_solves_a_phantom() {
    for (kind, seed) in
        [(Kind::Ct, 0), (Kind::Ct, 11), (Kind::Mri, 0), (Kind::Mri, 11), (Kind::Em, 0), (Kind::Em, 11)]
    {
        let descriptor = kind.descriptor(Size::Demo);
        let rule = descriptor.intensity.channel(0).unwrap().rule();
        let channels = descriptor.channels.len();
        let mut values = vec![Vec::new(); channels];
        let mut classes = Vec::new();
        each(kind, Size::Demo, seed, |_, mut image, labels| {
            let n = labels.len();
            let tissue: Vec<bool> = (0..n).map(|i| kind != Kind::Mri || image.data[i] > 0.0).collect();
            // as a network sees it
            volume::intensity::normalise(&rule, &mut image.data, channels).unwrap();
            for (channel, values) in values.iter_mut().enumerate() {
                values.extend((0..n).filter(|i| tissue[*i]).map(|i| image.data[channel * n + i]));
            }
            classes.extend((0..n).filter(|i| tissue[*i]).map(|i| labels[i]));
        });
        for class in 1..=descriptor.foreground_classes().len() as u32 {
            let inside: Vec<bool> = classes.iter().map(|c| *c == class).collect();
            for (channel, values) in descriptor.channels.iter().zip(&values) {
                let dice = best_interval(values, &inside);
                assert!(
                    dice < 0.5,
                    "{} class {class}: an interval of {channel} has Dice {dice:.3}",
                    descriptor.name
                );
            }
        }
    }
}

#[test]
fn a_limit_of_file_sizes_is_told_with_file_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_data-manifests")])
        .args(["phantom", "--out", "p", "--size", "small", "--only", "mri"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("E161 a file may not become so large. cannot write "), "{said}");
    assert!(said.contains("File too large (os error 27). The limit of file sizes (ulimit -f)"), "{said}");
}
