//! The text encoder against Transformers.

use crate::rule::{golden, json};
use networks::weights::read_tensors;
use networks::{Pooling, TextEncoder, default_text_encoder};
use tch::{Device, Kind, Tensor};

fn encoder() -> Option<TextEncoder> {
    match default_text_encoder() {
        Ok(directory) => Some(TextEncoder::open(&directory, Device::Cpu).unwrap()),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

#[test]
fn minilm_matches_transformers() {
    let Some(encoder) = encoder() else { return };
    let texts: Vec<String> = serde_json::from_value(json("bert_minilm_texts.json")).unwrap();
    let golden = read_tensors(&golden("bert_minilm.safetensors")).unwrap();
    for (row, ids) in encoder.token_ids(&texts).unwrap().iter().enumerate() {
        let used = golden["attention_mask"].get(row as i64).sum(Kind::Int64).int64_value(&[]);
        let expected = Vec::<i64>::try_from(golden["input_ids"].get(row as i64).narrow(0, 0, used)).unwrap();
        assert_eq!(*ids, expected, "{:?}", texts[row]);
    }
    for (name, pooling) in [("cls", Pooling::Cls), ("mean", Pooling::Mean)] {
        let found = encoder.embed(&texts, pooling).unwrap();
        let expected = &golden[name];
        assert_eq!(found.size(), expected.size());
        let scale = expected.std(false).double_value(&[]);
        assert!(
            found.allclose(expected, 1e-4, 1e-4 * scale, false),
            "{name}: {}",
            (&found - expected).abs().max()
        );
    }
}

#[test]
fn rows_do_not_depend_on_their_neighbours() {
    let Some(encoder) = encoder() else { return };
    let texts: Vec<String> = (0..70).map(|n| format!("slice {n}: {}", "bright ".repeat(n))).collect();
    let all = encoder.embed(&texts, Pooling::Mean).unwrap();
    assert_eq!(all.size(), [70, encoder.hidden_size()]);
    for row in [0_usize, 33, 69] {
        let one = encoder.embed(&texts[row..=row], Pooling::Mean).unwrap();
        assert!(all.narrow(0, row as i64, 1).allclose(&one, 1e-4, 1e-5, false), "row {row}");
    }
    assert_eq!(encoder.embed(&[], Pooling::Cls).unwrap().size(), [0, encoder.hidden_size()]);
    assert!(encoder.files().iter().all(|file| file.is_file()) && encoder.files().len() == 3);
}

#[test]
fn directories_that_hold_no_bert_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let text = TextEncoder::open(directory.path(), Device::Cpu).unwrap_err().to_string();
    assert!(text.contains("config.json"), "{text}");
    let write = |name: &str, content: &str| {
        let file = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
        std::io::Write::write_all(&mut file.as_file(), content.as_bytes()).unwrap();
        file.persist(directory.path().join(name)).unwrap();
    };
    let config = |kind: &str| {
        format!(
            r#"{{"model_type":"{kind}","hidden_size":4,"intermediate_size":8,"num_hidden_layers":1,
            "num_attention_heads":2,"max_position_embeddings":16}}"#
        )
    };
    write("config.json", &config("roberta"));
    let text = TextEncoder::open(directory.path(), Device::Cpu).unwrap_err().to_string();
    assert!(text.contains("roberta") && text.contains("BioBERT"), "{text}");
    write("config.json", &config("bert"));
    let text = TextEncoder::open(directory.path(), Device::Cpu).unwrap_err().to_string();
    assert!(text.contains("model.safetensors") && text.contains("pytorch_model.bin"), "{text}");
    let tensors =
        [("embeddings.word_embeddings.weight".to_owned(), Tensor::zeros([9, 5], (Kind::Float, Device::Cpu)))];
    networks::weights::save_tensors(
        &tensors.into(),
        &directory.path().join("model.safetensors"),
        &std::collections::BTreeMap::new(),
    )
    .unwrap();
    let text = TextEncoder::open(directory.path(), Device::Cpu).unwrap_err().to_string();
    assert!(text.contains("[9, 5]") && text.contains('4'), "{text}");
}
