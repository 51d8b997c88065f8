//! Distances to the true surfaces, for the boundary term of the loss.

use label_maps::distance_to_nearest;
use tch::{Device, Tensor};
use torch_runtime::transfer::uploaded;
use training::error::BoxedError;

/// For each set of label values the distance of every voxel from the set's surface, in units of the smallest spacing: outside that to the set, inside less than 0, that
/// to the outside less 1, so that voxels on the surface have 0 or little. 0 everywhere for sets that a sample does not hold or that fill it, and at ignored voxels.
///
/// The mean of a probability times this is the boundary loss of H. Kervadec et al., "Boundary loss for highly unbalanced segmentation",
/// Medical Image Analysis 67 (2021), equation 5: it grows with how far from the surface a wrong voxel lies.
///
/// # Shapes
/// `labels`: int64 `[batch, 1, z, y, x]`, on the CPU; float32 `[batch, set, z, y, x]` on `device`.
pub(crate) fn signed_distances(
    labels: &Tensor,
    sets: &[Vec<i64>],
    spacing_zyx: [f64; 3],
    ignored: Option<i64>,
    device: Device,
) -> Result<Tensor, BoxedError> {
    let size = labels.size();
    let shape = [size[2] as usize, size[3] as usize, size[4] as usize];
    // a millimetre is a voxel of a CT and a cell of an electron microscope's stack: one weight for both needs voxels
    let smallest = spacing_zyx.into_iter().fold(f64::INFINITY, f64::min);
    let spacing = spacing_zyx.map(|s| s / smallest);
    let mut all = Vec::with_capacity(labels.numel() * sets.len());
    for sample in labels.unbind(0) {
        let values = Vec::<i64>::try_from(sample.contiguous().view(-1))?;
        for set in sets {
            let inside: Vec<bool> = values.iter().map(|value| set.contains(value)).collect();
            let outside: Vec<bool> = values
                .iter()
                .zip(&inside)
                .map(|(value, inside)| !inside && Some(*value) != ignored)
                .collect();
            if !inside.contains(&true) || !outside.contains(&true) {
                all.extend(std::iter::repeat_n(0.0_f32, inside.len()));
                continue;
            }
            let to_set = distance_to_nearest(&inside, shape, spacing)?;
            let to_rest = distance_to_nearest(&outside, shape, spacing)?;
            all.extend(values.iter().enumerate().map(|(i, value)| {
                if Some(*value) == ignored {
                    0.0
                } else if inside[i] {
                    // the first voxel inside lies on the surface
                    -((to_rest[i] - 1.0).max(0.0)) as f32
                } else {
                    to_set[i] as f32
                }
            }));
        }
    }
    let shape = [size[0], sets.len() as i64, size[2], size[3], size[4]];
    Ok(uploaded(&all, &shape, device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_signed_in_voxels_and_0_where_nothing_is_known() {
        let labels = Tensor::from_slice(&[0_i64, 1, 1, 1, 2, 9]).view([1, 1, 1, 1, 6]);
        let found =
            signed_distances(&labels, &[vec![1], vec![1, 2], vec![3]], [1.0, 1.0, 0.5], Some(9), Device::Cpu)
                .unwrap();
        assert_eq!(found.size(), [1, 3, 1, 1, 6]);
        let row = |set: i64| Vec::<f32>::try_from(found.get(0).get(set).contiguous().view(-1)).unwrap();
        assert_eq!(row(0), [1.0, 0.0, -1.0, 0.0, 1.0, 0.0]);
        assert_eq!(row(1), [1.0, 0.0, -1.0, -2.0, -3.0, 0.0]);
        assert_eq!(row(2), [0.0; 6]);
    }

    /// Against every pair of voxels, on three different spacings.
    #[test]
    fn distances_are_those_of_all_pairs() {
        let (shape, spacing) = ([4_usize, 5, 6], [3.0, 1.0, 1.5]);
        let values: Vec<i64> = (0..120).map(|i: i64| i64::from((i * 7919 + 13) % 11 < 3)).collect();
        let at = |i: usize| [i / 30, i / 6 % 5, i % 6];
        let nearest = |i: usize, wanted: i64| -> f64 {
            let apart = |j: usize| -> f64 {
                let along = |axis: usize| (at(i)[axis] as f64 - at(j)[axis] as f64) * spacing[axis];
                (0..3).map(|axis| along(axis).powi(2)).sum::<f64>().sqrt()
            };
            (0..120).filter(|j| values[*j] == wanted).map(apart).fold(f64::INFINITY, f64::min)
        };
        let labels = Tensor::from_slice(&values).view([1, 1, 4, 5, 6]);
        let found = signed_distances(&labels, &[vec![1]], spacing, None, Device::Cpu).unwrap();
        let found = Vec::<f32>::try_from(found.contiguous().view(-1)).unwrap();
        assert_eq!(shape.iter().product::<usize>(), found.len());
        for (i, found) in found.into_iter().enumerate() {
            let expected = if values[i] == 1 { -(nearest(i, 0) - 1.0).max(0.0) } else { nearest(i, 1) };
            assert!((f64::from(found) - expected).abs() < 1e-5, "{:?}: {found} for {expected}", at(i));
        }
    }
}
