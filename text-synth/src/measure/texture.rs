//! Texture and symmetry of a slice.

use crate::facts::Facts;

/// Bins of the histogram behind the entropy.
const BINS: usize = 64;

/// Means over boxes of `2 * radius + 1` pixels, cut at the edges, through a table of sums; rows by columns.
#[must_use]
pub fn box_mean(values: &[f32], shape: [usize; 2], radius: [usize; 2]) -> Vec<f32> {
    let [rows, columns] = shape;
    let width = columns + 1;
    let mut sums = vec![0_f64; (rows + 1) * width];
    for r in 0..rows {
        let mut line = 0.0;
        for c in 0..columns {
            line += f64::from(values[r * columns + c]);
            sums[(r + 1) * width + c + 1] = sums[r * width + c + 1] + line;
        }
    }
    let mut out = Vec::with_capacity(values.len());
    for r in 0..rows {
        let (r0, r1) = (r.saturating_sub(radius[0]), (r + radius[0] + 1).min(rows));
        for c in 0..columns {
            let (c0, c1) = (c.saturating_sub(radius[1]), (c + radius[1] + 1).min(columns));
            let sum =
                sums[r1 * width + c1] - sums[r0 * width + c1] - sums[r1 * width + c0] + sums[r0 * width + c0];
            out.push((sum / ((r1 - r0) * (c1 - c0)) as f64) as f32);
        }
    }
    out
}

/// Mean and standard deviation; 0 and 0 of nothing.
#[must_use]
pub fn mean_and_deviation(values: impl Iterator<Item = f32> + Clone) -> [f64; 2] {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / n;
    let variance = values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    [mean, variance.sqrt()]
}

/// Shannon entropy in bits of a histogram of 64 equal bins over `range`; values outside count to the outer bins.
#[must_use]
pub fn entropy_bits(values: &[f32], range: [f32; 2]) -> f64 {
    let mut histogram = [0_usize; BINS];
    let width = f64::from(range[1]) - f64::from(range[0]);
    if width <= 0.0 || values.is_empty() {
        return 0.0;
    }
    for value in values {
        let place = (f64::from(*value) - f64::from(range[0])) / width * BINS as f64;
        histogram[(place.max(0.0) as usize).min(BINS - 1)] += 1;
    }
    let n = values.len() as f64;
    let bits = |count: &usize| {
        let p = *count as f64 / n;
        if p > 0.0 { -p * p.log2() } else { 0.0 }
    };
    // -0.0 would print as such
    histogram.iter().map(bits).sum::<f64>() + 0.0
}

/// Mean gradient magnitude, and how much the gradients agree on one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gradients {
    /// Mean magnitude in values per unit of the spacing.
    pub mean: f64,
    /// 0 (all directions alike) … 1 (one direction), from the structure tensor summed over the image (Bigün and Granlund 1987).
    pub coherence: f64,
    /// Direction of the lines, degrees from the row direction, 0 … 180.
    pub lines_degrees: f64,
}

/// Central differences over the interior of the image.
#[must_use]
pub fn gradients(values: &[f32], shape: [usize; 2], spacing: [f64; 2]) -> Gradients {
    let [rows, columns] = shape;
    let (mut magnitude, mut rr, mut cc, mut rc, mut n) = (0.0, 0.0, 0.0, 0.0, 0_usize);
    for r in 1..rows.saturating_sub(1) {
        for c in 1..columns.saturating_sub(1) {
            let i = r * columns + c;
            let gr = f64::from(values[i + columns] - values[i - columns]) / (2.0 * spacing[0]);
            let gc = f64::from(values[i + 1] - values[i - 1]) / (2.0 * spacing[1]);
            magnitude += gr.hypot(gc);
            rr += gr * gr;
            cc += gc * gc;
            rc += gr * gc;
            n += 1;
        }
    }
    let energy = rr + cc;
    let coherence = if energy > 0.0 { ((rr - cc).powi(2) + 4.0 * rc * rc).sqrt() / energy } else { 0.0 };
    // lines run across the gradient
    let gradient = 0.5 * (2.0 * rc).atan2(cc - rr);
    let lines_degrees = (gradient.to_degrees() + 90.0).rem_euclid(180.0);
    Gradients { mean: magnitude / n.max(1) as f64, coherence, lines_degrees }
}

/// States entropy, gradients and their direction under the names that all modalities share.
pub fn state(
    facts: &mut Facts,
    values: &[f32],
    shape: [usize; 2],
    spacing: [f64; 2],
    range: [f32; 2],
    unit: &str,
) {
    let gradients = gradients(values, shape, spacing);
    facts.number("entropy_bits", entropy_bits(values, range));
    facts.number(format!("gradient_{unit}"), gradients.mean);
    facts.number("coherence", gradients.coherence);
    facts.number("lines_degrees", gradients.lines_degrees);
}

