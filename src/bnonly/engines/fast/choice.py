"""Choose the backend of BatchNorm for a cell's training and for every later test of its network."""

from __future__ import annotations

import torch

from bnonly.cost.training import count_training
from bnonly.engines.fast.network import DTYPES
from bnonly.errors import UserError
from bnonly.grid.cell import Cell

#: Bytes that a training must move before Numba pays off (it takes about a second to start): half an epoch of ResNet-14.
WORTH = 1e11


def choose_backend(cell: Cell, device: torch.device) -> str:
    """Return "triton", "numba" or "torch".

    Backends round differently.  So only the cell and the kind of device decide, never a machine's software: a cell
    gives the same numbers everywhere or stops.

    Raises
    ------
    UserError
        If the backend is Numba and it cannot compile its code here.
    """
    if cell.engine == "triton":
        return "triton"
    recipe = cell.recipe
    if device.type != "cpu" or recipe.batchnorm == "synchronised" or recipe.batchnorm_images:
        return "torch"
    if count_training(cell).train_bytes < WORTH:
        return "torch"
    try:
        from bnonly.engines.fast import numba_batchnorm

        numba_batchnorm.prepare(DTYPES[cell.precision], torch.get_num_threads())
    except Exception as problem:  # not installed, no threading layer, or a failed compilation
        why = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise UserError(
            f"{cell}: Numba cannot compile the BatchNorm of engine: fast ({why}); reinstall numba (envs/requirements.txt), "
            "or set engine: reference and precision: fp32"
        ) from None
    return "numba"
