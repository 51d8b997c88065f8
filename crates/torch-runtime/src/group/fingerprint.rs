//! What processes compare before they trust one another with collectives.

use super::error::{GroupError, Ranks};
use std::fmt;
use tch::{Kind, Tensor};

/// Counts, types and shapes of tensors and a digest of texts, in a fixed number of bytes.
///
/// Collectives on tensors of different size end the process without a word, so processes compare fingerprints first.
/// The digests find mistakes, not forgeries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    tensors: u64,
    elements: u64,
    /// One bit for each of `KINDS`.
    kinds: u64,
    /// Digest of the types and shapes in their order.
    layout: u64,
    /// Digest of the texts that were added.
    content: u64,
}

/// Bytes of a fingerprint.
pub(super) const BYTES: usize = 40;

const KINDS: [(Kind, &str); 12] = [
    (Kind::Float, "float32"),
    (Kind::Double, "float64"),
    (Kind::Half, "float16"),
    (Kind::BFloat16, "bfloat16"),
    (Kind::Int64, "int64"),
    (Kind::Int, "int32"),
    (Kind::Int16, "int16"),
    (Kind::Int8, "int8"),
    (Kind::Uint8, "uint8"),
    (Kind::Bool, "bool"),
    (Kind::ComplexFloat, "complex64"),
    (Kind::ComplexDouble, "complex128"),
];

/// FNV-1a, continued from `digest`.
fn mix(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

impl Fingerprint {
    /// Counts, types and shapes of `tensors`, whose order counts; not their values.
    #[must_use]
    pub fn of(tensors: &[Tensor]) -> Self {
        let mut all = Self { tensors: 0, elements: 0, kinds: 0, layout: START, content: START };
        for tensor in tensors {
            let kind = KINDS.iter().position(|(kind, _)| *kind == tensor.kind()).unwrap_or(KINDS.len());
            all.tensors += 1;
            all.elements += tensor.numel() as u64;
            all.kinds |= 1 << kind;
            all.layout = mix(all.layout, &(kind as u64).to_le_bytes());
            for length in tensor.size() {
                all.layout = mix(all.layout, &length.to_le_bytes());
            }
            all.layout = mix(all.layout, &u64::MAX.to_le_bytes());
        }
        all
    }

    /// With a text that has to be the same: a plan's digest, the names of parameters.
    #[must_use]
    pub fn and_text(mut self, text: &str) -> Self {
        self.content = mix(mix(self.content, text.as_bytes()), &[0xff]);
        self
    }

    pub(super) fn of_text(text: &str) -> u64 {
        Self::of(&[]).and_text(text).content
    }

    pub(super) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let words = [self.tensors, self.elements, self.kinds, self.layout, self.content];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let word = |index: usize| {
            let part: [u8; 8] = std::array::from_fn(|byte| bytes[index * 8 + byte]);
            u64::from_le_bytes(part)
        };
        Self { tensors: word(0), elements: word(1), kinds: word(2), layout: word(3), content: word(4) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensor(s) of {} elements", self.tensors, self.elements)?;
        let known = KINDS.iter().enumerate().filter(|(index, _)| self.kinds & (1 << index) != 0);
        let names: Vec<&str> = known.map(|(_, (_, name))| *name).collect();
        if !names.is_empty() {
            write!(f, " ({})", names.join(", "))?;
        }
        Ok(())
    }
}

/// An error when the fingerprints, one per rank in order, are not all alike.
pub(super) fn compare(
    rank: usize,
    label: &str,
    fix: &'static str,
    all: &[Fingerprint],
) -> Result<(), GroupError> {
    let Some(first) = all.first() else { return Ok(()) };
    let others: Vec<usize> = (0..all.len()).filter(|other| all[*other] != *first).collect();
    let Some(one) = others.first().map(|other| all[*other]) else { return Ok(()) };
    let differences =
        if (one.tensors, one.elements, one.kinds) != (first.tensors, first.elements, first.kinds) {
            format!("{} {one}, rank 0 has {first}", HasOrHave(&others))
        } else if one.layout != first.layout {
            format!("{} other shapes, or another order of them, than rank 0 for {one}", HasOrHave(&others))
        } else {
            format!("{} digest {:016x}, rank 0 has {:016x}", HasOrHave(&others), one.content, first.content)
        };
    Err(GroupError::Differ { rank, size: all.len(), label: label.to_owned(), differences, fix })
}

/// `rank 1 has`, `ranks 1, 2 have`.
struct HasOrHave<'a>(&'a [usize]);

impl fmt::Display for HasOrHave<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Ranks(self.0), if self.0.len() == 1 { "has" } else { "have" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn zeros(shape: &[i64], kind: Kind) -> Tensor {
        Tensor::zeros(shape, (kind, Device::Cpu))
    }

    #[test]
    fn counts_types_shapes_and_texts_count() {
        let base = || vec![zeros(&[2, 3], Kind::Float), zeros(&[4], Kind::Int64)];
        let reference = Fingerprint::of(&base());
        assert_eq!(Fingerprint::of(&base()), reference);
        assert_eq!(Fingerprint::from_bytes(&reference.to_bytes()), reference);
        assert_ne!(Fingerprint::of(&[zeros(&[3, 2], Kind::Float), zeros(&[4], Kind::Int64)]), reference);
        assert_ne!(Fingerprint::of(&[zeros(&[2, 3], Kind::Half), zeros(&[4], Kind::Int64)]), reference);
        assert_ne!(Fingerprint::of(&[zeros(&[4], Kind::Int64), zeros(&[2, 3], Kind::Float)]), reference);
        assert_ne!(reference.and_text("plan 1"), reference.and_text("plan 2"));
    }

    #[test]
    fn the_ranks_that_differ_are_named_with_what_they_hold() {
        let two = Fingerprint::of(&[zeros(&[2], Kind::Float)]);
        let three = Fingerprint::of(&[zeros(&[3], Kind::Float)]);
        assert!(compare(0, "weights", "", &[two, two]).is_ok());
        let text = compare(0, "weights", "Fix it", &[two, two, three]).unwrap_err().to_string();
        assert!(
            text.contains("rank 0 of 3: weights differ between processes: rank 2 has 1 tensor(s) of 3"),
            "{text}"
        );
        assert!(text.contains("rank 0 has 1 tensor(s) of 2 elements (float32)"), "{text}");
        let text = compare(1, "weights", "", &[two.and_text("a"), two, two]).unwrap_err().to_string();
        assert!(text.contains("ranks 1, 2 have digest "), "{text}");
    }
}
