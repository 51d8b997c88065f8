//! From a file into a network.

use crate::error::Error;
use crate::weights::names::{self, is_constant, is_encoder, is_incidental, is_score, is_stem};
use crate::weights::read::{self, Mapped};
use crate::weights::report::{Adapted, LoadReport, Skipped};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tch::{Kind, Tensor, nn};

/// How the schemas of training's checkpoints begin, and there the names of the weights and of what the optimiser keeps.
const CHECKPOINT: &str = "gtgm/checkpoint/";
const CHECKPOINT_WEIGHTS: &str = "model/";
const CHECKPOINT_OPTIMIZER: &str = "optimizer/";

/// The weights in a checkpoint; their moving averages where there are any, since these are what is handed on at the end.
fn of_checkpoint<'a>(tensors: &'a SafeTensors<'a>) -> BTreeMap<&'a str, TensorView<'a>> {
    let averaged = |name: &str| tensors.tensor(&format!("{CHECKPOINT_OPTIMIZER}{name}/average")).ok();
    tensors
        .iter()
        .filter_map(|(name, view)| {
            let name = name.strip_prefix(CHECKPOINT_WEIGHTS)?;
            Some((name, averaged(name).unwrap_or(view)))
        })
        .collect()
}

/// What must fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadOptions {
    /// The share of the variables considered that must be in the file, from 0 to 1.
    pub minimum_share: f64,
    /// Whether the encoder's variables alone are considered.
    pub encoder_only: bool,
    /// Whether the file must hold this network's tensors and no others, in the same shapes.
    pub exact: bool,
    /// Whether the variables that give classes their scores are left as they are drawn.
    pub without_scores: bool,
}

impl LoadOptions {
    /// For the network's own file: every tensor, no other, no change. Only batch normalisation's counters and constants
    /// may be absent.
    pub fn exact() -> Self {
        Self { minimum_share: 1.0, encoder_only: false, exact: true, without_scores: false }
    }

    /// For transferring an encoder: at least `minimum_share` of its tensors must be in the file. Names of ResNet-50 and
    /// of the U-Net on it are translated, wrappers' prefixes dropped, those of SwinUNETR's transformer found without
    /// its prefix, and the first convolution is adapted to another number of channels.
    pub fn encoder(minimum_share: f64) -> Self {
        Self { minimum_share, encoder_only: true, exact: false, without_scores: false }
    }

    /// For a whole network of which the file may lack a part, e.g. another number of classes.
    pub fn partial(minimum_share: f64) -> Self {
        Self { minimum_share, encoder_only: false, exact: false, without_scores: false }
    }
}

/// Copies tensors of `path` into the variables of `store`.
///
/// float16, bfloat16, float32 and float64 are accepted and converted. Of a checkpoint of training its weights are taken, or
/// their moving averages where it has them. On an error no variable has changed.
///
/// # Errors
/// When the file cannot be read, holds NaN or infinity, or fits less than `options` ask for.
pub fn load(store: &nn::VarStore, path: &Path, options: &LoadOptions) -> Result<LoadReport, Error> {
    let file = Mapped::open(path)?;
    let tensors = file.tensors()?;
    let is_checkpoint = file.metadata()?.get("schema").is_some_and(|schema| schema.starts_with(CHECKPOINT));
    let views: BTreeMap<&str, TensorView<'_>> =
        if is_checkpoint { of_checkpoint(&tensors) } else { tensors.iter().collect() };
    let variables: BTreeMap<String, Tensor> =
        store.variables().into_iter().filter(|(name, _)| !options.encoder_only || is_encoder(name)).collect();
    let mut plan = Plan::new(&variables, *options);
    plan.assign(&views);
    let report = plan.report(path);
    check(&report, options)?;
    let mut copies = Vec::with_capacity(plan.sources.len());
    for (name, source) in &plan.sources {
        let (variable, tensor) = (&variables[name], source.tensor(path)?);
        if is_constant(name)
            && !variable.f_to_device(tensor.device())?.f_equal(&tensor.f_to_kind(variable.kind())?)?
        {
            let differences = format!("{name}: other values than a window of this network has");
            return Err(Error::OtherNetwork { path: path.to_owned(), differences });
        }
        copies.push((variable, tensor));
    }
    let _guard = tch::no_grad_guard();
    for (variable, tensor) in copies {
        // Copies across devices and number formats.
        variable.shallow_clone().f_copy_(&tensor)?;
    }
    Ok(report)
}

