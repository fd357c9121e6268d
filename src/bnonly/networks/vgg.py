"""VGG-D for CIFAR-10 (Appendix C.1; after Liu et al. 2019)."""

from __future__ import annotations

import torch
from torch import nn

from bnonly.grid.families.vgg import LAYERS
from bnonly.networks.pooling import MaxPool2d


class Vgg(nn.Module):
    """3x3 convolutions with bias, BN and ReLU; four max-pools; average pooling; one linear layer.

    The counts in Appendix C.1's table include the biases.

    Parameters
    ----------
    depth : int
        11, 13, 16 or 19.
    channels : int
        Channels of the first layer; 64 in the paper.
    classes : int
        Outputs.
    """

    def __init__(self, depth: int, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for item in LAYERS[depth]:
            if isinstance(item, str):
                layers.append(MaxPool2d(2))
                continue
            outputs = item * channels
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, h, w) to logits (n, classes)."""
        return self.fc(self.layers(x).mean(dim=(2, 3)))


build = Vgg
