"""ResNet-D and WRN-D-W for CIFAR-10 (Appendix B.1)."""

from __future__ import annotations

from bnonly.grid.plan import Family, Plan


def layers(net: Plan, depth: int, channels: int) -> None:
    """Add a stem and three groups of (depth - 2) / 6 blocks."""
    net.bn_relu(net.conv(net.last, channels, 3))
    for group in range(3):
        for block in range((depth - 2) // 6):
            stride, outputs = 2 if group and not block else 1, channels << group
            net.residual([(outputs, 3, stride), (outputs, 3, 1)], stride if stride > 1 else 0)


FAMILY = Family(16, "6n+2: 8, 14, 20, 32, ...", lambda depth: depth >= 8 and depth % 6 == 2, 4, layers)
