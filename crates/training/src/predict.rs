//! Sliding-window prediction over volumes larger than the network's patch.
//!
//! Window places, padding and blending are those of MONAI's `sliding_window_inference`; windows are visited in a fixed
//! order, so that results do not depend on timing.

mod mirror;
mod windows;

pub use windows::{importance, starts};

use mirror::mirrored;

use crate::error::BoxedError;
use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use stage::limits::is_out_of_memory;
use tch::{Device, Kind, Tensor};
use torch_runtime::lists;

/// Weight of a window's voxels where windows overlap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blending {
    /// All alike.
    Constant,
    /// A Gaussian about the window's centre with standard deviation 0.125 of its edge, at least 0.001.
    Gaussian,
}

/// Options of a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlidingWindow {
    /// The window: the patch size of the training plan.
    pub window_zyx: [i64; 3],
    /// Share of a window that overlaps the next, 0 to below 1.
    pub overlap: f64,
    /// Blending.
    pub blending: Blending,
    /// Windows per call of the network.
    pub batch: usize,
    /// Axes (z, y, x) along which the prediction is also made mirrored and averaged (2ⁿ times the work).
    pub mirror_axes: [bool; 3],
    /// Where the output is affinities, the offset (z, y, x) of each channel's pairs, which mirror images turn around; empty else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<[i64; 3]>,
}

impl SlidingWindow {
    /// nnU-Net's choice: half overlap, Gaussian blending; no mirroring.
    #[must_use]
    pub fn new(window_zyx: [i64; 3]) -> Self {
        let (overlap, blending) = (0.5, Blending::Gaussian);
        Self { window_zyx, overlap, blending, batch: 2, mirror_axes: [false; 3], pairs: Vec::new() }
    }

    fn check(&self, volume: &Tensor) -> Result<()> {
        let refuse = |name, found: String, expected: &str| {
            Err(TrainingError::Option { name, found, expected: expected.to_owned() })
        };
        if self.window_zyx.iter().any(|n| *n < 1) {
            return refuse("window_zyx", format!("{:?}", self.window_zyx), "at least 1 voxel per axis");
        }
        if !(0.0..1.0).contains(&self.overlap) {
            return refuse("overlap", self.overlap.to_string(), "0 to below 1");
        }
        if self.batch == 0 {
            return refuse("batch", "0".to_owned(), "at least 1 window");
        }
        if volume.dim() != 4 || volume.numel() == 0 {
            return Err(TrainingError::shape("volume", volume, "[channel, z, y, x], not empty"));
        }
        Ok(())
    }
}

/// Predicts a whole volume.
///
/// `network` takes float32 `[window, channel, z, y, x]` on `device` and gives `[window, class, z, y, x]` on any device and
/// of any float kind; whether these are logits or probabilities is its choice (logits are what nnU-Net averages). It is
/// called without gradients and should be in evaluation mode.
///
/// A volume smaller than the window is padded with 0, half before and the odd voxel after, and cropped again.
///
/// # Shapes
/// `volume`: `[channel, z, y, x]` on the CPU, any kind. Result: float32 `[class, z, y, x]` on the CPU.
///
/// Memory on the CPU: 4 · (channels + classes) bytes per voxel of the volume, and that of [`predict_slabs`].
///
/// # Errors
/// On bad options or shapes, when the network fails, or when the device has no memory left.
///
/// # Source
/// `monai.inferers.sliding_window_inference`.
pub fn predict(
    volume: &Tensor,
    options: &SlidingWindow,
    device: Device,
    network: &dyn Fn(&Tensor) -> std::result::Result<Tensor, BoxedError>,
) -> Result<Tensor> {
    let mut whole: Option<Tensor> = None;
    let depth = volume.size().get(1).copied().unwrap_or(0);
    predict_slabs(volume, options, device, network, &mut |first, slab| {
        let size = slab.size();
        let whole = whole.get_or_insert_with(|| {
            Tensor::zeros([size[0], depth, size[2], size[3]], (Kind::Float, Device::Cpu))
        });
        whole.narrow(1, first, size[1]).copy_(slab);
        Ok(())
    })?;
    whole.ok_or_else(|| TrainingError::shape("volume", volume, "at least one window"))
}

