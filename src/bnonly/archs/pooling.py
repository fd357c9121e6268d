"""Max-pooling whose gradient is the same sum in the same order every time, on a GPU as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class _GatheredMaxPool(torch.autograd.Function):
    """A maximum over windows; in the gradient every pixel gathers from the windows that it is the maximum of.

    PyTorch's gradient on a GPU lets windows add to pixels in any order where they overlap.
    """

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
        (size, stride, padding), (n, channels, height, width) = ctx.how, ctx.shape
        tall, wide = dy.shape[2:]
        row = torch.arange(tall, device=dy.device)[:, None] * stride - padding
        column = torch.arange(wide, device=dy.device)[None, :] * stride - padding
        # With room for the padding and for what the last windows leave over.
        room = (n, channels, max(height, stride * tall + size) + padding, max(width, stride * wide + size) + padding)
        dx = torch.zeros(room, dtype=dy.dtype, device=dy.device).contiguous(memory_format=torch.channels_last)
        for down in range(size):
            for right in range(size):
                mine = where == (row + down) * width + column + right
                dx[:, :, down : down + stride * tall : stride, right : right + stride * wide : stride] += dy * mine
        return dx[:, :, padding : padding + height, padding : padding + width], None, None, None


def gathered_max_pool(x: torch.Tensor, size: int, stride: int, padding: int) -> torch.Tensor:
    """Return the maxima of windows of a tensor (n, channels, height, width), with a reproducible gradient."""
    return _GatheredMaxPool.apply(x, size, stride, padding)


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` with a reproducible gradient; on a CPU torch's own is that already."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, height, width) to the maxima of its windows."""
        if x.device.type == "cpu" or not x.requires_grad:
            return super().forward(x)
        size, stride, padding = (int(v) for v in (self.kernel_size, self.stride, self.padding))  # type: ignore[arg-type]
        return gathered_max_pool(x, size, stride, padding)
