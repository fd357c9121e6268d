"""How to train; `bnonly.grid.cell.Cell` says what to train."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Keep(Enum):
    """Where the files of a finished cell go."""

    IN_FOLDER = "folder"
    #: Also kept in the cache of this run's folder, and taken from there if the cell was finished before.
    IN_FOLDER_AND_CACHE = "folder and cache"
    #: For a cluster's jobs: the workflow copies the files into the cell's folder.
    IN_CACHE = "cache"


@dataclass(frozen=True)
class Options:
    """The options of the train command.

    Parameters
    ----------
    data : Path
        Folder of prepared data.
    device : str
        "auto", "cpu" or "cuda".
    threads : int
        CPU threads.  Two runs are bit-identical if they use the same number on the same kind of CPU.
    quiet : bool
        Print no progress.
    checkpoint_seconds : float
        Longest time between checkpoints; 0 writes one after every iteration.  An epoch's end writes one after a sixth of it.
    wait : bool
        Wait for another process that trains the cell instead of stopping with an error.
    keep : Keep
        Where the files of a finished cell go.
    """

    data: Path
    device: str = "auto"
    threads: int = 1
    quiet: bool = False
    checkpoint_seconds: float = 180.0
    wait: bool = False
    keep: Keep = Keep.IN_FOLDER
