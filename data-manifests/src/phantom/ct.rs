//! A CT-like abdomen. The organ lies on the right; what lies on the left has the same density, and so have the contents
//! of stomach and bowel. Lesions of the organ are as dense as muscle, and the left twin has some that do not count.

use super::msd::{Task, Volume};
use super::placement::Placement;
use super::{Sizes, descriptor_base};
use crate::descriptor::{Descriptor, Intensity, Modality};
use phantoms::noise::{Noise, Warp, grain};
use phantoms::shapes::{Draws, Ellipsoid, Point, Rod, cover, paint};

pub(super) const TASK: Task = Task {
    folder: "PhantomCT",
    prefix: "ct",
    description: "Synthetic CT-like abdomens: an organ on the right and its lesions",
    modality: &["CT"],
    labels: &["background", "organ", "lesion"],
};

/// Something with the density of the organ, its veins and its lesions.
#[derive(Debug)]
struct Organ {
    lobes: Vec<Ellipsoid>,
    density: f64,
    veins: Vec<Rod>,
    lesions: Vec<(Ellipsoid, f64)>,
}

impl Organ {
    fn new(draws: &mut Draws, lobes: Vec<Ellipsoid>, density: f64, veins: usize, lesions: usize) -> Self {
        let main = lobes[0];
        let hilum = main.inside(draws, 0.15);
        let veins = (0..veins)
            .map(|_| Rod { from: hilum, to: main.inside(draws, 0.9), radius: draws.between(2.5, 4.5) })
            .collect();
        let lesions = (0..lesions)
            .map(|_| {
                let centre = main.inside(draws, 0.5);
                let radii = [(); 3].map(|()| draws.between(12.0, 20.0));
                (Ellipsoid::tilted(draws, centre, radii), density - draws.between(42.0, 55.0))
            })
            .collect();
        Self { lobes, density, veins, lesions }
    }

    /// Paints the organ and says how much of the voxel is organ and lesion.
    fn paint(&self, hu: &mut f64, p: Point, rough: f64, room: f64, width: f64) -> (f64, f64) {
        let outline = self.lobes.iter().map(|l| l.distance(p)).fold(f64::INFINITY, f64::min).max(room);
        let organ = cover(outline, width);
        if organ == 0.0 {
            return (0.0, 0.0);
        }
        paint(hu, self.density, organ);
        for vein in &self.veins {
            paint(hu, self.density + 45.0, cover(vein.distance(p), width) * organ);
        }
        let mut lesion: f64 = 0.0;
        for (shape, density) in &self.lesions {
            let part = cover((shape.distance(p) + 3.0 * rough).max(outline + 3.0), width);
            paint(hu, *density, part);
            lesion = lesion.max(part);
        }
        (organ, lesion)
    }
}

#[derive(Debug)]
struct Abdomen {
    warp: Warp,
    rough: Noise,
    mottle: Noise,
    shading: Noise,
    body: Ellipsoid,
    fat: f64,
    wall: f64,
    loops: Vec<(Ellipsoid, f64, bool)>,
    kidneys: Vec<(Ellipsoid, f64)>,
    vessels: Vec<(Rod, f64)>,
    spine: Ellipsoid,
    disc: f64,
    organ: Organ,
    twin: Organ,
    gallbladder: Ellipsoid,
}

