//! A volume in words.

use super::describe::{Target, Volume};
use super::statistics::Statistics;
use data_manifests::cases::triple;
use stage::limits::size;
use stage::message::counted;

/// Values of a table that are shown.
const SHOWN: usize = 12;

/// Lines about a volume.
pub(super) fn of_volume(volume: &Volume) -> String {
    let mut lines = vec![match &volume.part {
        Some(part) => format!("{} {part}", volume.path),
        None => volume.path.clone(),
    }];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
    let channels = counted(volume.channels, "channel");
    line("file", format!("{}, {}, {channels}, {}", volume.format, volume.stored_type, bytes(volume.bytes)));
    line("shape", format!("{} voxels (z,y,x)", triple(&volume.shape_zyx)));
    line("spacing", format!("{} (z,y,x)", spacing(&volume.spacing_zyx_mm)));
    let codes = match (volume.geometry.sform_code, volume.geometry.qform_code) {
        (Some(sform), Some(qform)) => format!(" (sform_code {sform}, qform_code {qform})"),
        _ => String::new(),
    };
    let source = volume.geometry.source;
    line("axes", format!("x,y,z run to {}, by {source}{codes}", volume.axis_codes));
    for (i, row) in volume.affine.iter().take(3).enumerate() {
        let row: Vec<String> = row.iter().map(|v| format!("{:>12}", number(*v).to_string())).collect();
        line(if i == 0 { "affine" } else { "" }, row.join(""));
    }
    if let Some([slope, inter]) = volume.scaling {
        line("scaling", format!("stored x {slope} + {inter}"));
    }
    for (i, statistics) in volume.statistics.iter().enumerate() {
        let name = if volume.channels > 1 { format!("channel {i}") } else { "values".to_owned() };
        line(&name, values(statistics));
        line("", percentiles(statistics));
    }
    let labels = &volume.labels;
    line("labels", format!("{}: {}", if labels.likely { "likely" } else { "no" }, labels.why));
    if labels.likely {
        if let Some(distinct) = labels.distinct.filter(|_| labels.values.is_empty()) {
            line("", format!("{distinct} distinct values"));
        }
        let all: u64 = labels.values.iter().map(|(_, count)| count).sum();
        for (value, count) in labels.values.iter().take(SHOWN) {
            let share = 100.0 * *count as f64 / all.max(1) as f64;
            line("", format!("{value:>8} {count:>12} voxels {share:>6.2} %"));
        }
        if let Some(more) = labels.values.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            line("", format!("and {more} more values"));
        }
    }
    let preparation = &volume.preparation;
    let order = preparation.canonical_from.join(",");
    let turned = if order == "z,y,x" { "are canonical".to_owned() } else { format!("become {order}") };
    line("run", format!("axes z,y,x {turned}: RAS of {}", triple(&preparation.canonical_shape_zyx)));
    if let Some(target) = &preparation.target {
        line("", of_target(target));
    }
    for warning in &volume.warnings {
        lines.push(format!("  {} {}", warning.code, warning.text));
    }
    lines.join("\n")
}

fn values(s: &Statistics) -> String {
    let mut text = format!(
        "{} to {}, mean {}, standard deviation {}, {:.1} % zeros",
        s.min,
        s.max,
        number(s.mean),
        number(s.std),
        100.0 * s.zeros as f64 / s.voxels.max(1) as f64
    );
    if s.nan + s.infinite > 0 {
        text += &format!(", {} NaN, {} infinite", s.nan, s.infinite);
    }
    text
}

fn percentiles(s: &Statistics) -> String {
    let worded = s.percentiles.iter().map(|(p, v)| format!("{p} %: {}", number(*v)));
    format!("percentiles {}", worded.collect::<Vec<_>>().join(", "))
}

fn of_target(target: &Target) -> String {
    format!(
        "as {}: {} voxels of {}, {}; at most {} of shards, {} of memory",
        target.dataset,
        triple(&target.shape_zyx),
        spacing(&target.spacing_zyx_mm),
        target.intensity,
        bytes(target.bytes),
        bytes(target.memory_bytes)
    )
}

/// Voxel sizes of microscopes in nm, others in mm.
fn spacing(zyx_mm: &[f64; 3]) -> String {
    let (factor, unit) = if zyx_mm.iter().all(|mm| *mm < 1e-3) { (1e6, "nm") } else { (1.0, "mm") };
    format!("{} {unit}", triple(&zyx_mm.map(|mm| number(mm * factor))))
}

/// Small files and cases, too.
fn bytes(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{:.1} KiB", bytes as f64 / 1024.0) } else { size(bytes) }
}

/// Five significant digits.
fn number(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}
