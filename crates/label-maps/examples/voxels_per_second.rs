//! Voxels per second of each way to make instances, on generated volumes of several sizes: a line per method and size, as
//! tab-separated columns or, with `--json`, as JSON. Processor seconds are those of all threads: where the machine is busy
//! with other things, they tell whether the work grows with the volume.
//!
//!     cargo run --release -p label-maps --example voxels_per_second -- [--json] [SECTIONS…]
#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]

use label_maps::Affinities;
use label_maps::affinities::axis_offsets;
use label_maps::agglomerate::{HistogramStart, Score};
use label_maps::blocks::instances_in_blocks;
use label_maps::fragments::FragmentParameters;
use label_maps::instances::{Evidence, instances};
use label_maps::method::Method;
use label_maps::mutex::MutexParameters;
use label_maps::storage::MemoryStore;
use label_maps::targets::{Outside, TargetRules, affinity_targets, widen_borders};
use label_maps::window::{Blocks, Stitch};
use rayon::prelude::*;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

/// Voxels of a section along y and x.
const SIDE: usize = 512;

/// Distance of the points around which objects grow, in voxels along z, y, x.
const CELL: [usize; 3] = [40, 40, 40];

/// Voxels of an instance that counts.
const SMALLEST: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|a| a == "--json");
    arguments.retain(|a| a != "--json");
    let mut sections: Vec<usize> = arguments.iter().map(|a| a.parse()).collect::<Result<_, _>>()?;
    if sections.is_empty() {
        sections = vec![8, 16, 32];
    }
    let mut lines = Vec::new();
    for nz in sections {
        measure([nz, SIDE, SIDE], &mut lines)?;
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(());
    }
    let columns = [
        "method",
        "voxels",
        "seconds",
        "processor_seconds",
        "voxels_per_second",
        "per_processor_second",
        "instances",
    ];
    println!("{}", columns.join("\t"));
    for line in lines {
        println!("{}", columns.map(|key| line[key].to_string().trim_matches('"').to_owned()).join("\t"));
    }
    Ok(())
}

/// Times all methods on one volume.
fn measure(shape: [usize; 3], lines: &mut Vec<serde_json::Value>) -> Result<(), Box<dyn Error>> {
    let offsets = axis_offsets(&[[1, 1, 1], [2, 9, 9], [3, 27, 27]]);
    let values = predicted(shape, &offsets)?;
    let affinities = Affinities::new(&values, &offsets, shape)?;
    let evidence = Evidence::Affinities(affinities);
    let median = Score::Quantile { percent: 50, start: HistogramStart::Largest };
    let agglomerate =
        |score| Method::Agglomerate { fragments: FragmentParameters::waterz(), score, threshold: 0.5 };
    let mutex = Method::MutexWatershed(MutexParameters { attractive: 3, strides_zyx: [1, 4, 4] });
    let methods = [
        ("components", Method::components()),
        ("waterz mean", agglomerate(Score::Mean)),
        ("waterz median", agglomerate(median)),
        ("multicut", Method::multicut()),
        ("mutex watershed", mutex),
    ];
    let voxels = shape.iter().product::<usize>();
    let mut say = |method: &str, (start, before): (Instant, f64), count: u64| {
        let (seconds, processor) = (start.elapsed().as_secs_f64(), processor_seconds() - before);
        lines.push(serde_json::json!({
            "method": method,
            "voxels": voxels,
            "seconds": (seconds * 1000.0).round() / 1000.0,
            "processor_seconds": (processor * 100.0).round() / 100.0,
            "voxels_per_second": (voxels as f64 / seconds).round(),
            "per_processor_second": (voxels as f64 / processor).round(),
            "instances": count,
        }));
    };
    for (name, method) in methods {
        let start = (Instant::now(), processor_seconds());
        let found = instances(&evidence, None, &method, SMALLEST)?;
        say(name, start, found.count);
    }
    for (name, method, stitch) in [
        ("waterz mean, blocks", agglomerate(Score::Mean), Stitch::Rule),
        ("mutex watershed, blocks", mutex, Stitch::Overlap { percent: 50 }),
    ] {
        let blocks = Blocks { block_zyx: [8, 256, 256], halo_zyx: [2, 32, 32], stitch };
        let mut store = MemoryStore::new(shape);
        let start = (Instant::now(), processor_seconds());
        let go_on = &mut |_: usize, _: usize| ControlFlow::Continue(());
        let count =
            instances_in_blocks(&affinities, &mut store, &method, &blocks, SMALLEST, u64::MAX, go_on)?;
        say(name, start, count);
    }
    Ok(())
}

/// Processor seconds of this process so far, in steps of a hundredth; not a number where the system does not say.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // after the name, which may hold anything: state and ten more fields, then user and system time in hundredths
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let times: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    if times.len() == 2 { times.iter().sum::<f64>() / 100.0 } else { f64::NAN }
}

/// Repeatable noise over 0 to 1.
fn noise(seed: u64) -> f32 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 40) as f32 / (1 << 24) as f32
}

/// The object of each voxel: the nearest of points scattered over a grid of cells, one in each.
fn objects(shape: [usize; 3]) -> Vec<u64> {
    let cells = [0, 1, 2].map(|a| shape[a].div_ceil(CELL[a]) as isize);
    let number = |c: [isize; 3]| ((c[0] * cells[1] + c[1]) * cells[2] + c[2]) as u64;
    let point =
        |c: [isize; 3]| [0, 1, 2].map(|a| (c[a] as f32 + noise(number(c) * 3 + a as u64)) * CELL[a] as f32);
    let mut objects = vec![0; shape.iter().product()];
    objects.par_chunks_mut(shape[2]).enumerate().for_each(|(row, out)| {
        for (x, object) in out.iter_mut().enumerate() {
            let at = [row / shape[1], row % shape[1], x];
            let own = [0, 1, 2].map(|a| (at[a] / CELL[a]) as isize);
            let mut best = (f32::INFINITY, 0);
            for i in 0..27 {
                let c = [own[0] + i / 9 - 1, own[1] + i / 3 % 3 - 1, own[2] + i % 3 - 1];
                if (0..3).any(|a| c[a] < 0 || c[a] >= cells[a]) {
                    continue;
                }
                let p = point(c);
                let distance: f32 = (0..3).map(|a| (at[a] as f32 - p[a]).powi(2)).sum();
                if distance < best.0 {
                    best = (distance, number(c) + 1);
                }
            }
            *object = best.1;
        }
    });
    objects
}

/// Affinities of the objects as a network might predict them: right in the main, noisy, and unsure at a few voxels. Borders
/// are widened, as those are that networks learn from.
fn predicted(shape: [usize; 3], offsets: &[[isize; 3]]) -> Result<Vec<f32>, Box<dyn Error>> {
    let labels = widen_borders(&objects(shape), shape, 1, None)?;
    let rules = TargetRules { outside: Outside::Filled, ..TargetRules::default() };
    let mut values = affinity_targets(&labels, shape, offsets, &rules)?.values;
    values.par_iter_mut().enumerate().for_each(|(i, value)| {
        let sure = if *value > 0.5 { 0.9 } else { 0.12 };
        let shift = noise(i as u64) - 0.5;
        *value = (sure + if shift > 0.48 { -0.6 } else { 0.2 * shift }).clamp(0.0, 1.0);
    });
    Ok(values)
}
