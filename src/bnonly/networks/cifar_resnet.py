"""ResNet-D and WRN-D-W for CIFAR-10 (Appendix B.1; He et al. 2015a, Section 4.2)."""

from __future__ import annotations

import torch
from torch import nn


def _conv(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class CifarBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the input, then ReLU; the shortcut is a 1x1 convolution with its own BN at stride 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(outputs, outputs, 3, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        # Named `downsample` as in torchvision; `bnonly.networks.regimes` finds shortcuts by this name.
        self.downsample: nn.Module | None = None
        if stride != 1:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + (x if self.downsample is None else self.downsample(x)))


class CifarResNet(nn.Module):
    """A stem, three groups of (depth - 2) / 6 blocks of c, 2c and 4c channels, average pooling, one linear layer.

    Parameters
    ----------
    depth : int
        6n + 2.
    channels : int
        c: 16 for ResNet-D, 16 W for WRN-D-W, 2, 4 or 8 for the small networks of Appendix D.
    classes : int
        Outputs.
    """

    def __init__(self, depth: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = _conv(3, channels, 3, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        blocks: list[nn.Module] = []
        inputs = channels
        for group in range(3):
            for block in range((depth - 2) // 6):
                outputs = channels << group
                blocks.append(CifarBlock(inputs, outputs, 2 if group and not block else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, h, w) to logits (n, classes)."""
        x = self.blocks(self.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean(dim=(2, 3)))


build = CifarResNet
