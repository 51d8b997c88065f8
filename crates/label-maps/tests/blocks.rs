//! Instances made block by block against those of the whole volume.
#![expect(clippy::unwrap_used, reason = "test code")]

use label_maps::affinities::{Affinities, affinities_of_boundary, axis_offsets};
use label_maps::agglomerate::Score;
use label_maps::blocks::instances_in_blocks;
use label_maps::fragments::FragmentParameters;
use label_maps::instances::{Evidence, instances};
use label_maps::method::Method;
use label_maps::multicut::CostParameters;
use label_maps::mutex::MutexParameters;
use label_maps::storage::{BlockError, MemoryStore, Source, StorageError, Store};
use label_maps::window::{Blocks, Stitch, Window};
use label_maps::{Combine, Connectivity, demands};
use proptest::prelude::*;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A boundary map with a mask, in memory.
#[derive(Debug)]
struct Boundary {
    values: Vec<f32>,
    mask: Option<Vec<bool>>,
    shape: [usize; 3],
}

impl Boundary {
    fn cut<T: Copy>(&self, values: &[T], window: &Window) -> Vec<T> {
        let ([z0, y0, x0], [z1, y1, x1]) = (window.start_zyx, window.end_zyx());
        let mut out = Vec::new();
        for z in z0..z1 {
            for y in y0..y1 {
                let row = (z * self.shape[1] + y) * self.shape[2];
                out.extend_from_slice(&values[row + x0..row + x1]);
            }
        }
        out
    }
}

impl Source for Boundary {
    fn shape_zyx(&self) -> [usize; 3] {
        self.shape
    }

    fn offsets(&self) -> Option<&[[isize; 3]]> {
        None
    }

    fn read(&self, window: &Window) -> Result<Vec<f32>, StorageError> {
        Ok(self.cut(&self.values, window))
    }

    fn read_mask(&self, window: &Window) -> Result<Option<Vec<bool>>, StorageError> {
        Ok(self.mask.as_ref().map(|mask| self.cut(mask, window)))
    }
}

fn run(source: &dyn Source, method: &Method, blocks: &Blocks, smallest: u64) -> (Vec<u64>, u64) {
    run_within(u64::MAX, source, method, blocks, smallest)
}

fn run_within(
    memory: u64,
    source: &dyn Source,
    method: &Method,
    blocks: &Blocks,
    smallest: u64,
) -> (Vec<u64>, u64) {
    let mut store = MemoryStore::new(source.shape_zyx());
    let mut told = Vec::new();
    let count =
        instances_in_blocks(source, &mut store, method, blocks, smallest, memory, &mut |done, total| {
            told.push((done, total));
            ControlFlow::Continue(())
        })
        .unwrap();
    let total = told.len();
    assert_eq!(told, (1..=total).map(|done| (done, total)).collect::<Vec<_>>());
    (store.labels().to_vec(), count)
}

fn blocks(block_zyx: [usize; 3], halo_zyx: [usize; 3], stitch: Stitch) -> Blocks {
    Blocks { block_zyx, halo_zyx, stitch }
}

fn components(connectivity: Connectivity) -> Method {
    Method::Components { boundary: Combine::Strongest, threshold: 0.5, connectivity }
}

/// Fragments in each section, without what depends on the whole section's extremes only in the far.
fn agglomerations() -> [Method; 3] {
    let fragments = FragmentParameters { smallest: 3, seed_sigma: 0.7, ..FragmentParameters::waterz() };
    let quantile = Score::Quantile { percent: 50, start: label_maps::agglomerate::HistogramStart::Largest };
    [
        Method::Agglomerate { fragments, score: Score::Mean, threshold: 0.45 },
        Method::Agglomerate { fragments, score: quantile, threshold: 0.45 },
        Method::Multicut { fragments, costs: CostParameters::default(), sweeps: 20 },
    ]
}

