//! How a feature map is cut into windows, and what is worked out once per size of map: which tokens see each other.

use crate::error::Error;
use std::cell::RefCell;
use tch::{Device, Tensor};

/// Voxels of a window along each axis.
const WINDOW: i64 = 7;
/// Voxels by which every second block moves its windows.
const SHIFT: i64 = WINDOW / 2;
/// Added to the attention of tokens that lie in different parts of the map, as in MONAI.
const APART: f32 = -100.0;
/// Differences of position along an axis.
const DIFFERENCES: i64 = 2 * WINDOW - 1;
/// Sizes of maps that are kept: training and prediction have four each.
const KEPT: usize = 16;

/// Rows of a table of position biases: one for each difference of positions in a window.
pub(super) const POSITIONS: i64 = DIFFERENCES * DIFFERENCES * DIFFERENCES;

/// Places of a whole window, z slowest.
fn places() -> Vec<[i64; 3]> {
    (0..WINDOW.pow(3))
        .map(|place| [place / (WINDOW * WINDOW), place / WINDOW % WINDOW, place % WINDOW])
        .collect()
}

/// MONAI's `relative_position_index`: the table's row for each pair of places in a whole window, `[343, 343]` int64.
pub(super) fn relative_positions() -> Result<Tensor, Error> {
    let places = places();
    let mut rows = Vec::with_capacity(places.len() * places.len());
    for [z, y, x] in &places {
        for [other_z, other_y, other_x] in &places {
            let [z, y, x] = [z - other_z, y - other_y, x - other_x].map(|difference| difference + WINDOW - 1);
            rows.push((z * DIFFERENCES + y) * DIFFERENCES + x);
        }
    }
    let count = WINDOW.pow(3);
    Ok(Tensor::f_from_slice(&rows)?.f_reshape([count, count])?)
}

/// The windows of maps of one size. Along an axis of at most 7 voxels the window is the axis and does not shift; longer
/// axes are padded with zeros, after their end, to whole windows.
#[derive(Debug)]
pub(super) struct Windows {
    size_zyx: [i64; 3],
    window_zyx: [i64; 3],
    shift_zyx: [i64; 3],
    padded_zyx: [i64; 3],
    /// The row of the bias table for each pair of tokens, flat.
    positions: Tensor,
    /// `None` where nothing shifts.
    parts: Option<Parts>,
}

/// Rolling the map brings voxels from its two ends into the last window along an axis; these must not see each other.
#[derive(Debug)]
struct Parts {
    /// `[8, 1, tokens, tokens]`: for each choice of axes along which a window is the last, 0 or [`APART`].
    masks: Tensor,
    /// The mask of each window.
    of_windows: Tensor,
}

impl Windows {
    fn new(size_zyx: [i64; 3], device: Device) -> Result<Self, Error> {
        let window_zyx = size_zyx.map(|size| size.min(WINDOW));
        let shift_zyx = size_zyx.map(|size| if size <= WINDOW { 0 } else { SHIFT });
        let padded_zyx =
            [0, 1, 2].map(|axis| (size_zyx[axis] as u64).next_multiple_of(window_zyx[axis] as u64) as i64);
        let tokens: i64 = window_zyx.iter().product();
        // As in MONAI, a smaller window takes the first rows and columns, which are not those of its own differences
        // where y or x is the shrunken axis; weights rely on it.
        let positions = relative_positions()?
            .f_narrow(0, 0, tokens)?
            .f_narrow(1, 0, tokens)?
            .f_reshape([-1])?
            .f_to_device(device)?;
        let mut windows = Self { size_zyx, window_zyx, shift_zyx, padded_zyx, positions, parts: None };
        if shift_zyx != [0; 3] {
            windows.parts = Some(windows.parts(device)?);
        }
        Ok(windows)
    }

