//! The text decoder of BLIP: a BERT with causal attention that also looks at the image, and what it remembers.

use super::TextConfig;
use crate::error::Error;
use crate::pretrained::{Activation, Linear, Norm, Source, attend, split_heads};
use tch::{Device, Kind, Tensor};

#[derive(Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    norm: Norm,
}

impl Attention {
    fn take(source: &mut Source, name: &str, hidden: i64, seen: i64, epsilon: f64) -> Result<Self, Error> {
        Ok(Self {
            query: source.linear(&format!("{name}.self.query"), hidden, hidden)?,
            key: source.linear(&format!("{name}.self.key"), seen, hidden)?,
            value: source.linear(&format!("{name}.self.value"), seen, hidden)?,
            attended: source.linear(&format!("{name}.output.dense"), hidden, hidden)?,
            norm: source.norm(&format!("{name}.output.LayerNorm"), hidden, epsilon)?,
        })
    }

    /// Keys and values of what is looked at.
    fn remember(&self, seen: &Tensor, heads: i64) -> Result<(Tensor, Tensor), Error> {
        Ok((split_heads(&self.key.forward(seen)?, heads)?, split_heads(&self.value.forward(seen)?, heads)?))
    }

    fn forward(
        &self,
        states: &Tensor,
        (key, value): &(Tensor, Tensor),
        heads: i64,
        mask: Option<&Tensor>,
    ) -> Result<Tensor, Error> {
        let query = split_heads(&self.query.forward(states)?, heads)?;
        let joined = attend(&query, key, value, mask)?;
        self.norm.forward(&self.attended.forward(&joined)?.f_add(states)?)
    }
}

#[derive(Debug)]
struct Layer {
    own: Attention,
    image: Attention,
    inner: Linear,
    outer: Linear,
    norm: Norm,
}

/// Tokens so far and image to the logits of the next token.
#[derive(Debug)]
pub(super) struct Decoder {
    words: Tensor,
    places: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    transform: Linear,
    transform_norm: Norm,
    /// `[vocabulary, hidden]`: the words' embeddings unless the file has weights of its own.
    scores: Tensor,
    scores_bias: Tensor,
    heads: i64,
    activation: Activation,
}

/// Keys and values of the tokens so far and of the image, per layer.
#[derive(Debug)]
pub(super) struct Cache {
    own: Vec<Option<(Tensor, Tensor)>>,
    image: Vec<(Tensor, Tensor)>,
    tokens: i64,
    device: Device,
}

impl Cache {
    /// Row `i` becomes what row `rows[i]` was: beams that continue others.
    pub(super) fn reorder(&mut self, rows: &[i64]) -> Result<(), Error> {
        let rows = Tensor::f_from_slice(rows)?.f_to_device(self.device)?;
        let pick = |(key, value): &(Tensor, Tensor)| {
            Ok::<_, Error>((key.f_index_select(0, &rows)?, value.f_index_select(0, &rows)?))
        };
        for pair in self.own.iter_mut().flatten() {
            *pair = pick(pair)?;
        }
        for pair in &mut self.image {
            *pair = pick(pair)?;
        }
        Ok(())
    }
}