/// Pearson correlation of the image with its mirror image across the middle column; none for flat or narrow images.
#[must_use]
pub fn mirror_correlation(values: &[f32], shape: [usize; 2]) -> Option<f64> {
    let [rows, columns] = shape;
    if columns < 4 {
        return None;
    }
    let half = columns / 2;
    let pairs = || {
        (0..rows).flat_map(move |r| {
            (0..half).map(move |c| (values[r * columns + c], values[r * columns + columns - 1 - c]))
        })
    };
    let [left, left_deviation] = mean_and_deviation(pairs().map(|p| p.0));
    let [right, right_deviation] = mean_and_deviation(pairs().map(|p| p.1));
    let spread = left_deviation * right_deviation;
    if spread <= 1e-12 {
        return None;
    }
    let covariance: f64 = pairs().map(|(a, b)| (f64::from(a) - left) * (f64::from(b) - right)).sum();
    Some(covariance / (rows * half) as f64 / spread)
}

/// The threshold that parts values best in two classes (Otsu 1979), from a histogram of 256 bins between the smallest and
/// the largest value; none for flat images.
#[must_use]
pub fn otsu(values: &[f32]) -> Option<f32> {
    const FINE: usize = 256;
    let (low, high) =
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    if high <= low || !high.is_finite() || !low.is_finite() {
        return None;
    }
    let scale = FINE as f32 / (high - low);
    let mut histogram = [0_u64; FINE];
    for value in values {
        histogram[(((value - low) * scale) as usize).min(FINE - 1)] += 1;
    }
    let total = values.len() as f64;
    let moment: f64 = histogram.iter().enumerate().map(|(i, n)| i as f64 * *n as f64).sum();
    let (mut below, mut below_moment, mut best) = (0.0, 0.0, (0.0, 0));
    for (i, n) in histogram.iter().enumerate().take(FINE - 1) {
        below += *n as f64;
        below_moment += i as f64 * *n as f64;
        let above = total - below;
        if below > 0.0 && above > 0.0 {
            let between = below * above * (below_moment / below - (moment - below_moment) / above).powi(2);
            if between > best.0 {
                best = (between, i + 1);
            }
        }
    }
    Some(low + best.1 as f32 / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn box_means_equal_the_plain_sum(
            rows in 1usize..9, columns in 1usize..9, radius in prop::array::uniform2(0usize..4), seed in 0u32..1000,
        ) {
            let values: Vec<f32> = (0..rows * columns).map(|i| ((i as u32 * 37 + seed) % 101) as f32).collect();
            let means = box_mean(&values, [rows, columns], radius);
            for r in 0..rows {
                for c in 0..columns {
                    let near = |i: usize, at: usize, radius: usize| i.abs_diff(at) <= radius;
                    let inside: Vec<f32> = (0..values.len())
                        .filter(|i| near(i / columns, r, radius[0]) && near(i % columns, c, radius[1]))
                        .map(|i| values[i])
                        .collect();
                    let mean = inside.iter().sum::<f32>() / inside.len() as f32;
                    prop_assert!((means[r * columns + c] - mean).abs() < 1e-3);
                }
            }
        }
    }

    #[test]
    fn stripes_have_one_direction() {
        let stripes: Vec<f32> = (0..400).map(|i| ((i / 20) as f32 * 0.7).sin()).collect();
        let found = gradients(&stripes, [20, 20], [1.0; 2]);
        assert!(found.coherence > 0.99, "{found:?}");
        // rows of equal value: the lines run along the rows
        assert!(found.lines_degrees < 1.0 || found.lines_degrees > 179.0, "{found:?}");
    }

    #[test]
    fn entropy_of_two_equal_halves_is_one_bit() {
        assert_eq!(entropy_bits(&[0.0, 0.0, 1.0, 1.0], [0.0, 1.0]), 1.0);
        assert_eq!(entropy_bits(&[0.3; 5], [0.0, 1.0]), 0.0);
    }

    #[test]
    fn mirror_images_correlate() {
        let even = [1.0, 2.0, 2.0, 1.0, 5.0, 0.0, 0.0, 5.0];
        let odd = [1.0, 2.0, -2.0, -1.0];
        assert!((mirror_correlation(&even, [2, 4]).unwrap() - 1.0).abs() < 1e-9);
        assert!(mirror_correlation(&odd, [1, 4]).unwrap() < 0.0);
        assert_eq!(mirror_correlation(&[1.0; 8], [2, 4]), None);
    }

    #[test]
    fn otsu_parts_two_hills() {
        let values: Vec<f32> =
            (0..100).map(|i| if i % 3 == 0 { 10.0 } else { 2.0 } + (i % 5) as f32 * 0.1).collect();
        let threshold = otsu(&values).unwrap();
        assert!(threshold > 2.4 && threshold <= 10.0, "{threshold}");
        assert_eq!(otsu(&[4.0; 3]), None);
    }
}
