//! One volume in many layouts.

use crate::processor_seconds;
use crate::volume::Made;
use anyhow::Result;
use patches::{Case, Compression, Layout, Region, sampler};
use std::io::Write as _;
use std::path::Path;

/// Edges of the patches.
const PATCHES: [usize; 5] = [40, 64, 96, 128, 160];
/// Patches of each size and number of threads.
const READS: u64 = 16;

const LZ4: Compression = Compression::ShuffledLz4 { level: 5 };
const ZSTD: Compression = Compression::Zstd { level: 3 };

/// Inner chunks by compressions, then shards and levels for the chunks in question.
fn layouts() -> Vec<Layout> {
    let layout = |inner_zyx, shard, image| Layout { inner_zyx, shard_zyx: [shard; 3], image, label: ZSTD };
    let mut all = Vec::new();
    for inner in [[32; 3], [32, 64, 64], [64; 3], [96; 3], [128; 3]] {
        for image in [LZ4, ZSTD] {
            all.push(layout(inner, 256, image));
        }
    }
    for image in [
        Compression::ShuffledLz4 { level: 1 },
        Compression::ShuffledLz4 { level: 9 },
        Compression::BitShuffledLz4 { level: 5 },
        Compression::ShuffledZstd { level: 1 },
        Compression::ShuffledZstd { level: 3 },
        Compression::Zstd { level: 1 },
        Compression::Zstd { level: 5 },
    ] {
        all.push(layout([32; 3], 256, image));
    }
    for inner in [[32; 3], [64; 3]] {
        all.push(layout(inner, 128, LZ4));
        all.push(layout(inner, 512, LZ4));
    }
    for level in [1, 5] {
        all.push(Layout { label: Compression::Zstd { level }, ..layout([32; 3], 256, LZ4) });
    }
    all
}

pub(crate) fn run(out: &Path, shape: [usize; 3]) -> Result<()> {
    let made = Made::new(shape);
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "| inner z×y×x | shard | image | label | image MB | label MB | write MB/s | cold 96³ | 40³ | 64³ | 96³ | 128³ | 160³ | 96³, 2 threads | label 96³ |"
    )?;
    writeln!(stdout, "|{}", " --- |".repeat(15))?;
    for layout in layouts() {
        let directory = out.join("case");
        if directory.is_dir() {
            fs_err::remove_dir_all(&directory)?;
        }
        fs_err::create_dir_all(&directory)?;
        let before = processor_seconds();
        made.write(&directory, layout)?;
        let seconds = processor_seconds() - before;
        // f32 image and u8 labels
        let speed = made.voxels() as f64 * 5e-6 / seconds;
        let [z, y, x] = layout.inner_zyx;
        write!(
            stdout,
            "| {z}×{y}×{x} | {}³ | {} | {} ",
            layout.shard_zyx[0],
            name(layout.image),
            name(layout.label)
        )?;
        let megabytes = |name: &str| Ok::<_, anyhow::Error>(bytes_below(&directory.join(name))? as f64 / 1e6);
        write!(stdout, "| {:.0} | {:.1} | {speed:.0} ", megabytes("image")?, megabytes("labels")?)?;
        forget(&directory)?;
        let case = Case::open(&directory)?;
        let image = |region: &Region| Ok(case.read_image(region)?.len());
        write!(stdout, "| {:.1} ", milliseconds(shape, 96, 9, 1, &image)?)?;
        for size in PATCHES {
            milliseconds(shape, size, 0, 1, &image)?;
            write!(stdout, "| {:.1} ", milliseconds(shape, size, 0, 1, &image)?)?;
        }
        write!(stdout, "| {:.1} ", milliseconds(shape, 96, 0, 2, &image)?)?;
        let label = |region: &Region| Ok(case.read_label(region)?.len());
        milliseconds(shape, 96, 0, 1, &label)?;
        writeln!(stdout, "| {:.2} |", milliseconds(shape, 96, 0, 1, &label)?)?;
        stdout.flush()?;
    }
    Ok(())
}

/// Median processor milliseconds of a patch, of threads that read at the same time. The patches depend on the seed only.
fn milliseconds(
    shape: [usize; 3],
    size: usize,
    seed: u64,
    threads: u64,
    read: &(impl Fn(&Region) -> Result<usize> + Sync),
) -> Result<f64> {
    let one = |thread: u64| -> Result<Vec<f64>> {
        (0..READS)
            .map(|i| {
                let region = sampler::uniform(&mut sampler::generator(seed, thread, i), shape, [size; 3]);
                let before = processor_seconds();
                read(&region)?;
                Ok((processor_seconds() - before) * 1e3)
            })
            .collect()
    };
    let found: Vec<Result<Vec<f64>>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        handles.into_iter().map(|h| h.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    let mut all: Vec<f64> = found.into_iter().collect::<Result<Vec<_>>>()?.concat();
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}

/// Asks the kernel to drop a case's pages, so that the next reads come from the disk (or from the host's cache of it).
fn forget(directory: &Path) -> Result<()> {
    for file in data_manifests::digest::files_below(directory)? {
        let file = fs_err::File::open(directory.join(file))?;
        file.sync_all()?;
        rustix::fs::fadvise(file.file(), 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn bytes_below(directory: &Path) -> Result<u64> {
    let files = data_manifests::digest::files_below(directory)?;
    Ok(files
        .iter()
        .map(|file| Ok(fs_err::metadata(directory.join(file))?.len()))
        .collect::<std::io::Result<Vec<_>>>()?
        .iter()
        .sum())
}

fn name(compression: Compression) -> String {
    match compression {
        Compression::Zstd { level } => format!("zstd {level}"),
        Compression::ShuffledZstd { level } => format!("shuffled zstd {level}"),
        Compression::ShuffledLz4 { level } => format!("shuffled lz4 {level}"),
        Compression::BitShuffledLz4 { level } => format!("bit-shuffled lz4 {level}"),
    }
}
