"""Max-pooling that keeps the places of its maxima and not its input, with the same gradient every time on a GPU as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

_aten = torch.ops.aten


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
        # The input is asked for its shape and layout only; nothing reads this memory.
        x = torch.empty(ctx.shape, dtype=dy.dtype, device=dy.device, memory_format=torch.channels_last)
        # On a GPU each pixel gathers, in one order, from the windows that it is the maximum of.  A torch that counts this
        # operation among those that add up in any order would refuse it all the same.
        mode = torch.get_deterministic_debug_mode()
        torch.set_deterministic_debug_mode("default")
        try:
            dx = _aten.max_pool2d_with_indices_backward(dy, x, size, stride, padding, [1, 1], False, where)
        finally:
            torch.set_deterministic_debug_mode(mode)
        return dx, None, None, None


def max_pool(x: torch.Tensor, size: int, stride: int, padding: int) -> torch.Tensor:
    """Return the maxima of windows of a tensor (n, channels, height, width); its gradient needs no input."""
    return _MaxPool.apply(x, size, stride, padding)


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` by way of `max_pool`; on a CPU torch's own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, height, width) to the maxima of its windows."""
        if x.device.type == "cpu" or not x.requires_grad:
            return super().forward(x)
        return max_pool(x, *(int(v) for v in (self.kernel_size, self.stride, self.padding)))  # type: ignore[arg-type]
