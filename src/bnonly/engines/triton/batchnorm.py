"""BatchNorm in training mode, with optional addition and ReLU, forward and backward.

Activations are (replicates, rows, channels): channels-last images, flattened.  The forward keeps its input, mean and 1/deviation.
Without an addition the ReLU's mask is recomputed from these; with one it is kept, at one bit per element.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import triton
import triton.language as tl

from bnonly.engines.triton import shapes

#: In Triton's interpreter a matrix product takes bf16 as raw 16-bit integers, so operands are widened first.
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def normalise(x, mean, scale, beta):
    """Return gamma (x - mean) / deviation + beta; shared, so that backward finds the same sign as forward."""
    return (x - mean) * scale + beta


@triton.jit
def before_row(replicate, count, row, CHANNELS: tl.constexpr):
    """Return the number of elements before a replicate's row, in 64 bits, so that offsets inside a tile fit 32 bits."""
    return (replicate.to(tl.int64) * count + row) * CHANNELS


@triton.jit
def channel_values(pointer, offsets, mask, default, HAS: tl.constexpr):
    """Load a value per channel, or return the default if the parameter is absent."""
    if HAS:
        return tl.load(pointer + offsets, mask=mask, other=default).to(tl.float32)
    else:
        return tl.full(offsets.shape, default, tl.float32)


