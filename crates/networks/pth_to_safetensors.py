"""Weights in PyTorch's own format (.pt, .pth) to safetensors, once.

usage: pth_to_safetensors.py IN.pth OUT.safetensors [--trust]

A state dict is looked for in the file itself and under the names that frameworks give it (network_weights of nnU-Net, state_dict of
Lightning and MONAI, model of Barlow Twins, and others): where it was found and what else the file holds is said. Tensors with two names, as in dynamic-network-architectures, are written under both.
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
    """The tensors in a dict under one of the known names, else those of `found` itself, the names that lead there, and those beside them."""
    if not isinstance(found, dict):
        return None
    for name in WRAPPERS:
        inner = tensors(found.get(name))
        if inner:
            weights, path, others = inner
            return weights, [name, *path], [*others, *(str(other) for other in found if other != name)]
    weights = {name: value for name, value in found.items() if torch.is_tensor(value)}
    others = [str(name) for name, value in found.items() if not torch.is_tensor(value)]
    return (weights, [], others) if weights else None


def read(path, trust):
    """What torch saved in a file."""
    with open(path, "rb") as file:
        start = file.read(4)
    # a zip archive, or a pickle of before
    if not (start == b"PK\x03\x04" or start[:1] == b"\x80"):
        sys.exit(f"{path} is no file of PyTorch: a page or a pointer of Git LFS was fetched in place of it, or it is of another format")
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        sys.exit(f"{path} holds more than tensors ({str(error).splitlines()[0]}): give --trust if you trust its maker")
    except (RuntimeError, OSError, EOFError) as error:
        sys.exit(f"{path} cannot be read, fetch it again: {str(error).splitlines()[0]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--trust", action="store_true")
    arguments = parser.parse_args()
    found = read(arguments.input, arguments.trust)
    state = tensors(found)
    if state is None:
        names = ", ".join(sorted(map(str, found))) if isinstance(found, dict) else type(found).__name__
        sys.exit(f"{arguments.input} holds no state dict, only: {names}")
    weights, path, others = state
    # copies, since safetensors refuses two names of one tensor
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
    part = f"{arguments.output}.part"
    save_file(weights, part)
    os.replace(part, arguments.output)
    place = f" under {'.'.join(path)}" if path else ""
    left = f"; left out: {', '.join(others)}" if others else ""
    print(f"{len(weights)} tensors{place}: {arguments.output}{left}")


if __name__ == "__main__":
    main()
