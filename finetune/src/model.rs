//! What a model is: everything that prediction needs, stored in the model's file.

use crate::filling::Filling;
use crate::objective::Objective;
use data_manifests::seen::{self, Seen};
use data_manifests::splits::Split;
use data_manifests::{Artefact, Descriptor, Manifest, digest};
use networks::weights::{self, LoadOptions};
use networks::{MemoryFormat, NetworkConfig, SegmentationNetwork};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, nn};
use torch_runtime::Precision;
use training::checkpoint::Notes;

/// Name of the exported model.
pub(crate) const FILE_NAME: &str = "model.safetensors";

/// Name of the split beside it.
pub(crate) const SPLIT: &str = "split.json";

/// Schema id.
pub(crate) const SCHEMA: &str = "gtgm/model/1";

/// The part of a training plan that prediction needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelPlan {
    pub(crate) schema: String,
    pub(crate) network: NetworkConfig,
    /// What its channels are; classes where nothing is said.
    #[serde(default)]
    pub(crate) objective: Objective,
    /// Modality, spacing, intensity rule, classes, mirror axes.
    pub(crate) descriptor: Descriptor,
    /// The window of prediction, z, y, x.
    pub(crate) patch_zyx: [usize; 3],
    /// Along z, y, x: whether a training volume was smaller than the patch and was filled up with background. A network that
    /// never saw that is shown mirrored voxels instead.
    #[serde(default = "always")]
    pub(crate) filled_zyx: [bool; 3],
}

impl ModelPlan {
    /// How a volume is filled up that is smaller than the window.
    pub(crate) fn filling(&self) -> Filling {
        let rules = self.descriptor.intensity.rules();
        let keeps = |channel| rules.channel(channel).is_some_and(|rule| rule.keeps_zeros());
        Filling {
            axes_zyx: self.filled_zyx,
            zeros: (0..self.network.in_channels().max(0) as usize).map(keeps).collect(),
        }
    }
}

/// What models did whose plans do not say.
fn always() -> [bool; 3] {
    [true; 3]
}

/// Models ready to predict together: one, or those of several folds or seeds, whose channels are averaged.
pub(crate) struct Model {
    /// Of the first; the others say the same of all that prediction needs.
    pub(crate) plan: ModelPlan,
    pub(crate) networks: Vec<SegmentationNetwork>,
}

impl Model {
    /// Opens models, at least one: training directories, or their `model.safetensors` alone.
    ///
    /// # Errors
    /// `E410` for what is no model; `E418` for models that cannot predict together.
    pub(crate) fn open(given: &[PathBuf], device: Device, precision: Precision) -> anyhow::Result<Self> {
        let mut whole: Option<Self> = None;
        for given in given {
            let path = file_of(given);
            let plan = stored_plan(&path)?;
            let network = || -> anyhow::Result<SegmentationNetwork> {
                let store = nn::VarStore::new(device);
                // the seed does not matter: every value is read from the file
                let network = SegmentationNetwork::new(&store.root(), &plan.network, 0)?;
                MemoryFormat::faster_for_segmentation(plan.network.kind(), device, precision)
                    .apply(&store)?;
                weights::load(&store, &path, &LoadOptions::partial(1.0)).map_err(|e| unreadable(&e))?;
                Ok(network)
            };
            match &mut whole {
                None => whole = Some(Self { networks: vec![network()?], plan }),
                Some(whole) => {
                    expect_together(&whole.plan, &plan, &path)?;
                    for axis in 0..3 {
                        whole.plan.filled_zyx[axis] &= plan.filled_zyx[axis];
                    }
                    whole.networks.push(network()?);
                }
            }
        }
        whole.ok_or_else(|| Message::error("E410", "no model was given").into())
    }
}

/// The file of a model that was given as a training directory or as the file itself; a checkpoint is one, too.
pub(crate) fn file_of(given: &Path) -> PathBuf {
    if given.is_dir() { given.join(FILE_NAME) } else { given.to_owned() }
}

/// A model as an input of a stage that writes to `base`: a directory's manifest, or the file.
///
/// # Errors
/// `E015` when the weights are not as they were written; any failure to read them.
pub(crate) fn as_input(given: &Path, base: &Path) -> anyhow::Result<Artefact> {
    let file = Manifest::file_as_input("model", &file_of(given), base)?;
    Ok(if given.is_dir() { Manifest::as_input("model", given, base)? } else { file })
}

/// The plan of models that can predict together, the first one's.
///
/// # Errors
/// `E410` for what is no model; `E418` for models that cannot predict together.
pub(crate) fn common_plan(given: &[PathBuf]) -> anyhow::Result<ModelPlan> {
    let mut plans =
        given.iter().map(|given| file_of(given)).map(|path| anyhow::Ok((stored_plan(&path)?, path)));
    let (first, _) = plans.next().ok_or_else(|| Message::error("E410", "no model was given"))??;
    for other in plans {
        let (plan, path) = other?;
        expect_together(&first, &plan, &path)?;
    }
    Ok(first)
}

