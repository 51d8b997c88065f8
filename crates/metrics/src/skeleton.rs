//! Skeletons of masks by thinning (T.-C. Lee, R. L. Kashyap and C.-N. Chu, "Building skeleton models via 3-D medial surface/axis
//! thinning algorithms", CVGIP 56 (1994) 462–478), with the order of directions of scikit-image's `skeletonize`, and the
//! clDice that follows from them.

use crate::Result;
use crate::mask::{Mask, expect_same_shape};

/// Steps to the 26 neighbours, in scan order.
const NEIGHBOURS: [[i8; 3]; 26] = neighbours();

const fn neighbours() -> [[i8; 3]; 26] {
    let mut steps = [[0; 3]; 26];
    let (mut i, mut k) = (0, 0);
    while i < 27 {
        if i != 13 {
            steps[k] = [(i / 9) as i8 - 1, (i / 3 % 3) as i8 - 1, (i % 3) as i8 - 1];
            k += 1;
        }
        i += 1;
    }
    steps
}

/// For each neighbour, which of the others touch it by a face, an edge or a corner.
const ADJACENT: [u32; 26] = adjacent();

const fn adjacent() -> [u32; 26] {
    let mut masks = [0; 26];
    let mut a = 0;
    while a < 26 {
        let mut b = 0;
        while b < 26 {
            let (p, q) = (NEIGHBOURS[a], NEIGHBOURS[b]);
            let close = (p[0] - q[0]).abs() <= 1 && (p[1] - q[1]).abs() <= 1 && (p[2] - q[2]).abs() <= 1;
            if a != b && close {
                masks[a] |= 1 << b;
            }
            b += 1;
        }
        a += 1;
    }
    masks
}

/// The cells of a voxel's closed cube (8 corners, 12 edges, 6 faces): by which neighbours each is shared, and whether it adds to
/// the Euler characteristic.
const CELLS: [(u32, i32); 26] = cells();

const fn cells() -> [(u32, i32); 26] {
    let mut cells = [(0, 0); 26];
    let mut k = 0;
    while k < 26 {
        // a cell lies in the direction of a neighbour and is shared by all neighbours that do not lead away from it
        let cell = NEIGHBOURS[k];
        let fixed = (cell[0] != 0) as i32 + (cell[1] != 0) as i32 + (cell[2] != 0) as i32;
        let mut shared = 0;
        let mut n = 0;
        while n < 26 {
            let step = NEIGHBOURS[n];
            let mut inside = true;
            let mut axis = 0;
            while axis < 3 {
                inside = inside && (step[axis] == 0 || step[axis] == cell[axis]);
                axis += 1;
            }
            if inside {
                shared |= 1 << n;
            }
            n += 1;
        }
        // corners (three axes fixed) count +1, edges (two) -1, faces (one) +1
        cells[k] = (shared, if fixed == 2 { -1 } else { 1 });
        k += 1;
    }
    cells
}

/// Directions in which borders are peeled off, one after the other: -y, +y, +x, -x, +z, -z.
const DIRECTIONS: [[i8; 3]; 6] = [[0, -1, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0]];

/// Whether the Euler characteristic of the closed cubes stays the same when the voxel goes.
fn keeps_euler_characteristic(neighbourhood: u32) -> bool {
    // the cube itself counts -1; cells that no neighbour shares go with it
    let lost: i32 =
        CELLS.iter().filter(|(shared, _)| neighbourhood & shared == 0).map(|(_, sign)| sign).sum();
    lost == 1
}

/// Whether the neighbours hang together without the voxel.
fn is_simple(neighbourhood: u32) -> bool {
    let mut reached = neighbourhood & neighbourhood.wrapping_neg();
    let mut front = reached;
    while front != 0 {
        let k = front.trailing_zeros() as usize;
        front &= front - 1;
        let new = ADJACENT[k] & neighbourhood & !reached;
        reached |= new;
        front |= new;
    }
    reached == neighbourhood
}

/// The mask in a frame of empty voxels, so that every voxel has 26 neighbours.
struct Framed {
    voxels: Vec<bool>,
    offsets: [isize; 26],
    shape: [usize; 3],
}

impl Framed {
    fn new(mask: &Mask) -> Self {
        let [nz, ny, nx] = mask.shape_zyx();
        let shape = [nz + 2, ny + 2, nx + 2];
        let mut voxels = vec![false; shape.iter().product()];
        for z in 0..nz {
            for y in 0..ny {
                let from = (z * ny + y) * nx;
                let to = ((z + 1) * shape[1] + y + 1) * shape[2] + 1;
                voxels[to..to + nx].copy_from_slice(&mask.voxels()[from..from + nx]);
            }
        }
        let framed = Self { voxels, offsets: [0; 26], shape };
        Self { offsets: NEIGHBOURS.map(|step| framed.offset(step)), ..framed }
    }

    fn offset(&self, [z, y, x]: [i8; 3]) -> isize {
        (isize::from(z) * self.shape[1] as isize + isize::from(y)) * self.shape[2] as isize + isize::from(x)
    }

    fn at(&self, place: usize, offset: isize) -> bool {
        // a voxel of the mask is never in the frame, so its neighbours are inside
        self.voxels[place.wrapping_add_signed(offset)]
    }

