"""One optimiser step over all parameters, laid one after the other in one tensor; rate and step number are on the device."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from bnonly.kernels.batchnorm import arrive, counters

BLOCK = 1024


@triton.jit
def sgd_kernel(
    parameters, gradients, momenta, rates, step, copy_pointer, counters_pointer, count, factor, decay,
    BLOCK: tl.constexpr, COPY: tl.constexpr, ADVANCE: tl.constexpr,
):  # fmt: skip
    """The momentum m becomes factor m + g + decay p, the parameter p - rate m."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    number = tl.load(step)
    rate = tl.load(rates + number)
    p = tl.load(parameters + at, mask=inside, other=0.0)
    m = tl.load(momenta + at, mask=inside, other=0.0)
    g = tl.load(gradients + at, mask=inside, other=0.0)
    m = m * factor + (g + p * decay)
    p = p - m * rate
    tl.store(momenta + at, m, mask=inside)
    tl.store(parameters + at, p, mask=inside)
    if COPY:
        tl.store(copy_pointer + at, p.to(copy_pointer.dtype.element_ty), mask=inside)
    if ADVANCE:
        if arrive(counters_pointer, tl.num_programs(0)):  # all have read the number
            tl.store(step, number + 1)


def sgd_step(
    parameters: torch.Tensor,
    gradients: torch.Tensor,
    momenta: torch.Tensor,
    rates: torch.Tensor,
    step: torch.Tensor,
    momentum: float,
    weight_decay: float,
    copy: torch.Tensor | None = None,
    advance: bool = True,
) -> None:
    """Take one step of SGD with momentum and weight decay, as `bnonly.train.engine.Sgd`, in place.

    Parameters
    ----------
    parameters, gradients, momenta : fp32 tensors (p,)
        Contiguous.  Momenta of zeros are torch's first step.
    rates : fp32 tensor (steps,)
        Learning rate of every step.
    step : int64 tensor (1,)
        Number of this step; one more afterwards if `advance`.
    momentum, weight_decay : float
        As `torch.optim.SGD`'s, without dampening and Nesterov.
    copy : bf16 or fp16 tensor (p,), optional
        Receives the new parameters, so that weights that train are cast once a step.
    advance : bool
        False for all but the last of several calls that belong to one step.
    """
    count = parameters.numel()
    sgd_kernel[(triton.cdiv(count, BLOCK),)](
        parameters, gradients, momenta, rates, step, copy, counters(parameters.device, 1), count, momentum, weight_decay,
        BLOCK=BLOCK, COPY=copy is not None, ADVANCE=advance,
    )  # fmt: skip
