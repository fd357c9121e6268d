"""Convolution and BatchNorm + ReLU (+ add) as autograd functions that keep only the tensors of their backward passes.

For every layer, stock PyTorch keeps the input of the convolution (even if its weight is frozen) and the input of
BatchNorm.  With frozen weights the gradient needs only the latter.  The normalised values and the ReLU's mask follow
from it, unless a shortcut was added; the mask is then kept, at one byte per element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from bnonly.data.batches import part_of

_aten = torch.ops.aten

#: Replaces a tensor with its sum over all processes and returns it.
Together = Callable[[torch.Tensor], torch.Tensor]


class Statistics(NamedTuple):
    """How BatchNorm computes a batch's statistics.

    Attributes
    ----------
    backend : str
        "torch", "triton" (`bnonly.engines.triton`) or "numba" (`bnonly.engines.fast.numba_batchnorm`, on CPUs).
    together : function, optional
        Replaces a tensor with its sum over all processes, so that their images share statistics (backend "torch").
    groups : int
        Number of groups of images with separate statistics (backend "torch").
    """

    backend: str = "torch"
    together: Together | None = None
    groups: int = 1


#: Statistics over all images of this process, by PyTorch.
PLAIN = Statistics()


class _FrozenConv(torch.autograd.Function):
    """A convolution with a frozen weight: its gradient needs the weight, not the input."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, like: nn.Conv2d) -> Any:
        ctx.like, ctx.shape = like, x.shape
        ctx.save_for_backward(weight)
        return functional.conv2d(x, weight, bias, _stride(x, like), like.padding)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        (dy,) = gradients
        # The backward function uses only the shape and layout of the input, so this memory is never read.
        x = torch.empty(ctx.shape, dtype=dy.dtype, device=dy.device, memory_format=torch.channels_last)
        like = ctx.like
        dx = _aten.convolution_backward(
            dy, x, weight, None, _stride(x, like), like.padding, like.dilation, False, [0, 0], 1, [True, False, False]
        )[0]
        return dx, None, None, None


