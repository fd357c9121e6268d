"""BatchNorm + ReLU (+ add) on a CPU, compiled by Numba: two passes over an activation forward, two backward.

PyTorch takes four to six passes, and with few channels it processes sixteen elements at a time.  Here an activation is
a matrix with many pixels per row, and every pass does all the work on an element.
Sums are in float32 within a block of rows, then in float64.  The number of blocks follows from the shape
alone, so the number of threads changes no bit.  bfloat16 is read and written as 16-bit integers.  A mask has one bit per
element: byte j of its row holds element j of eight rows.

Only this module imports Numba, and other modules import this one only when they use it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange, types
from numba.extending import overload

# OpenMP first: PyTorch's operations use its threads, and the threads of two pools would spin against each other.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]  # type: ignore[attr-defined]

#: Elements per row, if there are fewer channels; most blocks of rows; fewest rows per block.
_ROW, _BLOCKS, _LEAST = 512, 64, 64

_serial: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Allow fused multiply-add, but nothing that changes the order of sums.
_options: dict[str, Any] = {**_serial, "parallel": True, "fastmath": {"contract"}}
#: All compiled functions.
_functions: list[Any] = []
#: Reasons why their code could not be cached.
_problems: list[Exception] = []
_SIXTEEN, _HALF, _ONE, _NAN = np.uint32(16), np.uint32(0x7FFF), np.uint32(1), np.uint16(0x7FC0)
_ZERO = np.float32(0)


def _compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function, and caches the code if a folder is writable."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            made = njit(cache=True, **options)(function)
        except RuntimeError as problem:  # no writable folder
            _problems.append(problem)
            made = njit(**options)(function)
        _functions.append(made)
        return made

    return decorate


# Numba compares the signatures of overloads as text, including annotations, so these have none.
def _load(value):  # type: ignore[no-untyped-def]
    """Return an element as float32; 16-bit integers hold bfloat16."""
    return value if isinstance(value, np.floating) else np.uint32(np.uint32(value) << _SIXTEEN).view(np.float32)


def _round(value, like):  # type: ignore[no-untyped-def]
    """Return a float32 as an element of the type of `like`, rounded to nearest, ties to even."""
    if isinstance(like, np.floating):
        return value
    bits = np.float32(value).view(np.uint32)
    return np.uint16((bits + _HALF + ((bits >> _SIXTEEN) & _ONE)) >> _SIXTEEN) if value == value else _NAN


@overload(_load, inline="always")
def _typed_load(value):  # type: ignore[no-untyped-def]
    if isinstance(value, types.Float):
        return lambda value: value
    return lambda value: np.uint32(np.uint32(value) << _SIXTEEN).view(np.float32)


@overload(_round, inline="always")
def _typed_round(value, like):  # type: ignore[no-untyped-def]
    if isinstance(like, types.Float):
        return lambda value, like: value

    def to_bfloat16(value, like):  # type: ignore[no-untyped-def]
        bits = np.float32(value).view(np.uint32)
        rounded = np.uint16((bits + _HALF + ((bits >> _SIXTEEN) & _ONE)) >> _SIXTEEN)
        return rounded if value == value else _NAN

    return to_bfloat16


@_compiled(**_serial)
def _tiled(values: Any, length: int) -> Any:
    """Repeat the values of the channels to the length of a row."""
    row = np.empty(length, np.float32)
    for start in range(0, length, values.size):
        row[start : start + values.size] = values
    return row


@_compiled(**_serial)
def _fold(row: Any, total: Any) -> None:
    """Sum the elements of a row by channel."""
    total[:] = 0.0
    for start in range(0, row.size, total.size):
        for c in range(total.size):
            total[c] += row[start + c]


@_compiled(**_serial)
def _start(rows: int, blocks: int, block: int) -> int:
    """Return a block's first row; no two blocks share a byte of a mask."""
    return rows if block == blocks else rows // 8 * block // blocks * 8


@_compiled(**_options)
def _statistics(x: Any, part: Any) -> None:
    """Sum each channel's differences from the first pixel and their squares, block by block."""
    rows, length = x.shape
    blocks, _, channels = part.shape
    first = np.empty(channels, np.float32)
    for c in range(channels):
        first[c] = _load(x[0, c])
    shift = _tiled(first, length)
    for b in prange(blocks):
        one, two = np.zeros(length, np.float32), np.zeros(length, np.float32)
        for i in range(_start(rows, blocks, b), _start(rows, blocks, b + 1)):
            for j in range(length):
                d = _load(x[i, j]) - shift[j]
                one[j] += d
                two[j] += d * d
        _fold(one, part[b, 0])
        _fold(two, part[b, 1])


