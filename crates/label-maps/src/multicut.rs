//! The multicut problem on a region graph, and greedy additive edge contraction (M. Keuper et al., "Efficient Decomposition
//! of Image and Mesh Graphs by Lifted Multicuts", ICCV 2015, algorithm 1). [`crate::kernighan_lin`] refines its result.
//!
//! A cut costs the sum of the costs of the edges between different sets; positive costs attract, negative ones repel. The
//! costs of the published pipeline are those of elf: the log-odds of a border's boundary probability, times its share in
//! the size of the largest border.

use crate::region_graph::RegionGraph;
use crate::{LabelMapError, Result};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::BinaryHeap;

/// How a border's affinities become the cost of its edge.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostParameters {
    /// A border of boundary probability 1 − β neither attracts nor repels; above 0 and below 1, the higher the less is joined.
    pub beta: f64,
    /// Whether a border's cost is multiplied by its size, relative to the largest border.
    pub by_size: bool,
}

impl Default for CostParameters {
    fn default() -> Self {
        Self { beta: 0.5, by_size: true }
    }
}

impl CostParameters {
    /// Fails on values without a meaning.
    pub(crate) fn check(&self) -> Result<()> {
        if self.beta > 0.0 && self.beta < 1.0 {
            Ok(())
        } else {
            Err(LabelMapError::parameter("beta", "above 0 and below 1", self.beta))
        }
    }
}

/// A graph with the cost of each edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Multicut {
    nodes: usize,
    edges: Vec<[u32; 2]>,
    costs: Vec<f64>,
}

impl Multicut {
    /// A problem of `nodes` nodes. Edges between the same two nodes add up.
    ///
    /// # Errors
    /// Lists of different lengths, an edge to itself or beyond the nodes, or a cost that is not finite.
    pub fn new(nodes: usize, edges: Vec<[u32; 2]>, costs: Vec<f64>) -> Result<Self> {
        if edges.len() != costs.len() {
            let found = (edges.len(), costs.len());
            return Err(LabelMapError::parameter("costs", "one per edge", found));
        }
        if u32::try_from(nodes).is_err() {
            return Err(LabelMapError::TooLarge { what: "nodes", found: nodes as u64 });
        }
        if let Some(edge) = edges.iter().find(|[a, b]| a == b || (*a).max(*b) as usize >= nodes) {
            return Err(LabelMapError::parameter("edges", "between two of the nodes", edge));
        }
        if let Some(cost) = costs.iter().find(|c| !c.is_finite()) {
            return Err(LabelMapError::parameter("costs", "finite", cost));
        }
        Ok(Self { nodes, edges, costs })
    }

