"""Blocks and grids as functions of shapes alone, and the bytes that each kernel must move.

The order of summation is part of the result, so the numbers do not depend on the device.  They suit about 132 multiprocessors
(H100, H200) and 2-byte activations.  Nor do they depend on the replicates in a launch: each is divided as if it were
alone, so it computes the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Programs for a large tensor of one replicate: four for each of about 132 multiprocessors.
PROGRAMS = 512
#: Below this number of programs a convolution gets smaller tiles: about one program per multiprocessor.
FILLING = 120
#: Elements per tile, which a program of an elementwise or reducing kernel holds in registers.
TILE = 4096


def power(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


@dataclass(frozen=True)
class Rows:
    """Division of (rows, channels) into tiles.

    Attributes
    ----------
    tile_rows, tile_channels : int
        Shape of a tile; powers of two.
    tiles : int
        Consecutive tiles per program, along the rows.
    parts : int
        Programs that share the rows of one block of channels; each stores one row of partial sums.
    blocks : int
        Blocks of channels.
    merge : int
        Rows of partial sums to merge at a time.
    """

    tile_rows: int
    tile_channels: int
    tiles: int
    parts: int
    blocks: int
    merge: int


def rows(count: int, channels: int, tile_rows: int = 0, tile_channels: int = 0) -> Rows:
    """Divide `count` rows of `channels` values into tiles; by default with about `TILE` elements each."""
    wide = tile_channels or min(power(channels), 64)
    high = tile_rows or max(1, min(TILE // wide, power(count)))
    blocks = math.ceil(channels / wide)
    each = math.ceil(count / high)
    tiles = max(1, math.ceil(each * blocks / PROGRAMS))
    parts = math.ceil(each / tiles)
    return Rows(high, wide, tiles, parts, blocks, max(1, TILE // wide))


@dataclass(frozen=True)
class Product:
    """Division of a convolution as a matrix product.

    Attributes
    ----------
    rows : Rows
        Division of the output: positions by output channels.
    inner : int
        Input channels per product; a divisor of their number.
    warps : int
        Warps per program.
    stages : int
        Pipeline stages: products whose operands are loaded at the same time.
    """

    rows: Rows
    inner: int
    warps: int
    stages: int


def product(positions: int, inputs: int, outputs: int) -> Product:
    """Divide a convolution with this number of output positions; channels are powers of two from 16."""
    wide = min(outputs, 128)
    high = 128 if wide <= 64 else 64
    while high > 16 and math.ceil(positions / high) * (outputs // wide) < FILLING:
        high //= 2
    return Product(rows(positions, outputs, high, wide), min(inputs, 64), 4 if high * wide < 8192 else 8, 3)


# Bytes, with E elements of a convolution's output (for each replicate) and activations of `size` bytes.  A basic block that only
# BatchNorm trains in must move 15 E: 6 forward (read the inputs and write the outputs of two convolutions, and again for the
# identity), 9 backward.  Statistics, weights and partial sums are thousandths and do not count.


def bn_forward_bytes(elements: int, size: int, residual: bool) -> float:
    """Bytes of `bn_relu` forward: read x twice, write y; with a residual, read it and write one bit per element."""
    return elements * (size * (4 if residual else 3) + residual / 8)


def bn_backward_bytes(elements: int, size: int, residual: bool) -> float:
    """Bytes of `bn_relu` backward: read dy and x twice, write dx; with a residual, write its gradient, read bits twice."""
    return elements * (size * (6 if residual else 5) + residual / 4)


def conv_forward_bytes(inputs: int, outputs: int, size: int, residual: bool) -> float:
    """Bytes of a fused convolution: read input, write output; at a block's input also read the identity, write the sum."""
    return size * (inputs * (3 if residual else 1) + outputs) + residual * inputs / 8


def conv_backward_bytes(inputs: int, outputs: int, size: int, residual: bool, bits: bool) -> float:
    """Bytes of its gradient: read g and z of the output, z of the input; write g; at a block's input read identity's g, bits."""
    return size * (2 * outputs + 2 * inputs + residual * inputs) + bits * inputs / 8
