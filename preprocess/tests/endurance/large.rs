//! One large volume within the memory allowed.

use crate::measured;
use crate::support::Task;
use std::io::{BufWriter, Write};
use std::path::Path;

const GIB: f64 = (1_u64 << 30) as f64;

#[test]
fn a_volume_of_400_cubed_stays_within_two_gib() {
    stays_within(400, 2.0);
}

#[test]
#[ignore = "two thousand million bytes of voxels; make test-long runs it, in release"]
fn a_volume_of_1000_cubed_stays_within_two_gib() {
    stays_within(1000, 2.0);
}

/// Runs one cube of `edge` voxels at 0.9 mm to 1 mm and compares its peak with `gib`.
fn stays_within(edge: usize, gib: f64) {
    let mut task = Task::new();
    task.describe(|d| d.labels = None);
    write_i16(&task.test_file("large.nii"), edge, 0.9);
    let run = measured::run(&task, &["--max-ram", &gib.to_string()]);
    let peak = run.peak as f64 / GIB;
    eprintln!("{edge}³ voxels: {peak:.2} of {gib} GiB in {:.1} s", run.wall.as_secs_f64());
    assert!(peak <= gib, "{peak:.2} GiB, allowed {gib}. {}", run.stderr);
    // what does not fit goes through files, and says so
    let in_memory = 8.0 * (edge as f64).powi(3) / GIB < gib;
    assert_eq!(run.stderr.contains("W160"), !in_memory, "{}", run.stderr);
    let target = ((edge - 1) as f64 * 0.9 + 1.0).round() as usize;
    assert_eq!(task.open("large").record().shape_zyx, [target; 3]);
}

/// Writes a cube of CT-like voxels plane by plane: no more than one of them is ever in memory.
fn write_i16(path: &Path, edge: usize, spacing_mm: f32) {
    let mut header = [0_u8; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348_i32.to_le_bytes());
    // dim, datatype (4: i16), bitpix, pixdim, vox_offset, scl_slope, xyzt_units (2: mm), sform_code (1: scanner)
    for (i, n) in [3, edge as i16, edge as i16, edge as i16, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &n.to_le_bytes());
    }
    put(70, &4_i16.to_le_bytes());
    put(72, &16_i16.to_le_bytes());
    for (i, mm) in [1.0, spacing_mm, spacing_mm, spacing_mm].into_iter().enumerate() {
        put(76 + 4 * i, &mm.to_le_bytes());
    }
    put(108, &352_f32.to_le_bytes());
    put(112, &1_f32.to_le_bytes());
    put(123, &[2]);
    put(254, &1_i16.to_le_bytes());
    for axis in 0..3 {
        put(280 + 16 * axis + 4 * axis, &spacing_mm.to_le_bytes());
    }
    put(344, b"n+1\0");

    let mut file = BufWriter::new(fs_err::File::create(path).unwrap());
    file.write_all(&header).unwrap();
    let wave: Vec<i16> = (0..edge).map(|i| (300.0 * (i as f64 / 29.0).sin()) as i16).collect();
    let mut state = 1_u32;
    let mut row = vec![0_u8; 2 * edge];
    for z in 0..edge {
        for y in 0..edge {
            for (x, voxel) in row.chunks_exact_mut(2).enumerate() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let value = wave[z] + wave[y] + wave[x] + (state >> 28) as i16;
                voxel.copy_from_slice(&value.to_le_bytes());
            }
            file.write_all(&row).unwrap();
        }
    }
    file.flush().unwrap();
}
