//! The region adjacency graph: which fragments touch, and the affinities between them.
//!
//! It is gathered piece by piece, so that the volume never has to be in memory, and does not depend on how the volume was
//! cut: affinities are summed as whole multiples of 2⁻³², which add up to the same in any order.
//!
//! Memory: some 120 bytes per pair of touching fragments, and with histograms 8 bytes per bin that occurs (at most 2 KiB).

use crate::affinities::Affinities;
use crate::grid::Pairs;
use crate::samples::Samples;
use crate::{LabelMapError, Result, expect_volume};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

/// Gathers a graph from pieces of a volume.
#[derive(Debug, Clone, Default)]
pub struct RegionGraphBuilder {
    histograms: bool,
    sizes: FxHashMap<u64, u64>,
    borders: FxHashMap<(u64, u64), Samples>,
}

impl RegionGraphBuilder {
    /// An empty graph; `histograms` says whether quantiles will be asked for.
    #[must_use]
    pub fn new(histograms: bool) -> Self {
        Self { histograms, ..Self::default() }
    }

    /// Adds a piece: its voxels from `start_zyx` to before `end_zyx`, and each affinity to a nearest neighbour that is
    /// stored at one of them. The rest of the piece is margin, which holds their neighbours: a volume cut into parts that
    /// cover it once, each with a margin of one voxel, gives the graph of the whole. Label 0 belongs to no region.
    ///
    /// # Shapes
    /// `labels`: z, y, x of the affinities' shape.
    ///
    /// # Errors
    /// Labels that do not fill the shape, an axis without affinities to nearest neighbours, or a part outside of the piece.
    pub fn add(
        &mut self,
        labels: &[u64],
        affinities: &Affinities<'_>,
        start_zyx: [usize; 3],
        end_zyx: [usize; 3],
    ) -> Result<()> {
        let shape = affinities.shape_zyx();
        expect_volume(labels.len(), shape)?;
        if (0..3).any(|a| end_zyx[a] > shape[a]) {
            return Err(LabelMapError::parameter("end_zyx", "inside of the piece", end_zyx));
        }
        let channels: Vec<(&[f32], Pairs)> = affinities
            .nearest()?
            .into_iter()
            .map(|c| {
                let pairs = Pairs::within(shape, affinities.offsets()[c], start_zyx, end_zyx);
                (affinities.channel(c), pairs)
            })
            .collect();
        let own = Pairs::within(shape, [0; 3], start_zyx, end_zyx);
        let histograms = self.histograms;
        let sections: Vec<Self> = (start_zyx[0]..end_zyx[0])
            .into_par_iter()
            .map(|z| {
                let mut part = Self::new(histograms);
                own.rows(z).for_each(|row| part.count_voxels(&labels[row]));
                for (values, pairs) in &channels {
                    pairs.rows(z).for_each(|row| part.add_row(labels, values, row, pairs.step));
                }
                part
            })
            .collect();
        sections.into_iter().for_each(|section| self.merge(section));
        Ok(())
    }

    fn count_voxels(&mut self, row: &[u64]) {
        for run in row.chunk_by(|a, b| a == b) {
            if run[0] != 0 {
                *self.sizes.entry(run[0]).or_default() += run.len() as u64;
            }
        }
    }

    fn add_row(&mut self, labels: &[u64], values: &[f32], row: std::ops::Range<usize>, step: isize) {
        // both voxels of a pair are in the piece
        let partners = row.start.wrapping_add_signed(step)..row.end.wrapping_add_signed(step);
        for ((a, b), value) in labels[row.clone()].iter().zip(&labels[partners]).zip(&values[row]) {
            if a != b && *a != 0 && *b != 0 {
                let border = (*a.min(b), *a.max(b));
                self.borders.entry(border).or_default().add(*value, self.histograms);
            }
        }
    }

    /// Takes in what another builder gathered from other voxels.
    pub fn merge(&mut self, other: Self) {
        for (label, size) in other.sizes {
            *self.sizes.entry(label).or_default() += size;
        }
        for (border, samples) in other.borders {
            match self.borders.entry(border) {
                std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().merge(&samples),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(samples);
                }
            }
        }
    }

    /// The graph of all pieces.
    ///
    /// # Errors
    /// More than 2³² regions or borders.
    pub fn finish(self) -> Result<RegionGraph> {
        for (what, found) in [("regions", self.sizes.len()), ("borders", self.borders.len())] {
            if u32::try_from(found).is_err() {
                return Err(LabelMapError::TooLarge { what, found: found as u64 });
            }
        }
        let mut regions: Vec<(u64, u64)> = self.sizes.into_iter().collect();
        regions.par_sort_unstable();
        let mut borders: Vec<((u64, u64), Samples)> = self.borders.into_iter().collect();
        borders.par_sort_unstable_by_key(|(border, _)| *border);
        let (labels, sizes): (Vec<u64>, Vec<u64>) = regions.into_iter().unzip();
        let index = |label: u64| labels.binary_search(&label).ok().map(|i| i as u32);
        let (mut edges, mut samples) = (Vec::with_capacity(borders.len()), Vec::with_capacity(borders.len()));
        for ((a, b), border) in borders {
            // a margin may hold regions that no part of the volume holds; they are no part of the graph
            if let (Some(a), Some(b)) = (index(a), index(b)) {
                edges.push([a, b]);
                samples.push(border);
            }
        }
        Ok(RegionGraph { labels, sizes, edges, samples })
    }
}

/// Regions and the borders between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionGraph {
    labels: Vec<u64>,
    sizes: Vec<u64>,
    edges: Vec<[u32; 2]>,
    samples: Vec<Samples>,
}

