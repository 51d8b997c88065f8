//! From affinities or a boundary map to instances: one front for all methods.

use crate::affinities::{affinities_of_boundary, boundary_of_affinities, expect_probabilities};
use crate::fragments::fragments;
use crate::method::Method;
use crate::mutex::mutex_watershed_at;
use crate::numbering::{drop_small, number_by_first_voxel};
use crate::{Affinities, Combine, LabelMapError, RegionGraph, Result, expect_volume, label_components};
use std::borrow::Cow;

/// What a network predicted.
#[derive(Debug, Clone, Copy)]
pub enum Evidence<'a> {
    /// Affinities: offset, z, y, x.
    Affinities(Affinities<'a>),
    /// Boundary probabilities: z, y, x.
    Boundary {
        /// The probabilities, 0 to 1.
        values: &'a [f32],
        /// Their shape along z, y, x.
        shape_zyx: [usize; 3],
    },
}

impl Evidence<'_> {
    /// Shape along z, y, x.
    #[must_use]
    pub fn shape_zyx(&self) -> [usize; 3] {
        match self {
            Self::Affinities(affinities) => affinities.shape_zyx(),
            Self::Boundary { shape_zyx, .. } => *shape_zyx,
        }
    }

    fn boundary(&self, planar: bool, combine: Combine) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Affinities(affinities) => {
                boundary_of_affinities(affinities, planar, combine).map(Cow::Owned)
            }
            Self::Boundary { values, shape_zyx } => {
                expect_volume(values.len(), *shape_zyx)?;
                expect_probabilities("boundary probabilities", values, *shape_zyx)?;
                Ok(Cow::Borrowed(values))
            }
        }
    }

    /// Lets `use_them` see the affinities, made from the boundary map where that is what there is.
    pub(crate) fn with_affinities<R>(
        &self,
        use_them: impl FnOnce(&Affinities<'_>) -> Result<R>,
    ) -> Result<R> {
        match self {
            Self::Affinities(affinities) => use_them(affinities),
            Self::Boundary { values, shape_zyx } => {
                let made = affinities_of_boundary(values, *shape_zyx)?;
                use_them(&Affinities::new(&made, &crate::affinities::NEAREST, *shape_zyx)?)
            }
        }
    }
}

/// Instances of a volume in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// Axes z, y, x: 0 for the background, otherwise the instance's number, counted from 1 in the order of first voxels.
    pub labels: Vec<u64>,
    /// How many instances there are.
    pub count: u64,
}

/// Makes instances of a volume in memory; [`crate::blocks`] makes them of volumes that are not. Instances of fewer than
/// `smallest` voxels become background; 0 keeps all.
///
/// Memory beside the evidence, in bytes per voxel: components 9, agglomeration and multicut some 40 and the graph,
/// mutex watershed 8 per affinity and 16.
///
/// # Shapes
/// `mask` (foreground; everything without): z, y, x of the evidence's shape.
///
/// # Errors
/// Parameters out of range, slices that do not fill their shape, values that are not probabilities, affinities that the
/// method needs and that are not there, and volumes of more than 2³² voxels (mutex watershed: affinities).
pub fn instances(
    evidence: &Evidence<'_>,
    mask: Option<&[bool]>,
    method: &Method,
    smallest: u64,
) -> Result<Instances> {
    let Instances { mut labels, count } = instances_at(evidence, mask, method, [0; 3])?;
    let count = if smallest < 2 { count } else { drop_small(&mut labels, smallest) };
    Ok(Instances { labels, count })
}

/// As [`instances`], but with small ones, for a piece that begins at `origin_zyx` of its volume.
pub(crate) fn instances_at(
    evidence: &Evidence<'_>,
    mask: Option<&[bool]>,
    method: &Method,
    origin_zyx: [usize; 3],
) -> Result<Instances> {
    method.check()?;
    let shape = evidence.shape_zyx();
    let mut labels = match method {
        Method::Components { boundary, threshold, connectivity } => {
            let boundary = evidence.boundary(false, *boundary)?;
            expect_volume(mask.map_or(boundary.len(), <[bool]>::len), shape)?;
            let inside: Vec<bool> = boundary
                .iter()
                .enumerate()
                .map(|(i, b)| b < threshold && mask.is_none_or(|mask| mask[i]))
                .collect();
            label_components(&inside, shape, *connectivity)?.labels.into_iter().map(u64::from).collect()
        }
        Method::Agglomerate { .. } | Method::Multicut { .. } => {
            let mut labels = fragments_of(evidence, mask, method)?;
            let graph = evidence.with_affinities(|affinities| {
                RegionGraph::of_volume(&labels, affinities, method.needs_histograms())
            })?;
            graph.relabel(&mut labels, &method.join_regions(&graph)?);
            labels
        }
        Method::MutexWatershed(parameters) => match evidence {
            Evidence::Affinities(affinities) => mutex_watershed_at(affinities, mask, parameters, origin_zyx)?,
            Evidence::Boundary { .. } => return Err(needs_repulsion(method)),
        },
    };
    let count = number_by_first_voxel(&mut labels);
    Ok(Instances { labels, count })
}