    fn neighbourhood(&self, place: usize) -> u32 {
        let bits = self.offsets.iter().enumerate();
        bits.fold(0, |bits, (k, offset)| bits | u32::from(self.at(place, *offset)) << k)
    }
}

/// The skeleton of a mask: one voxel wide, of the same topology; equal to scikit-image's `skeletonize` of a volume, but for
/// small components (such as 2 × 2 × 2 voxels) that its thinning takes away altogether: here their last voxel stays.
///
/// Memory: two bytes per voxel and 8 bytes per voxel of the mask.
///
/// # Errors
/// None for a mask that exists.
pub fn skeletonise(mask: &Mask) -> Result<Mask> {
    let mut framed = Framed::new(mask);
    let mut inside: Vec<usize> = (0..framed.voxels.len()).filter(|i| framed.voxels[*i]).collect();
    let mut candidates = Vec::new();
    let mut unchanged = 0;
    while unchanged < DIRECTIONS.len() {
        unchanged = 0;
        for direction in DIRECTIONS {
            let outward = framed.offset(direction);
            candidates.clear();
            candidates.extend(inside.iter().copied().filter(|place| {
                if framed.at(*place, outward) {
                    return false;
                }
                let neighbourhood = framed.neighbourhood(*place);
                let is_end = neighbourhood.count_ones() == 1;
                !is_end && keeps_euler_characteristic(neighbourhood) && is_simple(neighbourhood)
            }));
            // taken away one by one: the neighbours may have gone meanwhile, but never the last voxel of a component
            let mut changed = false;
            for place in &candidates {
                let neighbourhood = framed.neighbourhood(*place);
                if neighbourhood != 0 && is_simple(neighbourhood) {
                    framed.voxels[*place] = false;
                    changed = true;
                }
            }
            if changed {
                inside.retain(|place| framed.voxels[*place]);
            } else {
                unchanged += 1;
            }
        }
    }
    let [nz, ny, nx] = mask.shape_zyx();
    let mut voxels = Vec::with_capacity(nz * ny * nx);
    for z in 0..nz {
        for y in 0..ny {
            let from = ((z + 1) * framed.shape[1] + y + 1) * framed.shape[2] + 1;
            voxels.extend_from_slice(&framed.voxels[from..from + nx]);
        }
    }
    Mask::new(voxels, [nz, ny, nx])
}

/// Harmonic mean of the share of the prediction's skeleton in the reference (topological precision) and of the reference's in the
/// prediction (topological sensitivity); `None` when one of the masks is empty.
///
/// # Errors
/// Masks of different shapes.
pub fn centreline_dice(reference: &Mask, prediction: &Mask) -> Result<Option<f64>> {
    expect_same_shape(reference, prediction)?;
    let share = |of: &Mask, inside: &Mask| -> Result<Option<f64>> {
        let skeleton = skeletonise(of)?;
        let pairs = skeleton.voxels().iter().zip(inside.voxels()).filter(|(s, _)| **s);
        let (all, met) = pairs.fold((0_u64, 0_u64), |(all, met), (_, m)| (all + 1, met + u64::from(*m)));
        Ok((all > 0).then(|| met as f64 / all as f64))
    };
    let (Some(precision), Some(sensitivity)) = (share(prediction, reference)?, share(reference, prediction)?)
    else {
        return Ok(None);
    };
    let sum = precision + sensitivity;
    Ok(Some(if sum > 0.0 { 2.0 * precision * sensitivity / sum } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_lone_cube() {
        // 8 corners - 12 edges + 6 faces - 1 cube = 1
        assert_eq!(CELLS.iter().map(|(_, sign)| sign).sum::<i32>(), 2);
        assert!(!keeps_euler_characteristic(0));
        // removing an end of a line changes nothing
        assert!(keeps_euler_characteristic(1 << 12) && is_simple(1 << 12));
        // the middle of a line does
        assert!(!keeps_euler_characteristic(1 << 12 | 1 << 13) && !is_simple(1 << 12 | 1 << 13));
        // closing a cavity: all neighbours are there
        assert!(!keeps_euler_characteristic((1 << 26) - 1));
    }

    #[test]
    fn a_bar_becomes_a_line_and_a_ring_stays_a_ring() {
        let bar = Mask::new((0..9 * 3 * 3).map(|_| true).collect(), [9, 3, 3]).unwrap();
        let line: Vec<usize> = (0..81).filter(|i| skeletonise(&bar).unwrap().voxels()[*i]).collect();
        assert!(line.iter().all(|i| i % 9 == 4) && line.len() >= 5, "{line:?}");
        let ring: Vec<bool> = (0..25).map(|i| ![11, 12, 13].contains(&i) || i == 11).collect();
        let ring = Mask::new(ring, [1, 5, 5]).unwrap();
        let left = skeletonise(&ring).unwrap();
        let count = left.voxels().iter().filter(|v| **v).count();
        assert!((4..25).contains(&count), "{count}");
        assert_eq!(skeletonise(&left).unwrap(), left);
        assert_eq!(centreline_dice(&ring, &ring).unwrap(), Some(1.0));
        let none = Mask::new(vec![false; 25], [1, 5, 5]).unwrap();
        assert_eq!(centreline_dice(&ring, &none).unwrap(), None);
    }
}
