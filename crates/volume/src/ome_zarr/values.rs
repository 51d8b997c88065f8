//! Number types of arrays.

use half::f16;
use tiff::decoder::DecodingResult;
use zarrs::array::{Array, ArraySubset, CodecOptions, DataType, ElementOwned, data_type};
use zarrs::filesystem::FilesystemStore;

/// What arrays hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    F32,
    F64,
}

impl Numbers {
    /// NumPy's name, the type and its bytes.
    const ALL: [(Self, &str, usize); 12] = [
        (Self::Bool, "bool", 1),
        (Self::U8, "uint8", 1),
        (Self::U16, "uint16", 2),
        (Self::U32, "uint32", 4),
        (Self::U64, "uint64", 8),
        (Self::I8, "int8", 1),
        (Self::I16, "int16", 2),
        (Self::I32, "int32", 4),
        (Self::I64, "int64", 8),
        (Self::F16, "float16", 2),
        (Self::F32, "float32", 4),
        (Self::F64, "float64", 8),
    ];

    pub(super) fn of(kind: &DataType) -> Option<Self> {
        Self::ALL.into_iter().map(|(numbers, ..)| numbers).find(|numbers| numbers.data_type() == *kind)
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Bool => data_type::bool(),
            Self::U8 => data_type::uint8(),
            Self::U16 => data_type::uint16(),
            Self::U32 => data_type::uint32(),
            Self::U64 => data_type::uint64(),
            Self::I8 => data_type::int8(),
            Self::I16 => data_type::int16(),
            Self::I32 => data_type::int32(),
            Self::I64 => data_type::int64(),
            Self::F16 => data_type::float16(),
            Self::F32 => data_type::float32(),
            Self::F64 => data_type::float64(),
        }
    }

    fn row(self) -> (Self, &'static str, usize) {
        Self::ALL[Self::ALL.iter().position(|(numbers, ..)| *numbers == self).unwrap_or_default()]
    }

    /// NumPy's name.
    pub(super) fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes of a number.
    pub(super) fn bytes(self) -> usize {
        self.row().2
    }

    /// Reads a part of an array of these numbers, as those of a stack's slices.
    pub(super) fn read(
        self,
        array: &Array<FilesystemStore>,
        part: &ArraySubset,
        options: &CodecOptions,
    ) -> Result<DecodingResult, zarrs::array::ArrayError> {
        fn of<T: ElementOwned>(
            array: &Array<FilesystemStore>,
            part: &ArraySubset,
            options: &CodecOptions,
        ) -> Result<Vec<T>, zarrs::array::ArrayError> {
            array.retrieve_array_subset_opt(part, options)
        }
        Ok(match self {
            Self::Bool => {
                DecodingResult::U8(of::<bool>(array, part, options)?.into_iter().map(u8::from).collect())
            }
            Self::U8 => DecodingResult::U8(of(array, part, options)?),
            Self::U16 => DecodingResult::U16(of(array, part, options)?),
            Self::U32 => DecodingResult::U32(of(array, part, options)?),
            Self::U64 => DecodingResult::U64(of(array, part, options)?),
            Self::I8 => DecodingResult::I8(of(array, part, options)?),
            Self::I16 => DecodingResult::I16(of(array, part, options)?),
            Self::I32 => DecodingResult::I32(of(array, part, options)?),
            Self::I64 => DecodingResult::I64(of(array, part, options)?),
            Self::F16 => DecodingResult::F16(of::<f16>(array, part, options)?),
            Self::F32 => DecodingResult::F32(of(array, part, options)?),
            Self::F64 => DecodingResult::F64(of(array, part, options)?),
        })
    }
}
