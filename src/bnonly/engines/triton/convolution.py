"""Convolutions of narrow networks, fused with the BatchNorm before and after them.

Forward, one launch per convolution applies the previous layer's BatchNorm, addition and ReLU while reading the input.  It multiplies,
and stores mean and 1/deviation of the output for the next BatchNorm.

Backward, one launch converts the gradient after the BatchNorm into the one before it while reading.  It multiplies by the transposed
weight, adds the identity's gradient and masks by the previous layer's ReLU.  It also stores that layer's gradients of gamma and beta.

So an ordinary layer writes only its convolution's output in the forward pass, and only its gradient in the backward pass.

Images are (replicates, n, height, width, channels); channels are powers of two from 16; kernels 3x3 padded by 1, or 1x1; stride 1 or 2.
Normalised values are not stored, so each of the nine taps recomputes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from bnonly.engines.triton import shapes
from bnonly.engines.triton.batchnorm import (
    INTERPRETED,
    arrive,
    channel_values,
    counters,
    merge_statistics,
    merge_sums,
    normalise,
    pack_bits,
    read_bits,
    store_parts,
)


@triton.jit
def multiply(a, b, total, PRECISION: tl.constexpr):
    """Add a product of two tiles of one type to an fp32 tile."""
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def split_position(position, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Return image, row and column of a position."""
    return position // (HEIGHT * WIDTH), position // WIDTH % HEIGHT, position % WIDTH


