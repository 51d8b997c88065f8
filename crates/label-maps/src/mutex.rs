//! The mutex watershed (S. Wolf et al., ECCV 2018 and IEEE TPAMI 43 (2021) 3724–3738, arXiv:1904.12654).
//!
//! All edges are taken in descending order of weight: an attractive one of affinity a weighs a and joins the two clusters
//! unless they exclude each other; a repulsive one weighs 1 − a and makes them exclude each other unless they are one.
//! Edges of equal weight come in the order of their channels, then of their voxels. No seeds and no thresholds.
//!
//! Memory: 8 bytes per edge, 4 per voxel, and 64 per cluster that excludes others.

mod clusters;

use crate::affinities::Affinities;
use crate::grid::Pairs;
use crate::numbering::number_by_first_voxel;
use crate::{LabelMapError, Result, expect_volume};
use clusters::Clusters;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::iter::StepBy;
use std::ops::Range;

/// Edges that are looked up together.
const TOGETHER: usize = 128;

/// Parameters of the mutex watershed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutexParameters {
    /// The first so many channels attract, all others repel.
    pub attractive: usize,
    /// Repulsive edges are taken at voxels whose places along z, y, x are multiples of these; `[1, 1, 1]` takes all.
    pub strides_zyx: [usize; 3],
}

impl MutexParameters {
    /// Fails on values without a meaning for affinities of so many channels.
    pub(crate) fn check(&self, channels: usize) -> Result<()> {
        if self.strides_zyx.contains(&0) {
            return Err(LabelMapError::parameter(
                "strides_zyx",
                "at least 1 along each axis",
                self.strides_zyx,
            ));
        }
        if self.attractive == 0 || self.attractive >= channels {
            return Err(LabelMapError::parameter(
                "attractive",
                "at least 1, and less than the number of channels, so that some repel",
                format_args!("{} of {channels}", self.attractive),
            ));
        }
        Ok(())
    }

    /// Fails also on more affinities than the numbers of edges reach.
    pub(crate) fn check_affinities(&self, channels: usize, shape_zyx: [usize; 3]) -> Result<()> {
        self.check(channels)?;
        let total = shape_zyx.iter().fold(channels, |product, n| product.saturating_mul(*n));
        if u32::try_from(total).is_err() {
            return Err(LabelMapError::TooLarge { what: "affinities", found: total as u64 });
        }
        Ok(())
    }

    /// Edges for each voxel far from the rims.
    pub(crate) fn edges_per_voxel(&self, channels: usize) -> f64 {
        let taken: f64 = self.strides_zyx.iter().map(|stride| *stride as f64).product();
        self.attractive as f64 + channels.saturating_sub(self.attractive) as f64 / taken
    }

    /// Voxels along x of a row of pairs at which edges of channel `c` are taken.
    fn taken(
        &self,
        c: usize,
        row: Range<usize>,
        z: usize,
        shape: [usize; 3],
        origin: [usize; 3],
    ) -> StepBy<Range<usize>> {
        let strides = if c < self.attractive { [1; 3] } else { self.strides_zyx };
        let (y, x) = (row.start / shape[2] % shape[1], row.start % shape[2] + origin[2]);
        if !(z + origin[0]).is_multiple_of(strides[0]) || !(y + origin[1]).is_multiple_of(strides[1]) {
            return (row.end..row.end).step_by(1);
        }
        // from the first multiple of the stride on
        (row.start + x.next_multiple_of(strides[2]) - x..row.end).step_by(strides[2])
    }
}

/// Clusters of voxels, numbered from 1 in the order of their first voxels.
///
/// # Shapes
/// `mask` (foreground; everything without): z, y, x of the affinities' shape; the result likewise, 0 outside of the mask.
///
/// # Errors
/// Parameters out of range, a mask that does not fill the shape, or more than 2³² affinities: take blocks.
pub fn mutex_watershed(
    affinities: &Affinities<'_>,
    mask: Option<&[bool]>,
    parameters: &MutexParameters,
) -> Result<Vec<u64>> {
    mutex_watershed_at(affinities, mask, parameters, [0; 3])
}

