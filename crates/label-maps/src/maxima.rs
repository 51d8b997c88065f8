//! Regional maxima: connected voxels of one value around which all are lower.

use crate::grid::place;
use crate::{Connectivity, LabelMapError, Result, expect_volume};

/// Marks the voxels of regional maxima. The rim counts for nothing: what lies outside is neither higher nor lower, so a
/// constant volume is one maximum.
///
/// # Shapes
/// `values`: z, y, x of `shape_zyx`; the result likewise. Equal to scikit-image's `morphology.local_maxima` but for
/// constant volumes.
///
/// # Errors
/// A slice that does not fill the shape, or more than 2³² voxels.
pub fn regional_maxima(
    values: &[f64],
    shape_zyx: [usize; 3],
    connectivity: Connectivity,
) -> Result<Vec<bool>> {
    expect_volume(values.len(), shape_zyx)?;
    if u32::try_from(values.len()).is_err() {
        return Err(LabelMapError::TooLarge { what: "voxels", found: values.len() as u64 });
    }
    let [nz, ny, nx] = shape_zyx;
    let around = connectivity.around();
    let neighbours = |i: usize| {
        let [z, y, x] = place(i, shape_zyx);
        around.iter().filter_map(move |[dz, dy, dx]| {
            let z = z.checked_add_signed(*dz).filter(|z| *z < nz)?;
            let y = y.checked_add_signed(*dy).filter(|y| *y < ny)?;
            let x = x.checked_add_signed(*dx).filter(|x| *x < nx)?;
            Some((z * ny + y) * nx + x)
        })
    };
    let mut maximum: Vec<bool> = vec![true; values.len()];
    // voxels below a neighbour, and then all of their plateaus
    let mut low: Vec<u32> = Vec::new();
    for i in 0..values.len() {
        if neighbours(i).any(|j| values[j] > values[i]) {
            maximum[i] = false;
            low.push(i as u32);
        }
    }
    while let Some(i) = low.pop() {
        for j in neighbours(i as usize) {
            if maximum[j] && values[j] == values[i as usize] {
                maximum[j] = false;
                low.push(j as u32);
            }
        }
    }
    Ok(maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plateaus_count_as_a_whole() {
        let values = [1.0, 2.0, 2.0, 3.0, 1.0, 1.0, 2.0, 2.0, 0.0];
        let found = regional_maxima(&values, [1, 1, 9], Connectivity::Faces).unwrap();
        assert_eq!(found, [false, false, false, true, false, false, true, true, false]);
        assert_eq!(regional_maxima(&[f64::INFINITY; 4], [1, 2, 2], Connectivity::Faces).unwrap(), [true; 4]);
        let diagonal = [1.0, 0.0, 0.0, 2.0];
        assert_eq!(
            regional_maxima(&diagonal, [1, 2, 2], Connectivity::Faces).unwrap(),
            [true, false, false, true]
        );
        assert_eq!(
            regional_maxima(&diagonal, [1, 2, 2], Connectivity::Corners).unwrap(),
            [false, false, false, true]
        );
    }
}
