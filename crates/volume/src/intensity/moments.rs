//! Mean and deviation from pieces: one pass over a volume, merged in the order of the pieces.

use rayon::prelude::*;

/// Count, mean and sum of squared deviations of the values of a piece that are not 0, and how many are.
///
/// Zeros are apart because a rule may leave them out, and because a crop changes their number only.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Moments {
    /// Values other than 0.
    pub(crate) used: u64,
    /// Zeros.
    pub(crate) zeros: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of one piece, in two passes in f64.
    pub(crate) fn of(values: &[f32]) -> Self {
        let used = values.iter().map(|v| u32::from(*v != 0.0)).fold(0, |sum, one| sum + u64::from(one));
        let zeros = values.len() as u64 - used;
        if used == 0 {
            return Self { used, zeros, ..Self::default() };
        }
        let mean = lanes(values, f64::from) / used as f64;
        let deviation = |v: f32| if v == 0.0 { 0.0 } else { f64::from(v) - mean };
        let squares = lanes(values, |v| deviation(v) * deviation(v));
        Self { used, zeros, mean, squares }
    }

    /// Those of many values, cut into pieces of fixed length.
    pub(super) fn of_all(values: &[f32]) -> Self {
        const PIECE: usize = 1 << 16;
        let pieces: Vec<Self> = values.par_chunks(PIECE).map(Self::of).collect();
        pieces.into_iter().fold(Self::default(), Self::merged)
    }

    /// Both pieces together (Chan, Golub, LeVeque 1983, Am. Stat. 37:242).
    #[must_use]
    pub(crate) fn merged(self, other: Self) -> Self {
        let zeros = self.zeros + other.zeros;
        if self.used == 0 || other.used == 0 {
            let kept = if self.used == 0 { other } else { self };
            return Self { zeros, ..kept };
        }
        let used = self.used + other.used;
        let share = other.used as f64 / used as f64;
        let delta = other.mean - self.mean;
        Self {
            used,
            zeros,
            mean: self.mean + delta * share,
            squares: self.squares + other.squares + delta * delta * self.used as f64 * share,
        }
    }

    /// The same with another number of zeros.
    pub(crate) fn having_zeros(&self, zeros: u64) -> Self {
        Self { zeros, ..*self }
    }

    /// Mean and population standard deviation, zeros left out.
    pub(crate) fn without_zeros(&self) -> (f64, f64) {
        (self.mean, (self.squares / self.used.max(1) as f64).sqrt())
    }

    /// Mean and population standard deviation of all values.
    pub(crate) fn with_zeros(&self) -> (f64, f64) {
        let as_values = Self { used: self.zeros, zeros: 0, mean: 0.0, squares: 0.0 };
        Self { zeros: 0, ..*self }.merged(as_values).without_zeros()
    }
}

/// Σ f(value) in f64, in eight sums that are added in a fixed order.
fn lanes(values: &[f32], f: impl Fn(f32) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0_f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += f(*value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_merge_to_the_whole(
            values in prop::collection::vec(prop_oneof![Just(0.0_f32), -900.0_f32..4000.0], 1..300),
            cuts in prop::collection::vec(0..300_usize, 0..4),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c % values.len()).collect();
            cuts.extend([0, values.len()]);
            cuts.sort_unstable();
            let merged = cuts
                .windows(2)
                .map(|w| Moments::of(&values[w[0]..w[1]]))
                .fold(Moments::default(), Moments::merged);
            let check = |values: Vec<f64>, (mean, std): (f64, f64)| {
                let n = values.len().max(1) as f64;
                let expected = values.iter().sum::<f64>() / n;
                let squares = values.iter().map(|v| (v - expected).powi(2)).sum::<f64>();
                (mean - expected).abs() < 1e-9 && (std - (squares / n).sqrt()).abs() < 1e-9
            };
            let all: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
            prop_assert!(check(all.iter().copied().filter(|v| *v != 0.0).collect(), merged.without_zeros()));
            prop_assert!(check(all, merged.with_zeros()));
            prop_assert_eq!(merged.used + merged.zeros, values.len() as u64);
        }
    }

    #[test]
    fn equal_values_do_not_deviate() {
        for value in [3.3_f32, -1024.0, 1e-20] {
            let moments = Moments::of_all(&vec![value; 200_001]);
            assert_eq!(moments.with_zeros(), (f64::from(value), 0.0));
        }
    }
}
