//! How much is read around a patch.

use super::AugmentOptions;

/// What nnU-Net divides by, whatever range it draws scales from (`nnUNetTrainer`, the call of `get_patch_size`).
const SMALLEST_SCALE: f64 = 0.85;

impl AugmentOptions {
    /// The region to read around a patch, so that rotation and scaling show image instead of what lies outside of it: along each axis
    /// the longest extent that a rotation within the limits gives the patch's plane with another axis, divided by 0.85. It is larger
    /// than the patch by an even number of voxels, the patch lying in its middle; axes that nothing turns or scales keep their extent.
    ///
    /// # Source
    /// nnU-Net, `get_patch_size`, which takes the largest angle itself, at most 90°, at which the corners of flat patches at 45° are left
    /// out.
    #[must_use]
    pub fn window_zyx(&self, patch_zyx: [usize; 3]) -> [usize; 3] {
        let limit = if self.rotation_p > 0.0 { self.rotation_degrees.to_radians() } else { 0.0 };
        let scale = if self.scaling_p > 0.0 { SMALLEST_SCALE } else { 1.0 };
        let touched = usize::from(self.in_plane_only)..3;
        std::array::from_fn(|axis| {
            let edge = patch_zyx[axis];
            if !touched.contains(&axis) {
                return edge;
            }
            let others = touched.clone().filter(|other| *other != axis);
            let extent =
                others.map(|other| turned(edge as f64, patch_zyx[other] as f64, limit)).fold(0.0, f64::max);
            edge + ((extent / scale - edge as f64) / 2.0).round() as usize * 2
        })
    }
}

/// The longest extent, along an axis, of a rectangle turned by up to `limit`.
fn turned(along: f64, across: f64, limit: f64) -> f64 {
    let angle = limit.min(across.atan2(along));
    along * angle.cos() + across * angle.sin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::{AugmentSet, augment, is_flat};
    use tch::{Device, Kind, Tensor};

    #[test]
    fn windows_are_nnunets_where_patches_are_turned_in_space() {
        let nnunet = |patch: [usize; 3]| {
            AugmentSet::Nnunet.options(is_flat(patch.map(|n| n as i64)), [true; 3]).window_zyx(patch)
        };
        // 32 (cos 30° + sin 30°) / 0.85 = 51.4
        assert_eq!(nnunet([32; 3]), [52; 3]);
        assert_eq!(nnunet([40, 56, 40]), [74, 80, 74]);
        // √2 / 0.85, sections alone
        assert_eq!(nnunet([8, 48, 48]), [8, 80, 80]);
        assert_eq!(AugmentSet::Strong.options(false, [false; 3]).window_zyx([32; 3]), [52; 3]);
    }

    #[test]
    fn what_is_neither_turned_nor_scaled_is_read_as_it_is() {
        let mirrored =
            AugmentOptions { rotation_p: 0.0, scaling_p: 0.0, ..AugmentOptions::nnunet(false, [true; 3]) };
        assert_eq!(mirrored.window_zyx([7, 20, 33]), [7, 20, 33]);
        let scaled = AugmentOptions { scaling_p: 0.2, ..mirrored };
        assert_eq!(scaled.window_zyx([34, 17, 1]), [40, 21, 1]);
    }

    #[test]
    fn next_to_nothing_of_a_patch_comes_from_outside_of_its_window() {
        for (patch, set, most) in [
            ([16; 3], AugmentSet::Nnunet, 5e-4),
            ([16; 3], AugmentSet::Strong, 2e-3),
            ([4, 24, 24], AugmentSet::Nnunet, 5e-4),
        ] {
            let options = AugmentOptions { label_outside: 7, ..set.options(is_flat(patch), [true; 3]) };
            let window = options.window_zyx(patch.map(|n| n as usize)).map(|n| n as i64);
            let image = Tensor::ones([1, 1, window[0], window[1], window[2]], (Kind::Float, Device::Cpu));
            let label = image.zeros_like().to_kind(Kind::Int64);
            let outside = |step| {
                let (_, label) = augment(&image, &label, patch, &options, (9, step, 0)).unwrap();
                label.eq(7).to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
            };
            let share = (0..300).map(outside).sum::<f64>() / 300.0;
            assert!(share < most, "{patch:?} {set:?}: {share}");
        }
    }
}