/// Of the mutex watershed and a boundary map.
pub(crate) fn needs_repulsion(method: &Method) -> LabelMapError {
    let expected = "one for a boundary map; the mutex watershed needs affinities with repulsive offsets";
    LabelMapError::parameter("method", expected, method)
}

/// The fragments that a method joins; nothing but 0 for methods without.
pub(crate) fn fragments_of(
    evidence: &Evidence<'_>,
    mask: Option<&[bool]>,
    method: &Method,
) -> Result<Vec<u64>> {
    let shape = evidence.shape_zyx();
    match method.fragments() {
        Some(parameters) => {
            let boundary = evidence.boundary(parameters.planar, parameters.boundary)?;
            fragments(&boundary, mask, shape, parameters)
        }
        None => Ok(vec![0; shape.iter().product()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragments::FragmentParameters;
    use crate::multicut::CostParameters;
    use crate::mutex::MutexParameters;

    #[test]
    fn a_wall_divides_and_a_hole_in_it_does_not() {
        // two rooms of 3 × 8 × 8 with a wall between them, of which one voxel in the middle section is open
        let shape = [3, 8, 17];
        let mut boundary: Vec<f32> = (0..3 * 8 * 17).map(|i| if i % 17 == 8 { 0.95 } else { 0.02 }).collect();
        boundary[(8 + 4) * 17 + 8] = 0.1;
        let evidence = Evidence::Boundary { values: &boundary, shape_zyx: shape };
        let count = |method: &Method| instances(&evidence, None, method, 0).unwrap().count;
        assert_eq!(count(&Method::components()), 1);
        assert_eq!(count(&Method::waterz()), 2);
        let fragments = FragmentParameters {
            smallest: 0,
            seed_sigma: 1.0,
            height_sigma: 0.5,
            ..FragmentParameters::multicut()
        };
        let multicut = Method::Multicut { fragments, costs: CostParameters::default(), sweeps: 10 };
        assert_eq!(count(&multicut), 2);
        let affinities = affinities_of_boundary(&boundary, shape).unwrap();
        let mut values = affinities.clone();
        // two voxels along x are apart where there is a wall between or at them
        values.extend((0..boundary.len()).map(|i| {
            let x = i % 17;
            if x < 2 { 1.0 } else { 1.0 - boundary[i].max(boundary[i - 1]).max(boundary[i - 2]) }
        }));
        let offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, -2]];
        let evidence = Evidence::Affinities(Affinities::new(&values, &offsets, shape).unwrap());
        let mutex = Method::MutexWatershed(MutexParameters { attractive: 3, strides_zyx: [1; 3] });
        let found = instances(&evidence, None, &mutex, 0).unwrap();
        assert_ne!(found.labels[0], found.labels[16]);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let evidence = Evidence::Boundary { values: &[0.5; 8], shape_zyx: [2; 3] };
        let said = |mask: Option<&[bool]>, method: &Method| {
            instances(&evidence, mask, method, 0).unwrap_err().to_string()
        };
        let mutex = Method::MutexWatershed(MutexParameters { attractive: 3, strides_zyx: [1; 3] });
        assert!(said(None, &mutex).contains("needs affinities with repulsive offsets"));
        for method in [Method::components(), Method::waterz(), Method::multicut()] {
            assert!(said(Some(&[true; 7]), &method).contains("given 7 voxels"));
        }
        let beyond = Evidence::Boundary { values: &[2.0; 8], shape_zyx: [2; 3] };
        for method in [Method::components(), Method::waterz()] {
            let error = instances(&beyond, None, &method, 0).unwrap_err().to_string();
            assert!(
                error.starts_with("boundary probabilities must be numbers from 0 to 1, found 2"),
                "{error}"
            );
        }
    }
}
