"""Which kernels apply BatchNorm in a cell's training, and in every later test of its network."""

from __future__ import annotations

import warnings

import torch

from bnonly.cost.work import work
from bnonly.spec import Cell

#: Bytes that a training must move for Numba to be worth its start, about a second a process: half an epoch of ResNet-14.
WORTH = 1e11


def kernels(cell: Cell, device: torch.device) -> str:
    """Return "triton", "numba" or "torch".

    Apart from the device only the cell decides, so a training that is resumed goes on as it began.
    """
    if cell.engine == "triton":
        return "triton"
    if device.type != "cpu" or cell.recipe.batchnorm == "synchronised" or work(cell).train_bytes < WORTH:
        return "torch"
    try:
        from bnonly.fast import compiled
    except ImportError as problem:
        warnings.warn(
            f"{cell}: trains a third slower than it could, since Numba cannot be used: {problem}", stacklevel=2
        )
        return "torch"
    compiled.use_threads(torch.get_num_threads())
    return "numba"
