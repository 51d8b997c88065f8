//! The captioner: BLIP (Li et al. 2022, arXiv:2201.12086) for image captioning, frozen, on LibTorch.
//!
//! A directory in Hugging Face layout holds `config.json`, `model.safetensors`, `tokenizer.json` or `vocab.txt` and, where
//! the images are not prepared as published, `preprocessor_config.json`. `Salesforce/blip-image-captioning-base` is one,
//! a model fine-tuned on radiological figures, as the paper's, another.

mod decoder;
mod generate;
mod pixels;
mod vision;

pub use generate::Search;
pub use pixels::GreyImage;

use crate::error::Error;
use crate::pretrained::{Activation, Source};
use crate::tokens::Tokens;
use decoder::Decoder;
use pixels::Pixels;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};
use vision::Vision;

/// In messages.
const WHAT: &str = "captioner";

/// `config.json`; what it leaves out is as published.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    text_config: TextConfig,
    vision_config: VisionConfig,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct TextConfig {
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    max_position_embeddings: i64,
    hidden_act: String,
    layer_norm_eps: f64,
    bos_token_id: i64,
    sep_token_id: i64,
    pad_token_id: i64,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
            bos_token_id: 30_522,
            sep_token_id: 102,
            pad_token_id: 0,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct VisionConfig {
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    image_size: i64,
    patch_size: i64,
    hidden_act: String,
    layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 384,
            patch_size: 16,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-5,
        }
    }
}

/// The network without tokenizer and image preparation.
#[derive(Debug)]
pub struct Blip {
    vision: Vision,
    decoder: Decoder,
    /// Ids that begin and end a caption, and the one that follows its end in a batch.
    begin: i64,
    end: i64,
    pad: i64,
    image_size: i64,
    device: Device,
}

impl Blip {
    /// Opens `config.json` and `model.safetensors` in `directory` on `device`.
    ///
    /// # Errors
    /// When a file is missing or malformed, or the model is no BLIP for captioning.
    pub fn open(directory: &Path, device: Device) -> Result<Self, Error> {
        let path = directory.join("config.json");
        let refuse = |reason: String| Error::Pretrained { what: WHAT, path: path.clone(), reason };
        if !path.is_file() {
            return Err(refuse(
                "it does not exist: name the directory of a BLIP captioning model in Hugging Face layout"
                    .to_owned(),
            ));
        }
        let config: Config = serde_json::from_str(&fs_err::read_to_string(&path)?)
            .map_err(|error| refuse(format!("not as expected: {error}")))?;
        if config.model_type != "blip" {
            return Err(refuse(format!("model_type {:?}, expected \"blip\"", config.model_type)));
        }
        let (text, image) = (&config.text_config, &config.vision_config);
        for (part, hidden, heads) in [
            ("text_config", text.hidden_size, text.num_attention_heads),
            ("vision_config", image.hidden_size, image.num_attention_heads),
        ] {
            if heads < 1 || hidden < 1 || hidden % heads != 0 {
                return Err(refuse(format!(
                    "{part}: hidden_size {hidden} is no multiple of num_attention_heads {heads}"
                )));
            }
        }
        if image.patch_size < 1 || image.image_size < 1 || image.image_size % image.patch_size != 0 {
            return Err(refuse(format!(
                "image_size {} is no multiple of patch_size {}",
                image.image_size, image.patch_size
            )));
        }
        let activation = |name: &str| Activation::named(name).map_err(refuse);
        let (image_activation, text_activation) =
            (activation(&image.hidden_act)?, activation(&text.hidden_act)?);
        let mut source = Source::open(WHAT, &directory.join("model.safetensors"), device)?;
        Ok(Self {
            vision: Vision::take(&mut source, image, image_activation)?,
            decoder: Decoder::take(&mut source, text, image.hidden_size, text_activation)?,
            begin: text.bos_token_id,
            end: text.sep_token_id,
            pad: text.pad_token_id,
            image_size: image.image_size,
            device,
        })
    }

