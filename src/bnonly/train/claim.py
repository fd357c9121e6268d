"""Who trains a cell: one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bnonly import paths
from bnonly.console import Progress
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.networks import weights
from bnonly.results import cache, failure, lock, parquet


def is_done(cell: Cell, folder: Path) -> bool:
    """Whether a cell's results are there, whole, and of this configuration.

    Raises
    ------
    UserError
        If they are another configuration's, or damaged.
    """
    if not paths.metrics(folder).exists():
        return False
    parquet.read(paths.metrics(folder), "metrics", cell=cell)
    if not (paths.batchnorm(folder).exists() and paths.weights(folder).exists()):
        return False
    parquet.read(paths.batchnorm(folder), "batchnorm", cell=cell)
    weights.load(paths.weights(folder), cell)
    return True


@dataclass(frozen=True)
class Claim:
    """A cell whose folder this process holds; `wanted` unless it was finished before."""

    cell: Cell
    folder: Path
    made: Path
    held: lock.Hold
    wanted: bool


@contextmanager
def claimed(cell: Cell, folder: Path, quiet: bool, wait: bool, keep: str) -> Iterator[Claim]:
    """Hold a cell's folder; when the training inside has ended well, keep its files as `train_cell` says."""
    with lock.hold(folder, str(cell), wait) as held:
        say = Progress(cell, 1, quiet).line
        made = paths.finished(cell.digest()) if keep == "only" else folder
        for leftover in [*folder.glob(".*.tmp"), *made.glob(".*.tmp")]:  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
        wanted = False
        if (keep == "only" and cache.holds(cell.digest())) or is_done(cell, made):
            say("finished earlier with this configuration; nothing to do")
        elif keep == "too" and cache.restore(cell.digest(), folder) and is_done(cell, folder):
            say("was finished with this configuration before; taken from the store")
        else:
            wanted = True
        yield Claim(cell, folder, made, held, wanted)
        failure.forget(folder)
        if keep and not cache.holds(cell.digest()):
            try:
                cache.keep(cell.digest(), [made / name for name in paths.TRAINED.values()])
            except UserError as problem:  # a full disk, but the results themselves are there
                if keep == "only":
                    raise
                say(f"not kept a second time: {problem}")
