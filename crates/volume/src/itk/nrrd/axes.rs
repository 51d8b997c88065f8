//! What the axes of an NRRD are: space, or channels.

use super::{Fields, no_spacing};
use crate::error::Result;
use crate::itk::geometry::{LPS, Placement};
use crate::itk::text::Header;
use crate::scan::with_channels;
use crate::warning::Warning;

/// The axes, space first.
pub(super) struct Axes {
    /// Sizes in the file's order, but for channels, which come last.
    pub(super) sizes: Vec<i64>,
    /// Channels come first in the file: they alternate voxel by voxel.
    pub(super) interleaved: bool,
    pub(super) placement: Placement,
    pub(super) warnings: Vec<Warning>,
}

/// One axis as stored.
struct Axis {
    size: i64,
    /// `None`: it is not an axis of space, or nothing is said.
    direction: Option<Vec<f64>>,
    spacing: Option<f64>,
    /// Where the axis begins, of one with a spacing only.
    min: Option<f64>,
    /// Whether samples are at the middle of cells, so that the first one's centre lies half a spacing behind the beginning.
    is_cell: bool,
    is_space: bool,
    is_complex: bool,
}

impl Axes {
    /// Reads the fields that describe axes.
    ///
    /// # Errors
    /// Fields of the wrong length, channels before the axes of space, voxel sizes that are none.
    pub(super) fn read(header: &Header<'_>, fields: &Fields) -> Result<Self> {
        let mut axes = axes(header, fields)?;
        // an axis of one element changes no order
        axes.retain(|axis| axis.is_space || axis.size != 1);
        if axes.iter().any(|axis| axis.is_complex && !axis.is_space) {
            return Err(header.wrong("its voxels are complex", "Export magnitude or phase"));
        }
        let channels = axes.first().filter(|axis| !axis.is_space).map(|axis| axis.size);
        if channels.is_some() {
            axes.remove(0);
        }
        let space = axes.iter().take_while(|axis| axis.is_space).count();
        if axes.iter().skip(space).any(|axis| axis.is_space) {
            let fix = "Write the scan with channels as its first or last axis: SimpleITK does";
            return Err(header.wrong("an axis of channels lies between those of space", fix));
        }
        let mut warnings = Vec::new();
        let (to_ras, known) = match fields.get("space") {
            Some(name) => space_signs(name),
            None => (LPS, false),
        };
        if !known {
            let found = fields.get("space").unwrap_or_default().to_owned();
            warnings.push(Warning::SpaceUnknown { found });
        }
        let scale = unit(header, fields, &mut warnings)?;
        let mut placement = Placement { axes: [[0.0; 3]; 3], origin: [0.0; 3], to_ras };
        for (number, along) in placement.axes.iter_mut().enumerate() {
            match axes.get(number).filter(|axis| axis.is_space) {
                Some(axis) => *along = axis.along(header, number)?.map(|v| v * scale),
                None => along[number] = 1.0,
            }
        }
        for (number, to) in placement.origin.iter_mut().enumerate() {
            *to = axes.get(number).filter(|axis| axis.is_space).map_or(0.0, Axis::first) * scale;
        }
        if let Some(text) = fields.get("spaceorigin") {
            let origin = vector(text).ok_or_else(|| header.odd("space origin", text))?;
            for (to, from) in placement.origin.iter_mut().zip(origin) {
                *to = from * scale;
            }
        }
        let sizes = axes.iter().map(|axis| axis.size).collect();
        Ok(match channels {
            Some(channels) => {
                Self { sizes: with_channels(sizes, channels), interleaved: true, placement, warnings }
            }
            None => Self { sizes, interleaved: false, placement, warnings },
        })
    }
}

impl Axis {
    /// Centre of the first sample by the axis' own numbers.
    fn first(&self) -> f64 {
        let half = if self.is_cell { self.spacing.unwrap_or(0.0) / 2.0 } else { 0.0 };
        self.min.map_or(0.0, |min| min + half)
    }

    /// Direction times voxel size, along the space's axes.
    fn along(&self, header: &Header<'_>, number: usize) -> Result<[f64; 3]> {
        let name = ["x", "y", "z"].get(number).copied().unwrap_or("?");
        let mut along = [0.0; 3];
        match (&self.direction, self.spacing) {
            (Some(direction), _) => {
                for (to, from) in along.iter_mut().zip(direction) {
                    *to = *from;
                }
            }
            (None, Some(spacing)) if number < 3 => along[number] = spacing,
            _ => return Err(no_spacing(header, format!("neither directions nor spacings along {name}"))),
        }
        let length = along.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length > 0.0 && length.is_finite() {
            Ok(along)
        } else {
            Err(no_spacing(header, format!("the voxel size along {name} is {length}")))
        }
    }
}

