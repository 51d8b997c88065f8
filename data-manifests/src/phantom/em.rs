//! EM-like neuropil in CREMI's layout: cells with dark membranes, mitochondria with cristae, and what is as dark as they
//! are (dense bodies, dark cells, membranes cut flat). Sections differ in brightness and lie slightly askew.

use super::{Sizes, TEXT_STRIDE, phantom_credits};
use crate::descriptor::{
    Descriptor, Grid, Intensity, Labels, Modality, Raw, Resampling, Text, Tolerance, Unit,
};
use phantoms::noise::{Noise, Warp, gaussian, mix, mix_point, smooth, unit};
use phantoms::shapes::{Draws, Ellipsoid, Point, cover, dot, norm, paint, rotation, sub};
use std::path::Path;
use volume::hdf5::{LabelStack, NEURON_IDS, StackInfo, write_cremi};

pub(super) const FOLDER: &str = "PhantomEM";
const MITOCHONDRIA: &str = "mitochondria";
/// Mean distance between cell centres, nm.
const CELL: Point = [340.0, 340.0, 620.0];

/// An organelle and the cell that holds it.
#[derive(Debug)]
struct Organelle {
    owner: u64,
    shape: Ellipsoid,
    /// Direction across the cristae; none: a dense body.
    cristae: Option<Point>,
}

#[derive(Debug)]
struct Neuropil {
    seed: u64,
    warp: Warp,
    texture: Noise,
    reticulum: Noise,
    wave: Noise,
    organelles: Vec<Organelle>,
}

/// What is at a place.
struct Spot {
    grey: f64,
    neuron: u64,
    mitochondrion: bool,
}

impl Neuropil {
    fn new(draws: &mut Draws, extent: Point) -> Self {
        let mut scene = Self {
            seed: draws.seed(),
            warp: Warp::new(draws.seed(), 45.0, 190.0),
            texture: Noise::new(draws.seed(), 26.0),
            reticulum: Noise::new(draws.seed(), 120.0),
            wave: Noise::new(draws.seed(), 70.0),
            organelles: Vec::new(),
        };
        let reach: [i64; 3] = std::array::from_fn(|axis| (0.5 * extent[axis] / CELL[axis]).ceil() as i64 + 1);
        for k in -reach[2]..=reach[2] {
            for j in -reach[1]..=reach[1] {
                for i in -reach[0]..=reach[0] {
                    scene.furnish(draws, [i, j, k]);
                }
            }
        }
        scene
    }

    /// Puts organelles near a cell's centre.
    fn furnish(&mut self, draws: &mut Draws, cell: [i64; 3]) {
        let owner = self.owner(cell);
        let centre = self.centre(cell);
        if draws.chance(0.75) {
            let radii = [draws.between(95.0, 135.0), draws.between(66.0, 95.0), draws.between(170.0, 330.0)];
            let at = draws.near([centre[0] - 25.0, centre[1], centre[2]], [15.0, 25.0, 60.0]);
            let axes = rotation(draws, 2.5);
            let cristae = Some(if draws.chance(0.5) { axes[0] } else { axes[1] });
            self.organelles.push(Organelle { owner, shape: Ellipsoid { centre: at, radii, axes }, cristae });
        }
        if draws.chance(0.45) {
            let radii = [(); 3].map(|()| draws.between(48.0, 82.0));
            let at = draws.near([centre[0] + 70.0, centre[1], centre[2]], [20.0, 60.0, 140.0]);
            self.organelles.push(Organelle {
                owner,
                shape: Ellipsoid::tilted(draws, at, radii),
                cristae: None,
            });
        }
    }

    fn centre(&self, cell: [i64; 3]) -> Point {
        let hash = mix_point(self.seed, cell);
        std::array::from_fn(|axis| {
            let jitter = unit(mix(hash ^ axis as u64)) - 0.5;
            (cell[axis] as f64 + 0.8 * jitter) * CELL[axis]
        })
    }

    /// The neuron of a cell; some take a neighbour in, so that they differ in size and shape.
    fn owner(&self, cell: [i64; 3]) -> u64 {
        let hash = mix_point(self.seed ^ 1, cell);
        let step = match hash % 10 {
            0..=2 => [1, 0, 0],
            3..=4 => [0, 1, 0],
            5..=6 => [0, 0, 1],
            _ => [0, 0, 0],
        };
        mix_point(self.seed ^ 2, std::array::from_fn(|axis| cell[axis] + step[axis]))
    }

