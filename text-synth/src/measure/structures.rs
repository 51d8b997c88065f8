//! Connected structures of a mask and their sizes.

use std::collections::VecDeque;

/// A connected structure.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    /// Pixels.
    pub pixels: usize,
    /// Area in the square of the spacing's unit.
    pub area: f64,
    /// Height and width of its bounding box in the spacing's unit.
    pub extent: [f64; 2],
    /// Centre of mass, row and column, in pixels.
    pub centre: [f64; 2],
    /// Whether it reaches the edge of the image.
    pub at_edge: bool,
    /// Its first pixel in reading order.
    pub first: usize,
}

impl Structure {
    /// Diameter of the disc of equal area.
    #[must_use]
    pub fn diameter(&self) -> f64 {
        (4.0 * self.area / std::f64::consts::PI).sqrt()
    }

    /// The longer side of its bounding box.
    #[must_use]
    pub fn length(&self) -> f64 {
        self.extent[0].max(self.extent[1])
    }
}

/// The 4-connected structures of `mask` (rows by columns) with at least `smallest` area, the largest first, equal ones in
/// reading order.
#[must_use]
pub fn structures(mask: &[bool], shape: [usize; 2], spacing: [f64; 2], smallest: f64) -> Vec<Structure> {
    let [rows, columns] = shape;
    let mut seen = vec![false; mask.len()];
    let mut found = Vec::new();
    for start in 0..mask.len() {
        if !mask[start] || seen[start] {
            continue;
        }
        let (mut pixels, mut sum) = (0_usize, [0_usize; 2]);
        let (mut low, mut high) = ([usize::MAX; 2], [0; 2]);
        flood(mask, shape, start, &mut seen, |pixel| {
            let at = [pixel / columns, pixel % columns];
            pixels += 1;
            for a in 0..2 {
                sum[a] += at[a];
                low[a] = low[a].min(at[a]);
                high[a] = high[a].max(at[a]);
            }
        });
        let area = pixels as f64 * spacing[0] * spacing[1];
        if area >= smallest {
            found.push(Structure {
                pixels,
                area,
                extent: std::array::from_fn(|a| (high[a] - low[a] + 1) as f64 * spacing[a]),
                centre: std::array::from_fn(|a| sum[a] as f64 / pixels as f64),
                at_edge: low.contains(&0) || high[0] + 1 == rows || high[1] + 1 == columns,
                first: start,
            });
        }
    }
    // stable: equal areas keep their reading order
    found.sort_by(|a, b| b.area.total_cmp(&a.area));
    found
}

/// The pixels of a structure of `mask`.
#[must_use]
pub fn members(mask: &[bool], shape: [usize; 2], structure: &Structure) -> Vec<usize> {
    let mut pixels = Vec::with_capacity(structure.pixels);
    flood(mask, shape, structure.first, &mut vec![false; mask.len()], |pixel| pixels.push(pixel));
    pixels
}

/// Visits the pixels of `mask` that hang together with `start`, and marks them as seen.
fn flood(
    mask: &[bool],
    [rows, columns]: [usize; 2],
    start: usize,
    seen: &mut [bool],
    mut visit: impl FnMut(usize),
) {
    let mut queue = VecDeque::from([start]);
    seen[start] = true;
    while let Some(pixel) = queue.pop_front() {
        visit(pixel);
        let at = [pixel / columns, pixel % columns];
        let neighbours = [
            (at[0] > 0).then(|| pixel - columns),
            (at[0] + 1 < rows).then(|| pixel + columns),
            (at[1] > 0).then(|| pixel - 1),
            (at[1] + 1 < columns).then(|| pixel + 1),
        ];
        for next in neighbours.into_iter().flatten() {
            if mask[next] && !seen[next] {
                seen[next] = true;
                queue.push_back(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> (Vec<bool>, [usize; 2]) {
        let rows: Vec<_> = text.split_whitespace().collect();
        (rows.concat().chars().map(|c| c == '#').collect(), [rows.len(), rows[0].len()])
    }

    #[test]
    fn sizes_are_in_units_of_the_spacing() {
        let (mask, shape) = mask("....#. .##... .##..# ......");
        let found = structures(&mask, shape, [2.0, 0.5], 0.0);
        assert_eq!(found.iter().map(|s| s.pixels).collect::<Vec<_>>(), [4, 1, 1]);
        assert_eq!((found[0].area, found[0].extent, found[0].centre), (4.0, [4.0, 1.0], [1.5, 1.5]));
        assert_eq!(found.iter().map(|s| s.at_edge).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(structures(&mask, shape, [2.0, 0.5], 1.5).len(), 1);
    }

    #[test]
    fn a_structure_has_its_own_pixels_only() {
        let (mask, shape) = mask("##.# ...# #..#");
        let found = structures(&mask, shape, [1.0; 2], 0.0);
        assert_eq!(found.iter().map(|s| s.first).collect::<Vec<_>>(), [3, 0, 8]);
        assert_eq!(
            found.iter().map(|s| members(&mask, shape, s)).collect::<Vec<_>>(),
            [vec![3, 7, 11], vec![0, 1], vec![8]]
        );
    }

    #[test]
    fn diagonal_neighbours_are_apart() {
        let (mask, shape) = mask("#. .#");
        assert_eq!(structures(&mask, shape, [1.0; 2], 0.0).len(), 2);
        assert!(structures(&[], [0, 0], [1.0; 2], 0.0).is_empty());
    }
}