    fn parts(&self, device: Device) -> Result<Parts, Error> {
        let [_, height, width] = self.window_zyx;
        let tokens: i64 = self.window_zyx.iter().product();
        // Whether a token of a last window came from the map's far end, per axis.
        let wrapped = |token: i64| {
            let place = [token / (height * width), token / width % height, token % width];
            [0, 1, 2].map(|axis| place[axis] >= self.window_zyx[axis] - self.shift_zyx[axis])
        };
        let wrapped: Vec<[bool; 3]> = (0..tokens).map(wrapped).collect();
        let mut masks = Vec::with_capacity(8 * wrapped.len() * wrapped.len());
        for last in 0..8 {
            for left in &wrapped {
                masks.extend(wrapped.iter().map(|right| {
                    let apart = (0..3).any(|axis| last & (1 << axis) != 0 && left[axis] != right[axis]);
                    if apart { APART } else { 0.0 }
                }));
            }
        }
        let counts = self.counts();
        let mut of_windows = Vec::new();
        for z in 0..counts[0] {
            for y in 0..counts[1] {
                for x in 0..counts[2] {
                    let last = |axis: usize, index: i64| {
                        i64::from(self.shift_zyx[axis] > 0 && index == counts[axis] - 1) << axis
                    };
                    of_windows.push(last(0, z) | last(1, y) | last(2, x));
                }
            }
        }
        Ok(Parts {
            masks: Tensor::f_from_slice(&masks)?.f_reshape([8, 1, tokens, tokens])?.f_to_device(device)?,
            of_windows: Tensor::f_from_slice(&of_windows)?.f_to_device(device)?,
        })
    }

    /// Windows along each axis.
    fn counts(&self) -> [i64; 3] {
        [0, 1, 2].map(|axis| self.padded_zyx[axis] / self.window_zyx[axis])
    }

    /// The map's tokens by window.
    ///
    /// # Shapes
    /// map: `[batch, z, y, x, features]`, output: `[batch, windows, tokens, features]`.
    pub(super) fn cut(&self, map: &Tensor, shifted: bool) -> Result<Tensor, Error> {
        let (batch, _, _, _, features) = map.size5()?;
        let [z, y, x] = [0, 1, 2].map(|axis| self.padded_zyx[axis] - self.size_zyx[axis]);
        let mut map = map.shallow_clone();
        if [z, y, x] != [0; 3] {
            map = map.f_constant_pad_nd([0, 0, 0, x, 0, y, 0, z])?;
        }
        if shifted && self.parts.is_some() {
            map = map.f_roll(self.shift_zyx.map(|shift| -shift), [1, 2, 3])?;
        }
        let ([deep, high, wide], [z, y, x]) = (self.counts(), self.window_zyx);
        let split = map.f_reshape([batch, deep, z, high, y, wide, x, features])?;
        Ok(split.f_permute([0, 1, 3, 5, 2, 4, 6, 7])?.f_reshape([
            batch,
            deep * high * wide,
            z * y * x,
            features,
        ])?)
    }

    /// Undoes [`Windows::cut`].
    pub(super) fn join(&self, windows: &Tensor, shifted: bool) -> Result<Tensor, Error> {
        let (batch, _, _, features) = windows.size4()?;
        let ([deep, high, wide], [z, y, x]) = (self.counts(), self.window_zyx);
        let split = windows.f_reshape([batch, deep, high, wide, z, y, x, features])?;
        let [z, y, x] = self.padded_zyx;
        let mut map = split.f_permute([0, 1, 4, 2, 5, 3, 6, 7])?.f_reshape([batch, z, y, x, features])?;
        if shifted && self.parts.is_some() {
            map = map.f_roll(self.shift_zyx, [1, 2, 3])?;
        }
        for (axis, size) in (1..).zip(self.size_zyx) {
            map = map.f_narrow(axis, 0, size)?;
        }
        Ok(map)
    }

    /// What is added to the attention of two tokens: the bias of their positions, and whether they may see each other.
    ///
    /// # Shapes
    /// table: `[2197, heads]`, output: `[1, heads, tokens, tokens]` where it is the same for all windows, else
    /// `[windows, heads, tokens, tokens]`.
    pub(super) fn bias(&self, table: &Tensor, shifted: bool) -> Result<Tensor, Error> {
        let tokens: i64 = self.window_zyx.iter().product();
        let bias = table
            .f_index_select(0, &self.positions)?
            .f_reshape([tokens, tokens, -1])?
            .f_permute([2, 0, 1])?
            .f_contiguous()?;
        match &self.parts {
            Some(parts) if shifted => Ok(parts.masks.f_add(&bias)?.f_index_select(0, &parts.of_windows)?),
            _ => Ok(bias.f_unsqueeze(0)?),
        }
    }

    /// Another handle on the same tensors.
    fn share(&self) -> Self {
        Self {
            positions: self.positions.shallow_clone(),
            parts: self.parts.as_ref().map(|parts| Parts {
                masks: parts.masks.shallow_clone(),
                of_windows: parts.of_windows.shallow_clone(),
            }),
            ..*self
        }
    }
}

