//! Affinities and boundary maps: conventions and checks.
//!
//! An affinity says how surely two voxels an offset apart belong to one object: 1 together, 0 apart. Channel `c` holds at
//! voxel p the affinity of p and p + `offsets[c]`. CREMI, waterz and the published networks list the nearest neighbours
//! as [`NEAREST`]; longer offsets follow, as [`axis_offsets`] makes them. Values whose partner lies outside of the volume
//! are never read as pairs. A boundary map holds one probability per voxel: 1 on a boundary, 0 inside an object.

use crate::grid::{Pairs, place};
use crate::{LabelMapError, Result, expect_volume};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Offsets of the nearest neighbours in voxels: one step back along z, y and x.
pub const NEAREST: [[isize; 3]; 3] = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]];

/// How far rounding may carry a probability beyond 0 and 1.
const SLACK: f32 = 1e-3;

/// Offsets back along each axis in turn: for every triple `[z, y, x]` the offsets `[-z, 0, 0]`, `[0, -y, 0]`, `[0, 0, -x]`.
///
/// The published twelve channels are `axis_offsets(&[[1, 1, 1], [2, 3, 3], [3, 9, 9], [4, 27, 27]])`.
#[must_use]
pub fn axis_offsets(distances_zyx: &[[u32; 3]]) -> Vec<[isize; 3]> {
    distances_zyx
        .iter()
        .flat_map(|[z, y, x]| [[-(*z as isize), 0, 0], [0, -(*y as isize), 0], [0, 0, -(*x as isize)]])
        .collect()
}

/// Affinities of a volume, checked once.
#[derive(Debug, Clone, Copy)]
pub struct Affinities<'a> {
    values: &'a [f32],
    offsets: &'a [[isize; 3]],
    shape_zyx: [usize; 3],
}

impl<'a> Affinities<'a> {
    /// Affinities with a list of offsets in voxels.
    ///
    /// # Shapes
    /// `values`: offset, z, y, x.
    ///
    /// # Errors
    /// A length that does not fit, an offset of zero or listed twice, a value that is not a number from 0 to 1 (a
    /// thousandth beyond is taken for rounding).
    pub fn new(values: &'a [f32], offsets: &'a [[isize; 3]], shape_zyx: [usize; 3]) -> Result<Self> {
        let voxels = shape_zyx.iter().try_fold(1_usize, |n, m| n.checked_mul(*m));
        if voxels.and_then(|n| n.checked_mul(offsets.len())) != Some(values.len()) {
            let (found, offsets) = (values.len(), offsets.len());
            return Err(LabelMapError::AffinityLength { found, offsets, shape_zyx });
        }
        for (i, offset) in offsets.iter().enumerate() {
            if *offset == [0; 3] || offsets[..i].contains(offset) {
                return Err(LabelMapError::Offset { found: *offset });
            }
        }
        expect_probabilities("affinities", values, shape_zyx)?;
        Ok(Self { values, offsets, shape_zyx })
    }

    /// Shape along z, y, x.
    #[must_use]
    pub fn shape_zyx(&self) -> [usize; 3] {
        self.shape_zyx
    }

    /// Offsets in voxels, one per channel.
    #[must_use]
    pub fn offsets(&self) -> &'a [[isize; 3]] {
        self.offsets
    }

    /// One channel: z, y, x.
    #[must_use]
    pub fn channel(&self, channel: usize) -> &'a [f32] {
        let voxels = self.shape_zyx.iter().product::<usize>();
        &self.values[channel * voxels..(channel + 1) * voxels]
    }

    /// Channels of nearest neighbours.
    ///
    /// # Errors
    /// An axis of more than one voxel without an offset of one voxel along it.
    pub fn nearest(&self) -> Result<Vec<usize>> {
        nearest_of(self.offsets, self.shape_zyx)
    }
}

/// Which of `offsets` are of nearest neighbours; every axis of more than one voxel has one.
pub(crate) fn nearest_of(offsets: &[[isize; 3]], shape_zyx: [usize; 3]) -> Result<Vec<usize>> {
    let along =
        |axis: usize, offset: &[isize; 3]| (0..3).all(|a| offset[a].unsigned_abs() == usize::from(a == axis));
    for (axis, name) in ['z', 'y', 'x'].into_iter().enumerate() {
        if shape_zyx[axis] > 1 && !offsets.iter().any(|o| along(axis, o)) {
            return Err(LabelMapError::NoNearest { axis: name, offsets: offsets.to_vec() });
        }
    }
    Ok((0..offsets.len()).filter(|c| (0..3).any(|axis| along(axis, &offsets[*c]))).collect())
}

/// Fails on a value that is not a number from 0 to 1, naming the first.
pub(crate) fn expect_probabilities(what: &'static str, values: &[f32], shape: [usize; 3]) -> Result<()> {
    let allowed = -SLACK..=1.0 + SLACK;
    let Some(first) = values.par_iter().position_first(|v| !allowed.contains(v)) else {
        return Ok(());
    };
    let voxels = shape.iter().product::<usize>();
    Err(LabelMapError::Probability {
        what,
        found: values[first],
        channel: first / voxels,
        place_zyx: place(first % voxels, shape),
    })
}

