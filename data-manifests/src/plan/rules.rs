//! nnU-Net's rules for target spacing and patch size.
//!
//! Source: nnU-Net v2, `experiment_planning/experiment_planners/default_experiment_planner.py` (target spacing, patch size) and
//! `network_topology.py` (pooling), with `compute_conv_feature_map_size` of `dynamic_network_architectures` for the memory
//! that a patch needs; Isensee et al. 2021, nnU-Net, Nature Methods 18:203, doi:10.1038/s41592-020-01008-z.

/// An axis counts as anisotropic beyond this ratio.
const ANISOTROPY: f64 = 3.0;
/// Feature maps of nnU-Net's network that fit into [`REFERENCE_GB`] at two patches a step, in values.
const REFERENCE_FEATURES: f64 = 560_000_000.0;
const REFERENCE_GB: f64 = 8.0;
/// Smallest edge of a feature map in the bottleneck.
const MIN_EDGE: f64 = 4.0;
const BASE_FEATURES: u64 = 32;
const MAX_FEATURES: u64 = 320;
/// Voxels of the patch to begin with, before it is clipped to the volumes.
const FIRST_PATCH: f64 = 256.0;

/// A share (0 to 1) of sorted values by linear interpolation, as NumPy's default; 0 without values.
#[must_use]
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    match (sorted.get(at.floor() as usize), sorted.get(at.ceil() as usize)) {
        (Some(low), Some(high)) => low + (high - low) * at.fract(),
        _ => 0.0,
    }
}

/// The median along each axis.
#[must_use]
pub fn median(values: &[[f64; 3]]) -> [f64; 3] {
    [0, 1, 2].map(|axis| percentile(&sorted_axis(values, axis), 0.5))
}

fn sorted_axis(values: &[[f64; 3]], axis: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().map(|v| v[axis]).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Target spacing in mm, z, y, x: the median of each axis; where one axis is more than three times as coarse as the others and
/// has less than a third of their voxels, its 10th percentile, but not finer than the others.
///
/// `spacings` in mm and `shapes` in voxels after the crop to what is not zero, z, y, x, one each per case, at least one.
#[must_use]
pub fn target_spacing(spacings: &[[f64; 3]], shapes: &[[f64; 3]]) -> [f64; 3] {
    let mut target = median(spacings);
    let size = median(shapes);
    let worst = first_largest(target);
    let others: Vec<usize> = (0..3).filter(|axis| *axis != worst).collect();
    let coarsest = others.iter().map(|axis| target[*axis]).fold(f64::NEG_INFINITY, f64::max);
    let fewest = others.iter().map(|axis| size[*axis]).fold(f64::INFINITY, f64::min);
    if target[worst] > ANISOTROPY * coarsest && size[worst] * ANISOTROPY < fewest {
        let tenth = percentile(&sorted_axis(spacings, worst), 0.1);
        target[worst] = if tenth < coarsest { coarsest + 1e-5 } else { tenth };
    }
    target
}

/// Shape after resampling: `round(old spacing / new spacing · old shape)`, halves to even as Python rounds.
#[must_use]
pub fn resampled_shape(shape: [f64; 3], spacing: [f64; 3], target: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|axis: usize| (spacing[axis] / target[axis] * shape[axis]).round_ties_even())
}

fn first_largest(values: [f64; 3]) -> usize {
    let mut best = 0;
    for axis in 1..3 {
        if values[axis] > values[best] {
            best = axis;
        }
    }
    best
}

/// A U-Net's pooling for a patch.
#[derive(Debug, Clone, PartialEq)]
struct Topology {
    /// Stride of each stage along each axis; the first stage has none.
    strides: Vec<[u64; 3]>,
    /// The patch, enlarged so that every pooling divides it.
    patch: [f64; 3],
    /// What each axis must be divisible by.
    divisor: [f64; 3],
}

