//! What pretrained models in Hugging Face layout share: layers for inference and tensors taken from their file by name.

use crate::error::Error;
use crate::weights::read_tensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The activation between the two layers of a feed-forward part.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Activation {
    /// Exact, or by tanh.
    Gelu(&'static str),
    Relu,
}

impl Activation {
    /// By the name in `config.json`.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match name {
            "gelu" => Ok(Self::Gelu("none")),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Self::Gelu("tanh")),
            "relu" => Ok(Self::Relu),
            other => Err(format!("hidden_act {other:?}, expected gelu, gelu_new or relu")),
        }
    }

    pub(crate) fn forward(self, input: &Tensor) -> Result<Tensor, Error> {
        Ok(match self {
            Self::Gelu(approximate) => input.f_gelu(approximate)?,
            Self::Relu => input.f_relu()?,
        })
    }
}

/// A fully connected layer.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        Ok(input.f_linear(&self.weight, Some(&self.bias))?)
    }
}

/// Layer normalisation over the last axis.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
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

/// `[batch, tokens, hidden]` as `[batch, heads, tokens, hidden / heads]`.
pub(crate) fn split_heads(states: &Tensor, heads: i64) -> Result<Tensor, Error> {
    let (batch, tokens, hidden) = states.size3()?;
    Ok(states.f_reshape([batch, tokens, heads, hidden / heads])?.f_transpose(1, 2)?)
}

/// Scaled dot-product attention over split heads, joined again: `[batch, tokens, hidden]`.
pub(crate) fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    mask: Option<&Tensor>,
) -> Result<Tensor, Error> {
    let (batch, heads, tokens, width) = query.size4()?;
    let attended = Tensor::f_scaled_dot_product_attention(query, key, value, mask, 0.0, false, None, false)?;
    Ok(attended.f_transpose(1, 2)?.f_reshape([batch, tokens, heads * width])?)
}

/// Tensors of a file, taken by name.
pub(crate) struct Source {
    /// What the model is, for messages.
    what: &'static str,
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    device: Device,
}

impl Source {
    /// Reads `model.safetensors`; the message for a missing file says how to make one.
    pub(crate) fn open(what: &'static str, path: &Path, device: Device) -> Result<Self, Error> {
        if !path.is_file() {
            let reason = "it does not exist; where the model comes as pytorch_model.bin, convert it once: python -c \
                          \"import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in \
                          torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors')\"";
            return Err(Error::Pretrained { what, path: path.to_owned(), reason: reason.to_owned() });
        }
        Ok(Self { what, path: path.to_owned(), tensors: read_tensors(path)?, device })
    }

    /// Renames all tensors.
    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> String) {
        self.tensors =
            std::mem::take(&mut self.tensors).into_iter().map(|(old, tensor)| (name(&old), tensor)).collect();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor of this shape.
    pub(crate) fn take(&mut self, name: &str, expected: &[i64]) -> Result<Tensor, Error> {
        let tensor = self.find(name)?;
        if tensor.size() != expected {
            return Err(self.other_shape(name, &tensor, &format!("{expected:?}")));
        }
        self.checked(name, &tensor)
    }

    /// A matrix with rows of `width` numbers, however many.
    pub(crate) fn take_rows(&mut self, name: &str, width: i64) -> Result<Tensor, Error> {
        let tensor = self.find(name)?;
        if tensor.size().len() != 2 || tensor.size().last() != Some(&width) {
            return Err(self.other_shape(name, &tensor, &format!("[…, {width}]")));
        }
        self.checked(name, &tensor)
    }

    pub(crate) fn linear(&mut self, name: &str, input: i64, output: i64) -> Result<Linear, Error> {
        Ok(Linear {
            weight: self.take(&format!("{name}.weight"), &[output, input])?,
            bias: self.take(&format!("{name}.bias"), &[output])?,
        })
    }

    pub(crate) fn norm(&mut self, name: &str, features: i64, epsilon: f64) -> Result<Norm, Error> {
        Ok(Norm {
            weight: self.take(&format!("{name}.weight"), &[features])?,
            bias: self.take(&format!("{name}.bias"), &[features])?,
            epsilon,
        })
    }

    fn find(&mut self, name: &str) -> Result<Tensor, Error> {
        let found = self.tensors.remove(name);
        found.ok_or_else(|| {
            self.refuse(format!(
                "there is no tensor {name}: this is not the model that config.json describes"
            ))
        })
    }

    fn checked(&self, name: &str, tensor: &Tensor) -> Result<Tensor, Error> {
        if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Error::NotFinite { path: self.path.clone(), name: name.to_owned() });
        }
        Ok(tensor.f_to_device(self.device)?.f_to_kind(Kind::Float)?)
    }

    fn other_shape(&self, name: &str, tensor: &Tensor, expected: &str) -> Error {
        self.refuse(format!("tensor {name} has shape {:?}, config.json says {expected}", tensor.size()))
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Pretrained { what: self.what, path: self.path.clone(), reason }
    }
}