fn same_sets(a: &[u64], b: &[u64]) -> bool {
    let (mut there, mut back) = (HashMap::from([(0, 0)]), HashMap::from([(0, 0)]));
    a.iter().zip(b).all(|(a, b)| *there.entry(*a).or_insert(*b) == *b && *back.entry(*b).or_insert(*a) == *a)
}

/// Smooth values over 0 to 1 with walls every few voxels, a little different in each section.
fn texture([nz, ny, nx]: [usize; 3], seed: u32) -> Vec<f32> {
    let noise = |i: usize| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0;
    let wave = |place: usize, step: f32, shift: f32| ((place as f32 + shift) / step).cos().abs();
    (0..nz * ny * nx)
        .map(|i| {
            let (z, y, x) = (i / (ny * nx), i / nx % ny, i % nx);
            let drift = z as f32 * 0.4 + (seed % 97) as f32;
            let wall = wave(y, 3.1, drift).max(wave(x, 3.7, drift * 0.7)).powi(3);
            (0.85 * wall + 0.15 * noise(i)).clamp(0.0, 1.0)
        })
        .collect()
}

fn volumes() -> impl Strategy<Value = Boundary> {
    ([1_usize..6, 4_usize..20, 4_usize..20], any::<u32>(), any::<bool>()).prop_map(|(shape, seed, masked)| {
        let values = texture(shape, seed);
        let mask = masked.then(|| (0..values.len()).map(|i| i % 23 > 1).collect());
        Boundary { values, mask, shape }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn one_block_equals_the_whole(source in volumes(), overlap: bool, smallest in 0_u64..30) {
        let stitch = if overlap { Stitch::Overlap { percent: 50 } } else { Stitch::Rule };
        let layout = blocks([30; 3], [2; 3], stitch);
        for method in agglomerations().into_iter().chain([components(Connectivity::Faces)]) {
            let evidence = Evidence::Boundary { values: &source.values, shape_zyx: source.shape };
            let whole = instances(&evidence, source.mask.as_deref(), &method, smallest).unwrap();
            prop_assert_eq!(run(&source, &method, &layout, smallest), (whole.labels, whole.count), "{:?}", method);
        }
    }

    #[test]
    fn components_of_any_blocks_equal_the_whole(
        source in volumes(), block in [1_usize..5, 1_usize..8, 1_usize..8], corners: bool, smallest in 0_u64..30,
    ) {
        let method = components(if corners { Connectivity::Corners } else { Connectivity::Faces });
        let evidence = Evidence::Boundary { values: &source.values, shape_zyx: source.shape };
        let whole = instances(&evidence, source.mask.as_deref(), &method, smallest).unwrap();
        // numbers too: they go by first voxels
        let found = run(&source, &method, &blocks(block, [0; 3], Stitch::Rule), smallest);
        prop_assert_eq!(found, (whole.labels, whole.count));
    }

    #[test]
    fn slabs_of_whole_sections_equal_the_whole(
        source in volumes(), thickness in 1_usize..4, smallest in 0_u64..30,
    ) {
        let layout = blocks([thickness, 20, 20], [0; 3], Stitch::Rule);
        for method in agglomerations() {
            let evidence = Evidence::Boundary { values: &source.values, shape_zyx: source.shape };
            let whole = instances(&evidence, source.mask.as_deref(), &method, smallest).unwrap();
            prop_assert_eq!(run(&source, &method, &layout, smallest), (whole.labels, whole.count), "{:?}", method);
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same(source in volumes(), overlap: bool) {
        let stitch = if overlap { Stitch::Overlap { percent: 50 } } else { Stitch::Rule };
        let layout = blocks([2, 6, 7], [1, 3, 3], stitch);
        let with = |threads: usize, method: &Method| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&source, method, &layout, 4))
        };
        for method in agglomerations() {
            prop_assert_eq!(with(1, &method), with(3, &method), "{:?}", method);
        }
    }

    #[test]
    fn memory_for_fewer_blocks_gives_the_same(source in volumes(), memory in 0_u64..100_000) {
        let layout = blocks([2, 6, 7], [1, 3, 3], Stitch::Rule);
        for method in agglomerations() {
            let whole = run(&source, &method, &layout, 4);
            prop_assert_eq!(run_within(memory, &source, &method, &layout, 4), whole, "{:?}", method);
        }
    }
}

/// How many windows were being read at once, at most.
struct Counted {
    source: Boundary,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Source for Counted {
    fn shape_zyx(&self) -> [usize; 3] {
        self.source.shape_zyx()
    }

    fn offsets(&self) -> Option<&[[isize; 3]]> {
        None
    }

    fn read(&self, window: &Window) -> Result<Vec<f32>, StorageError> {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.source.read(window)
    }
}

#[test]
fn no_more_blocks_are_read_at_once_than_memory_holds() {
    let shape = [8, 8, 8];
    let source = || Counted {
        source: Boundary { values: texture(shape, 1), mask: None, shape },
        now: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    };
    let layout = blocks([1, 8, 8], [0; 3], Stitch::Rule);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let most = |memory: u64| {
        let source = source();
        pool.install(|| run_within(memory, &source, &Method::waterz(), &layout, 0));
        source.most.into_inner()
    };
    let block = demands::bytes_per_block(&source(), &Method::waterz(), &layout);
    assert_eq!((most(0), most(block), most(2 * block)), (1, 1, 2));
}

/// Three tubes along x through a block of background, of affinities with long-range offsets.
fn tubes(shape: [usize; 3]) -> (Vec<f32>, Vec<f32>, Vec<[isize; 3]>) {
    let [nz, ny, nx] = shape;
    let label = |i: usize| i / nx % ny / 8;
    let boundary: Vec<f32> = (0..nz * ny * nx)
        .map(|i| if i / nx % ny % 8 == 0 { 0.97 } else { 0.02 + (i % 13) as f32 * 0.002 })
        .collect();
    let offsets = axis_offsets(&[[1, 1, 1], [2, 4, 4]]);
    let mut values = affinities_of_boundary(&boundary, shape).unwrap();
    for offset in &offsets[3..] {
        values.extend((0..nz * ny * nx).map(|i| {
            let (z, y, x) = ((i / (ny * nx)) as isize, (i / nx % ny) as isize, (i % nx) as isize);
            let (z, y, x) = (z + offset[0], y + offset[1], x + offset[2]);
            let inside = z >= 0 && y >= 0 && x >= 0;
            let there = if inside { ((z as usize * ny) + y as usize) * nx + x as usize } else { i };
            if label(i) == label(there) { 0.9 } else { 0.03 }
        }));
    }
    (boundary, values, offsets)
}

#[test]
fn tubes_through_many_blocks_stay_whole() {
    let shape = [6, 24, 60];
    let (boundary, values, offsets) = tubes(shape);
    let affinities = Affinities::new(&values, &offsets, shape).unwrap();
    let mask: Vec<bool> = boundary.iter().map(|b| *b < 0.5).collect();
    let mutex = Method::MutexWatershed(MutexParameters { attractive: 3, strides_zyx: [1, 2, 2] });
    let whole = instances(&Evidence::Affinities(affinities), None, &mutex, 0).unwrap();
    for method in [mutex, Method::waterz(), agglomerations()[2]] {
        let layout = blocks([3, 9, 14], [2, 4, 5], Stitch::Overlap { percent: 50 });
        let (labels, _) = run(&affinities, &method, &layout, 0);
        for (i, inside) in mask.iter().enumerate() {
            let first = labels[(i / 60 % 24 / 8 * 8 + 1) * 60];
            assert!(!inside || labels[i] == first, "{method:?}: voxel {i} is {} and not {first}", labels[i]);
        }
        let mut rows: Vec<u64> = [1, 9, 17].map(|y| labels[y * 60]).to_vec();
        rows.dedup();
        assert_eq!(rows.len(), 3, "{method:?}");
        if method == mutex {
            let inside =
                |labels: &[u64]| labels.iter().zip(&mask).map(|(l, m)| l * u64::from(*m)).collect::<Vec<_>>();
            assert!(same_sets(&inside(&labels), &inside(&whole.labels)));
        }
    }
    // by the rule of the method itself
    for method in [Method::waterz(), agglomerations()[2]] {
        let (labels, _) = run(&affinities, &method, &blocks([3, 9, 14], [0, 2, 2], Stitch::Rule), 0);
        let mut rows: Vec<u64> = (0..60).flat_map(|x| [1, 9, 17].map(|y| labels[y * 60 + x])).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 3, "{method:?}");
    }
}

/// A source that remembers the largest window asked for.
struct Watched<'a> {
    source: &'a Boundary,
    largest: AtomicUsize,
}

