//! Gradients of several parameters in one piece of memory.

use crate::error::Error;
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Ranges of `parameters` from the last to the first, each of one type and device, closed when it has `bucket_bytes`.
pub(super) fn layout(parameters: &[Tensor], bucket_bytes: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, parameter) in parameters.iter().enumerate().rev() {
        let of = |tensor: &Tensor| (tensor.kind(), tensor.device());
        match ranges.last_mut() {
            Some(last) if bytes < bucket_bytes && of(&parameters[last.start]) == of(parameter) => {
                last.start = index
            }
            _ => {
                ranges.push(index..index + 1);
                bytes = 0;
            }
        }
        bytes += parameter.numel() * parameter.kind().elt_size_in_bytes();
    }
    ranges
}

/// Parameters of one type on one device.
#[derive(Debug)]
pub(super) struct Bucket {
    parameters: Vec<Tensor>,
    /// Each parameter's gradient, one behind the other; then, for each, how many processes have one.
    pub(super) flat: Tensor,
}

impl Bucket {
    pub(super) fn new<'a>(parameters: impl Iterator<Item = &'a Tensor>) -> Result<Self, Error> {
        let parameters: Vec<Tensor> = parameters.map(Tensor::shallow_clone).collect();
        let options = parameters.first().map_or((Kind::Float, Device::Cpu), |one| (one.kind(), one.device()));
        let elements: usize = parameters.iter().map(Tensor::numel).sum();
        let length = i64::try_from(elements + parameters.len()).unwrap_or(i64::MAX);
        let flat = Tensor::f_zeros([length], options)?;
        Ok(Self { parameters, flat })
    }

    /// Each parameter with its place in the bucket and the place of its count.
    fn places(&self) -> Result<Vec<(&Tensor, Tensor, Tensor)>, Error> {
        let mut start = 0;
        let counts = self.parameters.iter().map(Tensor::numel).sum::<usize>();
        self.parameters
            .iter()
            .enumerate()
            .map(|(index, parameter)| {
                let length = i64::try_from(parameter.numel()).unwrap_or(i64::MAX);
                let place = self.flat.f_narrow(0, start, length)?.f_view(parameter.size().as_slice())?;
                start += length;
                let count = i64::try_from(counts + index).unwrap_or(i64::MAX);
                Ok((parameter, place, self.flat.f_narrow(0, count, 1)?))
            })
            .collect()
    }

    pub(super) fn fill(&self) -> Result<(), Error> {
        for (parameter, mut place, mut count) in self.places()? {
            let gradient = parameter.grad();
            if gradient.defined() {
                place.f_copy_(&gradient)?;
                let _ = count.f_fill_(1.0)?;
            } else {
                let _ = place.f_zero_()?;
                let _ = count.f_zero_()?;
            }
        }
        Ok(())
    }

    pub(super) fn spread(&self, size: usize) -> Result<(), Error> {
        let places = self.places()?;
        for (parameter, mut mean, count) in places {
            let _ = mean.f_div_scalar_(i64::try_from(size).unwrap_or(1))?;
            let mut gradient = parameter.grad();
            if gradient.defined() {
                gradient.f_copy_(&mean)?;
            } else if count.f_double_value(&[0])? > 0.0 {
                // The bucket is used again: the gradient needs memory of its own.
                let mut own = mean.f_empty_like()?;
                own.f_copy_(&mean)?;
                super::ffi::set_gradient(parameter, &own).map_err(Error::Torch)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_go_backwards_and_hold_one_type() {
        let of = |length: i64, kind: Kind| Tensor::zeros([length], (kind, Device::Cpu));
        let parameters = [
            of(10, Kind::Float),
            of(2, Kind::Float),
            of(3, Kind::Double),
            of(100, Kind::Float),
            of(1, Kind::Float),
        ];
        assert_eq!(layout(&parameters, 40), [3..5, 2..3, 0..2]);
        assert_eq!(layout(&parameters, 4), [4..5, 3..4, 2..3, 1..2, 0..1]);
        assert!(layout(&[], 40).is_empty());
    }

    #[test]
    fn an_empty_bucket_list_is_no_error() {
        assert_eq!(Bucket::new([].into_iter()).unwrap().flat.size(), [0]);
    }
}
