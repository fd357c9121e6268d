"""ResNet-D for ImageNet (Appendix B.2)."""

from __future__ import annotations

from bnonly.grid.plan import Family, Plan

#: The kind of block and the blocks of each group.  ResNet-10 is the smallest network of the same form; the demo uses it.
BLOCKS: dict[int, tuple[str, tuple[int, int, int, int]]] = {
    10: ("basic", (1, 1, 1, 1)),
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}


def layers(net: Plan, depth: int, channels: int) -> None:
    """Add the stem, its max-pool, and four groups of blocks."""
    kind, blocks = BLOCKS[depth]
    net.pool(net.bn_relu(net.conv(net.last, channels, 7, 2)), 3, 1)
    for group, count in enumerate(blocks):
        width = channels << group
        outputs = width if kind == "basic" else 4 * width
        for block in range(count):
            stride = 2 if group and not block else 1
            if kind == "basic":
                convs = [(width, 3, stride), (width, 3, 1)]
            else:  # the stride is on the 3x3
                convs = [(width, 1, 1), (width, 3, stride), (outputs, 1, 1)]
            net.residual(convs, stride if net.ops[net.last].channels != outputs or stride > 1 else 0)


FAMILY = Family(64, ", ".join(map(str, BLOCKS)), BLOCKS.__contains__, 8, layers)