    /// The problem of a region graph: with p one minus the mean affinity and q = 0.998 p + 0.001, a border costs
    /// ln((1 − q) / q) + ln((1 − β) / β), times its size over the largest where that is asked for.
    ///
    /// # Errors
    /// A beta out of range.
    pub fn of_graph(graph: &RegionGraph, parameters: &CostParameters) -> Result<Self> {
        parameters.check()?;
        let largest = graph.samples().iter().map(|s| s.count()).max().unwrap_or(1) as f64;
        let bias = ((1.0 - parameters.beta) / parameters.beta).ln();
        let costs = graph
            .samples()
            .iter()
            .map(|samples| {
                let q = 0.998 * (1.0 - samples.mean()) + 0.001;
                let size = if parameters.by_size { samples.count() as f64 / largest } else { 1.0 };
                size * (((1.0 - q) / q).ln() + bias)
            })
            .collect();
        Self::new(graph.labels().len(), graph.edges().to_vec(), costs)
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Ends of the edges.
    #[must_use]
    pub fn edges(&self) -> &[[u32; 2]] {
        &self.edges
    }

    /// Costs of the edges: what cutting each costs.
    #[must_use]
    pub fn costs(&self) -> &[f64] {
        &self.costs
    }

    /// Sum of the costs of the edges whose ends have different labels.
    #[must_use]
    pub fn energy(&self, labels: &[u32]) -> f64 {
        let cut = |[a, b]: &[u32; 2]| labels[*a as usize] != labels[*b as usize];
        self.edges.iter().zip(&self.costs).filter(|(edge, _)| cut(edge)).map(|(_, cost)| cost).sum()
    }

    /// Contracts the edge of the highest cost, the costs of edges that become parallel added up, while it is positive.
    /// Among equal costs the edge that was put into the queue first goes first.
    ///
    /// Returns a label per node, counted from 0 in the order of the sets' first nodes.
    #[must_use]
    pub fn contract_greedily(&self) -> Vec<u32> {
        let mut neighbours: Vec<FxHashMap<u32, f64>> = vec![FxHashMap::default(); self.nodes];
        for ([a, b], cost) in self.edges.iter().zip(&self.costs) {
            *neighbours[*a as usize].entry(*b).or_default() += cost;
            *neighbours[*b as usize].entry(*a).or_default() += cost;
        }
        let mut queue = BinaryHeap::new();
        for (a, around) in (0_u32..).zip(&neighbours) {
            for (b, cost) in around.iter().filter(|(b, cost)| a < **b && **cost > 0.0) {
                queue.push(Contraction::new(*cost, a, *b));
            }
        }
        let mut into: Vec<u32> = (0..self.nodes as u32).collect();
        while let Some(Contraction { cost, a, b }) = queue.pop() {
            // an entry of a node that is gone, or of a cost that has changed since
            if neighbours[a as usize].get(&b).is_none_or(|now| now.to_bits() != cost) {
                continue;
            }
            let (keep, drop) =
                if neighbours[a as usize].len() < neighbours[b as usize].len() { (b, a) } else { (a, b) };
            into[drop as usize] = keep;
            neighbours[keep as usize].remove(&drop);
            for (other, cost) in std::mem::take(&mut neighbours[drop as usize]) {
                if other == keep {
                    continue;
                }
                let total = neighbours[keep as usize].entry(other).or_default();
                *total += cost;
                let total = *total;
                neighbours[other as usize].remove(&drop);
                neighbours[other as usize].insert(keep, total);
                if total > 0.0 {
                    queue.push(Contraction::new(total, keep.min(other), keep.max(other)));
                }
            }
        }
        let roots: Vec<u32> = (0..self.nodes as u32)
            .map(|mut node| {
                while into[node as usize] != node {
                    node = into[node as usize];
                }
                node
            })
            .collect();
        number_sets(&roots)
    }
}

/// An edge in the queue: the highest cost first, then the smaller nodes.
#[derive(PartialEq, Eq)]
struct Contraction {
    /// Bits of a positive cost, which order as the costs do.
    cost: u64,
    a: u32,
    b: u32,
}

impl Contraction {
    fn new(cost: f64, a: u32, b: u32) -> Self {
        Self { cost: cost.to_bits(), a, b }
    }
}

impl Ord for Contraction {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.cost.cmp(&other.cost).then((other.a, other.b).cmp(&(self.a, self.b)))
    }
}

