//! Clusters of voxels and which of them exclude each other.

use arrayvec::ArrayVec;
use rustc_hash::FxHashSet;

/// A cluster that excludes more others than this looks them up by their hashes. So many lie beside their number in 64 bytes, which
/// are fetched at once.
const FEW: usize = 14;

/// A voxel in the forest of clusters, in four bytes, since most of the time goes into fetching them from memory: the voxel above, or of
/// a root the name of its cluster among those that exclude others.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node(u32);

impl Node {
    /// Marks roots.
    const ROOT: u32 = 1 << 31;
    /// A root whose cluster excludes none.
    const FREE: Self = Self(u32::MAX);

    fn below(voxel: u32) -> Self {
        Self(voxel)
    }

    fn root(name: u32) -> Self {
        Self(Self::ROOT | name)
    }

    fn above(self) -> Option<u32> {
        (self.0 & Self::ROOT == 0).then_some(self.0)
    }

    /// Of a root.
    fn name(self) -> Option<u32> {
        (self != Self::FREE).then_some(self.0 & !Self::ROOT)
    }
}

/// An edge on its way into the clusters.
struct AtHand {
    attracts: bool,
    ends: [u32; 2],
    /// Voxels between each end and its root.
    above: [u32; 2],
}

/// A forest over voxels whose trees are clusters. Where two join, their exclusions do: those of the cluster that has fewer
/// are moved, so that each of n is moved log n times at most.
pub(super) struct Clusters {
    nodes: Vec<Node>,
    /// By a cluster's name: the names that it excludes, which all know of it.
    excluded: Vec<Names>,
    /// Names that were given up.
    free: Vec<u32>,
    at_hand: Vec<AtHand>,
}

impl Clusters {
    /// A cluster per voxel, fewer than 2³¹ of them (of 2³² affinities with two channels at least there are no more).
    pub(super) fn new(voxels: usize) -> Self {
        Self { nodes: vec![Node::FREE; voxels], excluded: Vec::new(), free: Vec::new(), at_hand: Vec::new() }
    }

    /// Takes edges in this order: whether they attract, and the voxels that they are between. They are looked up together, so that
    /// the processor waits for memory once for many and not once for each.
    pub(super) fn take(&mut self, edges: impl Iterator<Item = (bool, [u32; 2])>) {
        let mut at_hand = std::mem::take(&mut self.at_hand);
        at_hand.clear();
        let nodes = &self.nodes;
        let above = |voxel: u32| nodes[voxel as usize].above().unwrap_or(voxel);
        at_hand.extend(edges.map(|(attracts, ends)| AtHand { attracts, ends, above: ends.map(above) }));
        at_hand.iter_mut().for_each(|edge| edge.above = edge.above.map(above));
        for edge in &at_hand {
            // what was above a voxel before others were joined is still on its way
            let [a, b] = [0, 1].map(|end| {
                let root = self.root(edge.above[end]);
                let node = &mut self.nodes[edge.ends[end] as usize];
                if edge.ends[end] != root && *node != Node::below(root) {
                    *node = Node::below(root);
                }
                root
            });
            match edge.attracts {
                _ if a == b => {}
                true => self.attract(a, b),
                false => self.repel(a, b),
            }
        }
        self.at_hand = at_hand;
    }

    /// The root of a voxel's cluster, halving the way to it (R. E. Tarjan and J. van Leeuwen, J. ACM 31 (1984) 245–281).
    pub(super) fn root(&mut self, mut voxel: u32) -> u32 {
        loop {
            let Some(parent) = self.nodes[voxel as usize].above() else { return voxel };
            let Some(above) = self.nodes[parent as usize].above() else { return parent };
            self.nodes[voxel as usize] = Node::below(above);
            voxel = above;
        }
    }

    fn name(&self, root: u32) -> Option<u32> {
        self.nodes[root as usize].name()
    }

    fn excluded(&self, name: u32) -> &Names {
        &self.excluded[name as usize]
    }

    fn excluded_mut(&mut self, name: u32) -> &mut Names {
        &mut self.excluded[name as usize]
    }

