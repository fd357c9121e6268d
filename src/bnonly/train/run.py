"""Train one cell, from its specification to its files: locked, resumable, atomic."""

from __future__ import annotations

from pathlib import Path

from bnonly.engines.devices import choose_device
from bnonly.grid.cell import Cell
from bnonly.results import failure
from bnonly.train.launch import launch
from bnonly.train.loop import train_share
from bnonly.train.options import Options
from bnonly.train.reservation import reserve


def train_cell(cell: Cell, folder: Path, options: Options) -> None:
    """Train a cell, or continue from its checkpoint, and write its files.

    Parameters
    ----------
    cell : Cell
        What to train.
    folder : Path
        The cell's folder.
    options : Options
        Options of the train command.

    Raises
    ------
    UserError
        If the data, the folder or a checkpoint is unusable, or another process trains the cell.
    Stopped
        If a signal asked the training to stop; the same call continues it.
    """
    with reserve(cell, folder, options) as reservation:
        if not reservation.unfinished:
            return
        with failure.recorded(cell, folder):
            device = choose_device(options.device)
            if cell.recipe.gpus > 1:
                launch(reservation, options, device)
            else:
                train_share(reservation, options, device)
