"""Weights in PyTorch's own format (.pt, .pth) to safetensors, once.

usage: pth_to_safetensors.py IN.pth OUT.safetensors [--trust]

A state dict is looked for in the file itself and under the names that frameworks give it (network_weights of nnU-Net, state_dict of
Lightning and MONAI, model of Barlow Twins and DINO, and others). Tensors with two names, as in dynamic-network-architectures, are written under both.
--trust reads files that hold more than tensors, as nnU-Net's checkpoints do: such a file runs whatever code its maker put in, so trust
the maker first. Needs torch and safetensors.
"""
import argparse
import os
import pickle
import sys

import torch
from safetensors.torch import save_file

WRAPPERS = ("network_weights", "state_dict", "model_state_dict", "model", "net", "encoder")


def tensors(found):
    """The tensors in a dict under one of the known names, else those of `found` itself: beside a state dict there may be others, such as the epoch."""
    if not isinstance(found, dict):
        return None
    for name in WRAPPERS:
        weights = tensors(found.get(name))
        if weights:
            return weights
    return {name: value for name, value in found.items() if torch.is_tensor(value)} or None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--trust", action="store_true")
    arguments = parser.parse_args()
    try:
        found = torch.load(arguments.input, map_location="cpu", weights_only=not arguments.trust)
    except pickle.UnpicklingError as error:
        sys.exit(f"{arguments.input} holds more than tensors ({str(error).splitlines()[0]}): give --trust if you trust its maker")
    weights = tensors(found)
    if weights is None:
        names = ", ".join(sorted(map(str, found))) if isinstance(found, dict) else type(found).__name__
        sys.exit(f"{arguments.input} holds no state dict, only: {names}")
    # copies, since safetensors refuses two names of one tensor
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
    part = f"{arguments.output}.part"
    save_file(weights, part)
    os.replace(part, arguments.output)
    print(f"{len(weights)} tensors: {arguments.output}")


if __name__ == "__main__":
    main()