/// How affinities of several axes become one boundary probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// One minus the mean affinity, as the published fragments.
    Mean,
    /// One minus the smallest affinity, as elf's multicut workflow.
    Strongest,
}

/// Boundary map of the affinities to nearest neighbours, in the plane only or along all axes.
///
/// # Shapes
/// z, y, x.
///
/// # Errors
/// An axis without affinities to nearest neighbours.
pub fn boundary_of_affinities(
    affinities: &Affinities<'_>,
    planar: bool,
    combine: Combine,
) -> Result<Vec<f32>> {
    let channels: Vec<usize> =
        affinities.nearest()?.into_iter().filter(|c| !planar || affinities.offsets()[*c][0] == 0).collect();
    let voxels = affinities.shape_zyx().iter().product::<usize>();
    let mut boundary = vec![0.0_f32; voxels];
    let (first, share) = match combine {
        Combine::Mean => (0.0, 1.0 / channels.len().max(1) as f32),
        Combine::Strongest => (1.0, 1.0),
    };
    let parts: Vec<&[f32]> = channels.iter().map(|c| affinities.channel(*c)).collect();
    boundary.par_iter_mut().enumerate().with_min_len(4096).for_each(|(i, out)| {
        let joined = parts.iter().fold(first, |joined: f32, part| match combine {
            Combine::Mean => joined + part[i],
            Combine::Strongest => joined.min(part[i]),
        });
        *out = (1.0 - joined * share).clamp(0.0, 1.0);
    });
    Ok(boundary)
}

/// Affinities to [`NEAREST`] of a boundary map: one minus the larger of the two voxels' probabilities. Where the
/// neighbour lies outside, the voxel stands alone.
///
/// # Shapes
/// `boundary`: z, y, x; the result: 3, z, y, x.
///
/// # Errors
/// A slice that does not fill the shape, or values that are not probabilities.
pub fn affinities_of_boundary(boundary: &[f32], shape_zyx: [usize; 3]) -> Result<Vec<f32>> {
    expect_volume(boundary.len(), shape_zyx)?;
    expect_probabilities("boundary probabilities", boundary, shape_zyx)?;
    let voxels = boundary.len();
    let mut values: Vec<f32> = Vec::with_capacity(3 * voxels);
    for offset in NEAREST {
        let start = values.len();
        values.extend(boundary.iter().map(|b| 1.0 - b));
        let pairs = Pairs::new(shape_zyx, offset);
        for z in pairs.sections() {
            for p in pairs.rows(z).flatten() {
                // both voxels of a pair are in the volume
                let partner = p.wrapping_add_signed(pairs.step);
                values[start + p] = 1.0 - boundary[p].max(boundary[partner]);
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_offsets() {
        let offsets = axis_offsets(&[[1, 1, 1], [2, 3, 3], [3, 9, 9], [4, 27, 27]]);
        assert_eq!(offsets.len(), 12);
        assert_eq!(offsets[..3], NEAREST);
        assert_eq!(offsets[9..], [[-4, 0, 0], [0, -27, 0], [0, 0, -27]]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |values: &[f32], offsets: &[[isize; 3]]| {
            Affinities::new(values, offsets, [1, 2, 2]).unwrap_err().to_string()
        };
        assert_eq!(
            said(&[0.5; 11], &NEAREST),
            "affinities of 3 offsets over a shape of [1, 2, 2] (z, y, x) were given 11 values"
        );
        assert!(said(&[0.5; 4], &[[0; 3]]).contains("distinct and not [0, 0, 0]"));
        assert!(said(&[0.5; 8], &[[0, 0, 1]; 2]).contains("[0, 0, 1]"));
        let mut values = [0.5; 12];
        values[7] = f32::NAN;
        assert!(said(&values, &NEAREST).ends_with("found NaN at [0, 1, 1] (z, y, x) of channel 1"));
        let affinities = Affinities::new(&[0.5; 8], &[[0, -1, 0], [0, 0, 3]], [1, 2, 2]).unwrap();
        assert!(affinities.nearest().unwrap_err().to_string().starts_with("no offset of one voxel along x"));
        // a section of its own needs no neighbours along z
        let affinities = Affinities::new(&[0.5; 8], &NEAREST[1..], [1, 2, 2]).unwrap();
        assert_eq!(affinities.nearest().unwrap(), [0, 1]);
    }

    #[test]
    fn boundaries_and_affinities_turn_into_each_other() {
        let values = [0.9, 0.8, 0.4, 0.6];
        let offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, -2]];
        let affinities = Affinities::new(&values, &offsets, [1, 1, 1]).unwrap();
        let near = |a: &[f32], b: f32| assert!((a[0] - b).abs() < 1e-6, "{a:?} instead of {b}");
        near(&boundary_of_affinities(&affinities, true, Combine::Mean).unwrap(), 0.4);
        near(&boundary_of_affinities(&affinities, false, Combine::Mean).unwrap(), 0.3);
        near(&boundary_of_affinities(&affinities, true, Combine::Strongest).unwrap(), 0.6);
        let back = affinities_of_boundary(&[0.0, 0.75, 0.25, 0.5], [1, 2, 2]).unwrap();
        assert_eq!(back, [1.0, 0.25, 0.75, 0.5, 1.0, 0.25, 0.75, 0.25, 1.0, 0.25, 0.75, 0.5]);
    }
}
