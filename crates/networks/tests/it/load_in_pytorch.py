"""Loads weights written by this crate into the networks of their authors, strictly, and compares outputs."""

import json
import sys
from pathlib import Path

ABSENT = 77

try:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file
    from torch import nn
except ImportError as error:
    print(error)
    sys.exit(ABSENT)


def resnet50(_topology):
    from monai.networks.nets import resnet50 as build

    network = build(
        spatial_dims=3,
        n_input_channels=2,
        conv1_t_size=(3, 7, 7),
        conv1_t_stride=(1, 2, 2),
        shortcut_type="B",
        bias_downsample=False,
        feed_forward=False,
    )
    network.maxpool = nn.MaxPool3d(3, (1, 2, 2), 1)
    return network


def resenc(topology):
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    return ResidualEncoderUNet(
        2,
        len(topology["features"]),
        topology["features"],
        nn.Conv3d,
        topology["kernels_zyx"],
        topology["strides_zyx"],
        topology["blocks"],
        3,
        topology["decoder_convs"],
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


def main():
    kind, directory = sys.argv[1], Path(sys.argv[2])
    weights = directory / "weights.safetensors"
    with safe_open(weights, "pt") as file:
        topology = json.loads(file.metadata()["topology"] or "null")
    try:
        network = {"resnet50": resnet50, "resenc": resenc}[kind](topology)
    except ImportError as error:
        print(error)
        sys.exit(ABSENT)
    network.load_state_dict(load_file(weights), strict=True)
    network.eval()
    case = load_file(directory / "case.safetensors")
    with torch.no_grad():
        found = network(case["input"])
    scale = float(case["output"].std())
    torch.testing.assert_close(found, case["output"], rtol=1e-4, atol=1e-4 * scale)


main()