impl PartialOrd for Contraction {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Numbers from 0 in the order of the sets' first nodes.
pub(crate) fn number_sets(sets: &[u32]) -> Vec<u32> {
    let mut numbers: FxHashMap<u32, u32> = FxHashMap::default();
    sets.iter()
        .map(|set| {
            let next = numbers.len() as u32;
            *numbers.entry(*set).or_insert(next)
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::affinities::{Affinities, NEAREST};
    use proptest::prelude::*;

    /// Random graphs of up to `most` nodes.
    pub(crate) fn problems(most: usize) -> impl Strategy<Value = Multicut> {
        (2..=most).prop_flat_map(|nodes| {
            let pairs: Vec<[u32; 2]> = (0..nodes as u32).flat_map(|a| (0..a).map(move |b| [b, a])).collect();
            let edges = prop::sample::subsequence(pairs.clone(), 1..=pairs.len());
            edges.prop_flat_map(move |edges| {
                let costs = prop::collection::vec(-1.0_f64..1.0, edges.len());
                (Just(nodes), Just(edges), costs)
                    .prop_map(|(nodes, edges, costs)| Multicut::new(nodes, edges, costs).unwrap())
            })
        })
    }

    /// The lowest energy of all partitions.
    pub(crate) fn optimum(problem: &Multicut) -> f64 {
        fn search(problem: &Multicut, labels: &mut Vec<u32>, sets: u32, best: &mut f64) {
            if labels.len() == problem.nodes() {
                *best = best.min(problem.energy(labels));
                return;
            }
            for set in 0..=sets {
                labels.push(set);
                search(problem, labels, sets.max(set + 1), best);
                labels.pop();
            }
        }
        let mut best = f64::INFINITY;
        search(problem, &mut Vec::new(), 0, &mut best);
        best
    }

    /// The rule on a plain list of sets: the two sets with the highest positive cost between them become one.
    fn slow(problem: &Multicut) -> Vec<u32> {
        let mut sets: Vec<u32> = (0..problem.nodes() as u32).collect();
        loop {
            let mut between: FxHashMap<(u32, u32), f64> = FxHashMap::default();
            for ([a, b], cost) in problem.edges().iter().zip(problem.costs()) {
                let (a, b) = (sets[*a as usize], sets[*b as usize]);
                if a != b {
                    *between.entry((a.min(b), a.max(b))).or_default() += cost;
                }
            }
            match between.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
                Some(((a, b), cost)) if cost > 0.0 => {
                    sets.iter_mut().filter(|s| **s == b).for_each(|s| *s = a);
                }
                _ => return number_sets(&sets),
            }
        }
    }

    proptest! {
        #[test]
        fn contraction_equals_the_slow_rule(problem in problems(9)) {
            let found = problem.contract_greedily();
            prop_assert_eq!(&found, &slow(&problem));
            let apart: Vec<u32> = (0..problem.nodes() as u32).collect();
            prop_assert!(problem.energy(&found) <= problem.energy(&apart) + 1e-12);
            prop_assert!(problem.energy(&found) >= optimum(&problem) - 1e-12);
        }
    }

    #[test]
    fn costs_follow_the_published_formula() {
        // two borders of regions 1, 2, 3 in a row of sections: one of four voxels at 0.9, one of two at 0.2
        let labels = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 0, 0];
        let mut values = [1.0; 36];
        values[4..8].fill(0.9);
        values[8..12].fill(0.2);
        let affinities = Affinities::new(&values, &NEAREST, [3, 2, 2]).unwrap();
        let graph = RegionGraph::of_volume(&labels, &affinities, false).unwrap();
        let problem = Multicut::of_graph(&graph, &CostParameters { beta: 0.4, by_size: true }).unwrap();
        let cost = |p: f64, share: f64| {
            let q = 0.998 * p + 0.001;
            share * (((1.0 - q) / q).ln() + (0.6_f64 / 0.4).ln())
        };
        assert_eq!(problem.edges(), [[0, 1], [1, 2]]);
        assert!((problem.costs()[0] - cost(0.1, 1.0)).abs() < 1e-6);
        assert!((problem.costs()[1] - cost(0.8, 0.5)).abs() < 1e-6);
        assert_eq!(problem.contract_greedily(), [0, 0, 1]);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let said = |edges: &[[u32; 2]], costs: &[f64]| {
            Multicut::new(3, edges.to_vec(), costs.to_vec()).unwrap_err().to_string()
        };
        assert_eq!(said(&[[0, 1]], &[]), "`costs` must be one per edge, found (1, 0)");
        assert_eq!(said(&[[1, 1]], &[0.0]), "`edges` must be between two of the nodes, found [1, 1]");
        assert!(said(&[[0, 3]], &[0.0]).contains("[0, 3]"));
        assert!(said(&[[0, 1]], &[f64::NAN]).contains("finite"));
        assert!(CostParameters { beta: 1.0, by_size: false }.check().is_err());
    }
}
