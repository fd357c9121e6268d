"""Every operation of a network with its sizes, enumerated without building the network (standard library only).

The families' plans follow the forward definitions of `bnonly.networks` operation by operation; the tests compare them
with hooks on the built networks, number by number.  The cost model counts operations with them, and the fast engine runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes
    ----------
    kind : str
        "image", "conv", "bn", "relu", "add", "pool" (max-pool), "mean" (average over the image) or "linear".
    inputs : tuple of int
        Indices of the operations whose outputs it reads.
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
        """Number of elements in its output, per image."""
        return self.channels * self.size * self.size


class Plan:
    """Operations in the order of the forward definition; each method returns the index of the operation it added."""

    def __init__(self, image: int) -> None:
        self.ops = [Op("image", (), 3, image)]

    @property
    def last(self) -> int:
        """Index of the last operation."""
        return len(self.ops) - 1

    def _add(self, op: Op) -> int:
        self.ops.append(op)
        return self.last

    def conv(
        self, x: int, channels: int, kernel: int, stride: int = 1, bias: bool = False, shortcut: bool = False
    ) -> int:
        """Add a convolution."""
        size = (self.ops[x].size + 2 * (kernel // 2) - kernel) // stride + 1
        return self._add(Op("conv", (x,), channels, size, kernel, stride, bias, shortcut))

    def same(self, kind: str, *x: int) -> int:
        """Add an operation that keeps channels and size."""
        return self._add(Op(kind, x, self.ops[x[0]].channels, self.ops[x[0]].size))

    def bn_relu(self, x: int) -> int:
        """Add BatchNorm and ReLU."""
        return self.same("relu", self.same("bn", x))

    def pool(self, x: int, kernel: int, padding: int) -> int:
        """Add a max-pool of stride 2."""
        size = (self.ops[x].size + 2 * padding - kernel) // 2 + 1
        return self._add(Op("pool", (x,), self.ops[x].channels, size, kernel, 2))

    def head(self, classes: int) -> tuple[Op, ...]:
        """Add the head common to all networks, and return all operations."""
        mean = self._add(Op("mean", (self.last,), self.ops[self.last].channels, 1))
        self._add(Op("linear", (mean,), classes, 1, bias=True))
        return tuple(self.ops)

    def residual(self, convs: list[tuple[int, int, int]], shortcut: int) -> int:
        """Add a residual block: convolutions of (channels, kernel, stride), each with BatchNorm, the last without ReLU;
        then the shortcut.

        `shortcut` is the stride of its 1x1 convolution; 0 stands for the identity.
        """
        x = y = self.last
        for number, (channels, kernel, stride) in enumerate(convs):
            y = self.same("bn", self.conv(y, channels, kernel, stride))
            if number < len(convs) - 1:
                y = self.same("relu", y)
        if shortcut:
            x = self.same("bn", self.conv(x, convs[-1][0], 1, shortcut, shortcut=True))
        return self.same("relu", self.same("add", y, x))


@dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes
    ----------
    channels : int
        Channels of the first convolution in the paper's networks; the default of a configuration.
    depths : str
        The valid depths, in words, for error messages.
    has_depth : callable
        Whether a depth is valid.
    min_image : int
        Smallest image side in pixels that the network can pool.
    layers : callable
        Adds the operations of a network with a depth and channels to a plan, from the image to the last ReLU.
    """

    channels: int
    depths: str
    has_depth: Callable[[int], bool]
    min_image: int
    layers: Callable[[Plan, int, int], None]