impl Source for Watched<'_> {
    fn shape_zyx(&self) -> [usize; 3] {
        self.source.shape
    }

    fn offsets(&self) -> Option<&[[isize; 3]]> {
        None
    }

    fn read(&self, window: &Window) -> Result<Vec<f32>, StorageError> {
        self.largest.fetch_max(window.voxels(), Ordering::Relaxed);
        self.source.read(window)
    }
}

#[test]
fn no_more_than_a_block_with_its_halo_is_asked_for() {
    let mut asked = Vec::new();
    for nz in [6, 12, 24] {
        let shape = [nz, 24, 24];
        let source = Boundary { values: texture(shape, 5), mask: None, shape };
        for (method, stitch) in [
            (components(Connectivity::Corners), Stitch::Rule),
            (Method::waterz(), Stitch::Rule),
            (Method::waterz(), Stitch::Overlap { percent: 50 }),
        ] {
            let watched = Watched { source: &source, largest: AtomicUsize::new(0) };
            run(&watched, &method, &blocks([2, 8, 8], [1, 3, 3], stitch), 0);
            asked.push(watched.largest.into_inner());
        }
    }
    assert_eq!(asked, [4 * 14 * 14; 9]);
}

/// A store that fails.
struct Full;

impl Store for Full {
    fn read(&mut self, _: &Window) -> Result<Vec<u64>, StorageError> {
        Err("cannot read".into())
    }

