//! Instances of volumes that do not fit into memory: block after block, then stitched.
//!
//! At most as many blocks as there are threads, and as the memory granted holds, are in memory at once, each with its halo
//! ([`crate::demands::bytes_per_block`]); beside them 32 bytes per label that a block gave, and where the method's own rule stitches, the region
//! graph of the whole volume (see [`crate::region_graph`]), which has one region per fragment, not per voxel. Stitching by
//! overlap needs no such graph.
//!
//! Blocks are solved independently and stitched in scan order, so that the result is the same for any number of threads.
//! A volume of a single block gets what [`crate::instances::instances`] gives.

use crate::affinities::Affinities;
use crate::demands;
use crate::grid::place;
use crate::instances::{Evidence, Instances, fragments_of, instances_at};
use crate::method::Method;
use crate::region_graph::RegionGraphBuilder;
use crate::stitch::Sets;
use crate::storage::{BlockError, Source, Store};
use crate::window::{Blocks, Stitch, Window};
use crate::{Connectivity, RegionGraph, label_components};
use rayon::prelude::*;
use std::ops::ControlFlow;

/// What a block gave.
struct Solved {
    block: Window,
    /// The block with its halo.
    seen: Window,
    /// Labels of what was seen: 1, 2, … for those that occur in the block, 0 for all others.
    labels: Vec<u64>,
    count: u64,
}

/// Makes the instances of a volume block by block and leaves them in `store`, numbered from 1 in the order of their first voxels, whatever the
/// blocks; returns how many there are.
/// Instances of fewer than `smallest` voxels in all blocks become background; 0 keeps all. `memory`: bytes that blocks may take, of which one is
/// worked on whatever it takes; all threads work on few blocks, too.
///
/// `on_step` hears after each block and pass how many of all steps are done, and may stop the work.
///
/// # Errors
/// As [`crate::instances::instances`]; a layout without a meaning, or one that the method cannot be stitched by; voxels that cannot be
/// read or stored; a stop that was asked for.
pub fn instances_in_blocks(
    source: &dyn Source,
    store: &mut dyn Store,
    method: &Method,
    blocks: &Blocks,
    smallest: u64,
    memory: u64,
    on_step: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> std::result::Result<u64, BlockError> {
    demands::check(source, method, blocks)?;
    let volume = source.shape_zyx();
    let grid = blocks.counts(volume);
    let windows: Vec<Window> =
        (0..grid.iter().product()).map(|i| blocks.at(place(i, grid), volume)).collect();
    let whole_graph = windows.len() > 1 && blocks.stitch == Stitch::Rule && method.fragments().is_some();
    let passes = 2 + usize::from(whole_graph);
    let mut steps = Steps { done: 0, total: passes * windows.len(), heard: on_step };

    let held = usize::try_from(memory / demands::bytes_per_block(source, method, blocks).max(1));
    let at_once = held.unwrap_or(usize::MAX).clamp(1, rayon::current_num_threads().max(1));

    let mut sets = Sets::new();
    for batch in batches(windows.len(), at_once) {
        let solved: Vec<Solved> = windows[batch.clone()]
            .par_iter()
            .map(|block| solve(source, method, blocks, *block, whole_graph, windows.len() == 1))
            .collect::<std::result::Result<_, BlockError>>()?;
        for (number, solved) in batch.zip(solved) {
            let before = sets.extend(solved.count);
            let labels: Vec<u64> =
                solved.labels.iter().map(|l| if *l == 0 { 0 } else { l + before }).collect();
            if !whole_graph {
                for earlier in earlier_neighbours(place(number, grid), grid) {
                    let other = blocks.at(earlier, volume);
                    stitch(store, &mut sets, method, blocks, &solved, &labels, &other)?;
                }
            }
            let own = solved.block.within(&solved.seen).cut(&labels, solved.seen.shape_zyx);
            sets.count_voxels(&own, &solved.block, volume);
            write(store, &solved.block, &own)?;
            steps.next()?;
        }
    }
    if whole_graph {
        let graph = graph_of_blocks(source, store, method, &windows, at_once, &mut steps)?;
        for (label, joined) in graph.labels().iter().zip(method.join_regions(&graph)?) {
            sets.join(*label, joined);
        }
    }
    let (numbers, count) = sets.numbers(smallest);
    for block in &windows {
        let mut labels = read(store, block)?;
        labels.par_iter_mut().with_min_len(4096).for_each(|l| *l = numbers[*l as usize]);
        write(store, block, &labels)?;
        steps.next()?;
    }
    Ok(count)
}

/// Counts steps and asks whether to go on.
struct Steps<'a> {
    done: usize,
    total: usize,
    heard: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
}

impl Steps<'_> {
    fn next(&mut self) -> std::result::Result<(), BlockError> {
        self.done += 1;
        match (self.heard)(self.done, self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BlockError::Stopped { done: self.done, total: self.total }),
        }
    }
}

/// Ranges of blocks that are in memory at once.
fn batches(blocks: usize, at_once: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..blocks).step_by(at_once).map(move |first| first..blocks.min(first + at_once))
}

/// Blocks that touch the one at `grid_zyx` and come before it in scan order.
fn earlier_neighbours(grid_zyx: [usize; 3], counts: [usize; 3]) -> Vec<[usize; 3]> {
    Connectivity::Corners
        .around()
        .into_iter()
        .filter(|step| *step < [0; 3])
        .filter_map(|step| {
            let at = |a: usize| grid_zyx[a].checked_add_signed(step[a]).filter(|i| *i < counts[a]);
            Some([at(0)?, at(1)?, at(2)?])
        })
        .collect()
}