    /// The neuron at a place and the distance to its membrane, nm.
    fn cell(&self, p: Point) -> (u64, f64) {
        let base: [i64; 3] = std::array::from_fn(|axis| (p[axis] / CELL[axis]).round() as i64);
        let mut near = Vec::with_capacity(27);
        for dz in -1..=1 {
            for dy in -1..=1 {
                for dx in -1..=1 {
                    let cell = [base[0] + dx, base[1] + dy, base[2] + dz];
                    // distances in units of a cell, so that cells are as elongated as their lattice
                    let scale = |v: Point| -> Point { std::array::from_fn(|axis| v[axis] / CELL[axis]) };
                    let centre = scale(self.centre(cell));
                    let v = sub(scale(p), centre);
                    near.push((dot(v, v), centre, self.owner(cell)));
                }
            }
        }
        let Some(&(closest, seed, owner)) = near.iter().min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return (0, 0.0);
        };
        let mut membrane = f64::INFINITY;
        for (distance, other, _) in near.iter().filter(|n| n.2 != owner) {
            // to the plane between the two centres
            membrane = membrane.min((distance - closest) / (2.0 * norm(sub(*other, seed))));
        }
        (owner, membrane * CELL[0])
    }

    fn at(&self, place: Point, width: f64) -> Spot {
        let p = self.warp.at(place);
        let (owner, membrane) = self.cell(p);
        let character = mix(owner ^ 3);
        // a quarter of the cells are dark
        let plasm = if character.is_multiple_of(4) { 124.0 } else { 168.0 + (character >> 8 & 15) as f64 };
        let texture = self.texture.at(p);
        let mut grey = plasm + 16.0 * texture;
        // endoplasmic reticulum: thin dark sheets
        let sheet = 260.0 * self.reticulum.at(p).abs();
        paint(&mut grey, 105.0, 0.8 * cover(sheet - 5.0, width));
        let mut mitochondrion = false;
        if character >> 16 & 3 == 0 {
            paint(&mut grey, 92.0, self.vesicles(p, width) * cover(30.0 - membrane, width));
        }
        for organelle in self.organelles.iter().filter(|o| o.owner == owner) {
            let outline = organelle.shape.distance(p).max(20.0 - membrane);
            let inside = cover(outline, width);
            if inside == 0.0 {
                continue;
            }
            match organelle.cristae {
                Some(across) => {
                    let phase = dot(sub(p, organelle.shape.centre), across) / 40.0 + 0.7 * self.wave.at(p);
                    let fold = (2.0 * (phase - phase.floor()) - 1.0).abs();
                    paint(&mut grey, 70.0, inside);
                    paint(&mut grey, 80.0 + 66.0 * fold + 6.0 * texture, cover(outline + 13.0, width));
                    mitochondrion |= outline < 0.0;
                }
                None => {
                    paint(&mut grey, 98.0 + 14.0 * texture, inside);
                    mitochondrion &= outline >= 0.0;
                }
            }
        }
        paint(&mut grey, 72.0, cover(membrane - 9.0, width));
        Spot { grey, neuron: id(owner), mitochondrion }
    }

    /// Cover of the walls of vesicles, small hollow spheres on a jittered lattice.
    fn vesicles(&self, p: Point, width: f64) -> f64 {
        const STEP: f64 = 62.0;
        let base: [i64; 3] = std::array::from_fn(|axis| (p[axis] / STEP).round() as i64);
        let hash = mix_point(self.seed ^ 4, base);
        let centre: Point = std::array::from_fn(|axis| {
            (base[axis] as f64 + 0.3 * (unit(mix(hash ^ axis as u64)) - 0.5)) * STEP
        });
        cover((norm(sub(p, centre)) - 19.0).abs() - 5.0, width)
    }
}

/// An id for a neuron: a quarter of them lie above 2^53, where floating point no longer tells neighbours apart.
fn id(owner: u64) -> u64 {
    let hash = mix(owner ^ 5);
    let low = 1 + (hash >> 20 & 0xff_ffff_ffff);
    if hash.is_multiple_of(4) { (1 << 53) | low } else { low }
}

