"""Whether a batch fits the device, before anything is trained; and what would."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch

from bnonly.cost.work import work
from bnonly.errors import UserError
from bnonly.spec import Cell

#: Share of a GPU's memory above which outputs are made again instead of kept: the rest is workspaces and what lies between blocks.
CROWDED = 0.85


def needed(cell: Cell) -> int:
    """Return the bytes that training a cell takes on its device, as estimated; of one GPU's share of the batch."""
    return work(cell).memory_bytes


def size(device: torch.device) -> int:
    """Return the bytes that a device has: a GPU's memory, or this process's share of the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no control group, or one without a limit
        return whole


def left(device: torch.device) -> int:
    """Return the bytes of a GPU that are this process's or nobody's."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device))


def check(cell: Cell, device: torch.device, replicates: int = 1) -> None:
    """Refuse a batch that cannot fit, or so many replicates of one.

    Raises
    ------
    UserError
        With the largest power of two, or the number of replicates, that would fit.
    """
    has = size(device)
    if needed(cell) > has:
        raise too_little(cell, has)
    if replicates * needed(cell) > has:
        raise UserError(
            f"{cell}: {replicates} replicates together need about {replicates * needed(cell) / 1e9:.1f} GB, and the device has "
            f"{has / 1e9:.1f}; {int(has // needed(cell))} would fit"
        )


def too_little(cell: Cell, has: int) -> UserError:
    """Return the error of a cell for which a device of so many bytes is too small."""
    recipe = cell.recipe
    batch = 1 << (recipe.batch_size.bit_length() - 1)

    def fits(images: int) -> bool:
        return (
            needed(dataclasses.replace(cell, recipe=dataclasses.replace(recipe, batch_size=images * recipe.gpus)))
            <= 0.9 * has
        )

    batch //= recipe.gpus
    while batch > 1 and (not fits(batch) or batch * recipe.gpus >= recipe.batch_size):
        batch //= 2
    remedy = f"a batch of {batch * recipe.gpus} would fit" if batch > 1 else "not even a batch of 2 would fit"
    return UserError(
        f"{cell}: a batch of {recipe.batch_size} needs about {needed(cell) / 1e9:.1f} GB, and the device has {has / 1e9:.1f}; "
        f"{remedy}, or more memory, or more GPUs (recipe.gpus)"
    )


def crowded(cell: Cell, device: torch.device) -> bool:
    """Whether a GPU is so full with this cell that outputs should be made again instead of kept."""
    return device.type == "cuda" and needed(cell) > CROWDED * size(device)
