"""Which kernels apply BatchNorm in a cell's training, and in every later test of its network."""

from __future__ import annotations

import warnings

import torch

from bnonly.cost.counting import work
from bnonly.engines.fast.network import DTYPES
from bnonly.grid.cell import Cell

#: Bytes that a training must move for Numba to be worth its start, about a second a process: half an epoch of ResNet-14.
WORTH = 1e11


def choose_backend(cell: Cell, device: torch.device) -> str:
    """Return "triton", "numba" or "torch".

    Apart from the device only the cell decides, so a training that is resumed goes on as it began.
    """
    if cell.engine == "triton":
        return "triton"
    if device.type != "cpu" or cell.recipe.batchnorm == "synchronised" or work(cell).train_bytes < WORTH:
        return "torch"
    threads = torch.get_num_threads()
    try:
        from bnonly.engines.fast import numba_batchnorm

        numba_batchnorm.use_threads(threads)
        numba_batchnorm.try_out(DTYPES[cell.precision])
    # Not there; no threads for it; nowhere to keep what it compiles, or no room.
    except (ImportError, RuntimeError, ValueError, OSError) as problem:
        torch.set_num_threads(threads)
        why = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        warnings.warn(f"{cell}: trains slower than it could, since Numba cannot be used: {why}", stacklevel=2)
        return "torch"
    return "numba"
