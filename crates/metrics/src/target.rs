//! What is scored: a class, or a region that several classes make up together.

use crate::{MetricsError, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Label values that are scored as one structure: a class, or a region such as the whole tumour.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    values: Vec<u64>,
}

impl Target {
    /// One class.
    ///
    /// # Errors
    /// The background 0.
    pub fn class(value: u64) -> Result<Self> {
        Self::region(vec![value])
    }

    /// Several values together; their order does not matter.
    ///
    /// # Errors
    /// No value, the background 0, or a value twice.
    pub fn region(mut values: Vec<u64>) -> Result<Self> {
        values.sort_unstable();
        let repeated = values.windows(2).any(|pair| pair[0] == pair[1]);
        if repeated || values.first().is_none_or(|least| *least == 0) {
            return Err(MetricsError::Classes { found: values });
        }
        Ok(Self { values })
    }

    /// The label values, ascending.
    #[must_use]
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// Whether a label value belongs to it.
    #[must_use]
    #[inline]
    pub fn holds(&self, value: u64) -> bool {
        match self.values.as_slice() {
            [one] => *one == value,
            many => many.contains(&value),
        }
    }
}

/// nnU-Net's key in tables: `1` for a class, `(1, 2)` for a region.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.values.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                let words: Vec<String> = many.iter().map(u64::to_string).collect();
                write!(f, "({})", words.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_nnunet() {
        let region = Target::region(vec![2, 1]).unwrap();
        assert_eq!((region.to_string(), region.holds(2), region.holds(3)), ("(1, 2)".into(), true, false));
        assert_eq!(Target::class(4).unwrap().to_string(), "4");
        for wrong in [vec![], vec![0, 1], vec![3, 3]] {
            assert!(Target::region(wrong).is_err());
        }
    }
}
