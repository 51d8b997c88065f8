"""What `finetune` computes, in PyTorch: a training step, or a sliding-window prediction, with the network of a plan.

usage: torch_finetune.py {train|predict} {fp32|bf16} {cpu|cuda} PLAN.json ZxYxX BATCH STEPS
train: the plan's residual-encoder U-Net (dynamic_network_architectures), deep supervision with MONAI's Dice and cross-entropy, gradients
clipped, AdamW, on one tensor that never changes. predict: MONAI's sliding window, Gaussian weights, half overlap, over a volume twice as
large along each axis. Prints the median of seconds per step.
"""
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from torch import nn

what, precision, device, plan, shape, batch, steps = sys.argv[1:]
shape, batch, steps = tuple(map(int, shape.split("x"))), int(batch), int(steps)
amp = torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=precision == "bf16")
network = json.load(open(plan))["model"]["network"]
topology = network["topology"]
net = ResidualEncoderUNet(
    network["in_channels"], len(topology["features"]), topology["features"], nn.Conv3d, topology["kernels_zyx"], topology["strides_zyx"],
    topology["blocks"], network["classes"], topology["decoder_convs"], conv_bias=True, norm_op=nn.InstanceNorm3d,
    norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=what == "train",
).to(device)

if what == "train":
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    criterion = DiceCELoss(to_onehot_y=True, softmax=True)
    image = torch.randn(batch, network["in_channels"], *shape, device=device)
    labels = torch.randint(0, network["classes"], (batch, 1, *shape), device=device)

    def step():
        optimizer.zero_grad()
        with amp:
            outputs = net(image)
        weights = [0.5 ** i for i in range(len(outputs))]
        loss = sum(w * criterion(o.float(), F.interpolate(labels.float(), o.shape[2:], mode="nearest"))
                   for w, o in zip(weights, outputs)) / sum(weights)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 12.0)
        optimizer.step()
else:
    net.eval()
    volume = torch.randn(1, network["in_channels"], *(2 * n for n in shape), device=device)

    def step():
        with torch.no_grad(), amp:
            sliding_window_inference(volume, shape, batch, net, overlap=0.5, mode="gaussian")

seconds = []
for i in range(steps + 1):
    started = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    if i > 0:
        seconds.append(time.perf_counter() - started)
print(f"seconds_per_step {statistics.median(seconds):.4f}")
