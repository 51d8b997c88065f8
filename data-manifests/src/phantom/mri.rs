//! An MRI-like head without its skull, in four channels, with a tumour of three parts. Each part shows in some channels
//! only, and each has a look-alike: old scars for the edema, ventricles for the core, vessels for the enhancing rim.

use super::msd::{Task, Volume};
use super::placement::Placement;
use super::{Sizes, descriptor_base};
use crate::descriptor::{Descriptor, Intensity, Modality};
use phantoms::noise::{Noise, Warp, gaussian};
use phantoms::shapes::{Draws, Ellipsoid, Point, Rod, cover, norm, paint};

pub(super) const TASK: Task = Task {
    folder: "PhantomMRI",
    prefix: "mri",
    description: "Synthetic MRI-like heads: edema, core and enhancing rim of a tumour",
    modality: &["FLAIR", "T1w", "T1gd", "T2w"],
    labels: &["background", "edema", "core", "enhancing rim"],
};

/// Signal in FLAIR, T1w, T1gd and T2w.
type Signal = [f64; 4];

const WHITE: Signal = [0.58, 0.80, 0.81, 0.42];
const GREY: Signal = [0.76, 0.60, 0.62, 0.56];
const FLUID: Signal = [0.18, 0.24, 0.26, 1.00];
const SCAR: Signal = [0.86, 0.44, 0.46, 0.92];
const VESSEL: Signal = [0.42, 0.52, 1.12, 0.34];
const PLEXUS: Signal = [0.48, 0.48, 1.05, 0.80];
const EDEMA: Signal = [0.83, 0.58, 0.60, 0.72];
const CORE: Signal = [0.50, 0.38, 0.40, 0.86];
const RIM: Signal = [0.76, 0.54, 1.00, 0.66];

fn paint_all(signal: &mut Signal, new: &Signal, part: f64) {
    for (value, new) in signal.iter_mut().zip(new) {
        paint(value, *new, part);
    }
}

#[derive(Debug)]
struct Head {
    warp: Warp,
    folds: Noise,
    ragged: Noise,
    brain: Ellipsoid,
    ventricles: Vec<Ellipsoid>,
    plexus: Vec<Ellipsoid>,
    nuclei: Vec<Ellipsoid>,
    scars: Vec<Ellipsoid>,
    vessels: Vec<Rod>,
    tumour: Ellipsoid,
    edema: f64,
    rim: f64,
}

impl Head {
    fn new(draws: &mut Draws) -> Self {
        let radii = draws.near([64.0, 80.0, 57.0], [3.0, 4.0, 3.0]);
        let brain = Ellipsoid::upright([0.0; 3], radii);
        let side = if draws.chance(0.5) { 1.0 } else { -1.0 };
        let centre = [side * draws.between(24.0, 38.0), draws.around(0.0, 38.0), draws.around(8.0, 18.0)];
        let mut pair = |p: Point, radii: Point| {
            [-1.0, 1.0].map(|s| {
                let centre = draws.near([s * p[0], p[1], p[2]], [1.5, 2.0, 2.0]);
                Ellipsoid::tilted(draws, centre, radii)
            })
        };
        let ventricles: Vec<_> =
            [pair([10.0, 8.0, 10.0], [6.0, 24.0, 9.0]), pair([19.0, -24.0, 2.0], [6.0, 15.0, 8.0])].concat();
        let plexus = pair([18.0, -24.0, 1.0], [3.5, 7.0, 4.0]).to_vec();
        let nuclei =
            [pair([17.0, 2.0, 0.0], [7.0, 12.0, 8.0]), pair([10.0, -12.0, -2.0], [7.0, 9.0, 7.0])].concat();
        // one old infarct on the other side, small scars around the ventricles
        let opposite = draws.near([-side * 34.0, 0.0, 10.0], [5.0, 35.0, 12.0]);
        let mut scars = vec![blob(draws, opposite, 16.0, 23.0)];
        for _ in 0..8 {
            let s = if draws.chance(0.5) { 1.0 } else { -1.0 };
            let centre = draws.near([s * 24.0, 0.0, 16.0], [9.0, 36.0, 9.0]);
            scars.push(blob(draws, centre, 5.0, 9.0));
        }
        let mut vessels: Vec<_> = (0..12)
            .map(|_| {
                let from = brain.inside(draws, 0.55);
                Rod { from, to: draws.near(from, [34.0; 3]), radius: draws.between(2.2, 3.8) }
            })
            .collect();
        // the sinus along the top of the midline
        let top: Vec<Point> = [-0.75, -0.35, 0.05, 0.45, 0.75]
            .iter()
            .map(|t: &f64| [0.0, radii[1] * t, radii[2] * (1.0 - t * t).sqrt() - 4.0])
            .collect();
        vessels.extend(top.windows(2).map(|w| Rod { from: w[0], to: w[1], radius: 4.5 }));
        Self {
            warp: Warp::new(draws.seed(), 5.0, 45.0),
            folds: Noise::new(draws.seed(), 13.0),
            ragged: Noise::new(draws.seed(), 17.0),
            brain,
            ventricles,
            plexus,
            nuclei,
            scars,
            vessels,
            tumour: blob(draws, centre, 15.0, 22.0),
            edema: draws.between(10.0, 15.0),
            rim: draws.between(4.5, 6.5),
        }
    }