@triton.jit
def pack_bits(flags, HIGH: tl.constexpr, WIDE: tl.constexpr, PACK: tl.constexpr):
    """Pack a (HIGH, WIDE) tile of booleans into bytes with PACK of them each."""
    bits = tl.reshape(flags.to(tl.int32), [HIGH, WIDE // PACK, PACK])
    return tl.sum(bits << tl.arange(0, PACK)[None, None, :], axis=2).to(tl.uint8)


@triton.jit
def read_bits(
    pointer, row, first_channel, valid,
    CHANNELS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, PACK: tl.constexpr,
):  # fmt: skip
    """Return the (HIGH, WIDE) tile of booleans that `pack_bits` packed."""
    byte = first_channel // PACK + tl.arange(0, WIDE // PACK)
    at = row[:, None] * (CHANNELS // PACK) + byte[None, :]
    packed = tl.load(pointer + at, mask=valid[:, None] & (byte < CHANNELS // PACK)[None, :], other=0).to(tl.int32)
    return tl.reshape((packed[:, :, None] >> tl.arange(0, PACK)[None, None, :]) & 1, [HIGH, WIDE]) != 0


@triton.jit
def arrive(counter, parts):
    """Whether this program is the last of `parts` to arrive; it then sees the stores of all of them.

    The barrier orders this program's stores before the release; the last to arrive acquires them all and resets the
    counter.  The counter is an integer, so the result does not depend on the order of arrival.
    """
    tl.debug_barrier()
    last = tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == parts - 1
    tl.debug_barrier()
    if last:
        tl.store(counter, 0)
    return last


@triton.jit
def part_offsets(replicate, part, channel, which: tl.constexpr, number, CHANNELS: tl.constexpr):
    """Return offsets of partial sums, in the layout (replicate, which of two, part, channel)."""
    return ((replicate * 2 + which) * number + part) * CHANNELS + channel


@triton.jit
def store_parts(parts, replicate, part, channel, inside, first, second, CHANNELS: tl.constexpr):
    """Store a program's two partial sums for the program that merges them."""
    number = tl.num_programs(0)
    tl.store(parts + part_offsets(replicate, part, channel, 0, number, CHANNELS), first, mask=inside)
    tl.store(parts + part_offsets(replicate, part, channel, 1, number, CHANNELS), second, mask=inside)


@triton.jit
def merge_statistics(
    parts, mean_out, rstd_out, running_mean, running_var, replicate, block, count, part_rows, momentum, eps,
    CHANNELS: tl.constexpr, WIDE: tl.constexpr, MERGE: tl.constexpr, RUNNING: tl.constexpr,
):  # fmt: skip
    """Merge means and squared deviations of row ranges, in order (Chan et al. 1983); update running statistics."""
    total_parts = tl.num_programs(0)
    channel = block * WIDE + tl.arange(0, WIDE)
    inside = channel < CHANNELS
    total = tl.zeros([MERGE, WIDE], tl.float32)
    for start in range(0, total_parts, MERGE):
        part = start + tl.arange(0, MERGE)
        valid = (part < total_parts)[:, None] & inside[None, :]
        number = tl.minimum(count - part * part_rows, part_rows).to(tl.float32)[:, None]
        at = part_offsets(replicate, part[:, None], channel[None, :], 0, total_parts, CHANNELS)
        total += tl.where(valid, number * tl.load(parts + at, mask=valid, other=0.0), 0.0)
    mean = tl.sum(total, axis=0) / count
    squares = tl.zeros([MERGE, WIDE], tl.float32)
    for start in range(0, total_parts, MERGE):
        part = start + tl.arange(0, MERGE)
        valid = (part < total_parts)[:, None] & inside[None, :]
        number = tl.minimum(count - part * part_rows, part_rows).to(tl.float32)[:, None]
        at = part_offsets(replicate, part[:, None], channel[None, :], 0, total_parts, CHANNELS)
        off = tl.load(parts + at, mask=valid, other=0.0) - mean[None, :]
        at = part_offsets(replicate, part[:, None], channel[None, :], 1, total_parts, CHANNELS)
        squares += tl.where(valid, tl.load(parts + at, mask=valid, other=0.0) + number * off * off, 0.0)
    squared = tl.sum(squares, axis=0)
    at = replicate * CHANNELS + channel
    tl.store(mean_out + at, mean, mask=inside)
    tl.store(rstd_out + at, 1.0 / tl.sqrt_rn(squared / count + eps), mask=inside)
    if RUNNING:
        old = tl.load(running_mean + at, mask=inside, other=0.0)
        tl.store(running_mean + at, old * (1.0 - momentum) + mean * momentum, mask=inside)
        old = tl.load(running_var + at, mask=inside, other=0.0)
        tl.store(running_var + at, old * (1.0 - momentum) + squared / (count - 1) * momentum, mask=inside)


@triton.jit
def merge_sums(
    parts, first_out, second_out, replicate, block,
    CHANNELS: tl.constexpr, WIDE: tl.constexpr, MERGE: tl.constexpr,
):  # fmt: skip
    """Add up two partial sums of row ranges, in order."""
    total_parts = tl.num_programs(0)
    channel = block * WIDE + tl.arange(0, WIDE)
    inside = channel < CHANNELS
    first = tl.zeros([MERGE, WIDE], tl.float32)
    second = tl.zeros([MERGE, WIDE], tl.float32)
    for start in range(0, total_parts, MERGE):
        part = start + tl.arange(0, MERGE)
        valid = (part < total_parts)[:, None] & inside[None, :]
        at = part_offsets(replicate, part[:, None], channel[None, :], 0, total_parts, CHANNELS)
        first += tl.load(parts + at, mask=valid, other=0.0)
        at = part_offsets(replicate, part[:, None], channel[None, :], 1, total_parts, CHANNELS)
        second += tl.load(parts + at, mask=valid, other=0.0)
    at = replicate * CHANNELS + channel
    tl.store(first_out + at, tl.sum(first, axis=0), mask=inside)
    tl.store(second_out + at, tl.sum(second, axis=0), mask=inside)


@triton.jit
def statistics_kernel(
    x_pointer, parts, counters, mean_out, rstd_out, running_mean, running_var, count, tiles, momentum, eps,
    CHANNELS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, MERGE: tl.constexpr, RUNNING: tl.constexpr,
):  # fmt: skip
    """Mean and 1/deviation of each channel; grid (parts, blocks of channels, replicates)."""
    part, block, replicate = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    channel = block * WIDE + tl.arange(0, WIDE)
    inside = channel < CHANNELS
    start = part * tiles * HIGH
    x_pointer += before_row(replicate, count, start, CHANNELS)
    # Sums of differences from the range's first row: no cancellation, whatever the mean.
    pivot = tl.load(x_pointer + channel, mask=inside, other=0.0).to(tl.float32)
    local = tl.arange(0, HIGH)
    at = local[:, None] * CHANNELS + channel[None, :]
    first = tl.zeros([HIGH, WIDE], tl.float32)
    second = tl.zeros([HIGH, WIDE], tl.float32)
    for tile in range(tiles):
        valid = (start + tile * HIGH + local < count)[:, None] & inside[None, :]
        x = tl.load(x_pointer + at, mask=valid, other=0.0)
        off = tl.where(valid, x.to(tl.float32) - pivot[None, :], 0.0)
        first += off
        second += off * off
        x_pointer += HIGH * CHANNELS
    number = tl.minimum(count - start, tiles * HIGH).to(tl.float32)
    total = tl.sum(first, axis=0)
    squared = tl.maximum(tl.sum(second, axis=0) - total * total / number, 0.0)
    store_parts(parts, replicate, part, channel, inside, pivot + total / number, squared, CHANNELS)
    if arrive(counters + replicate * tl.num_programs(1) + block, tl.num_programs(0)):
        merge_statistics(
            parts, mean_out, rstd_out, running_mean, running_var, replicate, block, count, tiles * HIGH, momentum, eps,
            CHANNELS, WIDE, MERGE, RUNNING,
        )  # fmt: skip


@triton.jit
def apply_kernel(
    x_pointer, y_pointer, residual_pointer, bits_pointer, mean_pointer, rstd_pointer, gamma_pointer, beta_pointer, count,
    CHANNELS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, PACK: tl.constexpr,
    GAMMA: tl.constexpr, BETA: tl.constexpr, RESIDUAL: tl.constexpr, RELU: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """Normalise, add, apply ReLU, and store the mask; grid (tiles, blocks of channels, replicates)."""
    block, replicate = tl.program_id(1), tl.program_id(2)
    channel = block * WIDE + tl.arange(0, WIDE)
    inside = channel < CHANNELS
    at = replicate * CHANNELS + channel
    mean = tl.load(mean_pointer + at, mask=inside, other=0.0)
    scale = tl.load(rstd_pointer + at, mask=inside, other=0.0) * channel_values(gamma_pointer, at, inside, 1.0, GAMMA)
    beta = channel_values(beta_pointer, at, inside, 0.0, BETA)
    start = tl.program_id(0) * HIGH
    before = before_row(replicate, count, start, CHANNELS)
    local = tl.arange(0, HIGH)
    valid = (start + local < count)[:, None] & inside[None, :]
    at = local[:, None] * CHANNELS + channel[None, :]
    x = tl.load(x_pointer + before + at, mask=valid, other=0.0).to(tl.float32)
    y = normalise(x, mean[None, :], scale[None, :], beta[None, :])
    if RESIDUAL:
        y += tl.load(residual_pointer + before + at, mask=valid, other=0.0).to(tl.float32)
    if RELU:
        y = tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(y_pointer + before + at, y.to(y_pointer.dtype.element_ty), mask=valid)
    if BITS:
        byte = block * (WIDE // PACK) + tl.arange(0, WIDE // PACK)
        kept = (start + local < count)[:, None] & (byte < CHANNELS // PACK)[None, :]
        at = local[:, None] * (CHANNELS // PACK) + byte[None, :]
        tl.store(bits_pointer + before // PACK + at, pack_bits(y > 0.0, HIGH, WIDE, PACK), mask=kept)


@triton.jit
def masked_gradient(
    g, x, row, first_channel, valid, bits_pointer, mean, scale, beta,
    CHANNELS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, PACK: tl.constexpr, RELU: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """Return the gradient before the ReLU, with the mask from the bits or recomputed from x."""
    if RELU:
        if BITS:
            g = tl.where(read_bits(bits_pointer, row, first_channel, valid, CHANNELS, HIGH, WIDE, PACK), g, 0.0)
        else:
            g = tl.where(normalise(x, mean[None, :], scale[None, :], beta[None, :]) > 0.0, g, 0.0)
    return g


@triton.jit
def reduce_kernel(
    dy_pointer, x_pointer, bits_pointer, parts, counters, mean_pointer, rstd_pointer, gamma_pointer, beta_pointer,
    dbeta_out, dgamma_out, count, tiles,
    CHANNELS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, MERGE: tl.constexpr, PACK: tl.constexpr,
    GAMMA: tl.constexpr, BETA: tl.constexpr, RELU: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """Sums over a channel of g and of g times the normalised x; grid (parts, blocks of channels, replicates)."""
    part, block, replicate = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    channel = block * WIDE + tl.arange(0, WIDE)
    inside = channel < CHANNELS
    at = replicate * CHANNELS + channel
    mean = tl.load(mean_pointer + at, mask=inside, other=0.0)
    rstd = tl.load(rstd_pointer + at, mask=inside, other=0.0)
    scale = rstd * channel_values(gamma_pointer, at, inside, 1.0, GAMMA)
    beta = channel_values(beta_pointer, at, inside, 0.0, BETA)
    first = tl.zeros([HIGH, WIDE], tl.float32)
    second = tl.zeros([HIGH, WIDE], tl.float32)
    start = part * tiles * HIGH
    before = before_row(replicate, count, start, CHANNELS)
    dy_pointer += before
    x_pointer += before
    if BITS:
        bits_pointer += before // PACK
    local = tl.arange(0, HIGH)
    place = local[:, None] * CHANNELS + channel[None, :]
    for tile in range(tiles):
        valid = (start + tile * HIGH + local < count)[:, None] & inside[None, :]
        g = tl.load(dy_pointer + place, mask=valid, other=0.0).to(tl.float32)
        x = tl.load(x_pointer + place, mask=valid, other=0.0).to(tl.float32)
        g = masked_gradient(
            g, x, local, block * WIDE, start + tile * HIGH + local < count, bits_pointer, mean, scale, beta,
            CHANNELS, HIGH, WIDE, PACK, RELU, BITS,
        )  # fmt: skip
        first += g
        second += g * (x - mean[None, :])
        dy_pointer += HIGH * CHANNELS
        x_pointer += HIGH * CHANNELS
        if BITS:
            bits_pointer += HIGH * (CHANNELS // PACK)
    store_parts(parts, replicate, part, channel, inside, tl.sum(first, axis=0), tl.sum(second, axis=0) * rstd, CHANNELS)
    if arrive(counters + replicate * tl.num_programs(1) + block, tl.num_programs(0)):
        merge_sums(parts, dbeta_out, dgamma_out, replicate, block, CHANNELS, WIDE, MERGE)


@triton.jit
def backward_kernel(
    dy_pointer, x_pointer, bits_pointer, dx_pointer, dresidual_pointer, mean_pointer, rstd_pointer, gamma_pointer,
    beta_pointer, dbeta_pointer, dgamma_pointer, count,
    CHANNELS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, PACK: tl.constexpr, GAMMA: tl.constexpr,
    BETA: tl.constexpr, RELU: tl.constexpr, BITS: tl.constexpr, DX: tl.constexpr, DRESIDUAL: tl.constexpr,
):  # fmt: skip
    """Gradients from the sums: dx = gamma / deviation (g - mean(g) - x^ mean(g x^)), and g itself for the residual."""
    block, replicate = tl.program_id(1), tl.program_id(2)
    channel = block * WIDE + tl.arange(0, WIDE)
    inside = channel < CHANNELS
    at = replicate * CHANNELS + channel
    mean = tl.load(mean_pointer + at, mask=inside, other=0.0)
    rstd = tl.load(rstd_pointer + at, mask=inside, other=0.0)
    scale = rstd * channel_values(gamma_pointer, at, inside, 1.0, GAMMA)
    beta = channel_values(beta_pointer, at, inside, 0.0, BETA)
    mean_g = tl.load(dbeta_pointer + at, mask=inside, other=0.0) / count
    slope = tl.load(dgamma_pointer + at, mask=inside, other=0.0) / count * rstd
    start = tl.program_id(0) * HIGH
    before = before_row(replicate, count, start, CHANNELS)
    if BITS:
        bits_pointer += before // PACK
    local = tl.arange(0, HIGH)
    valid = (start + local < count)[:, None] & inside[None, :]
    at = local[:, None] * CHANNELS + channel[None, :]
    g = tl.load(dy_pointer + before + at, mask=valid, other=0.0).to(tl.float32)
    x = tl.load(x_pointer + before + at, mask=valid, other=0.0).to(tl.float32)
    g = masked_gradient(
        g, x, local, block * WIDE, start + local < count, bits_pointer, mean, scale, beta,
        CHANNELS, HIGH, WIDE, PACK, RELU, BITS,
    )  # fmt: skip
    if DRESIDUAL:
        tl.store(dresidual_pointer + before + at, g.to(dresidual_pointer.dtype.element_ty), mask=valid)
    if DX:
        dx = (g - mean_g[None, :] - (x - mean[None, :]) * slope[None, :]) * scale[None, :]
        tl.store(dx_pointer + before + at, dx.to(dx_pointer.dtype.element_ty), mask=valid)


#: Arrival counters per device.
COUNTERS = 1 << 16
_counters: dict[torch.device, torch.Tensor] = {}


def counters(device: torch.device, number: int) -> torch.Tensor:
    """Return at least `number` arrival counters, all zero; kernels must leave them at zero.

    All launches on a device share them, so use one stream or make sure that launches do not overlap.

    Raises
    ------
    RuntimeError
        If the first use is inside a CUDA graph capture, where only a replay would zero them.
    """
    if number > COUNTERS:
        raise ValueError(f"{number} blocks of channels of all replicates, and {COUNTERS} counters")
    if device not in _counters:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("run the kernels once before a CUDA graph is captured")
        _counters[device] = torch.zeros(COUNTERS, dtype=torch.int32, device=device)
    return _counters[device]


def packing(channels: int) -> int:
    """Return the number of a ReLU's mask bits per byte."""
    return 8 if channels % 8 == 0 else 1


def flatten(images: torch.Tensor) -> torch.Tensor:
    """View channels-last images as (replicates, rows, channels); other layouts are copied.

    Parameters
    ----------
    images : tensor (n, c, h, w) or (replicates, n, c, h, w)
    """
    last = images.movedim(-3, -1)
    count = images.shape[0] if images.dim() == 5 else 1
    return last.reshape(count, -1, images.shape[-3])


def unflatten(flat: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """View (replicates, rows, channels) as images in the shape of `like`."""
    return flat.view(like.movedim(-3, -1).shape).movedim(-1, -3)


def statistics(
    x: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    momentum: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and 1/deviation of each channel, and update the running ones.

    Parameters
    ----------
    x : tensor (replicates, rows, channels)
        Contiguous; at least two rows.
    running_mean, running_var : float tensors (replicates, channels), optional
        Contiguous; updated in place with the unbiased variance.
    momentum, eps : float
        As torch's.
    """
    replicates, count, channels = x.shape
    plan = shapes.rows(count, channels)
    mean, rstd = x.new_empty((2, replicates, channels), dtype=torch.float32).unbind()
    parts = x.new_empty((replicates, 2, plan.parts, channels), dtype=torch.float32)
    statistics_kernel[plan.parts, plan.blocks, replicates](
        x, parts, counters(x.device, replicates * plan.blocks), mean, rstd, running_mean, running_var, count, plan.tiles,
        momentum, eps,
        CHANNELS=channels, HIGH=plan.tile_rows, WIDE=plan.tile_channels, MERGE=plan.merge, RUNNING=running_mean is not None,
    )  # fmt: skip
    return mean, rstd


def apply(
    x: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    relu: bool,
    keep_bits: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Normalise, add, apply ReLU; return the result and optionally the mask (replicates, rows, channels / packing)."""
    replicates, count, channels = x.shape
    plan = shapes.rows(count, channels)
    pack = packing(channels)
    y = torch.empty_like(x)
    bits = x.new_empty((replicates, count, channels // pack), dtype=torch.uint8) if keep_bits else None
    apply_kernel[triton.cdiv(count, plan.tile_rows), plan.blocks, replicates](
        x, y, residual, bits, mean, rstd, weight, bias, count,
        CHANNELS=channels, HIGH=plan.tile_rows, WIDE=plan.tile_channels, PACK=pack, GAMMA=weight is not None,
        BETA=bias is not None, RESIDUAL=residual is not None, RELU=relu, BITS=keep_bits,
    )  # fmt: skip
    return y, bits


def reduce(
    dy: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    relu: bool,
    bits: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of bias and weight, fp32 (replicates, channels)."""
    replicates, count, channels = x.shape
    plan = shapes.rows(count, channels)
    dbeta, dgamma = x.new_empty((2, replicates, channels), dtype=torch.float32).unbind()
    parts = x.new_empty((replicates, 2, plan.parts, channels), dtype=torch.float32)
    reduce_kernel[plan.parts, plan.blocks, replicates](
        dy, x, bits, parts, counters(x.device, replicates * plan.blocks), mean, rstd, weight, bias, dbeta, dgamma, count,
        plan.tiles,
        CHANNELS=channels, HIGH=plan.tile_rows, WIDE=plan.tile_channels, MERGE=plan.merge, PACK=packing(channels),
        GAMMA=weight is not None, BETA=bias is not None, RELU=relu, BITS=bits is not None,
    )  # fmt: skip
    return dbeta, dgamma


def backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    dbeta: torch.Tensor,
    dgamma: torch.Tensor,
    relu: bool,
    bits: torch.Tensor | None,
    want_dx: bool,
    want_dresidual: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the gradients of x and of the residual, each only on request."""
    replicates, count, channels = x.shape
    plan = shapes.rows(count, channels)
    dx = torch.empty_like(x) if want_dx else None
    dresidual = torch.empty_like(x) if want_dresidual else None
    backward_kernel[triton.cdiv(count, plan.tile_rows), plan.blocks, replicates](
        dy, x, bits, dx, dresidual, mean, rstd, weight, bias, dbeta, dgamma, count,
        CHANNELS=channels, HIGH=plan.tile_rows, WIDE=plan.tile_channels, PACK=packing(channels), GAMMA=weight is not None,
        BETA=bias is not None, RELU=relu, BITS=bits is not None, DX=want_dx, DRESIDUAL=want_dresidual,
    )  # fmt: skip
    return dx, dresidual


class BnRelu(torch.autograd.Function):
    """The autograd function of `bn_relu`; keeps its input, two values per channel and, after an addition, one bit per element."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        momentum: float,
        eps: float,
        residual: torch.Tensor | None,
        relu: bool,
    ) -> torch.Tensor:
        """See `bn_relu`."""
        flat = flatten(x)
        if flat.shape[1] < 2:
            raise ValueError(f"BatchNorm in training mode needs more than one value per channel, got {tuple(x.shape)}")
        other = None if residual is None else flatten(residual)
        mean, rstd = statistics(flat, running_mean, running_var, momentum, eps)
        keep = relu and residual is not None and any(ctx.needs_input_grad)
        y, bits = apply(flat, mean, rstd, weight, bias, other, relu, keep)
        ctx.save_for_backward(flat, mean, rstd, weight, bias, bits)
        ctx.relu, ctx.like = relu, x.shape
        return unflatten(y, x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, weight, bias and residual."""
        flat, mean, rstd, weight, bias, bits = ctx.saved_tensors
        grad = flatten(grads[0])
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        for_residual = ctx.needs_input_grad[7]
        dbeta = dgamma = dx = dresidual = None
        if for_x or for_weight or for_bias:
            dbeta, dgamma = reduce(grad, flat, mean, rstd, weight, bias, ctx.relu, bits)
        if for_residual and not ctx.relu:
            dresidual, for_residual = grad, False
        if for_x or for_residual:
            how = (ctx.relu, bits, for_x, for_residual)
            sums = (mean if dbeta is None else dbeta, mean if dgamma is None else dgamma)  # used for dx only
            dx, made = backward(grad, flat, mean, rstd, weight, bias, *sums, *how)
            dresidual = made if for_residual else dresidual
        return (
            None if dx is None else unflatten(dx, grads[0]),
            dgamma.view_as(weight) if for_weight and dgamma is not None else None,
            dbeta.view_as(bias) if for_bias and dbeta is not None else None,
            *(None,) * 4,
            None if dresidual is None else unflatten(dresidual, grads[0]),
            None,
        )


def bn_relu(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    momentum: float,
    eps: float,
    residual: torch.Tensor | None = None,
    relu: bool = True,
) -> torch.Tensor:
    """Apply BatchNorm with this batch's statistics, add a residual, apply ReLU.

    Parameters
    ----------
    x : fp32, bf16 or fp16 tensor (n, c, h, w) or (replicates, n, c, h, w)
        Channels last in memory; other layouts are copied.
    weight, bias : fp32 tensors (c,) or (replicates, c), optional
        gamma and beta; default 1 and 0.
    running_mean, running_var : fp32 tensors of the same shape, optional
        Updated in place, the variance unbiased.
    momentum, eps : float
        As `torch.nn.functional.batch_norm`'s.
    residual : tensor of the shape and type of x, optional
        Added before the ReLU.
    relu : bool
        Whether to apply ReLU.

    Returns
    -------
    tensor of the shape and type of x
        In channels-last order.

    Raises
    ------
    ValueError
        If there is only one value per channel.
    """
    return BnRelu.apply(x, weight, bias, running_mean, running_var, momentum, eps, residual, relu)
