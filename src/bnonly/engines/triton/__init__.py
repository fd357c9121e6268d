"""Triton kernels of the fast engine on CUDA: fused BatchNorm, convolutions of narrow networks, optimiser, augmentation.

Nothing but the fast engine imports this, and `available` says whether it may: the modules here import Triton at their top,
this one does not.  benchmarks/kernel_checks.py compares every kernel with torch, on a GPU or, without one, in Triton's interpreter.

Two rules hold everywhere.  Grids and blocks follow from shapes alone, and sums are added up in a fixed order in two stages
(partial sums of fixed row ranges, then one program that merges them in order): reruns are bit-identical, and nothing is tuned at
run time.  No call synchronises with the host or allocates but through torch's caching allocator: every call can be captured.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch


def available(device: torch.device) -> bool:
    """Say whether the kernels run on a device."""
    return why_not(device) is None


@functools.cache
def why_not(device: torch.device) -> str | None:
    """Say in a few words why the kernels do not run on a device, None where they do: a BatchNorm is tried and compared.

    Parameters
    ----------
    device : torch.device
        A CUDA device may.
    """
    if device.type != "cuda":
        return f"device {device} is not a CUDA device"
    if torch.version.hip:
        return "only NVIDIA GPUs were considered"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    from bnonly.engines.triton import trial

    try:
        wrong = [r for r in trial.first(device) if not r.ok]
    except Exception as problem:
        # Triton builds with the machine's C compiler and Python headers: whatever is missing, the engine does without.
        return f"a Triton kernel could not be built or run ({(str(problem).strip() or repr(problem)).splitlines()[0]})"
    return f"a kernel computes something else than torch ({wrong[0]})" if wrong else None


def bn_relu(*arguments: Any) -> torch.Tensor:
    """See `bnonly.engines.triton.batchnorm.bn_relu`."""
    from bnonly.engines.triton import batchnorm

    return batchnorm.bn_relu(*arguments)


def fuses(model: torch.nn.Module) -> bool:
    """Say whether there are kernels for all of a network's blocks: see `bnonly.engines.triton.resnet.supported`."""
    from bnonly.engines.triton import resnet

    return resnet.supported(model)


def fused_blocks(*arguments: Any) -> Any:
    """Return `bnonly.engines.triton.resnet.FusedBlocks`."""
    from bnonly.engines.triton import resnet

    return resnet.FusedBlocks(*arguments)


def sgd_step(*arguments: Any) -> None:
    """See `bnonly.engines.triton.optimiser.sgd_step`."""
    from bnonly.engines.triton import optimiser

    optimiser.sgd_step(*arguments)


def augment(*arguments: Any) -> None:
    """See `bnonly.engines.triton.augmentation.augment`."""
    from bnonly.engines.triton import augmentation

    augmentation.augment(*arguments)
