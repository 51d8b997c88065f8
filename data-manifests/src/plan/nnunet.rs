//! Plans of nnU-Net v2 (`nnUNetPlans.json`).

use super::{ChannelStatistics, Plan, SCHEMA};
use crate::descriptor::{Intensities, Intensity, Resampling};
use serde_json::{Map, Value};
use stage::Message;
use std::collections::BTreeSet;

/// The configuration that is read.
const CONFIGURATION: &str = "3d_fullres";

/// What `use_mask_for_norm` is there and here.
const MASKS_DIFFER: &str = "use_mask_for_norm followed as statistics of each channel over its own voxels other than 0, which stay 0; nnU-Net \
     takes one mask for all channels, the voxels that are not 0 in any of them with holes filled, and normalises the zeros within it too";

impl Plan {
    /// The plan in the configuration `3d_fullres` of nnU-Net's plans: spacing, patch, intensity rule and resampling. What else
    /// stands there is named in [`Plan::notes`].
    ///
    /// # Errors
    /// `E024` names the member that is missing or cannot be followed.
    pub fn from_nnunet(plans: &Value, origin: &str) -> anyhow::Result<Self> {
        let wrong = |detail: String| {
            Message::error("E024", "nnU-Net's plan cannot be used")
                .detail(format!("{origin}: {detail}"))
                .fix("Make a plan with 'preprocess plan', or correct this one")
        };
        read(plans, origin).map_err(|detail| wrong(detail).into())
    }
}

fn read(plans: &Value, origin: &str) -> Result<Plan, String> {
    let found = configuration(plans)?;
    let member = |name: &str| {
        found.get(name).ok_or_else(|| format!("configurations.{CONFIGURATION}.{name} is missing"))
    };
    let mut used: BTreeSet<&str> = BTreeSet::from([
        "spacing",
        "patch_size",
        "normalization_schemes",
        "use_mask_for_norm",
        "resampling_fn_data",
        "resampling_fn_data_kwargs",
    ]);
    let mut notes = Vec::new();
    let back = transposition(plans)?;
    let spacing = three(member("spacing")?, "spacing")?;
    let patch = three(member("patch_size")?, "patch_size")?;
    if let Some(value) = spacing.iter().chain(&patch).find(|v| !(v.is_finite() && **v > 0.0)) {
        return Err(format!("spacing and patch_size must be positive, found {value}"));
    }
    if let Some(value) = patch.iter().find(|v| v.fract() != 0.0) {
        return Err(format!("patch_size must hold whole numbers, found {value}"));
    }
    let mut plan_spacing = [0.0; 3];
    let mut plan_patch = [0; 3];
    for (i, axis) in back.into_iter().enumerate() {
        plan_spacing[axis] = spacing[i];
        plan_patch[axis] = patch[i] as usize;
    }
    if back != [0, 1, 2] {
        notes.push(format!("transpose_forward {back:?} undone: axes are z, y, x here"));
    }
    if plan_spacing.iter().any(|s| *s != plan_spacing[0]) {
        notes.push(
            "nnU-Net's axes are those of the stored arrays, ours those of canonical volumes: check spacing_zyx_mm and patch_zyx \
             where images were not stored axially"
                .to_owned(),
        );
    }
    let intensity = intensity(plans, member("normalization_schemes")?, found.get("use_mask_for_norm"))?;
    let masked = Some(&Intensity::MriZscore { nonzero: true });
    if (0..intensity.channels().unwrap_or(1)).any(|channel| intensity.channel(channel) == masked) {
        notes.push(MASKS_DIFFER.to_owned());
    }
    let resampling = resampling(&found, &mut notes)?;
    let configurations = plans.get("configurations").and_then(Value::as_object);
    let others: Vec<&str> = configurations
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(|name| *name != CONFIGURATION)
        .collect();
    if !others.is_empty() {
        notes.push(format!("other configurations ignored: {}", others.join(", ")));
    }
    used.insert("inherits_from");
    let mut ignored: Vec<&str> =
        found.keys().map(String::as_str).filter(|name| !used.contains(name)).collect();
    // what order keys come in is a matter of how serde_json was built
    ignored.sort_unstable();
    if !ignored.is_empty() {
        notes.push(format!("{CONFIGURATION}: ignored {}", ignored.join(", ")));
    }
    let known = [
        "configurations",
        "foreground_intensity_properties_per_channel",
        "transpose_forward",
        "dataset_name",
    ];
    let mut ignored: Vec<&str> = plans
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(|name| !known.contains(name))
        .collect();
    // what order keys come in is a matter of how serde_json was built
    ignored.sort_unstable();
    if !ignored.is_empty() {
        notes.push(format!("ignored {}", ignored.join(", ")));
    }
    Ok(Plan {
        schema: SCHEMA.to_owned(),
        dataset: plans.get("dataset_name").and_then(Value::as_str).unwrap_or("unnamed").to_owned(),
        source: format!("nnU-Net ({})", origin.rsplit('/').next().unwrap_or(origin)),
        fingerprint: None,
        spacing_zyx_mm: plan_spacing,
        patch_zyx: plan_patch,
        intensity,
        resampling,
        predicted: None,
        notes,
    })
}

