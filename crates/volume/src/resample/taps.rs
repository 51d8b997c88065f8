//! Tables of neighbours and weights along one axis.

use super::grid::Line;
use std::ops::Range;

/// For each voxel of the result its lower neighbour and the weight of the next one.
///
/// Beyond the first and last voxel the weight is 0; the next voxel of the last one is never used then.
#[derive(Debug, Clone)]
pub(super) struct LinearTaps {
    pub(super) taps: Vec<LinearTap>,
    /// Whether the axis becomes itself.
    pub(super) same: bool,
    source: usize,
}

/// Two neighbours: `low` and the voxel after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinearTap {
    pub(super) low: u32,
    /// Weight of the second.
    pub(super) weight: f32,
}

impl LinearTap {
    pub(super) fn mix(self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.weight
    }
}

impl LinearTaps {
    /// The taps of an axis of `from` voxels that becomes one of `to`; nearest voxel only if `nearest`.
    pub(super) fn new(line: &Line, from: usize, to: usize, nearest: bool) -> Self {
        let last = from - 1;
        let taps = (0..to).map(|i| {
            let at = line.at(i);
            // as SciPy's order 0, where nnU-Net uses it
            let at = if nearest { (at + 0.5).floor() } else { at }.clamp(0.0, last as f64);
            let low = at as usize;
            LinearTap { low: low as u32, weight: (at - low as f64) as f32 }
        });
        Self { taps: taps.collect(), same: line.is_identity(from, to), source: from }
    }

    /// Source voxels that a range of the result needs.
    pub(super) fn span(&self, range: Range<usize>) -> Range<usize> {
        let end = self.taps[range.end - 1].low as usize + 2;
        self.taps[range.start].low as usize..end.min(self.source)
    }

    /// The two neighbours of a voxel of the result, counted from `start`, within `held` voxels.
    pub(super) fn pair(&self, index: usize, start: usize, held: usize) -> (LinearTap, usize, usize) {
        let tap = self.taps[index];
        let low = tap.low as usize - start;
        (tap, low, (low + 1).min(held - 1))
    }
}

/// For each voxel of the result one source voxel.
#[derive(Debug, Clone)]
pub(super) struct NearestTaps(pub(super) Vec<u32>);

impl NearestTaps {
    /// Ties go to the even voxel.
    pub(super) fn new(line: &Line, from: usize, to: usize) -> Self {
        let last = (from - 1) as f64;
        Self((0..to).map(|i| line.at(i).round_ties_even().clamp(0.0, last) as u32).collect())
    }

    pub(super) fn span(&self, range: Range<usize>) -> Range<usize> {
        self.0[range.start] as usize..self.0[range.end - 1] as usize + 1
    }
}

/// Taps of the cardinal cubic spline on either side of a place; what lies further out is below 2·10⁻⁷ in sum.
const HALF: usize = 12;

/// For each voxel of the result the same number of source voxels in a row and their weights, which sum to 1.
///
/// Interpolation of order 3 as in SciPy and scikit-image: the cubic B-spline through the samples of the signal whose
/// border voxels go on for ever. Its weights are those of the cardinal spline: B-spline weights convolved with the
/// inverse of the filter (1/6, 4/6, 1/6), which is √3·(√3 − 2)^|k| (Unser, Aldroubi, Eden 1993, IEEE TSP 41:821).
#[derive(Debug, Clone)]
pub(super) struct SplineTaps {
    pub(super) start: Vec<u32>,
    /// `width` weights per voxel of the result.
    pub(super) weights: Vec<f32>,
    pub(super) width: usize,
    /// Whether the axis becomes itself.
    pub(super) same: bool,
}

impl SplineTaps {
    /// The axis as it is.
    pub(super) fn same(n: usize) -> Self {
        Self { start: (0..n as u32).collect(), weights: vec![1.0; n], width: 1, same: true }
    }

    /// The nearest voxel, ties to the higher one (SciPy's order 0).
    pub(super) fn nearest(line: &Line, from: usize, to: usize) -> Self {
        let start = LinearTaps::new(line, from, to, true).taps.iter().map(|tap| tap.low).collect();
        Self { start, weights: vec![1.0; to], width: 1, same: false }
    }

    /// Cubic interpolation.
    pub(super) fn cubic(line: &Line, from: usize, to: usize) -> Self {
        let width = from.min(2 * HALF);
        let mut this = Self {
            start: Vec::with_capacity(to),
            weights: Vec::with_capacity(to * width),
            width,
            same: false,
        };
        let last = from as i64 - 1;
        let mut merged = vec![0.0_f64; width];
        for index in 0..to {
            let at = line.at(index);
            let floor = at.floor();
            let first = floor as i64 + 1 - HALF as i64;
            let start = first.clamp(0, from as i64 - width as i64);
            merged.fill(0.0);
            for (k, weight) in cardinal(at - floor).into_iter().enumerate() {
                merged[((first + k as i64).clamp(0, last) - start) as usize] += weight;
            }
            let sum: f64 = merged.iter().sum();
            this.start.push(start as u32);
            this.weights.extend(merged.iter().map(|weight| (weight / sum) as f32));
        }
        this
    }

    pub(super) fn span(&self, range: Range<usize>) -> Range<usize> {
        self.start[range.start] as usize..self.start[range.end - 1] as usize + self.width
    }

    pub(super) fn weights(&self, index: usize) -> &[f32] {
        &self.weights[index * self.width..][..self.width]
    }
}

/// Weights of the voxels `floor + 1 − HALF ..= floor + HALF` at `floor + fraction`.
fn cardinal(fraction: f64) -> [f64; 2 * HALF] {
    let rest = 1.0 - fraction;
    // the four B-splines that are not 0 there: of floor − 1, floor, floor + 1 and floor + 2
    let pieces = [
        rest.powi(3) / 6.0,
        2.0 / 3.0 - fraction * fraction * (2.0 - fraction) / 2.0,
        2.0 / 3.0 - rest * rest * (2.0 - rest) / 2.0,
        fraction.powi(3) / 6.0,
    ];
    let pole = 3.0_f64.sqrt() - 2.0;
    std::array::from_fn(|k| {
        let voxel = k as i32 + 1 - HALF as i32;
        let from = |piece: usize| {
            let distance = (piece as i32 - 1 - voxel).abs();
            pieces[piece] * 3.0_f64.sqrt() * pole.powi(distance)
        };
        (0..4).map(from).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cardinal_splines_interpolate() {
        for (k, weight) in cardinal(0.0).into_iter().enumerate() {
            let expected = if k == HALF - 1 { 1.0 } else { 0.0 };
            assert!((weight - expected).abs() < 1e-6, "{k} {weight}");
        }
        for fraction in [0.1, 0.5, 0.8] {
            let weights = cardinal(fraction);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            // cubics are reproduced
            let cube: f64 =
                weights.iter().enumerate().map(|(k, w)| w * (k as f64 + 1.0 - HALF as f64).powi(3)).sum();
            assert!((cube - fraction.powi(3)).abs() < 1e-3, "{cube}");
        }
    }
}
