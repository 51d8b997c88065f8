//! Fragments (supervoxels): an oversegmentation of a boundary map by a watershed from the maxima of the distance to the
//! nearest boundary.
//!
//! [`FragmentParameters::waterz`] are those of the published waterz pipeline (mean of the affinities in the plane, seeds
//! below one half, flooding of the boundary map), [`FragmentParameters::multicut`] those of its multicut (elf's
//! distance-transform watershed). Electron microscopy with thick sections takes fragments in each section by itself.

use crate::affinities::{Combine, expect_probabilities};
use crate::maxima::regional_maxima;
use crate::smooth::gaussian;
use crate::watershed::watershed;
use crate::{
    Connectivity, LabelMapError, Result, expect_volume, label_components, squared_distance_to_nearest,
};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// How fragments are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FragmentParameters {
    /// Each section by itself, for sections thicker than pixels are wide; otherwise the volume as a whole.
    pub planar: bool,
    /// How affinities become a boundary map.
    pub boundary: Combine,
    /// Boundary probability from which on a voxel counts as boundary when distances are measured, 0 to 1.
    pub threshold: f32,
    /// Standard deviation in voxels by which distances are smoothed before their maxima are taken.
    pub seed_sigma: f64,
    /// Standard deviation in voxels by which the boundary map is smoothed before it is flooded.
    pub height_sigma: f64,
    /// Share of the boundary map in the flooded heights, 0 to 1; the rest is one minus the relative distance.
    pub height_share: f64,
    /// Fragments of fewer voxels go to their neighbours.
    pub smallest: u64,
    /// Size of a voxel along z, y, x in any unit.
    pub spacing_zyx: [f64; 3],
}

impl FragmentParameters {
    /// The published waterz pipeline.
    #[must_use]
    pub fn waterz() -> Self {
        Self {
            planar: true,
            boundary: Combine::Mean,
            threshold: 0.5,
            seed_sigma: 0.0,
            height_sigma: 0.0,
            height_share: 1.0,
            smallest: 0,
            spacing_zyx: [1.0; 3],
        }
    }

    /// The published multicut pipeline.
    #[must_use]
    pub fn multicut() -> Self {
        Self {
            planar: true,
            boundary: Combine::Strongest,
            threshold: 0.25,
            seed_sigma: 2.0,
            height_sigma: 2.0,
            height_share: 0.9,
            smallest: 100,
            spacing_zyx: [1.0; 3],
        }
    }

    /// Fails on values without a meaning.
    pub(crate) fn check(&self) -> Result<()> {
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            return Err(LabelMapError::parameter("threshold", "above 0 and at most 1", self.threshold));
        }
        for (name, sigma) in [("seed_sigma", self.seed_sigma), ("height_sigma", self.height_sigma)] {
            if !(sigma.is_finite() && sigma >= 0.0) {
                return Err(LabelMapError::parameter(name, "at least 0", sigma));
            }
        }
        if !(0.0..=1.0).contains(&self.height_share) {
            return Err(LabelMapError::parameter("height_share", "0 to 1", self.height_share));
        }
        Ok(())
    }
}

/// Fragments of a boundary map, numbered from 1 in the order of their first seeds' voxels, section after section.
///
/// Where nothing is a boundary, a section (or the volume) is one fragment; where everything is, there is none. A part of
/// the mask that lies entirely above the threshold and touches no other part stays 0.
///
/// # Shapes
/// `boundary` (0 to 1) and `mask` (foreground; everything without): z, y, x of `shape_zyx`; the result likewise.
///
/// # Errors
/// Slices that do not fill the shape, values or parameters out of range, or more than 2³² voxels at once.
pub fn fragments(
    boundary: &[f32],
    mask: Option<&[bool]>,
    shape_zyx: [usize; 3],
    parameters: &FragmentParameters,
) -> Result<Vec<u64>> {
    parameters.check()?;
    expect_volume(boundary.len(), shape_zyx)?;
    expect_volume(mask.map_or(boundary.len(), <[bool]>::len), shape_zyx)?;
    expect_probabilities("boundary probabilities", boundary, shape_zyx)?;
    let [nz, ny, nx] = shape_zyx;
    if !parameters.planar || nz == 1 || boundary.is_empty() {
        return flood(boundary, mask, shape_zyx, parameters).map(|(labels, _)| labels);
    }
    let area = ny * nx;
    let sections: Vec<(Vec<u64>, u64)> = (0..nz)
        .into_par_iter()
        .map(|z| {
            let mask = mask.map(|mask| &mask[z * area..(z + 1) * area]);
            flood(&boundary[z * area..(z + 1) * area], mask, [1, ny, nx], parameters)
        })
        .collect::<Result<_>>()?;
    let mut labels = Vec::with_capacity(boundary.len());
    let mut before = 0;
    for (section, count) in sections {
        labels.extend(section.into_iter().map(|l| if l == 0 { 0 } else { l + before }));
        before += count;
    }
    Ok(labels)
}