/// The members of `3d_fullres`, those that it inherits included.
fn configuration(plans: &Value) -> Result<Map<String, Value>, String> {
    let all = plans
        .get("configurations")
        .and_then(Value::as_object)
        .ok_or("'configurations' is missing; expected an nnU-Net v2 plan")?;
    let mut found = Map::new();
    let mut name = CONFIGURATION.to_owned();
    let mut seen = BTreeSet::new();
    loop {
        if !seen.insert(name.clone()) {
            return Err(format!("configuration '{name}' inherits from itself"));
        }
        let Some(part) = all.get(&name).and_then(Value::as_object) else {
            let names = all.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(format!("there is no configuration '{name}', only {names}"));
        };
        for (key, value) in part {
            found.entry(key).or_insert_with(|| value.clone());
        }
        match part.get("inherits_from").and_then(Value::as_str) {
            Some(parent) => name = parent.to_owned(),
            None => return Ok(found),
        }
    }
}

/// Which axis (z, y, x) each axis of the plan is.
fn transposition(plans: &Value) -> Result<[usize; 3], String> {
    let Some(value) = plans.get("transpose_forward") else { return Ok([0, 1, 2]) };
    let axes: Option<Vec<usize>> =
        value.as_array().and_then(|list| list.iter().map(|v| v.as_u64().map(|n| n as usize)).collect());
    let axes: Option<[usize; 3]> = axes.and_then(|list| list.try_into().ok());
    let is_order = |axes: &[usize; 3]| {
        let mut sorted = *axes;
        sorted.sort_unstable();
        sorted == [0, 1, 2]
    };
    axes.filter(is_order).ok_or_else(|| format!("transpose_forward is {value}, expected an order of 0, 1, 2"))
}

fn three(value: &Value, name: &str) -> Result<[f64; 3], String> {
    let numbers: Option<Vec<f64>> =
        value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
    numbers
        .and_then(|list| list.try_into().ok())
        .ok_or_else(|| format!("configurations.{CONFIGURATION}.{name} is {value}, expected three numbers"))
}

/// The rules of the channels.
fn intensity(plans: &Value, schemes: &Value, masks: Option<&Value>) -> Result<Intensities, String> {
    let names: Option<Vec<&str>> =
        schemes.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
    let names = names
        .filter(|names| !names.is_empty())
        .ok_or_else(|| format!("normalization_schemes is {schemes}, expected a list of names"))?;
    let masks: Vec<bool> = match masks {
        None => vec![false; names.len()],
        Some(value) => value
            .as_array()
            .and_then(|list| list.iter().map(Value::as_bool).collect::<Option<Vec<bool>>>())
            .filter(|masks| masks.len() == names.len())
            .ok_or_else(|| {
                format!("use_mask_for_norm is {value}, expected true or false for {} channels", names.len())
            })?,
    };
    let rule = |(channel, (name, nonzero)): (usize, (&str, bool))| match name {
        "CTNormalization" => percentiles(plans, channel),
        "ZScoreNormalization" => Ok(Intensity::MriZscore { nonzero }),
        "RGBTo01Normalization" => Ok(Intensity::EmScale {}),
        "RescaleTo01Normalization" => Ok(Intensity::MinMax {}),
        "NoNormalization" => Ok(Intensity::None {}),
        other => Err(format!(
            "normalization scheme '{other}'; expected CTNormalization, ZScoreNormalization, RescaleTo01Normalization, \
             RGBTo01Normalization or NoNormalization"
        )),
    };
    Ok(names.into_iter().zip(masks).enumerate().map(rule).collect::<Result<Vec<_>, _>>()?.into())
}

/// `CTNormalization` of a channel, by what was measured on its foreground.
fn percentiles(plans: &Value, channel: usize) -> Result<Intensity, String> {
    let place = "foreground_intensity_properties_per_channel";
    let properties = plans
        .get(place)
        .and_then(|channels| channels.get(channel.to_string()))
        .ok_or_else(|| format!("{place} of channel {channel} are missing"))?;
    let statistics: ChannelStatistics =
        serde_json::from_value(properties.clone()).map_err(|e| format!("{place}: {e}"))?;
    let rule = statistics.ct_percentile();
    rule.check().map_err(|e| format!("{place}: {e}"))?;
    Ok(rule)
}

fn resampling(found: &Map<String, Value>, notes: &mut Vec<String>) -> Result<Resampling, String> {
    let name = found.get("resampling_fn_data").and_then(Value::as_str).unwrap_or_default();
    let kwargs = found.get("resampling_fn_data_kwargs");
    let number = |key: &str| kwargs.and_then(|k| k.get(key)).and_then(Value::as_u64);
    match name {
        "resample_data_or_seg_to_shape" | "" => {
            let orders = (number("order").unwrap_or(3), number("order_z").unwrap_or(0));
            let forced = kwargs.and_then(|k| k.get("force_separate_z")).is_some_and(|v| !v.is_null());
            if orders != (3, 0) || forced {
                notes.push(format!(
                    "resampling_fn_data_kwargs {} followed as order 3, order_z 0 and nnU-Net's own rule for separate z",
                    kwargs.unwrap_or(&Value::Null)
                ));
            }
            Ok(Resampling::Nnunet)
        }
        name if name.starts_with("resample_torch") => {
            notes.push(format!("{name} followed as 'linear' resampling: trilinear, on another grid"));
            Ok(Resampling::Linear)
        }
        other => {
            Err(format!("resampling_fn_data '{other}' is unknown; expected resample_data_or_seg_to_shape"))
        }
    }
}
