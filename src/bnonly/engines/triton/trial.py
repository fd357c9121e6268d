"""Compare one kernel with torch in float64, to find out whether Triton works on this machine.

The error is the norm of the difference over the norm of the true result; if bits must agree, the limit is 0.  Each launch is
repeated and must give the same bits.  benchmarks/kernel_checks.py checks all kernels like this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn import functional

#: Largest allowed error of one operation, by type.  The interpreter truncates to bf16 instead of rounding.
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Result:
    """The result of a check.

    Attributes
    ----------
    name : str
        Kernel, variant, type and shape.
    error, limit : float
        Measured error and the largest allowed one.
    """

    name: str
    error: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the error is within the limit; NaN is not."""
        return self.error <= self.limit

    def __str__(self) -> str:
        return f"{self.name}: error {self.error:.1e}, limit {self.limit:.0e}"


def error(found: torch.Tensor, right: torch.Tensor) -> float:
    """Return the norm of the difference, relative to the norm of `right` (at least 1e-30)."""
    found, right = found.detach().double(), right.detach().double()
    return ((found - right).norm() / right.norm().clamp_min(1e-30)).item()


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Lay out images (..., c, h, w) with their channels last, in the same shape."""
    return x.movedim(-3, -1).contiguous().movedim(-1, -3)


@contextmanager
def cut(**how: int) -> Iterator[None]:
    """Override `shapes.PROGRAMS`, `TILE` or `FILLING` inside the block."""
    from bnonly.engines.triton import shapes

    before = {name: getattr(shapes, name) for name in how}
    for name, value in how.items():
        setattr(shapes, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(shapes, name, value)


def name_of(dtype: torch.dtype) -> str:
    """Return the short name of a type."""
    return next(n for n, t in DTYPES.items() if t == dtype)


@dataclass(frozen=True)
class Variant:
    """A variant of `bn_relu`.

    Parameters
    ----------
    affine : str
        State of gamma and beta: "trains", "frozen" or "absent".
    relu, residual : bool
        Whether it ends with ReLU, and adds a shortcut before.
    offset : float
        Mean of the input, whose deviation is 1; a large mean shows cancellation in the statistics.
    """

    affine: str = "trains"
    relu: bool = True
    residual: bool = False
    offset: float = 1.0

    def __str__(self) -> str:
        mean = f" mean {self.offset:g}" if self.offset != 1 else ""
        return f"{self.affine}{' relu' if self.relu else ''}{' residual' if self.residual else ''}{mean}"


def check_batchnorm(
    device: torch.device, dtype: torch.dtype, shape: Sequence[int], variant: Variant = Variant()
) -> Iterator[Result]:
    """Check `bn_relu` and its gradients.

    Parameters
    ----------
    device : torch.device
        A GPU, or a CPU in Triton's interpreter.
    dtype : torch.dtype
        Type of the input.
    shape : sequence of int
        (n, c, h, w) or (replicates, n, c, h, w).
    variant : Variant
        The variant to check.
    """
    from bnonly.engines.triton.batchnorm import bn_relu

    affine, relu, residual, offset = variant.affine, variant.relu, variant.residual, variant.offset
    channels = shape[-3]
    sizes = (shape[0], channels) if len(shape) == 5 else (channels,)
    x = channels_last((torch.randn(*shape, device=device) + offset).to(dtype))
    other = channels_last(torch.randn(*shape, device=device).to(dtype)) if residual else None
    weight = None if affine == "absent" else torch.rand(sizes, device=device) + 0.5
    bias = None if affine == "absent" else torch.randn(sizes, device=device)
    dy = torch.randn(*shape, device=device).to(dtype)  # not channels-last: a gradient may have any layout

    def ours() -> list[torch.Tensor]:
        running = [torch.zeros(sizes, device=device), torch.ones(sizes, device=device)]
        x_, other_ = (None if t is None else t.clone().requires_grad_() for t in (x, other))
        weight_, bias_ = (None if t is None else t.clone().requires_grad_(affine == "trains") for t in (weight, bias))
        assert x_ is not None
        y = bn_relu(x_, weight_, bias_, running[0], running[1], 0.1, 1e-5, other_, relu)
        y.backward(dy)
        frozen = affine == "frozen" and weight_ is not None and weight_.grad is not None
        assert not frozen, "a frozen weight got a gradient"
        grads = [t.grad for t in (x_, other_, weight_, bias_) if t is not None and t.grad is not None]
        return [y.detach(), *running, *grads]

    fold = _fold if len(shape) == 5 else (lambda t: t)
    leaves = {
        n: t.double().requires_grad_()
        for n, t in (("dx", x), ("dresidual", other), ("dgamma", weight), ("dbeta", bias))
        if t is not None
    }
    mean, var = (torch.full((math.prod(sizes),), v, device=device, dtype=torch.float64) for v in (0.0, 1.0))
    flat = {n: leaves[n].reshape(-1) for n in ("dgamma", "dbeta") if n in leaves}
    y = functional.batch_norm(fold(leaves["dx"]), mean, var, flat.get("dgamma"), flat.get("dbeta"), True, 0.1, 1e-5)
    if residual:
        y = y + fold(leaves["dresidual"])
    if relu:
        y = functional.relu(y)
    y.backward(fold(dy.double()))
    rights = {"y": y, "running_mean": mean.view(sizes), "running_var": var.view(sizes)}
    rights |= {n: t.grad for n, t in leaves.items() if affine == "trains" or n in ("dx", "dresidual")}  # type: ignore[misc]
    first, second = ours(), ours()
    what = f"bn_relu {variant} {name_of(dtype)} {tuple(shape)}"
    for (name, right), found in zip(rights.items(), first, strict=True):
        limit = 1e-5 if name in ("running_mean", "running_var") else LIMITS[dtype] * max(1, offset / 30)
        yield Result(f"{what} {name}", error(fold(found) if name == "y" else found, right), limit)
    yield Result(f"{what} again", 0.0 if all(map(torch.equal, first, second)) else 1.0, 0)


def _fold(x: torch.Tensor) -> torch.Tensor:
    """Turn replicates into channels, so that torch normalises each separately."""
    return x.movedim(0, 1).flatten(1, 2)


def first(device: torch.device) -> Iterator[Result]:
    """Check one small kernel, forward and backward."""
    yield from check_batchnorm(device, torch.bfloat16, (8, 16, 8, 8), Variant(residual=True))