impl Abdomen {
    fn new(draws: &mut Draws) -> Self {
        // nobody's body ends within the scan: a very long ellipsoid is a tapering cylinder
        let body = Ellipsoid::upright(
            [draws.around(0.0, 3.0), draws.around(0.0, 3.0), 0.0],
            [draws.between(120.0, 132.0), draws.between(88.0, 98.0), 900.0],
        );
        let density = draws.between(98.0, 114.0);
        let right = draws.near([56.0, 6.0, 8.0], [7.0, 8.0, 16.0]);
        let left = draws.near([-56.0, 2.0, 4.0], [7.0, 8.0, 18.0]);
        let radii = |draws: &mut Draws| draws.near([36.0, 40.0, 46.0], [4.0, 5.0, 6.0]);
        let (main, other) = (radii(draws), radii(draws));
        let lobe =
            [right[0] - draws.between(32.0, 40.0), right[1] + draws.between(20.0, 28.0), right[2] + 6.0];
        let lobes =
            vec![Ellipsoid::tilted(draws, right, main), Ellipsoid::tilted(draws, lobe, [32.0, 20.0, 28.0])];
        let twin_lobe =
            [left[0] + draws.between(28.0, 36.0), left[1] + draws.between(24.0, 34.0), left[2] - 10.0];
        let twin_lobes = vec![
            Ellipsoid::tilted(draws, left, other),
            Ellipsoid::tilted(draws, twin_lobe, [28.0, 22.0, 34.0]),
        ];
        let (lesions, false_lesions) = (1 + draws.below(3), 1 + draws.below(2));
        let organ = Organ::new(draws, lobes, density, 6, lesions);
        let twin_density = density + draws.between(8.0, 18.0);
        let twin = Organ::new(draws, twin_lobes, twin_density, 0, false_lesions);
        let loops = (0..11)
            .map(|_| {
                let centre = draws.near([0.0, 22.0, -62.0], [72.0, 34.0, 36.0]);
                let radii = [(); 3].map(|()| draws.between(14.0, 26.0));
                (Ellipsoid::tilted(draws, centre, radii), draws.between(60.0, 128.0), draws.chance(0.25))
            })
            .collect();
        let kidneys = [46.0, -46.0]
            .map(|x| {
                let centre = draws.near([x, -44.0, -28.0], [4.0, 4.0, 10.0]);
                (Ellipsoid::tilted(draws, centre, [22.0, 19.0, 40.0]), draws.between(112.0, 138.0))
            })
            .to_vec();
        let mut vessel = |x: f64, y: f64, radius: f64, hu: f64| {
            let [from, to] = [-140.0, 140.0].map(|z| draws.near([x, y, z], [5.0, 3.0, 0.0]));
            (Rod { from, to, radius }, hu)
        };
        let vessels = vec![vessel(-10.0, -30.0, 10.0, 165.0), vessel(16.0, -28.0, 11.0, 118.0)];
        let gallbladder =
            Ellipsoid::tilted(draws, [right[0] - 22.0, right[1] + 14.0, right[2] - 34.0], [11.0, 13.0, 20.0]);
        Self {
            warp: Warp::new(draws.seed(), 7.0, 60.0),
            rough: Noise::new(draws.seed(), 9.0),
            mottle: Noise::new(draws.seed(), 16.0),
            shading: Noise::new(draws.seed(), 110.0),
            body,
            fat: draws.between(9.0, 17.0),
            wall: draws.between(9.0, 13.0),
            loops,
            kidneys,
            vessels,
            spine: Ellipsoid::upright([draws.around(0.0, 2.0), -54.0, 0.0], [20.0, 16.0, 900.0]),
            disc: draws.between(0.0, 32.0),
            organ,
            twin,
            gallbladder,
        }
    }