    /// Hidden states of the images' patches, the class token first.
    ///
    /// # Shapes
    /// pixels: `[batch, 3, image size, image size]`, normalised; output: `[batch, 1 + patches, hidden]`.
    ///
    /// # Errors
    /// When the images have another size, or LibTorch refuses.
    pub fn vision(&self, pixels: &Tensor) -> Result<Tensor, Error> {
        let _guard = tch::no_grad_guard();
        self.vision.forward(&pixels.f_to_device(self.device)?)
    }

    /// Logits of the token that follows each given one (teacher forcing).
    ///
    /// # Shapes
    /// vision: of [`Blip::vision`]; ids: `[batch, tokens]` int64; output: `[batch, tokens, vocabulary]`.
    ///
    /// # Errors
    /// When the shapes do not fit, or LibTorch refuses.
    pub fn logits(&self, vision: &Tensor, ids: &Tensor) -> Result<Tensor, Error> {
        let _guard = tch::no_grad_guard();
        let mut cache = self.decoder.begin(vision)?;
        self.decoder.step(&ids.f_to_device(self.device)?, &mut cache)
    }
}

/// A frozen BLIP with its tokenizer and image preparation.
#[derive(Debug)]
pub struct Captioner {
    model: Blip,
    tokens: Tokens,
    pixels: Pixels,
    files: Vec<PathBuf>,
}

impl Captioner {
    /// Opens the captioner in `directory` on `device`.
    ///
    /// # Errors
    /// As [`Blip::open`]; also when the tokenizer or the image preparation cannot be read.
    pub fn open(directory: &Path, device: Device) -> Result<Self, Error> {
        let model = Blip::open(directory, device)?;
        let limit = usize::try_from(model.decoder.positions()).unwrap_or(usize::MAX);
        let (tokens, tokenizer) = Tokens::open(WHAT, directory, limit)?;
        let (pixels, preparation) = Pixels::open(directory, model.image_size)?;
        let files = ["config.json", "model.safetensors"]
            .iter()
            .map(|name| directory.join(name))
            .chain(tokenizer)
            .chain(preparation)
            .collect();
        Ok(Self { model, tokens, pixels, files })
    }

    /// The files on which captions depend, for a manifest's digests.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The network's input for images: the grey value in all colours, resized by antialiased bicubic interpolation
    /// (the aspect ratio goes, as in the published preparation), normalised.
    ///
    /// # Shapes
    /// output: `[images, 3, image size, image size]`.
    ///
    /// # Errors
    /// When an image has another number of values than its size says, or LibTorch refuses.
    pub fn prepare(&self, images: &[GreyImage]) -> Result<Tensor, Error> {
        self.pixels.prepare(images)
    }

    /// One caption per image; `prompt` is what each begins with, such as `a picture of`, and is a part of it.
    ///
    /// All images go through the network at once; the caption of an image does not depend on the others beyond rounding.
    ///
    /// # Errors
    /// When the tokenizer or LibTorch refuses.
    pub fn caption(&self, images: &[GreyImage], prompt: &str, search: &Search) -> Result<Vec<String>, Error> {
        let _guard = tch::no_grad_guard();
        let mut start = vec![self.model.begin];
        if !prompt.trim().is_empty() {
            let ids = self.tokens.encode(&[prompt.to_owned()])?.into_iter().flatten().collect::<Vec<_>>();
            // [CLS] gives way to the token that begins captions, [SEP] is for the model to say
            start.extend(ids.iter().skip(1).take(ids.len().saturating_sub(2)));
        }
        let vision = self.model.vision(&self.prepare(images)?)?;
        let mut captions = Vec::with_capacity(images.len());
        for ids in self.model.generate(&vision, &start, search)? {
            let words: Vec<i64> = ids
                .into_iter()
                .filter(|id| ![self.model.begin, self.model.end, self.model.pad].contains(id))
                .collect();
            captions.push(self.tokens.decode(&words)?);
        }
        Ok(captions)
    }
}
