//! Areas of the surface elements ("surfels") of google-deepmind/surface-distance.
//!
//! The surface of a mask is sampled at the corners of its voxels. The 2×2×2 voxels around a corner give an 8-bit neighbour
//! code: the voxel at offset `(i, j, k)` along z, y, x, each 0 or 1, is bit `7 - (4 i + 2 j + k)`. Each code stands for a
//! marching-cubes polygon (W. E. Lorensen and H. E. Cline, SIGGRAPH 1987) through the midpoints of cube edges, cut into
//! triangles. The reference holds them as a table of 256 lists of normals, whose lengths are areas. That table follows from
//! six shapes and a rule, which this module applies instead:
//!
//! - more than four voxels inside are treated as their complement (the surface is the same, seen from the other side);
//! - what is left falls into face-connected groups, whose surfaces do not touch: their triangles are added;
//! - a group is a voxel, a pair, a corner of three, a square, a corner of four or a bent chain of four, in any of the cube's
//!   orientations.

/// Number of neighbour codes.
pub const CODES: usize = 256;

/// Bit of the neighbour at offset `(z, y, x)`.
#[must_use]
pub const fn bit(offset_zyx: [usize; 3]) -> u8 {
    1 << (7 - (4 * offset_zyx[0] + 2 * offset_zyx[1] + offset_zyx[2]))
}

/// Whether a corner with this neighbour code lies on the surface.
#[must_use]
#[inline]
pub const fn is_surface(code: u8) -> bool {
    code != 0 && code != u8::MAX
}

/// Surfel area of every neighbour code, in the square of the unit of `spacing_zyx`.
#[must_use]
pub fn areas(spacing_zyx: [f64; 3]) -> [f64; CODES] {
    let mut areas = [0.0; CODES];
    for (code, area) in (0..=u8::MAX).zip(&mut areas) {
        *area = normals(code).iter().fold(0.0, |area, normal| area + triangle(*normal, spacing_zyx));
    }
    areas
}

/// Area of a triangle whose normal on the unit grid, in eighths, is `normal` (absolute components, z, y, x).
fn triangle(normal: [f64; 3], [z, y, x]: [f64; 3]) -> f64 {
    let [a, b, c] = [normal[0] / 8.0 * y * x, normal[1] / 8.0 * z * x, normal[2] / 8.0 * z * y];
    (a * a + b * b + c * c).sqrt()
}

/// Triangles of a code: absolute components of their normals (z, y, x) in eighths.
fn normals(code: u8) -> Vec<[f64; 3]> {
    let inside = if code.count_ones() > 4 { !code } else { code };
    let mut left: Vec<[usize; 3]> =
        (0..8).map(|n| [n >> 2 & 1, n >> 1 & 1, n & 1]).filter(|offset| inside & bit(*offset) != 0).collect();
    let mut triangles = Vec::new();
    while let Some(seed) = left.pop() {
        let mut group = vec![seed];
        let mut next = 0;
        while let Some(member) = group.get(next).copied() {
            let (near, far) = left.into_iter().partition(|other| steps(member, *other) == 1);
            left = far;
            group.extend::<Vec<_>>(near);
            next += 1;
        }
        triangles.extend(group_normals(&group));
    }
    triangles
}

/// Number of axes along which two offsets differ.
fn steps(a: [usize; 3], b: [usize; 3]) -> usize {
    a.iter().zip(&b).filter(|(a, b)| a != b).count()
}

/// Triangles of one face-connected group of at most four voxels.
fn group_normals(group: &[[usize; 3]]) -> Vec<[f64; 3]> {
    let along = |axis: usize, on: f64, off: f64| std::array::from_fn(|a| if a == axis { on } else { off });
    // the axis along which a group is flat (or, for a pair, the first of two: not asked there)
    let flat = (0..3).find(|axis| group.iter().all(|offset| offset[*axis] == group[0][*axis]));
    let neighbours = |member: &[usize; 3]| group.iter().filter(|other| steps(*member, **other) == 1).count();
    match (group.len(), flat) {
        // pair: two halves of a rectangle that is parallel to the pair
        (2, _) => {
            let axis = (0..3).find(|a| group[0][*a] != group[1][*a]).unwrap_or(0);
            vec![along(axis, 0.0, 2.0); 2]
        }
        // corner of three in a plane: a pentagon
        (3, Some(axis)) => vec![along(axis, 4.0, 0.0), [2.0; 3], [1.0; 3]],
        // square: two halves of a unit square
        (4, Some(axis)) => vec![along(axis, 4.0, 0.0); 2],
        (4, None) if group.iter().any(|member| neighbours(member) == 3) => {
            // corner of four: a hexagon
            vec![[2.0; 3], [2.0; 3], [1.0; 3], [1.0; 3]]
        }
        (4, None) => {
            // chain of four with a step along each axis: a bent hexagon, symmetric about the middle step
            let inner: Vec<_> = group.iter().filter(|member| neighbours(member) == 2).collect();
            let middle = (0..3).find(|a| inner.iter().any(|m| m[*a] != inner[0][*a]));
            let ends = (0..3).filter(|a| Some(*a) != middle).map(|a| along(a, 0.0, 2.0));
            ends.chain([[1.0; 3], [3.0; 3]]).collect()
        }
        // a single voxel (or nothing): one triangle that cuts off the corner
        _ => group.iter().map(|_| [1.0; 3]).collect(),
    }
}
