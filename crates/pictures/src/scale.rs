//! Where an axis begins and ends, and what is written at it.

/// Ticks that an axis has at most.
const MOST_TICKS: f64 = 6.0;

/// Values count as one below this share of the largest: ticks have up to ten digits.
const SAME: f64 = 1e-9;

/// An axis in steps of 1, 2 or 5 times a power of ten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    pub(crate) low: f64,
    pub(crate) high: f64,
    step: f64,
}

impl Scale {
    /// The axis that just holds some values; none without a finite one.
    pub(crate) fn tight(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        let largest = low.abs().max(high.abs());
        let (low, high) = if high - low > SAME * largest {
            (low, high)
        } else {
            // one value, or several that no tick could tell apart: room around it
            let room = if largest == 0.0 { 1.0 } else { 0.1 * largest };
            (low - room, high + room)
        };
        // the ends may be so far apart that their distance is infinite
        let rough = high / MOST_TICKS - low / MOST_TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough);
        Some(Self { low, high, step: step.unwrap_or(rough) })
    }

    /// As [`Self::tight`], from one tick to another.
    pub(crate) fn rounded(values: impl Iterator<Item = f64>) -> Option<Self> {
        let tight = Self::tight(values)?;
        let (low, high) =
            ((tight.low / tight.step).floor() * tight.step, (tight.high / tight.step).ceil() * tight.step);
        Some(Self { low, high, ..tight })
    }

    /// Where a value lies, 0 at the lower end and 1 at the upper.
    pub(crate) fn share(&self, value: f64) -> f64 {
        (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
    }

    /// Values of the ticks with what is written at them.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        // counted, so that none is written as 0.30000000000000004
        let first = (self.low / self.step - 1e-9).ceil();
        let values = (0..=2 * MOST_TICKS as usize).map(|n| (first + n as f64) * self.step);
        let within = values.take_while(|value| *value <= self.step.mul_add(1e-9, self.high));
        within.map(|value| (value, self.text(value))).collect()
    }

    fn text(&self, value: f64) -> String {
        let largest = self.low.abs().max(self.high.abs());
        let decimals = -self.step.log10().floor();
        if value == 0.0 {
            "0".to_owned()
        } else if !(1e-2..1e6).contains(&largest) {
            let digits = (value.abs().log10().floor() + decimals).clamp(0.0, 9.0) as usize;
            format!("{value:.digits$e}")
        } else {
            format!("{value:.*}", decimals.clamp(0.0, 9.0) as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(scale: Option<Scale>) -> Vec<String> {
        scale.unwrap().ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let of = |values: &[f64]| texts(Scale::rounded(values.iter().copied()));
        assert_eq!(of(&[0.0, 1.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(of(&[3.1, 5.9, f64::NAN]), ["3.0", "3.5", "4.0", "4.5", "5.0", "5.5", "6.0"]);
        assert_eq!(of(&[0.0, 2e-4]), ["0", "5e-5", "1.0e-4", "1.5e-4", "2.0e-4"]);
        assert_eq!(of(&[0.0, 3e6]), ["0", "5e5", "1.0e6", "1.5e6", "2.0e6", "2.5e6", "3.0e6"]);
        assert_eq!(texts(Scale::tight([10.0, 480.0].into_iter())), ["100", "200", "300", "400"]);
        assert_eq!(Scale::tight([f64::NAN].into_iter()), None);
    }

    fn holds(a: f64, b: f64) -> Result<(), TestCaseError> {
        for scale in [Scale::tight([a, b].into_iter()), Scale::rounded([a, b].into_iter())] {
            let scale = scale.unwrap();
            for value in [a, b] {
                let share = scale.share(value);
                prop_assert!((-1e-6..=1.0 + 1e-6).contains(&share), "{share}: {a}, {b}, {scale:?}");
            }
            prop_assert!(scale.ticks().len() <= 2 * MOST_TICKS as usize + 1);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn ticks_lie_on_the_axis(a in -1e300..1e300, b in prop::num::f64::NORMAL) {
            holds(a, b.clamp(-1e300, 1e300))?;
        }

        #[test]
        fn values_that_differ_by_their_last_digits_have_an_axis(a in -1e3..1e3, digits in 0_u64..2000) {
            holds(a, f64::from_bits(a.to_bits() + digits))?;
        }
    }
}
