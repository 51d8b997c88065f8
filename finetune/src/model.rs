//! What a model is: everything that prediction needs, stored in the model's file.

use crate::objective::Objective;
use data_manifests::Descriptor;
use networks::weights::{self, LoadOptions};
use networks::{NetworkConfig, SegmentationNetwork};
use serde::{Deserialize, Serialize};
use stage::Message;
use std::path::Path;
use tch::{Device, nn};

/// Name of the exported model.
pub(crate) const FILE_NAME: &str = "model.safetensors";

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
    /// Along z, y, x: whether a training volume was smaller than the patch and was filled up with its smallest value. A network that
    /// never saw that is shown mirrored voxels instead.
    #[serde(default = "always")]
    pub(crate) filled_zyx: [bool; 3],
}

/// What models did whose plans do not say.
fn always() -> [bool; 3] {
    [true; 3]
}

/// A model ready to predict.
pub(crate) struct Model {
    pub(crate) plan: ModelPlan,
    pub(crate) network: SegmentationNetwork,
}

impl Model {
    /// Opens `model.safetensors` of a training directory.
    pub(crate) fn open(directory: &Path, device: Device) -> anyhow::Result<Self> {
        let path = directory.join(FILE_NAME);
        let metadata = weights::read_metadata(&path)?;
        let wrong = |detail: String| {
            Message::error("E410", "this is not a model of 'finetune train'")
                .detail(format!("{}: {detail}", path.display()))
                .fix("Give --model the directory that 'finetune train' wrote")
        };
        let text = metadata.get("plan").ok_or_else(|| wrong("its metadata holds no plan".to_owned()))?;
        let plan: ModelPlan = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if plan.schema != SCHEMA {
            return Err(wrong(format!("schema {}, expected {SCHEMA}", plan.schema)).into());
        }
        let store = nn::VarStore::new(device);
        // the seed does not matter: every value is read from the file
        let network = SegmentationNetwork::new(&store.root(), &plan.network, 0)?;
        weights::load(&store, &path, &LoadOptions::partial(1.0))?;
        Ok(Self { plan, network })
    }
}
