//! Distances between the surfaces of two masks, as defined by google-deepmind/surface-distance (S. Nikolov et al., "Deep
//! learning to achieve clinically applicable segmentation of head and neck anatomy", arXiv:1809.04430).
//!
//! Surface points are voxel corners whose eight neighbours are not all alike; space around the volume counts as outside, so
//! that objects at the border close. Each point has the area of its surfel ([`crate::surfel`]) and the Euclidean distance to
//! the nearest surface point of the other mask. One distance transform per mask is made inside the joint bounding box.

use crate::mask::{Bounds, Mask, expect_same_shape};
use crate::{Definition, Result, surfel};
use label_maps::distance_at;
use rayon::prelude::*;

/// Surface points of one mask, in the order of (distance, area).
#[derive(Debug, Clone, PartialEq)]
struct Side {
    distances: Vec<f64>,
    areas: Vec<f64>,
    area: f64,
}

impl Side {
    fn new(mut points: Vec<(f64, f64)>) -> Self {
        points.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let (distances, areas): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        let area = sum(&areas);
        Self { distances, areas, area }
    }

    /// Smallest distance at which the cumulated share of the area reaches `percent`; the last one where rounding keeps the
    /// share below it.
    fn percentile(&self, percent: f64) -> f64 {
        let mut cumulated = 0.0;
        let reached = self.areas.iter().position(|area| {
            cumulated += area;
            cumulated / self.area >= percent / 100.0
        });
        let last = self.distances.len().saturating_sub(1);
        self.distances.get(reached.unwrap_or(last)).copied().unwrap_or(f64::INFINITY)
    }

    fn weighted_sum(&self) -> f64 {
        sum(&self.distances.iter().zip(&self.areas).map(|(d, a)| d * a).collect::<Vec<_>>())
    }

    fn area_within(&self, tolerance_mm: f64) -> f64 {
        sum(&self.areas[..self.distances.partition_point(|d| *d <= tolerance_mm)])
    }
}

/// Pairwise summation in NumPy's order, whose last digit decides ties of the percentile.
fn sum(values: &[f64]) -> f64 {
    const BLOCK: usize = 128;
    if values.len() < 8 {
        // the sum of no floats is -0 in Rust, and that would be written so
        return values.iter().fold(0.0, |total, value| total + value);
    }
    if values.len() <= BLOCK {
        let mut lanes = [0.0; 8];
        let chunks = values.chunks_exact(8);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += value;
            }
        }
        let [a, b, c, d, e, f, g, h] = lanes;
        return rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |total, value| total + value);
    }
    let half = values.len() / 2;
    let (left, right) = values.split_at(half - half % 8);
    sum(left) + sum(right)
}

/// Distances between two surfaces, in both directions, in mm.
#[derive(Debug, Clone, PartialEq)]
pub struct SurfaceDistances {
    reference: Side,
    prediction: Side,
}

impl SurfaceDistances {
    /// Measures two masks of equal shape; `None` when one of them is empty ([`crate::Policy`] says what that is worth).
    ///
    /// # Shapes and units
    /// Both masks z, y, x; `spacing_zyx_mm` is the distance between voxel centres along these axes.
    ///
    /// # Errors
    /// Masks of different shapes, or a spacing that is not positive and finite.
    pub fn between(reference: &Mask, prediction: &Mask, spacing_zyx_mm: [f64; 3]) -> Result<Option<Self>> {
        expect_same_shape(reference, prediction)?;
        let (Some(mut bounds), Some(other)) = (reference.bounds(), prediction.bounds()) else {
            return Ok(None);
        };
        bounds.include(other.start_zyx);
        bounds.include(other.end_zyx.map(|i| i - 1));
        // corners: one more than voxels along each axis
        let shape = bounds.shape_zyx().map(|n| n + 1);
        let codes = [codes(reference, bounds), codes(prediction, bounds)];
        let areas = surfel::areas(spacing_zyx_mm);
        let side = |own: &[u8], other: &[u8]| -> Result<Side> {
            let distances = distance_at(
                shape,
                spacing_zyx_mm,
                |i| surfel::is_surface(other[i]),
                |i| surfel::is_surface(own[i]),
            )?;
            let surface = own.iter().filter(|code| surfel::is_surface(**code));
            let points = distances.into_iter().zip(surface);
            Ok(Side::new(points.map(|(distance, code)| (distance, areas[usize::from(*code)])).collect()))
        };
        Ok(Some(Self { reference: side(&codes[0], &codes[1])?, prediction: side(&codes[1], &codes[0])? }))
    }