/// As [`mutex_watershed`], for a piece that begins at `origin_zyx` of a volume on whose places the strides count.
pub(crate) fn mutex_watershed_at(
    affinities: &Affinities<'_>,
    mask: Option<&[bool]>,
    parameters: &MutexParameters,
    origin_zyx: [usize; 3],
) -> Result<Vec<u64>> {
    let shape = affinities.shape_zyx();
    parameters.check_affinities(affinities.offsets().len(), shape)?;
    let voxels = shape.iter().product::<usize>();
    expect_volume(mask.map_or(voxels, <[bool]>::len), shape)?;
    let mut edges = edges(affinities, mask, parameters, origin_zyx);
    edges.par_sort_unstable();
    let mut clusters = Clusters::new(voxels);
    let steps: Vec<isize> =
        affinities.offsets().iter().map(|offset| Pairs::new(shape, *offset).step).collect();
    for edges in edges.chunks(TOGETHER) {
        // only pairs inside of the volume became edges
        let pairs = edges.iter().map(|edge| {
            // the lower half of an edge is its number: channel, then voxel
            let number = (edge & u64::from(u32::MAX)) as u32;
            let (channel, p) = (number / voxels as u32, number % voxels as u32);
            let channel = channel as usize;
            (channel < parameters.attractive, [p, (p as usize).wrapping_add_signed(steps[channel]) as u32])
        });
        clusters.take(pairs);
    }
    let mut labels: Vec<u64> = (0..voxels)
        .map(|p| if mask.is_none_or(|mask| mask[p]) { u64::from(clusters.root(p as u32)) + 1 } else { 0 })
        .collect();
    number_by_first_voxel(&mut labels);
    Ok(labels)
}

