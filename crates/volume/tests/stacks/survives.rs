//! What has to hold for stacks of any bytes at all; the fuzz targets and the replay of their findings share it.
//!
//! No panic, no memory beyond what the stated size needs, the same values from slabs as from the whole and from ids as
//! from intensities.

use crate::counting::peak_of;
use std::path::Path;
use volume::stack::Stack;
use volume::{READ_OVERHEAD, Result};

/// Slices of more pixels are opened but not decoded: the decoder could need more memory than a fuzzer allows.
const DECODED_PIXELS: u64 = 1 << 18;
/// A pixel takes 8 bytes decoded at most, its row a copy in the decoder, and 8 bytes as an id.
const BYTES_PER_PIXEL: u64 = 24;
const SPACING: Option<[f64; 3]> = Some([5e-5, 4e-6, 4e-6]);

/// Reads a multi-page TIFF.
pub(crate) fn tiff(bytes: &[u8]) -> Result<Vec<f32>> {
    read(|| Stack::from_tiff_bytes(Path::new("stack.tif"), bytes.to_vec(), SPACING))
}

/// Reads a directory with the one slice `bytes`.
pub(crate) fn png(folder: &Path, bytes: &[u8]) -> Result<Vec<f32>> {
    fs_err::write(folder.join("slice.png"), bytes)?;
    read(|| Stack::open(folder, SPACING))
}

/// Opens within the overhead of a read, then reads slice by slice, as intensities and as ids.
fn read(open: impl FnOnce() -> Result<Stack>) -> Result<Vec<f32>> {
    let (stack, peak) = peak_of(open);
    assert!(peak <= 2 * READ_OVERHEAD, "{peak} bytes to open");
    let stack = stack?;
    let [depth, height, width] = stack.shape_zyx();
    let pixels = height as u64 * width as u64;
    if pixels > DECODED_PIXELS {
        return Ok(Vec::new());
    }
    let limit = pixels * BYTES_PER_PIXEL + READ_OVERHEAD;
    let mut values = Vec::new();
    for z in 0..depth.min(8) {
        let (slice, peak) = peak_of(|| stack.read_slab(z..z + 1));
        assert!(peak <= limit, "{peak} bytes for {pixels} pixels");
        let (ids, peak) = peak_of(|| stack.read_label_slab(z..z + 1));
        assert!(peak <= limit, "{peak} bytes for {pixels} ids");
        if let (Ok(slice), Ok(ids)) = (&slice, &ids) {
            assert!(slice.iter().zip(ids).all(|(value, id)| *value == *id as f32));
        }
        values.extend(slice?);
    }
    if depth <= 8 {
        let again = stack.read_slab(0..depth)?;
        assert!(again.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    Ok(values)
}
