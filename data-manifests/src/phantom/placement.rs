//! How a scanner might have stored a volume: axis order, directions, tilt and origin differ from case to case.

use phantoms::shapes::{Draws, Point};
use volume::Grid;

/// A stored grid and where the scene's origin lies in its world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    pub(super) grid: Grid,
    origin: Point,
}

/// World axis and direction that the stored x, y and z index follow.
const ORIENTATIONS: [[(usize, f64); 3]; 5] = [
    // RAS, LPS, LAS, and sagittal storage: PSR, ASL
    [(0, 1.0), (1, 1.0), (2, 1.0)],
    [(0, -1.0), (1, -1.0), (2, 1.0)],
    [(0, -1.0), (1, 1.0), (2, 1.0)],
    [(1, -1.0), (2, 1.0), (0, 1.0)],
    [(1, 1.0), (2, 1.0), (0, -1.0)],
];

impl Placement {
    /// Places a volume of about `shape_zyx` voxels of about `spacing_zyx_mm` around the scene's origin. Cases take the
    /// orientations in turn, so that even a small data set has several. Every tenth, stored as RAS, is turned by a few
    /// degrees: for the other orientations NIfTI's quaternion, in 32 bits, cannot hold such a turn exactly.
    pub(super) fn new(
        draws: &mut Draws,
        case: usize,
        shape_zyx: [usize; 3],
        spacing_zyx_mm: [f64; 3],
    ) -> volume::Result<Self> {
        let spacing_xyz: Point = std::array::from_fn(|axis| {
            (spacing_zyx_mm[2 - axis] * draws.between(0.95, 1.05) * 1e4).round() / 1e4
        });
        let shape_xyz: [usize; 3] = std::array::from_fn(|axis| shape_zyx[2 - axis] + draws.below(4));
        // cosine and sine of a small turn about z, without trigonometry
        let t = if case % 10 == 5 { draws.around(0.0, 0.04) } else { 0.0 };
        let (cosine, sine) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
        let turn = [[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]];
        let origin = draws.near([0.0, 0.0, 0.0], [120.0, 120.0, 400.0]).map(|v| (v * 10.0).round() / 10.0);
        let centre = draws.near(origin, [4.0, 4.0, 5.0]);
        let stored = ORIENTATIONS[case % ORIENTATIONS.len()];
        let mut affine = [[0.0; 4]; 4];
        affine[3][3] = 1.0;
        for row in 0..3 {
            affine[row][3] = centre[row];
            for (column, (axis, sign)) in stored.into_iter().enumerate() {
                affine[row][column] = turn[row][axis] * sign * spacing_xyz[axis];
                affine[row][3] -= affine[row][column] * (shape_xyz[axis] - 1) as f64 / 2.0;
            }
            // NIfTI stores 32 bits; the scene is sampled where the file says
            affine[row] = affine[row].map(|v| f64::from(v as f32));
        }
        let shape = stored.map(|(axis, _)| shape_xyz[axis]);
        Ok(Self { grid: Grid::new([shape[2], shape[1], shape[0]], affine)?, origin })
    }

    /// Calls `visit` with the index and the place in the scene of every voxel, in C order z, y, x.
    pub(super) fn each(&self, mut visit: impl FnMut(usize, Point)) {
        let [nz, ny, nx] = self.grid.shape_zyx;
        let mut index = 0;
        for z in 0..nz {
            for y in 0..ny {
                for x in 0..nx {
                    let world = self.grid.world([x as f64, y as f64, z as f64]);
                    visit(index, std::array::from_fn(|axis| world[axis] - self.origin[axis]));
                    index += 1;
                }
            }
        }
    }

    /// Mean edge of a voxel.
    pub(super) fn voxel(&self) -> f64 {
        self.grid.spacing_zyx_mm().iter().sum::<f64>() / 3.0
    }
}
