//! How the scores of a trained model came about, so that runs that differ in nothing but the seed are known.

use crate::chain::{Link, State};
use crate::summary::SummaryFile;
use data_manifests::Manifest;
use serde_json::{Map, Value, json};

/// What decides a run's numbers but its seed. Of predictions without a training record there is none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recipe {
    /// The training's parameters without the seed.
    pub(crate) train: Value,
    /// Digests of the encoders that training began with.
    pub(crate) encoders: Vec<String>,
    /// Parameters of what made label maps with the model.
    pub(crate) made: Vec<Value>,
    /// By which rules they were scored.
    pub(crate) rules: Value,
    /// Data set, descriptor and cases.
    pub(crate) data: Value,
    /// Seed of the training, where it is known.
    pub(crate) seed: Option<u64>,
}

/// The models that label maps were made with: the trainings next to the score in its chain, not those that they began with.
pub(crate) fn models(links: &[Link]) -> Vec<&Link> {
    let trainings = || links.iter().filter(|link| link.stage() == "train");
    let nearest = trainings().map(|link| link.depth).min();
    trainings().filter(|link| Some(link.depth) == nearest).collect()
}

fn without(parameters: &Value, names: &[&str]) -> Value {
    match parameters {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !names.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

impl Recipe {
    /// Of a score with this chain; none of several models together, which have no one seed, and none where a stage is no more what it was
    /// when it was used.
    pub(crate) fn of(links: &[Link], summary: &SummaryFile) -> Option<Self> {
        let [model] = models(links)[..] else { return None };
        let between: Vec<&Link> = links
            .iter()
            .filter(|link| link.depth < model.depth && matches!(link.stage(), "predict" | "instances"))
            .collect();
        if std::iter::once(&model).chain(&between).any(|link| link.state != State::Current) {
            return None;
        }
        let train = model.manifest.as_ref()?;
        let score = links.first()?.manifest.as_ref()?;
        Some(Self {
            train: without(&train.parameters, &["seed"]),
            encoders: train
                .inputs
                .iter()
                .filter(|input| input.role == "encoder")
                .map(|input| input.sha256.clone())
                .collect(),
            made: between
                .iter()
                .filter_map(|link| Some(link.manifest.as_ref()?.parameters.clone()))
                .collect(),
            rules: rules(score, summary),
            data: data(score, summary),
            seed: train.parameters.get("seed").and_then(Value::as_u64),
        })
    }

    /// Whether nothing but the seed differs.
    pub(crate) fn is_same_but_seed(&self, other: &Self) -> bool {
        let key = |recipe: &Self| Self { seed: None, ..recipe.clone() };
        key(self) == key(other)
    }

    /// The training without what changes with the share of the labels.
    pub(crate) fn of_any_fraction(&self) -> Value {
        let mut train = without(&self.train, &["fraction", "train"]);
        if let Some(model) = train.get_mut("model") {
            // whether a training volume was smaller than the patch
            *model = without(model, &["filled_zyx"]);
        }
        json!([train, self.encoders, self.made, self.data])
    }
}

/// What the score's options say about measuring; which metrics there are besides does not change any.
fn rules(score: &Manifest, summary: &SummaryFile) -> Value {
    let details = &summary.gtgm;
    let options = ["missing", "border_nm", "zero", "min_part"].map(|name| score.parameters.get(name));
    json!({
        "splits": details.splits,
        "policy": details.policy,
        "mean": details.mean_rule,
        "missing": details.missing_rule,
        "options": options,
    })
}

fn data(score: &Manifest, summary: &SummaryFile) -> Value {
    let cases: Vec<&str> = summary.metric_per_case.iter().map(|case| case.case.as_str()).collect();
    json!([summary.gtgm.dataset.name, score.parameters.get("descriptor"), cases])
}