impl RegionGraph {
    /// The graph of a whole volume in memory.
    ///
    /// # Shapes
    /// `labels`: z, y, x of the affinities' shape.
    ///
    /// # Errors
    /// As [`RegionGraphBuilder::add`] and [`RegionGraphBuilder::finish`].
    pub fn of_volume(labels: &[u64], affinities: &Affinities<'_>, histograms: bool) -> Result<Self> {
        let mut builder = RegionGraphBuilder::new(histograms);
        builder.add(labels, affinities, [0; 3], affinities.shape_zyx())?;
        builder.finish()
    }

    /// Labels of the regions, ascending; edges name regions by their place here.
    #[must_use]
    pub fn labels(&self) -> &[u64] {
        &self.labels
    }

    /// Voxels of each region.
    #[must_use]
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// Pairs of touching regions, the smaller first, ascending.
    #[must_use]
    pub fn edges(&self) -> &[[u32; 2]] {
        &self.edges
    }

    /// Affinities of each edge.
    #[must_use]
    pub fn samples(&self) -> &[Samples] {
        &self.samples
    }

    /// Puts the new label of its region in each voxel's place; labels that are no region stay.
    pub fn relabel(&self, volume: &mut [u64], new: &[u64]) {
        volume.par_chunks_mut(1 << 16).for_each(|part| {
            let (mut last, mut becomes) = (0, 0);
            for label in part {
                // neighbours along x mostly have the same label
                if *label != last {
                    last = *label;
                    becomes = match self.labels.binary_search(&last) {
                        Ok(region) => new[region],
                        Err(_) => last,
                    };
                }
                *label = becomes;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinities::NEAREST;
    use crate::grid::place;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn volumes() -> impl Strategy<Value = (Vec<u64>, Vec<f32>, [usize; 3])> {
        (1_usize..5, 1_usize..6, 1_usize..6).prop_flat_map(|(z, y, x)| {
            let n = z * y * x;
            (
                prop::collection::vec(prop_oneof![0_u64..4, Just(u64::MAX - 7)], n),
                prop::collection::vec(0.0_f32..=1.0, 3 * n),
                Just([z, y, x]),
            )
        })
    }

    proptest! {
        #[test]
        fn borders_hold_their_affinities((labels, values, shape) in volumes()) {
            let affinities = Affinities::new(&values, &NEAREST, shape).unwrap();
            let graph = RegionGraph::of_volume(&labels, &affinities, true).unwrap();
            let mut expected: BTreeMap<(u64, u64), Vec<f32>> = BTreeMap::new();
            let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
            for p in 0..labels.len() {
                *sizes.entry(labels[p]).or_default() += 1;
                for (c, offset) in NEAREST.iter().enumerate() {
                    let at = place(p, shape);
                    if (0..3).any(|a| offset[a] < 0 && at[a] == 0) {
                        continue;
                    }
                    let q = [1, shape[2], shape[1] * shape[2]][2 - c];
                    let (a, b) = (labels[p], labels[p - q]);
                    if a != b && a != 0 && b != 0 {
                        expected.entry((a.min(b), a.max(b))).or_default().push(values[c * labels.len() + p]);
                    }
                }
            }
            sizes.remove(&0);
            prop_assert_eq!(graph.labels(), sizes.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(graph.sizes(), sizes.values().copied().collect::<Vec<_>>());
            prop_assert_eq!(graph.edges().len(), expected.len());
            for ((edge, samples), (border, mut values)) in graph.edges().iter().zip(graph.samples()).zip(expected) {
                prop_assert_eq!(edge.map(|i| graph.labels()[i as usize]), [border.0, border.1]);
                prop_assert_eq!(samples.count(), values.len() as u64);
                let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
                prop_assert!((samples.mean() - mean).abs() < 1e-9);
                values.sort_by(f32::total_cmp);
                for percent in [0, 25, 50, 99] {
                    let wanted = values[usize::from(percent) * values.len() / 100];
                    let found = samples.quantile(percent).unwrap();
                    prop_assert!((found - f64::from(wanted)).abs() <= 0.5 / 256.0 + 1e-6, "{found} for {wanted}");
                }
                let largest = samples.largest_only().quantile(50).unwrap();
                prop_assert!((largest - f64::from(values[values.len() - 1])).abs() <= 0.5 / 256.0 + 1e-6);
            }
        }

        #[test]
        fn pieces_add_up_to_the_whole((labels, values, shape) in volumes(), cut in 0_usize..5) {
            let affinities = Affinities::new(&values, &NEAREST, shape).unwrap();
            let whole = RegionGraph::of_volume(&labels, &affinities, true).unwrap();
            let mut builder = RegionGraphBuilder::new(true);
            let cut = cut.min(shape[1]);
            builder.add(&labels, &affinities, [0, cut, 0], shape).unwrap();
            builder.add(&labels, &affinities, [0; 3], [shape[0], cut, shape[2]]).unwrap();
            prop_assert_eq!(builder.finish().unwrap(), whole);
        }
    }

    #[test]
    fn regions_take_new_labels() {
        let affinities = Affinities::new(&[0.5; 12], &NEAREST, [1, 1, 4]).unwrap();
        let mut labels = [9, 9, 0, 4];
        let graph = RegionGraph::of_volume(&labels, &affinities, false).unwrap();
        assert!(graph.edges().is_empty());
        graph.relabel(&mut labels, &[100, 200]);
        assert_eq!(labels, [200, 200, 0, 100]);
        assert_eq!(Samples::default().quantile(50), None);
    }
}
