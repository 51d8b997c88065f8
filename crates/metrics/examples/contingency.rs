//! VOI and adapted Rand error of a generated volume that is never whole in memory: how long, and how much memory.
//!
//! usage: contingency EDGE CELL: a volume of EDGE³ voxels of 64-bit ids in two maps of cells about CELL voxels wide, the second
//! shifted by a third of a cell, made and counted slab by slab. Prints one line.

use metrics::{Contingency, InstanceScores};
use rayon::prelude::*;
use std::process::ExitCode;
use std::time::Instant;

/// Planes of a slab.
const DEPTH: usize = 8;

/// Id of the cell around a voxel; rows of cells are shifted against each other, and the ids are spread over 64 bits.
fn id([z, y, x]: [usize; 3], cell: usize, shift: usize) -> u64 {
    let [cz, cy] = [(z + shift) / cell, (y + shift) / cell];
    let cx = (x + shift + (cz * 7 + cy * 13) % cell) / cell;
    let number = ((cz << 40) | (cy << 20) | cx) as u64;
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

fn slab(first: usize, edge: usize, cell: usize, shift: usize, out: &mut [u64]) {
    out.par_chunks_mut(edge).enumerate().for_each(|(row, ids)| {
        let [z, y] = [first + row / edge, row % edge];
        for (x, value) in ids.iter_mut().enumerate() {
            *value = id([z, y, x], cell, shift);
        }
    });
}

fn peak_gib() -> f64 {
    stage::limits::peak_resident_bytes().unwrap_or(0) as f64 / f64::from(1 << 30)
}

#[expect(clippy::print_stdout, reason = "the result of an example")]
#[expect(clippy::print_stderr, reason = "the usage of an example")]
fn main() -> ExitCode {
    let numbers: Option<Vec<usize>> = std::env::args().skip(1).map(|word| word.parse().ok()).collect();
    let Some(&[edge, cell]) = numbers.as_deref() else {
        eprintln!("usage: contingency EDGE CELL");
        return ExitCode::from(2);
    };
    let (edge, cell) = (edge.max(1), cell.max(1));
    let started = Instant::now();
    let mut counting = 0.0;
    let mut table = Contingency::new();
    let mut maps = [vec![0; DEPTH * edge * edge], vec![0; DEPTH * edge * edge]];
    for first in (0..edge).step_by(DEPTH) {
        let voxels = DEPTH.min(edge - first) * edge * edge;
        for (map, shift) in maps.iter_mut().zip([0, cell / 3]) {
            slab(first, edge, cell, shift, &mut map[..voxels]);
        }
        let clock = Instant::now();
        table.add(&maps[0][..voxels], &maps[1][..voxels], |_| true);
        counting += clock.elapsed().as_secs_f64();
    }
    let clock = Instant::now();
    let table = table.finish();
    let Some(scores) = InstanceScores::of(&table, 1) else {
        eprintln!("nothing was evaluated");
        return ExitCode::FAILURE;
    };
    counting += clock.elapsed().as_secs_f64();
    println!(
        "voxels {} objects {:?} pairs {} seconds {counting:.2} with making the volume {:.2} peak GiB {:.3} voi {:.6} arand {:.6}",
        table.voxels(),
        scores.objects,
        table.pairs(),
        started.elapsed().as_secs_f64(),
        peak_gib(),
        scores.voi(),
        scores.rand_cremi.error.unwrap_or(f64::NAN)
    );
    ExitCode::SUCCESS
}