@_compiled(**_options)
def _apply(x: Any, residual: Any, scale: Any, shift: Any, low: Any, blocks: int, y: Any, mask: Any) -> None:
    """Write max(low, x * scale + shift (+ residual)), and the mask of the elements above `low`."""
    rows, length = x.shape
    s, t = _tiled(scale, length), _tiled(shift, length)
    for b in prange(blocks):
        for i in range(_start(rows, blocks, b), _start(rows, blocks, b + 1)):
            for j in range(length):
                v = _load(x[i, j]) * s[j] + t[j]
                if residual is not None:
                    v += _load(residual[i, j])
                if mask is not None:
                    above = np.uint8(1 if v > low else 0)
                    if i % 8 == 0:
                        mask[i // 8, j] = above
                    else:
                        mask[i // 8, j] |= np.uint8(above << np.uint8(i % 8))
                # Written so that NaN stays NaN.
                v = low if v <= low else v
                y[i, j] = _round(v, x[i, j])


@_compiled(**_options)
def _gradient_sums(
    dy: Any,
    more: Any,
    x: Any,
    mask: Any,
    low: Any,
    scale: Any,
    shift: Any,
    mean: Any,
    through: Any,
    over: Any,
    part: Any,
) -> None:
    """Sum each channel's gradients before the ReLU and their products with x - mean, block by block.

    Without a mask the ReLU's mask is computed from x.  The gradients also go into `through`, or with `over` into `more`.
    """
    rows, length = x.shape
    blocks = part.shape[0]
    s, t, m = _tiled(scale, length), _tiled(shift, length), _tiled(mean, length)
    for b in prange(blocks):
        one, two = np.zeros(length, np.float32), np.zeros(length, np.float32)
        for i in range(_start(rows, blocks, b), _start(rows, blocks, b + 1)):
            for j in range(length):
                v = _load(x[i, j])
                g = _load(dy[i, j])
                if more is not None:
                    g += _load(more[i, j])
                if mask is not None:
                    g = _ZERO if np.uint8(mask[i // 8, j] >> np.uint8(i % 8)) & np.uint8(1) == 0 else g
                else:
                    g = _ZERO if v * s[j] + t[j] <= low else g
                # One array under two names would prevent vectorisation.
                if through is not None:
                    through[i, j] = _round(g, x[i, j])
                elif over is not None:
                    more[i, j] = _round(g, x[i, j])
                one[j] += g
                two[j] += g * (v - m[j])
        _fold(one, part[b, 0])
        _fold(two, part[b, 1])


@_compiled(**_options)
def _gradient(
    dy: Any, more: Any, x: Any, low: Any, scale: Any, shift: Any, mean: Any, one: Any, two: Any, blocks: int, dx: Any
) -> None:
    """Write the gradient of x, scale * (g - one) - (x - mean) * two, into `dx`, or over `dy` without it.

    g is as in `_gradient_sums`; without `low` it is `dy` as it stands.
    """
    rows, length = x.shape
    s, t, m = _tiled(scale, length), _tiled(shift, length), _tiled(mean, length)
    p, q = _tiled(one, length), _tiled(two, length)
    for b in prange(blocks):
        for i in range(_start(rows, blocks, b), _start(rows, blocks, b + 1)):
            for j in range(length):
                v = _load(x[i, j])
                g = _load(dy[i, j])
                if more is not None:
                    g += _load(more[i, j])
                if low is not None:
                    g = _ZERO if v * s[j] + t[j] <= low else g
                new = _round((g - p[j]) * s[j] - (v - m[j]) * q[j], x[i, j])
                if dx is not None:
                    dx[i, j] = new
                else:
                    dy[i, j] = new


@_compiled(**_serial)
def _forward(
    x: Any,
    residual: Any,
    gamma: Any,
    beta: Any,
    running_mean: Any,
    running_var: Any,
    momentum: float,
    eps: float,
    low: Any,
    blocks: int,
    y: Any,
    mask: Any,
    kept: Any,
) -> None:
    """BatchNorm with the batch's statistics; `kept` (4, channels) becomes their mean and 1 / deviation, scale and shift."""
    channels = gamma.size
    pixels = x.size // channels
    part = np.empty((blocks, 2, channels))
    _statistics(x, part)
    for c in range(channels):
        one, two = part[:, 0, c].sum() / pixels, part[:, 1, c].sum() / pixels
        mean, variance = _load(x[0, c]) + one, max(two - one * one, 0.0)
        invstd = 1.0 / np.sqrt(variance + eps)
        scale = gamma[c] * invstd
        kept[0, c], kept[1, c], kept[2, c], kept[3, c] = mean, invstd, scale, beta[c] - mean * scale
        running_mean[c] += momentum * (mean - running_mean[c])
        running_var[c] += momentum * (variance * pixels / (pixels - 1) - running_var[c])
    _apply(x, residual, kept[2], kept[3], low, blocks, y, mask)


@_compiled(**_serial)
def _backward(
    dy: Any,
    more: Any,
    x: Any,
    mask: Any,
    low: Any,
    kept: Any,
    blocks: int,
    through: Any,
    over: Any,
    wanted: bool,
    parameters: Any,
) -> None:
    """Gradients of `_forward`'s x (optionally over `dy`), residual (see `_gradient_sums`), gamma and beta."""
    mean, invstd, scale, shift = kept[0], kept[1], kept[2], kept[3]
    channels = mean.size
    pixels = x.size // channels
    part = np.empty((blocks, 2, channels))
    _gradient_sums(dy, more, x, mask, low, scale, shift, mean, through, over, part)
    one, two = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for c in range(channels):
        dbeta, dgamma = part[:, 0, c].sum(), part[:, 1, c].sum() * invstd[c]
        parameters[0, c], parameters[1, c] = dgamma, dbeta
        one[c], two[c] = dbeta / pixels, scale[c] * invstd[c] * dgamma / pixels
    if wanted:
        if through is not None:
            _gradient(through, None, x, None, scale, shift, mean, one, two, blocks, dy)
        elif over is not None:
            _gradient(more, None, x, None, scale, shift, mean, one, two, blocks, dy)
        else:
            _gradient(dy, more, x, low, scale, shift, mean, one, two, blocks, None)


def use_threads(count: int) -> None:
    """Set the number of threads, also of PyTorch's operations; at most one per core."""
    numba.set_num_threads(max(1, min(count, numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]
    # The first call starts Numba's threads and sets OpenMP, hence PyTorch, to one thread per core.
    torch.set_num_threads(count)


use_threads(torch.get_num_threads())


def _shape(x: torch.Tensor) -> tuple[int, int]:
    """Return the elements per row and the number of blocks of rows, which depend only on the shape."""
    channels, pixels = x.shape[1], x.numel() // x.shape[1]
    wide = 1
    while 2 * wide * channels <= _ROW and pixels % (2 * wide) == 0:
        wide *= 2
    return wide * channels, max(1, min(_BLOCKS, pixels // wide // _LEAST))


def _empty(like: torch.Tensor) -> torch.Tensor:
    """Return new memory for an activation, channels last."""
    n, channels, height, width = like.shape
    return torch.empty((n, height, width, channels), dtype=like.dtype).permute(0, 3, 1, 2)


def _matrix(x: torch.Tensor, length: int) -> Any:
    """Return the memory of an activation, channels last, as a matrix with `length` elements per row."""
    flat = x.as_strided((x.numel() // length, length), (length, 1))
    return (flat.view(torch.uint16) if flat.dtype == torch.bfloat16 else flat).numpy()


def _last(x: torch.Tensor) -> torch.Tensor:
    """Return an activation in the layout of `_empty`; nearly always without a copy."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _low(relu: bool) -> np.float32:
    """Return the lower bound of an output."""
    return np.float32(0 if relu else -np.inf)


class NormAct(torch.autograd.Function):
    """BatchNorm in training mode, with optional ReLU, or with addition of the shortcut and ReLU.

    It returns its output twice, so that the gradients of two consumers arrive separately and are added in the same pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        residual: torch.Tensor | None,
        norm: torch.nn.BatchNorm2d,
        relu: bool,
    ) -> Any:
        """Take float32 or bfloat16 activations (n, channels, height, width)."""
        x = _last(x)
        length, blocks = _shape(x)
        y = _empty(x)
        mask = None if residual is None else torch.empty(-(-x.numel() // length // 8), length, dtype=torch.uint8)
        kept = torch.empty(4, gamma.numel())
        assert norm.running_mean is not None and norm.running_var is not None
        _forward(
            _matrix(x, length),
            None if residual is None else _matrix(_last(residual), length),
            gamma.detach().numpy(),
            beta.detach().numpy(),
            norm.running_mean.numpy(),
            norm.running_var.numpy(),
            norm.momentum or 0.0,
            norm.eps,
            _low(relu),
            blocks,
            _matrix(y, length),
            None if mask is None else mask.numpy(),
            kept.numpy(),
        )
        ctx.set_materialize_grads(False)
        ctx.relu = relu
        ctx.save_for_backward(x, kept, mask)
        return y, y.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> Any:
        """Return the gradients of `forward`'s arguments.

        They overwrite the incoming gradients, which is safe because each output has one consumer.
        """
        x, kept, mask = ctx.saved_tensors
        dy, *rest = (_last(g) for g in gradients if g is not None)
        more = rest[0] if rest else None
        through = _empty(x) if mask is not None and more is None else None
        parameters = torch.empty(2, x.shape[1])
        length, blocks = _shape(x)
        _backward(
            _matrix(dy, length),
            None if more is None else _matrix(more, length),
            _matrix(x, length),
            None if mask is None else mask.numpy(),
            _low(ctx.relu),
            kept.numpy(),
            blocks,
            None if through is None else _matrix(through, length),
            True if mask is not None and more is not None else None,
            ctx.needs_input_grad[0],
            parameters.numpy(),
        )
        dx = dy if ctx.needs_input_grad[0] else None
        shortcut = None if mask is None else more if through is None else through
        return dx, parameters[0], parameters[1], shortcut, None, None


def apply_running(
    x: torch.Tensor, norm: torch.nn.BatchNorm2d, residual: torch.Tensor | None, relu: bool
) -> torch.Tensor:
    """Apply BatchNorm with its running statistics, add the shortcut, apply ReLU; `x` itself may be overwritten."""
    assert norm.running_mean is not None and norm.running_var is not None
    x = _last(x)
    length, blocks = _shape(x)
    scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias.detach() - norm.running_mean * scale
    flat = _matrix(x, length)
    added = None if residual is None else _matrix(_last(residual), length)
    _apply(flat, added, scale.numpy(), shift.numpy(), _low(relu), blocks, flat, None)
    return x


def prepare(dtype: torch.dtype, threads: int) -> None:
    """Compile every kernel of a training, without a cache if that is not writable, and set the number of threads.

    Raises
    ------
    Exception
        Any error of Numba when it cannot compile.
    """
    use_threads(threads)
    try:
        _try_out(dtype)
    except Exception as problem:  # a full disk, or a damaged or foreign cache: compile without the cache
        for function in _functions:
            function._cache.disable()
        _try_out(dtype)
        _problems.append(problem)
    if _problems:
        why = (str(_problems[0]).strip().splitlines() or [type(_problems[0]).__name__])[0]
        warnings.warn(
            f"Numba cannot keep its compiled code ({why}); every process compiles it again, about 15 s. "
            "Set NUMBA_CACHE_DIR to a folder with space",
            stacklevel=2,
        )


@torch.enable_grad()
def _try_out(dtype: torch.dtype) -> None:
    """Run every kernel of a training once."""
    channels = 2
    norm = torch.nn.BatchNorm2d(channels)
    x = torch.arange(32.0).view(4, channels, 2, 2).to(dtype).contiguous(memory_format=torch.channels_last)
    for residual, outputs in ((None, 1), (None, 2), (x, 1), (x, 2)):
        inputs = [None if t is None else t.clone().requires_grad_() for t in (x, residual)]
        pair = NormAct.apply(inputs[0], norm.weight, norm.bias, inputs[1], norm, True)
        wanted = [t for t in (*inputs, norm.weight, norm.bias) if t is not None]
        torch.autograd.grad([*pair][:outputs], wanted, [torch.ones_like(x) for _ in range(outputs)])
        with torch.no_grad():
            apply_running(x.clone(), norm, residual, True)
