//! Maps in channels-last order, seen with two axes of space instead of three, without a copy: for what LibTorch does well with two only.

use crate::error::Error;
use tch::Tensor;

/// Batch, channels, z, y, x.
type Sizes = (i64, i64, i64, i64, i64);

/// Whether these are maps `[batch, channels, z, y, x]` whose channels lie side by side in memory.
pub(super) fn is_channels_last(input: &Tensor) -> Result<bool, Error> {
    Ok(input.dim() == 5 && !input.is_contiguous() && input.f_permute([0, 2, 3, 4, 1])?.is_contiguous())
}

/// `[batch, channels, z, y, x]` in channels-last order → `[batch, channels, z, y·x]`; a copy of maps in another order.
pub(super) fn plane(input: &Tensor) -> Result<Tensor, Error> {
    let (batch, channels, z, y, x) = input.size5()?;
    // by way of the order in memory: strides of axes of one value tell the order too
    let rows = input.f_permute([0, 2, 3, 4, 1])?.f_reshape([batch, z, y * x, channels])?;
    Ok(rows.f_permute([0, 3, 1, 2])?)
}

/// What [`plane`] made of maps of these sizes, taken back.
pub(super) fn volume(plane: &Tensor, (batch, channels, z, y, x): Sizes) -> Result<Tensor, Error> {
    // a copy only where LibTorch answered in the other order
    let rows = plane.f_permute([0, 2, 3, 1])?.f_reshape([batch, z, y, x, channels])?;
    Ok(rows.f_permute([0, 4, 1, 2, 3])?)
}

/// `[batch, channels, z, y, x]` in channels-last order → `[batch·z, channels, y, x]`.
pub(super) fn sections(input: &Tensor) -> Result<Tensor, Error> {
    let (batch, channels, z, y, x) = input.size5()?;
    let rows = input.f_permute([0, 2, 3, 4, 1])?.f_view([batch * z, y, x, channels])?;
    Ok(rows.f_permute([0, 3, 1, 2])?)
}

/// What [`sections`] made of `batch` maps, with y and x as one axis: `[batch·z, channels, y, x]` → `[batch, channels, z, y·x]`.
pub(super) fn plane_of_sections(sections: &Tensor, batch: i64) -> Result<Tensor, Error> {
    let (all, channels, y, x) = sections.size4()?;
    let rows = sections.f_permute([0, 2, 3, 1])?.f_reshape([batch, all / batch, y * x, channels])?;
    Ok(rows.f_permute([0, 3, 1, 2])?)
}
