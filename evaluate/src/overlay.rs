//! Pictures of the best, the median and the worst case: the slice with the largest foreground, with both outlines, and where they
//! differ.

use crate::pairing::Pair;
use crate::scoring::{self, CaseResult};
use crate::summary::Overlay;
use anyhow::Result;
use data_manifests::Descriptor;
use data_manifests::descriptor::{Intensity, Modality};
use data_manifests::raw::open;
use pictures::Canvas;
use pictures::section::{self, PREDICTION, REFERENCE, Section, View};
use stage::{Context, Message, atomic};
use std::path::Path;
use volume::Orientation;

/// Folder of the pictures in a score directory.
pub(crate) const DIRECTORY: &str = "overlays";

/// Pixels along a picture's longer side.
const SIDE: usize = 480;

/// Best, median and worst case by mean Dice, without repeats.
fn ranked(results: &[CaseResult]) -> Vec<(&'static str, &CaseResult, f64)> {
    let mut order: Vec<(&CaseResult, f64)> =
        results.iter().filter(|r| !r.missing).filter_map(|r| Some((r, r.mean_dice()?))).collect();
    // equal scores are ordered by id, so that the choice does not depend on the order of the work
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.id.cmp(&b.0.id)));
    let Some(last) = order.len().checked_sub(1) else { return Vec::new() };
    let mut chosen: Vec<(&str, usize)> = vec![("best", 0), ("median", last / 2), ("worst", last)];
    chosen.dedup_by_key(|(_, place)| *place);
    if chosen.len() == 2 && last == 1 {
        chosen = vec![("best", 0), ("worst", 1)];
    }
    chosen.into_iter().map(|(rank, place)| (rank, order[place].0, order[place].1)).collect()
}

/// Draws the pictures into `out`.
///
/// A case whose image is not there or cannot be read has no picture, and a message says so.
pub(crate) fn draw(
    out: &Path,
    results: &[CaseResult],
    pairs: &[Pair],
    descriptor: &Descriptor,
    context: &Context,
) -> Result<Vec<Overlay>> {
    let mut overlays = Vec::new();
    for (rank, result, dice) in ranked(results) {
        let Some(pair) = pairs.iter().find(|p| p.id == result.id) else { continue };
        match case(pair, descriptor) {
            Ok(Some(Drawn { outlines, errors, slice_z, slices })) => {
                let file = format!("{DIRECTORY}/{}.png", pair.id);
                atomic::write(&out.join(&file), &outlines.encode()?)?;
                let error_file = format!("{DIRECTORY}/{}-errors.png", pair.id);
                atomic::write(&out.join(&error_file), &errors.encode()?)?;
                overlays.push(Overlay {
                    case: pair.id.clone(),
                    rank: rank.to_owned(),
                    dice,
                    slice_z,
                    slices,
                    file,
                    error_file,
                });
            }
            Ok(None) => context.tell(
                Message::info("I505", "no picture of this case: its image is not below --references")
                    .case(&pair.id),
            ),
            Err(message) => context.tell(
                Message::warning("W505", "no picture of this case")
                    .case(&pair.id)
                    .detail(message.to_string()),
            ),
        }
    }
    Ok(overlays)
}

/// The pictures of one slice of a case.
struct Drawn {
    /// With the outlines of reference and prediction.
    outlines: Canvas,
    /// With what was missed, invented or confused.
    errors: Canvas,
    slice_z: usize,
    slices: usize,
}

/// The pictures of a case; `None` without an image.
fn case(pair: &Pair, descriptor: &Descriptor) -> Result<Option<Drawn>, Message> {
    let (Some(source), Some(map)) = (&pair.image, &pair.prediction) else { return Ok(None) };
    let flaw = |e: volume::VolumeError| Message::error(e.code(), e.to_string());
    let reference = scoring::reference::<u32>(pair, descriptor)?;
    let prediction = scoring::prediction::<u32>(pair, map, descriptor)?;
    let image = open::image(source).map_err(flaw)?;
    let stored = reference.grid.shape_zyx;
    if image.grid.shape_zyx != stored {
        return Err(Message::error("E503", "image and reference differ in shape (z, y, x)")
            .detail(format!("{:?} and {stored:?}", image.grid.shape_zyx)));
    }
    let orientation = Orientation::to_canonical(&reference.grid);
    let grid = orientation.apply_to_grid(&reference.grid);
    let channel = &image.data[..stored.iter().product()];
    let (intensities, shape) = orientation.apply(channel, stored).map_err(flaw)?;
    let (truth, _) = orientation.apply(&reference.voxels, stored).map_err(flaw)?;
    let (guess, _) = orientation.apply(&prediction.voxels, stored).map_err(flaw)?;
    let z = section::fullest(&truth, &guess, shape);
    let [truth, guess] = [&truth, &guess].map(|labels| Section::of(labels, shape, z));
    let image = Section::of(&intensities, shape, z);
    let [_, y, x] = grid.spacing_zyx_mm();
    let view = View::of(&[truth, guess], [y, x], SIDE, descriptor.modality != Modality::Em);
    let window = match descriptor.intensity.channel(0) {
        Some(Intensity::CtWindow { low, high } | Intensity::Window { low, high }) => [*low, *high],
        _ => section::percentiles(image.values()),
    };
    let mut outlines = view.image(&image, window);
    let mut errors = outlines.clone();
    view.outline(&mut outlines, &truth, REFERENCE, 1);
    view.outline(&mut outlines, &guess, PREDICTION, 0);
    view.errors(&mut errors, &truth, &guess);
    Ok(Some(Drawn { outlines, errors, slice_z: z, slices: shape[0] }))
}