class _ConvOfNorm(torch.autograd.Function):
    """A convolution with a trainable weight, which recomputes its input (BatchNorm + ReLU) in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, like: nn.Conv2d, *norm: torch.Tensor
    ) -> Any:
        ctx.like, ctx.biases = like, None if bias is None else [bias.numel()]
        ctx.save_for_backward(weight, *norm)
        return functional.conv2d(y, weight, bias, _stride(y, like), like.padding)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        weight, *norm = ctx.saved_tensors
        like = ctx.like
        y = _normalised(*norm).to(weight.dtype).relu_()
        found = _aten.convolution_backward(
            gradients[0],
            y,
            weight,
            ctx.biases,
            _stride(y, like),
            like.padding,
            like.dilation,
            False,
            [0, 0],
            1,
            list(ctx.needs_input_grad[:3]),
        )
        return *found, None, *(None for _ in norm)


class Made(NamedTuple):
    """The arguments of `_normalised` that recompute an output of BatchNorm + ReLU."""

    x: torch.Tensor
    gamma: torch.Tensor
    beta: torch.Tensor
    mean: torch.Tensor
    invstd: torch.Tensor


def conv(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, like: nn.Conv2d, made: Made | None = None
) -> torch.Tensor:
    """Convolve.

    Parameters
    ----------
    x : tensor (n, inputs, height, width)
        Channels last in memory.
    weight, bias : tensor
        In the precision of `x`; trainable ones require gradients.
    like : torch.nn.Conv2d
        Stride and padding.
    made : Made, optional
        The origin of `x`, which is then recomputed for the weight's gradient instead of kept.
    """
    if made is not None and weight.requires_grad:
        return _ConvOfNorm.apply(x, weight, bias, like, *(t.detach() for t in made))
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        return functional.conv2d(x, weight, bias, _stride(x, like), like.padding)
    if x.requires_grad:
        return _FrozenConv.apply(x, weight, bias, like)
    return functional.conv2d(x, weight, bias, _stride(x, like), like.padding)


def _stride(x: torch.Tensor, like: nn.Conv2d) -> tuple[int, ...]:
    """Return the stride, 1 for a single pixel, where oneDNN would leave parts of a bfloat16 gradient unwritten."""
    return (1, 1) if x.shape[2:] == (1, 1) else like.stride


class _NormAct(torch.autograd.Function):
    """BatchNorm in training mode, with optional addition of the shortcut and optional ReLU.

    The running statistics are those of the first group, as in torch's `DataParallel`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        residual: torch.Tensor | None,
        norm: nn.BatchNorm2d,
        relu: bool,
        keep_output: bool,
        groups: int,
    ) -> Any:
        running_mean, running_var, factor = norm.running_mean, norm.running_var, norm.momentum or 0.0
        found = []
        for part in _parts(x, groups):
            found.append(
                torch.native_batch_norm(x[part], gamma, beta, running_mean, running_var, True, factor, norm.eps)
            )
            running_mean = running_var = None
        outputs, means, invstds = zip(*found, strict=True)
        y = _joined(outputs)
        if residual is not None:
            y.add_(residual)
        if relu:
            y.relu_()
        ctx.norm, ctx.relu, ctx.added, ctx.groups = norm, relu, residual is not None, groups
        mask = None
        if relu and keep_output:
            mask = y  # kept by the next layer anyway
        elif relu and (residual is not None or x.dtype != torch.float32):
            mask = _positive(y)
        ctx.save_for_backward(x, gamma, beta, mask, *means, *invstds)
        ctx.mark_non_differentiable(means[0], invstds[0])
        ctx.set_materialize_grads(False)  # zeros for these two would take two launches per layer
        return y, means[0], invstds[0]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, gamma, beta, mask, *statistics = ctx.saved_tensors
        means, invstds = statistics[: ctx.groups], statistics[ctx.groups :]
        dy = gradients[0].contiguous(memory_format=torch.channels_last)
        if ctx.relu and mask is not None:
            if mask.dtype == torch.uint8:
                dy = torch.mul(dy, mask)
            else:
                dy = _aten.threshold_backward(dy, mask, 0)
        wanted = list(ctx.needs_input_grad[:3])
        norm, found = ctx.norm, []
        for part, mean, invstd in zip(_parts(x, ctx.groups), means, invstds, strict=True):
            x_, dy_ = x[part], dy[part]
            if ctx.relu and mask is None:
                y = _normalised(x_, gamma, beta, mean, invstd)
                dy_ = _aten.threshold_backward.grad_input(dy_, y, 0, grad_input=y)
            if any(wanted):
                found.append(
                    _aten.native_batch_norm_backward(
                        dy_, x_, gamma, norm.running_mean, norm.running_var, mean, invstd, True, norm.eps, wanted
                    )
                )
        dx = _joined([f[0] for f in found]) if wanted[0] else None
        dgamma, dbeta = (_added([f[i] for f in found]) if wanted[i] else None for i in (1, 2))
        return dx, dgamma, dbeta, dy if ctx.added else None, None, None, None, None


def _parts(x: torch.Tensor, groups: int) -> list[slice]:
    """Return the images of each group; their numbers differ by at most one."""
    return [part_of(0, len(x), (i, groups)) for i in range(groups)]


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _added(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).sum(0)


def _positive(y: torch.Tensor) -> torch.Tensor:
    """Return the positive positions of a ReLU's output as bytes; comparing floats takes a CPU ten times as long."""
    integers = y.view(torch.int16) if y.element_size() == 2 else y
    return integers.bool().view(torch.uint8)


def _normalised(
    x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, mean: torch.Tensor, invstd: torch.Tensor
) -> torch.Tensor:
    """Apply BatchNorm with known statistics, rounded as in the forward pass: x * scale + shift, each a fused step."""
    scale = invstd * gamma
    shift = torch.addcmul(beta, mean, scale, value=-1)
    return torch.addcmul(shift[:, None, None], x.float(), scale[:, None, None])