/// Edges as numbers that ascend as they are taken: the weight's complement in the upper half, the number in the lower. They are counted before they
/// are written, each section of a channel in its place, so that no edge is held twice.
fn edges(
    affinities: &Affinities<'_>,
    mask: Option<&[bool]>,
    parameters: &MutexParameters,
    origin: [usize; 3],
) -> Vec<u64> {
    let shape = affinities.shape_zyx();
    let voxels = shape.iter().product::<usize>();
    let inside = |p: usize| mask.is_none_or(|mask| mask[p]);
    let sections: Vec<(usize, usize, Pairs)> = (0..affinities.offsets().len())
        .flat_map(|c| {
            let pairs = Pairs::new(shape, affinities.offsets()[c]);
            (0..shape[0]).map(move |z| (c, z, pairs.clone()))
        })
        .collect();
    let taken = |(c, z, pairs): &(usize, usize, Pairs)| {
        let (c, z, step) = (*c, *z, pairs.step);
        let rows = pairs.rows(z).flat_map(move |row| parameters.taken(c, row, z, shape, origin));
        rows.filter(move |p| inside(*p) && inside(p.wrapping_add_signed(step)))
    };
    let counts: Vec<usize> = sections.par_iter().map(|section| taken(section).count()).collect();
    let mut edges = vec![0; counts.iter().sum()];
    let mut rest = edges.as_mut_slice();
    let places: Vec<&mut [u64]> = counts
        .into_iter()
        .map(|count| {
            let (place, behind) = std::mem::take(&mut rest).split_at_mut(count);
            rest = behind;
            place
        })
        .collect();
    sections.par_iter().zip(places).for_each(|(section, place)| {
        let c = section.0;
        let values = affinities.channel(c);
        for (edge, p) in place.iter_mut().zip(taken(section)) {
            let affinity = values[p].clamp(0.0, 1.0);
            let weight = if c < parameters.attractive { affinity } else { 1.0 - affinity };
            // numbers from 0 to 1 order as their bits do; adding zero turns -0 into 0
            let weight = (weight + 0.0).to_bits();
            *edge = u64::from(!weight) << 32 | (c * voxels + p) as u64;
        }
    });
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinities::axis_offsets;
    use crate::grid::place;
    use proptest::prelude::*;

    fn volumes() -> impl Strategy<Value = (Vec<f32>, Vec<bool>, [usize; 3])> {
        (1_usize..4, 1_usize..6, 1_usize..7).prop_flat_map(|(z, y, x)| {
            let n = z * y * x;
            (
                // few values, so that there are ties
                prop::collection::vec((0_u8..9).prop_map(|v| f32::from(v) / 8.0), 6 * n),
                prop::collection::vec(prop::bool::weighted(0.9), n),
                Just([z, y, x]),
            )
        })
    }

    /// The definition on plain lists: a cluster per voxel, exclusions between voxels.
    fn slow(affinities: &Affinities<'_>, mask: &[bool], parameters: &MutexParameters) -> Vec<u64> {
        let shape = affinities.shape_zyx();
        let mut edges = Vec::new();
        for (c, offset) in affinities.offsets().iter().enumerate() {
            for p in 0..mask.len() {
                let at = place(p, shape);
                let to = [0, 1, 2].map(|a| at[a] as isize + offset[a]);
                if (0..3).any(|a| to[a] < 0 || to[a] >= shape[a] as isize) {
                    continue;
                }
                let q = ((to[0] * shape[1] as isize + to[1]) * shape[2] as isize + to[2]) as usize;
                let attractive = c < parameters.attractive;
                if !mask[p]
                    || !mask[q]
                    || !attractive && !(0..3).all(|a| at[a].is_multiple_of(parameters.strides_zyx[a]))
                {
                    continue;
                }
                let a = affinities.channel(c)[p];
                edges.push((if attractive { a } else { 1.0 - a }, attractive, p, q));
            }
        }
        edges.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut cluster: Vec<usize> = (0..mask.len()).collect();
        let mut excluded: Vec<(usize, usize)> = Vec::new();
        for (_, attractive, p, q) in edges {
            let (a, b) = (cluster[p], cluster[q]);
            let apart = excluded
                .iter()
                .any(|(u, v)| (cluster[*u], cluster[*v]) == (a, b) || (cluster[*u], cluster[*v]) == (b, a));
            if attractive && !apart {
                cluster.iter_mut().filter(|c| **c == b).for_each(|c| *c = a);
            } else if !attractive && a != b {
                excluded.push((p, q));
            }
        }
        let mut labels: Vec<u64> =
            cluster.iter().zip(mask).map(|(c, m)| if *m { *c as u64 + 1 } else { 0 }).collect();
        number_by_first_voxel(&mut labels);
        labels
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            (values, mask, shape) in volumes(), strides_zyx in [1_usize..3, 1_usize..4, 1_usize..4],
        ) {
            let offsets = axis_offsets(&[[1, 1, 1], [1, 2, 3]]);
            let mut offsets = offsets;
            offsets[3] = [1, -1, 1];
            let affinities = Affinities::new(&values, &offsets, shape).unwrap();
            let parameters = MutexParameters { attractive: 3, strides_zyx };
            let found = mutex_watershed(&affinities, Some(&mask), &parameters).unwrap();
            prop_assert_eq!(found, slow(&affinities, &mask, &parameters));
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let offsets = axis_offsets(&[[1, 1, 1]]);
        let affinities = Affinities::new(&[0.5; 24], &offsets, [2, 2, 2]).unwrap();
        let said = |attractive, strides_zyx| {
            mutex_watershed(&affinities, None, &MutexParameters { attractive, strides_zyx })
                .unwrap_err()
                .to_string()
        };
        assert!(said(3, [1; 3]).ends_with("so that some repel, found 3 of 3"), "{}", said(3, [1; 3]));
        assert!(said(2, [1, 0, 1]).starts_with("`strides_zyx` must be at least 1"));
    }
}
