//! Number types of stored voxels.

use serde::{Deserialize, Serialize};

/// Number type of the stored voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datatype {
    /// 8-bit unsigned.
    U8,
    /// 8-bit signed.
    I8,
    /// 16-bit unsigned.
    U16,
    /// 16-bit signed.
    I16,
    /// 32-bit unsigned.
    U32,
    /// 32-bit signed.
    I32,
    /// 64-bit unsigned.
    U64,
    /// 64-bit signed.
    I64,
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
}

impl Datatype {
    /// By NIfTI's code, or the name of a type that holds no plain number.
    pub(crate) fn from_code(code: i16) -> Result<Self, &'static str> {
        Ok(match code {
            2 => Self::U8,
            4 => Self::I16,
            8 => Self::I32,
            16 => Self::F32,
            64 => Self::F64,
            256 => Self::I8,
            512 => Self::U16,
            768 => Self::U32,
            1024 => Self::I64,
            1280 => Self::U64,
            1 => return Err("binary (1 bit)"),
            32 => return Err("complex64"),
            128 => return Err("RGB24"),
            1536 => return Err("float128"),
            1792 => return Err("complex128"),
            2048 => return Err("complex256"),
            2304 => return Err("RGBA32"),
            _ => return Err("unknown"),
        })
    }

    /// NIfTI's code.
    pub fn code(self) -> i16 {
        match self {
            Self::U8 => 2,
            Self::I16 => 4,
            Self::I32 => 8,
            Self::F32 => 16,
            Self::F64 => 64,
            Self::I8 => 256,
            Self::U16 => 512,
            Self::U32 => 768,
            Self::I64 => 1024,
            Self::U64 => 1280,
        }
    }

    /// Bytes per voxel.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// The arms of [`Datatype`] with `$number` standing for the Rust type in `$body`.
macro_rules! with_type {
    ($datatype:expr, $number:ident => $body:expr, float $number_2:ident => $float:expr) => {
        match $datatype {
            Datatype::U8 => with_type!(@ u8, $number => $body),
            Datatype::I8 => with_type!(@ i8, $number => $body),
            Datatype::U16 => with_type!(@ u16, $number => $body),
            Datatype::I16 => with_type!(@ i16, $number => $body),
            Datatype::U32 => with_type!(@ u32, $number => $body),
            Datatype::I32 => with_type!(@ i32, $number => $body),
            Datatype::U64 => with_type!(@ u64, $number => $body),
            Datatype::I64 => with_type!(@ i64, $number => $body),
            Datatype::F32 => with_type!(@ f32, $number_2 => $float),
            Datatype::F64 => with_type!(@ f64, $number_2 => $float),
        }
    };
    (@ $concrete:ty, $number:ident => $body:expr) => {{
        type $number = $concrete;
        $body
    }};
}

/// The numbers of `$bytes`, a multiple of the type's size, in the file's byte order.
macro_rules! numbers {
    ($number:ty, $bytes:expr, $big_endian:expr) => {{
        let big_endian = $big_endian;
        let (numbers, _) = $bytes.as_chunks::<{ size_of::<$number>() }>();
        numbers.iter().map(move |bytes| {
            if big_endian { <$number>::from_be_bytes(*bytes) } else { <$number>::from_le_bytes(*bytes) }
        })
    }};
}

pub(super) use {numbers, with_type};
