//! The names that one tensor has in the code bases of others.

use std::collections::BTreeMap;
use tch::Tensor;

/// Layers of ResNet-50 and of the U-Net on it: the same tensors under two names.
const RESNET_TO_RESUNET: [(&str, &str); 6] = [
    ("conv1.", "encoder1.0."),
    ("bn1.", "encoder1.1."),
    ("layer1.", "encoder2."),
    ("layer2.", "encoder3."),
    ("layer3.", "encoder4."),
    ("layer4.", "encoder5."),
];

/// First convolutions, whose input channels are those of the image.
const STEMS: [&str; 4] = [
    "conv1.weight",
    "encoder1.0.weight",
    "encoder.stem.convs.0.conv.weight",
    "swinViT.patch_embed.proj.weight",
];

/// What every name of SwinUNETR's transformer begins with.
const SWIN: &str = "swinViT.";

/// Prefixes that wrappers put before every name; the last are those of Lightning modules and of `torch.compile`.
const WRAPPERS: [&str; 7] = ["module.", "model.", "backbone.", "network.", "_model.", "net.", "_orig_mod."];

/// Whether the variable belongs to an image encoder.
pub fn is_encoder(name: &str) -> bool {
    if is_swin_skip(name) {
        return false;
    }
    ["encoder.", SWIN, "encoder10."].iter().any(|prefix| name.starts_with(prefix))
        || RESNET_TO_RESUNET.iter().any(|(resnet, unet)| name.starts_with(resnet) || name.starts_with(unet))
}

/// Whether the variable gives a segmentation network's channels, such as classes, their scores.
pub(super) fn is_score(name: &str) -> bool {
    ["decoder.seg_layers.", "output.", "out.conv."].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the variable belongs to SwinUNETR's `encoder1` to `encoder4`: blocks of the decoder's skips, whose names
/// begin as those of ResNet-50 inside the U-Net.
fn is_swin_skip(name: &str) -> bool {
    (1..=4).any(|level| name.starts_with(&format!("encoder{level}.layer.")))
}

/// Whether the variable is the weight of an encoder's first convolution.
pub(crate) fn is_stem(name: &str) -> bool {
    STEMS.contains(&name)
}

/// Whether the variable is batch normalisation's counter, which no result depends on.
fn is_counter(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}

/// Whether the variable is the same in every file: the positions of tokens in a window.
pub(crate) fn is_constant(name: &str) -> bool {
    name.ends_with(".relative_position_index")
}

/// Whether a file's tensor is what training changes, under the first of its names: neither a statistic nor a constant.
fn is_parameter(name: &str) -> bool {
    let is_statistic = name.ends_with(".running_mean") || name.ends_with(".running_var");
    canonical(name) == name && !is_statistic && !is_incidental(name)
}

/// How many numbers of a file of ours training changes, each counted once.
#[must_use]
pub fn count_parameters(tensors: &BTreeMap<String, Tensor>) -> u64 {
    tensors.iter().filter(|(name, _)| is_parameter(name)).map(|(_, tensor)| tensor.numel() as u64).sum()
}

/// Whether a network is complete without the variable.
pub(crate) fn is_incidental(name: &str) -> bool {
    is_counter(name) || is_constant(name)
}

/// Every name that dynamic-network-architectures gives the residual U-Net's tensor `name`, itself first.
///
/// There a block lists its layers once more as `all_modules`, and the decoder holds the encoder; `with_decoder` says
/// whether there is a decoder to hold it.
pub(crate) fn aliases(name: &str, with_decoder: bool) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let in_residual_net =
        ["encoder.stem.", "encoder.stages.", "decoder.stages."].iter().any(|prefix| name.starts_with(prefix));
    if !in_residual_net {
        return names;
    }
    for (layer, index) in [(".conv.", ".all_modules.0."), (".norm.", ".all_modules.1.")] {
        if let Some((block, parameter)) = name.rsplit_once(layer) {
            names.push(format!("{block}{index}{parameter}"));
        }
    }
    if with_decoder && name.starts_with("encoder.") {
        names.extend(names.clone().into_iter().map(|name| format!("decoder.{name}")));
    }
    names
}

/// `name` without wrappers, and under the first of its aliases.
pub(crate) fn canonical(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    let name = match name.strip_prefix("decoder.") {
        Some(rest) if rest.starts_with("encoder.") => rest,
        _ => name,
    };
    let name = name.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.");
    // Transformers that MONAI's self-supervised pretraining published name these layers as the first Swin did.
    name.replace(".mlp.fc1.", ".mlp.linear1.").replace(".mlp.fc2.", ".mlp.linear2.")
}

/// Whether a network may hold the tensor that a file calls `name` as `variable`.
pub(crate) fn leads_to(name: &str, variable: &str) -> bool {
    candidates(&canonical(name)).iter().any(|candidate| candidate == variable)
}

