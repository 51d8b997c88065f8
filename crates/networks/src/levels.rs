//! The levels of a network's encoder, for learning rates that differ between them.

use crate::config::{EncoderConfig, NetworkConfig};

impl NetworkConfig {
    /// Beginnings of the names of the encoder's variables, level by level from the image to the deepest. No beginning is that of a
    /// variable outside of its level.
    #[must_use]
    pub fn encoder_levels(&self) -> Vec<String> {
        match self.encoder() {
            EncoderConfig::Resnet50 { .. } => (1..=5).map(|level| format!("encoder{level}.")).collect(),
            EncoderConfig::Resenc { topology, .. } => std::iter::once("encoder.stem.".to_owned())
                .chain((0..topology.features.len()).map(|stage| format!("encoder.stages.{stage}.")))
                .collect(),
            EncoderConfig::SwinUnetr { .. } => std::iter::once("swinViT.patch_embed.".to_owned())
                .chain((1..=4).map(|level| format!("swinViT.layers{level}.")))
                .chain(["encoder10.".to_owned()])
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swin::SwinConfig;
    use crate::topology::{ResEncConfig, ResEncSize};
    use crate::{DecoderNorm, SegmentationNetwork, weights};
    use tch::{Device, nn};

    #[test]
    fn every_variable_of_an_encoder_has_one_level() {
        let topology = ResEncConfig::for_patch([32; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let transformer = SwinConfig { feature_size: 12, ..SwinConfig::default() };
        for config in [
            NetworkConfig::Attresunet50 { in_channels: 1, classes: 2, decoder_norm: DecoderNorm::Instance },
            NetworkConfig::Resenc { in_channels: 1, classes: 2, topology },
            NetworkConfig::SwinUnetr { in_channels: 1, classes: 2, transformer },
        ] {
            let store = nn::VarStore::new(Device::Cpu);
            let _network = SegmentationNetwork::new(&store.root(), &config, 0).unwrap();
            let levels = config.encoder_levels();
            let mut used = vec![0; levels.len()];
            for (name, variable) in store.variables() {
                let found: Vec<usize> =
                    (0..levels.len()).filter(|level| name.starts_with(&levels[*level])).collect();
                let learns = variable.requires_grad();
                assert!(
                    found.len() == usize::from(weights::is_encoder(&name)) || !learns,
                    "{name}: {found:?}"
                );
                found.into_iter().for_each(|level| used[level] += 1);
            }
            assert!(used.iter().all(|variables| *variables > 0), "{levels:?} {used:?}");
        }
    }
}
