//! The options that decide a slice plan, shared by `caption` and `slices`.

use super::replacing::lift;
use crate::slices::{self, PlanOptions};
use data_manifests::Descriptor;
use data_manifests::records::Plane;
use serde_json::{Map, Value};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Planning {
    /// Every how many slices one is taken [default: the data set's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,
    /// Planes: axial, coronal, sagittal
    #[arg(long, value_name = "PLANE", value_delimiter = ',', default_value = "axial", value_parser = plane)]
    plane: Vec<Plane>,
    /// Seed of the slice plan, and of the wording of captions
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
}

fn plane(text: &str) -> Result<Plane, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected axial, coronal or sagittal".to_owned())
}

impl Planning {
    /// The options for a data set.
    pub(super) fn options(&self, descriptor: &Descriptor) -> PlanOptions {
        let mut planes = self.plane.clone();
        planes.sort_by_key(|p| slices::axes(*p)[0]);
        planes.dedup();
        PlanOptions {
            planes,
            stride: self.stride.map_or(descriptor.text.stride, |s| s as usize),
            tile_yx: descriptor.text.tile_yx,
            seed: self.seed,
        }
    }
}

/// Makes options of the parameter `plan`: the size of tiles is the data set's, and so is a stride that equals its own.
pub(super) fn chosen(options: &mut Map<String, Value>, of_data_set: Option<&Value>) {
    lift(options, "plan");
    options.remove("tile_yx");
    if let Some(planes) = options.remove("planes") {
        options.insert("plane".to_owned(), planes);
    }
    if of_data_set.is_some() && options.get("stride") == of_data_set {
        options.insert("stride".to_owned(), "the data set's".into());
    }
}