fn expect_together(first: &ModelPlan, other: &ModelPlan, path: &Path) -> Result<(), Message> {
    let Some(what) = difference(first, other) else { return Ok(()) };
    Err(Message::error("E418", format!("models with different {what} cannot predict together"))
        .detail(path.display().to_string())
        .fix("Give --model those of one data set and of options that differ in seed or fold"))
}

/// What a model's file says beside its weights: all that prediction needs is inside.
///
/// # Errors
/// When the plan cannot be written as JSON.
pub(crate) fn metadata(
    plan: &ModelPlan,
    split: &Split,
    seen: &Seen,
    licence: &str,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut metadata = notes(plan, split, seen, licence)?;
    metadata.insert("plan".to_owned(), digest::canonical(&serde_json::to_value(plan)?));
    Ok(metadata)
}

/// What checkpoints say beside their plan.
///
/// # Errors
/// When the split cannot be written as JSON.
pub(crate) fn notes(plan: &ModelPlan, split: &Split, seen: &Seen, licence: &str) -> anyhow::Result<Notes> {
    let entries = [
        (seen::KEY, seen.text()?),
        ("split", digest::canonical(&serde_json::to_value(split)?)),
        ("stage", "train".to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("licence", licence.to_owned()),
        ("citation", plan.descriptor.citation.clone()),
    ];
    Ok(entries.into_iter().map(|(key, text)| (key.to_owned(), text)).collect())
}

fn unreadable(error: &networks::Error) -> Message {
    Message::error("E410", error.to_string())
        .fix("Give --model the directory that 'finetune train' wrote, or its model.safetensors")
}

/// A text of a model's file.
fn text_of(path: &Path, key: &str) -> anyhow::Result<Option<String>> {
    Ok(weights::read_metadata(path).map_err(|e| unreadable(&e))?.remove(key))
}

/// The plan in a model's file.
///
/// # Errors
/// `E410` when there is none, or it is of another version.
pub(crate) fn stored_plan(path: &Path) -> anyhow::Result<ModelPlan> {
    let wrong = |detail: String| {
        Message::error("E410", "this is not a model of 'finetune train'")
            .detail(format!("{}: {detail}", path.display()))
            .fix("Give --model the directory that 'finetune train' wrote, or its model.safetensors")
    };
    let text = text_of(path, "plan")?.ok_or_else(|| wrong("its metadata holds no plan".to_owned()))?;
    let mut plan: Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    // a checkpoint has the plan of the whole run
    if let Some(of_model) = plan.get_mut("model") {
        plan = of_model.take();
    }
    let plan: ModelPlan = serde_json::from_value(plan).map_err(|e| wrong(e.to_string()))?;
    if plan.schema != SCHEMA {
        return Err(wrong(format!("schema {}, expected {SCHEMA}", plan.schema)).into());
    }
    Ok(plan)
}

/// Which cases a model was trained on and validated by: from its file, or of an earlier version from the table beside it.
///
/// # Errors
/// When neither says so.
pub(crate) fn stored_split(path: &Path) -> anyhow::Result<Split> {
    match text_of(path, "split")? {
        Some(text) => Ok(serde_json::from_str(&text)?),
        None => Split::load(&path.with_file_name(SPLIT)),
    }
}

/// What a file's weights have seen.
///
/// # Errors
/// A message with this code when the file cannot be read.
pub(crate) fn stored_seen(path: &Path, code: &'static str) -> Result<Seen, Message> {
    let metadata = weights::read_metadata(path).map_err(|e| Message::error(code, e.to_string()))?;
    Seen::of_metadata(&metadata).map_err(|e| {
        Message::error(code, format!("its record of what it has seen cannot be read: {e}"))
            .detail(path.display().to_string())
    })
}

/// The licence of what a model learnt from.
pub(crate) fn stored_licence(path: &Path, plan: &ModelPlan) -> anyhow::Result<String> {
    Ok(text_of(path, "licence")?.unwrap_or_else(|| plan.descriptor.licence.clone()))
}

/// What of two plans must be the same for their channels to be averaged window by window, and is not. Networks may differ.
fn difference(a: &ModelPlan, b: &ModelPlan) -> Option<&'static str> {
    if a.objective != b.objective {
        Some("objectives")
    } else if a.descriptor != b.descriptor {
        Some("data sets")
    } else if a.patch_zyx != b.patch_zyx {
        Some("patches")
    } else {
        None
    }
}
