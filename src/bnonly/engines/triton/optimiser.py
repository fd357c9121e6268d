"""One optimiser step over all parameters in one tensor, with the learning rate on the device."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def sgd_kernel(
    parameters, gradients, momenta, rate_pointer, copy_pointer, copied, count, factor, decay,
    BLOCK: tl.constexpr, COPY: tl.constexpr,
):  # fmt: skip
    """Update the momentum m to factor m + g + decay p, and the parameter to p - rate m."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    rate = tl.load(rate_pointer)
    p = tl.load(parameters + at, mask=inside, other=0.0)
    m = tl.load(momenta + at, mask=inside, other=0.0)
    g = tl.load(gradients + at, mask=inside, other=0.0)
    m = m * factor + (g + p * decay)
    p = p - m * rate
    tl.store(momenta + at, m, mask=inside)
    tl.store(parameters + at, p, mask=inside)
    if COPY:
        tl.store(copy_pointer + at, p.to(copy_pointer.dtype.element_ty), mask=at < copied)


def sgd_step(
    parameters: torch.Tensor,
    gradients: torch.Tensor,
    momenta: torch.Tensor,
    rate: torch.Tensor,
    momentum: float,
    weight_decay: float,
    copy: torch.Tensor | None = None,
) -> None:
    """Take one step of SGD with momentum and weight decay, as `bnonly.engines.reference.Sgd`, in place.

    Parameters
    ----------
    parameters, gradients, momenta : fp32 tensors (p,)
        Contiguous.  With zero momenta this is torch's first step.
    rate : fp32 tensor (1,)
        Learning rate, on the device so that a captured launch can make any step.
    momentum, weight_decay : float
        As `torch.optim.SGD`'s, without dampening and Nesterov.
    copy : bf16 or fp16 tensor (at most p,), optional
        Receives the first new parameters, so that trainable weights are cast once per step.
    """
    count = parameters.numel()
    sgd_kernel[(triton.cdiv(count, BLOCK),)](
        parameters, gradients, momenta, rate, copy, 0 if copy is None else copy.numel(), count, momentum, weight_decay,
        BLOCK=BLOCK, COPY=copy is not None,
    )  # fmt: skip
