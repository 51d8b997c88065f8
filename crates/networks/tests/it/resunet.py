"""The published ResUNetWithAttention in plain PyTorch, with what this crate changed in it and with norms in its decoder."""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

CHANNELS = [64, 256, 512, 1024, 2048]


class SelfAttention(nn.Module):
    def __init__(self, channels, weights):
        super().__init__()
        self.weights = weights
        self.query = nn.Conv3d(channels, channels // 8, 1)
        self.key = nn.Conv3d(channels, channels // 8, 1)
        self.value = nn.Conv3d(channels, channels, 1)
        self.gate = nn.Parameter(torch.zeros(()))

    def grid(self, size):
        voxels, cells = size[0] * size[1] * size[2], size
        while voxels * cells[0] * cells[1] * cells[2] > self.weights:
            longest = max(cells) - 1
            cells = [max(1, axis * longest // max(size)) for axis in size]
        return cells

    def forward(self, x):
        size = list(x.shape[2:])
        q, k, v = self.query(x), self.key(x), self.value(x)
        k, v = (F.adaptive_avg_pool3d(t, self.grid(size)) for t in (k, v))
        q, k, v = (t.flatten(2) for t in (q, k, v))
        a = torch.softmax(q.transpose(1, 2) @ k / q.shape[1] ** 0.5, dim=-1)
        return x + self.gate * (v @ a.transpose(1, 2)).view_as(x)


class ResUNet(nn.Module):
    def __init__(self, resnet, classes, weights):
        super().__init__()
        self.encoder1 = nn.Sequential(resnet.conv1, resnet.bn1, nn.ReLU(), resnet.maxpool)
        self.encoder2, self.encoder3 = resnet.layer1, resnet.layer2
        self.encoder4, self.encoder5 = resnet.layer3, resnet.layer4
        for level, (fine, coarse) in enumerate(pairwise(CHANNELS), 1):
            up = (
                nn.ConvTranspose3d(coarse, fine, (3, 7, 7), 1, (1, 3, 3))
                if level == 1
                else nn.ConvTranspose3d(coarse, fine, 2, 2)
            )
            layers = OrderedDict()
            for index in (0, 2):
                layers[f"{index}"] = nn.Conv3d(fine, fine, 3, padding=1)
                layers[f"norm{index}"] = nn.InstanceNorm3d(fine, affine=True)
                layers[f"{index + 1}"] = nn.ReLU()
            setattr(self, f"upconv{level}", up)
            setattr(self, f"attention{level}", SelfAttention(fine, weights))
            setattr(self, f"decoder{level}", nn.Sequential(layers))
        self.output = nn.Conv3d(64, classes, 1)

    def forward(self, image):
        maps = [self.encoder1(image)]
        for level in range(2, 6):
            maps.append(getattr(self, f"encoder{level}")(maps[-1]))
        current = maps.pop()
        for level in range(4, 0, -1):
            skip = getattr(self, f"attention{level}")(maps.pop())
            current = getattr(self, f"upconv{level}")(current)
            for axis in (2, 3, 4):
                spare = current.shape[axis] - skip.shape[axis]
                current = current.narrow(axis, spare // 2, skip.shape[axis])
            current = current + skip
            if level == 1:
                current = F.adaptive_avg_pool3d(current, image.shape[2:])
            current = getattr(self, f"decoder{level}")(current)
        return self.output(current)
