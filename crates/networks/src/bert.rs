//! The text encoder: any BERT in Hugging Face layout, frozen, on LibTorch.
//!
//! A directory holds `config.json`, `model.safetensors` and `tokenizer.json` or `vocab.txt`. BioBERT is the paper's; the
//! default is all-MiniLM-L6-v2.

mod find;
mod model;

pub use find::default_text_encoder;

use crate::error::Error;
use crate::tokens::Tokens;
use model::{Bert, WHAT};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tch::{Device, Kind, Tensor};

/// Tokens of a text that are used, `[CLS]` and `[SEP]` included, as published.
pub const MAX_TOKENS: usize = 128;

/// How the tokens' last hidden states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The state of `[CLS]`, as in the paper.
    Cls,
    /// The mean over all tokens, as sentence transformers (the default encoder among them) were trained.
    Mean,
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
        })
    }
}

impl FromStr for Pooling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "cls" => Ok(Self::Cls),
            "mean" => Ok(Self::Mean),
            other => Err(Error::Config {
                field: "pooling",
                found: other.to_owned(),
                expected: "cls or mean".to_owned(),
            }),
        }
    }
}

/// A frozen BERT with its tokenizer.
#[derive(Debug)]
pub struct TextEncoder {
    model: Bert,
    tokens: Tokens,
    device: Device,
    files: Vec<PathBuf>,
    /// The most tokens that it has positions for.
    positions: usize,
    /// At which texts are cut.
    limit: usize,
}

impl TextEncoder {
    /// Texts that are encoded at a time, padded to the longest of them.
    pub const BATCH: usize = 32;

    /// Opens the encoder in `directory` on `device`.
    ///
    /// # Errors
    /// When a file is missing or malformed, or the model is no BERT with learnt absolute positions.
    pub fn open(directory: &Path, device: Device) -> Result<Self, Error> {
        let configuration = directory.join("config.json");
        let weights = directory.join("model.safetensors");
        if !configuration.is_file() {
            return Err(Error::Pretrained {
                what: WHAT,
                path: directory.to_owned(),
                reason:
                    "there is no config.json in it: name the directory of a BERT in Hugging Face layout with \
                         --text-encoder, or run `make setup`, which installs the default one"
                        .to_owned(),
            });
        }
        let (model, positions) = Bert::open(&configuration, &weights, device)?;
        let limit = positions.min(MAX_TOKENS);
        let (tokens, tokenizer) = Tokens::open(WHAT, directory, limit)?;
        if tokens.vocabulary() > model.vocabulary() {
            return Err(Error::Pretrained {
                what: WHAT,
                path: directory.to_owned(),
                reason: format!(
                    "the tokenizer knows {} tokens but the model has embeddings for {}: the files belong to different \
                     models",
                    tokens.vocabulary(),
                    model.vocabulary()
                ),
            });
        }
        let files = [configuration, weights].into_iter().chain(tokenizer).collect();
        Ok(Self { model, tokens, device, files, positions, limit })
    }

    /// Cuts texts at so many tokens, `[CLS]` and `[SEP]` included, and not at [`MAX_TOKENS`].
    ///
    /// # Errors
    /// For fewer than three, and for more than the model has positions for.
    pub fn cut_at(mut self, tokens: usize) -> Result<Self, Error> {
        if !(3..=self.positions).contains(&tokens) {
            return Err(Error::Pretrained {
                what: WHAT,
                path: self.tokens.directory.clone(),
                reason: format!("texts of {tokens} tokens do not fit: it takes from 3 to {}", self.positions),
            });
        }
        self.tokens.cut_at(tokens)?;
        self.limit = tokens;
        Ok(self)
    }

    /// At how many tokens texts are cut.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many of the texts are too long to be embedded whole.
    ///
    /// # Errors
    /// When the tokenizer refuses.
    pub fn count_cut(&self, texts: &[String]) -> Result<usize, Error> {
        self.tokens.count_cut(texts)
    }

    /// The files on which embeddings depend, for a manifest's digests.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Numbers in an embedding.
    pub fn hidden_size(&self) -> i64 {
        self.model.hidden_size()
    }

    /// Token ids of each text, `[CLS]` and `[SEP]` included, cut at [`MAX_TOKENS`] or as [`Self::cut_at`] says.
    ///
    /// # Errors
    /// When the tokenizer refuses.
    pub fn token_ids(&self, texts: &[String]) -> Result<Vec<Vec<i64>>, Error> {
        self.tokens.encode(texts)
    }

    /// One vector per text, not scaled to unit length. Texts of more tokens are cut as for [`Self::token_ids`]; an empty text has one too.
    ///
    /// # Shapes
    /// output: `[texts, hidden_size]`, float32 on the CPU.
    ///
    /// # Errors
    /// When the tokenizer or LibTorch refuses.
    pub fn embed(&self, texts: &[String], pooling: Pooling) -> Result<Tensor, Error> {
        let _guard = tch::no_grad_guard();
        let ids = self.tokens.encode(texts)?;
        // Texts of like length share a batch, so that little is padding.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|index| (ids[*index].len(), *index));
        let output = Tensor::f_zeros([ids.len() as i64, self.hidden_size()], (Kind::Float, Device::Cpu))?;
        for batch in order.chunks(Self::BATCH) {
            let rows: Vec<&[i64]> = batch.iter().map(|index| ids[*index].as_slice()).collect();
            let embedded = self.embed_rows(&rows, pooling)?.f_to_device(Device::Cpu)?;
            for (row, index) in batch.iter().enumerate() {
                output.f_get(*index as i64)?.f_copy_(&embedded.f_get(row as i64)?)?;
            }
        }
        Ok(output)
    }

    /// One batch, padded to its longest row.
    fn embed_rows(&self, rows: &[&[i64]], pooling: Pooling) -> Result<Tensor, Error> {
        let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let padded: Vec<i64> = rows
            .iter()
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, length - row.len())))
            .collect();
        let used: Vec<bool> =
            rows.iter().flat_map(|row| (0..length).map(|position| position < row.len())).collect();
        let shape = [rows.len() as i64, length as i64];
        let ids = Tensor::f_from_slice(&padded)?.f_reshape(shape)?.f_to_device(self.device)?;
        let mask = Tensor::f_from_slice(&used)?.f_reshape(shape)?.f_to_device(self.device)?;
        let states = self.model.forward(&ids, &mask)?;
        match pooling {
            Pooling::Cls => Ok(states.f_select(1, 0)?),
            Pooling::Mean => {
                let weight = mask.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?;
                let sum = states.f_mul(&weight)?.f_sum_dim_intlist(1, false, None)?;
                Ok(sum.f_div(&weight.f_sum_dim_intlist(1, false, None)?)?)
            }
        }
    }
}
