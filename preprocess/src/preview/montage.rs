//! The picture: two columns (before, after), three rows (planes), words around them.

use super::section::Section;
use super::sides::{Side, offset_zyx_mm};
use crate::preflight::readable;
use data_manifests::Descriptor;
use data_manifests::cases::triple;
use data_manifests::descriptor::{LabelKind, Modality};
use patches::CaseRecord;
use pictures::{Canvas, Colour, LINE, text_width};
use std::collections::BTreeSet;

/// Pixels along the longest side of a section.
const SIDE: f64 = 420.0;
const MARGIN: usize = 16;
const PAPER: Colour = [24, 24, 26];
const INK: Colour = [235, 235, 235];
const FAINT: Colour = [160, 160, 165];
/// What lies outside a volume.
const OUTSIDE: Colour = [46, 46, 54];

/// Okabe and Ito's colours, which all kinds of colour vision tell apart, without black and the darkest blue.
const COLOURS: [Colour; 6] =
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [213, 94, 0], [204, 121, 167]];

/// Colour of a class or an object.
fn colour(label: u64, kind: LabelKind) -> Colour {
    let index = match kind {
        LabelKind::Semantic => label.wrapping_sub(1),
        // ids of neighbours are often close: spread them (Fibonacci hashing)
        LabelKind::Instances => label.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32,
    };
    COLOURS[(index % COLOURS.len() as u64) as usize]
}

/// A plane across an axis: the axes of its rows and columns, and what lies at its four edges.
struct Plane {
    name: &'static str,
    across: usize,
    rows: usize,
    columns: usize,
    /// Top, bottom, left, right.
    edges: [&'static str; 4],
}

const BODY: [Plane; 3] = [
    Plane { name: "axial z", across: 0, rows: 1, columns: 2, edges: ["A", "P", "R", "L"] },
    Plane { name: "coronal y", across: 1, rows: 0, columns: 2, edges: ["S", "I", "R", "L"] },
    Plane { name: "sagittal x", across: 2, rows: 0, columns: 1, edges: ["S", "I", "A", "P"] },
];

const STACK: [Plane; 3] = [
    Plane { name: "section z", across: 0, rows: 1, columns: 2, edges: ["", "y", "", "x"] },
    Plane { name: "across y", across: 1, rows: 0, columns: 2, edges: ["", "z", "", "x"] },
    Plane { name: "across x", across: 2, rows: 0, columns: 1, edges: ["", "z", "", "y"] },
];

/// Grey of a raw value.
#[derive(Clone, Copy)]
struct Window {
    low: f32,
    high: f32,
}

impl Window {
    /// CT as the shards clip it, 8-bit microscopy whole, else the middle 99 % of what is not zero.
    fn of(record: &CaseRecord, before: &Side) -> Self {
        if record.modality == Modality::Em {
            return Self { low: 0.0, high: 255.0 };
        }
        if let Some([low, high]) = record.channels[0].normalisation.clip {
            return Self { low, high };
        }
        let mut values: Vec<f32> = before
            .image
            .iter()
            .flat_map(Section::values)
            .copied()
            .filter(|v| v.is_finite() && *v != 0.0)
            .collect();
        values.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| values.get((share * values.len().saturating_sub(1) as f64).round() as usize);
        match (at(0.005), at(0.995)) {
            // zero is the darkest in most images, though it is left out above
            (Some(low), Some(high)) if low < high => Self { low: low.min(0.0), high: *high },
            _ => Self { low: 0.0, high: 1.0 },
        }
    }

