//! Symmetric InfoNCE between image and text embeddings.

use super::wide;
use crate::{Result, TrainingError};
use tch::{Kind, Tensor};
use torch_runtime::transfer::sent;

/// Norms below this are treated as this, as in `torch.nn.functional.normalize`.
const NORM_EPSILON: f64 = 1e-12;

/// The two directions of the image-text loss, scalars.
#[derive(Debug)]
pub struct Contrast {
    /// Cross-entropy over each image's row of similarities.
    pub image_to_text: Tensor,
    /// Cross-entropy over each text's column of similarities.
    pub text_to_image: Tensor,
}

impl Contrast {
    /// The loss: both directions summed, not halved.
    pub fn sum(&self) -> Tensor {
        &self.image_to_text + &self.text_to_image
    }
}

/// L_VLP: cross-entropy of S and of Sᵀ against the diagonal, with S = x̂ t̂ᵀ / temperature and L2-normalised rows.
///
/// Each of `groupings` numbers texts that are alike in some way: where two members of the batch share a number in any of them, neither is a
/// negative of the other (their entry is removed from both softmaxes), since telling them apart is not what should be learnt. Two texts that
/// are alike to a third need not be alike.
///
/// # Shapes
/// `image`, `text`: `[batch, feature]`, any float kind; computed in float32, or float64 where both are.
///
/// # Errors
/// On unequal shapes, fewer than two rows (no negatives), a temperature that is not positive, or a grouping with another number
/// of members than rows.
///
/// # Source
/// gtgm.md, section 4 (VLP); masking: the same section, oddity 6.
pub fn vlp(image: &Tensor, text: &Tensor, temperature: f64, groupings: &[&[i64]]) -> Result<Contrast> {
    let shape = image.size();
    if shape.len() != 2 || shape[0] < 2 {
        return Err(TrainingError::shape("image embedding", image, "[batch of at least 2, feature]"));
    }
    if text.size() != shape {
        return Err(TrainingError::shape("text embedding", text, format!("the image embedding's {shape:?}")));
    }
    if !(temperature.is_finite() && temperature > 0.0) {
        return Err(TrainingError::Option {
            name: "temperature",
            found: temperature.to_string(),
            expected: "above 0".to_owned(),
        });
    }
    let mut similarity = unit_rows(image).matmul(&unit_rows(text).transpose(0, 1)) / temperature;
    if let Some(bad) = groupings.iter().find(|groups| i64::try_from(groups.len()).ok() != Some(shape[0])) {
        return Err(TrainingError::Shape {
            what: "text groups".to_owned(),
            found: format!("{} numbers", bad.len()),
            expected: format!("{}, one per row", shape[0]),
        });
    }
    if !groupings.is_empty() {
        let groups = Tensor::from_slice(&groupings.concat()).view([-1, shape[0]]);
        let groups = sent(&groups, similarity.device());
        let same = groups.unsqueeze(1).eq_tensor(&groups.unsqueeze(2)).any_dim(0, false);
        let off_diagonal = Tensor::eye(shape[0], (Kind::Bool, similarity.device())).logical_not();
        similarity = similarity.masked_fill(&same.logical_and(&off_diagonal), f64::NEG_INFINITY);
    }
    Ok(Contrast {
        image_to_text: against_diagonal(&similarity),
        text_to_image: against_diagonal(&similarity.transpose(0, 1)),
    })
}

/// Rows divided by their L2 norm, float32 (float64 stays). Shape kept: `[batch, feature]`.
pub(crate) fn unit_rows(x: &Tensor) -> Tensor {
    let x = wide(x);
    let norm = x.norm_scalaropt_dim(2, [1i64], true).clamp_min(NORM_EPSILON);
    x / norm
}

fn against_diagonal(similarity: &Tensor) -> Tensor {
    let kind = similarity.kind();
    -similarity.log_softmax(1, kind).diagonal(0, 0, 1).mean(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With orthonormal t and x = t, S = I/τ, and each direction is ln(1 + exp(-1/τ)) for two rows.
    #[test]
    fn two_rows_have_a_closed_form() {
        let eye = Tensor::eye(2, (Kind::Float, tch::Device::Cpu));
        for temperature in [0.07, 0.5, 2.0] {
            let loss = vlp(&(&eye * 3.0), &eye, temperature, &[]).unwrap();
            let expected = (1.0 + (-1.0 / temperature).exp()).ln();
            assert!((loss.image_to_text.double_value(&[]) - expected).abs() < 1e-6);
            assert!((loss.sum().double_value(&[]) - 2.0 * expected).abs() < 1e-6);
        }
    }

    #[test]
    fn members_of_one_group_are_no_negatives() {
        tch::manual_seed(1);
        let x = Tensor::randn([4, 8], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let t = Tensor::randn([4, 8], (Kind::Float, tch::Device::Cpu));
        let all_alike = vlp(&x, &t, 0.07, &[&[5, 5, 5, 5]]).unwrap().sum();
        assert!(all_alike.double_value(&[]).abs() < 1e-6);
        let distinct = vlp(&x, &t, 0.07, &[&[1, 2, 3, 4]]).unwrap().sum().double_value(&[]);
        let unmasked = vlp(&x, &t, 0.07, &[]).unwrap().sum().double_value(&[]);
        assert!((distinct - unmasked).abs() < 1e-9);
        let some = vlp(&x, &t, 0.07, &[&[1, 1, 3, 4]]).unwrap().sum();
        assert!(some.double_value(&[]) < unmasked);
        // alike in one way or in another, and 1 and 3 are not alike for being so to 2
        let loss =
            |groupings: &[&[i64]]| vlp(&x, &t, 0.07, groupings).unwrap().image_to_text.double_value(&[]);
        let either = loss(&[&[1, 1, 3, 4], &[1, 2, 2, 4]]);
        assert!(loss(&[&[1, 1, 1, 4]]) < either && either < loss(&[&[1, 1, 3, 4]]));
        some.backward();
        assert!(x.grad().isfinite().all().int64_value(&[]) == 1);
    }

    #[test]
    fn a_zero_row_and_bad_input_are_survived() {
        let x = Tensor::zeros([2, 3], (Kind::Float, tch::Device::Cpu));
        assert!(vlp(&x, &x, 0.07, &[]).unwrap().sum().double_value(&[]).is_finite());
        assert!(vlp(&x.narrow(0, 0, 1), &x.narrow(0, 0, 1), 0.07, &[]).is_err());
        assert!(vlp(&x, &x.narrow(1, 0, 2), 0.07, &[]).is_err());
        assert!(vlp(&x, &x, 0.0, &[]).is_err());
        assert!(vlp(&x, &x, 0.07, &[&[1]]).is_err());
    }
}