/// nnU-Net's `get_pool_and_conv_props`: axes are halved as long as 4 voxels remain, those first whose spacing is within a
/// factor of 2 of the finest.
fn topology(spacing: [f64; 3], patch: [f64; 3]) -> Topology {
    let (mut spacing, mut size) = (spacing, patch);
    let mut strides = vec![[1; 3]];
    let mut divisor = [1.0; 3];
    loop {
        let large: Vec<usize> = (0..3).filter(|axis| size[*axis] >= 2.0 * MIN_EDGE).collect();
        let finest = large.iter().map(|axis| spacing[*axis]).fold(f64::INFINITY, f64::min);
        let pooled: Vec<usize> = large.into_iter().filter(|axis| spacing[*axis] / finest < 2.0).collect();
        match pooled.as_slice() {
            [] => break,
            [one] if size[*one] < 3.0 * MIN_EDGE => break,
            _ => {}
        }
        let mut stride = [1; 3];
        for axis in pooled {
            stride[axis] = 2;
            divisor[axis] *= 2.0;
            spacing[axis] *= 2.0;
            size[axis] = (size[axis] / 2.0).ceil();
        }
        strides.push(stride);
    }
    let patch = [0, 1, 2].map(|axis: usize| (patch[axis] / divisor[axis]).ceil() * divisor[axis]);
    Topology { strides, patch, divisor }
}

/// Values in the feature maps of nnU-Net's `PlainConvUNet` (32 features, doubled per stage up to 320; two convolutions per
/// stage each way) for one patch: nnU-Net's measure of GPU memory.
fn feature_map_values(topology: &Topology, classes: u64) -> u64 {
    let features = |stage: usize| (BASE_FEATURES << stage.min(16)).min(MAX_FEATURES);
    let mut size = topology.patch.map(|n| n as u64);
    let mut values = 0;
    let last = topology.strides.len() - 1;
    for (stage, stride) in topology.strides.iter().enumerate() {
        for axis in 0..3 {
            size[axis] /= stride[axis];
        }
        let voxels: u64 = size.iter().product();
        values += 2 * features(stage) * voxels;
        if stage < last {
            // the way up: transposed convolution and two convolutions; the uppermost stage has the classes
            values += 3 * features(stage) * voxels;
        }
        if stage == 0 && last > 0 {
            values += classes * voxels;
        }
    }
    values
}