    /// Maximum over both directions of the area-weighted percentile of distances, in mm.
    #[must_use]
    pub fn robust_hausdorff(&self, percent: f64) -> f64 {
        self.reference.percentile(percent).max(self.prediction.percentile(percent))
    }

    /// Area-weighted mean distances, in mm: from the reference's surface to the prediction's, and back.
    #[must_use]
    pub fn average(&self) -> [f64; 2] {
        [&self.reference, &self.prediction].map(|side| side.weighted_sum() / side.area)
    }

    /// Area-weighted mean distance over both surfaces together, in mm.
    #[must_use]
    pub fn average_symmetric(&self) -> f64 {
        (self.reference.weighted_sum() + self.prediction.weighted_sum())
            / (self.reference.area + self.prediction.area)
    }

    /// Share of both surfaces' area within `tolerance_mm` of the other surface, in [0, 1].
    #[must_use]
    pub fn normalised_surface_distance(&self, tolerance_mm: f64) -> f64 {
        (self.reference.area_within(tolerance_mm) + self.prediction.area_within(tolerance_mm))
            / (self.reference.area + self.prediction.area)
    }

    /// The value of a definition on surface elements; `None` for others.
    #[must_use]
    pub fn value(&self, definition: Definition) -> Option<f64> {
        match definition {
            Definition::Hd95 => Some(self.robust_hausdorff(95.0)),
            Definition::Hd => Some(self.robust_hausdorff(100.0)),
            Definition::AsdReferenceToPrediction => Some(self.average()[0]),
            Definition::AsdPredictionToReference => Some(self.average()[1]),
            Definition::Assd => Some(self.average_symmetric()),
            Definition::Nsd { tolerance_mm } => Some(self.normalised_surface_distance(tolerance_mm)),
            _ => None,
        }
    }
}

/// Neighbour codes at the corners of the voxels in `bounds`: shape one more than the box along each axis, z, y, x.
fn codes(mask: &Mask, bounds: Bounds) -> Vec<u8> {
    let [_, ny, nx] = mask.shape_zyx();
    let [sz, sy, sx] = bounds.shape_zyx();
    let mut codes = vec![0_u8; (sz + 1) * (sy + 1) * (sx + 1)];
    codes.par_chunks_mut(sx + 1).enumerate().for_each(|(row, codes)| {
        let corner = [row / (sy + 1), row % (sy + 1)];
        // the four rows of voxels around a row of corners: offset 0 lies before the corner, offset 1 behind it
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (Some(z), Some(y)) = ((corner[0] + i).checked_sub(1), (corner[1] + j).checked_sub(1)) else {
                continue;
            };
            if z >= sz || y >= sy {
                continue;
            }
            let first = ((z + bounds.start_zyx[0]) * ny + y + bounds.start_zyx[1]) * nx + bounds.start_zyx[2];
            let voxels = &mask.voxels()[first..first + sx];
            let [before, behind] = [0, 1].map(|k| surfel::bit([i, j, k]));
            for (code, inside) in codes.iter_mut().zip(voxels) {
                *code |= behind * u8::from(*inside);
            }
            for (code, inside) in codes[1..].iter_mut().zip(voxels) {
                *code |= before * u8::from(*inside);
            }
        }
    });
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The areas behind the published vectors of `tests/surface.rs`, printed to nine decimals: of a cube in the middle and at the
    /// array's face.
    #[test]
    fn areas_are_those_published() {
        for (size, unit, coarse) in [(4, 81.187_894_930, 193.762_074_988), (1, 1.732_050_808, 4.358_898_944)]
        {
            let cube = |start: usize| {
                let inside = |i: usize| {
                    [i / 144, i / 12 % 12, i % 12].iter().all(|at| (start..start + size).contains(at))
                };
                Mask::new((0..1728).map(inside).collect(), [12; 3]).unwrap()
            };
            for (spacing, area) in [([1.0; 3], unit), ([3.0, 1.0, 1.0], coarse)] {
                let found = SurfaceDistances::between(&cube(4), &cube(0), spacing).unwrap().unwrap();
                for side in [found.reference, found.prediction] {
                    assert!((side.area - area).abs() < 6e-10, "{} instead of {area}", side.area);
                }
            }
        }
    }
}