/// File name of a case.
pub(super) fn file(case: usize) -> String {
    format!("sample_{}.hdf", case + 1)
}

/// Writes one file.
pub(super) fn write(seed: u64, case: usize, sizes: &Sizes, folder: &Path) -> anyhow::Result<()> {
    let mut draws = Draws::new(seed);
    let [nz, ny, nx] = sizes.shape_zyx;
    let [sz, sy, sx] = sizes.spacing_zyx;
    let extent = [nx as f64 * sx, ny as f64 * sy, nz as f64 * sz];
    let scene = Neuropil::new(&mut draws, extent);
    let noise = draws.seed();
    let n = nz * ny * nx;
    let (mut grey, mut neurons, mut mitochondria) =
        (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    // a section keeps half of the last one's misalignment
    let mut shift = [0.0; 2];
    let mut looks = Vec::with_capacity(nz);
    for z in 0..nz {
        shift = shift.map(|s| 0.5 * s + draws.around(0.0, 1.1));
        looks.push((draws.between(0.93, 1.07), draws.around(0.0, 7.0)));
        for y in 0..ny {
            for x in 0..nx {
                let place = [
                    (x as f64 + shift[0]) * sx - extent[0] / 2.0,
                    (y as f64 + shift[1]) * sy - extent[1] / 2.0,
                    z as f64 * sz - extent[2] / 2.0,
                ];
                let spot = scene.at(place, sx);
                grey.push(spot.grey);
                neurons.push(spot.neuron);
                mitochondria.push(u64::from(spot.mitochondrion));
            }
        }
    }
    for axis in 1..3 {
        smooth(&mut grey, sizes.shape_zyx, axis);
    }
    let raw: Vec<u8> = grey
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let (gain, offset) = looks[i / (ny * nx)];
            (gain * v + offset + 9.0 * gaussian(noise, i as u64)).round().clamp(0.0, 255.0) as u8
        })
        .collect();
    let info = |name: &str| StackInfo {
        name: name.to_owned(),
        shape_zyx: sizes.shape_zyx,
        resolution_zyx_nm: sizes.spacing_zyx,
        offset_zyx_nm: [0.0; 3],
    };
    let labels = [
        LabelStack { info: info(NEURON_IDS), data: neurons },
        LabelStack { info: info(MITOCHONDRIA), data: mitochondria },
    ];
    Ok(write_cremi(folder.join(file(case)), &raw, &info("raw"), &labels)?)
}

pub(super) fn descriptor(sizes: &Sizes) -> Descriptor {
    let (source, citation, licence) = phantom_credits();
    Descriptor {
        name: "phantom-em".to_owned(),
        title: "Synthetic EM-like neuropil".to_owned(),
        source,
        citation,
        licence,
        modality: Modality::Em,
        channels: vec!["EM".to_owned()],
        train_cases: Some(sizes.train),
        test_cases: Some(0),
        raw: Raw::Cremi {
            folder: FOLDER.to_owned(),
            files: (0..sizes.train).map(file).collect(),
            labels: Some(MITOCHONDRIA.to_owned()),
            parts: Vec::new(),
        },
        labels: Some(Labels::semantic(["background", "mitochondrion"].map(str::to_owned).to_vec())),
        grid: Grid {
            unit: Unit::Nm,
            spacing_zyx: sizes.spacing_zyx,
            patch_zyx: sizes.patch_zyx,
            source: "chosen with the phantom".to_owned(),
            resampling: Resampling::Linear,
        },
        intensity: Intensity::EmScale {}.into(),
        text: Text {
            anatomy: "neuropil".to_owned(),
            imaging: "serial-section transmission electron microscopy".to_owned(),
            vocabulary: ["neurites", "membranes", "mitochondria", "vesicles", "dense bodies", "cytoplasm"]
                .map(str::to_owned)
                .to_vec(),
            stride: TEXT_STRIDE,
            tile_yx: [80, 80],
        },
        mirror_axes: ["z", "y", "x"].map(str::to_owned).to_vec(),
        tolerance: Some(Tolerance {
            nsd_mm: 4e-5,
            source: "chosen with the phantom: the thickness of one section".to_owned(),
        }),
        published: Vec::new(),
    }
}