impl Decoder {
    pub(super) fn take(
        source: &mut Source,
        config: &TextConfig,
        image_hidden: i64,
        activation: Activation,
    ) -> Result<Self, Error> {
        let (hidden, intermediate, epsilon) =
            (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let name = |part: &str| format!("text_decoder.bert.{part}");
        let words = source.take_rows(&name("embeddings.word_embeddings.weight"), hidden)?;
        let vocabulary = words.size()[0];
        let places = source.take(
            &name("embeddings.position_embeddings.weight"),
            &[config.max_position_embeddings, hidden],
        )?;
        let norm = source.norm(&name("embeddings.LayerNorm"), hidden, epsilon)?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| {
                let name = |part: &str| name(&format!("encoder.layer.{index}.{part}"));
                Ok(Layer {
                    own: Attention::take(source, &name("attention"), hidden, hidden, epsilon)?,
                    image: Attention::take(source, &name("crossattention"), hidden, image_hidden, epsilon)?,
                    inner: source.linear(&name("intermediate.dense"), hidden, intermediate)?,
                    outer: source.linear(&name("output.dense"), intermediate, hidden)?,
                    norm: source.norm(&name("output.LayerNorm"), hidden, epsilon)?,
                })
            })
            .collect::<Result<_, Error>>()?;
        let head = |part: &str| format!("text_decoder.cls.predictions.{part}");
        let transform = source.linear(&head("transform.dense"), hidden, hidden)?;
        let transform_norm = source.norm(&head("transform.LayerNorm"), hidden, epsilon)?;
        let own_weight = head("decoder.weight");
        let scores = if source.has(&own_weight) {
            source.take(&own_weight, &[vocabulary, hidden])?
        } else {
            words.shallow_clone()
        };
        let own_bias = head("decoder.bias");
        let bias = if source.has(&own_bias) { own_bias } else { head("bias") };
        let scores_bias = source.take(&bias, &[vocabulary])?;
        let heads = config.num_attention_heads;
        Ok(Self {
            words,
            places,
            norm,
            layers,
            transform,
            transform_norm,
            scores,
            scores_bias,
            heads,
            activation,
        })
    }

    /// The longest caption in tokens.
    pub(super) fn positions(&self) -> i64 {
        self.places.size()[0]
    }

    /// Before the first token; `vision`: `[batch, patches, hidden]`.
    pub(super) fn begin(&self, vision: &Tensor) -> Result<Cache, Error> {
        let image = self
            .layers
            .iter()
            .map(|layer| layer.image.remember(vision, self.heads))
            .collect::<Result<_, _>>()?;
        let own = self.layers.iter().map(|_| None).collect();
        Ok(Cache { own, image, tokens: 0, device: vision.device() })
    }

    /// Logits after each of `ids`, which follow what the cache remembers; `[batch, new]` to `[batch, new, vocabulary]`.
    pub(super) fn step(&self, ids: &Tensor, cache: &mut Cache) -> Result<Tensor, Error> {
        let (_, new) = ids.size2()?;
        let (past, whole) = (cache.tokens, cache.tokens + new);
        if whole > self.positions() {
            return Err(Error::Input {
                network: "BLIP's decoder",
                found: vec![whole],
                expected: format!("at most {} tokens", self.positions()),
            });
        }
        let words = Tensor::f_embedding(&self.words, ids, -1, false, false)?;
        let mut states = self.norm.forward(&words.f_add(&self.places.f_narrow(0, past, new)?)?)?;
        // a single new token sees all there is
        let mask = if new == 1 {
            None
        } else {
            Some(Tensor::f_ones([new, whole], (Kind::Bool, cache.device))?.f_tril(past)?)
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let (key, value) = layer.own.remember(&states, self.heads)?;
            let pair = match cache.own[index].take() {
                Some((old_key, old_value)) => {
                    (Tensor::f_cat(&[&old_key, &key], 2)?, Tensor::f_cat(&[&old_value, &value], 2)?)
                }
                None => (key, value),
            };
            states = layer.own.forward(&states, &pair, self.heads, mask.as_ref())?;
            cache.own[index] = Some(pair);
            states = layer.image.forward(&states, &cache.image[index], self.heads, None)?;
            let inner = self.activation.forward(&layer.inner.forward(&states)?)?;
            states = layer.norm.forward(&layer.outer.forward(&inner)?.f_add(&states)?)?;
        }
        cache.tokens = whole;
        let states = self.activation.forward(&self.transform.forward(&states)?)?;
        Ok(self.transform_norm.forward(&states)?.f_linear(&self.scores, Some(&self.scores_bias))?)
    }
}