    fn grey(self, value: f32) -> Colour {
        let share = (value - self.low) / (self.high - self.low).max(f32::MIN_POSITIVE);
        // NaN is black
        [(share.clamp(0.0, 1.0) * 255.0).round() as u8; 3]
    }
}

/// Draws both sides of a case.
pub(super) fn draw(
    descriptor: &Descriptor,
    record: &CaseRecord,
    before: &Side,
    after: &Side,
    through_zyx: [usize; 3],
) -> anyhow::Result<Vec<u8>> {
    let em = record.modality == Modality::Em;
    let planes = if em { &STACK } else { &BODY };
    let window = Window::of(record, before);
    let kind = record.label.as_ref().map_or(LabelKind::Semantic, |label| label.kind);
    // both sides show the field of the raw file, in true proportions
    let spacing = before.grid.spacing_zyx_mm();
    let extent: [f64; 3] = std::array::from_fn(|a| before.grid.shape_zyx[a] as f64 * spacing[a]);
    let scale = SIDE / extent.into_iter().fold(0.0, f64::max);
    let pixels = extent.map(|mm| ((mm * scale).round() as usize).max(1));
    let column = planes.iter().map(|p| pixels[p.columns]).max().unwrap_or(1).max(SIDE as usize);
    let width = 3 * MARGIN + 2 * column;
    let head = MARGIN + 4 * LINE + LINE / 2;
    let body: usize = planes.iter().map(|p| LINE + pixels[p.rows] + MARGIN).sum();
    let legend = legend(descriptor, [before, after], kind, width - 2 * MARGIN);
    let height = head + body + legend.len() * LINE + 3 * LINE + MARGIN;
    let mut canvas = Canvas::new(height, width, PAPER);

    let modality = ["CT", "MRI", "EM"][record.modality as usize];
    let channel = &record.channels[0].name;
    canvas.write(MARGIN, MARGIN, &format!("{}  {}  {modality}", record.id, record.dataset), INK);
    if record.channels.len() > 1 {
        let text = format!("channel {channel}, the first of {}", record.channels.len());
        canvas.write(MARGIN + LINE, MARGIN, &text, FAINT);
    }
    let unit = if em { ("nm", 1e6) } else { ("mm", 1.0) };
    for (side, words, x) in [(before, "before", MARGIN), (after, "after", 2 * MARGIN + column)] {
        let grid = &side.grid;
        canvas.write(MARGIN + 2 * LINE, x, &format!("{words}: {} voxels", triple(&grid.shape_zyx)), INK);
        let size = grid.spacing_zyx_mm().map(|mm| readable(mm * unit.1));
        let stored = if words == "before" { format!(", stored {}", side.axis_codes) } else { String::new() };
        canvas.write(MARGIN + 3 * LINE, x, &format!("{} {}{stored}", triple(&size), unit.0), FAINT);
    }
    let mut top = head;
    for plane in planes {
        let place = format!("{} = {}", plane.name, through_zyx[plane.across]);
        canvas.write(top, MARGIN, &place, FAINT);
        top += LINE;
        for (side, x) in [(before, MARGIN), (after, 2 * MARGIN + column)] {
            let left = x + (column - pixels[plane.columns]) / 2;
            panel(&mut canvas, [top, left], plane, side, &before.grid, pixels, window, (kind, !em));
        }
        top += pixels[plane.rows] + MARGIN;
    }
    for line in &legend {
        for (x, name, colour) in line {
            canvas.fill(top, MARGIN + x, [14, 14], *colour);
            canvas.write(top, MARGIN + x + 22, name, INK);
        }
        top += LINE;
    }
    let [low, high] = [window.low, window.high].map(|v| readable(f64::from(v)));
    canvas.write(top + LINE / 2, MARGIN, &format!("window {low} to {high} of raw values"), FAINT);
    let convention = if em {
        "z, y, x from the first voxel on, down and right"
    } else {
        "seen from feet, front and left; R is the body's right"
    };
    canvas.write(top + LINE / 2 + LINE, MARGIN, convention, FAINT);
    Ok(canvas.encode()?)
}

/// Draws one section at a place, with its outlines and the letters at its edges.
#[expect(
    clippy::too_many_arguments,
    reason = "all of them differ from panel to panel or belong to the picture"
)]
fn panel(
    canvas: &mut Canvas,
    [top, left]: [usize; 2],
    plane: &Plane,
    side: &Side,
    field: &volume::Grid,
    pixels: [usize; 3],
    window: Window,
    (kind, flip): (LabelKind, bool),
) {
    let offset = offset_zyx_mm(field, &side.grid);
    let (spacing, own) = (field.spacing_zyx_mm(), side.grid.spacing_zyx_mm());
    // the voxel of this side under each pixel of an axis; none outside
    let under = |axis: usize| -> Vec<Option<usize>> {
        (0..pixels[axis])
            .map(|pixel| {
                let share = (pixel as f64 + 0.5) / pixels[axis] as f64;
                let share = if flip { 1.0 - share } else { share };
                let mm = (share * field.shape_zyx[axis] as f64 - 0.5) * spacing[axis];
                let index = ((mm - offset[axis]) / own[axis]).round();
                (index >= 0.0 && index < side.grid.shape_zyx[axis] as f64).then_some(index as usize)
            })
            .collect()
    };
    let (rows, columns) = (under(plane.rows), under(plane.columns));
    let voxel = |row: usize, column: usize| -> Option<[usize; 3]> {
        let mut voxel = [0; 3];
        voxel[plane.rows] = (*rows.get(row)?)?;
        voxel[plane.columns] = (*columns.get(column)?)?;
        Some(voxel)
    };
    let label = |row: usize, column: usize| -> Option<u64> {
        Some(side.label.as_ref()?[plane.across].at(voxel(row, column)?))
    };
    // two pixels wide, on the label's own side; objects that touch everywhere leave room for one
    let near: &[(usize, usize)] = match kind {
        LabelKind::Semantic => &[(0, 2), (2, 0), (4, 2), (2, 4), (1, 2), (2, 1), (3, 2), (2, 3)],
        LabelKind::Instances => &[(3, 2), (2, 3)],
    };
    for row in 0..rows.len() {
        for column in 0..columns.len() {
            let shade = match (voxel(row, column), label(row, column)) {
                (None, _) => OUTSIDE,
                (_, Some(here)) if here != 0 && is_edge(&label, near, [row, column], here) => {
                    colour(here, kind)
                }
                (Some(voxel), _) => window.grey(side.image[plane.across].at(voxel)),
            };
            canvas.set(top + row, left + column, shade);
        }
    }
    let letter = text_width("R");
    let (height, width) = (rows.len(), columns.len());
    if height < 2 * LINE || width < 2 * LINE {
        return;
    }
    let centre = [top + height / 2 - LINE / 2, left + width / 2 - letter / 2];
    let [up, down, start, end] = plane.edges;
    canvas.write_on_picture(top + 2, centre[1], up);
    canvas.write_on_picture(top + height - LINE, centre[1], down);
    canvas.write_on_picture(centre[0], left + 4, start);
    canvas.write_on_picture(centre[0], left + width - letter - 4, end);
}

