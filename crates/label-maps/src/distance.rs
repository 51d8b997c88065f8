//! Exact anisotropic Euclidean distance transform.
//!
//! Separable lower envelopes of parabolas: P. F. Felzenszwalb and D. P. Huttenlocher, "Distance Transforms of Sampled
//! Functions", Theory of Computing 8 (2012) 415–428, in double precision, linear in the number of voxels. The cost does
//! not depend on the content, so callers cut the volume to the bounding box of what they compare.

use crate::{LabelMapError, Result, expect_volume};
use rayon::prelude::*;

/// Lines that one task gathers together, so that a strided read uses whole cache lines.
const BLOCK: usize = 16;

/// Squared distance from every grid point to the nearest point that is `true`.
///
/// # Shapes and units
/// `features`: z, y, x of `shape_zyx`; the result likewise, in the square of the unit of `spacing_zyx`. Infinite everywhere
/// when nothing is `true`. The distances along the axes are added in the order z, y, x, as SciPy's
/// `distance_transform_edt` does.
///
/// # Errors
/// A slice that does not fill the shape, or a spacing that is not positive and finite.
pub fn squared_distance_to_nearest(
    features: &[bool],
    shape_zyx: [usize; 3],
    spacing_zyx: [f64; 3],
) -> Result<Vec<f64>> {
    expect_volume(features.len(), shape_zyx)?;
    if !spacing_zyx.iter().all(|s| s.is_finite() && *s > 0.0) {
        return Err(LabelMapError::Spacing { found: spacing_zyx });
    }
    let [z, y, x] = shape_zyx;
    let on_z = |i: usize| if features[i] { 0.0 } else { f64::INFINITY };
    // each pass works along the first axis and moves it to the end, so that three passes restore the order z, y, x
    let along_z = pass(on_z, [z, y, x], spacing_zyx[0]);
    let along_y = pass(|i| along_z[i], [y, x, z], spacing_zyx[1]);
    drop(along_z);
    Ok(pass(|i| along_y[i], [x, z, y], spacing_zyx[2]))
}

/// Distance from every grid point to the nearest point that is `true`; see [`squared_distance_to_nearest`].
///
/// # Errors
/// As [`squared_distance_to_nearest`].
pub fn distance_to_nearest(
    features: &[bool],
    shape_zyx: [usize; 3],
    spacing_zyx: [f64; 3],
) -> Result<Vec<f64>> {
    let mut distances = squared_distance_to_nearest(features, shape_zyx, spacing_zyx)?;
    distances.par_iter_mut().for_each(|d| *d = d.sqrt());
    Ok(distances)
}

/// Transforms all lines along the first axis of `[n, b, c]`; the result has the layout `[b, c, n]`.
fn pass(value: impl Fn(usize) -> f64 + Sync, [n, b, c]: [usize; 3], spacing: f64) -> Vec<f64> {
    let lines = b * c;
    let mut out = vec![0.0; n * lines];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(n * BLOCK).enumerate().for_each_init(
        || Envelope::new(n),
        |envelope, (block, out)| {
            let first = block * BLOCK;
            let count = out.len() / n;
            for i in 0..n {
                for j in 0..count {
                    out[j * n + i] = value(i * lines + first + j);
                }
            }
            for line in out.chunks_mut(n) {
                envelope.transform(line, spacing);
            }
        },
    );
    out
}

/// Working memory of one line: the parabolas of the lower envelope and where each begins to be the lowest.
struct Envelope {
    heights: Vec<f64>,
    vertices: Vec<usize>,
    starts: Vec<f64>,
}

impl Envelope {
    fn new(n: usize) -> Self {
        Self { heights: vec![0.0; n], vertices: Vec::with_capacity(n), starts: Vec::with_capacity(n) }
    }

    /// Where the parabola of `right` comes to lie below that of `left`, in grid steps.
    fn crossing(&self, left: usize, right: usize, spacing: f64) -> f64 {
        let rise = (self.heights[right] - self.heights[left]) / (spacing * spacing * (right - left) as f64);
        (rise + (right + left) as f64) / 2.0
    }

    fn height_at(&self, k: usize, p: usize, spacing: f64) -> f64 {
        let vertex = self.vertices[k];
        let along = vertex.abs_diff(p) as f64 * spacing;
        self.heights[vertex] + along * along
    }

