"""Check that a batch fits the device before training starts, and suggest one that fits."""

from __future__ import annotations

import dataclasses
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import torch

from bnonly.cost.training import count_training
from bnonly.errors import UserError
from bnonly.grid.cell import Cell

#: Fraction of a GPU's memory above which outputs are recomputed; the rest is for workspaces and activations between blocks.
CROWDED = 0.85
#: Folder of /proc and /sys.
ROOT = Path("/")
#: PyTorch's messages for a CPU out of memory; a GPU out of memory has an exception of its own.
WORDS = ("can't allocate memory", "not enough memory", "bad_alloc")


def needed(cell: Cell) -> int:
    """Estimate the bytes of a cell's training on one device, with its share of the batch."""
    return count_training(cell).memory_bytes


def size(device: torch.device) -> int:
    """Return a device's memory in bytes: a GPU's, or this process's share of the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *_addresses(), *_groups()])


def _addresses() -> list[int]:
    """Return the limit of `ulimit -v`; empty if there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if soft == resource.RLIM_INFINITY else [soft]


def _groups() -> Iterator[int]:
    """Yield the memory limits of this process's control groups, such as a container's or a cluster job's."""
    try:
        lines = (ROOT / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", *lines]:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, name = ("memory", "memory.limit_in_bytes") if controllers else ("", "memory.max")
        base_folder = ROOT / "sys/fs/cgroup" / base
        folder = base_folder / path.strip("/")
        for group in [folder, *folder.parents]:
            try:
                yield int((group / name).read_text())
            except (OSError, ValueError):  # not visible in a container, or no limit
                pass
            if group == base_folder:
                break


def left(device: torch.device) -> int:
    """Return the bytes of a device that are free or used by this process."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device))
    mine, machine = _facts("proc/self/status"), _facts("proc/meminfo")
    own, rooms = mine.get("RssAnon", 0), [size(device)]
    if "MemAvailable" in machine:
        rooms.append(machine["MemAvailable"] + own)
    rooms += [limit - mine.get("VmSize", 0) + own for limit in _addresses()]
    return max(0, min(rooms))


def _facts(name: str) -> dict[str, int]:
    """Return the sizes in a file of /proc, in bytes."""
    try:
        rows = [line.split() for line in (ROOT / name).read_text().splitlines()]
    except OSError:
        return {}
    return {r[0].rstrip(":"): 1024 * int(r[1]) for r in rows if len(r) == 3 and r[2] == "kB"}


def lacked(problem: BaseException) -> bool:
    """Whether an error means that a GPU or a CPU is out of memory."""
    if isinstance(problem, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in WORDS)


def check(cell: Cell, device: torch.device, replicates: int = 1) -> None:
    """Reject a batch, or a number of replicates, that does not fit the device.

    Raises
    ------
    UserError
        With a batch, or the number of replicates, that fits: the largest power of two images (or groups of
        `batchnorm_images`) on each device.
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
    """Return the error for a cell that does not fit a device with `has` bytes."""
    recipe = cell.recipe
    group = recipe.batchnorm_images or 1  # each device has whole groups
    share, least = recipe.batch_size // recipe.gpus, max(2, group)

    def fits(images: int) -> bool:
        smaller = dataclasses.replace(recipe, batch_size=images * recipe.gpus)
        return needed(dataclasses.replace(cell, recipe=smaller)) <= 0.9 * has

    images = group << (share // group).bit_length()
    while images >= least and (images >= share or not fits(images)):
        images //= 2
    need, foreseen = f"about {needed(cell) / 1e9:.1f} GB", needed(cell) > has
    what = (
        f"needs {need}, and the device has {has / 1e9:.1f}"
        if foreseen
        else f"does not fit the {has / 1e9:.1f} GB that the device has left, though {need} were estimated"
    )
    batch = images * recipe.gpus
    smaller = f"a batch of {batch} would fit" if foreseen else f"try a batch of {batch}"
    remedy = f"{smaller}; otherwise" if images >= least else f"not even a batch of {least * recipe.gpus} would fit;"
    return UserError(
        f"{cell}: a batch of {recipe.batch_size} {what}; {remedy} use a device with more memory, or more GPUs (gpus in its recipe)"
    )


def crowded(cell: Cell, device: torch.device) -> bool:
    """Whether this cell fills a GPU so far that outputs should be recomputed instead of kept."""
    return device.type == "cuda" and needed(cell) > CROWDED * size(device)
