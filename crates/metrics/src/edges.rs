//! Distances between the edge voxels of two masks, as MONAI, MetricsReloaded and MedPy measure them.
//!
//! Edge voxels are those that erosion with the six face neighbours removes; space around the volume counts as outside
//! (SciPy's `border_value=0`), so that objects at the border have an edge there. One distance transform per mask is made in
//! the joint bounding box: it gives the other mask's distances, and the band of the mask itself for the boundary IoU.

use crate::mask::{Mask, expect_same_shape};
use crate::statistics::quantile;
use crate::{Definition, Result};
use label_maps::distance_at;

/// Distances between the edge voxels of two masks, in both directions, in mm.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeDistances {
    /// From each edge voxel of the reference to the prediction's nearest, ascending.
    reference: Vec<f64>,
    /// The other way.
    prediction: Vec<f64>,
    bands: Vec<Band>,
}

/// Voxels near the edges.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Band {
    width_mm: f64,
    in_both: u64,
    in_either: u64,
}

impl EdgeDistances {
    /// Measures two masks of equal shape; `None` when one of them is empty. `widths_mm` are the bands whose IoU will be asked.
    ///
    /// # Shapes and units
    /// Both masks z, y, x; `spacing_zyx_mm` is the distance between voxel centres along these axes.
    ///
    /// # Errors
    /// Masks of different shapes, or a spacing that is not positive and finite.
    pub fn between(
        reference: &Mask,
        prediction: &Mask,
        spacing_zyx_mm: [f64; 3],
        widths_mm: &[f64],
    ) -> Result<Option<Self>> {
        expect_same_shape(reference, prediction)?;
        let (Some(mut bounds), Some(other)) = (reference.bounds(), prediction.bounds()) else {
            return Ok(None);
        };
        bounds.include(other.start_zyx);
        bounds.include(other.end_zyx.map(|i| i - 1));
        let shape = bounds.shape_zyx();
        let masks = [reference.within(bounds)?, prediction.within(bounds)?];
        let edges = [edges(&masks[0]), edges(&masks[1])];
        let widest = widths_mm.iter().copied().fold(0.0, f64::max);
        let mut distances = [Vec::new(), Vec::new()];
        // bit k: the voxel lies in the band of width k
        let mut near = [vec![0_u32; 0], vec![0_u32; 0]];
        for own in 0..2 {
            let other = 1 - own;
            let (mask, edge, target) = (masks[own].voxels(), &edges[own], &edges[other]);
            let asked = |i: usize| target[i] || (widest > 0.0 && mask[i]);
            let found = distance_at(shape, spacing_zyx_mm, |i| edge[i], asked)?;
            if widest > 0.0 {
                near[own] = vec![0; edge.len()];
            }
            for (i, distance) in (0..edge.len()).filter(|i| asked(*i)).zip(found) {
                if target[i] {
                    distances[other].push(distance);
                }
                if widest > 0.0 && mask[i] {
                    let within = widths_mm.iter().enumerate().filter(|(_, width)| distance <= **width);
                    near[own][i] = within.fold(0, |bits, (k, _)| bits | 1 << k);
                }
            }
        }
        let bands = widths_mm.iter().enumerate().map(|(k, width_mm)| {
            let count = |keep: fn(u32, u32) -> u32| {
                let pairs = near[0].iter().zip(&near[1]);
                pairs.filter(|(a, b)| keep(**a, **b) >> k & 1 == 1).count() as u64
            };
            Band { width_mm: *width_mm, in_both: count(|a, b| a & b), in_either: count(|a, b| a | b) }
        });
        let bands = bands.collect();
        let [mut reference, mut prediction] = distances;
        reference.sort_unstable_by(f64::total_cmp);
        prediction.sort_unstable_by(f64::total_cmp);
        Ok(Some(Self { reference, prediction, bands }))
    }

    /// Numbers of edge voxels of reference and prediction.
    #[must_use]
    pub fn edge_voxels(&self) -> [usize; 2] {
        [self.reference.len(), self.prediction.len()]
    }

    /// Larger of both directions' percentiles, in mm.
    #[must_use]
    pub fn percentile_of_each(&self, percent: f64) -> f64 {
        quantile(&self.reference, percent / 100.0).max(quantile(&self.prediction, percent / 100.0))
    }

