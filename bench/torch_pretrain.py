"""The encoder's part of a pretraining step in PyTorch: what `torch_steps.py pretrain` does, without its text encoder.

usage: torch_pretrain.py {fp32|bf16} {cpu|cuda} ZxYxX BATCH STEPS
Two given views through the reference 3-D ResNet-50, given text vectors through their head, symmetric InfoNCE on both views and the
covariance loss, gradients clipped, AdamW. Prints the median of seconds per step.
"""
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from monai.networks.nets import resnet50
from torch import nn

precision, device, shape, batch, steps = sys.argv[1:]
shape, batch, steps = tuple(map(int, shape.split("x"))), int(batch), int(steps)
amp = torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=precision == "bf16")


def head(features):
    return nn.Sequential(nn.Linear(features, 2048), nn.BatchNorm1d(2048), nn.ReLU(True), nn.Linear(2048, 512),
                         nn.BatchNorm1d(512, affine=False))


encoder = resnet50(spatial_dims=3, n_input_channels=1, conv1_t_size=(3, 7, 7), conv1_t_stride=(1, 2, 2),
                   feed_forward=False, shortcut_type="B", bias_downsample=False)
encoder.maxpool = nn.MaxPool3d(3, (1, 2, 2), 1)
nets = nn.ModuleList([encoder, head(2048), head(384)]).to(device).train()
optimizer = torch.optim.AdamW(nets.parameters(), lr=2e-5, weight_decay=5e-2)
views = [torch.randn(batch, 1, *shape, device=device) for _ in range(2)]
text = torch.randn(batch, 384, device=device)
torch.backends.cudnn.benchmark = True
target = torch.arange(batch, device=device)


def contrast(a, b):
    similarity = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / 0.07
    return F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)


def step():
    optimizer.zero_grad()
    with amp:
        raw = [encoder(view).flatten(1) for view in views]
        projected = [nets[1](x).float() for x in raw]
        words = nets[2](text).float()
    correlation = raw[0].float().T @ raw[1].float() / batch
    diagonal = torch.diagonal(correlation)
    covariance = (diagonal - 1).pow(2).sum() + 0.0051 * (correlation.pow(2).sum() - diagonal.pow(2).sum())
    loss = contrast(projected[0], words) + contrast(projected[1], words) + 0.01 * 0.5 * covariance
    loss.backward()
    nn.utils.clip_grad_norm_(nets.parameters(), 1.0)
    optimizer.step()


def synchronised_step():
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()


for _ in range(3):
    synchronised_step()
seconds = []
for _ in range(steps):
    started = time.perf_counter()
    synchronised_step()
    seconds.append(time.perf_counter() - started)
print(f"seconds_per_step {statistics.median(seconds):.4f}")