class _SharedNorm(torch.autograd.Function):
    """BatchNorm with statistics over the images of several processes (`torch.nn.SyncBatchNorm` needs GPUs)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, norm: nn.BatchNorm2d, together: Together
    ) -> Any:
        # Only the exchanged sums are in float64, where sums of squares keep the full precision of float32 deviations.
        moments = [m.double() for m in torch.var_mean(x.float(), (0, 2, 3), correction=0)]
        here = x.numel() / x.shape[1]
        count = torch.full((1,), here, dtype=torch.float64, device=x.device)
        sums = together(torch.cat((here * moments[1], here * (moments[0] + moments[1].square()), count)))
        (total, squares), n = sums[:-1].chunk(2), sums[-1]
        mean = total / n
        variance = squares / n - mean.square()
        with torch.no_grad():
            for running, new in ((norm.running_mean, mean), (norm.running_var, variance * n / (n - 1))):
                assert running is not None
                running.lerp_(new.float(), norm.momentum or 0.0)
        invstd = (variance + norm.eps).rsqrt().float()
        mean = mean.float()
        ctx.together = together
        ctx.save_for_backward(x, gamma, mean, invstd, n)
        return _normalised(x.float(), gamma, beta, mean, invstd).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, gamma, mean, invstd, n = ctx.saved_tensors
        dy = gradients[0].float()
        hat = (x.float() - mean[:, None, None]) * invstd[:, None, None]
        dgamma, dbeta = (dy * hat).sum((0, 2, 3)), dy.sum((0, 2, 3))
        both = ctx.together(torch.cat((dgamma, dbeta)).double()) / n
        of_hat, of_one = (v.float()[:, None, None] for v in both.chunk(2))
        dx = (dy - of_one - hat * of_hat) * (gamma * invstd)[:, None, None]
        # Gradients of the parameters from this process's images only: the exchange of gradients adds them up.
        return dx.to(x.dtype), dgamma, dbeta, None, None


def norm_act(
    x: torch.Tensor,
    norm: nn.BatchNorm2d,
    residual: torch.Tensor | None,
    relu: bool,
    keep_output: bool,
    statistics: Statistics = PLAIN,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply BatchNorm with the batch's statistics, add the shortcut, apply ReLU; update the running statistics.

    It returns the output twice, for the next layer and for the shortcut around it.  If the backend can, it adds the gradients
    of the two in the pass that reads them.

    Parameters
    ----------
    x : tensor (n, channels, height, width)
        Channels last in memory; any floating type.
    norm : torch.nn.BatchNorm2d
        Scale, shift, running statistics, momentum, eps.
    residual : tensor like `x`, optional
        The shortcut.
    relu : bool
        Whether to apply ReLU; always after a shortcut.
    keep_output : bool
        The next layer keeps the output anyway (its weight trains), so take the ReLU's mask from it.
    statistics : Statistics
        Images of the statistics, and backend.
    """
    gamma, beta = norm.weight, norm.bias
    if statistics.together is not None:
        shared: torch.Tensor = _SharedNorm.apply(x, gamma, beta, norm, statistics.together)
        shared = shared if residual is None else shared + residual
        shared = functional.relu(shared) if relu else shared
        return shared, shared
    if statistics.backend == "numba":
        from bnonly.engines.fast.numba_batchnorm import NormAct

        pair: tuple[torch.Tensor, torch.Tensor] = NormAct.apply(x, gamma, beta, residual, norm, relu)
        return pair
    if statistics.backend == "triton":
        from bnonly.engines.triton.batchnorm import bn_relu

        y = bn_relu(x, gamma, beta, norm.running_mean, norm.running_var, norm.momentum or 0.0, norm.eps, residual, relu)
        return y, y
    y = _NormAct.apply(x, gamma, beta, residual, norm, relu, keep_output, statistics.groups)[0]
    return y, y


def norm_act_made(x: torch.Tensor, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, Made]:
    """Apply BatchNorm and ReLU; return the output and the arguments that recompute it."""
    y, mean, invstd = _NormAct.apply(x, norm.weight, norm.bias, None, norm, True, False, 1)
    return y, Made(x, norm.weight, norm.bias, mean, invstd)