/// The tensor that a variable takes.
struct Source<'a> {
    name: &'a str,
    view: TensorView<'a>,
    /// The image channels of the variable, where they differ from the tensor's.
    channels: Option<i64>,
}

impl Source<'_> {
    fn tensor(&self, path: &Path) -> Result<Tensor, Error> {
        let kind = read::kind(self.view.dtype()).unwrap_or(Kind::Float);
        let tensor = Tensor::f_from_data_size(self.view.data(), &read::shape(self.view.shape()), kind)?;
        if tensor.is_floating_point() && tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Error::NotFinite { path: path.to_owned(), name: self.name.to_owned() });
        }
        match self.channels {
            None => Ok(tensor),
            Some(channels) => {
                // The same response where all channels hold the same image: the sum, spread evenly.
                let sum = tensor.f_to_kind(Kind::Float)?.f_sum_dim_intlist(1, true, None)?;
                let size = sum.size();
                let spread = sum.f_expand([size[0], channels, size[2], size[3], size[4]], false)?;
                Ok(spread.f_div_scalar(channels)?)
            }
        }
    }
}

/// Which variable takes which tensor.
struct Plan<'a> {
    variables: &'a BTreeMap<String, Tensor>,
    options: LoadOptions,
    sources: BTreeMap<String, Source<'a>>,
    adapted: Vec<Adapted>,
    skipped: Vec<Skipped>,
    /// Variables whose tensor is in the file and does not fit.
    unfit: BTreeSet<String>,
    /// Tensors of an encoder for which this one has no place.
    unplaced: BTreeSet<String>,
}

impl<'a> Plan<'a> {
    fn new(variables: &'a BTreeMap<String, Tensor>, options: LoadOptions) -> Self {
        Self {
            variables,
            options,
            sources: BTreeMap::new(),
            adapted: Vec::new(),
            skipped: Vec::new(),
            unfit: BTreeSet::new(),
            unplaced: BTreeSet::new(),
        }
    }

    fn assign(&mut self, views: &BTreeMap<&'a str, TensorView<'a>>) {
        // Exact names go first, so that no alias takes their place.
        let (exact, others): (Vec<_>, Vec<_>) =
            views.iter().partition(|(name, _)| self.variables.contains_key(**name));
        let mut taken = BTreeSet::new();
        for (name, view) in exact.into_iter().chain(others) {
            let canonical = names::canonical(name);
            match self.target(&canonical) {
                Some(target) if taken.contains(&target) => {
                    // Another name of a tensor that was read already, unless it is a tensor of its own.
                    if canonical == *name {
                        self.skip(name, format!("{target} is filled by another tensor"));
                    }
                }
                Some(target) => {
                    self.match_up(name, view, &target);
                    taken.insert(target);
                }
                None if is_incidental(name) => {}
                None if is_encoder(&canonical) => {
                    self.unplaced.insert(canonical);
                    self.skip(name, "this network's encoder has no such layer".to_owned());
                }
                None if self.options.encoder_only => self.skip(name, "no tensor of this encoder".to_owned()),
                None => self.skip(name, "the network has no variable of that name".to_owned()),
            }
        }
    }

    fn target(&self, canonical: &str) -> Option<String> {
        if self.options.exact {
            return self.variables.contains_key(canonical).then(|| canonical.to_owned());
        }
        names::candidates(canonical).into_iter().find(|name| self.variables.contains_key(name))
    }

    fn match_up(&mut self, name: &'a str, view: &TensorView<'a>, target: &str) {
        if self.options.without_scores && is_score(target) {
            self.unfit.insert(target.to_owned());
            return self.misfit(name, "scores of other classes".to_owned());
        }
        let found = read::shape(view.shape());
        let variable = &self.variables[target];
        let expected = variable.size();
        let floating = matches!(
            read::kind(view.dtype()),
            Some(Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double)
        );
        if floating != variable.is_floating_point() {
            self.unfit.insert(target.to_owned());
            return self
                .misfit(name, format!("number format {:?}, expected {:?}", view.dtype(), variable.kind()));
        }
        let same_but_channels = || {
            found.len() == 5 && expected.len() == 5 && found[0] == expected[0] && found[2..] == expected[2..]
        };
        let channels = if found == expected {
            None
        } else if !self.options.exact && is_stem(target) && same_but_channels() && found[1] > 0 {
            self.adapted.push(Adapted {
                name: target.to_owned(),
                how: format!("{} image channel(s) spread over {}", found[1], expected[1]),
            });
            Some(expected[1])
        } else {
            self.unfit.insert(target.to_owned());
            return self.misfit(name, format!("shape {found:?}, expected {expected:?}"));
        };
        self.sources.insert(target.to_owned(), Source { name, view: view.clone(), channels });
    }

