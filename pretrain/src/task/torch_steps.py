"""Three steps of pretraining in plain PyTorch, from the weights and views in a safetensors file; prints a loss a line.

The network is nnU-Net's residual encoder with both published heads; symmetric InfoNCE of both views plus 0.01 times the
standardised cross-correlation of the projections; AdamW with decay on matrices only, gradients clipped to norm 1.
"""
import json
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)


def tensors(path):
    with open(path, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    types = {"F32": np.float32, "I64": np.int64}
    header.pop("__metadata__", None)
    return {name: torch.from_numpy(np.frombuffer(data[slice(*entry["data_offsets"])], types[entry["dtype"]])
                                   .reshape(entry["shape"]).copy()) for name, entry in header.items()}


def norm(x, p, name):
    return F.instance_norm(x, weight=p[f"{name}.weight"], bias=p[f"{name}.bias"])


def block(x, p, name, stride):
    kernel = p[f"{name}.conv1.conv.weight"]
    y = F.conv3d(x, kernel, p[f"{name}.conv1.conv.bias"], stride, [k // 2 for k in kernel.shape[2:]])
    y = F.leaky_relu(norm(y, p, f"{name}.conv1.norm"))
    y = F.conv3d(y, p[f"{name}.conv2.conv.weight"], p[f"{name}.conv2.conv.bias"], 1, [k // 2 for k in kernel.shape[2:]])
    y = norm(y, p, f"{name}.conv2.norm")
    pooled = stride != [1, 1, 1]
    if pooled:
        x = F.avg_pool3d(x, stride, stride)
    skip = f"{name}.skip.{int(pooled)}"
    if f"{skip}.conv.weight" in p:
        x = norm(F.conv3d(x, p[f"{skip}.conv.weight"]), p, f"{skip}.norm")
    return F.leaky_relu(y + x)


def encoder(x, p, shape):
    stem = p["encoder.stem.convs.0.conv.weight"]
    x = F.conv3d(x, stem, p["encoder.stem.convs.0.conv.bias"], 1, [k // 2 for k in stem.shape[2:]])
    x = F.leaky_relu(norm(x, p, "encoder.stem.convs.0.norm"))
    for stage, (blocks, stride) in enumerate(zip(shape["blocks"], shape["strides_zyx"])):
        for index in range(blocks):
            x = block(x, p, f"encoder.stages.{stage}.blocks.{index}", stride if index == 0 else [1, 1, 1])
    return x.mean((2, 3, 4))


def batch_norm(x, weight=None, bias=None):
    return F.batch_norm(x, None, None, weight, bias, training=True)


def head(x, p, name):
    x = F.linear(x, p[f"{name}.0.weight"], p[f"{name}.0.bias"])
    x = F.relu(batch_norm(x, p[f"{name}.1.weight"], p[f"{name}.1.bias"]))
    return batch_norm(F.linear(x, p[f"{name}.3.weight"], p[f"{name}.3.bias"]))


def vlp(image, text):
    similarity = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T / 0.07
    target = torch.arange(len(image))
    return F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)


def redundancy(a, b):
    a, b = ((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() for x in (a, b))
    correlation = a.T @ b / len(a)
    diagonal = correlation.diagonal()
    return 0.5 * ((diagonal - 1).square().sum() + 0.0051 * (correlation.square().sum() - diagonal.square().sum()))


given = tensors(sys.argv[1])
rates, shape = json.loads(sys.argv[2]), json.loads(sys.argv[3])
p = {name.removeprefix("start/"): tensor for name, tensor in given.items() if name.startswith("start/")}
p = {name: tensor.requires_grad_() for name, tensor in p.items() if tensor.is_floating_point() and "running_" not in name}
matrices, vectors = ([t for t in p.values() if (t.dim() > 1) == wanted] for wanted in (True, False))
optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}])
for step, rate in enumerate(rates):
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    first, second = (head(encoder(given[f"view{view}/{step}"], p, shape), p, "proj_v") for view in (1, 2))
    text = head(given[f"text/{step}"], p, "proj_t")
    loss = vlp(first, text) + vlp(second, text) + 0.01 * redundancy(first, second)
    loss.backward()
    norms = nn.utils.clip_grad_norm_(list(p.values()), 1.0)
    optimizer.step()
    print(f"{loss.item()!r} {norms.item()!r}")
