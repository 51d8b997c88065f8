//! Volumes that are read box by box, wherever they lie: in memory, in a temporary file, or behind a rule.

use crate::crop::BoundingBox;
use crate::error::{Result, VolumeError};
use crate::expect_length;
use crate::orientation::Orientation;

/// Channels of voxels that can be read by boxes.
///
/// Reading has no effect on what is read: the same box always holds the same voxels, whichever thread asks.
pub trait Voxels<T>: Sync {
    /// Number of channels; 1 for labels.
    fn channels(&self) -> usize;

    /// Shape of a channel, z, y, x.
    fn shape_zyx(&self) -> [usize; 3];

    /// The voxels of a box of one channel, z, y, x in C order.
    ///
    /// # Errors
    /// A channel or box that does not exist; input and output.
    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<T>>;
}

/// Fails unless the channel exists and the box lies in the volume.
pub(crate) fn check_request(
    channel: usize,
    channels: usize,
    bounds: &BoundingBox,
    shape_zyx: [usize; 3],
) -> Result<()> {
    if channel >= channels {
        return Err(VolumeError::NoChannel { channel, channels });
    }
    bounds.check(shape_zyx)
}

/// A volume in memory, read in an orientation of its own.
#[derive(Debug, Clone, Copy)]
pub struct InMemory<'a, T> {
    data: &'a [T],
    channels: usize,
    stored_zyx: [usize; 3],
    orientation: Orientation,
}

impl<'a, T> InMemory<'a, T> {
    /// An array c, z, y, x as it is.
    ///
    /// # Errors
    /// A length that does not fit.
    pub fn new(data: &'a [T], channels: usize, shape_zyx: [usize; 3]) -> Result<Self> {
        Self::oriented(data, channels, shape_zyx, Orientation::IDENTITY)
    }

    /// An array c, z, y, x as stored, read as if it had been reordered by `orientation`; nothing is copied before.
    ///
    /// # Errors
    /// A length that does not fit.
    pub fn oriented(
        data: &'a [T],
        channels: usize,
        stored_zyx: [usize; 3],
        orientation: Orientation,
    ) -> Result<Self> {
        expect_length("volume in memory", data.len(), channels, stored_zyx)?;
        Ok(Self { data, channels, stored_zyx, orientation })
    }
}

impl<T: Copy + Default + Sync> Voxels<T> for InMemory<'_, T> {
    fn channels(&self) -> usize {
        self.channels
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.orientation.shape(self.stored_zyx)
    }

    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<T>> {
        check_request(channel, self.channels, bounds, self.shape_zyx())?;
        let voxels = crate::voxels(self.stored_zyx);
        let mut out = vec![T::default(); bounds.voxels()];
        let data = &self.data[channel * voxels..][..voxels];
        self.orientation.copy_box(data, self.stored_zyx, bounds, &mut out, bounds.shape(), [0; 3]);
        Ok(out)
    }
}

/// A box of another volume as a volume of its own.
#[derive(Clone, Copy)]
pub struct Part<'a, T> {
    source: &'a dyn Voxels<T>,
    bounds: BoundingBox,
}

impl<'a, T> Part<'a, T> {
    /// The box `bounds` of `source`.
    ///
    /// # Errors
    /// A box that does not lie in the volume.
    pub fn new(source: &'a dyn Voxels<T>, bounds: BoundingBox) -> Result<Self> {
        bounds.check(source.shape_zyx())?;
        Ok(Self { source, bounds })
    }
}

impl<T> Voxels<T> for Part<'_, T> {
    fn channels(&self) -> usize {
        self.source.channels()
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.bounds.shape()
    }

    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<T>> {
        bounds.check(self.shape_zyx())?;
        self.source.read(channel, &bounds.shifted(self.bounds.start_zyx))
    }
}

/// An image whose NaN and infinite voxels are replaced by one value per channel while it is read.
#[derive(Clone)]
pub struct Filled<'a> {
    source: &'a dyn Voxels<f32>,
    values: Vec<f32>,
}

impl<'a> Filled<'a> {
    /// `values` holds the replacement of each channel.
    ///
    /// # Errors
    /// Another number of values than of channels.
    pub fn new(source: &'a dyn Voxels<f32>, values: Vec<f32>) -> Result<Self> {
        if values.len() != source.channels() {
            let (what, found) = ("fill values, one per channel,", values.len());
            return Err(VolumeError::Length { what, found, expected: source.channels() });
        }
        Ok(Self { source, values })
    }
}

impl Voxels<f32> for Filled<'_> {
    fn channels(&self) -> usize {
        self.source.channels()
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.source.shape_zyx()
    }

    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<f32>> {
        let mut voxels = self.source.read(channel, bounds)?;
        voxels.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = self.values[channel]);
        Ok(voxels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_fills_are_read_through() {
        let mut data: Vec<f32> = (0..24).map(|v| v as f32).collect();
        data[13] = f32::NAN;
        let volume = InMemory::new(&data, 1, [2, 3, 4]).unwrap();
        let filled = Filled::new(&volume, vec![-1.0]).unwrap();
        let part = Part::new(&filled, BoundingBox { start_zyx: [1, 0, 1], end_zyx: [2, 2, 3] }).unwrap();
        assert_eq!((part.channels(), part.shape_zyx()), (1, [1, 2, 2]));
        assert_eq!(part.read(0, &BoundingBox::whole([1, 2, 2])).unwrap(), [-1.0, 14.0, 17.0, 18.0]);
        assert!(part.read(0, &BoundingBox::whole([2, 2, 2])).is_err());
        assert_eq!(part.read(1, &BoundingBox::whole([1, 1, 1])).unwrap_err().code(), "E199");
        assert!(Filled::new(&volume, Vec::new()).is_err());
        assert!(InMemory::new(&data, 2, [2, 3, 4]).is_err());
    }
}
