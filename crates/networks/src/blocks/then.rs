//! What follows a normalisation, in one operation with it where there is one.

use super::EPSILON;
use crate::error::Error;
use tch::Tensor;
use torch_runtime::{Normalisation, Normalised};

/// What follows a normalisation: a sum with other maps, then a rectifier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Then<'a> {
    plus: Option<&'a Tensor>,
    rectifier: Rectifier,
}

#[derive(Debug, Clone, Copy)]
enum Rectifier {
    None,
    Relu,
    /// With LibTorch's own slope.
    LeakyRelu,
}

impl Rectifier {
    /// What negative values are multiplied by.
    fn slope(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Relu => 0.0,
            Self::LeakyRelu => 0.01,
        }
    }
}

impl<'a> Then<'a> {
    /// Nothing follows.
    pub(crate) const NOTHING: Self = Self { plus: None, rectifier: Rectifier::None };
    /// A ReLU.
    pub(crate) const RELU: Self = Self { plus: None, rectifier: Rectifier::Relu };
    /// A LeakyReLU with a slope of 0.01.
    pub(crate) const LEAKY_RELU: Self = Self { plus: None, rectifier: Rectifier::LeakyRelu };

    /// Before that, these maps are added.
    #[must_use]
    pub(crate) fn after_adding(self, plus: &'a Tensor) -> Self {
        Self { plus: Some(plus), ..self }
    }

    /// Does it by LibTorch's operations, to what its normalisation gave. In place, which is safe: that one's backward pass does not need its output.
    pub(super) fn follow(self, mut output: Tensor) -> Result<Tensor, Error> {
        if let Some(plus) = self.plus {
            output = output.f_add_(plus)?;
        }
        Ok(match self.rectifier {
            Rectifier::None => output,
            Rectifier::Relu => output.f_relu_()?,
            Rectifier::LeakyRelu => output.f_leaky_relu_()?,
        })
    }

    /// The batch cut into groups that are normalised by themselves, and this, at once; none for maps for which there is no such operation.
    pub(super) fn fused(
        self,
        input: &Tensor,
        groups: i64,
        affine: Option<(&Tensor, &Tensor)>,
    ) -> Result<Option<Normalised>, Error> {
        let refused = |error: torch_runtime::Error| Error::Torch(error.to_string());
        if !Normalisation::takes(input).map_err(refused)? {
            return Ok(None);
        }
        // convolutions over small maps leave bfloat16 (see `convolve`), those beside them need not
        let plus = self.plus.map(|plus| plus.f_to_kind(input.kind())).transpose()?;
        let normalisation = Normalisation {
            groups,
            epsilon: EPSILON,
            affine,
            plus: plus.as_ref(),
            slope: self.rectifier.slope(),
        };
        normalisation.apply(input).map(Some).map_err(refused)
    }
}
