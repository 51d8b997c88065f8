//! Stored numbers as labels, with a list of those that are none.

use super::datatype::{Datatype, numbers, with_type};
use crate::error::ValueTable;
use std::collections::BTreeMap;

mod sealed {
    /// Keeps the set of label types closed.
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// What labels can be read as: `u32` for classes, `u64` for instance ids.
pub trait LabelType:
    sealed::Sealed
    + Copy
    + Default
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
    + TryFrom<u8>
    + TryFrom<i8>
    + TryFrom<u16>
    + TryFrom<i16>
    + TryFrom<u32>
    + TryFrom<i32>
    + TryFrom<u64>
    + TryFrom<i64>
    + TryFrom<i128>
{
    /// Largest label.
    const LARGEST: u64;
}

impl LabelType for u32 {
    const LARGEST: u64 = u32::MAX as u64;
}

impl LabelType for u64 {
    const LARGEST: u64 = u64::MAX;
}

/// How stored numbers become labels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) datatype: Datatype,
    pub(super) big_endian: bool,
    /// Slope and intercept.
    pub(super) scaling: (f64, f64),
}

impl Rule {
    /// Slope and intercept where integers can be scaled without a float.
    fn whole_scaling(self) -> Option<(i128, i128)> {
        let whole = |v: f64| (v.fract() == 0.0 && v.abs() <= F64_EXACT as f64).then_some(v as i128);
        Some((whole(self.scaling.0)?, whole(self.scaling.1)?))
    }

    /// Largest stored value that the float which holds it, or in which it is scaled, tells from its neighbours.
    pub(super) fn exact(self) -> u64 {
        if self.datatype == Datatype::F32 { F32_EXACT } else { F64_EXACT }
    }

    /// Where that float is, for people.
    pub(super) fn through(self) -> String {
        let (slope, inter) = self.scaling;
        match self.datatype {
            Datatype::F32 => "stored as 32-bit floats".to_owned(),
            Datatype::F64 => "stored as 64-bit floats".to_owned(),
            _ => format!("scaled by scl_slope={slope}, scl_inter={inter}"),
        }
    }

    /// Appends the labels of `bytes`, a multiple of the number type's size; those that are none are counted instead.
    ///
    /// Unscaled integers, and integers with whole slope and intercept, never pass through a float.
    pub(super) fn decode<T: LabelType>(self, bytes: &[u8], out: &mut Vec<T>, offenders: &mut Offenders) {
        let whole = self.whole_scaling();
        macro_rules! integers {
            ($number:ty) => {
                match whole {
                    // mostly all are labels, which one pass without branches says
                    Some((1, 0))
                        if numbers!($number, bytes, self.big_endian)
                            .fold(true, |all, stored| all & T::try_from(stored).is_ok()) =>
                    {
                        out.extend(
                            numbers!($number, bytes, self.big_endian)
                                .map(|stored| T::try_from(stored).unwrap_or_default()),
                        );
                    }
                    Some((1, 0)) => {
                        for stored in numbers!($number, bytes, self.big_endian) {
                            match T::try_from(stored) {
                                Ok(label) => out.push(label),
                                Err(_) => offenders.outside.count(stored as f64),
                            }
                        }
                    }
                    Some((slope, inter)) => {
                        for stored in numbers!($number, bytes, self.big_endian) {
                            let value = i128::from(stored) * slope + inter;
                            match T::try_from(value) {
                                Ok(label) => out.push(label),
                                Err(_) => offenders.outside.count(value as f64),
                            }
                        }
                    }
                    None => {
                        for stored in numbers!($number, bytes, self.big_endian) {
                            self.rounded(stored as f64, out, offenders);
                        }
                    }
                }
            };
        }
        macro_rules! floats {
            ($number:ty) => {
                for stored in numbers!($number, bytes, self.big_endian) {
                    self.rounded(f64::from(stored), out, offenders);
                }
            };
        }
        with_type!(self.datatype, Stored => integers!(Stored), float Stored => floats!(Stored));
    }

    /// A label that has been a float: an integer within 0.001 after scaling.
    fn rounded<T: LabelType>(self, stored: f64, out: &mut Vec<T>, offenders: &mut Offenders) {
        let value = stored * self.scaling.0 + self.scaling.1;
        let rounded = value.round();
        // NaN and infinity fail the comparison and so count as no integer.
        if (value - rounded).abs() > 1e-3 || !value.is_finite() {
            offenders.fractions.count(value);
            return;
        }
        match T::try_from(rounded as i128) {
            Err(_) => offenders.outside.count(rounded),
            // Classes never come near these bounds; a wide label beyond them may be its neighbour's.
            Ok(_) if T::LARGEST == u64::MAX && stored.abs().max(rounded) > self.exact() as f64 => {
                offenders.inexact.count(rounded);
            }
            Ok(label) => out.push(label),
        }
    }
}

/// Integers up to this are exact in 64-bit floats.
const F64_EXACT: u64 = 1 << 53;
/// Integers up to this are exact in 32-bit floats.
const F32_EXACT: u64 = 1 << 24;

/// Everything that is no label, by reason.
#[derive(Debug, Default)]
pub(super) struct Offenders {
    pub(super) fractions: Values,
    pub(super) outside: Values,
    pub(super) inexact: Values,
}

impl Offenders {
    /// Whether all stored numbers so far were labels.
    pub(super) fn is_empty(&self) -> bool {
        [&self.fractions, &self.outside, &self.inexact].iter().all(|values| values.counts.is_empty())
    }
}

/// Values that should not be there. An intensity image in place of labels may have millions: only the first distinct
/// ones are kept.
#[derive(Debug, Default)]
pub(super) struct Values {
    counts: BTreeMap<u64, (f64, u64)>,
}

impl Values {
    const MOST: usize = 4096;

    fn count(&mut self, value: f64) {
        let key = value.to_bits();
        if self.counts.len() < Self::MOST || self.counts.contains_key(&key) {
            self.counts.entry(key).or_insert((value, 0)).1 += 1;
        }
    }

    /// Most frequent first.
    pub(super) fn table(self) -> Option<ValueTable> {
        let mut values: Vec<(f64, u64)> = self.counts.into_values().collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.total_cmp(&b.0)));
        (!values.is_empty()).then_some(ValueTable(values))
    }
}
