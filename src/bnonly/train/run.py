"""One cell from its specification to its files: locked, resumable, atomic."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bnonly.engines.devices import choose_device
from bnonly.engines.team import Team
from bnonly.grid.cell import Cell
from bnonly.results import failure
from bnonly.train.claim import claimed
from bnonly.train.launch import launch
from bnonly.train.loop import CHECKPOINT_SECONDS, train_share


def train_cell(
    cell: Cell,
    folder: Path,
    data_root: Path,
    device_name: str = "auto",
    threads: int = 1,
    quiet: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    wait: bool = False,
    keep: Literal["", "too", "only"] = "",
) -> None:
    """Train a cell, or go on with it, and write its files.

    Parameters
    ----------
    cell : Cell
        What to train.
    folder : Path
        Where its files go.
    data_root : Path
        Folder of prepared data.
    device_name : str
        "auto", "cpu" or "cuda".
    threads : int
        CPU threads; a run is bit-identical to another with the same number on the same kind of machine.
    quiet : bool
        No progress.
    checkpoint_seconds : float
        Longest time between checkpoints; 0 writes one every iteration.
    wait : bool
        Wait for another process that trains the cell, instead of refusing.
    keep : str
        "too": keep the finished files in the store of this run's folder, the current one, as well, and take from there what was
        finished before; "only": put them nowhere else, as a cluster's jobs do, because the workflow collects them.

    Raises
    ------
    UserError
        If the data, the folder or a checkpoint are not as they should be, or another process trains the cell.
    Stopped
        If a signal asked for it; the same call continues.
    """
    with claimed(cell, folder, quiet, wait, keep) as claim:
        if claim.wanted:
            with failure.recorded(cell, folder):
                device = choose_device(device_name)
                if cell.recipe.gpus > 1:
                    options = {"threads": threads, "quiet": quiet, "checkpoint_seconds": checkpoint_seconds}
                    where = {"folder": str(folder), "made": str(claim.made), "data": str(data_root)}
                    launch(cell, {**options, **where, "device": device.type, "token": claim.held.owner.token})
                else:
                    train_share(
                        cell,
                        folder,
                        claim.made,
                        data_root,
                        device,
                        Team(),
                        threads,
                        quiet,
                        checkpoint_seconds,
                        claim.held.check,
                    )
