//! Weights and inputs made by rule, as `tests/golden/README.md` defines them.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor, nn};

const PERIOD: usize = 9973;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of reference numbers.
pub(crate) fn golden(name: &str) -> PathBuf {
    env::var_os("GTGM_GOLDEN").map_or_else(|| root().join("tests/golden"), PathBuf::from).join(name)
}

pub(crate) fn json(name: &str) -> Value {
    serde_json::from_str(&fs_err::read_to_string(golden(name)).unwrap()).unwrap()
}

/// sin(0.013·i + 0.5·cos(0.0007·i)) over the flat index.
pub(crate) fn ramp(shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|index| {
            let index = index as f64;
            (0.013 * index + 0.5 * (0.0007 * index).cos()).sin() as f32
        })
        .collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// The shape in a text such as `ramp(1,1,16,64,64)`.
pub(crate) fn ramp_of(text: &Value) -> Tensor {
    let text = text.as_str().unwrap();
    let inside = text.strip_prefix("ramp(").unwrap().strip_suffix(')').unwrap();
    ramp(&inside.split(',').map(|size| size.trim().parse().unwrap()).collect::<Vec<i64>>())
}

/// The value of the state-dict entry `name`.
pub(crate) fn weight(name: &str, shape: &[i64]) -> Tensor {
    let offset = 0.01 * f64::from(name.bytes().map(u32::from).sum::<u32>());
    let waves: Vec<f64> = (0..PERIOD).map(|index| (0.1 * index as f64 + offset).sin()).collect();
    let count = shape.iter().product::<i64>() as usize;
    let fan = (count as f64 / shape.first().copied().unwrap_or(1) as f64).sqrt();
    let value = |wave: f64| {
        (if name.ends_with("running_var") {
            1.0 + 0.1 * wave
        } else if name.ends_with("running_mean") {
            0.01 * wave
        } else if shape.len() <= 1 {
            f64::from(u8::from(name.ends_with("weight"))) + 0.1 * wave
        } else {
            wave / fan
        }) as f32
    };
    let table: Vec<f32> = waves.into_iter().map(value).collect();
    let values: Vec<f32> = (0..count).map(|index| table[index % PERIOD]).collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// Sets every variable by rule, after checking names and shapes against the golden's state dict. `canonical` gives the
/// variable behind an entry; of several entries for one variable `last` names the one that was written last.
pub(crate) fn fill(
    store: &nn::VarStore,
    golden: &Value,
    canonical: impl Fn(&str) -> String,
    last: impl Fn(&str) -> String,
) {
    let _guard = tch::no_grad_guard();
    let entries: BTreeMap<String, Vec<i64>> = golden["state_dict"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, shape)| (name.clone(), serde_json::from_value(shape.clone()).unwrap()))
        .collect();
    let variables = store.variables();
    let names: BTreeSet<String> = entries.keys().map(|name| canonical(name)).collect();
    assert_eq!(names, variables.keys().cloned().collect::<BTreeSet<_>>());
    for (name, shape) in &entries {
        assert_eq!(variables[&canonical(name)].size(), *shape, "{name}");
    }
    for (name, variable) in &variables {
        if variable.is_floating_point() {
            let last = last(name);
            assert!(entries.contains_key(&last), "{last}");
            variable.shallow_clone().copy_(&weight(&last, &variable.size()));
        }
    }
}

/// Compares mean, deviation, norm and the ends of `output` with those in `expected`.
pub(crate) fn compare(output: &Tensor, expected: &Value) {
    let output = output.detach().to_device(Device::Cpu).to_kind(Kind::Double).reshape(-1);
    let number = |key: &str| expected[key].as_f64().unwrap();
    let deviation = number("std");
    let close = |what: &str, found: f64, wanted: f64| {
        // Relative, and against the spread of the values where one happens to be near zero.
        assert!(
            (found - wanted).abs() <= 1e-4 * wanted.abs().max(deviation),
            "{what}: {found}, expected {wanted}"
        );
    };
    close("mean", output.mean(Kind::Double).double_value(&[]), number("mean"));
    close("std", output.std(true).double_value(&[]), deviation);
    close("l2", output.norm().double_value(&[]), number("l2"));
    for (key, offset) in [("first", 0), ("last", output.numel() as i64 - 16)] {
        for (index, wanted) in expected[key].as_array().unwrap().iter().enumerate() {
            close(key, output.double_value(&[offset + index as i64]), wanted.as_f64().unwrap());
        }
    }
}