    /// Signal and label of a place; no signal outside the brain.
    fn at(&self, place: Point, width: f64) -> Option<(Signal, u8)> {
        let p = self.warp.at(place);
        let depth = -self.brain.distance(p);
        if depth < 0.0 {
            return None;
        }
        let nearest =
            |shapes: &[Ellipsoid]| shapes.iter().map(|s| s.distance(p)).fold(f64::INFINITY, f64::min);
        let (fold, ragged) = (self.folds.at(p), self.ragged.at(p));
        let mut signal = WHITE;
        paint_all(&mut signal, &GREY, cover(depth - 9.0 - 5.0 * ragged, width));
        let sulcus = 40.0 * fold.abs() - 4.0;
        paint_all(&mut signal, &GREY, cover((sulcus - 5.0).max(depth - 16.0), width));
        paint_all(&mut signal, &FLUID, cover(sulcus.max(depth - 13.0), width).max(cover(depth - 1.5, width)));
        // the fissure between the hemispheres
        let gap = p[0].abs() - 2.0;
        paint_all(&mut signal, &FLUID, cover(gap.max(depth - 24.0), width));
        paint_all(&mut signal, &GREY, cover(nearest(&self.nuclei), width));
        paint_all(&mut signal, &SCAR, 0.95 * cover(nearest(&self.scars) + 3.0 * ragged, width));
        let ventricle = nearest(&self.ventricles) + 1.5 * fold;
        paint_all(&mut signal, &FLUID, cover(ventricle, width));
        let plexus = nearest(&self.plexus);
        paint_all(&mut signal, &PLEXUS, cover(plexus, width));
        let vessel = self.vessels.iter().map(|v| v.distance(p)).fold(f64::INFINITY, f64::min);
        paint_all(&mut signal, &VESSEL, cover(vessel, width));

        let mass = self.tumour.distance(p);
        // fluid stays fluid: edema ends at sulci and ventricles, the mass itself does not
        let swelling = (mass - self.edema + 8.0 * ragged + 3.0 * fold).max(2.0 - ventricle).max(2.5 - depth);
        let edema = cover(swelling, width);
        let body = cover(mass + 2.0 * ragged, width);
        // the rim has gaps where it does not enhance
        let inner = mass + 2.0 * ragged + self.rim * if fold > 0.45 { 0.2 } else { 1.0 };
        let core = cover(inner, width);
        paint_all(&mut signal, &EDEMA, 0.95 * edema);
        paint_all(&mut signal, &RIM, body);
        paint_all(&mut signal, &CORE, core);
        let label = if core > 0.5 {
            2
        } else if body > 0.5 {
            3
        } else {
            u8::from(edema > 0.5)
        };
        Some((signal, label))
    }
}

fn blob(draws: &mut Draws, centre: Point, low: f64, high: f64) -> Ellipsoid {
    let radii = [(); 3].map(|()| draws.between(low, high));
    Ellipsoid::tilted(draws, centre, radii)
}

pub(super) fn volume(seed: u64, case: usize, sizes: &Sizes) -> anyhow::Result<Volume> {
    let mut draws = Draws::new(seed);
    let placement = Placement::new(&mut draws, case, sizes.shape_zyx, sizes.spacing_zyx)?;
    let head = Head::new(&mut draws);
    let n: usize = placement.grid.shape_zyx.iter().product();
    let mut image = vec![0.0; 4 * n];
    let mut label = vec![0; n];
    let width = placement.voxel();
    // every scanner has its own scale, every coil its own falloff
    let scales: Vec<f64> = (0..4).map(|_| draws.between(180.0, 2400.0)).collect();
    let bias: Vec<Noise> = (0..4).map(|_| Noise::new(draws.seed(), 95.0)).collect();
    let strength = draws.between(0.035, 0.05);
    let noise = draws.seed();
    placement.each(|i, p| {
        let Some((signal, class)) = head.at(p, width) else { return };
        label[i] = class;
        for (channel, value) in signal.iter().enumerate() {
            let index = 2 * (channel * n + i) as u64;
            let field = 1.0 + 0.22 * bias[channel].at(p);
            // the magnitude of a complex signal with noise in both parts (Rice)
            let real = value * field + strength * gaussian(noise, index);
            let magnitude = norm([real, strength * gaussian(noise, index + 1), 0.0]);
            // zero means outside
            image[channel * n + i] = (magnitude * scales[channel]).round().clamp(1.0, 32767.0) as f32;
        }
    });
    Ok(Volume { grid: placement.grid, channels: 4, image, label })
}

pub(super) fn descriptor(sizes: &Sizes) -> Descriptor {
    let mut descriptor =
        descriptor_base("phantom-mri", "Synthetic MRI-like heads", Modality::Mri, &TASK, sizes);
    descriptor.intensity = Intensity::MriZscore { nonzero: true }.into();
    descriptor.mirror_axes = vec!["x".to_owned()];
    descriptor.text.anatomy = "brain".to_owned();
    descriptor.text.imaging =
        "multi-parametric magnetic resonance imaging (FLAIR, T1-weighted, contrast-enhanced T1-weighted, T2-weighted)"
            .to_owned();
    descriptor.text.vocabulary = [
        "white matter",
        "grey matter",
        "ventricles",
        "edema",
        "tumour core",
        "enhancing rim",
        "scars",
        "midline",
    ]
    .map(str::to_owned)
    .to_vec();
    descriptor
}
