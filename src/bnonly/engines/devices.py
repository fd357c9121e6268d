"""Which device a program computes on."""

from __future__ import annotations

import os

import torch
import torch.utils.deterministic

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
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda")


def be_reproducible(precision: str) -> None:
    """Have this process compute the same bits every time, in fp32 exactly what fp32 is.

    Parameters
    ----------
    precision : str
        Of a cell; "tf32" lets a GPU round the factors of float32 products, anything else does not.
    """
    torch.set_deterministic_debug_mode("error")
    # Deterministic torch fills every new tensor with NaN: one more pass over each activation, which nothing reads.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