/// Reads a window of the source, and lets `look` at it.
fn with_evidence<R>(
    source: &dyn Source,
    window: &Window,
    look: impl FnOnce(&Evidence<'_>, Option<&[bool]>) -> crate::Result<R>,
) -> std::result::Result<R, BlockError> {
    let failed = |source| BlockError::Read { window: *window, source };
    let values = source.read(window).map_err(failed)?;
    let mask = source.read_mask(window).map_err(failed)?;
    let evidence = match source.offsets() {
        Some(offsets) => Evidence::Affinities(Affinities::new(&values, offsets, window.shape_zyx)?),
        None => Evidence::Boundary { values: &values, shape_zyx: window.shape_zyx },
    };
    look(&evidence, mask.as_deref()).map_err(|error| error.seen_from(window.start_zyx).into())
}

/// Instances or fragments of one block.
fn solve(
    source: &dyn Source,
    method: &Method,
    blocks: &Blocks,
    block: Window,
    only_fragments: bool,
    alone: bool,
) -> std::result::Result<Solved, BlockError> {
    let halo = if alone { [0; 3] } else { blocks.halo_zyx };
    let seen = block.grown(halo, source.shape_zyx());
    let inner = block.within(&seen);
    if only_fragments {
        let labels = with_evidence(source, &seen, |evidence, mask| fragments_of(evidence, mask, method))?;
        // a fragment whose parts are connected through the halo alone falls into these parts
        let own = inner.cut(&labels, seen.shape_zyx);
        let parts = label_components(&own, block.shape_zyx, Connectivity::Faces)?;
        let count = parts.sizes.len() as u64;
        let labels = parts.labels.into_iter().map(u64::from).collect();
        return Ok(Solved { block, seen: block, labels, count });
    }
    let Instances { mut labels, count: all } =
        with_evidence(source, &seen, |evidence, mask| instances_at(evidence, mask, method, seen.start_zyx))?;
    // new numbers by the old ones, which are as many as fit into memory
    let mut numbers = vec![0_u64; all as usize + 1];
    let mut count = 0;
    for label in inner.cut(&labels, seen.shape_zyx) {
        let number = &mut numbers[label as usize];
        if label != 0 && *number == 0 {
            count += 1;
            *number = count;
        }
    }
    labels.iter_mut().for_each(|label| *label = numbers[*label as usize]);
    Ok(Solved { block, seen, labels, count })
}

/// Joins the labels of a block with those of an earlier one.
fn stitch(
    store: &mut dyn Store,
    sets: &mut Sets,
    method: &Method,
    blocks: &Blocks,
    solved: &Solved,
    labels: &[u64],
    other: &Window,
) -> std::result::Result<(), BlockError> {
    match (blocks.stitch, method) {
        (Stitch::Overlap { percent }, _) => {
            let shared = solved.seen.shared(other);
            if shared.voxels() > 0 {
                let theirs = read(store, &shared)?;
                let ours = shared.within(&solved.seen).cut(labels, solved.seen.shape_zyx);
                sets.join_overlapping(&ours, &theirs, percent);
            }
        }
        (Stitch::Rule, Method::Components { connectivity, .. }) => {
            // the layer of the earlier block that touches this one
            let volume = [usize::MAX; 3];
            let shell = solved.block.grown([1; 3], volume).shared(other);
            let ours = solved.block.within(&solved.seen).cut(labels, solved.seen.shape_zyx);
            let theirs = read(store, &shell)?;
            sets.join_touching(&ours, &solved.block, &theirs, &shell, *connectivity);
        }
        // graphs are joined as a whole, and other methods were refused
        (Stitch::Rule, _) => {}
    }
    Ok(())
}

/// The region graph of the labels in the store.
fn graph_of_blocks(
    source: &dyn Source,
    store: &mut dyn Store,
    method: &Method,
    windows: &[Window],
    at_once: usize,
    steps: &mut Steps<'_>,
) -> std::result::Result<RegionGraph, BlockError> {
    let mut builder = RegionGraphBuilder::new(method.needs_histograms());
    for batch in batches(windows.len(), at_once) {
        // the labels are read in turn, since a store need not be shared between threads
        let pieces: Vec<(Window, Window, Vec<u64>)> = windows[batch]
            .iter()
            .map(|block| {
                let seen = block.grown([1; 3], source.shape_zyx());
                Ok((*block, seen, read(store, &seen)?))
            })
            .collect::<std::result::Result<_, BlockError>>()?;
        let parts: Vec<RegionGraphBuilder> = pieces
            .into_par_iter()
            .map(|(block, seen, labels)| {
                let inner = block.within(&seen);
                with_evidence(source, &seen, |evidence, _| {
                    evidence.with_affinities(|affinities| {
                        let mut part = RegionGraphBuilder::new(method.needs_histograms());
                        part.add(&labels, affinities, inner.start_zyx, inner.end_zyx())?;
                        Ok(part)
                    })
                })
            })
            .collect::<std::result::Result<_, BlockError>>()?;
        for part in parts {
            builder.merge(part);
            steps.next()?;
        }
    }
    Ok(builder.finish()?)
}

fn read(store: &mut dyn Store, window: &Window) -> std::result::Result<Vec<u64>, BlockError> {
    store.read(window).map_err(|source| BlockError::Store { window: *window, source })
}

fn write(store: &mut dyn Store, window: &Window, labels: &[u64]) -> std::result::Result<(), BlockError> {
    store.write(window, labels).map_err(|source| BlockError::Store { window: *window, source })
}
