"""Every operation of a network, with its sizes, enumerated without building it (standard library only).

`network` follows the forward definitions of `bnonly.networks` operation by operation; the tests compare what it says with
hooks on the built networks, number by number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from bnonly.errors import UserError
from bnonly.grid.cell import Architecture
from bnonly.grid.families import IMAGENET_BLOCKS, VGG_LAYERS


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes
    ----------
    kind : str
        "image", "conv", "bn", "relu", "add", "pool" (max-pool), "mean" (average over the image) or "linear".
    inputs : tuple of int
        Numbers of the operations whose outputs it reads.
    channels, size : int
        Of its output: (batch, channels, size, size).
    kernel, stride : int
        Of a convolution or a max-pool.
    bias : bool
        Of a convolution.
    shortcut : bool
        Whether a convolution is a residual block's shortcut.
    """

    kind: str
    inputs: tuple[int, ...]
    channels: int
    size: int
    kernel: int = 1
    stride: int = 1
    bias: bool = False
    shortcut: bool = False

    @property
    def elements(self) -> int:
        """Numbers in its output, per image."""
        return self.channels * self.size * self.size


class _Builder:
    """Operations in the order of the forward definition; every method returns the number of the operation it added."""

    def __init__(self, image: int) -> None:
        self.ops = [Op("image", (), 3, image)]

    def _add(self, op: Op) -> int:
        self.ops.append(op)
        return len(self.ops) - 1

    def conv(
        self, x: int, channels: int, kernel: int, stride: int = 1, bias: bool = False, shortcut: bool = False
    ) -> int:
        size = (self.ops[x].size + 2 * (kernel // 2) - kernel) // stride + 1
        return self._add(Op("conv", (x,), channels, size, kernel, stride, bias, shortcut))

    def same(self, kind: str, *x: int) -> int:
        return self._add(Op(kind, x, self.ops[x[0]].channels, self.ops[x[0]].size))

    def bn_relu(self, x: int) -> int:
        return self.same("relu", self.same("bn", x))

    def pool(self, x: int, kernel: int, padding: int) -> int:
        size = (self.ops[x].size + 2 * padding - kernel) // 2 + 1
        return self._add(Op("pool", (x,), self.ops[x].channels, size, kernel, 2))

    def head(self, x: int, classes: int) -> tuple[Op, ...]:
        mean = self._add(Op("mean", (x,), self.ops[x].channels, 1))
        self._add(Op("linear", (mean,), classes, 1, bias=True))
        return tuple(self.ops)

    def residual(self, x: int, convs: list[tuple[int, int, int]], shortcut: int) -> int:
        """Add a block: convolutions of (channels, kernel, stride), all with BN, the last without ReLU; then the
        shortcut.

        `shortcut` is the stride of its 1x1 convolution; 0: the block's own input.
        """
        y = x
        for number, (channels, kernel, stride) in enumerate(convs):
            y = self.same("bn", self.conv(y, channels, kernel, stride))
            if number < len(convs) - 1:
                y = self.same("relu", y)
        if shortcut:
            x = self.same("bn", self.conv(x, convs[-1][0], 1, shortcut, shortcut=True))
        return self.same("relu", self.same("add", y, x))


@lru_cache(maxsize=256)
def network(architecture: Architecture, classes: int, image: int) -> tuple[Op, ...]:
    """Enumerate a network.

    Parameters
    ----------
    architecture : Architecture
        Family, depth, channels.
    classes : int
        Outputs of the linear layer.
    image : int
        Side of the input in pixels.

    Returns
    -------
    tuple of Op
        In the order of the forward definition; the first is the image, the last the linear layer.

    Raises
    ------
    UserError
        If the family is none of these.
    """
    builders = {"cifar-resnet": _cifar_resnet, "vgg": _vgg, "imagenet-resnet": _imagenet_resnet}
    build = builders.get(architecture.family)
    if not build:
        raise UserError(
            f"{architecture.name}: the operations of family '{architecture.family}' are unknown, and so are its time and memory; "
            "write a function that enumerates them, and name it in bnonly.grid.plan.network"
        )
    return build(_Builder(image), architecture.depth, architecture.channels, classes)


def _cifar_resnet(net: _Builder, depth: int, channels: int, classes: int) -> tuple[Op, ...]:
    x = net.bn_relu(net.conv(0, channels, 3))
    for group in range(3):
        for block in range((depth - 2) // 6):
            stride, outputs = 2 if group and not block else 1, channels << group
            x = net.residual(x, [(outputs, 3, stride), (outputs, 3, 1)], stride if stride > 1 else 0)
    return net.head(x, classes)


def _vgg(net: _Builder, depth: int, channels: int, classes: int) -> tuple[Op, ...]:
    x = 0
    for item in VGG_LAYERS[depth]:
        x = net.pool(x, 2, 0) if isinstance(item, str) else net.bn_relu(net.conv(x, item * channels, 3, bias=True))
    return net.head(x, classes)


def _imagenet_resnet(net: _Builder, depth: int, channels: int, classes: int) -> tuple[Op, ...]:
    kind, blocks = IMAGENET_BLOCKS[depth]
    x = net.pool(net.bn_relu(net.conv(0, channels, 7, 2)), 3, 1)
    for group, count in enumerate(blocks):
        width = channels << group
        outputs = width if kind == "basic" else 4 * width
        for block in range(count):
            stride = 2 if group and not block else 1
            if kind == "basic":
                convs = [(width, 3, stride), (width, 3, 1)]
            else:  # the stride is on the 3x3
                convs = [(width, 1, 1), (width, 3, stride), (outputs, 1, 1)]
            x = net.residual(x, convs, stride if net.ops[x].channels != outputs or stride > 1 else 0)
    return net.head(x, classes)
