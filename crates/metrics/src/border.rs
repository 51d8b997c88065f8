//! CREMI's border mask: voxels near a border between neurons are not evaluated.

use crate::Result;
use crate::mask::expect_volume;
use label_maps::distance_at;
use rayon::prelude::*;

/// Pixels of one section at most `width` pixels from a border pixel: one that differs from a neighbour above, below, left or
/// right.
///
/// # Shapes and units
/// `ids`: y, x of `shape_yx`; `width` is in pixels, as in CREMI's evaluation, which divides nanometres by the resolution
/// along y.
///
/// # Errors
/// A slice that does not fill the shape.
pub fn border_mask(ids: &[u64], shape_yx: [usize; 2], width: f64) -> Result<Vec<bool>> {
    let [ny, nx] = shape_yx;
    let shape = [1, ny, nx];
    expect_volume("the section", ids.len(), shape)?;
    let differs = |i: usize, j: usize| ids[i] != ids[j];
    let is_border = |i: usize| {
        let (y, x) = (i / nx, i % nx);
        (y > 0 && differs(i, i - nx))
            || (y + 1 < ny && differs(i, i + nx))
            || (x > 0 && differs(i, i - 1))
            || (x + 1 < nx && differs(i, i + 1))
    };
    let border: Vec<bool> = (0..ids.len()).map(is_border).collect();
    let distances = distance_at(shape, [1.0; 3], |i| border[i], |_| true)?;
    Ok(distances.into_iter().map(|d| d <= width).collect())
}

/// [`border_mask`] of each section of a slab.
///
/// # Shapes and units
/// `ids`: z, y, x of `shape_zyx`; `width` in pixels.
///
/// # Errors
/// A slice that does not fill the shape.
pub fn border_masks(ids: &[u64], shape_zyx: [usize; 3], width: f64) -> Result<Vec<bool>> {
    expect_volume("the slab", ids.len(), shape_zyx)?;
    let [_, ny, nx] = shape_zyx;
    let sections = ids.par_chunks((ny * nx).max(1));
    Ok(sections.map(|section| border_mask(section, [ny, nx], width)).collect::<Result<Vec<_>>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let row = |width| border_mask(&[5, 5, 5, 5, 6, 6, 6], [1, 7], width).unwrap();
        assert_eq!(row(0.0), [false, false, false, true, true, false, false]);
        assert_eq!(row(1.5), [false, false, true, true, true, true, false]);
        assert_eq!(border_mask(&[3; 6], [2, 3], 100.0).unwrap(), [false; 6]);
        // sections do not see each other
        assert_eq!(border_masks(&[1, 1, 2, 2], [2, 1, 2], 5.0).unwrap(), [false; 4]);
        // diagonal pixels are sqrt(2) away
        let ids = [1, 1, 1, 1, 1, 1, 1, 1, 2];
        let mask = border_mask(&ids, [3, 3], 1.0).unwrap();
        assert_eq!(mask, [false, false, true, false, true, true, true, true, true]);
    }
}
