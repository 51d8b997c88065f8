//! From affinities or a boundary map to instances: one front for all methods.

use crate::affinities::{affinities_of_boundary, boundary_of_affinities, expect_probabilities};
use crate::agglomerate::{Agglomeration, Score};
use crate::fragments::{FragmentParameters, fragments};
use crate::multicut::{CostParameters, Multicut};
use crate::mutex::{MutexParameters, mutex_watershed_at};
use crate::numbering::{drop_small, number_by_first_voxel};
use crate::{
    Affinities, Combine, Connectivity, LabelMapError, RegionGraph, Result, expect_volume, label_components,
};
use serde::{Deserialize, Serialize};
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

/// How instances are made, with all parameters, as a manifest records it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// Connected components of what is below a boundary probability: the plain baseline.
    Components {
        /// How affinities, of all axes, become a boundary map.
        boundary: Combine,
        /// Boundary probability from which on a voxel is background, above 0 and at most 1.
        threshold: f32,
        /// Which voxels are neighbours.
        connectivity: Connectivity,
    },
    /// Watershed fragments, agglomerated in the order of their borders' scores.
    Agglomerate {
        /// How fragments are made.
        fragments: FragmentParameters,
        /// What borders are scored by.
        score: Score,
        /// Score from which on borders stay.
        threshold: f64,
    },
    /// The mutex watershed, which needs affinities with repulsive offsets.
    MutexWatershed(MutexParameters),
    /// Watershed fragments, joined by a multicut: greedy contraction, then Kernighan–Lin refinement.
    Multicut {
        /// How fragments are made.
        fragments: FragmentParameters,
        /// How borders become costs.
        costs: CostParameters,
        /// Sweeps of the refinement at most.
        sweeps: usize,
    },
}

impl Method {
    /// Components of what is below one half.
    #[must_use]
    pub fn components() -> Self {
        Self::Components { boundary: Combine::Strongest, threshold: 0.5, connectivity: Connectivity::Faces }
    }

    /// Mean-affinity agglomeration at one half, as published for inference.
    #[must_use]
    pub fn waterz() -> Self {
        Self::Agglomerate { fragments: FragmentParameters::waterz(), score: Score::Mean, threshold: 0.5 }
    }

    /// The published multicut.
    #[must_use]
    pub fn multicut() -> Self {
        Self::Multicut {
            fragments: FragmentParameters::multicut(),
            costs: CostParameters::default(),
            sweeps: 100,
        }
    }

    /// Fails on parameters without a meaning, before anything is computed.
    ///
    /// # Errors
    /// The first such parameter. Whether the mutex watershed has repulsive offsets shows only with the affinities.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Components { threshold, .. } => {
                if *threshold > 0.0 && *threshold <= 1.0 {
                    Ok(())
                } else {
                    Err(LabelMapError::parameter("threshold", "above 0 and at most 1", threshold))
                }
            }
            Self::Agglomerate { fragments, score, threshold } => {
                fragments.check()?;
                score.check()?;
                if (0.0..=1.0).contains(threshold) {
                    Ok(())
                } else {
                    Err(LabelMapError::parameter("threshold", "0 to 1", threshold))
                }
            }
            Self::MutexWatershed(parameters) => parameters.check(usize::MAX),
            Self::Multicut { fragments, costs, .. } => fragments.check().and_then(|()| costs.check()),
        }
    }

    /// Parameters of the fragments, for methods that have a region graph.
    pub(crate) fn fragments(&self) -> Option<&FragmentParameters> {
        match self {
            Self::Agglomerate { fragments, .. } | Self::Multicut { fragments, .. } => Some(fragments),
            Self::Components { .. } | Self::MutexWatershed(_) => None,
        }
    }

    /// Whether the region graph must hold histograms.
    pub(crate) fn needs_histograms(&self) -> bool {
        matches!(self, Self::Agglomerate { score, .. } if score.needs_histograms())
    }

    /// Label of each region of the graph: the smallest label of the regions it is joined with.
    pub(crate) fn join_regions(&self, graph: &RegionGraph) -> Result<Vec<u64>> {
        match self {
            Self::Agglomerate { score, threshold, .. } => {
                let mut agglomeration = Agglomeration::new(graph, *score)?;
                agglomeration.merge_until(*threshold);
                Ok(agglomeration.labels())
            }
            Self::Multicut { costs, sweeps, .. } => {
                let problem = Multicut::of_graph(graph, costs)?;
                let sets = problem.refine(&problem.contract_greedily(), *sweeps)?;
                // sets are numbered in the order of their first, and so smallest, regions
                let mut smallest = Vec::new();
                for (set, label) in sets.iter().zip(graph.labels()) {
                    if *set as usize == smallest.len() {
                        smallest.push(*label);
                    }
                }
                Ok(sets.into_iter().map(|set| smallest[set as usize]).collect())
            }
            Self::Components { .. } | Self::MutexWatershed(_) => Ok(graph.labels().to_vec()),
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
/// mutex watershed 8 per affinity and 12.
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
            Evidence::Boundary { .. } => {
                return Err(LabelMapError::parameter(
                    "method",
                    "one for a boundary map; the mutex watershed needs affinities with repulsive offsets",
                    method,
                ));
            }
        },
    };
    let count = number_by_first_voxel(&mut labels);
    Ok(Instances { labels, count })
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
    use crate::agglomerate::HistogramStart;

    #[test]
    fn methods_are_written_and_read() {
        let mutex = MutexParameters { attractive: 3, strides_zyx: [1, 4, 4] };
        let mut quantile = Method::waterz();
        if let Method::Agglomerate { score, .. } = &mut quantile {
            *score = Score::Quantile { percent: 50, start: HistogramStart::Largest };
        }
        for method in [
            Method::components(),
            Method::waterz(),
            quantile,
            Method::multicut(),
            Method::MutexWatershed(mutex),
        ] {
            let text = serde_json::to_string(&method).unwrap();
            assert_eq!(serde_json::from_str::<Method>(&text).unwrap(), method, "{text}");
            method.check().unwrap();
        }
        assert_eq!(
            serde_json::to_string(&Method::MutexWatershed(mutex)).unwrap(),
            r#"{"method":"mutex-watershed","attractive":3,"strides_zyx":[1,4,4]}"#
        );
        let unknown =
            r#"{"method":"components","boundary":"mean","threshold":0.5,"connectivity":"faces","size":3}"#;
        assert!(serde_json::from_str::<Method>(unknown).is_err());
    }

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
