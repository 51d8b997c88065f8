//! What lies around a volume that is smaller than the window of prediction.

use tch::Tensor;

/// How a small volume is filled up: as training patches were, so that the network meets what it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filling {
    /// Axes z, y, x along which training patches were filled with background ([`crate::model::ModelPlan::filled_zyx`]); along others a
    /// network never saw that, and is shown mirrored voxels.
    pub(crate) axes_zyx: [bool; 3],
    /// Whether a channel's background is 0 ([`patches::ChannelRecord::background`]); else it is its smallest value.
    pub(crate) zeros: Vec<bool>,
}

impl Filling {
    /// `missing` voxels more along z, y, x, `before` of them in front.
    ///
    /// # Shapes
    /// `image`: `[channel, z, y, x]`, as is the result.
    pub(crate) fn fill_up(&self, image: &Tensor, before: [i64; 3], missing: [i64; 3]) -> Tensor {
        let mut image = image.shallow_clone();
        for axis in (0..3).filter(|axis| missing[*axis] > 0 && !self.axes_zyx[*axis]) {
            let size = image.size()[axis + 1];
            // … 2 1 | 0 1 2 … n − 2 n − 1 | n − 2 …
            let period = (2 * (size - 1)).max(1);
            let mirrored: Vec<i64> = (0..size + missing[axis])
                .map(|i| (i - before[axis]).rem_euclid(period))
                .map(|i| if i < size { i } else { period - i })
                .collect();
            let places = Tensor::from_slice(&mirrored).to_device(image.device());
            image = image.index_select(axis as i64 + 1, &places);
        }
        let filled: Vec<usize> = (0..3).filter(|axis| self.axes_zyx[*axis] && missing[*axis] > 0).collect();
        if filled.is_empty() {
            return image;
        }
        let size = image.size();
        let mut whole = size.clone();
        filled.iter().for_each(|axis| whole[axis + 1] += missing[*axis]);
        let smallest = image.amin([1i64, 2, 3].as_slice(), true);
        let zeros = Tensor::from_slice(&self.zeros).view([-1, 1, 1, 1]).to_device(image.device());
        let around = smallest.masked_fill(&zeros, 0.0).expand(&whole, false).contiguous();
        let inside = filled.iter().fold(around.shallow_clone(), |part, axis| {
            part.narrow(*axis as i64 + 1, before[*axis], size[axis + 1])
        });
        inside.shallow_clone().copy_(&image);
        around
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_volumes_are_filled_up_as_in_training_or_mirrored() {
        let image = Tensor::from_slice(&[3.0_f32, 5.0, 7.0]).view([1, 3, 1, 1]);
        let filled = |missing: i64, as_trained: bool| {
            let missing = [missing, 0, 1];
            let filling = Filling { axes_zyx: [as_trained, true, false], zeros: vec![false] };
            let found = filling.fill_up(&image, missing.map(|n| n / 2), missing);
            assert_eq!(found.size()[2..], [1, 2]);
            Vec::<f32>::try_from(found.narrow(3, 0, 1).contiguous().view(-1)).unwrap()
        };
        assert_eq!(filled(3, true), [3.0, 3.0, 5.0, 7.0, 3.0, 3.0]);
        assert_eq!(filled(3, false), [5.0, 3.0, 5.0, 7.0, 5.0, 3.0]);
        assert_eq!(filled(6, false), [5.0, 7.0, 5.0, 3.0, 5.0, 7.0, 5.0, 3.0, 5.0]);
        assert_eq!(filled(0, false), [3.0, 5.0, 7.0]);
    }

    /// What lies outside is background: 0 of a channel whose zeros are, below which tissue lies.
    #[test]
    fn channels_are_filled_up_with_their_own_background() {
        let image = Tensor::from_slice(&[-2.5_f32, 0.0, 1.5, -0.1, 0.2, 0.3]).view([2, 1, 3, 1]);
        let filling = Filling { axes_zyx: [true; 3], zeros: vec![true, false] };
        let found = filling.fill_up(&image, [0, 1, 0], [1, 2, 0]);
        assert_eq!(found.size(), [2, 2, 5, 1]);
        let found = Vec::<f32>::try_from(found.view(-1)).unwrap();
        let of_zeros = [0.0, -2.5, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let of_others = [-0.1, -0.1, 0.2, 0.3, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1];
        assert_eq!(found, [of_zeros, of_others].concat());
    }
}
