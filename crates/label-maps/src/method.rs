//! The ways to make instances, with all their parameters.

use crate::agglomerate::{Agglomeration, Score};
use crate::fragments::FragmentParameters;
use crate::multicut::{CostParameters, Multicut};
use crate::mutex::MutexParameters;
use crate::{Combine, Connectivity, LabelMapError, RegionGraph, Result};
use serde::{Deserialize, Serialize};

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
}
