//! Connected components by two passes with union-find (A. Rosenfeld and J. L. Pfaltz, J. ACM 13 (1966) 471–494).

use crate::disjoint::{join, root};
use crate::{LabelMapError, Result, expect_volume};
use serde::{Deserialize, Serialize};

/// Which voxels are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connectivity {
    /// Voxels that share a face: 6 neighbours.
    Faces,
    /// Voxels that share a face, an edge or a corner: 26 neighbours.
    Corners,
}

impl Connectivity {
    /// All neighbours, as steps along z, y, x in scan order.
    pub(crate) fn around(self) -> Vec<[isize; 3]> {
        let mut steps = self.earlier();
        steps.extend(self.earlier().into_iter().rev().map(|step| step.map(|d| -d)));
        steps
    }

    /// Neighbours that come earlier in scan order, as steps along z, y, x.
    fn earlier(self) -> Vec<[isize; 3]> {
        let mut steps = Vec::with_capacity(13);
        for z in -1..=0 {
            for y in -1..=1 {
                for x in -1..=1 {
                    let step: [isize; 3] = [z, y, x];
                    let taxicab: isize = step.iter().map(|d| d.abs()).sum();
                    if step < [0, 0, 0] && (self == Self::Corners || taxicab == 1) {
                        steps.push(step);
                    }
                }
            }
        }
        steps
    }
}

/// Components of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    /// Axes z, y, x: 0 for the background, otherwise the component's number, counted from 1 in the order of the components'
    /// first voxels.
    pub labels: Vec<u32>,
    /// Voxels of component `i + 1` at position `i`.
    pub sizes: Vec<u64>,
}

impl Components {
    /// Number of the largest component (the first among equals), `None` without any.
    #[must_use]
    pub fn largest(&self) -> Option<u32> {
        let mut best: Option<(u32, u64)> = None;
        for (number, size) in (1_u32..).zip(&self.sizes) {
            if best.is_none_or(|(_, most)| *size > most) {
                best = Some((number, *size));
            }
        }
        best.map(|(number, _)| number)
    }
}

/// Components of neighbouring voxels with equal values; the default value (0, `false`) is the background.
///
/// # Shapes
/// `values`: z, y, x of `shape_zyx`; [`Components::labels`] likewise. On a mask of `bool` this equals SciPy's
/// `ndimage.label`, numbering included.
///
/// # Errors
/// A slice that does not fill the shape, or more components than 32 bits can number.
pub fn label_components<T: Copy + PartialEq + Default>(
    values: &[T],
    shape_zyx: [usize; 3],
    connectivity: Connectivity,
) -> Result<Components> {
    expect_volume(values.len(), shape_zyx)?;
    let [nz, ny, nx] = shape_zyx;
    let background = T::default();
    let earlier = connectivity.earlier();
    let mut labels = vec![0_u32; values.len()];
    // parents[0] stands for the background; a root is always the smallest number of its set
    let mut parents = vec![0_u32];
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                let here = (z * ny + y) * nx + x;
                if values[here] == background {
                    continue;
                }
                let mut own = 0;
                for [dz, dy, dx] in &earlier {
                    let (Some(z), Some(y), Some(x)) =
                        (z.checked_add_signed(*dz), y.checked_add_signed(*dy), x.checked_add_signed(*dx))
                    else {
                        continue;
                    };
                    if y >= ny || x >= nx {
                        continue;
                    }
                    let there = (z * ny + y) * nx + x;
                    if values[there] != values[here] {
                        continue;
                    }
                    let other = root(&mut parents, labels[there]);
                    own = if own == 0 { other } else { join(&mut parents, own, other) };
                }
                if own == 0 {
                    own = u32::try_from(parents.len())
                        .map_err(|_| LabelMapError::TooManyComponents { voxels: values.len() })?;
                    parents.push(own);
                }
                labels[here] = own;
            }
        }
    }
    Ok(renumber(labels, parents))
}

/// Gives consecutive numbers to the roots, in the order of their first voxels.
fn renumber(mut labels: Vec<u32>, mut parents: Vec<u32>) -> Components {
    let mut numbers = vec![0_u32; parents.len()];
    let mut sizes: Vec<u64> = Vec::new();
    for label in &mut labels {
        if *label == 0 {
            continue;
        }
        let root = root(&mut parents, *label) as usize;
        if numbers[root] == 0 {
            sizes.push(0);
            // there are at most as many components as provisional labels, which fit 32 bits
            numbers[root] = sizes.len() as u32;
        }
        *label = numbers[root];
        sizes[*label as usize - 1] += 1;
    }
    Components { labels, sizes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// Flood fill from each voxel in scan order.
    fn flood(values: &[u8], [nz, ny, nx]: [usize; 3], connectivity: Connectivity) -> Components {
        let mut labels = vec![0_u32; values.len()];
        let mut sizes = Vec::new();
        let reach = if connectivity == Connectivity::Faces { 1 } else { 3 };
        for start in 0..values.len() {
            if values[start] == 0 || labels[start] != 0 {
                continue;
            }
            let number = sizes.len() as u32 + 1;
            let mut queue = VecDeque::from([start]);
            labels[start] = number;
            let mut size = 0;
            while let Some(i) = queue.pop_front() {
                size += 1;
                for j in 0..values.len() {
                    let step = [
                        (i / (ny * nx)).abs_diff(j / (ny * nx)),
                        (i / nx % ny).abs_diff(j / nx % ny),
                        (i % nx).abs_diff(j % nx),
                    ];
                    let near = step.iter().all(|d| *d <= 1) && step.iter().sum::<usize>() <= reach;
                    if near && labels[j] == 0 && values[j] == values[i] {
                        labels[j] = number;
                        queue.push_back(j);
                    }
                }
            }
            sizes.push(size);
        }
        assert_eq!(labels.len(), nz * ny * nx);
        Components { labels, sizes }
    }

    fn volumes() -> impl Strategy<Value = (Vec<u8>, [usize; 3])> {
        (1_usize..6, 1_usize..8, 1_usize..9)
            .prop_flat_map(|(z, y, x)| (prop::collection::vec(0_u8..3, z * y * x), Just([z, y, x])))
    }

    proptest! {
        #[test]
        fn equals_flood_fill((values, shape) in volumes()) {
            for connectivity in [Connectivity::Faces, Connectivity::Corners] {
                let found = label_components(&values, shape, connectivity).unwrap();
                prop_assert_eq!(&found, &flood(&values, shape, connectivity));
                let foreground = values.iter().filter(|v| **v != 0).count() as u64;
                prop_assert_eq!(found.sizes.iter().sum::<u64>(), foreground);
            }
        }
    }

    #[test]
    fn diagonal_voxels_join_by_corners_only() {
        let mask = [true, false, false, false, false, false, false, true];
        let faces = label_components(&mask, [2; 3], Connectivity::Faces).unwrap();
        assert_eq!((faces.sizes.as_slice(), faces.largest()), ([1, 1].as_slice(), Some(1)));
        let corners = label_components(&mask, [2; 3], Connectivity::Corners).unwrap();
        assert_eq!(corners.sizes, [2]);
        assert_eq!(label_components(&[false; 8], [2; 3], Connectivity::Faces).unwrap().largest(), None);
    }
}
