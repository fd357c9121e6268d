"""Triton kernels of the fast engine on CUDA: fused BatchNorm, convolutions of narrow networks, optimiser, augmentation.

Nothing but the fast engine imports this, and `available` says whether it may: the modules here import Triton at their top,
this one does not.  Every kernel has a torch definition in `bnonly.kernels.checks` that it is held to, on a GPU or, without one,
in Triton's interpreter (``python -m bnonly.kernels.checks --interpret``).

Two rules hold everywhere.  Grids and blocks follow from shapes alone, and sums are added up in a fixed order in two stages
(partial sums of fixed row ranges, then one program that merges them in order): reruns are bit-identical, and nothing is tuned at
run time.  No call synchronises with the host or allocates but through torch's caching allocator: every call can be captured.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil

import torch


def available(device: torch.device) -> bool:
    """Say whether the kernels run on a device."""
    return why_not(device) is None


@functools.cache
def why_not(device: torch.device) -> str | None:
    """Say in a few words why the kernels do not run on a device, None where they do.

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
    if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))):
        return "Triton needs a C compiler (cc, gcc or clang, or the variable CC), and there is none"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    return None
