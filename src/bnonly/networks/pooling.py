"""Max-pooling that keeps the positions of its maxima instead of its input, with a reproducible gradient on GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_aten = torch.ops.aten


@contextmanager
def known_order() -> Iterator[None]:
    """Allow an operation that torch lists as nondeterministic, where its use here has only one result."""
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, size: int, stride: int, padding: int) -> Any:
        y, where = functional.max_pool2d(x, size, stride, padding, return_indices=True)
        ctx.how, ctx.shape = (size, stride, padding), x.shape
        ctx.save_for_backward(where)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (where,) = ctx.saved_tensors
        (dy,) = gradients
        size, stride, padding = ([v, v] for v in ctx.how)
        # The backward function uses only the shape and layout of the input, so this memory is never read.
        x = torch.empty(ctx.shape, dtype=dy.dtype, device=dy.device, memory_format=torch.channels_last)
        # On a GPU each pixel sums, in a fixed order, over the windows whose maximum it is.
        with known_order():
            dx = _aten.max_pool2d_with_indices_backward(dy, x, size, stride, padding, [1, 1], False, where)
        return dx, None, None, None


def max_pool(x: torch.Tensor, size: int, stride: int, padding: int) -> torch.Tensor:
    """Return the maxima of windows of a tensor (n, channels, height, width); the gradient does not need the input."""
    return _MaxPool.apply(x, size, stride, padding)


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` through `max_pool`; on a CPU through torch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, height, width) to the maxima of its windows."""
        if x.device.type == "cpu" or not x.requires_grad:
            return super().forward(x)
        return max_pool(x, *(int(v) for v in (self.kernel_size, self.stride, self.padding)))  # type: ignore[arg-type]
