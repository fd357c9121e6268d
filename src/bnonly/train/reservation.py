"""Reserve a cell: one process at a time trains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bnonly import paths
from bnonly.console import Progress
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.networks import weights
from bnonly.results import cache, failure, lock, parquet
from bnonly.train.options import Keep, Options


@dataclass(frozen=True)
class Reservation:
    """A cell whose folder this process, or the launcher that started it, has locked.

    Parameters
    ----------
    cell : Cell
        What to train.
    folder : Path
        The cell's folder, with lock, checkpoint and progress.
    results : Path
        Folder of the finished files: the same, or one in the cache.
    token : str
        Token of the lock.
    check : function
        Raises `lock.Held` if another process has taken the lock; called before files are written.
    unfinished : bool
        Whether there is anything to train.
    """

    cell: Cell
    folder: Path
    results: Path
    token: str
    check: Callable[[], None]
    unfinished: bool = True


@contextmanager
def reserve(cell: Cell, folder: Path, options: Options) -> Iterator[Reservation]:
    """Lock a cell's folder, and store the files after training as `options.keep` says."""
    digest, keep = cell.digest(), options.keep
    with lock.hold(folder, str(cell), options.wait) as held:
        say = Progress(cell, 1, options.quiet).line
        results = paths.finished(digest) if keep is Keep.IN_CACHE else folder
        for leftover in [*folder.glob(".*.tmp"), *results.glob(".*.tmp")]:  # from a process killed while writing
            leftover.unlink(missing_ok=True)
        unfinished = False
        if (keep is Keep.IN_CACHE and cache.holds(digest)) or is_done(cell, results):
            say("finished earlier with this configuration; nothing to do")
        elif keep is Keep.IN_FOLDER_AND_CACHE and _restored(cell, folder):
            say("finished earlier with this configuration; copied from the cache")
        else:
            unfinished = True
        yield Reservation(cell, folder, results, held.owner.token, held.check, unfinished)
        failure.forget(folder)
        if keep is Keep.IN_FOLDER or cache.holds(digest):
            return
        try:
            cache.keep(digest, [results / name for name in paths.TRAINED.values()])
        except UserError as problem:
            if keep is Keep.IN_CACHE:
                raise
            say(f"not copied into the cache: {problem}")  # the folder has the results


def _restored(cell: Cell, folder: Path) -> bool:
    """Take a cell's files from the cache if it has them.

    Raises
    ------
    UserError
        If this version cannot read them.
    """
    if not cache.restore(cell.digest(), folder):
        return False
    try:
        return is_done(cell, folder)
    except UserError as problem:
        for name in paths.TRAINED.values():  # else the message's remedy, deleting the cached files, would not be enough
            (folder / name).unlink(missing_ok=True)
        kept = paths.shown(paths.finished(cell.digest()))
        why = str(problem).removeprefix(f"{paths.shown(folder)}/").partition(";")[0]
        raise UserError(
            f"{kept}: this version cannot read the cached files ({why}); use the bnonly that wrote them, "
            "or delete that folder and run the same command again"
        ) from None


def is_done(cell: Cell, folder: Path) -> bool:
    """Whether a folder holds a cell's results, complete and of this configuration.

    Raises
    ------
    UserError
        If they are damaged or of another configuration.
    """
    if not paths.metrics(folder).exists():
        return False
    parquet.read(paths.metrics(folder), "metrics", cell=cell)
    if not (paths.batchnorm(folder).exists() and paths.weights(folder).exists()):
        return False
    parquet.read(paths.batchnorm(folder), "batchnorm", cell=cell)
    weights.load(paths.weights(folder), cell)
    return True
