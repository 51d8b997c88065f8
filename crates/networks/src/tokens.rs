//! From text to token ids.

use crate::error::Error;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

/// A tokenizer set to cut and not to pad.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// What the model is, for messages.
    what: &'static str,
    /// Where its files lie.
    pub(crate) directory: PathBuf,
    tokenizer: Tokenizer,
}

/// What `tokenizer_config.json` may say about a vocabulary file.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
}

impl Tokens {
    /// Opens `tokenizer.json`, or builds WordPiece from `vocab.txt`; returns the files read, too.
    pub(crate) fn open(
        what: &'static str,
        directory: &Path,
        limit: usize,
    ) -> Result<(Self, Vec<PathBuf>), Error> {
        let failed = |path: &Path, error: &tokenizers::Error| failed(what, path, error);
        let whole = directory.join("tokenizer.json");
        let vocabulary = directory.join("vocab.txt");
        let (mut tokenizer, files) = if whole.is_file() {
            let tokenizer = Tokenizer::from_file(&whole).map_err(|error| failed(&whole, &error))?;
            (tokenizer, vec![whole])
        } else if vocabulary.is_file() {
            word_piece(what, directory, vocabulary)?
        } else {
            return Err(Error::Pretrained {
                what,
                path: directory.to_owned(),
                reason: "neither tokenizer.json nor vocab.txt is in it: copy one from the model's page"
                    .to_owned(),
            });
        };
        tokenizer.with_padding(None);
        let mut tokens = Self { what, directory: directory.to_owned(), tokenizer };
        tokens.cut_at(limit)?;
        Ok((tokens, files))
    }

    /// Cuts texts at so many tokens from now on.
    pub(crate) fn cut_at(&mut self, limit: usize) -> Result<(), Error> {
        let truncation = TruncationParams { max_length: limit, ..TruncationParams::default() };
        let done = self.tokenizer.with_truncation(Some(truncation)).map(|_| ());
        done.map_err(|error| failed(self.what, &self.directory, &error))
    }

    /// How many of the texts are cut.
    pub(crate) fn count_cut(&self, texts: &[String]) -> Result<usize, Error> {
        let all = self.encodings(texts)?;
        Ok(all.iter().filter(|encoding| !encoding.get_overflowing().is_empty()).count())
    }

    /// How many tokens there are.
    pub(crate) fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    fn encodings(&self, texts: &[String]) -> Result<Vec<Encoding>, Error> {
        self.tokenizer
            .encode_batch(texts.iter().map(String::as_str).collect::<Vec<_>>(), true)
            .map_err(|error| failed(self.what, &self.directory, &error))
    }

    pub(crate) fn encode(&self, texts: &[String]) -> Result<Vec<Vec<i64>>, Error> {
        Ok(self
            .encodings(texts)?
            .iter()
            .map(|encoding| encoding.get_ids().iter().map(|id| i64::from(*id)).collect())
            .collect())
    }

    /// The text of token ids without special ones.
    pub(crate) fn decode(&self, ids: &[i64]) -> Result<String, Error> {
        let ids: Vec<u32> = ids.iter().filter_map(|id| u32::try_from(*id).ok()).collect();
        self.tokenizer.decode(&ids, true).map_err(|error| failed(self.what, &self.directory, &error))
    }
}

fn failed(what: &'static str, path: &Path, error: &tokenizers::Error) -> Error {
    Error::Pretrained { what, path: path.to_owned(), reason: format!("tokenizer: {error}") }
}

/// BERT's own tokenizer over a vocabulary file.
fn word_piece(
    what: &'static str,
    directory: &Path,
    vocabulary: PathBuf,
) -> Result<(Tokenizer, Vec<PathBuf>), Error> {
    let failed = |path: &Path, error: &tokenizers::Error| failed(what, path, error);
    let text = fs_err::read_to_string(&vocabulary)?;
    let model = WordPiece::from_file(&vocabulary.to_string_lossy())
        .unk_token("[UNK]".to_owned())
        .build()
        .map_err(|error| failed(&vocabulary, &error))?;
    let settings_file = directory.join("tokenizer_config.json");
    let mut files = vec![vocabulary.clone()];
    let settings: Settings = if settings_file.is_file() {
        let settings = serde_json::from_str(&fs_err::read_to_string(&settings_file)?).map_err(|error| {
            Error::Pretrained {
                what,
                path: settings_file.clone(),
                reason: format!("not as expected: {error}"),
            }
        })?;
        files.push(settings_file);
        settings
    } else {
        Settings::default()
    };
    // Without settings the vocabulary tells: one of lower-cased text has no capitals outside special tokens.
    let capitals = text.lines().any(|token| !token.starts_with('[') && token.chars().any(char::is_uppercase));
    let mut tokenizer = Tokenizer::new(model);
    let special = |token: &str| {
        tokenizer.token_to_id(token).map(|id| (token.to_owned(), id)).ok_or_else(|| Error::Pretrained {
            what,
            path: vocabulary.clone(),
            reason: format!("there is no {token} in it: this is no BERT vocabulary"),
        })
    };
    let ends = BertProcessing::new(special("[SEP]")?, special("[CLS]")?);
    special("[UNK]")?;
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(
            true,
            settings.tokenize_chinese_chars.unwrap_or(true),
            settings.strip_accents,
            settings.do_lower_case.unwrap_or(!capitals),
        )))
        .map_err(|error| failed(directory, &error))?;
    tokenizer
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(ends))
        .with_decoder(Some(WordPieceDecoder::default()));
    Ok((tokenizer, files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A directory with the file of this name and content.
    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let mut file = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.persist(directory.path().join(name)).unwrap();
        }
        directory
    }

    const CASED: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nLiver\nliver\n##s\nles\n";

    #[test]
    fn case_follows_the_settings_and_else_the_vocabulary() {
        let encode = |files: &[(&str, &str)], text: &str| {
            let directory = directory(files);
            Tokens::open("text encoder", directory.path(), 6)
                .unwrap()
                .0
                .encode(&[text.to_owned()])
                .unwrap()
                .remove(0)
        };
        assert_eq!(encode(&[("vocab.txt", CASED)], "Liver livers"), [2, 4, 5, 6, 3]);
        let lower = r#"{"do_lower_case": true}"#;
        assert_eq!(encode(&[("vocab.txt", CASED), ("tokenizer_config.json", lower)], "Liver"), [2, 5, 3]);
        let uncased = CASED.replace("Liver\n", "");
        assert_eq!(encode(&[("vocab.txt", &uncased)], "LIVER"), [2, 4, 3]);
        assert_eq!(encode(&[("vocab.txt", CASED)], &"liver ".repeat(20)), [2, 5, 5, 5, 5, 3]);
        assert_eq!(encode(&[("vocab.txt", CASED)], ""), [2, 3]);
    }

    #[test]
    fn what_is_no_tokenizer_is_named() {
        let error = |files: &[(&str, &str)]| {
            Tokens::open("text encoder", directory(files).path(), 8).unwrap_err().to_string()
        };
        assert!(error(&[]).contains("vocab.txt"));
        assert!(error(&[("vocab.txt", "a\nb\n")]).contains("[SEP]"));
        assert!(error(&[("tokenizer.json", "{")]).contains("tokenizer.json"));
    }
}
