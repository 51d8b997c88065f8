//! The captioner against Transformers.

use crate::rule::golden;
use networks::blip::{Blip, Captioner, GreyImage, Search};
use networks::weights::{read_tensors, save_tensors};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tch::{Device, Tensor};
use test_peers::{run_script, venv};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/captions.py");

fn close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let scale = expected.abs().max().double_value(&[]);
    let worst = (found - expected).abs().max();
    assert!(found.allclose(expected, 1e-4, 1e-4 * scale, false), "{what}: {worst}");
}

/// Rows of equal length, as the reference pads them.
fn padded(rows: &[Vec<i64>], length: usize) -> Vec<i64> {
    rows.iter()
        .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, length - row.len())))
        .collect()
}

#[test]
fn blip_matches_transformers() {
    let expected = read_tensors(&golden("blip_tiny/expected.safetensors")).unwrap();
    let model = Blip::open(&golden("blip_tiny"), Device::Cpu).unwrap();
    let vision = model.vision(&expected["pixel_values"]).unwrap();
    close(&vision, &expected["vision"], "vision");
    let logits = model.logits(&vision, &expected["forced_ids"]).unwrap();
    close(&logits, &expected["forced_logits"], "logits");

    let begin = expected["greedy_ids"].int64_value(&[0, 0]);
    let (_, length) = expected["greedy_ids"].size2().unwrap();
    let search = Search { max_tokens: length as usize, ..Search::default() };
    let greedy = model.generate(&vision, &[begin], &search).unwrap();
    let expected = Vec::<i64>::try_from(expected["greedy_ids"].flatten(0, 1)).unwrap();
    assert_eq!(padded(&greedy, length as usize), expected);
}

#[test]
fn remembered_tokens_change_nothing() {
    let expected = read_tensors(&golden("blip_tiny/expected.safetensors")).unwrap();
    let model = Blip::open(&golden("blip_tiny"), Device::Cpu).unwrap();
    let vision = model.vision(&expected["pixel_values"]).unwrap();
    // teacher forcing of what the search found gives the search's own choices
    for beams in [1, 3] {
        let search = Search { max_tokens: 12, beams, length_penalty: 1.0 };
        let found = model.generate(&vision, &[200], &search).unwrap();
        assert!(found.iter().all(|ids| ids.len() > 1 && ids.len() <= 12 && ids[0] == 200));
        if beams == 1 {
            let ids = Tensor::from_slice(&found[0]).unsqueeze(0);
            let best = model.logits(&vision.narrow(0, 0, 1), &ids).unwrap().argmax(-1, false);
            let best = Vec::<i64>::try_from(best.flatten(0, 1)).unwrap();
            assert_eq!(best[..best.len() - 1], found[0][1..]);
        }
    }
}

/// A vocabulary of as many words as the tiny model has embeddings.
fn with_words(directory: &Path) {
    for name in ["config.json", "model.safetensors"] {
        fs_err::copy(golden("blip_tiny").join(name), directory.join(name)).unwrap();
    }
    let special = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "a", "picture", "of"];
    let words: Vec<String> = special
        .iter()
        .map(|w| (*w).to_owned())
        .chain((special.len()..200).map(|n| format!("word{n}")))
        .collect();
    fs_err::write(directory.join("vocab.txt"), words.join("\n")).unwrap();
}

fn grey(height: usize, width: usize) -> GreyImage {
    let value = |i: usize| ((i / width * 7 + i % width * 3) % 256) as u8;
    GreyImage { height, width, values: (0..height * width).map(value).collect() }
}

#[test]
fn beams_and_preparation_match_transformers() {
    let Some(python) = venv("python") else { return };
    let directory = tempfile::tempdir().unwrap();
    with_words(directory.path());
    let images = [grey(61, 90), grey(20, 30)];
    let raw: BTreeMap<String, Tensor> = images
        .iter()
        .enumerate()
        .map(|(i, image)| {
            let shape = [image.height as i64, image.width as i64];
            (i.to_string(), Tensor::from_slice(&image.values).reshape(shape))
        })
        .collect();
    save_tensors(&raw, &directory.path().join("images.safetensors"), &BTreeMap::new()).unwrap();
    if run_script(Command::new(python).arg(SCRIPT).arg(directory.path())).is_none() {
        return;
    }
    let expected = read_tensors(&directory.path().join("expected.safetensors")).unwrap();
    let model = Blip::open(directory.path(), Device::Cpu).unwrap();
    let vision = model.vision(&expected["pixels"]).unwrap();
    for (beams, penalty) in [(2_usize, 1.0), (4, 1.0), (4, 0.2), (3, 2.0)] {
        let wanted = &expected[&format!("beams_{beams}_{penalty:.1}")];
        let search = Search { max_tokens: 20, beams, length_penalty: penalty };
        let found = model.generate(&vision, &[200, 4, 5], &search).unwrap();
        let (_, length) = wanted.size2().unwrap();
        let wanted = Vec::<i64>::try_from(wanted.flatten(0, 1)).unwrap();
        assert_eq!(padded(&found, length as usize), wanted, "{beams} beams, penalty {penalty}");
    }
    let captioner = Captioner::open(directory.path(), Device::Cpu).unwrap();
    assert_eq!(captioner.files().len(), 3);
    let search = Search { max_tokens: 12, ..Search::default() };
    let captions = captioner.caption(&images, "a picture of", &search).unwrap();
    assert!(captions.iter().all(|caption| caption.starts_with("a picture of word")), "{captions:?}");
    // one grey value, for rounding
    let prepared = captioner.prepare(&images).unwrap();
    let worst = (prepared - &expected["pixels"]).abs().max().double_value(&[]);
    assert!(worst < 1.1 / 255.0 / 0.26, "{worst}");
    assert!(captioner.caption(&images, &"of ".repeat(60), &search).is_err());
    assert!(captioner.caption(&[GreyImage { height: 2, width: 2, values: vec![1] }], "", &search).is_err());
}

#[test]
fn directories_that_hold_no_captioner_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = || Captioner::open(directory.path(), Device::Cpu).unwrap_err().to_string();
    assert!(error().contains("config.json"), "{}", error());
    let write = |name: &str, text: &str| fs_err::write(directory.path().join(name), text).unwrap();
    write("config.json", r#"{"model_type": "bert", "text_config": {}, "vision_config": {}}"#);
    assert!(error().contains("expected \"blip\""), "{}", error());
    write("config.json", r#"{"model_type": "blip", "text_config": {}, "vision_config": {"image_size": 50}}"#);
    assert!(error().contains("image_size 50"), "{}", error());
    with_words(directory.path());
    fs_err::remove_file(directory.path().join("vocab.txt")).unwrap();
    assert!(error().contains("vocab.txt"), "{}", error());
    fs_err::remove_file(directory.path().join("model.safetensors")).unwrap();
    assert!(error().contains("pytorch_model.bin"), "{}", error());
}