fn axes(header: &Header<'_>, fields: &Fields) -> Result<Vec<Axis>> {
    let text = fields.need(header, "dimension")?;
    let count: usize = text.parse().map_err(|_| header.odd("dimension", text))?;
    let text = fields.need(header, "sizes")?;
    let sizes: Vec<i64> = header.numbers("sizes", text)?;
    if sizes.len() != count {
        return Err(header.odd("sizes", text));
    }
    let directions = match fields.get("spacedirections") {
        Some(text) => Some(directions(text, count).ok_or_else(|| header.odd("space directions", text))?),
        None => None,
    };
    let spacings = match fields.get("spacings") {
        Some(text) => Some(by_axis(text, count).ok_or_else(|| header.odd("spacings", text))?),
        None => None,
    };
    let mins = match fields.get("axismins") {
        Some(text) => Some(by_axis(text, count).ok_or_else(|| header.odd("axis mins", text))?),
        None => None,
    };
    let centres: Vec<String> = fields
        .get("centerings")
        .or_else(|| fields.get("centers"))
        .map(|text| text.split_whitespace().map(str::to_lowercase).collect())
        .unwrap_or_default();
    let kinds: Option<Vec<String>> =
        fields.get("kinds").map(|text| text.split_whitespace().map(str::to_lowercase).collect());
    if let Some(kinds) = kinds.as_ref().filter(|kinds| kinds.len() != count) {
        return Err(header.odd("kinds", &kinds.join(" ")));
    }
    Ok((0..count)
        .map(|axis| {
            let direction = directions.as_ref().and_then(|all| all[axis].clone()).and_then(in_space);
            let spacing = spacings.as_ref().and_then(|all| all[axis]);
            let kind = kinds.as_ref().map_or("???", |kinds| kinds[axis].as_str());
            let is_space = match (&directions, kind) {
                (Some(_), _) => direction.is_some(),
                (None, "domain" | "space") => true,
                (None, "???" | "none") => axis < 3,
                _ => false,
            };
            let min = mins.as_ref().and_then(|all| all[axis]);
            let is_cell = centres.get(axis).is_some_and(|centre| centre == "cell");
            let is_complex = kind == "complex";
            Axis { size: sizes[axis], direction, spacing, min, is_cell, is_space, is_complex }
        })
        .collect())
}

/// `(1,0,0) none (0,0,1)`: a vector, or none, for each axis.
fn directions(text: &str, count: usize) -> Option<Vec<Option<Vec<f64>>>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("none") {
            found.push(None);
            rest = behind.trim_start();
        } else {
            let end = rest.find(')')? + 1;
            found.push(Some(vector(&rest[..end])?));
            rest = rest[end..].trim_start();
        }
    }
    (found.len() == count).then_some(found)
}

/// A direction without its fourth component, which is time; `None` for the axis of time itself.
fn in_space(mut direction: Vec<f64>) -> Option<Vec<f64>> {
    if direction.len() < 4 {
        return Some(direction);
    }
    direction.truncate(3);
    direction.iter().any(|v| *v != 0.0).then_some(direction)
}

/// `(1,0,0)`: two to four finite numbers.
fn vector(text: &str) -> Option<Vec<f64>> {
    let inside = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    let numbers: Vec<f64> =
        inside.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
    let usable = (2..=4).contains(&numbers.len()) && numbers.iter().all(|v: &f64| v.is_finite());
    usable.then_some(numbers)
}

/// A number for each axis; `nan` where there is none.
fn by_axis(text: &str, count: usize) -> Option<Vec<Option<f64>>> {
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    (numbers.len() == count).then(|| numbers.into_iter().map(|v| Some(v).filter(|v| !v.is_nan())).collect())
}

/// Signs to RAS+, and whether the name says them.
fn space_signs(name: &str) -> ([f64; 3], bool) {
    let name = name.to_lowercase();
    match name.strip_suffix("-time").unwrap_or(&name) {
        "right-anterior-superior" | "ras" | "rast" => ([1.0, 1.0, 1.0], true),
        "left-anterior-superior" | "las" | "last" => ([-1.0, 1.0, 1.0], true),
        "left-posterior-superior" | "lps" | "lpst" => (LPS, true),
        _ => (LPS, false),
    }
}

/// Millimetres of the unit of space, which is one for all its axes; a fourth one may be time's.
fn unit(header: &Header<'_>, fields: &Fields, warnings: &mut Vec<Warning>) -> Result<f64> {
    let Some(text) = fields.get("spaceunits").or_else(|| fields.get("units")) else { return Ok(1.0) };
    let lower = text.to_lowercase();
    let mut names: Vec<&str> = lower.split(['"', ' ']).filter(|name| !name.is_empty()).collect();
    const TIMES: [&str; 6] = ["s", "sec", "second", "seconds", "ms", "???"];
    names.retain(|name| !TIMES.contains(name));
    names.dedup();
    let (scale, name) = match names.as_slice() {
        [] | ["mm" | "millimeter" | "millimeters" | "millimetre" | "millimetres"] => return Ok(1.0),
        ["m" | "meter" | "meters" | "metre" | "metres"] => (1000.0, "metre"),
        ["cm" | "centimeter" | "centimeters" | "centimetre"] => (10.0, "centimetre"),
        ["um" | "µm" | "micron" | "microns" | "micrometer" | "micrometers" | "micrometre"] => {
            (1e-3, "micrometre")
        }
        ["nm" | "nanometer" | "nanometers" | "nanometre"] => (1e-6, "nanometre"),
        _ => {
            let fix = "Write the scan with all axes of space in mm: SimpleITK does";
            return Err(header.wrong(format!("its units are {text}"), fix));
        }
    };
    warnings.push(Warning::Unit { unit: name.to_owned() });
    Ok(scale)
}
