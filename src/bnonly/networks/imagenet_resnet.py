"""ResNet-D for ImageNet, on torchvision's class (Appendix B.2)."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from bnonly.grid.families.imagenet_resnet import BLOCKS
from bnonly.networks.pooling import MaxPool2d


class _NarrowResNet(ResNet):
    """torchvision's ResNet with any number of channels in the stem and all other widths in proportion."""

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: list[int], classes: int, channels: int) -> None:
        self._channels = channels
        super().__init__(block, layers, num_classes=classes)
        self.fc = nn.Linear(8 * channels * block.expansion, classes)

    def _make_layer(self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False) -> nn.Sequential:
        if planes == 64:  # the first group: replace the stem, which has 64 channels
            self.inplanes = self._channels
            self.conv1 = nn.Conv2d(3, self._channels, kernel_size=7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(self._channels)
        return super()._make_layer(block, planes // 64 * self._channels, blocks, stride, dilate)


def build(depth: int, channels: int, classes: int) -> nn.Module:
    """Build torchvision's ResNet of a depth, ResNet-10 and ResNet-200 included; stride on the 3x3 convolutions.

    Parameters
    ----------
    depth : int
        A key of `bnonly.grid.families.imagenet_resnet.BLOCKS`.
    channels : int
        Channels of the stem; 64 in the paper.
    classes : int
        Outputs.
    """
    kind, layers = BLOCKS[depth]
    block: type[BasicBlock | Bottleneck] = BasicBlock if kind == "basic" else Bottleneck
    if channels == 64:
        model = ResNet(block, list(layers), num_classes=classes)
    else:
        model = _NarrowResNet(block, list(layers), classes, channels)
    model.maxpool = MaxPool2d(kernel_size=3, stride=2, padding=1)
    return model
