//! Rules of a descriptor that types cannot say.

use super::{Descriptor, LabelKind, Labels, PartRole, Raw, SectionPart};
use crate::raw::{self, Source};
use anyhow::bail;
use std::collections::BTreeSet;

impl Descriptor {
    /// Rules that types cannot say.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            bail!("name '{}' may hold lower-case letters, digits and hyphens only", self.name);
        }
        if self.channels.is_empty() {
            bail!("channels is empty");
        }
        if !self.grid.spacing_zyx.iter().all(|s| s.is_finite() && *s > 0.0) {
            bail!("grid.spacing_zyx must be positive, found {:?}", self.grid.spacing_zyx);
        }
        if self.grid.patch_zyx.contains(&0) {
            bail!("grid.patch_zyx must be positive, found {:?}", self.grid.patch_zyx);
        }
        check_raw(&self.raw)?;
        if matches!(self.raw, Raw::Images { .. }) && self.labels.is_some() {
            bail!("labels: the layout 'images' has none; leave [labels] out, or list the cases in a table");
        }
        self.intensity.check()?;
        if let Some(rules) = self.intensity.channels().filter(|rules| *rules != self.channels.len()) {
            bail!(
                "intensity lists rules for {rules} channels, but {} are named ({})",
                self.channels.len(),
                self.channels.join(", ")
            );
        }
        if self.text.stride == 0 || self.text.tile_yx.contains(&0) {
            bail!("text.stride and text.tile_yx must be positive");
        }
        let axes: BTreeSet<&str> = self.mirror_axes.iter().map(String::as_str).collect();
        if axes.len() != self.mirror_axes.len() || !axes.is_subset(&BTreeSet::from(["z", "y", "x"])) {
            bail!("mirror_axes may hold z, y and x once each, found {:?}", self.mirror_axes);
        }
        if let Some(labels) = &self.labels {
            check_labels(labels)?;
            if labels.kind == LabelKind::Semantic
                && self.tolerance.as_ref().is_none_or(|t| !(t.nsd_mm.is_finite() && t.nsd_mm > 0.0))
            {
                bail!("semantic labels need a positive tolerance.nsd_mm");
            }
        }
        for result in &self.published {
            if !(result.fraction > 0.0 && result.fraction <= 1.0) {
                bail!("published: fraction {} does not lie in (0, 1]", result.fraction);
            }
        }
        Ok(())
    }
}

fn check_raw(raw: &Raw) -> anyhow::Result<()> {
    match raw {
        Raw::Table { file: Some(file), cases, .. } if !cases.is_empty() => {
            bail!("raw: the cases are either in the table '{file}' or in 'cases', not in both")
        }
        Raw::Table { file: None, cases, .. } if cases.is_empty() => {
            bail!("raw: the layout 'table' needs 'file' (a CSV table) or 'cases'")
        }
        // as files, ids that differ in case only are the same on some file systems
        Raw::Table { cases, .. } => {
            named_once("raw.cases", cases.iter().map(|case| case.id.to_lowercase()))?;
            for case in cases {
                for (field, text) in [("image", Some(&case.image)), ("label", case.label.as_ref())] {
                    let flaw = text.and_then(|text| Some((text, Source::check_name(text).err()?)));
                    if let Some((text, why)) = flaw {
                        bail!("raw.cases: {field} '{text}' of '{}' {why}", case.id);
                    }
                }
            }
            Ok(())
        }
        Raw::Stack { spacing_zyx: Some(spacing), unit, .. } => {
            if !spacing.iter().all(|s| s.is_finite() && *s > 0.0) {
                bail!("raw.spacing_zyx must be positive, found {spacing:?}");
            }
            if unit.is_none() {
                bail!("raw.spacing_zyx needs raw.unit, \"mm\" or \"nm\"");
            }
            Ok(())
        }
        Raw::Stack { images, labels: Some(labels), .. } if images.as_ref() == Some(labels) => {
            bail!("raw: images and labels are both in '{labels}'")
        }
        Raw::Stack { images: None, labels: Some(_), .. } => {
            bail!("raw: name the folder of the images too where there is one of the labels")
        }
        Raw::Cremi { parts, .. } => check_parts(parts),
        Raw::Images { images, exclude, .. } => {
            for (field, patterns) in [("images", images), ("exclude", exclude)] {
                for pattern in patterns {
                    if let Err(why) = raw::check_pattern(pattern) {
                        bail!("raw.{field}: '{pattern}' {why}");
                    }
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// No name is empty or occurs twice.
fn named_once(field: &str, names: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.trim().is_empty() {
            bail!("{field}: a name is empty");
        }
        if seen.contains(&name) {
            bail!("{field}: '{name}' occurs twice");
        }
        seen.insert(name);
    }
    Ok(())
}

/// Parts share no section: what validates must not be trained on.
fn check_parts(parts: &[SectionPart]) -> anyhow::Result<()> {
    for (i, part) in parts.iter().enumerate() {
        let [first, end] = part.sections;
        if first >= end {
            bail!(
                "raw.parts: '{}' needs sections [first, one past the last], found [{first}, {end}]",
                part.name
            );
        }
        for other in &parts[..i] {
            if other.name == part.name {
                bail!("raw.parts: '{}' occurs twice", part.name);
            }
            if first < other.sections[1] && other.sections[0] < end {
                bail!("raw.parts: '{}' and '{}' share sections", other.name, part.name);
            }
        }
    }
    let roles = |role| parts.iter().filter(|part| part.role == role).count();
    if !parts.is_empty() && (roles(PartRole::Train) == 0 || roles(PartRole::Val) == 0) {
        bail!("raw.parts needs one of role \"train\" and one of role \"val\" at least");
    }
    Ok(())
}

fn check_labels(labels: &Labels) -> anyhow::Result<()> {
    let semantic = labels.kind == LabelKind::Semantic;
    let classes = labels.classes.len();
    if semantic && classes < 2 {
        bail!("labels.classes needs the background and at least one class");
    }
    if !semantic && (labels.ignore.is_some() || !labels.regions.is_empty()) {
        bail!("labels.ignore and labels.regions are for semantic labels");
    }
    if let Some(ignore) = labels.ignore
        && (ignore as usize) < classes
    {
        bail!("labels.ignore is {ignore}, which is the class '{}'", labels.classes[ignore as usize]);
    }
    named_once("labels.classes", labels.classes.iter().cloned())?;
    let allowed = labels.allowed();
    for (value, to) in &labels.map {
        if value.parse::<u64>().is_err() {
            bail!("labels.map: '{value}' is not a label value");
        }
        if semantic && !allowed.contains(&u64::from(*to)) {
            bail!("labels.map: {value} becomes {to}, but there are {classes} classes");
        }
    }
    let mut names = BTreeSet::new();
    for region in &labels.regions {
        let name = &region.name;
        if !names.insert(name) {
            bail!("labels.regions: '{name}' occurs twice");
        }
        if let Some(value) = region.values.iter().find(|v| **v == 0 || **v as usize >= classes) {
            bail!("labels.regions: '{name}' holds {value}, expected classes from 1 to {}", classes - 1);
        }
        if !region.values.contains(&region.paint) {
            bail!("labels.regions: '{name}' is painted {}, expected one of its values", region.paint);
        }
    }
    Ok(())
}