/// The windows of the sizes seen last, so that masks and positions are made once per size and not in each pass.
#[derive(Debug, Default)]
pub(super) struct WindowCache(RefCell<Vec<Windows>>);

impl WindowCache {
    pub(super) fn of(&self, size_zyx: [i64; 3], device: Device) -> Result<Windows, Error> {
        let mut kept = self.0.borrow_mut();
        let found = kept.iter().find(|w| w.size_zyx == size_zyx && w.positions.device() == device);
        if let Some(windows) = found {
            return Ok(windows.share());
        }
        let windows = Windows::new(size_zyx, device)?;
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(windows.share());
        Ok(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    fn windows(size_zyx: [i64; 3]) -> Windows {
        Windows::new(size_zyx, Device::Cpu).unwrap()
    }

    #[test]
    fn joining_undoes_cutting() {
        for size in [[7, 7, 7], [2, 5, 4], [8, 20, 7], [16, 1, 10]] {
            let windows = windows(size);
            let count: i64 = size.iter().product();
            let map = Tensor::arange(count * 2, (Kind::Float, Device::Cpu))
                .reshape([1, size[0], size[1], size[2], 2]);
            for shifted in [false, true] {
                let cut = windows.cut(&map, shifted).unwrap();
                assert_eq!(cut.size()[1], windows.counts().iter().product::<i64>());
                assert_eq!(windows.join(&cut, shifted).unwrap(), map, "{size:?}");
            }
        }
    }

    #[test]
    fn windows_shrink_to_the_map_and_then_do_not_shift() {
        let whole = windows([4, 20, 7]);
        assert_eq!(whole.window_zyx, [4, 7, 7]);
        assert_eq!(whole.shift_zyx, [0, 3, 0]);
        assert_eq!(whole.padded_zyx, [4, 21, 7]);
        assert!(windows([1, 5, 5]).parts.is_none());
    }

    /// By the definition: after the roll, voxels are labelled by the piece of the map that they came from.
    #[test]
    fn tokens_of_different_ends_do_not_see_each_other() {
        let size = [8, 16, 5];
        let windows = windows(size);
        let mut labels = vec![0_f32; (14 * 21 * 5) as usize];
        for (index, label) in labels.iter_mut().enumerate() {
            let (z, y) = (index as i64 / 5 / 21, index as i64 / 5 % 21);
            let part = |place: i64, size: i64| i64::from(place >= size - 7) + i64::from(place >= size - 3);
            *label = (part(z, 14) * 3 + part(y, 21)) as f32;
        }
        // The labels belong to the rolled map, so that they are cut without another roll.
        let padded = Windows { size_zyx: [14, 21, 5], ..windows.share() };
        let labels = padded.cut(&Tensor::from_slice(&labels).reshape([1, 14, 21, 5, 1]), false).unwrap();
        let labels = labels.reshape([6, 1, 245]);
        let expected = labels.unsqueeze(2).ne_tensor(&labels.unsqueeze(3)).to_kind(Kind::Float) * -100.0;
        let table = Tensor::zeros([POSITIONS, 2], (Kind::Float, Device::Cpu));
        let found = windows.bias(&table, true).unwrap();
        assert_eq!(found.size(), [6, 2, 245, 245]);
        assert_eq!(found, expected.expand([6, 2, 245, 245], false));
        assert_eq!(windows.bias(&table, false).unwrap().size(), [1, 2, 245, 245]);
    }

    #[test]
    fn positions_are_differences() {
        let rows = relative_positions().unwrap();
        assert_eq!(rows.size(), [343, 343]);
        assert_eq!(rows.int64_value(&[0, 0]), 6 * 169 + 6 * 13 + 6);
        assert_eq!(rows.int64_value(&[342, 0]), POSITIONS - 1);
        assert_eq!(rows.int64_value(&[0, 342]), 0);
        assert_eq!(rows.int64_value(&[7, 1]), 6 * 169 + 7 * 13 + 5);
    }

    #[test]
    fn sizes_are_worked_out_once() {
        let cache = WindowCache::default();
        for _ in 0..3 {
            cache.of([8, 8, 8], Device::Cpu).unwrap();
        }
        assert_eq!(cache.0.borrow().len(), 1);
        for size in 1..40 {
            cache.of([1, 1, size], Device::Cpu).unwrap();
        }
        assert_eq!(cache.0.borrow().len(), KEPT);
    }
}