/// As [`predict`], but hands over the result slab by slab of at most 8 sections along z, in order and without gaps, as soon as no further
/// window reaches them: `emit` gets the first section and float32 `[class, z, y, x]`.
///
/// Memory on the CPU: 4 · channels bytes per voxel of the volume where it must be padded; on the device batches of windows and what the network
/// needs. 4 · (classes + 1) bytes per voxel of a slab as deep as a window are taken on the device if it has them to spare, and on the CPU else (from where the network lacks them on): to
/// the same bits, but then every window comes over, and the device waits meanwhile.
///
/// # Errors
/// As [`predict`], and what `emit` fails with, as [`TrainingError::Consumer`].
pub fn predict_slabs(
    volume: &Tensor,
    options: &SlidingWindow,
    device: Device,
    network: &dyn Fn(&Tensor) -> std::result::Result<Tensor, BoxedError>,
    emit: &mut dyn FnMut(i64, &Tensor) -> std::result::Result<(), BoxedError>,
) -> Result<()> {
    options.check(volume)?;
    let _guard = tch::no_grad_guard();
    let window = options.window_zyx;
    let size = volume.size();
    let missing: [i64; 3] = std::array::from_fn(|axis| (window[axis] - size[axis + 1]).max(0));
    let before = missing.map(|n| n / 2);
    let mut padded = volume.to_kind(Kind::Float);
    if missing != [0; 3] {
        let padding: Vec<i64> =
            (0..3).rev().flat_map(|axis| [before[axis], missing[axis] - before[axis]]).collect();
        padded = padded.constant_pad_nd(padding);
    }
    let shape: [i64; 3] = std::array::from_fn(|axis| size[axis + 1] + missing[axis]);

    let weight = importance(window, options.blending);
    let places = all_starts(shape, options);
    let mut sums: Option<Sums> = None;
    let mut emit_inside = |first: i64, mean: Tensor| -> Result<()> {
        // sections of the padding are nobody's
        let (low, high) = (first.max(before[0]), (first + mean.size()[1]).min(before[0] + size[1]));
        if low >= high {
            return Ok(());
        }
        let inside = mean
            .narrow(1, low - first, high - low)
            .narrow(2, before[1], size[2])
            .narrow(3, before[2], size[3])
            .contiguous();
        let slab = inside.f_to_device(Device::Cpu).map_err(refused)?;
        emit(low - before[0], &slab).map_err(|source| TrainingError::Consumer { source })
    };
    for group in places.chunks(options.batch) {
        let inputs: Vec<Tensor> = group.iter().map(|start| cut(&padded, *start, window)).collect();
        let input = Tensor::stack(&inputs, 0);
        let input = if device.is_cuda() {
            // so that the device goes on with its work while windows are on their way
            lists::pinned(&input)?.f_to_device_(device, Kind::Float, true, false)
        } else {
            input.f_to_device(device)
        };
        let input = input.map_err(refused)?;
        let output = match mirrored(&input, options, network) {
            // what the sums take may be what the network lacks
            Err(full) if full.code() == "E305" && leave_device(&mut sums)? => {
                mirrored(&input, options, network)?
            }
            answered => answered?,
        };
        let classes = output.size()[1];
        let sums = match &mut sums {
            Some(sums) => sums,
            empty => empty.insert(Sums::new(classes, &weight, [shape[1], shape[2]], output.device())?),
        };
        if sums.values.size()[0] != classes {
            return Err(TrainingError::shape(
                "prediction",
                &output,
                format!("{} classes as before", sums.values.size()[0]),
            ));
        }
        let output = output.f_to_device(sums.values.device()).map_err(refused)?;
        for (start, part) in group.iter().zip(output.unbind(0)) {
            if start[0] > sums.first {
                sums.finish(start[0], &mut emit_inside)?;
            }
            sums.add([start[1], start[2]], &part).map_err(refused)?;
        }
    }
    match sums {
        Some(mut sums) => sums.finish(shape[0], &mut emit_inside),
        None => Err(TrainingError::shape("volume", volume, "at least one window")),
    }
}

/// An operation of a prediction that LibTorch refuses.
fn refused(error: tch::TchError) -> TrainingError {
    TrainingError::Network { source: error.into() }
}

/// Sums that lie on a device go to the CPU; whether there were any.
fn leave_device(sums: &mut Option<Sums>) -> Result<bool> {
    let Some(sums) = sums.as_mut().filter(|sums| sums.values.device().is_cuda()) else { return Ok(false) };
    for tensor in [&mut sums.values, &mut sums.weights, &mut sums.weight] {
        *tensor = tensor.f_to_device(Device::Cpu).map_err(refused)?;
    }
    Ok(true)
}

