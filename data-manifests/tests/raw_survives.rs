//! Damaged `dataset.json` and CSV tables: whatever bytes stand in them, listing ends with cases or a message.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use data_manifests::Descriptor;
use data_manifests::raw;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

const MUTATIONS: usize = 2000;

const MSD: &str = r#"{"name": "T", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "a"}, "numTraining": 1,
"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}], "test": ["./imagesTs/b.nii.gz"]}"#;
const NNUNET: &str = r#"{"channel_names": {"0": "CT"}, "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
"regions_class_order": [1, 2], "numTraining": 1, "file_ending": ".nii.gz",
"dataset": {"a": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}}}"#;
const TABLE: &str = "id;image_0;image_1;label;subject;split\na;\"i/a 0.nii\";i/a1.nii;l/a.nii;s1;train\nb;i/b0.nii;i/b1.nii;;s2;test\n";

/// Some bytes changed, cut out, doubled, or replaced by what means something in these files.
fn mutated(seed: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    const WORDS: [&[u8]; 10] = [
        b"{",
        b"]",
        b"\"",
        b"-1",
        b"1e999",
        b"null",
        b"99999999999999999999",
        b"\\ud800",
        b"\xff\xfe",
        b"../",
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.next_u32() % 4 {
        let at = random.next_u32() as usize % (bytes.len() + 1);
        let end = (at + random.next_u32() as usize % 9).min(bytes.len());
        match random.next_u32() % 4 {
            0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << (random.next_u32() % 8)),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let word = WORDS[random.next_u32() as usize % WORDS.len()];
                bytes.splice(at..end, word.iter().copied());
            }
        }
    }
    bytes
}

fn survives(folder: &Path, name: &str, seed: &str, list: impl Fn() -> anyhow::Result<raw::Listing>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed.len() as u64);
    let (mut listed, mut refused) = (0, 0);
    for number in 0..=MUTATIONS {
        let bytes =
            if number == 0 { seed.as_bytes().to_vec() } else { mutated(seed.as_bytes(), &mut random) };
        fs_err::write(folder.join(name), &bytes).unwrap();
        match catch_unwind(AssertUnwindSafe(&list)) {
            Ok(Ok(_)) => listed += 1,
            Ok(Err(error)) => {
                assert!(number > 0, "the seed itself: {error:#}");
                refused += 1;
            }
            Err(_) => panic!("{name} number {number}: {}", String::from_utf8_lossy(&bytes)),
        }
    }
    // both ways out are taken, or the mutations are no test
    assert!(listed > 50 && refused > 50, "{name}: {listed} listed, {refused} refused");
}

fn with_raw(raw: &str) -> Descriptor {
    let text = Descriptor::built_in_text("msd04-hippocampus").unwrap();
    let mut descriptor = Descriptor::parse(text, "test").unwrap();
    descriptor.raw = toml::from_str(raw).unwrap();
    descriptor
}

#[test]
fn a_damaged_index_of_the_decathlon_is_listed_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let descriptor = with_raw("layout = \"msd\"\nfolder = \"T\"");
    survives(folder.path(), "dataset.json", MSD, || raw::list(&descriptor, folder.path()));
}

#[test]
fn a_damaged_index_of_nnunet_is_listed_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let descriptor = with_raw("layout = \"nnunet\"\nfolder = \"T\"");
    survives(folder.path(), "dataset.json", NNUNET, || raw::list(&descriptor, folder.path()));
}

#[test]
fn a_damaged_table_is_listed_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let descriptor = with_raw("layout = \"table\"\nfolder = \"T\"\nfile = \"t.csv\"");
    survives(folder.path(), "t.csv", TABLE, || raw::list(&descriptor, folder.path()));
}