    /// Joins two clusters unless they exclude each other.
    fn attract(&mut self, a: u32, b: u32) {
        let name = match [self.name(a), self.name(b)] {
            [None, name] | [name, None] => name,
            [Some(mut fewer), Some(mut more)] => {
                if self.excluded(fewer).len() > self.excluded(more).len() {
                    (fewer, more) = (more, fewer);
                }
                if self.excluded(fewer).contains(more) {
                    return;
                }
                self.rename(fewer, more);
                Some(more)
            }
        };
        let root = a.min(b);
        self.nodes[a.max(b) as usize] = Node::below(root);
        self.nodes[root as usize] = name.map_or(Node::FREE, Node::root);
    }

    /// Makes two clusters exclude each other.
    fn repel(&mut self, a: u32, b: u32) {
        let [a, b] = [a, b].map(|root| {
            self.name(root).unwrap_or_else(|| {
                let name = self.free.pop().unwrap_or_else(|| {
                    self.excluded.push(Names::default());
                    // a name belongs to a root, so that there are no more than voxels
                    (self.excluded.len() - 1) as u32
                });
                self.nodes[root as usize] = Node::root(name);
                name
            })
        });
        self.excluded_mut(a).insert(b);
        self.excluded_mut(b).insert(a);
    }

    /// Gives what excludes `from` to `to`.
    fn rename(&mut self, from: u32, to: u32) {
        let moved = std::mem::take(self.excluded_mut(from));
        moved.for_each(|other| {
            let theirs = self.excluded_mut(other);
            theirs.remove(from);
            theirs.insert(to);
            self.excluded_mut(to).insert(other);
        });
        self.free.push(from);
    }
}

/// A set of names.
enum Names {
    /// In no order.
    Few(ArrayVec<u32, FEW>),
    Many(Box<FxHashSet<u32>>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Few(ArrayVec::new())
    }
}

impl Names {
    fn len(&self) -> usize {
        match self {
            Self::Few(names) => names.len(),
            Self::Many(names) => names.len(),
        }
    }

    fn contains(&self, name: u32) -> bool {
        match self {
            Self::Few(names) => names.contains(&name),
            Self::Many(names) => names.contains(&name),
        }
    }

    fn insert(&mut self, name: u32) {
        match self {
            Self::Few(names) if names.contains(&name) => {}
            Self::Few(names) if names.len() < FEW => names.push(name),
            Self::Few(names) => *self = Self::Many(Box::new(names.drain(..).chain([name]).collect())),
            Self::Many(names) => {
                names.insert(name);
            }
        }
    }

    fn remove(&mut self, name: u32) {
        match self {
            Self::Few(names) => {
                if let Some(place) = names.iter().position(|other| *other == name) {
                    names.swap_remove(place);
                }
            }
            Self::Many(names) => {
                names.remove(&name);
            }
        }
    }

    fn for_each(self, see: impl FnMut(u32)) {
        match self {
            Self::Few(names) => names.into_iter().for_each(see),
            Self::Many(names) => names.into_iter().for_each(see),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_names_are_fetched_at_once() {
        assert_eq!(size_of::<Names>(), 64);
    }

    proptest! {
        /// Few voxels and many edges, most of them repulsive: clusters exclude more others than fit into a list, names are given up
        /// and taken again.
        #[test]
        fn clusters_are_those_of_the_definition(
            edges in prop::collection::vec((prop::bool::weighted(0.2), 0_u32..120, 0_u32..120), 0..3000),
            together in 1_usize..200,
        ) {
            let mut clusters = Clusters::new(120);
            for edges in edges.chunks(together) {
                clusters.take(edges.iter().map(|(attracts, p, q)| (*attracts, [*p, *q])));
            }
            let mut cluster: Vec<u32> = (0..120).collect();
            let mut excluded: FxHashSet<(u32, u32)> = FxHashSet::default();
            for (attracts, p, q) in edges {
                let (a, b) = (cluster[p as usize].min(cluster[q as usize]), cluster[p as usize].max(cluster[q as usize]));
                if a == b {
                    continue;
                }
                if !attracts {
                    excluded.insert((a, b));
                } else if !excluded.contains(&(a, b)) {
                    cluster.iter_mut().filter(|c| **c == b).for_each(|c| *c = a);
                    excluded = excluded
                        .into_iter()
                        .map(|(u, v)| [u, v].map(|c| if c == b { a } else { c }))
                        .map(|[u, v]| (u.min(v), u.max(v)))
                        .collect();
                }
            }
            let found: Vec<u32> = (0..120).map(|voxel| clusters.root(voxel)).collect();
            prop_assert_eq!(found, cluster);
        }
    }
}
