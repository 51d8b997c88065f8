//! Which slices and tiles of a volume get a caption: a seeded plan that is stored beside the captions.

use data_manifests::digest::sha256_hex;
use data_manifests::records::Plane;
use patches::Region;
use patches::sampler::generator;
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// File of [`Slice`] lines in a caption directory.
pub const FILE_NAME: &str = "slices.jsonl";

/// Characters of a case's id that a file name keeps at most.
const LONGEST_CASE: usize = 120;

/// What decides a plan, beside the shape of the volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanOptions {
    /// Planes.
    pub planes: Vec<Plane>,
    /// Every how many slices one is taken.
    pub stride: usize,
    /// Axial sections larger than this are cut into tiles of about this size, y, x, in voxels; tiles of other planes have
    /// about the same size in mm.
    pub tile_yx: [usize; 2],
    /// Decides where the first slice of each case lies.
    pub seed: u64,
}

/// One planned slice or tile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Case in the shards.
    pub case: String,
    /// Plane.
    pub plane: Plane,
    /// Position along the plane's axis, in voxels of the shards.
    pub index: usize,
    /// Tile of the section, row by row.
    pub tile: usize,
    /// Tiles per column and per row of the section.
    pub tiles: [usize; 2],
    /// Half-open box in voxels of the shards: z0, y0, x0, z1, y1, x1.
    pub box_zyx: [usize; 6],
}

impl Slice {
    /// Unique name: `CASE:PLANE:INDEX:TILE`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}:{}:{}", self.case, plane_name(self.plane), self.index, self.tile)
    }

    /// The name in a form that every file system takes, such as `liver_7_axial_30_0`. A case whose id holds other characters than
    /// letters, digits, `.`, `_` and `-`, or is long, is told apart by the beginning of its id's digest.
    #[must_use]
    pub fn file_stem(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
        let end = format!("{}_{}_{}", plane_name(self.plane), self.index, self.tile);
        if self.case.chars().all(plain) && self.case.len() <= LONGEST_CASE && !self.case.starts_with('.') {
            return format!("{}_{end}", self.case);
        }
        let safe: String =
            self.case.chars().take(LONGEST_CASE).map(|c| if plain(c) { c } else { '_' }).collect();
        format!("{}-{}_{end}", safe.trim_start_matches('.'), &sha256_hex(self.case.as_bytes())[..8])
    }

    /// The box as a region.
    #[must_use]
    pub fn region(&self) -> Region {
        let b = self.box_zyx;
        Region::at([b[0], b[1], b[2]].map(|v| v as i64), [b[3] - b[0], b[4] - b[1], b[5] - b[2]])
    }
}

/// The word for a plane.
#[must_use]
pub fn plane_name(plane: Plane) -> &'static str {
    match plane {
        Plane::Axial => "axial",
        Plane::Coronal => "coronal",
        Plane::Sagittal => "sagittal",
    }
}

/// The axis (0 = z, 1 = y, 2 = x) that a plane is perpendicular to, then the axes of its rows and columns.
#[must_use]
pub fn axes(plane: Plane) -> [usize; 3] {
    match plane {
        Plane::Axial => [0, 1, 2],
        Plane::Coronal => [1, 0, 2],
        Plane::Sagittal => [2, 0, 1],
    }
}

