"""VGG-D for CIFAR-10 (Appendix C.1)."""

from __future__ import annotations

from bnonly.grid.plan import Family, Plan

#: Channels of each layer as multiples of the first; "M" is a max-pool of stride 2.
LAYERS: dict[int, tuple[int | str, ...]] = {
    11: (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8),
    13: (1, 1, "M", 2, 2, "M", 4, 4, "M", 8, 8, "M", 8, 8),
    16: (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8),
    19: (1, 1, "M", 2, 2, "M", 4, 4, 4, 4, "M", 8, 8, 8, 8, "M", 8, 8, 8, 8),
}


def layers(net: Plan, depth: int, channels: int) -> None:
    """Add convolutions with bias, BatchNorm and ReLU, and the max-pools between them."""
    for item in LAYERS[depth]:
        if isinstance(item, str):
            net.pool(net.last, 2, 0)
        else:
            net.bn_relu(net.conv(net.last, item * channels, 3, bias=True))


FAMILY = Family(64, ", ".join(map(str, LAYERS)), LAYERS.__contains__, 16, layers)
