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
    /// Not to a view of that: behind a change of a view, backward passes copy gradients of whole maps, several times.
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

    /// Does it to maps of another shape, which `shaped` gives to those that are added.
    pub(super) fn follow_shaped(
        self,
        output: Tensor,
        shaped: impl FnOnce(&Tensor) -> Result<Tensor, Error>,
    ) -> Result<Tensor, Error> {
        let plus = self.plus.map(shaped).transpose()?;
        Then { plus: plus.as_ref(), rectifier: self.rectifier }.follow(output)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::norm::{By, batch_norm, instance_norm};
    use simulated_gpu::SimulatedGpu;
    use tch::Kind;

    #[test]
    fn what_follows_a_norm_takes_no_copies_of_maps() {
        SimulatedGpu::default().run_ignored("forward_and_backward_hold_few_maps");
    }

    /// How many times the memory of its input a norm with a sum and a rectifier behind it takes at most, forward and backward.
    fn maps_held(channels_last: bool, norm: &dyn Fn(&Tensor, Then<'_>) -> Tensor) -> f64 {
        let device = torch_runtime::parse_device("cuda").unwrap();
        let maps = || {
            let values = Tensor::ones([2, 16, 8, 16, 16], (Kind::Float, device));
            let last = values.permute([0, 2, 3, 4, 1]).contiguous().permute([0, 4, 1, 2, 3]);
            if channels_last { last } else { values }.set_requires_grad(true)
        };
        let (input, plus) = (maps(), maps());
        let held = || torch_runtime::gpu_memory(device).unwrap().unwrap();
        let before = held()[0];
        norm(&input, Then::RELU.after_adding(&plus)).sum(Kind::Float).backward();
        assert!(input.grad().defined() && plus.grad().defined());
        (held()[1] - before) as f64 / (4 * input.numel()) as f64
    }

    #[test]
    #[ignore = "in a process that has a simulated GPU"]
    fn forward_and_backward_hold_few_maps() {
        let batch =
            maps_held(true, &|input, then| batch_norm(input, None, None, By::Batch(0.1), then).unwrap());
        let instance = maps_held(false, &|input, then| instance_norm(input, None, then).unwrap());
        assert!(batch < 3.5 && instance < 3.5, "{batch} {instance}");
        // last, because it takes more than they do: done to a view, as which LibTorch's answer has the shape of the input
        let of_a_view = maps_held(true, &|input, then| {
            let view = batch_norm(input, None, None, By::Batch(0.1), Then::NOTHING).unwrap();
            then.follow(view).unwrap()
        });
        assert!(of_a_view > 3.5, "{of_a_view}");
    }
}
