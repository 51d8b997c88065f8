//! Measures the shard store.
//!
//! `shards table --out DIR [--shape Z,Y,X]` writes one volume in many layouts and prints a Markdown table: bytes, speed of
//! writing, and processor milliseconds per patch.
//! `shards make --out DIR [--shape Z,Y,X]` writes it once, in the store's own layout.
//! `shards serve DIR` opens a case and answers lines `SIZE Z,Y,X Z,Y,X …` on standard input by the seconds and the processor
//! seconds that reading those patches took and a sum of their bits: bench/shards.py compares it with zarr-python.

mod table;
mod volume;

use anyhow::{Context as _, Result, bail};
use patches::{Case, Layout, Region};
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

/// Shape of the measured volume.
const SHAPE_ZYX: [usize; 3] = [300, 512, 512];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).map(String::as_str)
    };
    let out = || after("--out").map(PathBuf::from).context("--out DIR is missing");
    let shape = after("--shape").map(triple).transpose()?.unwrap_or(SHAPE_ZYX);
    match arguments.first().map(String::as_str) {
        Some("table") => table::run(&out()?, shape),
        Some("make") => {
            let out = out()?;
            fs_err::create_dir_all(&out)?;
            volume::Made::new(shape).write(&out, Layout::default())
        }
        Some("serve") => serve(&Case::open(&PathBuf::from(arguments.get(1).context("DIR is missing")?))?),
        _ => bail!("usage: shards table|make --out DIR [--shape Z,Y,X] | shards serve DIR"),
    }
}

fn triple(text: &str) -> Result<[usize; 3]> {
    let numbers: Vec<usize> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    <[usize; 3]>::try_from(numbers).map_err(|_| anyhow::anyhow!("'{text}' is not Z,Y,X"))
}

fn serve(case: &Case) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let size: usize = words.next().context("an empty line")?.parse()?;
        let places = words.map(triple).collect::<Result<Vec<_>>>()?;
        let (mut seconds, mut processor, mut sum) = (0.0, 0.0, 0u64);
        for lo in places {
            let region = Region::at(lo.map(|v| v as i64), [size; 3]);
            let (start, before) = (Instant::now(), processor_seconds());
            let voxels = case.read_image_channels(&[0], &region)?;
            processor += processor_seconds() - before;
            seconds += start.elapsed().as_secs_f64();
            // outside the time: proves that both sides read the same
            sum = voxels.iter().fold(sum, |sum, v| sum.wrapping_add(u64::from(v.to_bits())));
        }
        writeln!(stdout, "{seconds} {processor} {sum}")?;
        stdout.flush()?;
    }
    Ok(())
}

/// Processor time of this thread: what else the machine does meets it least.
pub(crate) fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
