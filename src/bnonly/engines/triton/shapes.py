"""Blocks and grids as a function of shapes alone, and the bytes each kernel must move.

Fixed numbers, never a device's: the order of summation is part of the result.  They are chosen for about 132 multiprocessors
(H100, H200) and 2-byte activations.  Nor does it matter how many replicates share a launch: each is cut up as if it were
alone, so that it computes the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Programs that a large tensor of one replicate is cut into: four for each of about 132 multiprocessors.
PROGRAMS = 512
#: Fewest programs of a convolution before its tiles get smaller: about one for each multiprocessor.
FILLING = 120
#: Elements of the tile that a program of an elementwise or reducing kernel has in registers at a time.
TILE = 4096


def power(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


@dataclass(frozen=True)
class Rows:
    """How (rows, channels) are cut up.

    Attributes
    ----------
    tile_rows, tile_channels : int
        A tile; powers of two.
    tiles : int
        Tiles one above the other that one program goes through.
    parts : int
        Programs that share the rows of one block of channels; each leaves one row of partial sums.
    blocks : int
        Blocks of channels.
    merge : int
        Rows of partial sums that are merged at a time.
    """

    tile_rows: int
    tile_channels: int
    tiles: int
    parts: int
    blocks: int
    merge: int


def rows(count: int, channels: int, tile_rows: int = 0, tile_channels: int = 0) -> Rows:
    """Cut up `count` rows of `channels` values; 0 lets a tile have about `TILE` elements."""
    wide = tile_channels or min(power(channels), 64)
    high = tile_rows or max(1, min(TILE // wide, power(count)))
    blocks = math.ceil(channels / wide)
    each = math.ceil(count / high)
    tiles = max(1, math.ceil(each * blocks / PROGRAMS))
    parts = math.ceil(each / tiles)
    return Rows(high, wide, tiles, parts, blocks, max(1, TILE // wide))


@dataclass(frozen=True)
class Product:
    """How a convolution is cut up as a matrix product.

    Attributes
    ----------
    rows : Rows
        Of the output: positions by output channels.
    inner : int
        Input channels multiplied at a time; a divisor of all of them.
    warps : int
        Warps a program.
    stages : int
        Products whose operands are under way at a time.
    """

    rows: Rows
    inner: int
    warps: int
    stages: int


def product(positions: int, inputs: int, outputs: int) -> Product:
    """Cut up a convolution with so many output positions; channels are powers of two from 16."""
    wide = min(outputs, 128)
    high = 128 if wide <= 64 else 64
    while high > 16 and math.ceil(positions / high) * (outputs // wide) < FILLING:
        high //= 2
    return Product(rows(positions, outputs, high, wide), min(inputs, 64), 4 if high * wide < 8192 else 8, 3)


# Bytes, with E elements of a convolution's output (for each replicate) and activations of `size` bytes.  A basic block that only
# BatchNorm trains in must move 15 E: forward 6 (read and write each of two convolutions' inputs and outputs, once more for the
# identity), backward 9.  Statistics, weights and partial sums are left out: they are thousandths.


def bn_forward_bytes(elements: int, size: int, residual: bool) -> float:
    """Of `bn_relu` forward: x is read twice, y written, a residual read and a bit an element written."""
    return elements * (size * (4 if residual else 3) + residual / 8)


def bn_backward_bytes(elements: int, size: int, residual: bool) -> float:
    """Of `bn_relu` backward: dy and x are read twice, dx written; a residual's gradient written, the bits read twice."""
    return elements * (size * (6 if residual else 5) + residual / 4)


def conv_forward_bytes(inputs: int, outputs: int, size: int, residual: bool) -> float:
    """Of a fused convolution: reads its input and writes its output; at a block's input reads the identity, writes the sum."""
    return size * (inputs * (3 if residual else 1) + outputs) + residual * inputs / 8


def conv_backward_bytes(inputs: int, outputs: int, size: int, residual: bool, bits: bool) -> float:
    """Of its gradient: reads g and z of the output, z of the input, writes g; at a block's input reads the identity's g and bits."""
    return size * (2 * outputs + 2 * inputs + residual * inputs) + bits * inputs / 8
