//! The shape of the encoder that a file's plan tells.

use crate::config::{EncoderConfig, NetworkConfig};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Under which the files of 'pretrain' and 'finetune train' carry their plan.
const KEY: &str = "plan";

/// The plans of files with an encoder.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    /// An encoder or a checkpoint of 'pretrain'.
    Encoder { encoder: EncoderConfig },
    /// A model of 'finetune train'.
    Model { network: NetworkConfig },
    /// A checkpoint of it.
    Checkpoint { model: Network },
}

#[derive(Deserialize)]
struct Network {
    network: NetworkConfig,
}

/// The encoder's configuration by the texts of a file that 'pretrain' or 'finetune train' wrote ([`super::read_metadata`]); `None` for
/// weights of other origin, which carry no plan.
///
/// # Errors
/// When there is a plan that cannot be read.
pub fn planned_encoder(
    metadata: &BTreeMap<String, String>,
) -> Result<Option<EncoderConfig>, serde_json::Error> {
    let stored = metadata.get(KEY).map(|plan| serde_json::from_str(plan)).transpose()?;
    Ok(stored.map(|stored| match stored {
        Stored::Encoder { encoder } => encoder,
        Stored::Model { network } | Stored::Checkpoint { model: Network { network } } => network.encoder(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{ResEncConfig, ResEncSize};

    #[test]
    fn plans_of_encoders_and_of_models_tell_the_encoder() {
        let topology = ResEncConfig::for_patch([16, 32, 32], [4.0, 1.0, 1.0], ResEncSize::Compact).unwrap();
        let network = NetworkConfig::Resenc { in_channels: 2, classes: 3, topology: topology.clone() };
        let encoder = EncoderConfig::Resenc { in_channels: 1, topology };
        let of =
            |plan: serde_json::Value| planned_encoder(&BTreeMap::from([(KEY.to_owned(), plan.to_string())]));
        let found = of(serde_json::json!({"encoder": encoder, "seed": 1})).unwrap();
        assert_eq!(found, Some(encoder));
        let model = serde_json::json!({"network": network});
        assert_eq!(of(model.clone()).unwrap(), Some(network.encoder()));
        assert_eq!(of(serde_json::json!({"model": model})).unwrap(), Some(network.encoder()));
        assert_eq!(planned_encoder(&BTreeMap::new()).unwrap(), None);
        assert!(of(serde_json::json!({"encoder": "resenc"})).is_err());
    }
}