/// Fragments of one section or volume, and the largest number given.
fn flood(
    boundary: &[f32],
    mask: Option<&[bool]>,
    shape: [usize; 3],
    parameters: &FragmentParameters,
) -> Result<(Vec<u64>, u64)> {
    let inside = |i: usize| mask.is_none_or(|mask| mask[i]);
    let walls: Vec<bool> =
        (0..boundary.len()).map(|i| boundary[i] >= parameters.threshold || !inside(i)).collect();
    let mut distances = squared_distance_to_nearest(&walls, shape, parameters.spacing_zyx)?;
    let sigma = |sigma: f64| [if shape[0] > 1 { sigma } else { 0.0 }, sigma, sigma];
    let unbounded = distances.first().is_some_and(|d| d.is_infinite());
    // squares have the same maxima, and are exact
    if !unbounded && (parameters.seed_sigma > 0.0 || parameters.height_share < 1.0) {
        distances.par_iter_mut().with_min_len(4096).for_each(|d| *d = d.sqrt());
    }
    let mut heights = boundary.to_vec();
    if parameters.height_sigma > 0.0 {
        heights = gaussian(heights, shape, sigma(parameters.height_sigma))?;
    }
    if !unbounded && parameters.height_share < 1.0 {
        let share = parameters.height_share as f32;
        let farthest = distances.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (height, distance) in heights.iter_mut().zip(&distances) {
            *height = share * *height + (1.0 - share) * (1.0 - (distance / farthest) as f32);
        }
    }
    if !unbounded && parameters.seed_sigma > 0.0 {
        distances = gaussian(distances, shape, sigma(parameters.seed_sigma))?;
        // what is level, as along a straight passage, must not become rough by rounding: each bump would be a seed
        distances.iter_mut().for_each(|d| *d = f64::from(*d as f32));
    }
    let mut tops = regional_maxima(&distances, shape, Connectivity::Faces)?;
    drop(distances);
    for (top, wall) in tops.iter_mut().zip(&walls) {
        *top &= !wall;
    }
    let seeds = label_components(&tops, shape, Connectivity::Faces)?;
    let count = seeds.sizes.len() as u64;
    let seeds: Vec<u64> = seeds.labels.into_iter().map(u64::from).collect();
    let labels = watershed(&heights, &seeds, mask, shape, Connectivity::Faces)?;
    Ok((absorb_small(labels, &heights, mask, shape, parameters.smallest)?, count))
}

/// Clears fragments of fewer than `smallest` voxels and floods their place from the others, where there are any.
fn absorb_small(
    mut labels: Vec<u64>,
    heights: &[f32],
    mask: Option<&[bool]>,
    shape: [usize; 3],
    smallest: u64,
) -> Result<Vec<u64>> {
    let mut sizes: FxHashMap<u64, u64> = FxHashMap::default();
    if smallest > 1 {
        labels.iter().filter(|l| **l != 0).for_each(|l| *sizes.entry(*l).or_default() += 1);
    }
    let small = sizes.values().filter(|size| **size < smallest).count();
    if small == 0 || small == sizes.len() {
        return Ok(labels);
    }
    for label in &mut labels {
        if sizes.get(label).is_some_and(|size| *size < smallest) {
            *label = 0;
        }
    }
    watershed(heights, &labels, mask, shape, Connectivity::Faces)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sections of two squares with a wall between them.
    fn wall() -> (Vec<f32>, [usize; 3]) {
        let boundary = (0..2 * 9 * 15).map(|i| if i % 15 == 7 { 0.9 } else { 0.1 }).collect();
        (boundary, [2, 9, 15])
    }

    #[test]
    fn sections_are_flooded_by_themselves() {
        let (boundary, shape) = wall();
        let found = fragments(&boundary, None, shape, &FragmentParameters::waterz()).unwrap();
        assert_eq!((found[0], found[14], found[135], found[149]), (1, 2, 3, 4));
        assert!(found.iter().all(|l| *l > 0));
        let whole = FragmentParameters { planar: false, ..FragmentParameters::waterz() };
        let found = fragments(&boundary, None, shape, &whole).unwrap();
        assert_eq!((found[0], found[14], found[135], found[149]), (1, 2, 1, 2));
    }

    #[test]
    fn volumes_without_boundary_or_without_anything_else() {
        let one = FragmentParameters::multicut();
        assert_eq!(fragments(&[0.0; 24], None, [2, 3, 4], &one).unwrap()[11..13], [1, 2]);
        assert_eq!(fragments(&[1.0; 24], None, [2, 3, 4], &one).unwrap(), [0; 24]);
        assert!(fragments(&[], None, [0, 3, 4], &one).unwrap().is_empty());
    }

    #[test]
    fn the_mask_bounds_fragments_and_small_ones_go_to_their_neighbours() {
        let (mut boundary, shape) = wall();
        let mask: Vec<bool> = (0..boundary.len()).map(|i| i / 15 % 9 != 4).collect();
        let found = fragments(&boundary, Some(&mask), shape, &FragmentParameters::waterz()).unwrap();
        assert!(found.iter().zip(&mask).all(|(l, m)| (*l > 0) == *m));
        assert_eq!(found.iter().max(), Some(&8));
        // a corner cut off by a wall
        for i in [3, 18, 31, 30, 32, 33] {
            boundary[i] = 0.8;
        }
        let few = FragmentParameters { smallest: 20, ..FragmentParameters::waterz() };
        let found = fragments(&boundary, None, shape, &few).unwrap();
        let mut left: Vec<u64> = found[..135].to_vec();
        left.sort_unstable();
        left.dedup();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn parameters_are_checked() {
        let said = |p: FragmentParameters| fragments(&[0.5], None, [1; 3], &p).unwrap_err().to_string();
        let good = FragmentParameters::waterz();
        assert_eq!(
            said(FragmentParameters { threshold: 0.0, ..good }),
            "`threshold` must be above 0 and at most 1, found 0.0"
        );
        assert!(said(FragmentParameters { seed_sigma: f64::NAN, ..good }).starts_with("`seed_sigma`"));
        assert!(said(FragmentParameters { height_share: 1.5, ..good }).starts_with("`height_share`"));
        assert!(said(FragmentParameters { spacing_zyx: [0.0; 3], ..good }).contains("spacing"));
    }
}
