"""Which device a program computes on."""

from __future__ import annotations

import os

import torch

from bnonly.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return a device by name; "auto" is the GPU if there is one.

    Raises
    ------
    UserError
        If a GPU is asked for and none is there.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError(
            "--device cuda: this machine has no usable GPU; use --device cpu, or --device auto to take what is there"
        )
    if name == "cpu" or not available:
        return torch.device("cpu")
    # cuBLAS is deterministic only with a fixed workspace, and reads this before its first call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda")
