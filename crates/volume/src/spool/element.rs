//! Number types that a temporary volume can hold.

mod sealed {
    /// Keeps [`super::Element`] to the types of this file.
    pub trait Sealed {}
}

/// A number of a temporary volume, little-endian on disk.
pub trait Element: Copy + Default + Send + Sync + 'static + sealed::Sealed {
    /// Bytes of one.
    const BYTES: usize;

    /// Replaces `bytes` by those of `values`.
    fn encode(values: &[Self], bytes: &mut Vec<u8>);

    /// Replaces `values` by those that `bytes` hold.
    fn decode(bytes: &[u8], values: &mut Vec<Self>);
}

macro_rules! element {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}

        impl Element for $type {
            const BYTES: usize = size_of::<Self>();

            fn encode(values: &[Self], bytes: &mut Vec<u8>) {
                bytes.resize(values.len() * Self::BYTES, 0);
                let (chunks, _) = bytes.as_chunks_mut::<{ size_of::<Self>() }>();
                for (chunk, value) in chunks.iter_mut().zip(values) {
                    *chunk = value.to_le_bytes();
                }
            }

            fn decode(bytes: &[u8], values: &mut Vec<Self>) {
                let (chunks, _) = bytes.as_chunks::<{ size_of::<Self>() }>();
                values.clear();
                values.extend(chunks.iter().map(|chunk| Self::from_le_bytes(*chunk)));
            }
        }
    )*};
}

element!(u8, i16, u16, u32, u64, f32);