    fn skip(&mut self, name: &str, reason: String) {
        self.skipped.push(Skipped { name: name.to_owned(), reason, unfit: false });
    }

    /// Skips a tensor for which there is a variable.
    fn misfit(&mut self, name: &str, reason: String) {
        self.skipped.push(Skipped { name: name.to_owned(), reason, unfit: true });
    }

    fn report(&self, path: &Path) -> LoadReport {
        let counted = |name: &&String| !is_incidental(name);
        let adapted: BTreeSet<&str> = self.adapted.iter().map(|adapted| adapted.name.as_str()).collect();
        LoadReport {
            path: path.to_owned(),
            considered: self.variables.keys().filter(counted).count(),
            matched: self
                .sources
                .keys()
                .filter(counted)
                .filter(|name| !adapted.contains(name.as_str()))
                .cloned()
                .collect(),
            adapted: self.adapted.clone(),
            skipped: self.skipped.clone(),
            unplaced: self.unplaced.iter().cloned().collect(),
            unfit: self
                .unfit
                .iter()
                .filter(counted)
                .filter(|name| !self.sources.contains_key(*name))
                .cloned()
                .collect(),
            missing: self
                .variables
                .keys()
                .filter(counted)
                .filter(|name| !self.sources.contains_key(*name) && !self.unfit.contains(*name))
                .cloned()
                .collect(),
        }
    }
}

fn check(report: &LoadReport, options: &LoadOptions) -> Result<(), Error> {
    // Tensors that do not fit say most, then those that are wanted and absent, and least those that nobody asked for.
    let (unfit, unused): (Vec<_>, Vec<_>) = report.skipped.iter().partition(|skipped| skipped.unfit);
    let skipped = |found: Vec<&Skipped>| -> Vec<String> {
        found.into_iter().map(|skipped| format!("{}: {}", skipped.name, skipped.reason)).collect()
    };
    let missing = report.missing.iter().map(|name| format!("{name}: not in the file")).collect();
    let mut differences: Vec<String> = [skipped(unfit), missing, skipped(unused)].concat();
    if options.exact && !differences.is_empty() {
        let rest = differences.len().saturating_sub(3);
        differences.truncate(3);
        let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
        let differences = differences.join("; ") + &more;
        return Err(Error::OtherNetwork { path: report.path.clone(), differences });
    }
    if report.share() < options.minimum_share || report.loaded() == 0 {
        return Err(Error::TooFewWeights {
            path: report.path.clone(),
            found: report.loaded(),
            expected: report.considered,
            share: report.percent(),
            minimum: 100.0 * options.minimum_share,
            first: differences.into_iter().next().unwrap_or_else(|| "no tensors in the file".to_owned()),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_a_shape_then_what_is_missing_then_what_nobody_asked_for() {
        let skipped = |name: &str, reason: &str, unfit| Skipped {
            name: name.to_owned(),
            reason: reason.to_owned(),
            unfit,
        };
        let mut report = LoadReport {
            path: "w.safetensors".into(),
            considered: 4,
            matched: vec!["bn1.bias".to_owned()],
            adapted: Vec::new(),
            skipped: vec![
                skipped("a.head.weight", "no tensor of this encoder", false),
                skipped("layer1.0.conv1.weight", "shape [1], expected [2]", true),
            ],
            unplaced: Vec::new(),
            missing: vec!["bn1.weight".to_owned(), "conv1.weight".to_owned()],
            unfit: vec!["layer1.0.conv1.weight".to_owned()],
        };
        let first = |report: &LoadReport| check(report, &LoadOptions::encoder(0.9)).unwrap_err().to_string();
        let said = first(&report);
        assert!(said.contains("first difference: layer1.0.conv1.weight: shape"), "{said}");
        assert!(said.contains("only 1 of 4 tensors match (25 %"), "{said}");
        report.skipped.truncate(1);
        let said = first(&report);
        assert!(said.contains("first difference: bn1.weight: not in the file"), "{said}");
        report.missing.clear();
        let said = first(&report);
        assert!(said.contains("first difference: a.head.weight: no tensor"), "{said}");
    }
}
