//! BERT itself (Devlin et al. 2019), for inference.

use crate::error::Error;
use crate::weights::read_tensors;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

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

/// The activation between the two layers of the feed-forward part.
#[derive(Debug, Clone, Copy)]
enum Activation {
    /// Exact, or by tanh.
    Gelu(&'static str),
    Relu,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        Ok(input.f_linear(&self.weight, Some(&self.bias))?)
    }
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        let features = self.weight.size();
        Ok(input.f_layer_norm(
            features.as_slice(),
            Some(&self.weight),
            Some(&self.bias),
            self.epsilon,
            true,
        )?)
    }
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
        let refuse = |path: &Path, reason: String| Error::TextEncoder { path: path.to_owned(), reason };
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
        let activation = match settings.hidden_act.as_str() {
            "gelu" => Activation::Gelu("none"),
            "gelu_new" | "gelu_pytorch_tanh" => Activation::Gelu("tanh"),
            "relu" => Activation::Relu,
            other => {
                return Err(refuse(config, format!("hidden_act {other:?}, expected gelu, gelu_new or relu")));
            }
        };
        if settings.num_attention_heads < 1 || settings.hidden_size % settings.num_attention_heads != 0 {
            return Err(refuse(
                config,
                format!(
                    "hidden_size {} is no multiple of num_attention_heads {}",
                    settings.hidden_size, settings.num_attention_heads
                ),
            ));
        }
        if !weights.is_file() {
            return Err(refuse(
                weights,
                "it does not exist; where the model comes as pytorch_model.bin, convert it once: python -c \"import \
                 torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in \
                 torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors')\""
                    .to_owned(),
            ));
        }
        let mut source =
            Source { path: weights, tensors: read_tensors(weights)?, device, hidden: settings.hidden_size };
        source.drop_prefix();
        let words = source.take("embeddings.word_embeddings.weight", None)?;
        let positions = source.take(
            "embeddings.position_embeddings.weight",
            Some(&[settings.max_position_embeddings as i64, settings.hidden_size]),
        )?;
        let types = source.take("embeddings.token_type_embeddings.weight", None)?;
        let norm = source.norm("embeddings.LayerNorm", settings.layer_norm_eps)?;
        let layers = (0..settings.num_hidden_layers)
            .map(|index| {
                let name = format!("encoder.layer.{index}");
                source.layer(&name, settings.intermediate_size, settings.layer_norm_eps)
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
        let (batch, tokens, hidden) = states.size3()?;
        let split = |linear: &Linear| {
            let shape = [batch, tokens, self.heads, hidden / self.heads];
            Ok::<_, Error>(linear.forward(states)?.f_view(shape)?.f_transpose(1, 2)?)
        };
        let attended = Tensor::f_scaled_dot_product_attention(
            &split(&layer.query)?,
            &split(&layer.key)?,
            &split(&layer.value)?,
            Some(mask),
            0.0,
            false,
            None,
            false,
        )?;
        let joined = attended.f_transpose(1, 2)?.f_reshape([batch, tokens, hidden])?;
        let states = layer.attention_norm.forward(&layer.attended.forward(&joined)?.f_add(states)?)?;
        let inner = layer.inner.forward(&states)?;
        let inner = match self.activation {
            Activation::Gelu(approximate) => inner.f_gelu(approximate)?,
            Activation::Relu => inner.f_relu()?,
        };
        layer.norm.forward(&layer.outer.forward(&inner)?.f_add(&states)?)
    }
}

/// Tensors of the file, taken by name.
struct Source<'a> {
    path: &'a Path,
    tensors: BTreeMap<String, Tensor>,
    device: Device,
    hidden: i64,
}

impl Source<'_> {
    /// Models with a head put `bert.` before every name; files converted from TensorFlow call a norm's parameters gamma
    /// and beta.
    fn drop_prefix(&mut self) {
        self.tensors = std::mem::take(&mut self.tensors)
            .into_iter()
            .map(|(name, tensor)| {
                let name = name.strip_prefix("bert.").unwrap_or(&name);
                let name = name.replace("LayerNorm.gamma", "LayerNorm.weight");
                (name.replace("LayerNorm.beta", "LayerNorm.bias"), tensor)
            })
            .collect();
    }

    fn take(&mut self, name: &str, expected: Option<&[i64]>) -> Result<Tensor, Error> {
        let refuse = |reason| Error::TextEncoder { path: self.path.to_owned(), reason };
        let tensor = self.tensors.remove(name).ok_or_else(|| {
            refuse(format!("there is no tensor {name}: this is not the BERT that config.json describes"))
        })?;
        let found = tensor.size();
        // Without a whole shape at least the last axis is known.
        let fits = expected.map_or(found.last() == Some(&self.hidden), |expected| found == expected);
        if !fits {
            let expected =
                expected.map_or(format!("[…, {}]", self.hidden), |expected| format!("{expected:?}"));
            return Err(refuse(format!("tensor {name} has shape {found:?}, config.json says {expected}")));
        }
        if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Error::NotFinite { path: self.path.to_owned(), name: name.to_owned() });
        }
        Ok(tensor.f_to_device(self.device)?.f_to_kind(Kind::Float)?)
    }

    fn linear(&mut self, name: &str, input: i64, output: i64) -> Result<Linear, Error> {
        Ok(Linear {
            weight: self.take(&format!("{name}.weight"), Some(&[output, input]))?,
            bias: self.take(&format!("{name}.bias"), Some(&[output]))?,
        })
    }

    fn norm(&mut self, name: &str, epsilon: f64) -> Result<Norm, Error> {
        Ok(Norm {
            weight: self.take(&format!("{name}.weight"), Some(&[self.hidden]))?,
            bias: self.take(&format!("{name}.bias"), Some(&[self.hidden]))?,
            epsilon,
        })
    }

    fn layer(&mut self, name: &str, intermediate: i64, epsilon: f64) -> Result<Layer, Error> {
        let hidden = self.hidden;
        Ok(Layer {
            query: self.linear(&format!("{name}.attention.self.query"), hidden, hidden)?,
            key: self.linear(&format!("{name}.attention.self.key"), hidden, hidden)?,
            value: self.linear(&format!("{name}.attention.self.value"), hidden, hidden)?,
            attended: self.linear(&format!("{name}.attention.output.dense"), hidden, hidden)?,
            attention_norm: self.norm(&format!("{name}.attention.output.LayerNorm"), epsilon)?,
            inner: self.linear(&format!("{name}.intermediate.dense"), hidden, intermediate)?,
            outer: self.linear(&format!("{name}.output.dense"), intermediate, hidden)?,
            norm: self.norm(&format!("{name}.output.LayerNorm"), epsilon)?,
        })
    }
}
