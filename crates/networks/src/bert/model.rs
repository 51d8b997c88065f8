//! BERT itself (Devlin et al. 2019), for inference.

use crate::error::Error;
use crate::pretrained::{Activation, Linear, Norm, Source, attend, split_heads};
use serde::Deserialize;
use std::path::Path;
use tch::{Device, Tensor};

/// In messages.
pub(super) const WHAT: &str = "text encoder";

/// The parts of `config.json` that matter.
#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default = "bert")]
    model_type: String,
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    layer_norm_eps: f64,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

fn bert() -> String {
    "bert".to_owned()
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn absolute() -> String {
    "absolute".to_owned()
}

fn epsilon() -> f64 {
    1e-12
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attention_norm: Norm,
    inner: Linear,
    outer: Linear,
    norm: Norm,
}

/// The encoder without its pooler.
#[derive(Debug)]
pub(super) struct Bert {
    words: Tensor,
    /// Position and first segment's type, summed: `[positions, hidden]`.
    places: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    heads: i64,
    activation: Activation,
}

impl Bert {
    /// Reads configuration and weights; returns how many positions there are, too.
    pub(super) fn open(config: &Path, weights: &Path, device: Device) -> Result<(Self, usize), Error> {
        let refuse =
            |path: &Path, reason: String| Error::Pretrained { what: WHAT, path: path.to_owned(), reason };
        let settings: Config = serde_json::from_str(&fs_err::read_to_string(config)?)
            .map_err(|error| refuse(config, format!("not as expected: {error}")))?;
        if settings.model_type != "bert" || settings.position_embedding_type != "absolute" {
            return Err(refuse(
                config,
                format!(
                    "model_type {:?} with position_embedding_type {:?}, expected \"bert\" with \"absolute\" (BERT, \
                     BioBERT, PubMedBERT, MiniLM, …)",
                    settings.model_type, settings.position_embedding_type
                ),
            ));
        }
        let activation = Activation::named(&settings.hidden_act).map_err(|reason| refuse(config, reason))?;
        if settings.num_attention_heads < 1 || settings.hidden_size % settings.num_attention_heads != 0 {
            return Err(refuse(
                config,
                format!(
                    "hidden_size {} is no multiple of num_attention_heads {}",
                    settings.hidden_size, settings.num_attention_heads
                ),
            ));
        }
        let mut source = Source::open(WHAT, weights, device)?;
        source.rename(plain_name);
        let hidden = settings.hidden_size;
        let epsilon = settings.layer_norm_eps;
        let words = source.take_rows("embeddings.word_embeddings.weight", hidden)?;
        let positions = source.take(
            "embeddings.position_embeddings.weight",
            &[settings.max_position_embeddings as i64, hidden],
        )?;
        let types = source.take_rows("embeddings.token_type_embeddings.weight", hidden)?;
        let norm = source.norm("embeddings.LayerNorm", hidden, epsilon)?;
        let layers = (0..settings.num_hidden_layers)
            .map(|index| {
                let name = format!("encoder.layer.{index}");
                layer(&mut source, &name, [hidden, settings.intermediate_size], epsilon)
            })
            .collect::<Result<_, _>>()?;
        let places = positions.f_add(&types.f_get(0)?)?;
        let model = Self { words, places, norm, layers, heads: settings.num_attention_heads, activation };
        Ok((model, settings.max_position_embeddings))
    }

    /// Tokens that have an embedding.
    pub(super) fn vocabulary(&self) -> usize {
        self.words.size().first().map_or(0, |count| usize::try_from(*count).unwrap_or(0))
    }

    /// Numbers in a hidden state.
    pub(super) fn hidden_size(&self) -> i64 {
        self.words.size().last().copied().unwrap_or(0)
    }

    /// Last hidden states.
    ///
    /// # Shapes
    /// ids: `[batch, tokens]` int64; mask: the same, true where a token is; output: `[batch, tokens, hidden]`.
    pub(super) fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor, Error> {
        let (batch, tokens) = ids.size2()?;
        let words = Tensor::f_embedding(&self.words, ids, -1, false, false)?;
        let mut states = self.norm.forward(&words.f_add(&self.places.f_narrow(0, 0, tokens)?)?)?;
        let mask = mask.f_view([batch, 1, 1, tokens])?;
        for layer in &self.layers {
            states = self.layer(layer, &states, &mask)?;
        }
        Ok(states)
    }

    fn layer(&self, layer: &Layer, states: &Tensor, mask: &Tensor) -> Result<Tensor, Error> {
        let split = |linear: &Linear| split_heads(&linear.forward(states)?, self.heads);
        let joined = attend(&split(&layer.query)?, &split(&layer.key)?, &split(&layer.value)?, Some(mask))?;
        let states = layer.attention_norm.forward(&layer.attended.forward(&joined)?.f_add(states)?)?;
        let inner = layer.inner.forward(&states)?;
        let inner = self.activation.forward(&inner)?;
        layer.norm.forward(&layer.outer.forward(&inner)?.f_add(&states)?)
    }
}

/// Models with a head put `bert.` before every name; files converted from TensorFlow call a norm's parameters gamma and
/// beta.
fn plain_name(name: &str) -> String {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

fn layer(
    source: &mut Source,
    name: &str,
    [hidden, intermediate]: [i64; 2],
    epsilon: f64,
) -> Result<Layer, Error> {
    Ok(Layer {
        query: source.linear(&format!("{name}.attention.self.query"), hidden, hidden)?,
        key: source.linear(&format!("{name}.attention.self.key"), hidden, hidden)?,
        value: source.linear(&format!("{name}.attention.self.value"), hidden, hidden)?,
        attended: source.linear(&format!("{name}.attention.output.dense"), hidden, hidden)?,
        attention_norm: source.norm(&format!("{name}.attention.output.LayerNorm"), hidden, epsilon)?,
        inner: source.linear(&format!("{name}.intermediate.dense"), hidden, intermediate)?,
        outer: source.linear(&format!("{name}.output.dense"), intermediate, hidden)?,
        norm: source.norm(&format!("{name}.output.LayerNorm"), hidden, epsilon)?,
    })
}
