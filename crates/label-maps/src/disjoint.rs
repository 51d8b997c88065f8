//! Disjoint sets as a forest of parents (path halving, R. E. Tarjan and J. van Leeuwen, J. ACM 31 (1984) 245–281).

/// A number that names an element.
pub(crate) trait Element: Copy + Ord {
    /// Its place in the list of parents.
    fn at(self) -> usize;
}

impl Element for u32 {
    fn at(self) -> usize {
        self as usize
    }
}

impl Element for usize {
    fn at(self) -> usize {
        self
    }
}

/// Root of `node`, halving the path on the way.
pub(crate) fn root<E: Element>(parents: &mut [E], mut node: E) -> E {
    while parents[node.at()] != node {
        let above = parents[parents[node.at()].at()];
        parents[node.at()] = above;
        node = above;
    }
    node
}

/// Joins the sets of `a` and `b`; the smaller root stays a root. Returns it.
pub(crate) fn join<E: Element>(parents: &mut [E], a: E, b: E) -> E {
    let (a, b) = (root(parents, a), root(parents, b));
    let (low, high) = (a.min(b), a.max(b));
    parents[high.at()] = low;
    low
}