/// Training patch in voxels, z, y, x, for nnU-Net's U-Net on a GPU of `gpu_gb` GiB (nnU-Net's default: 8): from a patch of the
/// volume of 256³ voxels that is a cube in mm, clipped to the median shape, the axis that is largest against the median shape
/// is made smaller until the estimated memory of two patches fits.
///
/// `spacing` is the target spacing (mm), `median_shape` the median of the resampled shapes; `classes` counts the background.
#[must_use]
pub fn patch_size(spacing: [f64; 3], median_shape: [f64; 3], classes: usize, gpu_gb: f64) -> [usize; 3] {
    // nnU-Net puts the coarsest axis first; that decides between axes that are equally large
    let coarsest = first_largest(spacing);
    let mut order = vec![coarsest];
    order.extend((0..3).filter(|axis| *axis != coarsest));
    let turned = |values: [f64; 3]| [0, 1, 2].map(|i: usize| values[order[i]]);
    let (spacing, shape) = (turned(spacing), turned(median_shape).map(|n| n.max(1.0)));

    let inverse = spacing.map(|s| 1.0 / s);
    let scale = (FIRST_PATCH.powi(3) / inverse.iter().product::<f64>()).cbrt();
    let first = [0, 1, 2].map(|i: usize| (inverse[i] * scale).round_ties_even().min(shape[i]).max(1.0));
    let mut found = topology(spacing, first);
    let budget = REFERENCE_FEATURES * gpu_gb / REFERENCE_GB;
    while feature_map_values(&found, classes as u64) as f64 > budget {
        let mut axis = 0;
        for other in 1..3 {
            if found.patch[other] / shape[other] >= found.patch[axis] / shape[axis] {
                axis = other;
            }
        }
        let mut patch = found.patch;
        patch[axis] -= found.divisor[axis];
        if patch[axis] < 1.0 {
            break;
        }
        // a coarser divisor must not skip sizes that a smaller patch's divisor allows
        let finer = topology(spacing, patch).divisor[axis];
        patch = found.patch;
        patch[axis] -= finer;
        found = topology(spacing, patch);
    }
    let mut patch = [0; 3];
    for (i, axis) in order.iter().enumerate() {
        patch[*axis] = found.patch[i] as usize;
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_interpolate_as_numpy_does() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(percentile(&values, 0.5), 3.0);
        assert_eq!(percentile(&values, 0.1), 1.3);
        assert_eq!((percentile(&values, 0.0), percentile(&values, 1.0)), (1.0, 8.0));
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(median(&[[1.0, 5.0, 2.0], [3.0, 1.0, 4.0]]), [2.0, 3.0, 3.0]);
    }

    #[test]
    fn target_spacing_is_the_median_unless_an_axis_is_coarse_and_short() {
        let same = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [2.0, 1.0, 1.0]];
        assert_eq!(target_spacing(&same, &[[40.0; 3]; 3]), [1.0; 3]);
        // ACDC's case: 10 mm slices, some of 5 mm
        let spacings = [[10.0, 1.5, 1.5], [10.0, 1.5, 1.5], [5.0, 1.5, 1.5]];
        let flat = [[10.0, 220.0, 220.0]; 3];
        assert_eq!(target_spacing(&spacings, &flat), [6.0, 1.5, 1.5]);
        // coarse, but with as many voxels as the others
        assert_eq!(target_spacing(&spacings, &[[100.0, 220.0, 220.0]; 3])[0], 10.0);
        // the 10th percentile would be finer than the others
        let mixed = [[0.5, 1.0, 1.0], [0.5, 1.0, 1.0], [6.0, 1.0, 1.0], [6.0, 1.0, 1.0], [6.0, 1.0, 1.0]];
        assert_eq!(target_spacing(&mixed, &[[10.0, 220.0, 220.0]; 5]), [1.0 + 1e-5, 1.0, 1.0]);
    }

    #[test]
    fn shapes_round_halves_to_even() {
        assert_eq!(resampled_shape([5.0, 7.0, 3.0], [1.0, 1.0, 2.0], [2.0, 2.0, 1.0]), [2.0, 4.0, 6.0]);
    }

    /// nnU-Net's patches for the Decathlon (3d_fullres, 8 GB), from the median shapes and spacings of the tasks.
    #[test]
    fn patches_are_those_of_published_plans() {
        // Task04 Hippocampus: 36×50×35 median voxels at 1 mm
        assert_eq!(patch_size([1.0; 3], [36.0, 50.0, 35.0], 3, 8.0), [40, 56, 40]);
        // Task01 BrainTumour
        assert_eq!(patch_size([1.0; 3], [138.0, 169.0, 138.0], 4, 8.0), [128; 3]);
        // Task03 Liver
        assert_eq!(patch_size([1.0, 0.767_578_125, 0.767_578_125], [482.0, 512.0, 512.0], 3, 8.0), [128; 3]);
        // Task02 Heart
        assert_eq!(patch_size([1.37, 1.25, 1.25], [115.0, 320.0, 232.0], 2, 8.0), [80, 192, 160]);
        // Task05 Prostate
        assert_eq!(patch_size([3.6, 0.625, 0.625], [20.0, 320.0, 319.0], 3, 8.0), [20, 320, 256]);
        // Task09 Spleen
        assert_eq!(patch_size([1.6, 0.793, 0.793], [187.0, 512.0, 512.0], 2, 8.0), [64, 192, 160]);
        // Task07 Pancreas
        assert_eq!(patch_size([2.5, 0.803, 0.803], [96.0, 512.0, 512.0], 3, 8.0), [40, 224, 224]);
    }

    #[test]
    fn memory_is_counted_as_nnunet_counts_it() {
        // what compute_conv_feature_map_size of dynamic_network_architectures gives for these networks
        let brain = topology([1.0; 3], [128.0; 3]);
        assert_eq!((brain.strides.len(), feature_map_values(&brain, 4)), (6, 454_893_568));
        let prostate = topology([3.6, 0.625, 0.625], [20.0, 320.0, 256.0]);
        assert_eq!((prostate.strides.len(), feature_map_values(&prostate, 3)), (7, 483_315_200));
    }

    proptest! {
        #[test]
        fn patches_fit_and_follow_the_axes(
            spacing in prop::array::uniform3(0.2..6.0_f64),
            shape in prop::array::uniform3(4.0..700.0_f64),
            classes in 2..20_usize,
        ) {
            let shape = shape.map(f64::round);
            let patch = patch_size(spacing, shape, classes, 8.0);
            for axis in 0..3 {
                prop_assert!(patch[axis] >= 1);
                // a patch is at most padded to what the pooling needs
                prop_assert!((patch[axis] as f64) < 2.0 * shape[axis].max(8.0));
            }
            let found = topology(spacing, patch.map(|n| n as f64));
            prop_assert!(feature_map_values(&found, classes as u64) as f64 <= REFERENCE_FEATURES * 1.01);
            let larger = patch_size(spacing, shape, classes, 24.0);
            prop_assert!(larger.iter().product::<usize>() >= patch.iter().product::<usize>());
        }
    }
}