/// Sums over windows for the sections from `first` on, as many as a window has.
struct Sums {
    first: i64,
    /// `[class, z, y, x]`.
    values: Tensor,
    /// `[1, z, y, x]`.
    weights: Tensor,
    /// Of a window's voxels, `[z, y, x]`.
    weight: Tensor,
}

impl Sums {
    /// Of windows with such weights and sections of so many voxels; on `device` if that has the memory.
    fn new(classes: i64, weight: &Tensor, [y, x]: [i64; 2], device: Device) -> Result<Self> {
        let depth = weight.size()[0];
        let on = |device: Device| -> std::result::Result<Self, tch::TchError> {
            let zeros = |channels: i64| Tensor::f_zeros([channels, depth, y, x], (Kind::Float, device));
            Ok(Self {
                first: 0,
                values: zeros(classes)?,
                weights: zeros(1)?,
                weight: weight.f_to_device(device)?,
            })
        };
        match on(device) {
            Err(full) if device.is_cuda() && is_out_of_memory(&full.to_string()) => on(Device::Cpu),
            made => made,
        }
        .map_err(refused)
    }

    /// Adds what a window gave, whose first voxel lies at y and x of the first sections: `[class, z, y, x]`.
    fn add(&mut self, [y, x]: [i64; 2], part: &Tensor) -> std::result::Result<(), tch::TchError> {
        let [depth, height, width] = [0, 1, 2].map(|axis| self.weight.size()[axis]);
        let place = |sums: &Tensor| cut(sums, [0, y, x], [depth, height, width]);
        let _sum = place(&self.values).f_add_(&part.f_mul(&self.weight)?)?;
        let _sum = place(&self.weights).f_add_(&self.weight)?;
        Ok(())
    }

    /// Hands over the means of the sections before `next`, which are final, some at a time; sums go on from there.
    fn finish(&mut self, next: i64, emit: &mut dyn FnMut(i64, Tensor) -> Result<()>) -> Result<()> {
        let depth = self.values.size()[1];
        let done = (next - self.first).min(depth);
        let weights = self.weights.narrow(1, 0, done);
        // windows cover everything: a hole would be a defect of their places, and NaN in somebody's label map
        if weights.min().f_double_value(&[]).map_err(refused)? <= 0.0 {
            return Err(TrainingError::shape("windows", &weights, "a window over every voxel"));
        }
        for piece in (0..done).step_by(PIECE as usize) {
            let sections = PIECE.min(done - piece);
            let mean = self.values.narrow(1, piece, sections).f_div(&weights.narrow(1, piece, sections));
            emit(self.first + piece, mean.map_err(refused)?)?;
        }
        for sums in [&self.values, &self.weights] {
            // in steps of what became free, so that no section is read and written at once
            for from in (done..depth).step_by(done as usize) {
                let sections = done.min(depth - from);
                sums.narrow(1, from - done, sections).copy_(&sums.narrow(1, from, sections));
            }
            let _zero = sums.narrow(1, depth - done, done).zero_();
        }
        self.first = next;
        Ok(())
    }
}

/// The class with the highest value at each voxel, uint8 (int16 above 256 classes).
///
/// # Shapes
/// `prediction`: `[class, z, y, x]`; result `[z, y, x]`.
pub fn label_map(prediction: &Tensor) -> Tensor {
    let kind = if prediction.size().first().is_some_and(|n| *n > 256) { Kind::Int16 } else { Kind::Uint8 };
    prediction.argmax(0, false).to_kind(kind)
}

/// Sections that are handed over at a time, so that their means take little memory beside the sums.
const PIECE: i64 = 8;

fn all_starts(shape: [i64; 3], options: &SlidingWindow) -> Vec<[i64; 3]> {
    let [z, y, x] =
        std::array::from_fn(|axis| starts(shape[axis], options.window_zyx[axis], options.overlap));
    let mut places = Vec::with_capacity(z.len() * y.len() * x.len());
    for a in &z {
        for b in &y {
            for c in &x {
                places.push([*a, *b, *c]);
            }
        }
    }
    places
}

/// A window of `[channel, z, y, x]`; shares memory.
fn cut(volume: &Tensor, start: [i64; 3], window: [i64; 3]) -> Tensor {
    (0..3).fold(volume.shallow_clone(), |t, axis| t.narrow(axis as i64 + 1, start[axis], window[axis]))
}
