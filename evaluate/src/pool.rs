//! Cases side by side, as many as memory allows.

use crate::pairing::Pair;
use crate::remarks::{Remark, Remarks};
use crate::score::ScoreArguments;
use crate::scoring::{self, CaseResult};
use data_manifests::Descriptor;
use metrics::{Basis, Protocol};
use stage::{Context, Message, interrupt, limits};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that scoring needs per voxel where a class fills the volume: two label maps, their masks and codes, the steps of a
/// distance transform, and the points of surfaces.
const BYTES_PER_VOXEL: u64 = 16;

/// The same with skeletons or lesions: a frame and lists of voxels, or two maps of components.
const BYTES_PER_VOXEL_OF_SHAPES: u64 = 32;

/// Cases that may be in memory together.
fn workers(arguments: &ScoreArguments, pairs: &[Pair], protocol: &Protocol, context: &Context) -> usize {
    let shapes = protocol.definitions.iter().any(|d| matches!(d.basis(), Basis::Skeletons | Basis::Lesions));
    let per_voxel = if shapes { BYTES_PER_VOXEL_OF_SHAPES } else { BYTES_PER_VOXEL };
    let wanted = arguments.workers.unwrap_or_else(limits::cores).clamp(1, pairs.len().max(1));
    // a header that cannot be read fails its own case later
    let largest = pairs
        .iter()
        .filter_map(|p| p.reference.shape_zyx())
        .map(|shape| shape.iter().map(|n| *n as u64).product::<u64>() * per_voxel)
        .max()
        .unwrap_or(1);
    let budget = match arguments.max_ram {
        Some(gib) => (gib * f64::from(1_u32 << 30)) as u64,
        None => limits::memory_bytes().map_or(u64::MAX, |bytes| bytes / 10 * 8),
    };
    let fit = usize::try_from(budget / largest.max(1)).unwrap_or(usize::MAX).max(1);
    if fit < wanted {
        let text = format!(
            "the largest case needs about {:.1} GiB: {fit} of {wanted} workers",
            largest as f64 / f64::from(1_u32 << 30)
        );
        context.tell(Message::warning("W160", text));
    }
    wanted.min(fit)
}

/// Scores all pairs; both lists are sorted by case.
pub(crate) fn score_all(
    arguments: &ScoreArguments,
    pairs: &[Pair],
    descriptor: &Descriptor,
    protocol: &Protocol,
    context: &Context,
) -> (Vec<CaseResult>, Vec<Message>) {
    let workers = workers(arguments, pairs, protocol, context);
    over_all("score", workers, pairs, context, |pair, remarks| {
        scoring::score(pair, descriptor, protocol, remarks)
    })
}

/// What is wrong with the files of all pairs, sorted by case; nothing is scored.
pub(crate) fn check_all(
    arguments: &ScoreArguments,
    pairs: &[Pair],
    descriptor: &Descriptor,
    protocol: &Protocol,
    context: &Context,
) -> Vec<Message> {
    let workers = workers(arguments, pairs, protocol, context);
    over_all("check", workers, pairs, context, |pair, remarks| scoring::check(pair, descriptor, remarks)).1
}

/// The results of a work on each pair, and its errors.
fn over_all<T: Send>(
    name: &str,
    workers: usize,
    pairs: &[Pair],
    context: &Context,
    work: impl Fn(&Pair, &mut Vec<Remark>) -> Result<(T, Option<Message>), Message> + Sync,
) -> (Vec<T>, Vec<Message>) {
    let progress = context.progress(name, pairs.len() as u64);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(pairs.len()));
    // Threads of our own: inside one pool, a waiting distance transform would begin further cases and break the bound.
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(pair) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if interrupt::requested() {
                        break;
                    }
                    let mut remarks = Vec::new();
                    let outcome = work(pair, &mut remarks);
                    progress.step(&pair.id);
                    done.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((&pair.id, outcome, remarks));
                }
            });
        }
    });
    progress.finish();
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(id, ..)| *id);
    let mut results = Vec::new();
    let mut errors = Vec::new();
    let mut told = Remarks::default();
    for (_, outcome, remarks) in done {
        for remark in remarks {
            told.tell(remark, context);
        }
        match outcome {
            Ok((result, warning)) => {
                if let Some(warning) = warning {
                    context.tell(warning);
                }
                results.push(result);
            }
            Err(message) => errors.push(message),
        }
    }
    told.finish(context);
    (results, errors)
}
