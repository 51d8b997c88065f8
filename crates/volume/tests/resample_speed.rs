//! How fast resampling is, on one thread:
//! `cargo test --release -p volume --test resample_speed -- --ignored --nocapture`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

use volume::intensity::IntensityRule;
use volume::prepare::{self, Method};
use volume::resample::{self, Resampling};
use volume::{Grid, InMemory, Orientation};

/// Seconds that this thread has had a processor, so that other work on the machine does not count.
fn processor_seconds() -> f64 {
    let text = fs_err::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e-9
}

/// Million voxels of the result per second, the best of three.
fn rate<T>(what: &str, run: impl Fn() -> (Vec<T>, Grid)) {
    let seconds = (0..3)
        .map(|_| {
            let start = processor_seconds();
            let (out, _) = run();
            (processor_seconds() - start) / out.len() as f64
        })
        .fold(f64::INFINITY, f64::min);
    println!("{what:32} {:8.1} million voxels/s", 1e-6 / seconds);
}

#[test]
#[ignore = "a measurement"]
fn voxels_per_second() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let shape = [256; 3];
    let data: Vec<f32> = (0..256_u32.pow(3)).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32).collect();
    let labels: Vec<u32> =
        (0..256_usize.pow(3)).map(|i| (i >> 20 & 1) as u32 + (i >> 4 & 3) as u32).collect();
    pool.install(|| {
        for (what, spacing) in
            [("to 0.8", [0.8; 3]), ("to 1.3", [1.3; 3]), ("to 1.3 in plane", [1.0, 1.3, 1.3])]
        {
            let from = Grid::from_spacing(shape, [1.0; 3], [0.0; 3]).unwrap();
            rate(&format!("linear {what}"), || resample::trilinear(&data, 1, &from, spacing).unwrap());
            rate(&format!("spline {what}"), || resample::spline(&data, 1, &from, spacing).unwrap());
            rate(&format!("nearest {what}"), || resample::nearest(&labels, &from, spacing).unwrap());
            rate(&format!("vote {what}"), || resample::vote(&labels, &from, spacing).unwrap());
        }
        let thick = Grid::from_spacing(shape, [4.0, 1.0, 1.0], [0.0; 3]).unwrap();
        rate("spline, z apart", || resample::spline(&data, 1, &thick, [2.0, 0.8, 0.8]).unwrap());
        let mut turned = Grid::from_spacing(shape, [1.0; 3], [0.0; 3]).unwrap();
        turned.affine =
            [[0.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let plain = Grid::from_spacing(shape, [1.0; 3], [0.0; 3]).unwrap();
        for (what, grid) in [("canonical", plain), ("turned", turned)] {
            for (spacing, resampling) in
                [(1.0, Resampling::Linear), (0.8, Resampling::Linear), (0.8, Resampling::Nnunet)]
            {
                let rule = IntensityRule::MriZScore { nonzero: true };
                let method = Method { spacing_zyx_mm: [spacing; 3], rules: rule.into(), resampling };
                if resampling == Resampling::Nnunet {
                    let orientation = Orientation::to_canonical(&grid);
                    let source = InMemory::oriented(&data, 1, shape, orientation).unwrap();
                    rate(&format!("survey {} {what}", resampling.name()), || {
                        prepare::survey(&source, &grid, &method).unwrap();
                        (vec![(); 256_usize.pow(3)], grid)
                    });
                }
                rate(&format!("prepare {} {what} to {spacing}", resampling.name()), || {
                    let prepared = prepare::image(&data, 1, &grid, &method).unwrap();
                    (prepared.data, prepared.grid)
                });
            }
        }
    });
}
