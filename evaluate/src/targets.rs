//! What is scored of a data set, by which formulas, and how classes become one number.

use crate::score::ScoreArguments;
use anyhow::Result;
use clap::ValueEnum;
use data_manifests::Descriptor;
use metrics::statistics::summarise;
use metrics::{Definition, Target};
use serde::{Deserialize, Serialize};
use stage::Message;

/// A class or region with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its label values.
    pub(crate) target: Target,
    /// Its name in the data set.
    pub(crate) name: String,
}

/// How the means of classes become one mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeanRule {
    /// Over the classes that were scored in some case
    #[default]
    Scored,
    /// As nnU-Net: no mean where a class was scored in no case
    Nnunet,
}

impl MeanRule {
    /// The mean of the classes' means.
    pub(crate) fn mean(self, classes: impl Iterator<Item = Option<f64>>) -> Option<f64> {
        let all: Vec<Option<f64>> = classes.collect();
        if self == Self::Nnunet && all.contains(&None) {
            return None;
        }
        let scored: Vec<f64> = all.into_iter().flatten().collect();
        summarise(&scored).map(|s| s.mean)
    }
}

/// The regions of a data set, or its classes where it has none.
///
/// # Errors
/// A data set without either.
pub(crate) fn of(descriptor: &Descriptor) -> Result<Vec<Named>> {
    let labels = descriptor.labels.as_ref();
    let regions = labels.map(|labels| labels.regions.as_slice()).unwrap_or_default();
    let named: Vec<Named> = if regions.is_empty() {
        (1_u64..)
            .zip(descriptor.foreground_classes())
            .map(|(value, name)| Ok(Named { target: Target::class(value)?, name: name.clone() }))
            .collect::<metrics::Result<_>>()?
    } else {
        let of_region = |region: &data_manifests::descriptor::Region| {
            let values = region.values.iter().map(|v| u64::from(*v)).collect();
            Ok(Named { target: Target::region(values)?, name: region.name.clone() })
        };
        regions.iter().map(of_region).collect::<metrics::Result<_>>()?
    };
    if named.is_empty() {
        return Err(Message::error("E508", format!("'{}' has no classes to score", descriptor.name))
            .cause("Its labels name objects, or it has none; overlap and surface distances need classes")
            .fix("Score objects with 'evaluate instances', or give a data set with semantic labels")
            .into());
    }
    Ok(named)
}

/// The tolerance in mm, with its source.
///
/// # Errors
/// No tolerance anywhere, or one that is not positive.
pub(crate) fn tolerance(arguments: &ScoreArguments, descriptor: &Descriptor) -> Result<(f64, String)> {
    let (tolerance_mm, source) = match (arguments.tolerance_mm, &descriptor.tolerance) {
        (Some(given), _) => (given, "--tolerance-mm".to_owned()),
        (None, Some(own)) => (own.nsd_mm, own.source.clone()),
        (None, None) => {
            return Err(Message::error("E510", format!("'{}' states no tolerance", descriptor.name))
                .detail("The normalised surface distance needs one, in mm")
                .fix("Give --tolerance-mm, or add [tolerance] to the descriptor")
                .into());
        }
    };
    if !(tolerance_mm.is_finite() && tolerance_mm > 0.0) {
        return Err(
            Message::error("E510", format!("--tolerance-mm must be positive, found {tolerance_mm}")).into()
        );
    }
    Ok((tolerance_mm, source))
}

/// The formulas that were asked for, each once, in their order.
///
/// # Errors
/// An id that no formula has.
pub(crate) fn definitions(arguments: &ScoreArguments, tolerance_mm: f64) -> Result<Vec<Definition>> {
    let usual = [Definition::Dice, Definition::Iou, Definition::Hd95, Definition::Nsd { tolerance_mm }];
    let mut found: Vec<Definition> = Vec::new();
    for id in &arguments.metrics {
        let more = match id.as_str() {
            "default" => usual.to_vec(),
            "all" => Definition::all(tolerance_mm),
            id => match Definition::parse(id, tolerance_mm) {
                Some(one) => vec![one],
                None => {
                    let known: Vec<_> =
                        Definition::all(tolerance_mm).into_iter().map(Definition::stem).collect();
                    return Err(Message::error("E513", format!("no metric has the id '{id}'"))
                        .detail("A name such as HD95 has several definitions: the id says which; a tolerance may follow as @2mm")
                        .fix(format!("Use some of default, all, {}", known.join(", ")))
                        .into());
                }
            },
        };
        for definition in more {
            if !found.contains(&definition) {
                found.push(definition);
            }
        }
    }
    Ok(found)
}