    /// Percentile of both directions together, in mm.
    #[must_use]
    pub fn percentile_pooled(&self, percent: f64) -> f64 {
        let mut all = [self.reference.as_slice(), self.prediction.as_slice()].concat();
        all.sort_unstable_by(f64::total_cmp);
        quantile(&all, percent / 100.0)
    }

    /// Mean of both directions together, in mm.
    #[must_use]
    pub fn average_symmetric(&self) -> f64 {
        let sum: f64 = self.reference.iter().chain(&self.prediction).sum();
        sum / (self.reference.len() + self.prediction.len()) as f64
    }

    /// Share of the edge voxels of both masks within `tolerance_mm` of the other's, in [0, 1].
    #[must_use]
    pub fn normalised_surface_distance(&self, tolerance_mm: f64) -> f64 {
        let within = |distances: &[f64]| distances.partition_point(|d| *d <= tolerance_mm);
        (within(&self.reference) + within(&self.prediction)) as f64
            / (self.reference.len() + self.prediction.len()) as f64
    }

    /// The value of a definition on edge voxels; `None` for others, and for a band that was not asked for.
    #[must_use]
    pub fn value(&self, definition: Definition) -> Option<f64> {
        match definition {
            Definition::Hd95EdgeMax => Some(self.percentile_of_each(95.0)),
            Definition::Hd95EdgePooled => Some(self.percentile_pooled(95.0)),
            Definition::HdEdge => Some(self.percentile_of_each(100.0)),
            Definition::AssdEdge => Some(self.average_symmetric()),
            Definition::NsdEdge { tolerance_mm } => Some(self.normalised_surface_distance(tolerance_mm)),
            Definition::BoundaryIou { width_mm } => {
                let band = self.bands.iter().find(|band| band.width_mm == width_mm)?;
                // a mask that is not empty has edge voxels, and these are in its band
                Some(band.in_both as f64 / band.in_either as f64)
            }
            _ => None,
        }
    }
}

/// Voxels of the mask with a face neighbour outside it.
fn edges(mask: &Mask) -> Vec<bool> {
    let [nz, ny, nx] = mask.shape_zyx();
    let voxels = mask.voxels();
    let mut edges = vec![false; voxels.len()];
    for z in 0..nz {
        for y in 0..ny {
            let row = (z * ny + y) * nx;
            for x in 0..nx {
                let i = row + x;
                edges[i] = voxels[i]
                    && !(x > 0
                        && x + 1 < nx
                        && y > 0
                        && y + 1 < ny
                        && z > 0
                        && z + 1 < nz
                        && voxels[i - 1]
                        && voxels[i + 1]
                        && voxels[i - nx]
                        && voxels[i + nx]
                        && voxels[i - ny * nx]
                        && voxels[i + ny * nx]);
            }
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_around_the_volume_is_outside() {
        // SciPy's erosion with border_value 0 leaves 8 × 8 × 8 of it
        let full = Mask::new(vec![true; 10 * 10 * 10], [10; 3]).unwrap();
        let count = edges(&full).iter().filter(|v| **v).count();
        assert_eq!(count, 10 * 10 * 10 - 8 * 8 * 8);
    }

    #[test]
    fn bands_by_hand() {
        // a row of five voxels against its first three; spacing 2 mm along x and wide elsewhere: every voxel is an edge voxel
        let one = Mask::new(vec![true; 5], [1, 1, 5]).unwrap();
        let two = Mask::new(vec![true, true, true, false, false], [1, 1, 5]).unwrap();
        let found = EdgeDistances::between(&one, &two, [9.0, 9.0, 2.0], &[1.0]).unwrap().unwrap();
        assert_eq!(found.value(Definition::BoundaryIou { width_mm: 1.0 }), Some(0.6));
        assert_eq!(found.value(Definition::BoundaryIou { width_mm: 2.0 }), None);
        assert_eq!(found.edge_voxels(), [5, 3]);
        assert_eq!(found.value(Definition::HdEdge), Some(4.0));
        // distances 0 0 0 2 4 and 0 0 0
        assert_eq!(found.value(Definition::AssdEdge), Some(0.75));
        assert_eq!(found.value(Definition::NsdEdge { tolerance_mm: 2.0 }), Some(7.0 / 8.0));
        let near = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 1e-12;
        assert!(near(found.value(Definition::Hd95EdgeMax), 3.6));
        assert!(near(found.value(Definition::Hd95EdgePooled), 3.3));
    }
}