/// Whether a pixel near this one has another label; the volume's own border is none.
fn is_edge(
    label: &dyn Fn(usize, usize) -> Option<u64>,
    near: &[(usize, usize)],
    [row, column]: [usize; 2],
    here: u64,
) -> bool {
    near.iter().any(|(r, c)| {
        let (Some(r), Some(c)) = ((row + r).checked_sub(2), (column + c).checked_sub(2)) else {
            return false;
        };
        label(r, c).is_some_and(|there| there != here)
    })
}

/// Place, name and colour of each class that is seen, line by line.
fn legend(
    descriptor: &Descriptor,
    sides: [&Side; 2],
    kind: LabelKind,
    width: usize,
) -> Vec<Vec<(usize, String, Colour)>> {
    let seen: BTreeSet<u64> = sides
        .iter()
        .filter_map(|side| side.label.as_ref())
        .flatten()
        .flat_map(|section| section.values().iter().copied())
        .filter(|label| *label != 0)
        .collect();
    if kind == LabelKind::Instances || seen.is_empty() {
        return Vec::new();
    }
    let classes = descriptor.labels.as_ref().map_or(&[][..], |labels| labels.classes.as_slice());
    let mut lines: Vec<Vec<_>> = vec![Vec::new()];
    let mut x = 0;
    for label in seen {
        let name = usize::try_from(label).ok().and_then(|i| classes.get(i));
        let text = name.map_or_else(|| label.to_string(), |name| format!("{label} {name}"));
        let needed = 22 + text_width(&text) + MARGIN;
        if x + needed > width && x > 0 {
            lines.push(Vec::new());
            x = 0;
        }
        if let Some(line) = lines.last_mut() {
            line.push((x, text, colour(label, kind)));
        }
        x += needed;
    }
    lines
}