/// Names under which a network may hold the tensor that a file calls `name` (canonical), the likeliest first.
pub(crate) fn candidates(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let bare = name.strip_prefix("encoder.").unwrap_or(name);
    names.push(bare.to_owned());
    names.push(format!("encoder.{bare}"));
    names.push(format!("{SWIN}{bare}"));
    for (resnet, unet) in RESNET_TO_RESUNET {
        if let Some(rest) = bare.strip_prefix(resnet) {
            names.push(format!("{unet}{rest}"));
        }
        if let Some(rest) = name.strip_prefix(unet) {
            names.push(format!("{resnet}{rest}"));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecoderNorm, NetworkConfig, ResEncConfig, ResEncSize, SegmentationNetwork, SwinConfig};
    use tch::{Device, nn};

    #[test]
    fn parameters_are_counted_once() {
        let (in_channels, classes) = (2, 3);
        let topology = ResEncConfig::for_patch([16; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let transformer = SwinConfig { feature_size: 12, depths: [1; 4], ..SwinConfig::default() };
        for config in [
            NetworkConfig::Resenc { in_channels, classes, topology },
            NetworkConfig::SwinUnetr { in_channels, classes, transformer },
            NetworkConfig::Resunet50 { in_channels, classes, decoder_norm: DecoderNorm::Instance },
        ] {
            let store = nn::VarStore::new(Device::Cpu);
            let _network = SegmentationNetwork::new(&store.root(), &config, 0).unwrap();
            let variables = store.variables();
            let file = variables
                .iter()
                .flat_map(|(name, tensor)| {
                    aliases(name, true).into_iter().map(|alias| (alias, tensor.shallow_clone()))
                })
                .collect();
            let trained = variables.values().filter(|tensor| tensor.requires_grad());
            let expected: u64 = trained.map(|tensor| tensor.numel() as u64).sum();
            assert_eq!(count_parameters(&file), expected, "{config:?}");
        }
    }

    fn sizes(config: &NetworkConfig) -> BTreeMap<String, Vec<i64>> {
        let store = nn::VarStore::new(Device::Cpu);
        let _network = SegmentationNetwork::new(&store.root(), config, 0).unwrap();
        store.variables().into_iter().map(|(name, tensor)| (name, tensor.size())).collect()
    }

    #[test]
    fn scores_are_what_changes_with_the_number_of_classes() {
        let networks: [fn(i64) -> NetworkConfig; 3] = [
            |classes| {
                let topology = ResEncConfig::for_patch([16; 3], [1.0; 3], ResEncSize::Compact).unwrap();
                NetworkConfig::Resenc { in_channels: 1, classes, topology }
            },
            |classes| NetworkConfig::Resunet50 { in_channels: 1, classes, decoder_norm: DecoderNorm::None },
            |classes| {
                let transformer = SwinConfig { feature_size: 12, ..SwinConfig::default() };
                NetworkConfig::SwinUnetr { in_channels: 1, classes, transformer }
            },
        ];
        for network in networks {
            let [two, three] = [2, 3].map(|classes| sizes(&network(classes)));
            assert!(two.iter().any(|(name, size)| three[name] != *size));
            for (name, size) in &two {
                assert_eq!(is_score(name), three[name] != *size, "{name}");
            }
        }
    }

    #[test]
    fn aliases_are_those_of_the_residual_unet_alone() {
        assert_eq!(
            aliases("encoder.stages.0.blocks.0.conv1.conv.weight", true),
            [
                "encoder.stages.0.blocks.0.conv1.conv.weight",
                "encoder.stages.0.blocks.0.conv1.all_modules.0.weight",
                "decoder.encoder.stages.0.blocks.0.conv1.conv.weight",
                "decoder.encoder.stages.0.blocks.0.conv1.all_modules.0.weight",
            ]
        );
        assert_eq!(aliases("decoder.stages.0.convs.0.norm.bias", true).len(), 2);
        assert_eq!(aliases("decoder.seg_layers.0.weight", true).len(), 1);
        assert_eq!(aliases("encoder1.layer.conv1.conv.weight", true).len(), 1);
        for alias in aliases("encoder.stem.convs.0.norm.weight", true) {
            assert_eq!(canonical(&alias), "encoder.stem.convs.0.norm.weight");
        }
    }

    #[test]
    fn wrappers_come_off_and_both_resnets_find_each_other() {
        for wrapped in ["module.backbone.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."] {
            let name = format!("{wrapped}layer1.0.conv1.weight");
            assert_eq!(canonical(&name), "layer1.0.conv1.weight");
        }
        assert!(candidates("layer4.2.bn3.bias").contains(&"encoder5.2.bn3.bias".to_owned()));
        assert!(candidates("encoder.conv1.weight").contains(&"encoder1.0.weight".to_owned()));
        assert!(candidates("encoder1.1.running_var").contains(&"bn1.running_var".to_owned()));
        assert!(candidates("stem.convs.0.conv.bias").contains(&"encoder.stem.convs.0.conv.bias".to_owned()));
        assert!(is_encoder("encoder5.0.conv1.weight") && is_encoder("layer1.0.bn1.bias"));
        assert!(!is_encoder("decoder4.0.weight") && !is_encoder("proj_v.0.weight"));
    }

    #[test]
    fn a_swin_encoder_is_the_transformer_and_the_block_below_it() {
        assert!(is_encoder("swinViT.layers1.0.blocks.0.attn.qkv.weight"));
        assert!(is_encoder("encoder10.layer.conv1.conv.weight") && is_encoder("encoder2.0.conv1.weight"));
        for skip in [
            "encoder1.layer.conv3.conv.weight",
            "encoder4.layer.conv1.conv.weight",
            "decoder5.transp_conv.conv.weight",
        ] {
            assert!(!is_encoder(skip), "{skip}");
        }
        let name = canonical("module.layers1.0.blocks.1.mlp.fc2.bias");
        assert!(
            candidates(&name).contains(&"swinViT.layers1.0.blocks.1.mlp.linear2.bias".to_owned()),
            "{name}"
        );
        assert!(is_incidental("swinViT.layers1.0.blocks.0.attn.relative_position_index"));
        assert!(!is_incidental("swinViT.layers1.0.blocks.0.attn.relative_position_bias_table"));
    }
}
