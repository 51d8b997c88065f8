//! Two maps of objects, slab by slab, into a table of pairs.

use super::Zero;
use crate::maps::Reader;
use metrics::{Contingency, Table, border_masks};
use stage::{Context, Message, interrupt};
use volume::hdf5::NOT_ANNOTATED;

/// Replaces `out` by so many planes, as far as there are so many: a reader may hand out fewer than were asked for.
fn read_planes(case: &str, reader: &mut Reader, planes: usize, out: &mut Vec<u64>) -> Result<(), Message> {
    let mut read = reader.next(case, planes, out)?;
    let mut more = Vec::new();
    while read < planes {
        let next = reader.next(case, planes - read, &mut more)?;
        if next == 0 {
            break;
        }
        out.append(&mut more);
        read += next;
    }
    Ok(())
}

/// Reads both maps slab by slab into a contingency table; `width` of the border in pixels. No prediction is one of zeros.
pub(super) fn tally(
    case: &str,
    truth: &mut Reader,
    mut guess: Option<&mut Reader>,
    zero: Zero,
    width: Option<f64>,
    context: &Context,
) -> Result<Table, Message> {
    let [nz, ny, nx] = truth.grid.shape_zyx;
    let progress = context.progress(case, nz as u64);
    let mut table = Contingency::new();
    let (mut reference, mut prediction) = (Vec::new(), Vec::new());
    let depth = truth.depth();
    loop {
        let planes = truth.next(case, depth, &mut reference)?;
        if planes == 0 || interrupt::requested() {
            break;
        }
        match &mut guess {
            Some(guess) => read_planes(case, guess, planes, &mut prediction)?,
            None => {
                prediction.clear();
                prediction.resize(reference.len(), 0);
            }
        }
        let border = match width {
            Some(width) => border_masks(&reference, [planes, ny, nx], width)
                .map_err(|e| Message::error("E509", e.to_string()).case(case))?,
            None => Vec::new(),
        };
        table.add(&reference, &prediction, |i| {
            let id = reference[i];
            let evaluable = id != NOT_ANNOTATED && (id != 0 || zero == Zero::Score);
            evaluable && !border.get(i).copied().unwrap_or(false)
        });
        for _ in 0..planes {
            progress.step(case);
        }
    }
    progress.finish();
    Ok(table.finish())
}