/// Plans the slices of one case, in reading order.
///
/// The first slice lies at a seeded place within the first stride, so that the cases of a data set differ in the levels
/// they show; a volume thinner than the stride gives one slice. The plan is a pure function of the arguments.
#[must_use]
pub fn plan(
    case: &str,
    shape_zyx: [usize; 3],
    spacing_zyx_mm: [f64; 3],
    options: &PlanOptions,
) -> Vec<Slice> {
    let tile_mm =
        [options.tile_yx[0] as f64 * spacing_zyx_mm[1], options.tile_yx[1] as f64 * spacing_zyx_mm[2]];
    let hash = sha256_hex(case.as_bytes());
    let stream = u64::from_str_radix(&hash[..16], 16).unwrap_or_default();
    let mut slices = Vec::new();
    for &plane in &options.planes {
        let [axis, row, column] = axes(plane);
        let (depth, stride) = (shape_zyx[axis], options.stride.max(1));
        if depth == 0 {
            continue;
        }
        let first = generator(options.seed, stream, axis as u64).random_range(0..stride.min(depth));
        let cuts = |a: usize, mm: f64| -> Vec<[usize; 2]> {
            let n = ((shape_zyx[a] as f64 * spacing_zyx_mm[a] / mm).round() as usize).clamp(1, shape_zyx[a]);
            (0..n).map(|i| [i * shape_zyx[a] / n, (i + 1) * shape_zyx[a] / n]).collect()
        };
        let (rows, columns) = (cuts(row, tile_mm[0]), cuts(column, tile_mm[1]));
        for index in (first..depth).step_by(stride) {
            let pairs = rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c)));
            for (tile, (r, c)) in pairs.enumerate() {
                let mut box_zyx = [0; 6];
                for (a, [lo, hi]) in [(axis, [index, index + 1]), (row, *r), (column, *c)] {
                    (box_zyx[a], box_zyx[a + 3]) = (lo, hi);
                }
                let tiles = [rows.len(), columns.len()];
                slices.push(Slice { case: case.to_owned(), plane, index, tile, tiles, box_zyx });
            }
        }
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(stride: usize, tile: usize, seed: u64) -> PlanOptions {
        let planes = vec![Plane::Axial, Plane::Coronal, Plane::Sagittal];
        PlanOptions { planes, stride, tile_yx: [tile, tile], seed }
    }

    proptest! {
        #[test]
        fn tiles_partition_each_planned_section(
            shape in prop::array::uniform3(1usize..70), stride in 1usize..20, tile in 1usize..80, seed: u64,
        ) {
            let options = options(stride, tile, seed);
            let slices = plan("a", shape, [2.0, 1.0, 1.0], &options);
            for plane in &options.planes {
                let axis = axes(*plane)[0];
                let section: usize = shape.iter().product::<usize>() / shape[axis];
                let of_plane: Vec<_> = slices.iter().filter(|s| s.plane == *plane).collect();
                let mut indices: Vec<_> = of_plane.iter().map(|s| s.index).collect();
                indices.dedup();
                prop_assert!(indices[0] < stride && indices[indices.len() - 1] + stride >= shape[axis]);
                for index in indices {
                    let covered: usize =
                        of_plane.iter().filter(|s| s.index == index).map(|s| s.region().voxels()).sum();
                    prop_assert_eq!(covered, section);
                }
            }
        }
    }

    #[test]
    fn cases_start_at_their_own_level_and_the_same_each_time() {
        let first = |case: &str| plan(case, [64, 8, 8], [1.0; 3], &options(16, 64, 3))[0].index;
        let firsts: Vec<_> = (0..20).map(|i| first(&format!("c{i}"))).collect();
        assert_eq!(firsts, (0..20).map(|i| first(&format!("c{i}"))).collect::<Vec<_>>());
        assert!(firsts.iter().any(|f| *f != firsts[0]));
    }

    #[test]
    fn file_names_are_safe_and_differ() {
        let options = PlanOptions { planes: vec![Plane::Axial], ..options(4, 64, 0) };
        let stem = |case: &str| plan(case, [1, 8, 8], [1.0; 3], &options)[0].file_stem();
        assert_eq!(stem("liver_7"), "liver_7_axial_0_0");
        assert!(stem("a/b c").starts_with("a_b_c-"));
        let names = ["a/b", "a_b", "a:b", "..", ".", "ä", "_", &"x".repeat(300)].map(stem);
        let plain = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
        assert!(
            names.iter().all(|n| n.chars().all(plain) && !n.starts_with('.') && n.len() < 200),
            "{names:?}"
        );
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn ids_and_boxes_name_the_tile() {
        let slices = plan(
            "a",
            [1, 10, 21],
            [1.0; 3],
            &PlanOptions { planes: vec![Plane::Axial], ..options(4, 10, 0) },
        );
        assert_eq!(slices.iter().map(Slice::id).collect::<Vec<_>>(), ["a:axial:0:0", "a:axial:0:1"]);
        assert_eq!(slices[1].box_zyx, [0, 0, 10, 1, 10, 21]);
    }
}