    fn write(&mut self, _: &Window, _: &[u64]) -> Result<(), StorageError> {
        Err("no space left on device".into())
    }
}

#[test]
fn what_goes_wrong_is_named() {
    let shape = [2, 8, 8];
    let source = Boundary { values: texture(shape, 1), mask: None, shape };
    let method = Method::waterz();
    let layout = blocks([1, 8, 8], [0; 3], Stitch::Rule);
    let mut go = |_: usize, _: usize| ControlFlow::Continue(());
    let error = instances_in_blocks(&source, &mut Full, &method, &layout, 0, u64::MAX, &mut go).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the labels from [0, 0, 0] to [1, 8, 8] (z, y, x) could not be stored or read back"
    );
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no space left on device");
    let mut store = MemoryStore::new(shape);
    let mut stop =
        |done: usize, _: usize| if done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let error =
        instances_in_blocks(&source, &mut store, &method, &layout, 0, u64::MAX, &mut stop).unwrap_err();
    assert!(matches!(error, BlockError::Stopped { done: 3, total: 6 }), "{error}");
    let mutex = Method::MutexWatershed(MutexParameters { attractive: 3, strides_zyx: [1; 3] });
    let error = instances_in_blocks(&source, &mut store, &mutex, &layout, 0, u64::MAX, &mut go).unwrap_err();
    assert!(error.to_string().starts_with("`stitch` must be overlap"), "{error}");
    // in the second block, whose first voxel is not the volume's
    let mut values = vec![0.5; 128];
    values[64 + 3 * 8 + 4] = f32::NAN;
    let bad = Boundary { values, mask: None, shape };
    let error = instances_in_blocks(&bad, &mut store, &method, &layout, 0, u64::MAX, &mut go).unwrap_err();
    assert!(error.to_string().contains("found NaN at [1, 3, 4]"), "{error}");
    assert_eq!(run(&Boundary { values: Vec::new(), mask: None, shape: [0, 4, 4] }, &method, &layout, 0).1, 0);
}
