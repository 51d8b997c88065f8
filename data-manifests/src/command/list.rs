//! `data-manifests list`.

use crate::Descriptor;
use crate::descriptor::{LabelKind, Modality, Unit};
use stage::{Context, ExitStatus};

pub(super) fn run(context: &Context) -> anyhow::Result<ExitStatus> {
    let header = ["NAME", "MODALITY", "CHANNELS", "TRAIN", "TEST", "LABELS", "SPACING Z,Y,X", "LICENCE"];
    let mut rows = vec![header.map(str::to_owned)];
    for descriptor in Descriptor::built_in()? {
        rows.push(row(&descriptor));
    }
    let widths: [usize; 8] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let line: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        context.print(line.join("  ").trim_end())?;
    }
    Ok(ExitStatus::Done)
}

fn row(descriptor: &Descriptor) -> [String; 8] {
    let modality = match descriptor.modality {
        Modality::Ct => "CT",
        Modality::Mri => "MRI",
        Modality::Em => "EM",
    };
    let count = |n: Option<usize>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let labels = match &descriptor.labels {
        Some(labels) if labels.kind == LabelKind::Semantic => format!("{} classes", labels.classes.len() - 1),
        Some(_) => "instances".to_owned(),
        None => "-".to_owned(),
    };
    let unit = match descriptor.grid.unit {
        Unit::Mm => "mm",
        Unit::Nm => "nm",
    };
    let [z, y, x] = descriptor.grid.spacing_zyx;
    // a licence may be a sentence: its first clause is enough here
    let licence = descriptor.licence.split(';').next().unwrap_or_default();
    [
        descriptor.name.clone(),
        modality.to_owned(),
        descriptor.channels.join(","),
        count(descriptor.train_cases),
        count(descriptor.test_cases),
        labels,
        format!("{z},{y},{x} {unit}"),
        licence.to_owned(),
    ]
}
