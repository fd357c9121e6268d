"""What each architecture family accepts, known without building a network (standard library only).

The workflow checks a grid of a thousand cells against this in milliseconds; `bnonly.networks` builds the networks, and a
test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Blocks per group of the ImageNet ResNets and the kind of block (Appendix B.2).  ResNet-10 is the smallest network of
#: the same form; the demo uses it.
IMAGENET_BLOCKS: dict[int, tuple[str, tuple[int, int, int, int]]] = {
    10: ("basic", (1, 1, 1, 1)),
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}

#: Channels of each VGG layer as multiples of the first; "M" is a max-pool of stride 2 (Appendix C.1).
VGG_LAYERS: dict[int, tuple[int | str, ...]] = {
    11: (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8),
    13: (1, 1, "M", 2, 2, "M", 4, 4, "M", 8, 8, "M", 8, 8),
    16: (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8),
    19: (1, 1, "M", 2, 2, "M", 4, 4, 4, 4, "M", 8, 8, 8, 8, "M", 8, 8, 8, 8),
}


@dataclass(frozen=True)
class Family:
    """One family of networks.

    Attributes
    ----------
    channels : int
        Channels of the first convolution in the paper's networks; the default of a configuration.
    depths : str
        Which depths exist, in words, for error messages.
    has_depth : callable
        Whether a depth exists.
    min_fan_in : callable
        Smallest fan-in of any convolution, from (depth, channels): the largest k of "k random weights per channel".
    min_image : int
        Smallest image side in pixels that the network can pool.
    """

    channels: int
    depths: str
    has_depth: Callable[[int], bool]
    min_fan_in: Callable[[int, int], int]
    min_image: int


def _imagenet_min_fan_in(depth: int, channels: int) -> int:
    # The 1x1 convolutions: shortcuts of basic blocks start at the second group; bottlenecks open with one.
    return min(channels, 3 * 49)


FAMILIES: dict[str, Family] = {
    # Stem fan-in 27 (3x3, three image channels); the first shortcut is a 1x1 from `channels`.
    "cifar-resnet": Family(16, "6n+2: 8, 14, 20, 32, ...", lambda d: d >= 8 and d % 6 == 2, lambda d, c: min(27, c), 4),
    "vgg": Family(64, ", ".join(map(str, VGG_LAYERS)), VGG_LAYERS.__contains__, lambda d, c: min(27, 9 * c), 16),
    "imagenet-resnet": Family(
        64, ", ".join(map(str, IMAGENET_BLOCKS)), IMAGENET_BLOCKS.__contains__, _imagenet_min_fan_in, 8
    ),
}