@triton.jit
def activation(
    a, at, valid, channel, replicate, mean_pointer, rstd_pointer, gamma_pointer, beta_pointer, residual_pointer,
    CHANNELS: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr, RESIDUAL: tl.constexpr,
):  # fmt: skip
    """Return relu(BatchNorm(a) + residual) in fp32."""
    whose = replicate * CHANNELS + channel
    everywhere = channel < CHANNELS
    scale = tl.load(rstd_pointer + whose) * channel_values(gamma_pointer, whose, everywhere, 1.0, GAMMA)
    beta = channel_values(beta_pointer, whose, everywhere, 0.0, BETA)
    v = normalise(a.to(tl.float32), tl.load(mean_pointer + whose)[None, :], scale[None, :], beta[None, :])
    if RESIDUAL:
        v += tl.load(residual_pointer + at, mask=valid, other=0.0).to(tl.float32)
    return tl.maximum(v, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def forward_kernel(
    x_pointer, weight_pointer, y_pointer, mean_in, rstd_in, gamma_pointer, beta_pointer, residual_pointer, kept_pointer,
    bits_pointer, parts, counters_pointer, mean_out, rstd_out, running_mean, running_var, images, tiles, weight_stride,
    momentum, eps,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, SIZE: tl.constexpr,
    STRIDE: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, INNER: tl.constexpr, MERGE: tl.constexpr,
    NORMALISE: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr, RESIDUAL: tl.constexpr, KEEP: tl.constexpr,
    BITS: tl.constexpr, STATISTICS: tl.constexpr, RUNNING: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Convolve relu(BatchNorm(x) + residual); grid (parts, blocks of output channels, replicates)."""
    OUT_HEIGHT: tl.constexpr = (HEIGHT - 1) // STRIDE + 1
    OUT_WIDTH: tl.constexpr = (WIDTH - 1) // STRIDE + 1
    INNERS: tl.constexpr = INPUTS // INNER
    part, block, replicate = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    count = images * (OUT_HEIGHT * OUT_WIDTH)
    inputs_before = replicate.to(tl.int64) * images * (HEIGHT * WIDTH * INPUTS)
    x_pointer += inputs_before
    y_pointer += replicate.to(tl.int64) * count * OUTPUTS
    weight_pointer += replicate.to(tl.int64) * weight_stride
    if RESIDUAL:
        residual_pointer += inputs_before
    if KEEP:
        kept_pointer += inputs_before
    if BITS:
        bits_pointer += inputs_before // 8
    outputs = block * WIDE + tl.arange(0, WIDE)
    number = 0.0
    mean = tl.zeros([WIDE], tl.float32)
    squared = tl.zeros([WIDE], tl.float32)
    for tile in tl.range(tiles, num_stages=1):
        start = (part * tiles + tile) * HIGH
        position = start + tl.arange(0, HIGH)
        inside = position < count
        image, row, column = split_position(position, OUT_HEIGHT, OUT_WIDTH)
        total = tl.zeros([HIGH, WIDE], tl.float32)
        for step in tl.range(SIZE * SIZE * INNERS, num_stages=STAGES):
            tap = step // INNERS
            channel = step % INNERS * INNER + tl.arange(0, INNER)
            y_in = row * STRIDE + (tap // SIZE - SIZE // 2)
            x_in = column * STRIDE + (tap % SIZE - SIZE // 2)
            valid = (inside & (y_in >= 0) & (y_in < HEIGHT) & (x_in >= 0) & (x_in < WIDTH))[:, None]
            at = ((image * HEIGHT + y_in) * WIDTH + x_in)[:, None] * INPUTS + channel[None, :]
            a = tl.load(x_pointer + at, mask=valid, other=0.0)
            if NORMALISE:
                v = activation(
                    a, at, valid, channel, replicate, mean_in, rstd_in, gamma_pointer, beta_pointer, residual_pointer,
                    INPUTS, GAMMA, BETA, RESIDUAL,
                )  # fmt: skip
                a = tl.where(valid, v, 0.0).to(x_pointer.dtype.element_ty)  # padding: zero after the ReLU
            w = tl.load(weight_pointer + (tap * INPUTS + channel)[:, None] * OUTPUTS + outputs[None, :])
            total = multiply(a, w, total, PRECISION)
        y = total.to(y_pointer.dtype.element_ty)
        tl.store(y_pointer + position[:, None] * OUTPUTS + outputs[None, :], y, mask=inside[:, None])
        if STATISTICS:
            # Statistics of the rounded values, which the next BatchNorm reads; merged into those of earlier tiles.
            v = y.to(tl.float32)
            more = tl.maximum(tl.minimum(count - start, HIGH), 0).to(tl.float32)
            here = tl.sum(tl.where(inside[:, None], v, 0.0), axis=0) / tl.maximum(more, 1.0)
            off = tl.where(inside[:, None], v - here[None, :], 0.0)
            share = more / tl.maximum(number + more, 1.0)
            squared += tl.sum(off * off, axis=0) + (here - mean) * (here - mean) * number * share
            mean += (here - mean) * share
            number += more
        if KEEP:
            # Recompute for the program's own positions, from the cache.  At stride 1 the programs cover every position.
            if block == 0:
                for inner in tl.range(INNERS, num_stages=1):
                    own = inner * INNER + tl.arange(0, INNER)
                    here_at = position[:, None] * INPUTS + own[None, :]
                    kept = activation(
                        tl.load(x_pointer + here_at, mask=inside[:, None], other=0.0), here_at, inside[:, None], own, replicate,
                        mean_in, rstd_in, gamma_pointer, beta_pointer, residual_pointer, INPUTS, GAMMA, BETA, RESIDUAL,
                    )  # fmt: skip
                    tl.store(kept_pointer + here_at, kept.to(kept_pointer.dtype.element_ty), mask=inside[:, None])
                    if BITS:
                        byte = inner * (INNER // 8) + tl.arange(0, INNER // 8)
                        place = position[:, None] * (INPUTS // 8) + byte[None, :]
                        tl.store(bits_pointer + place, pack_bits(kept > 0.0, HIGH, INNER, 8), mask=inside[:, None])
    if STATISTICS:
        store_parts(parts, replicate, part, outputs, outputs < OUTPUTS, mean, squared, OUTPUTS)
        if arrive(counters_pointer + replicate * tl.num_programs(1) + block, tl.num_programs(0)):
            merge_statistics(
                parts, mean_out, rstd_out, running_mean, running_var, replicate, block, count, tiles * HIGH, momentum, eps,
                OUTPUTS, WIDE, MERGE, RUNNING,
            )  # fmt: skip


@triton.jit
def input_gradient(g, z, mean, mean_g, slope, scale):
    """Return the gradient before a BatchNorm from the one after it."""
    return (g - mean_g[None, :] - (z - mean[None, :]) * slope[None, :]) * scale[None, :]


@triton.jit
def backward_kernel(
    g_pointer, z_pointer, weight_pointer, out_pointer, mean_z, rstd_z, gamma_z, dbeta_z, dgamma_z, added_pointer,
    before_pointer, mean_b, rstd_b, gamma_b, beta_b, bits_pointer, parts, counters_pointer, dbeta_out, dgamma_out, images, tiles,
    weight_stride,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, SIZE: tl.constexpr,
    STRIDE: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, INNER: tl.constexpr, MERGE: tl.constexpr,
    GAMMA_Z: tl.constexpr, ADDED: tl.constexpr, BEFORE: tl.constexpr, GAMMA_B: tl.constexpr, BETA_B: tl.constexpr,
    BITS: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Compute the gradient after the previous BatchNorm from the one after z's; grid (parts, blocks of inputs, replicates)."""
    OUT_HEIGHT: tl.constexpr = (HEIGHT - 1) // STRIDE + 1
    OUT_WIDTH: tl.constexpr = (WIDTH - 1) // STRIDE + 1
    INNERS: tl.constexpr = OUTPUTS // INNER
    part, block, replicate = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    count = images * (HEIGHT * WIDTH)
    outputs_before = replicate.to(tl.int64) * images * (OUT_HEIGHT * OUT_WIDTH * OUTPUTS)
    inputs_before = replicate.to(tl.int64) * count * INPUTS
    g_pointer += outputs_before
    z_pointer += outputs_before
    out_pointer += inputs_before
    weight_pointer += replicate.to(tl.int64) * weight_stride
    if ADDED:
        added_pointer += inputs_before
    if BEFORE:
        before_pointer += inputs_before
    if BITS:
        bits_pointer += inputs_before // 8
    elements = images * (OUT_HEIGHT * OUT_WIDTH)
    inputs = block * WIDE + tl.arange(0, WIDE)
    first = tl.zeros([WIDE], tl.float32)
    second = tl.zeros([WIDE], tl.float32)
    for tile in tl.range(tiles, num_stages=1):
        position = (part * tiles + tile) * HIGH + tl.arange(0, HIGH)
        image, row, column = split_position(position, HEIGHT, WIDTH)
        total = tl.zeros([HIGH, WIDE], tl.float32)
        for step in tl.range(SIZE * SIZE * INNERS, num_stages=STAGES):
            tap = step // INNERS
            channel = step % INNERS * INNER + tl.arange(0, INNER)
            # The output position whose tap reads (row, column); between strides there is none.
            y_out = row - (tap // SIZE - SIZE // 2)
            x_out = column - (tap % SIZE - SIZE // 2)
            valid = (position < count) & (y_out >= 0) & (x_out >= 0)
            if STRIDE > 1:
                valid = valid & (y_out % STRIDE == 0) & (x_out % STRIDE == 0)
                y_out, x_out = y_out // STRIDE, x_out // STRIDE
            valid = valid & (y_out < OUT_HEIGHT) & (x_out < OUT_WIDTH)
            valid = valid[:, None]
            at = ((image * OUT_HEIGHT + y_out) * OUT_WIDTH + x_out)[:, None] * OUTPUTS + channel[None, :]
            g = tl.load(g_pointer + at, mask=valid, other=0.0).to(tl.float32)
            z = tl.load(z_pointer + at, mask=valid, other=0.0).to(tl.float32)
            whose = replicate * OUTPUTS + channel
            rstd = tl.load(rstd_z + whose)
            scale = rstd * channel_values(gamma_z, whose, channel < OUTPUTS, 1.0, GAMMA_Z)
            mean_g = tl.load(dbeta_z + whose) / elements
            slope = tl.load(dgamma_z + whose) / elements * rstd
            d = input_gradient(g, z, tl.load(mean_z + whose), mean_g, slope, scale)
            d = tl.where(valid, d, 0.0).to(g_pointer.dtype.element_ty)
            w = tl.load(weight_pointer + (tap * INPUTS + inputs)[:, None] * OUTPUTS + channel[None, :])
            total = multiply(d, tl.trans(w), total, PRECISION)
        inside = (position < count)[:, None]
        at = position[:, None] * INPUTS + inputs[None, :]
        if ADDED:
            total += tl.load(added_pointer + at, mask=inside, other=0.0).to(tl.float32)
        if BEFORE:
            whose = replicate * INPUTS + inputs
            everywhere = inputs < INPUTS
            mean = tl.load(mean_b + whose)
            x = tl.load(before_pointer + at, mask=inside, other=0.0).to(tl.float32)
            if BITS:
                positive = read_bits(bits_pointer, position, block * WIDE, position < count, INPUTS, HIGH, WIDE, 8)
            else:
                scale = tl.load(rstd_b + whose) * channel_values(gamma_b, whose, everywhere, 1.0, GAMMA_B)
                beta = channel_values(beta_b, whose, everywhere, 0.0, BETA_B)
                positive = normalise(x, mean[None, :], scale[None, :], beta[None, :]) > 0.0
            total = tl.where(positive & inside, total, 0.0)
        out = total.to(out_pointer.dtype.element_ty)
        tl.store(out_pointer + at, out, mask=inside)
        if BEFORE:
            v = out.to(tl.float32)  # sum the values as stored
            first += tl.sum(v, axis=0)
            second += tl.sum(v * (x - mean[None, :]), axis=0)
    if BEFORE:
        second *= tl.load(rstd_b + replicate * INPUTS + inputs)
        store_parts(parts, replicate, part, inputs, inputs < INPUTS, first, second, INPUTS)
        if arrive(counters_pointer + replicate * tl.num_programs(1) + block, tl.num_programs(0)):
            merge_sums(parts, dbeta_out, dgamma_out, replicate, block, INPUTS, WIDE, MERGE)


@triton.jit
def weight_kernel(
    x_pointer, g_pointer, z_pointer, parts, mean_in, rstd_in, gamma_pointer, beta_pointer, mean_z, rstd_z, gamma_z, dbeta_z,
    dgamma_z, images, tiles,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, SIZE: tl.constexpr,
    STRIDE: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, INNER: tl.constexpr,
    NORMALISE: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr, GAMMA_Z: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Partial weight gradients of one tap; grid (splits of positions, taps * blocks of inputs and outputs, replicates)."""
    OUT_HEIGHT: tl.constexpr = (HEIGHT - 1) // STRIDE + 1
    OUT_WIDTH: tl.constexpr = (WIDTH - 1) // STRIDE + 1
    part, which, replicate = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    tap = which % (SIZE * SIZE)
    which = which // (SIZE * SIZE)
    channel = which % (INPUTS // INNER) * INNER + tl.arange(0, INNER)
    outputs = which // (INPUTS // INNER) * WIDE + tl.arange(0, WIDE)
    count = images * (OUT_HEIGHT * OUT_WIDTH)
    x_pointer += replicate.to(tl.int64) * images * (HEIGHT * WIDTH * INPUTS)
    g_pointer += replicate.to(tl.int64) * count * OUTPUTS
    z_pointer += replicate.to(tl.int64) * count * OUTPUTS
    whose = replicate * OUTPUTS + outputs
    mean = tl.load(mean_z + whose)
    rstd = tl.load(rstd_z + whose)
    scale = rstd * channel_values(gamma_z, whose, outputs < OUTPUTS, 1.0, GAMMA_Z)
    mean_g = tl.load(dbeta_z + whose) / count
    slope = tl.load(dgamma_z + whose) / count * rstd
    total = tl.zeros([INNER, WIDE], tl.float32)
    for tile in range(tiles):
        position = (part * tiles + tile) * HIGH + tl.arange(0, HIGH)
        image, row, column = split_position(position, OUT_HEIGHT, OUT_WIDTH)
        inside = position < count
        at = position[:, None] * OUTPUTS + outputs[None, :]
        g = tl.load(g_pointer + at, mask=inside[:, None], other=0.0).to(tl.float32)
        z = tl.load(z_pointer + at, mask=inside[:, None], other=0.0).to(tl.float32)
        d = tl.where(inside[:, None], input_gradient(g, z, mean, mean_g, slope, scale), 0.0)
        y_in = row * STRIDE + (tap // SIZE - SIZE // 2)
        x_in = column * STRIDE + (tap % SIZE - SIZE // 2)
        valid = inside & (y_in >= 0) & (y_in < HEIGHT) & (x_in >= 0) & (x_in < WIDTH)
        at = ((image * HEIGHT + y_in) * WIDTH + x_in)[:, None] * INPUTS + channel[None, :]
        a = tl.load(x_pointer + at, mask=valid[:, None], other=0.0)
        if NORMALISE:
            its = replicate * INPUTS + channel
            scale_in = tl.load(rstd_in + its) * channel_values(gamma_pointer, its, channel < INPUTS, 1.0, GAMMA)
            beta = channel_values(beta_pointer, its, channel < INPUTS, 0.0, BETA)
            v = normalise(a.to(tl.float32), tl.load(mean_in + its)[None, :], scale_in[None, :], beta[None, :])
            v = tl.maximum(v, 0.0, propagate_nan=tl.PropagateNan.ALL)
            a = tl.where(valid[:, None], v, 0.0).to(x_pointer.dtype.element_ty)
        total = multiply(tl.trans(a), d.to(g_pointer.dtype.element_ty), total, PRECISION)
    at = ((replicate * tl.num_programs(0) + part) * (SIZE * SIZE) + tap) * INPUTS + channel
    tl.store(parts + at.to(tl.int64)[:, None] * OUTPUTS + outputs[None, :], total)


@triton.jit
def sum_kernel(
    parts, out_pointer, splits,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, TAPS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add up partial weight gradients in order, in the layout (outputs, taps, inputs); grid (blocks, replicates)."""
    EACH: tl.constexpr = TAPS * INPUTS * OUTPUTS
    replicate = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * WIDE + tl.arange(0, WIDE)
    inside = place < EACH
    parts += replicate * splits * EACH
    total = tl.zeros([HIGH, WIDE], tl.float32)
    for start in range(0, splits, HIGH):
        split = start + tl.arange(0, HIGH)
        valid = (split < splits)[:, None] & inside[None, :]
        total += tl.load(parts + split.to(tl.int64)[:, None] * EACH + place[None, :], mask=valid, other=0.0)
    tap, channel, output = place // (INPUTS * OUTPUTS), place // OUTPUTS % INPUTS, place % OUTPUTS
    at = (output * TAPS + tap) * INPUTS + channel
    tl.store(out_pointer + replicate * EACH + at, tl.sum(total, axis=0), mask=inside)


@dataclass
class Norm:
    """The tensors of a BatchNorm layer during a step, each fp32 (replicates, channels).

    Attributes
    ----------
    weight, bias : tensor, optional
        gamma and beta.
    running_mean, running_var : tensor, optional
        Updated in place by `forward`.
    momentum, eps : float
    mean, rstd : tensor
        Statistics of this batch, stored by `forward` of the convolution before it.
    dbeta, dgamma : tensor
        Gradients, stored by `backward` of the convolution after it.
    """

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    momentum: float
    eps: float
    mean: torch.Tensor | None = None
    rstd: torch.Tensor | None = None
    dbeta: torch.Tensor | None = None
    dgamma: torch.Tensor | None = None


def supported(inputs: int, outputs: int, size: int, stride: int) -> bool:
    """Whether kernels exist for a convolution with padding of half its size."""
    narrow = all(c >= 16 and c & (c - 1) == 0 for c in (inputs, outputs))
    return narrow and size in (1, 3) and stride in (1, 2)


def pack_weight(weights: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Lay out weights (replicates, outputs, inputs, size, size) as (replicates, size * size, inputs, outputs)."""
    return weights.permute(0, 3, 4, 2, 1).flatten(1, 2).to(dtype).contiguous()


def _small_enough(*tensors: torch.Tensor) -> None:
    for tensor in tensors:
        if tensor[0].numel() >= 2**31:
            raise ValueError(f"a replicate's tensor of shape {tuple(tensor.shape)} has more than 2**31 elements")


def forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: int,
    before: Norm | None,
    behind: Norm | None,
    residual: torch.Tensor | None = None,
    keep: bool = False,
    precision: str = "ieee",
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Convolve a = relu(BatchNorm(x) + residual) and compute the statistics of the result.

    Parameters
    ----------
    x : tensor (replicates, n, height, width, inputs)
        Contiguous.
    weight : tensor (replicates or 1, size * size, inputs, outputs)
        In the layout of `pack_weight`; one for all replicates, or one each.
    stride : int
        1 or 2.
    before : Norm, optional
        BatchNorm of x, with known statistics; by default x itself is convolved.
    behind : Norm, optional
        BatchNorm of the result: receives mean, rstd and running statistics.
    residual : tensor like x, optional
        Only with `before`.
    keep : bool
        Whether to return a; only with `before` and stride 1.
    precision : str
        Of fp32 products: ieee or tf32.

    Returns
    -------
    z : tensor (replicates, n, height / stride, width / stride, outputs)
    a : tensor like x, if kept
    bits : uint8 tensor (replicates, n, height, width, inputs / 8), if kept and there is a residual
        Mask of the positive a.
    """
    replicates, images, height, width, inputs = x.shape
    taps, outputs = weight.shape[1], weight.shape[3]
    size = 3 if taps == 9 else 1
    z = x.new_empty((replicates, images, (height - 1) // stride + 1, (width - 1) // stride + 1, outputs))
    _small_enough(x, z)
    if keep and (before is None or stride != 1):
        raise ValueError("keep needs a BatchNorm before the convolution and stride 1")
    kept = torch.empty_like(x) if keep else None
    bits = x.new_empty((*x.shape[:-1], inputs // 8), dtype=torch.uint8) if keep and residual is not None else None
    plan = shapes.product(z[0].numel() // outputs, inputs, outputs)
    cut = plan.rows
    if behind is not None:
        behind.mean, behind.rstd = x.new_empty((2, replicates, outputs), dtype=torch.float32).unbind()
        parts = x.new_empty((replicates, 2, cut.parts, outputs), dtype=torch.float32)
    forward_kernel[cut.parts, cut.blocks, replicates](
        x, weight, z, before and before.mean, before and before.rstd, before and before.weight, before and before.bias,
        residual, kept, bits, parts if behind else None, counters(x.device, replicates * cut.blocks),
        behind and behind.mean, behind and behind.rstd, behind and behind.running_mean, behind and behind.running_var,
        images, cut.tiles, _stride(weight), behind.momentum if behind else 0.0, behind.eps if behind else 0.0,
        HEIGHT=height, WIDTH=width, INPUTS=inputs, OUTPUTS=outputs, SIZE=size, STRIDE=stride, HIGH=cut.tile_rows,
        WIDE=cut.tile_channels, INNER=plan.inner, MERGE=cut.merge, STAGES=plan.stages,
        NORMALISE=before is not None, GAMMA=before is not None and before.weight is not None,
        BETA=before is not None and before.bias is not None, RESIDUAL=residual is not None, KEEP=keep,
        BITS=bits is not None, STATISTICS=behind is not None,
        RUNNING=behind is not None and behind.running_mean is not None, PRECISION=precision, num_warps=plan.warps,
    )  # fmt: skip
    return z, kept, bits


def _stride(weight: torch.Tensor) -> int:
    return 0 if weight.shape[0] == 1 else weight.stride(0)


def backward(
    g: torch.Tensor,
    z: torch.Tensor,
    weight: torch.Tensor,
    shape: tuple[int, int],
    stride: int,
    norm: Norm,
    added: torch.Tensor | None = None,
    before: Norm | None = None,
    x: torch.Tensor | None = None,
    bits: torch.Tensor | None = None,
    precision: str = "ieee",
) -> torch.Tensor:
    """Compute the gradient after the BatchNorm before a convolution, from the one after the convolution's BatchNorm.

    Parameters
    ----------
    g, z : tensors (replicates, n, height / stride, width / stride, outputs)
        Gradient after the BatchNorm, and its input, the convolution's result.
    weight : tensor (replicates or 1, size * size, inputs, outputs)
        In the layout of `pack_weight`.
    shape : (int, int)
        Height and width of the convolution's input.
    stride : int
        1 or 2.
    norm : Norm
        BatchNorm of z, with statistics and gradients.
    added : tensor (replicates, n, height, width, inputs), optional
        Gradient of the convolution's input from its other consumer.
    before : Norm, optional
        BatchNorm of x; receives dbeta and dgamma.  Without it the result is the plain gradient of the convolution's input.
    x : tensor (replicates, n, height, width, inputs), optional
        Input of that BatchNorm.
    bits : uint8 tensor, optional
        Mask of its ReLU, if a residual was added.
    precision : str
        Of fp32 products: ieee or tf32.

    Returns
    -------
    tensor (replicates, n, height, width, inputs)
        Gradient before the ReLU and after the BatchNorm.
    """
    replicates, images = g.shape[:2]
    inputs, outputs = weight.shape[2:]
    out = g.new_empty((replicates, images, *shape, inputs))
    _small_enough(g, out)
    plan = shapes.product(out[0].numel() // inputs, outputs, inputs)
    cut = plan.rows
    parts = None
    if before is not None:
        before.dbeta, before.dgamma = g.new_empty((2, replicates, inputs), dtype=torch.float32).unbind()
        parts = g.new_empty((replicates, 2, cut.parts, inputs), dtype=torch.float32)
    backward_kernel[cut.parts, cut.blocks, replicates](
        g, z, weight, out, norm.mean, norm.rstd, norm.weight, norm.dbeta, norm.dgamma, added, x, before and before.mean,
        before and before.rstd, before and before.weight, before and before.bias, bits, parts,
        counters(g.device, replicates * cut.blocks), before and before.dbeta, before and before.dgamma, images,
        cut.tiles, _stride(weight),
        HEIGHT=shape[0], WIDTH=shape[1], INPUTS=inputs, OUTPUTS=outputs, SIZE=3 if weight.shape[1] == 9 else 1,
        STRIDE=stride, HIGH=cut.tile_rows, WIDE=cut.tile_channels, INNER=plan.inner, STAGES=plan.stages,
        MERGE=cut.merge, GAMMA_Z=norm.weight is not None, ADDED=added is not None, BEFORE=before is not None,
        GAMMA_B=before is not None and before.weight is not None, BETA_B=before is not None and before.bias is not None,
        BITS=bits is not None, PRECISION=precision, num_warps=plan.warps,
    )  # fmt: skip
    return out


def weight_gradient(
    x: torch.Tensor,
    before: Norm | None,
    g: torch.Tensor,
    z: torch.Tensor,
    norm: Norm,
    size: int,
    stride: int,
    precision: str = "ieee",
) -> torch.Tensor:
    """Return the gradient of a convolution's weights, one per replicate.

    Parameters
    ----------
    x : tensor (replicates, n, height, width, inputs)
        The convolution's input, or with `before` the input of that BatchNorm and its ReLU.
    before : Norm, optional
        The BatchNorm before the convolution.
    g, z, norm
        As in `backward`.
    size, stride : int
        Of the convolution.
    precision : str
        Of fp32 products: ieee or tf32.

    Returns
    -------
    fp32 tensor (replicates, outputs, inputs, size, size)
        Channels last in memory, as weights are.
    """
    replicates, images, height, width, inputs = x.shape
    outputs = g.shape[-1]
    inner, wide, high = min(inputs, 64), min(outputs, 64), 64
    columns = size * size * (inputs // inner) * (outputs // wide)
    tiles_all = triton.cdiv(g[0].numel() // outputs, high)
    # Enough programs to fill the GPU twice, each with enough tiles that writing its sums is cheap compared with reading.
    tiles = max(1, min(16, triton.cdiv(tiles_all * columns, shapes.PROGRAMS)))
    tiles = max(tiles, triton.cdiv(tiles_all, 256))
    splits = triton.cdiv(tiles_all, tiles)
    parts = g.new_empty((replicates, splits, size * size, inputs, outputs), dtype=torch.float32)
    weight_kernel[splits, columns, replicates](
        x, g, z, parts, before and before.mean, before and before.rstd, before and before.weight, before and before.bias,
        norm.mean, norm.rstd, norm.weight, norm.dbeta, norm.dgamma, images, tiles,
        HEIGHT=height, WIDTH=width, INPUTS=inputs, OUTPUTS=outputs, SIZE=size, STRIDE=stride, HIGH=high, WIDE=wide,
        INNER=inner, NORMALISE=before is not None,
        GAMMA=before is not None and before.weight is not None, BETA=before is not None and before.bias is not None,
        GAMMA_Z=norm.weight is not None, PRECISION=precision,
    )  # fmt: skip
    out = g.new_empty((replicates, outputs, size, size, inputs), dtype=torch.float32)
    sum_kernel[triton.cdiv(size * size * inputs * outputs, 64), replicates](
        parts, out, splits, INPUTS=inputs, OUTPUTS=outputs, TAPS=size * size, HIGH=32, WIDE=64
    )
    return out.movedim(-1, 2)
