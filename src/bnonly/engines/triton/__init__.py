"""Triton kernels of the fast engine on CUDA: fused BatchNorm, convolutions of narrow networks, optimiser, augmentation.

Only the fast engine imports this package, after `why_not` has allowed it.  The modules here import Triton at the top;
this one does not.  benchmarks/kernel_checks.py compares every kernel with torch, on a GPU or in Triton's interpreter.

Two rules hold everywhere.  First, grids and blocks follow from shapes alone, and sums have a fixed order: each program
sums a fixed range of rows, and one program merges the partial sums in order.  So reruns are bit-identical, and nothing is tuned
at run time.  Second, no call waits for the device or allocates outside torch's caching allocator, so every call can be captured.
"""

from __future__ import annotations

import functools
import importlib.util

import torch


@functools.cache
def why_not(device: torch.device) -> str | None:
    """Try a BatchNorm and compare it with torch; return why the kernels do not run on a device, None if they do.

    Parameters
    ----------
    device : torch.device
        The device to try; only CUDA devices can run the kernels.
    """
    if device.type != "cuda":
        return f"device {device} is not a CUDA device"
    if torch.version.hip:
        return "the kernels are for NVIDIA GPUs only"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    from bnonly.engines.triton import trial

    try:
        wrong = [r for r in trial.first(device) if not r.ok]
    except Exception as problem:
        # Triton needs the machine's C compiler and Python headers; any failure means that the kernels are unavailable.
        return f"a Triton kernel could not be built or run ({(str(problem).strip() or repr(problem)).splitlines()[0]})"
    return f"a kernel's result differs from torch's ({wrong[0]})" if wrong else None