    /// Density in HU and label of a place.
    fn at(&self, place: Point, width: f64) -> (f64, u8) {
        let p = self.warp.at(place);
        let skin = self.body.distance(place);
        let mut hu = -1000.0;
        // the table: a thin shell under the body
        paint(&mut hu, 60.0, cover((skin - 10.0).abs() - 4.0, width) * cover(place[1] + 40.0, width));
        if skin > width {
            return (hu, 0);
        }
        paint(&mut hu, -98.0, cover(skin, width));
        let (rough, mottle) = (self.rough.at(p), self.mottle.at(p));
        let inner = skin + self.fat + 3.0 * mottle;
        paint(&mut hu, 58.0 + 6.0 * rough, cover(inner, width));
        let room = inner + self.wall;
        paint(&mut hu, -85.0 + 25.0 * mottle, cover(room, width));
        for (shape, density, gas) in &self.loops {
            let outline = (shape.distance(p) + 2.0 * rough).max(room);
            paint(&mut hu, 52.0, cover(outline, width));
            let content = if *gas && p[1] > shape.centre[1] { -850.0 } else { *density };
            paint(&mut hu, content, cover(outline + 4.0, width));
        }
        for (shape, density) in &self.kidneys {
            let outline = shape.distance(p).max(room);
            paint(&mut hu, *density, cover(outline, width));
            paint(&mut hu, -40.0, cover(outline + 14.0, width));
        }
        self.twin.paint(&mut hu, p, rough, room + 1.5, width);
        let (organ, lesion) = self.organ.paint(&mut hu, p, rough, room + 1.5, width);
        let bladder = cover(self.gallbladder.distance(p), width);
        paint(&mut hu, 8.0, bladder);
        // muscles beside the spine, the vertebrae with their discs, the canal
        for side in [-32.0, 32.0] {
            let psoas = Ellipsoid::upright([side, -60.0, 0.0], [15.0, 14.0, 900.0]);
            paint(&mut hu, 60.0 + 5.0 * rough, cover(psoas.distance(p).max(inner), width));
        }
        let bone = self.spine.distance(p);
        let level = (p[2] + 400.0 + self.disc) % 32.0;
        let vertebra = cover((level - 16.0).abs() - 12.5, width);
        paint(&mut hu, 85.0, cover(bone, width));
        paint(&mut hu, 340.0, cover(bone, width) * vertebra);
        paint(&mut hu, 170.0 + 50.0 * rough, cover(bone + 4.0, width) * vertebra);
        let canal = Ellipsoid::upright([self.spine.centre[0], -76.0, 0.0], [9.0, 7.0, 900.0]).distance(p);
        paint(&mut hu, 320.0, cover(canal.abs() - 3.0, width));
        paint(&mut hu, 20.0, cover(canal + 2.0, width));
        for (rod, density) in &self.vessels {
            paint(&mut hu, *density, cover(rod.distance(p), width));
        }
        let vessel = self.vessels.iter().any(|(rod, _)| rod.distance(p) < 0.0);
        let spared = bladder > 0.5 || vessel || bone < 0.0;
        let label = match (organ > 0.5 && !spared, lesion > 0.5) {
            (true, true) => 2,
            (true, false) => 1,
            (false, _) => 0,
        };
        (hu + 6.0 * self.shading.at(place), label)
    }
}

pub(super) fn volume(seed: u64, case: usize, sizes: &Sizes) -> anyhow::Result<Volume> {
    let mut draws = Draws::new(seed);
    let placement = Placement::new(&mut draws, case, sizes.shape_zyx, sizes.spacing_zyx)?;
    let scene = Abdomen::new(&mut draws);
    let strength = draws.between(13.0, 19.0);
    let noise = grain(draws.seed(), placement.grid.shape_zyx);
    let mut image = vec![0.0; noise.len()];
    let mut label = vec![0; noise.len()];
    let width = placement.voxel();
    placement.each(|i, p| {
        let (hu, class) = scene.at(p, width);
        image[i] = (hu + strength * noise[i]).round().clamp(-1024.0, 3071.0) as f32;
        label[i] = class;
    });
    Ok(Volume { grid: placement.grid, channels: 1, image, label })
}

pub(super) fn descriptor(sizes: &Sizes) -> Descriptor {
    let mut descriptor =
        descriptor_base("phantom-ct", "Synthetic CT-like abdomens", Modality::Ct, &TASK, sizes);
    // fat, muscle, contrast-filled vessels and spongy bone stay apart
    descriptor.intensity = Intensity::CtWindow { low: -160.0, high: 240.0 }.into();
    descriptor.text.anatomy = "abdomen".to_owned();
    descriptor.text.imaging = "contrast-enhanced computed tomography".to_owned();
    descriptor.text.vocabulary =
        ["organ", "lesion", "kidneys", "bowel", "aorta", "spine", "muscle", "abdominal fat"]
            .map(str::to_owned)
            .to_vec();
    descriptor
}
