"""Loads weights written by this crate into the networks of their authors, strictly, compares outputs, writes them again."""

import json
import sys
from pathlib import Path

ABSENT = 77

try:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file
    from torch import nn
except ImportError as error:
    print(error)
    sys.exit(ABSENT)


LAYERS = {
    "conv_bias": True,
    "norm_op": nn.InstanceNorm3d,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"inplace": True},
}


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
        **LAYERS,
    )


def swin_unetr(topology):
    from monai.networks.nets import SwinUNETR
    from monai.networks.nets.swin_unetr import PatchMerging

    class Published(PatchMerging):
        """The order of MONAI 0.9 and of GTGM's published code."""

        def forward(self, x):
            order = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1)]
            x = torch.cat([x[:, i::2, j::2, k::2] for i, j, k in order], -1)
            return self.reduction(self.norm(x))

    return SwinUNETR(
        in_channels=2,
        out_channels=3,
        feature_size=topology["feature_size"],
        depths=topology["depths"],
        downsample={"complete": "merging", "published": Published}[topology["merging"]],
    )


def resenc_encoder(topology):
    from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = ResidualEncoder(
                2,
                len(topology["features"]),
                topology["features"],
                nn.Conv3d,
                topology["kernels_zyx"],
                topology["strides_zyx"],
                topology["blocks"],
                **LAYERS,
            )

        def forward(self, x):
            return self.encoder(x).mean((2, 3, 4))

    return Pooled()


def swin_encoder(topology):
    whole = swin_unetr(topology)

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.swinViT, self.encoder10 = whole.swinViT, whole.encoder10

        def forward(self, x):
            return self.encoder10(self.swinViT(x, True)[4]).mean((2, 3, 4))

    return Pooled()


def attresunet50(topology):
    from resunet import ResUNet

    return ResUNet(resnet50(None), 3, topology["weights"])


def check_gradients(network, case):
    """Those of the sum of the output, each voxel weighed."""
    expected = {
        name.removeprefix("gradient."): value for name, value in case.items() if name.startswith("gradient.")
    }
    if not expected:
        return
    (network(case["input"]) * case["upstream"]).sum().backward()
    for name, gradient in expected.items():
        found = network.get_parameter(name).grad
        apart, scale = float((gradient - found).abs().max()), float(found.abs().max())
        assert apart < 1e-7 * scale, f"gradient of {name}: {apart} apart, the largest is {scale}"


def main():
    kind, directory = sys.argv[1], Path(sys.argv[2])
    weights = directory / "weights.safetensors"
    with safe_open(weights, "pt") as file:
        topology = json.loads(file.metadata()["topology"] or "null")
    try:
        build = {
            "resnet50": resnet50,
            "resenc": resenc,
            "resenc-encoder": resenc_encoder,
            "swin-unetr": swin_unetr,
            "swin-encoder": swin_encoder,
            "attresunet50": attresunet50,
        }
        network = build[kind](topology)
    except ImportError as error:
        print(error)
        sys.exit(ABSENT)
    case = load_file(directory / "case.safetensors")
    network.to(case["input"].dtype)
    network.load_state_dict(load_file(weights), strict=True)
    network.eval()
    again = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_file(again, directory / "again.safetensors")
    with torch.no_grad():
        found = network(case["input"])
    scale = float(case["output"].std())
    torch.testing.assert_close(found, case["output"], rtol=1e-4, atol=1e-4 * scale)
    check_gradients(network, case)


main()