    /// Replaces `line[p]` by the minimum over q of `line[q] + (spacing * (p - q))²`.
    fn transform(&mut self, line: &mut [f64], spacing: f64) {
        self.heights.copy_from_slice(line);
        self.vertices.clear();
        self.starts.clear();
        for q in 0..line.len() {
            if self.heights[q].is_infinite() {
                continue;
            }
            let mut start = f64::NEG_INFINITY;
            while let (Some(&top), Some(&top_start)) = (self.vertices.last(), self.starts.last()) {
                start = self.crossing(top, q, spacing);
                if start > top_start {
                    break;
                }
                self.vertices.pop();
                self.starts.pop();
                start = f64::NEG_INFINITY;
            }
            self.vertices.push(q);
            self.starts.push(start);
        }
        if self.vertices.is_empty() {
            return;
        }
        let mut k = 0;
        for (p, out) in line.iter_mut().enumerate() {
            while self.starts.get(k + 1).is_some_and(|start| *start < p as f64) {
                k += 1;
            }
            // A crossing rounded to the wrong side of a grid point would cost the last digits of the minimum, which decide
            // whether a distance is within a tolerance: the neighbours in the envelope are asked too.
            let mut lowest = self.height_at(k, p, spacing);
            if k > 0 {
                lowest = lowest.min(self.height_at(k - 1, p, spacing));
            }
            if k + 1 < self.vertices.len() {
                lowest = lowest.min(self.height_at(k + 1, p, spacing));
            }
            *out = lowest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn brute(features: &[bool], [nz, ny, nx]: [usize; 3], spacing: [f64; 3]) -> Vec<f64> {
        let place = |i: usize| [i / (ny * nx), i / nx % ny, i % nx];
        (0..nz * ny * nx)
            .map(|i| {
                (0..features.len())
                    .filter(|j| features[*j])
                    .map(|j| {
                        (0..3)
                            .map(|a| ((place(i)[a] as f64 - place(j)[a] as f64) * spacing[a]).powi(2))
                            .sum::<f64>()
                    })
                    .fold(f64::INFINITY, f64::min)
            })
            .collect()
    }

    fn volumes() -> impl Strategy<Value = (Vec<bool>, [usize; 3], [f64; 3])> {
        (1_usize..7, 1_usize..8, 1_usize..40, 1_u32..60).prop_flat_map(|(z, y, x, rarity)| {
            (
                prop::collection::vec(prop::bool::weighted(1.0 / f64::from(rarity)), z * y * x),
                Just([z, y, x]),
                [0.1_f64..20.0, 0.1_f64..20.0, 0.1_f64..20.0],
            )
        })
    }

    proptest! {
        #[test]
        fn equals_brute_force((features, shape, spacing) in volumes()) {
            let found = squared_distance_to_nearest(&features, shape, spacing).unwrap();
            for (a, b) in found.iter().zip(brute(&features, shape, spacing)) {
                prop_assert!(*a == b || (a - b).abs() <= 1e-12 * b, "{a} instead of {b}");
            }
        }
    }

    #[test]
    fn whole_steps_have_exact_lengths() {
        let mut features = vec![false; 50];
        features[0] = true;
        let distances = distance_to_nearest(&features, [1, 1, 50], [1.0, 1.0, 0.7]).unwrap();
        for (i, d) in distances.iter().enumerate() {
            assert_eq!(*d, i as f64 * 0.7);
        }
    }

    #[test]
    fn nothing_to_reach_is_infinitely_far_and_an_empty_volume_is_empty() {
        assert_eq!(distance_to_nearest(&[false; 8], [2; 3], [1.0; 3]).unwrap(), [f64::INFINITY; 8]);
        assert!(distance_to_nearest(&[], [0, 3, 4], [1.0; 3]).unwrap().is_empty());
    }

    #[test]
    fn wrong_arguments_are_named() {
        let error = distance_to_nearest(&[true; 7], [2; 3], [1.0; 3]).unwrap_err();
        assert_eq!(error.to_string(), "a volume of shape [2, 2, 2] (z, y, x) was given 7 voxels");
        let error = distance_to_nearest(&[true; 8], [2; 3], [1.0, 0.0, 1.0]).unwrap_err();
        assert!(error.to_string().contains("[1.0, 0.0, 1.0]"), "{error}");
    }
}
